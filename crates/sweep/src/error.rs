//! What can be wrong with a sweep.

use std::path::{Path, PathBuf};
use tangram_store::StoreError;

/// Why a sweep cannot be made, read or gone on with.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SweepError {
    /// A folder that is no sweep.
    #[error("{path}: not a sweep ({reason}); give the folder that `tangram sweep new --out` wrote")]
    NotASweep {
        /// The folder.
        path: PathBuf,
        /// What is missing or unreadable.
        reason: String,
    },
    /// A sweep of a format that this program does not know.
    #[error(
        "{path}: a sweep of format {format}, made by tangram {version}; this program does format {known}: finish it with the version that made it, or make it again with `tangram sweep new`"
    )]
    OtherFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        format: i64,
        /// The version that made it.
        version: String,
        /// The format that this program reads and writes.
        known: u32,
    },
    /// A manifest that is not what was written.
    #[error(
        "{path}: changed since `tangram sweep new` wrote it (sweep.sha256 has its SHA-256); put the original back, or make another sweep with `tangram sweep new`"
    )]
    Edited {
        /// The manifest.
        path: PathBuf,
    },
    /// A part of the manifest, or of a record, that its maker does not understand.
    #[error(
        "{what}: cannot be understood ({reason}); another version of the program made the sweep"
    )]
    Work {
        /// The part.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// A task that the sweep does not have.
    #[error("{path}: has {n_tasks} tasks, numbered from 0; there is no task {task}")]
    NoTask {
        /// The sweep.
        path: PathBuf,
        /// The number asked for.
        task: usize,
        /// How many there are.
        n_tasks: usize,
    },
    /// A record that cannot be read.
    #[error(
        "{path}: cannot be read as a record of an attempt ({reason}); remove it to have the task done again"
    )]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer attempt took the task over.
    #[error(
        "task {task}: attempt {number} was superseded by a newer one, which goes on; nothing was written"
    )]
    Superseded {
        /// The task.
        task: usize,
        /// The attempt that ends.
        number: u32,
    },
    /// Another process is at work on the task.
    #[error(
        "task {task}: process {pid} on {host} is at work on it since {seconds:.0} s; wait for it, or end it first"
    )]
    AtWork {
        /// The task.
        task: usize,
        /// Its machine.
        host: String,
        /// The process.
        pid: u32,
        /// How long.
        seconds: f64,
    },
    /// A record of a submission that cannot be read.
    #[error(
        "{path}: cannot be read as a record of a submission ({reason}); put the original back, or remove it once `squeue` shows none of its jobs"
    )]
    Submission {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Another process submits tasks of the sweep.
    #[error(
        "{path}: process {pid} of {host} began to submit tasks of this sweep {seconds:.0} s ago; nothing was submitted: wait for it, then look with `tangram sweep status`"
    )]
    Submitting {
        /// The record of its submission.
        path: PathBuf,
        /// Its machine.
        host: String,
        /// Its number there.
        pid: u32,
        /// How long it is at it.
        seconds: f64,
    },
    /// Results that are missing.
    #[error(
        "{path}: {missing} of {n_tasks} tasks are not done ({examples}); `tangram sweep status` tells why, `tangram sweep resume` or `run --all` does them, and --allow-missing collects without them"
    )]
    Incomplete {
        /// The sweep.
        path: PathBuf,
        /// How many are missing.
        missing: usize,
        /// Of how many.
        n_tasks: usize,
        /// The first few.
        examples: String,
    },
    /// A shard that is not what was written.
    #[error(
        "{path}: damaged: its SHA-256 is not that of its record; `tangram sweep run` does the task again"
    )]
    Damaged {
        /// The shard.
        path: PathBuf,
    },
    /// Writing failed.
    #[error("{path}: cannot write: {reason}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A file of the sweep that the store cannot read or write.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SweepError {
    pub(crate) fn write(path: &Path, error: &std::io::Error) -> Self {
        let reason = match error.kind() {
            std::io::ErrorKind::StorageFull => "the disk is full".to_owned(),
            _ => error.to_string(),
        };
        Self::Write {
            path: path.to_owned(),
            reason,
        }
    }
}
