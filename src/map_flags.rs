//! The flags of a mapping: those of `tangram map`, `submit map` and `sweep new`.

use crate::choices::one_of;
use crate::values::{at_least_one, n_threads, not_negative, positive, seed};
use crate::weight_flags::WeightFlags;
use clap::Args;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tangram_comm::Reduce;
use tangram_core::{Convention, Normalize, Transform, Values};
use tangram_pipeline::choices::{
    ClusterValues, DeviceChoice, FilterChoice, Goal, GridChoice, KeepChoice, MappingFormat, Mode,
    ObsColumn, PrecisionChoice, PriorChoice, Solver, Stream, TargetCount, Temperature, as_text,
    maybe_text,
};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::match_genes::MatchGenes;
use tangram_pipeline::named::{
    CLUSTER_VALUES, CONVENTIONS, DEVICES, FILTERS, FORMATS, GOALS, MODES, PRECISIONS, SOLVERS,
    STREAMS,
};
use tangram_pipeline::neighbours::NeighbourChoice;
use tangram_pipeline::settings::{MapSettings, threads};
use tangram_pipeline::weights::{self, Available};
use tangram_store::MatrixName;

const INPUT: &str = "Input";
const GENES: &str = "Genes and values";
pub(crate) const OBJECTIVE: &str = "What a good mapping is";
const TRAINING: &str = "Training";
const OUTPUT: &str = "Output";
const SOLVER: &str = "Inside the solvers (the defaults suit nearly everyone)";

