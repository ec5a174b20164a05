//! What an error is about, and an error with all its causes.

use super::{PipelineError, Result};
use std::path::Path;

/// Names the part of the work in which an error occurred.
pub trait Within<T> {
    /// The result, its error with `what` before its text.
    ///
    /// # Errors
    /// The error it was.
    fn within(self, what: impl FnOnce() -> String) -> Result<T>;

    /// The result, its error with the names of both files.
    ///
    /// # Errors
    /// The error it was.
    fn of_both(self, cells: &Path, voxels: &Path) -> Result<T>
    where
        Self: Sized,
    {
        self.within(|| format!("cells {}, voxels {}", cells.display(), voxels.display()))
    }
}

impl<T, E: Into<PipelineError>> Within<T> for Result<T, E> {
    fn within(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| PipelineError::Within {
            what: what(),
            source: Box::new(error.into()),
        })
    }
}

/// An error and all its causes in one line.
#[must_use]
pub fn full_text(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
