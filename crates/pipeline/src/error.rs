//! What can be wrong that no library crate would notice, each with its remedy.

use anyhow::{Context, Error, Result};
use std::path::{Path, PathBuf};
use tangram_comm::GridError;
use tangram_core::{AnnotationError, GeneError, PriorError, TissueError};
use tangram_mapper::MapError;
use tangram_store::StoreError;
use tangram_sweep::{Cause, SweepError};

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// Flags or settings that contradict each other.
    #[error("{0}")]
    Usage(String),
    /// A folder that is no run of `tangram map`.
    #[error(
        "{path}: not a run of `tangram map` ({reason}); give the folder that `map --out` wrote"
    )]
    NotARun {
        /// The folder.
        path: PathBuf,
        /// What is missing or unreadable.
        reason: String,
    },
    /// A run that is not whole: something was removed from it, or it was copied in part.
    #[error(
        "{path}: the run is not whole: {file} {reason}; copy it again from where it is whole, or map again with --force"
    )]
    Torn {
        /// The folder.
        path: PathBuf,
        /// The file, in it.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something in the folder of a run's checkpoints that this program did not put there.
    #[error(
        "{path}: is where the run would keep its checkpoints, but {found} in it is not of this program; choose another --out, or move it away"
    )]
    ForeignCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// Another process is writing the same output.
    #[error(
        "{path}: process {pid} on {host} is at work on it since {since}; wait for it, or stop it first{remedy}"
    )]
    AtWork {
        /// The output.
        path: PathBuf,
        /// The machine of the other process.
        host: String,
        /// Its number there.
        pid: u32,
        /// When it began.
        since: String,
        /// What else can be done.
        remedy: String,
    },
    /// Ranks of one mapping that were started with different commands or find different files.
    #[error(
        "the ranks were started with different {what}: start all of them with the same command, on the same files"
    )]
    RanksDiffer {
        /// `settings`, `inputs`.
        what: &'static str,
    },
    /// `--force` on a folder that this program did not write.
    #[error(
        "{path}: exists and is not a folder that this command wrote (no {marker} in it), so --force leaves it alone; choose another name"
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// The file that would have shown it.
        marker: &'static str,
    },
    /// An input of a run that is no longer what it was.
    #[error(
        "{path}: changed since the run {run} was made from it; give the original file with {flag}, or map again"
    )]
    Changed {
        /// The input.
        path: PathBuf,
        /// The run.
        run: PathBuf,
        /// The flag that names another file.
        flag: &'static str,
    },
    /// An input of a sweep that is no longer what it was.
    #[error(
        "{path}: changed since the sweep {sweep} was made from it; put the original back, or make a new sweep"
    )]
    ChangedInput {
        /// The input.
        path: PathBuf,
        /// The sweep.
        sweep: PathBuf,
    },
    /// A mapping of a sweep that failed.
    #[error("run {name} ended with code {code}; its message stands above, or in the job's log")]
    Run {
        /// Name of the run.
        name: String,
        /// Exit code of `tangram map`.
        code: i32,
        /// What it means.
        cause: Cause,
    },
    /// An input that does not have the names of the mapping.
    #[error(
        "{path}: its {what} are not those of the mapping ({reason}); give the file that was mapped"
    )]
    OtherNames {
        /// The input.
        path: PathBuf,
        /// `cells` or `voxels`.
        what: &'static str,
        /// The first difference.
        reason: String,
    },
    /// A file of names that cannot be used.
    #[error("{path}: {reason}")]
    GeneList {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A column that cannot be a density prior.
    #[error("{path}: obs column `{column}` as a prior: {reason}")]
    Prior {
        /// The file of the voxels.
        path: PathBuf,
        /// The column.
        column: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Voxels without a single count.
    #[error(
        "{path}: {n_zero} of {n_voxels} voxels have no count in any gene: {examples}; remove them first, in Python: scanpy.pp.filter_cells(voxels, min_counts=1)"
    )]
    ZeroVoxels {
        /// The file of the voxels.
        path: PathBuf,
        /// How many.
        n_zero: usize,
        /// Of how many.
        n_voxels: usize,
        /// The first few.
        examples: String,
    },
    /// Initial logits of another shape.
    #[error(
        "{path}: the array is {found_cells} × {found_voxels}; initial logits must be cells × voxels, {n_cells} × {n_voxels}"
    )]
    InitialLogits {
        /// The `.npy` file.
        path: PathBuf,
        /// Rows found.
        found_cells: usize,
        /// Columns found.
        found_voxels: usize,
        /// Rows needed.
        n_cells: usize,
        /// Columns needed.
        n_voxels: usize,
    },
    /// The ranks that a launcher started do not find each other.
    #[error("{0}")]
    Launcher(String),
    /// The grid does not fit.
    #[error("--grid: {0}")]
    Grid(#[from] GridError),
    /// Another rank has said what is wrong.
    #[error("another rank stopped")]
    OtherRank {
        /// Why.
        cause: Cause,
    },
    /// What only this rank has met while others wait for it: whoever called must end them all.
    #[error("rank {rank}")]
    Alone {
        /// This rank.
        rank: usize,
        /// What it met.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The doctor found something.
    #[error("{n} of the findings above must be mended before a mapping can run")]
    Unwell {
        /// How many.
        n: usize,
    },
    /// A run that was stopped is there.
    #[error(
        "{path}: holds the state of a run that was stopped after {passes} passes; add --resume to go on from it, or --force to begin anew"
    )]
    Checkpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Passes done.
        passes: usize,
    },
    /// A checkpoint of another run.
    #[error(
        "{path}: the checkpoint is of another run: {difference}; give the command it was begun with, or --force to begin anew"
    )]
    OtherCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// What differs.
        difference: String,
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
    /// No grid of the ranks fits in their memory.
    #[error("--grid auto: {reason} (its node has {available} for each of its ranks)")]
    NoGridFits {
        /// What is missing, and what would do.
        reason: String,
        /// Bytes of a rank on the node that has least, for people.
        available: String,
    },
    /// Less memory than the mapping needs.
    #[error(
        "mapping {n_cells} cells onto {n_voxels} voxels needs about {needed} of memory, and {available} are free; {remedy}"
    )]
    Memory {
        /// Number of cells.
        n_cells: usize,
        /// Number of voxels.
        n_voxels: usize,
        /// Bytes needed, for people.
        needed: String,
        /// Bytes available, for people.
        available: String,
        /// What would help.
        remedy: &'static str,
    },
}

