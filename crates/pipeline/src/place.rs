//! Cells that were not in the training, put where a mapping says.

use crate::assigned::{add_most_probable_voxels, places_of};
use crate::choices::as_text;
use crate::error::{PipelineError, Result};
use crate::factors_file;
use crate::provenance;
use crate::run_directory::{Replace, RunDirectory, replaceable};
use crate::stored_mapping::training_cells;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tangram_core::{
    CellParts, Column, Familiar, Keep, MappingRows, MostProbableVoxel, PBlock, keep_block,
};
use tangram_mapper::FactoredMapping;
use tangram_store::{
    AnnDataWriter, CellExpression, Dataset, ExpressionFile, MatrixName, RowNames, StoreError,
};

/// Which cells, by which mapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlaceSettings {
    /// The directory of a run of the mirror solver.
    pub mapping: PathBuf,
    /// The file of the new cells.
    pub cells: PathBuf,
    /// What is stored of every cell's probabilities.
    #[serde(with = "as_text")]
    pub keep: Keep,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Number of voxels.
    pub n_voxels: usize,
    /// For every cell the share of training cells that are more usual: 0.5 is ordinary.
    pub unlikeness: Vec<f64>,
}

/// Places cells and writes where.
///
/// # Errors
/// If the run has no factors, the cells lack genes or cannot be read, or the output cannot be written.
pub fn place(settings: &PlaceSettings, out: &Path, replace: Replace) -> Result<Placed> {
    let run = RunDirectory::open(&settings.mapping)?;
    if run.record().factors.is_none() {
        let text = format!(
            "{}: was made by --solver adam, which knows only the cells it was trained on; map again with --solver mirror",
            run.path().display()
        );
        return Err(PipelineError::Usage(text));
    }
    let may_replace = replaceable(out, replace, &[&settings.cells, run.path()])?;
    let stored = Dataset::open(&run.mapping()?)?;
    let factors = factors_file::read(&stored)?;
    let familiar = factors_file::read_familiar(&stored)?;
    let matrix = &run.settings().cells_matrix;
    let file = Arc::new(ExpressionFile::open(
        &settings.cells,
        matrix,
        RowNames::Checked,
    )?);
    let cells = training_cells(&run, &file)?;
    let unlikeness = unlikeness(&familiar, &CellExpression::Streamed(cells.untransformed()))?;
    let cells = cells.held_if_small()?;
    let mapping = factors.mapping(&cells);

    let best = MostProbableVoxel::of_cells(&mapping)?;
    let voxels = stored.obs_names()?;
    let mut obs = file.dataset().obs()?;
    add_most_probable_voxels(&mut obs, &best, &voxels);
    obs.set("unlikeness", Column::numbers(unlikeness.iter().copied()));

    let var = factors_file::voxels(&stored)?;
    let mut written = AnnDataWriter::create(out, may_replace, &obs, &var)?;
    if let Some(places) = stored.spatial()? {
        written.obsm("spatial", places_of(&best, &places).view())?;
        written.varm("spatial", places.view())?;
    }
    write_probabilities(&mut written, &mapping, settings.keep)?;
    let provenance = provenance::of(settings, &settings.cells, &run.mapping()?)?;
    written.uns("tangram", &provenance)?;
    written.finish()?;
    Ok(Placed {
        n_voxels: voxels.len(),
        unlikeness,
    })
}

/// Share of training cells that are more usual than each cell.
fn unlikeness(familiar: &Familiar, cells: &CellExpression) -> Result<Vec<f64>, StoreError> {
    let mut shares = Vec::with_capacity(cells.n_cells());
    cells.for_each_part(0..cells.n_cells(), &mut |_, part| {
        let distances = familiar.distance(part);
        shares.extend(distances.into_iter().map(|d| familiar.unlikeness(d)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(shares)
}

fn write_probabilities(
    out: &mut AnnDataWriter,
    mapping: &FactoredMapping<'_, CellExpression>,
    keep: Keep,
) -> Result<()> {
    let mut matrix = out.sparse(&MatrixName::X)?;
    mapping.for_each_block(&mut |block| match block.rows {
        PBlock::Dense(rows) => matrix.append(&keep_block(rows, keep).0),
        PBlock::Sparse(rows) => matrix.append(rows),
    })?;
    Ok(matrix.finish()?)
}
