//! How many cells a filter is to keep, and what it begins from.

use crate::choices::{Mode, TargetCount};
use crate::error::{PipelineError, Result};
use crate::settings::MapSettings;
use std::path::Path;
use tangram_mapper::Filter;
use tangram_store::{ExpressionFile, read_npy_list};

/// The filter to be learned, where the settings ask for one.
///
/// # Errors
/// [`PipelineError::TargetCount`] if the number cannot be had or is beyond that of the cells, [`PipelineError::InitialFilter`] if the
/// initial logits do not fit.
pub(crate) fn filter(
    settings: &MapSettings,
    voxels: &ExpressionFile,
    n_cells: usize,
) -> Result<Option<Filter>> {
    let (Mode::Constrained, Some(count)) = (settings.mode, &settings.target_count) else {
        return Ok(None);
    };
    let wrong = |reason: String| PipelineError::TargetCount {
        given: count.to_string(),
        reason,
    };
    let target = match count {
        TargetCount::Number(number) => *number,
        TargetCount::Voxels => voxels.n_rows() as f64,
        TargetCount::Obs(column) => of_column(column, voxels).map_err(&wrong)?,
    };
    if target > n_cells as f64 {
        return Err(wrong(format!(
            "that is {target} cells, but {} has {n_cells}: a filter leaves cells out, it adds none; take --mode cells, or fewer",
            settings.cells.display()
        )));
    }
    let initial = settings.init_filter.as_deref();
    Ok(Some(Filter {
        target,
        initial: initial.map(|path| logits(path, n_cells)).transpose()?,
    }))
}

/// The sum of a column of the voxels' obs, or why it is no number of cells.
fn of_column(column: &str, voxels: &ExpressionFile) -> Result<f64, String> {
    let path = voxels.dataset().path().display();
    let found = voxels.dataset().obs_column(column);
    let Some(values) = found.map_err(|e| e.to_string())?.as_numbers() else {
        return Err(format!(
            "{path}: obs column `{column}` holds no numbers; give a column of cell counts"
        ));
    };
    let mut sum = 0.0;
    for (voxel, value) in values.into_iter().enumerate() {
        match value {
            Some(value) if value.is_finite() && value >= 0.0 => sum += value,
            Some(value) => {
                return Err(format!(
                    "{path}: obs column `{column}` has {value} at voxel {voxel} (from 0); counts are 0 or more"
                ));
            }
            None => {
                return Err(format!(
                    "{path}: obs column `{column}` has no value at voxel {voxel} (from 0); fill it in, for instance with 0"
                ));
            }
        }
    }
    match sum > 0.0 {
        true => Ok(sum),
        false => Err(format!(
            "{path}: obs column `{column}` sums to 0: no cell would be kept"
        )),
    }
}

/// Initial logits of a filter.
fn logits(path: &Path, n_cells: usize) -> Result<Vec<f64>> {
    let logits = read_npy_list(path)?.to_vec();
    let wrong = |reason: String| PipelineError::InitialFilter {
        path: path.to_owned(),
        reason,
    };
    if logits.len() != n_cells {
        return Err(wrong(format!(
            "it holds {} numbers; a filter begins from one logit for every cell, of which there are {n_cells}",
            logits.len()
        )));
    }
    match logits.iter().position(|x| !x.is_finite()) {
        Some(cell) => Err(wrong(format!(
            "the logit of cell {cell} (from 0) is not finite"
        ))),
        None => Ok(logits),
    }
}
