//! A simulated tissue as files: dissociated cells, voxels of one cell, spots of several.

use crate::choices::MappingFormat;
use crate::error::Result;
use ndarray::Array2;
use std::ops::Range;
use std::path::Path;
use tangram_core::{SparseRows, Table, Tissue};
use tangram_store::{AnnDataWriter, Existing, MatrixName, StoreError, Uns};

/// Rows generated and written at a time; a block of them is small, whatever the number of genes.
const BLOCK_ROWS: usize = 4096;

/// Writes `cells`, `voxels` and `spots` into a directory.
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
    Ok(write_counts(spots, all, |rows| tissue.spots(rows))?)
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
