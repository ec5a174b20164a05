//! Errors of commands that no library knows.

use std::path::PathBuf;

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The doctor found something.
    #[error("{n} of the findings above must be mended before a mapping can run")]
    Unwell {
        /// How many.
        n: usize,
    },
    /// A sweep of which too much failed.
    #[error(
        "{sweep}: {n_failed} of {n_tasks} tasks failed for good, more than the failure budget of {budget} allows; nothing was submitted. Mend the cause, then add --retry-failed"
    )]
    Hopeless {
        /// The sweep.
        sweep: PathBuf,
        /// Tasks that would fail again.
        n_failed: usize,
        /// Of how many.
        n_tasks: usize,
        /// Share that may fail.
        budget: f64,
    },
}
