//! The factored mapping as an AnnData file of voxels × training genes: Z in X, b in obs.

use crate::carried_uns;
use crate::error::{PipelineError, Result};
use crate::filter;
use crate::mapping_file::{Contents, write_training};
use ndarray::Array2;
use std::path::Path;
use tangram_core::{Column, Familiar, Table};
use tangram_mapper::Factors;
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, StoreError, Uns};

/// The column of obs that holds b.
const BIAS: &str = "tangram_bias";
/// The array of varm that holds exemplars of the training cells.
const EXEMPLARS: &str = "training_cells";
/// The entry of uns that holds how far training cells are from the exemplars.
const DISTANCES: &str = "training_cell_distances";

/// Writes factors, and the exemplars by which [`Familiar`] measures how unlike the training other cells are.
///
/// # Errors
/// If the file cannot be written.
pub fn write(
    path: &Path,
    factors: &Factors,
    familiar: &Familiar,
    contents: &Contents<'_>,
) -> Result<()> {
    let mut obs = contents.voxels.obs()?;
    obs.set(BIAS, Column::numbers(factors.bias().to_vec()));
    let var = Table::of_names(contents.genes.training.clone());
    let mut file = AnnDataWriter::create(path, Existing::Refuse, &obs, &var)?;
    if let Some((places, _)) = contents.voxels.coordinates()? {
        file.obsm("spatial", places.view())?;
    }
    carried_uns::write(&mut file, &carried_uns::of(contents.voxels)?, &[])?;
    file.varm(EXEMPLARS, familiar.exemplars())?;
    let mut matrix = file.dense(&MatrixName::X)?;
    let weights = factors.weights().mapv(|z| z as f32);
    matrix.write_columns(0, weights.view())?;
    matrix.finish()?;
    file.uns(DISTANCES, &Uns::Numbers(familiar.distances().to_vec()))?;
    if let Some(filter) = contents.filter {
        file.uns(filter::COLUMN, &Uns::Numbers(filter.to_vec()))?;
    }
    write_training(&mut file, contents)?;
    file.finish()?;
    Ok(())
}

/// The factors of a file.
///
/// # Errors
/// [`PipelineError::Factors`] if the file lacks them.
pub fn read(file: &Dataset) -> Result<Factors> {
    let rows = file
        .matrix(&MatrixName::X)?
        .read_rows_any(0..file.n_obs())?;
    let weights: Array2<f64> = rows.to_dense().mapv(f64::from);
    let bias = match file.obs_column(BIAS)? {
        Column::Numeric(bias) => bias.into_iter().collect::<Option<Vec<f64>>>(),
        _ => None,
    };
    let bias = bias.ok_or_else(|| PipelineError::Factors {
        path: file.path().to_owned(),
        reason: format!("obs column `{BIAS}` does not hold a number for every voxel"),
    })?;
    Ok(Factors::new(weights.view(), &bias))
}

/// The exemplars of the training cells in a file.
///
/// # Errors
/// [`PipelineError::Factors`] if the file lacks them.
pub fn read_familiar(file: &Dataset) -> Result<Familiar> {
    let damaged = || PipelineError::Factors {
        path: file.path().to_owned(),
        reason: "holds no exemplars of the training cells".to_owned(),
    };
    let exemplars = file.varm(EXEMPLARS)?.ok_or_else(damaged)?;
    match file.uns_value(DISTANCES)? {
        Some(Uns::Numbers(distances)) => Ok(Familiar::from_parts(exemplars, distances)),
        _ => Err(damaged()),
    }
}

/// The obs table of the voxels, without the columns of the mapping.
///
/// # Errors
/// [`StoreError`] if it cannot be read.
pub fn voxels(file: &Dataset) -> Result<Table, StoreError> {
    let mut obs = file.obs()?;
    obs.remove(BIAS);
    Ok(obs)
}
