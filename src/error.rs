//! What can be wrong that no library crate would notice, each with its remedy.

use std::path::PathBuf;
use tangram_comm::GridError;

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
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
    /// Genes asked for that the cells do not have.
    #[error(
        "{path}: {n_missing} of {n_asked} genes asked for are not in {matrix} of this file: {examples}; take them off the list"
    )]
    UnknownGenes {
        /// The file of the cells.
        path: PathBuf,
        /// The matrix looked in.
        matrix: String,
        /// How many are missing.
        n_missing: usize,
        /// How many were asked for.
        n_asked: usize,
        /// The first few.
        examples: String,
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
        /// Its exit code.
        code: u8,
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

/// The first names of a list, for a message.
#[must_use]
pub fn examples<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut text = names.by_ref().take(5).collect::<Vec<_>>().join(", ");
    if names.next().is_some() {
        text.push_str(", …");
    }
    text
}