/// Why a command, a task or a rank ends: the first cause in the chain that decides it.
#[must_use]
pub fn cause(error: &Error) -> Cause {
    error
        .chain()
        .find_map(decisive)
        .unwrap_or(Cause::Unexpected)
}

fn decisive(error: &(dyn std::error::Error + 'static)) -> Option<Cause> {
    if let Some(error) = error.downcast_ref::<StoreError>() {
        return Some(of_store(error));
    }
    if let Some(error) = error.downcast_ref::<PipelineError>() {
        return Some(match error {
            PipelineError::Alone { .. } => return None,
            PipelineError::Usage(_)
            | PipelineError::Grid(_)
            | PipelineError::Launcher(_)
            | PipelineError::RanksDiffer { .. } => Cause::Usage,
            PipelineError::OtherRank { cause } | PipelineError::Run { cause, .. } => *cause,
            PipelineError::NotOurs { .. }
            | PipelineError::Checkpoint { .. }
            | PipelineError::ForeignCheckpoint { .. }
            | PipelineError::AtWork { .. } => Cause::Output,
            PipelineError::Memory { .. } | PipelineError::NoGridFits { .. } => Cause::Memory,
            _ => Cause::Input,
        });
    }
    if let Some(error) = error.downcast_ref::<SweepError>() {
        return Some(match error {
            SweepError::Store(error) => of_store(error),
            SweepError::Superseded { .. } => Cause::Superseded,
            SweepError::Folds(_) | SweepError::NoTask { .. } => Cause::Usage,
            SweepError::Write { .. }
            | SweepError::AtWork { .. }
            | SweepError::Submitting { .. } => Cause::Output,
            _ => Cause::Input,
        });
    }
    if let Some(error) = error.downcast_ref::<MapError>() {
        return Some(match error {
            MapError::Threads { .. } | MapError::Torch(_) => Cause::Unexpected,
            MapError::DeviceMemory { .. } | MapError::DeviceFull => Cause::Memory,
            MapError::Keep(_) => Cause::Output,
            MapError::Stopped { .. } => Cause::Signal,
            _ => Cause::Input,
        });
    }
    if error.is::<TissueError>() {
        return Some(Cause::Usage);
    }
    let of_input =
        error.is::<GeneError>() || error.is::<PriorError>() || error.is::<AnnotationError>();
    of_input.then_some(Cause::Input)
}

fn of_store(error: &StoreError) -> Cause {
    match error {
        StoreError::Exists { .. } | StoreError::Ending { .. } | StoreError::Write { .. } => {
            Cause::Output
        }
        StoreError::Unwritable { .. } => Cause::Unexpected,
        _ => Cause::Input,
    }
}

/// Adds the names of the two files to an error about both.
pub trait OfBoth<T> {
    /// The result, its error naming the files.
    ///
    /// # Errors
    /// The error it had.
    fn of_both(self, cells: &Path, voxels: &Path) -> Result<T>;
}

impl<T, E> OfBoth<T> for Result<T, E>
where
    Self: Context<T, E>,
{
    fn of_both(self, cells: &Path, voxels: &Path) -> Result<T> {
        self.with_context(|| format!("cells {}, voxels {}", cells.display(), voxels.display()))
    }
}
