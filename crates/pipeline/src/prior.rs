//! Where cells are expected: the density prior, from the voxels.

use crate::choices::PriorChoice;
use crate::error::{PipelineError, Result};
use tangram_core::names::examples;
use tangram_core::{DensityPrior, PriorError};
use tangram_store::ExpressionFile;

/// Checks that every voxel has a count.
///
/// # Errors
/// [`PipelineError::ZeroVoxels`].
pub(crate) fn refuse_zero_voxels(voxels: &ExpressionFile, totals: &[f64]) -> Result<()> {
    let zero: Vec<usize> = (0..totals.len()).filter(|&j| totals[j] == 0.0).collect();
    if zero.is_empty() {
        return Ok(());
    }
    let names = voxels.names()?;
    Err(PipelineError::ZeroVoxels {
        path: voxels.dataset().path().to_owned(),
        n_zero: zero.len(),
        n_voxels: totals.len(),
        examples: examples(zero.iter().map(|&j| names[j].as_str())),
    })
}

/// The density prior of the settings.
///
/// * `totals`: the total count of every voxel
///
/// # Errors
/// [`PipelineError::Prior`] if a column cannot be one.
pub(crate) fn prior(
    choice: &PriorChoice,
    voxels: &ExpressionFile,
    totals: &[f64],
) -> Result<Option<DensityPrior>> {
    let prior = match choice {
        PriorChoice::None => return Ok(None),
        PriorChoice::Uniform => DensityPrior::uniform(totals.len())?,
        PriorChoice::Rna => DensityPrior::rna_counts(totals)?,
        PriorChoice::Obs(column) => {
            let wrong = |reason: String| PipelineError::Prior {
                path: voxels.dataset().path().to_owned(),
                column: column.clone(),
                reason,
            };
            let Some(values) = voxels.dataset().obs_column(column)?.as_numbers() else {
                return Err(wrong(
                    "it holds no numbers; give a column of cell counts or other weights".to_owned(),
                ));
            };
            if let Some(j) = values.iter().position(Option::is_none) {
                let name = &voxels.names()?[j];
                return Err(wrong(format!(
                    "voxel {name} has no value; fill it in, for instance with 0"
                )));
            }
            match DensityPrior::new(values.into_iter().flatten().collect()) {
                Ok(prior) => prior,
                Err(
                    PriorError::Negative { voxel, value } | PriorError::NotFinite { voxel, value },
                ) => {
                    let name = &voxels.names()?[voxel];
                    return Err(wrong(format!(
                        "voxel {name} has {value}; weights must be finite and 0 or more"
                    )));
                }
                Err(other) => return Err(wrong(other.to_string())),
            }
        }
    };
    Ok(Some(prior))
}
