//! Sweeps: many pieces of work, the tasks they are packed into, the attempts at them and their results.
//!
//! An *item* is one piece of work (a fold, a run with settings of its own), a *task* a pack of items that one process does (an element of a job
//! array, say). What an item is, its maker knows: this crate hands out its number and takes back an [`Outcome`]. The folder of a sweep is all
//! that processes share; it is the only record of what is done:
//!
//! ```text
//! sweep.toml, sweep.sha256       the manifest, never changed, and its SHA-256
//! attempts/00007.2.json          the second attempt at task 7: by which process, since when, how far, how it ended
//! results.zarr/predictions/c/7/… the shard of task 7, put there by one link when it is whole
//! submissions/002.json           the second submission to a cluster: names and numbers of its jobs
//! logs/                          the output of the jobs
//! runs/NAME/                     an output folder of an item, put there by one rename
//! ```

mod attempt;
mod error;
mod logs;
mod manifest;
mod outcome;
mod outlook;
mod progress;
mod queue;
mod record;
mod results;
pub mod slurm;
mod submission;
mod who;

pub use attempt::{Attempt, Attempts, Cause, Claim, State};
pub use error::SweepError;
pub use logs::gather_logs;
pub use manifest::{Input, Item, MANIFEST, Manifest, Output, Rows, table_of};
pub use outcome::Outcome;
pub use outlook::{Again, Outlook, Why};
pub use progress::{Standing, TaskProgress, progress_of, verified_progress_of};
pub use queue::{AtWork, Done, Ended, Finished, Queue, QueueSettings};
pub use results::Results;
pub use submission::{
    Beside, OpenSubmission, Submission, Submissions, SubmittedArray, SubmittedJob, alive_arrays,
};
pub use who::{OwnJob, Who};
