//! Why work on files stops: one variant for each cause, each with its remedy.

mod within;

pub use self::within::{Within, full_text};
pub use crate::cause::cause_of;
use crate::names_differ::NamesDiffer;
use std::convert::Infallible;
use std::io;
use std::path::PathBuf;
use tangram_atlas::AtlasError;
use tangram_comm::GridError;
use tangram_core::{AnnotationError, GeneError, PlacesError, PriorError, TissueError};
use tangram_mapper::MapError;
use tangram_networks::NetworkError;
use tangram_report::PictureError;
use tangram_store::StoreError;
use tangram_sweep::slurm::SlurmError;
use tangram_sweep::{Cause, SweepError};

/// A result whose error is [`PipelineError`].
pub type Result<T, E = PipelineError> = std::result::Result<T, E>;

/// Why work on files stops.
///
/// [`cause`](Self::cause) sorts the errors by what a caller may do about them. [`full_text`] gives a message with all its causes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
        "{path}: changed since the run {run} was made from it. If its counts are the same and only annotations changed, go on with {flag} {path}; \
         otherwise give the original file with {flag}, or map again"
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
    /// Voxels without coordinates, where neighbouring voxels are compared.
    #[error(
        "{path}: the voxels have no coordinates (obsm/spatial), which --neighbours needs; add them, or leave out --{setting}"
    )]
    NoPlaces {
        /// The voxels' file.
        path: PathBuf,
        /// The weight of the term that compares them.
        setting: &'static str,
    },
    /// Coordinates of voxels that give no neighbours.
    #[error("{path}: obsm/spatial: {reason}")]
    Places {
        /// The voxels' file.
        path: PathBuf,
        /// Why not, and the remedy.
        reason: PlacesError,
    },
    /// A file of names that cannot be used.
    #[error("{path}: {reason}")]
    GeneList {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Names of genes that differ between two files, where another way of matching would match many more.
    #[error("{0}")]
    GeneNames(Box<NamesDiffer>),
    /// Values that are not what a mapping needs, or not what the user says.
    #[error("{path}: {matrix} holds {found}: {remedy}")]
    Values {
        /// The file.
        path: PathBuf,
        /// The matrix.
        matrix: String,
        /// What they seem to be.
        found: String,
        /// Ways to go on.
        remedy: String,
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
    /// Cells that lack genes of a training.
    #[error(
        "{path}: {matrix} lacks {n_missing} of the {n_training} genes that the mapping was trained on: {examples}; \
         give cells that have all of them (0 where a gene was not seen), or map again without these genes (map --genes)"
    )]
    TrainingGenes {
        /// The file of the cells.
        path: PathBuf,
        /// The matrix looked in.
        matrix: String,
        /// How many are missing.
        n_missing: usize,
        /// Of how many.
        n_training: usize,
        /// The first few.
        examples: String,
    },
    /// A file without rows.
    #[error("{path}: holds no {what}; is it the right file?")]
    Empty {
        /// The file.
        path: PathBuf,
        /// `cells` or `voxels`.
        what: &'static str,
    },
    /// Voxels without a single count.
    #[error(
        "{path}: {n_zero} of {n_voxels} voxels have no count in any gene: {examples}; add --drop-empty to leave them out"
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
    /// A column of labels that tells no clusters, or no types.
    #[error("{path}: obs column `{column}` as {what}: {reason}")]
    Clusters {
        /// The file of the cells.
        path: PathBuf,
        /// The column.
        column: String,
        /// What it was to tell.
        what: &'static str,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A number of cells that a filter cannot keep.
    #[error("--target-count {given}: {reason}")]
    TargetCount {
        /// As typed.
        given: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A segmentation that cannot be read, or is not of these spots.
    #[error("{path}: {reason}")]
    Segmentation {
        /// The image or the table.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Spots, types of cells or true compositions that lack something.
    #[error("{path}: {reason}")]
    Spots {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Initial logits of a filter that do not fit.
    #[error("{path}: {reason}")]
    InitialFilter {
        /// The `.npy` file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The ranks that a launcher started do not find each other.
    #[error("{0}")]
    Launcher(String),
    /// The grid does not fit.
    // Without a source: its text is told here, and once.
    #[error("--grid: {0}")]
    Grid(GridError),
    /// Another rank has said what is wrong.
    #[error("another rank stopped")]
    OtherRank {
        /// Why.
        cause: Cause,
    },
    /// A run that was stopped is there.
    #[error(
        "{path}: holds the state of a run that was stopped after {passes} passes; add --resume to continue it, or --force to start again"
    )]
    Checkpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Passes done.
        passes: usize,
    },
    /// A checkpoint of another run.
    #[error(
        "{path}: the checkpoint belongs to another run: {difference}; repeat the original command, or add --force to start again"
    )]
    OtherCheckpoint {
        /// The folder of checkpoints.
        path: PathBuf,
        /// What differs.
        difference: String,
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
    /// A checkpoint that holds something else than was written.
    #[error("{path}: {reason}")]
    DamagedCheckpoint {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Factors of another version, or damaged.
    #[error("{path}: {reason}; map again")]
    Factors {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// A picture of something that the run does not have.
    #[error("{path}: {reason}")]
    NoPicture {
        /// The run, or the file of it that lacks something.
        path: PathBuf,
        /// What is missing, and the remedy.
        reason: String,
    },
    /// A training that ended before its first epoch.
    #[error("training ran no epoch")]
    NoEpoch,
    /// What only this rank has met while others wait for it: whoever called must end them all.
    #[error("rank {rank}")]
    Alone {
        /// This rank.
        rank: usize,
        /// What it met.
        source: Box<PipelineError>,
    },
    /// Something went wrong with a part of the work: a rank, a task, a pair of files.
    #[error("{what}")]
    Within {
        /// The part.
        what: String,
        /// What went wrong.
        source: Box<PipelineError>,
    },
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mapping cannot be learned.
    #[error(transparent)]
    Map(#[from] MapError),
    /// A sweep cannot be made, read or gone on with.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// Slurm is not there, does not answer or does not take a job.
    #[error(transparent)]
    Slurm(#[from] SlurmError),
    /// Too many tasks of a sweep failed.
    #[error(
        "{sweep}: {n_failed} of {n_tasks} tasks failed for good, more than the failure budget of {budget} allows; nothing was submitted. Mend the cause, then add --retry-failed"
    )]
    Hopeless {
        /// The sweep.
        sweep: PathBuf,
        /// Tasks that would fail again if submitted.
        n_failed: usize,
        /// All tasks.
        n_tasks: usize,
        /// Fraction of tasks that may fail.
        budget: f64,
    },
    /// Genes of the two sides do not fit.
    #[error(transparent)]
    Genes(#[from] GeneError),
    /// Weights that are no density.
    #[error(transparent)]
    Density(#[from] PriorError),
    /// An annotation that cannot be carried.
    #[error(transparent)]
    Annotation(#[from] AnnotationError),
    /// A tissue that cannot be simulated.
    #[error(transparent)]
    Tissue(#[from] TissueError),
    /// A picture that cannot be made.
    #[error(transparent)]
    Picture(#[from] PictureError),
    /// From the atlas, or a registered section.
    #[error(transparent)]
    Atlas(#[from] AtlasError),
    /// From a network, its weights or its training.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The state of an interrupted training where a new one would keep its own.
    #[error(
        "{path}: the state of an interrupted training; --resume goes on with it, --force begins anew"
    )]
    Interrupted {
        /// The state.
        path: PathBuf,
    },
    /// No state of a training that is to go on.
    #[error("{path}: no interrupted training is there; leave out --resume")]
    NotInterrupted {
        /// Where the state would be.
        path: PathBuf,
    },
    /// Settings that TOML cannot hold, such as a path that is not UTF-8.
    #[error(transparent)]
    Toml(#[from] toml::ser::Error),
    /// The system refuses: nobody reads the messages any more, or a process cannot be started.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl PipelineError {
    /// The error itself, without the part of the work in which it occurred.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Within { source, .. } | Self::Alone { source, .. } => source.innermost(),
            error => error,
        }
    }
}

impl From<GridError> for PipelineError {
    fn from(error: GridError) -> Self {
        Self::Grid(error)
    }
}

impl From<Infallible> for PipelineError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}