/// The settings of a mapping as they are typed; [`resolved`](Self::resolved) fills in those that were left out.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapFlags {
    /// The single-cell data: .h5ad, AnnData .zarr, 10x .h5, or a folder with matrix.mtx
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub cells: PathBuf,
    /// The spatial data: as --cells, or a Space Ranger output folder
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub voxels: PathBuf,
    /// Where the cells' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    #[serde(with = "as_text")]
    pub cells_matrix: MatrixName,
    /// Where the voxels' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    #[serde(with = "as_text")]
    pub voxels_matrix: MatrixName,

    /// What the cells' values are: auto refuses logarithms, log1p undoes them, as-is takes them as they are
    #[arg(long, value_name = "WHAT", default_value_t = Values::Auto, help_heading = GENES)]
    #[serde(default)]
    pub values: Values,
    /// Likewise for voxels
    #[arg(long, value_name = "WHAT", default_value_t = Values::Auto, help_heading = GENES)]
    #[serde(default)]
    pub values_voxels: Values,
    /// Which genes of both files are the same: exact (by name), case (whatever the case), id (Ensembl, without version),
    /// column:NAME (of var) or table:FILE (two names a line) [default: exact, unless another way would match many more]
    #[arg(long, value_name = "HOW", help_heading = GENES)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub match_genes: Option<MatchGenes>,
    /// Leave voxels without a count out instead of stopping
    #[arg(long, help_heading = GENES)]
    #[serde(default)]
    pub drop_empty: bool,
    /// Train on the genes of this list (one name a line) instead of all that both files have
    #[arg(long, value_name = "FILE", conflicts_with = "hold_out", help_heading = GENES)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genes: Option<PathBuf>,
    /// Keep the genes of this list (one name a line) out of training, to test the mapping on them
    #[arg(long, value_name = "FILE", help_heading = GENES)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<PathBuf>,
    /// Bring every cell to the same total count (library), or leave cells as they are (none)
    #[arg(long, value_name = "HOW", default_value_t = Normalize::FOR_CELLS, help_heading = GENES)]
    pub normalize: Normalize,
    /// Likewise for voxels; by default their totals stay, since they indicate how many cells are there
    #[arg(long, value_name = "HOW", default_value_t = Normalize::FOR_VOXELS, help_heading = GENES)]
    pub normalize_voxels: Normalize,
    /// Transform both sides for training: none, sqrt or log1p; what is carried into space stays untransformed
    #[arg(long, value_name = "HOW", default_value_t = Transform::None, help_heading = GENES)]
    pub transform: Transform,

    /// What is mapped: all cells (cells), clusters of them (clusters), or those that a filter keeps because they belong (constrained)
    #[arg(long, value_parser = one_of(MODES), default_value = "cells", help_heading = OBJECTIVE)]
    #[serde(default)]
    pub mode: Mode,
    /// The column of the cells' obs that tells the clusters of --mode clusters; cells without a label are left out
    #[arg(long, value_name = "obs:COLUMN", help_heading = OBJECTIVE)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ObsColumn>,
    /// What of its cells' values a cluster is [default: sums, as in the original package]
    #[arg(long, value_parser = one_of(CLUSTER_VALUES), help_heading = OBJECTIVE)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_values: Option<ClusterValues>,
    /// How many cells the filter of --mode constrained keeps: a number, voxels (as many as there are), or obs:COLUMN (the sum of the
    /// voxels' segmented cells)
    #[arg(long, value_name = "N", help_heading = OBJECTIVE)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub target_count: Option<TargetCount>,
    /// How the filter finds them [default: learned, with --solver adam package]
    #[arg(long, value_parser = one_of(FILTERS), help_heading = OBJECTIVE)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterChoice>,
    /// Begin the filter from these logits, a NumPy array of one number for every cell
    #[arg(long, value_name = "FILE.npy", help_heading = OBJECTIVE)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_filter: Option<PathBuf>,

    /// Purpose of the mapping; sets --temperature and the weights of the gene, voxel and composition terms where they are not
    /// given [default: impute; with --mode constrained place; with --solver adam or --objective paper package]
    #[arg(long, value_parser = one_of(GOALS), help_heading = OBJECTIVE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,

    /// Where cells are expected: rna (in proportion to each voxel's counts), uniform, obs:COLUMN of the voxels, or none
    #[arg(long, value_name = "WHICH", default_value_t = PriorChoice::Rna, help_heading = OBJECTIVE)]
    #[serde(with = "as_text")]
    pub prior: PriorChoice,
    /// How the loss is to be understood
    #[arg(long, value_parser = one_of(CONVENTIONS), default_value = "package", help_heading = OBJECTIVE)]
    #[serde(default)]
    pub objective: Convention,
    #[command(flatten)]
    #[serde(flatten)]
    pub weights: WeightFlags,
    /// Which voxels are neighbours, by their coordinates (obsm/spatial): lattice (spots in rows), nearest:K, or radius:R in units
    /// of the coordinates
    #[arg(long, value_name = "WHICH", help_heading = OBJECTIVE)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<NeighbourChoice>,
    /// The column of the cells' obs that tells the types of --lambda-islands; cells without a label do not count there
    #[arg(long, value_name = "obs:COLUMN", help_heading = OBJECTIVE)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub island_types: Option<ObsColumn>,

    /// Solver
    #[arg(long, value_parser = one_of(SOLVERS), default_value = "mirror", help_heading = TRAINING)]
    pub solver: Solver,
    /// Maximum number of passes over the data; mirror usually converges within 100 [default: 500, with --solver adam 1000]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Seed of the random numbers; the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = MapSettings::SEED, value_parser = seed, help_heading = TRAINING)]
    pub seed: u64,
    /// Device: the cores (cpu), a GPU for every rank (cuda), or a GPU if every rank has one (auto); torch-cpu is for checks: it runs the
    /// code of cuda on the cores, slower than cpu
    #[arg(long, value_name = "DEVICE", value_parser = one_of(DEVICES), default_value = "cpu", help_heading = TRAINING)]
    #[serde(default)]
    pub device: DeviceChoice,
    /// GPU memory to use, in GB [default: nine tenths of what is free]
    #[arg(long, value_name = "GB", value_parser = positive, help_heading = TRAINING)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<f64>,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// How MPI ranks share the work: CELLSxVOXELSxGENES, the number of ranks along each, such as 4x2x1, or auto, the fastest that
    /// fits (as `tangram plan` estimates) [default: auto]
    #[arg(long, value_name = "GRID", help_heading = TRAINING)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridChoice>,

    /// What is stored of every cell's probabilities: all, mass:SHARE (few that hold at least this share), top:N, or none,
    /// since they can be computed from mirror's factors [default: mass:0.999, with mirror none above 50 million cells × voxels]
    #[arg(long, value_name = "WHAT", help_heading = OUTPUT)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepChoice>,
    /// File format of the mapping
    #[arg(long, value_parser = one_of(FORMATS), default_value = "zarr", help_heading = OUTPUT)]
    pub format: MappingFormat,

    /// Limit on the spread of a cell's logits over the voxels (mirror only): off, a number such as 2, or auto, which chooses by
    /// held-out genes; smaller is smoother [default: by --goal]
    #[arg(long, value_name = "KAPPA", help_heading = SOLVER)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,
    /// Learning rate of adam: the size of its steps; mirror finds its own [default: 0.1]
    #[arg(long, value_name = "RATE", value_parser = positive, help_heading = SOLVER)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Stop once the relative change of the loss is less than this, over 10 passes of mirror or 50 of adam (0: never)
    /// [default: 0.0005, with --solver adam 0]
    #[arg(long, value_name = "CHANGE", value_parser = not_negative, help_heading = SOLVER)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Cell batches of mirror: the first passes see one cell in N, later ones twice as many each time, the last ones all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one, help_heading = SOLVER)]
    pub batches: usize,
    /// Maximum number of passes over batches; the others see all cells [default: half of --epochs]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = SOLVER)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_epochs: Option<usize>,
    /// Whether mirror reads the cells from disk at every pass instead of holding them; auto: if memory is short
    #[arg(long, value_parser = one_of(STREAMS), default_value = "auto", help_heading = SOLVER)]
    pub stream: Stream,
    /// Precision of the products: tf32 and fp16 are for GPUs, bf16 is less accurate, f64 is for checks
    #[arg(long, value_parser = one_of(PRECISIONS), default_value = "auto", help_heading = SOLVER)]
    pub precision: PrecisionChoice,
    /// Megabytes of a block of logits on the device, for trials [default: 64, at least 2,048 cells]
    #[arg(long, value_name = "MB", value_parser = positive, hide = true, help_heading = SOLVER)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_block: Option<f64>,
    /// Sums over ranks: fast, or exact, which gives the same bits for any number of ranks and takes longer
    #[arg(long, value_name = "HOW", default_value_t = Reduce::Fast, help_heading = SOLVER)]
    #[serde(with = "as_text", default)]
    pub reduce: Reduce,
    /// Begin from these logits, a NumPy array of cells × voxels, instead of random ones (adam only)
    #[arg(long, value_name = "FILE.npy", help_heading = SOLVER)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_logits: Option<PathBuf>,
}

