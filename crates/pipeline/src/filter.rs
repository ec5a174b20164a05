//! How much of every cell a filter keeps, in files.

use crate::choices::Mode;
use crate::error::{PipelineError, Result};
use crate::run_directory::RunDirectory;
use tangram_core::Column;
use tangram_store::{Dataset, Uns};

/// The column of obs of a mapping, and the list in uns of factors, that hold f.
pub(crate) const COLUMN: &str = "tangram_filter";
/// A cell is kept if f is above this.
pub(crate) const KEPT: f64 = 0.5;

/// f of the cells of a run, from the file of its factors or of its probabilities; `None` if it learned no filter.
///
/// # Errors
/// [`PipelineError::Factors`] if the file lacks it.
pub(crate) fn read(run: &RunDirectory, file: &Dataset) -> Result<Option<Vec<f64>>> {
    if run.settings().mode != Mode::Constrained {
        return Ok(None);
    }
    let n_cells = run.record().n_cells;
    let found = match run.record().factors {
        Some(_) => match file.uns_value(COLUMN)? {
            Some(Uns::Numbers(filter)) => Some(filter),
            _ => None,
        },
        None => match file.obs_column(COLUMN)? {
            Column::Numeric(filter) => filter.into_iter().collect(),
            _ => None,
        },
    };
    let whole = found.filter(|filter| filter.len() == n_cells);
    whole.map(Some).ok_or_else(|| PipelineError::Factors {
        path: file.path().to_owned(),
        reason: format!("`{COLUMN}` does not hold a number for every cell"),
    })
}
