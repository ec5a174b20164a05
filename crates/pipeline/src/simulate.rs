//! A simulated tissue as files: dissociated cells, voxels of one cell, spots of several.

use crate::choices::MappingFormat;
use crate::error::Result;
use crate::run_directory::write as write_text;
use crate::versions::Versions;
use ndarray::Array2;
use serde::Serialize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tangram_core::{Column, SparseRows, Table, Tissue};
use tangram_store::{AnnDataWriter, Existing, MatrixName, StoreError, Uns, write_aside};

/// Rows generated and written at a time; a block of them is small, whatever the number of genes.
const BLOCK_ROWS: usize = 4096;

/// The file with the settings, which shows that a folder is a simulated tissue.
pub const FOLDER_FILE: &str = "simulate.toml";

/// What [`FOLDER_FILE`] holds.
#[derive(Debug, Serialize)]
pub struct Simulated {
    simulate: Flags,
    record: Record,
}

/// The flags of `tangram simulate`.
#[derive(Debug, Serialize)]
struct Flags {
    out: PathBuf,
    cells: usize,
    voxels: usize,
    spots: usize,
    genes: usize,
    panel: usize,
    density: f64,
    seed: u64,
    format: MappingFormat,
}

#[derive(Debug, Serialize)]
struct Record {
    versions: Versions,
    cell_types: Vec<String>,
}

/// Writes a folder with [the files](fn@write) of a tissue and its settings.
///
/// # Errors
/// If it exists or cannot be written.
pub fn write_folder(
    tissue: &Tissue,
    out: &Path,
    existing: Existing,
    format: MappingFormat,
) -> Result<Simulated> {
    let settings = tissue.settings();
    let simulated = Simulated {
        simulate: Flags {
            out: out.to_owned(),
            cells: settings.n_cells,
            voxels: settings.n_voxels,
            spots: settings.n_spots,
            genes: settings.n_genes,
            panel: settings.n_panel_genes,
            density: settings.density,
            seed: settings.seed,
            format,
        },
        record: Record {
            versions: Versions::current(),
            cell_types: tissue.cell_types().to_vec(),
        },
    };
    write_aside(out, existing, |directory| -> Result<()> {
        std::fs::create_dir(directory).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        write(tissue, directory, format)?;
        write_text(&directory.join(FOLDER_FILE), &toml::to_string(&simulated)?)
    })?;
    Ok(simulated)
}

/// The table of the cells in the spots, with their places and types: what a segmentation would find.
pub const SEGMENTATION_FILE: &str = "segmentation.csv";

/// Writes `cells`, `voxels`, `spots` and [`SEGMENTATION_FILE`] into a directory.
///
/// # Errors
/// If they exist or cannot be written.
pub fn write(tissue: &Tissue, directory: &Path, format: MappingFormat) -> Result<()> {
    let settings = tissue.settings();
    let place = |name: &str| directory.join(format!("{name}.{}", format.ending()));
    let source = Uns::Text(format!("tangram simulate, seed {}", settings.seed));

    let (all, var) = (0..settings.n_cells, tissue.genes_table());
    let mut cells = begin(&place("cells"), &tissue.cells_table(all.clone()), &var)?;
    cells.uns("source", &source)?;
    write_counts(cells, all, |rows| tissue.cells(rows))?;

    let all = 0..settings.n_voxels;
    let mut voxels = begin(
        &place("voxels"),
        &tissue.voxels_table(all.clone()),
        &tissue.panel_table(),
    )?;
    voxels.uns("source", &source)?;
    voxels.obsm("spatial", tissue.voxels_spatial(all.clone()).view())?;
    write_counts(voxels, all, |rows| tissue.voxels(rows))?;

    let all = 0..settings.n_spots;
    let mut spots = begin(&place("spots"), &tissue.spots_table(all.clone()), &var)?;
    spots.uns("source", &source)?;
    let truth: Array2<f64> = tissue.spot_truth(all.clone());
    spots.obsm("spatial", tissue.spots_spatial(all.clone()).view())?;
    spots.obsm("true_prop", truth.view())?;
    spots.uns(
        "true_prop_labels",
        &Uns::Texts(tissue.cell_types().to_vec()),
    )?;
    write_counts(spots, all, |rows| tissue.spots(rows))?;
    write_text(
        &directory.join(SEGMENTATION_FILE),
        &segmentation_table(tissue),
    )
}

/// A line for every cell of a spot, its place in µm.
fn segmentation_table(tissue: &Tissue) -> String {
    let mut text = "id,x,y,spot,cell_type\n".to_owned();
    let n_spots = tissue.settings().n_spots;
    for (spot, name) in tissue.spots_table(0..n_spots).names.iter().enumerate() {
        let cells = tissue.spot_cells_table(spot);
        let column = |name: &str| cells.column(name).map(Column::texts).unwrap_or_default();
        let (x, y, types) = (column("x_um"), column("y_um"), column("cell_type"));
        for (i, id) in cells.names.iter().enumerate() {
            text.push_str(&format!("{id},{},{},{name},{}\n", x[i], y[i], types[i]));
        }
    }
    text
}

fn begin(path: &Path, obs: &Table, var: &Table) -> Result<AnnDataWriter, StoreError> {
    AnnDataWriter::create(path, Existing::Refuse, obs, var)
}

fn write_counts(
    mut file: AnnDataWriter,
    all: Range<usize>,
    counts: impl Fn(Range<usize>) -> SparseRows,
) -> Result<(), StoreError> {
    let mut matrix = file.sparse(&MatrixName::X)?;
    for first in all.clone().step_by(BLOCK_ROWS) {
        matrix.append(&counts(first..all.end.min(first + BLOCK_ROWS)))?;
    }
    matrix.finish()?;
    file.finish()
}
