//! Many trainings: the folds of a sweep, the tasks they are packed into, the attempts at them and their results.
//!
//! A *fold* is one training, a *task* a pack of folds that one process does (an element of a job array, say). The folder of
//! a sweep is all that processes share, and it alone says what is done:
//!
//! ```text
//! sweep.toml                     the manifest, never changed
//! attempts/00007.2.json          the second attempt at task 7: who, since when, how far, how it ended
//! results.zarr/predictions/c/7/… the shard of task 7, put there by one link when it is whole
//! submissions/002.json          the second submission to a cluster: names and numbers of its jobs
//! logs/                          what the jobs said
//! runs/NAME/                     the runs of a sweep over settings, each put there by one rename
//! ```

mod attempt;
mod error;
mod fold;
mod manifest;
mod outlook;
mod progress;
mod record;
mod results;
pub mod slurm;
mod submission;
mod who;

pub use attempt::{Attempt, Attempts, Cause, Claim, FoldOutcome, GeneOutcome, State};
pub use error::SweepError;
pub use fold::{Fold, ablation, k_fold, leave_one_out};
pub use manifest::{Kind, MANIFEST, Manifest, RunSpec, Start, Work};
pub use outlook::{Again, Outlook, Why};
pub use progress::{Standing, TaskProgress, progress_of, verified_progress_of};
pub use results::Results;
pub use submission::{ArrayRecord, JobRecord, OpenSubmission, Submission, Submissions};
pub use who::{Job as SlurmJob, Who};