impl MapFlags {
    /// The settings with nothing left open: paths absolute, defaults that depend on others filled in.
    ///
    /// # Errors
    /// [`PipelineError::Usage`] if they contradict each other.
    pub fn resolved(self) -> Result<MapSettings, PipelineError> {
        let goal = self.goal.unwrap_or(match self.objective {
            Convention::Package => self.solver.default_goal(self.mode),
            Convention::Paper => Goal::Package,
        });
        let of_goal = goal.settings();
        let temperature = match self.solver {
            Solver::Mirror => Some(self.temperature.unwrap_or(of_goal.temperature)),
            Solver::Adam => self.temperature,
        };
        let filter = match self.mode {
            Mode::Constrained => Some(self.filter.unwrap_or(self.solver.default_filter())),
            Mode::Cells | Mode::Clusters => self.filter,
        };
        let cluster_values = match self.mode {
            Mode::Clusters => Some(self.cluster_values.unwrap_or(ClusterValues::DEFAULT)),
            Mode::Cells | Mode::Constrained => self.cluster_values,
        };
        let available = Available {
            prior: &self.prior,
            neighbours: self.neighbours,
            types: self.island_types.is_some(),
            filter,
            convention: self.objective,
        };
        let objective = weights::resolved(&self.weights.0, goal, &available)?;
        let settings = MapSettings {
            cells: absolute(self.cells),
            voxels: absolute(self.voxels),
            cells_matrix: self.cells_matrix,
            voxels_matrix: self.voxels_matrix,
            values: self.values,
            values_voxels: self.values_voxels,
            match_genes: self.match_genes.map(MatchGenes::absolute),
            drop_empty: self.drop_empty,
            genes: self.genes.map(absolute),
            hold_out: self.hold_out.map(absolute),
            normalize: self.normalize,
            normalize_voxels: self.normalize_voxels,
            transform: self.transform,
            mode: self.mode,
            cluster: self.cluster,
            cluster_values,
            target_count: self.target_count,
            filter,
            init_filter: self.init_filter.map(absolute),
            goal,
            prior: self.prior,
            convention: self.objective,
            objective,
            neighbours: self.neighbours,
            island_types: self.island_types,
            temperature,
            solver: self.solver,
            epochs: self.epochs.unwrap_or(self.solver.default_epochs()),
            lr: self.lr.or(self.solver.default_lr()),
            seed: self.seed,
            tolerance: self.tolerance.unwrap_or(self.solver.default_tolerance()),
            batches: self.batches,
            batch_epochs: self.batch_epochs,
            stream: self.stream,
            device: self.device,
            gpu_memory: self.gpu_memory,
            device_block: self.device_block,
            precision: self.precision,
            threads: threads(self.threads),
            grid: self.grid,
            reduce: self.reduce,
            init_logits: self.init_logits.map(absolute),
            keep: self.keep,
            format: self.format,
        };
        settings.check()?;
        Ok(settings)
    }
}

/// The current folder is unknown only if it was deleted; the path as typed then serves as well.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}
