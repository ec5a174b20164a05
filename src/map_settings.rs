//! What `tangram map` can be told.

use crate::cell_expression::cells_per_part;
use crate::error::CliError;
use crate::grid_plan::CellsAre;
use crate::values::{
    GridChoice, KeepChoice, PriorChoice, Temperature, as_text, at_least_one, maybe_text,
    not_negative, positive, seed, threads,
};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use tangram_comm::Reduce;
use tangram_core::{Keep, Normalize, Objective, Transform};
use tangram_mapper::{
    AdamSettings, Engine, MirrorSettings, PassPlan, Precision, Reading, TorchDevice, TorchEngine,
};
use tangram_store::MatrixName;

const INPUT: &str = "Input";
const GENES: &str = "Genes and values";
const OBJECTIVE: &str = "What a good mapping is";
const TRAINING: &str = "Training";
const OUTPUT: &str = "Output";

/// The settings of a mapping: together with the inputs and the program's version they decide the result.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapSettings {
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
    /// Likewise for voxels; by default their totals stay, since they tell how many cells are there
    #[arg(long, value_name = "HOW", default_value_t = Normalize::FOR_VOXELS, help_heading = GENES)]
    pub normalize_voxels: Normalize,
    /// Transform both sides for training: none, sqrt or log1p; what is carried into space stays untransformed [default: by
    /// --goal]
    #[arg(long, value_name = "HOW", help_heading = GENES)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transform: Option<Transform>,

    /// What the mapping is for; sets --transform, --lambda-g2 and --temperature where they are not given [default: impute,
    /// with --solver adam package]
    #[arg(long, value_enum, help_heading = OBJECTIVE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,

    /// Where cells are expected: rna (in proportion to each voxel's counts), uniform, obs:COLUMN of the voxels, or none
    #[arg(long, value_name = "WHICH", default_value_t = PriorChoice::Rna, help_heading = OBJECTIVE)]
    #[serde(with = "as_text")]
    pub prior: PriorChoice,
    /// Weight of every gene having the right pattern over the voxels
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = not_negative, help_heading = OBJECTIVE)]
    pub lambda_g1: f64,
    /// Weight of every voxel having the right mix of genes [default: by --goal]
    #[arg(long, value_name = "WEIGHT", value_parser = not_negative, help_heading = OBJECTIVE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_g2: Option<f64>,
    /// Weight of the cells lying as densely as the prior expects [default: 1, or 0 with --prior none]
    #[arg(long, value_name = "WEIGHT", value_parser = not_negative, help_heading = OBJECTIVE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_d: Option<f64>,
    /// Weight of every cell sitting in few voxels (entropy)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = not_negative, help_heading = OBJECTIVE)]
    pub lambda_r: f64,
    /// How far a cell's logits may spread over the voxels (mirror only): off, a number such as 2, or auto, which chooses by
    /// held-out genes; less is smoother [default: by --goal]
    #[arg(long, value_name = "KAPPA", help_heading = OBJECTIVE)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,

    /// How the mapping is found
    #[arg(long, value_enum, default_value_t = Solver::Mirror, help_heading = TRAINING)]
    pub solver: Solver,
    /// Most passes over the data; mirror ends by itself, mostly within 100 [default: 500, with --solver adam 1000]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// Learning rate of adam: the size of its steps; mirror finds its own [default: 0.1]
    #[arg(long, value_name = "RATE", value_parser = positive, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Where chance begins; the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed, help_heading = TRAINING)]
    pub seed: u64,
    /// Stop once the loss changes by less than this share of it, over 10 passes of mirror or 50 of adam (0: never)
    /// [default: 0.0005, with --solver adam 0]
    #[arg(long, value_name = "CHANGE", value_parser = not_negative, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tolerance: Option<f64>,
    /// Cell batches of mirror: the first passes see one cell in N, later ones twice as many each time, the last ones all
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one, help_heading = TRAINING)]
    pub batches: usize,
    /// Most passes over batches; the others see all cells [default: half of --epochs]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TRAINING)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_epochs: Option<usize>,
    /// Whether mirror reads the cells from disk at every pass instead of holding them; auto: if memory is short
    #[arg(long, value_enum, default_value_t = Stream::Auto, help_heading = TRAINING)]
    pub stream: Stream,
    /// What does the work: the cores (cpu), a GPU for every rank (cuda), or that where there is one (auto); torch-cpu is for checking:
    /// the code of cuda on the cores, which is slower than cpu
    #[arg(long, value_enum, value_name = "DEVICE", default_value_t = DeviceChoice::Cpu, help_heading = TRAINING)]
    #[serde(default)]
    pub device: DeviceChoice,
    /// Memory of the GPU that may be taken, in GB [default: nine tenths of what is free]
    #[arg(long, value_name = "GB", value_parser = positive, help_heading = TRAINING)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<f64>,
    /// Megabytes of a block of logits on the device, for trials [default: 64, at least 2,048 cells]
    #[arg(long, value_name = "MB", value_parser = positive, hide = true, help_heading = TRAINING)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_block: Option<f64>,
    /// What the device came to.
    #[arg(skip = Engine::Native)]
    #[serde(skip, default = "cores")]
    pub engine: Engine,
    /// Precision of the products: tf32 and fp16 are for GPUs, bf16 is rougher, f64 for checking
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto, help_heading = TRAINING)]
    pub precision: PrecisionChoice,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// How MPI ranks share the work: CELLSxVOXELSxGENES, the number of ranks along each, such as 4x2x1, or auto, the fastest that
    /// fits (as `tangram plan` reckons) [default: auto]
    #[arg(long, value_name = "GRID", help_heading = TRAINING)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridChoice>,
    /// How ranks add up: fast, or exact, which gives the same bits for any number of ranks and takes longer
    #[arg(long, value_name = "HOW", default_value_t = Reduce::Fast, help_heading = TRAINING)]
    #[serde(with = "as_text", default)]
    pub reduce: Reduce,
    /// Begin from these logits, a NumPy array of cells × voxels, instead of random ones (adam only)
    #[arg(long, value_name = "FILE.npy", help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_logits: Option<PathBuf>,

    /// What is stored of every cell's probabilities: all, mass:SHARE (few that hold at least this share), top:N, or none,
    /// since mirror's factors give them back [default: mass:0.999, with mirror none above 50 million cells × voxels]
    #[arg(long, value_name = "WHAT", help_heading = OUTPUT)]
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepChoice>,
    /// File format of the mapping
    #[arg(long, value_enum, default_value_t = MappingFormat::Zarr, help_heading = OUTPUT)]
    pub format: MappingFormat,
}

/// How the mapping is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// Mirror descent on weights of voxels and genes: no cells × voxels state, the same optimum in fewer passes
    Mirror,
    /// Gradient steps on a logit per cell and voxel, as the original package does
    Adam,
}

/// What a mapping is for: measured settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Genes that the voxels lack: smoother, each voxel's mix counts
    Impute,
    /// Where each cell sits: sharper, each voxel's mix counts most
    Place,
    /// The loss of the original package
    Package,
}

/// What does the work.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The program's own kernels on the cores.
    #[default]
    Cpu,
    /// libtorch on a GPU for every rank.
    Cuda,
    /// A GPU if every rank has one, otherwise the cores.
    Auto,
    /// libtorch on the cores.
    TorchCpu,
}

/// Before a device is chosen.
fn cores() -> Engine {
    Engine::Native
}

/// Whether cells are read at every pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// If memory is short
    Auto,
    /// Always
    On,
    /// Never
    Off,
}

/// Precision of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// f32 on cores, tf32 on a GPU.
    Auto,
    /// Single precision.
    F32,
    /// Products of numbers rounded to 10 bits, on a GPU; on cores single precision.
    Tf32,
    /// Products of bf16 numbers (7 bits), summed in single precision.
    Bf16,
    /// On a GPU only: products of scaled fp16 numbers (10 bits), summed likewise.
    Fp16,
    /// Double precision.
    F64,
}

/// File format of AnnData.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappingFormat {
    /// A folder of compressed chunks.
    Zarr,
    /// One HDF5 file.
    H5ad,
}

impl MappingFormat {
    /// Ending of names of files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zarr => "zarr",
            Self::H5ad => "h5ad",
        }
    }

    /// Name of the factors' file in a run directory.
    #[must_use]
    pub fn factors_name(self) -> &'static str {
        match self {
            Self::Zarr => "factors.zarr",
            Self::H5ad => "factors.h5ad",
        }
    }

    /// Name of the mapping's file in a run directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Zarr => "mapping.zarr",
            Self::H5ad => "mapping.h5ad",
        }
    }
}

impl MapSettings {
    /// The settings with nothing left open: paths absolute, defaults that depend on others filled in.
    ///
    /// # Errors
    /// [`CliError::Usage`] if they contradict each other.
    pub fn resolved(mut self) -> Result<Self, CliError> {
        let density = match (&self.prior, self.lambda_d) {
            (PriorChoice::None, Some(weight)) if weight > 0.0 => {
                let text = "--lambda-d weighs the density prior, but --prior none gives none: leave one of them out";
                return Err(CliError::Usage(text.to_owned()));
            }
            (PriorChoice::None, _) => 0.0,
            (_, weight) => weight.unwrap_or(1.0),
        };
        let goal = *self.goal.get_or_insert(match self.solver {
            Solver::Mirror => Goal::Impute,
            Solver::Adam => Goal::Package,
        });
        let goal = goal.settings();
        self.transform.get_or_insert(goal.transform);
        let lambda_g2 = *self.lambda_g2.get_or_insert(goal.lambda_g2);
        if self.lambda_g1 == 0.0 && lambda_g2 == 0.0 {
            let text =
                "--lambda-g1 and --lambda-g2 are both 0: nothing would be learned from the genes";
            return Err(CliError::Usage(text.to_owned()));
        }
        match self.solver {
            Solver::Mirror => self.resolve_mirror(goal.temperature)?,
            Solver::Adam => self.resolve_adam()?,
        }
        self.lambda_d = Some(density);
        self.threads = Some(threads(self.threads));
        if self.reduce == Reduce::Exact
            && matches!(self.device, DeviceChoice::Cuda | DeviceChoice::TorchCpu)
        {
            let text = "--reduce exact: sums on a device are not exact; take --device cpu, or leave it out";
            return Err(CliError::Usage(text.to_owned()));
        }
        let files = [&mut self.genes, &mut self.hold_out, &mut self.init_logits]
            .into_iter()
            .flatten();
        for path in files.chain([&mut self.cells, &mut self.voxels]) {
            // The current folder cannot be told only if it was deleted; the path as typed then serves as well.
            *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
        }
        Ok(self)
    }

    fn resolve_mirror(&mut self, temperature: Temperature) -> Result<(), CliError> {
        let refuse = |flag: &str, why: &str| {
            let text = format!("{flag}: {why}; leave it out, or add --solver adam");
            Err(CliError::Usage(text))
        };
        if self.init_logits.is_some() {
            return refuse(
                "--init-logits",
                "the mirror solver has no logit for every cell and voxel to begin from",
            );
        }
        if self.lr.is_some() {
            return refuse("--lr", "the mirror solver finds its own steps");
        }
        self.temperature.get_or_insert(temperature);
        let epochs = *self.epochs.get_or_insert(500);
        if self.batch_epochs.is_some_and(|passes| passes >= epochs) {
            let text = "--batch-epochs must be less than --epochs: the last passes see all cells";
            return Err(CliError::Usage(text.to_owned()));
        }
        self.tolerance.get_or_insert(5e-4);
        Ok(())
    }

    fn resolve_adam(&mut self) -> Result<(), CliError> {
        let refuse = |flag: &str, why: &str| {
            let text = format!("{flag}: {why}; leave it out, or take --solver mirror");
            Err(CliError::Usage(text))
        };
        if self.temperature.is_some_and(|t| t != Temperature::Off) {
            return refuse("--temperature", "the adam solver has none");
        }
        if self.batches > 1 || self.batch_epochs.is_some() {
            return refuse(
                "--batches",
                "the adam solver needs every cell at every epoch",
            );
        }
        if self.stream == Stream::On {
            return refuse("--stream", "the adam solver holds the cells in memory");
        }
        if self.keep == Some(KeepChoice::None) {
            return refuse(
                "--keep none",
                "adam's probabilities are stored nowhere else",
            );
        }
        self.lr.get_or_insert(0.1);
        self.epochs.get_or_insert(1000);
        self.tolerance.get_or_insert(0.0);
        Ok(())
    }

    /// What is stored of a mapping of this size; `None`: nothing but the factors.
    #[must_use]
    pub fn kept(&self, n_cells: usize, n_voxels: usize) -> Option<Keep> {
        match self.keep {
            Some(KeepChoice::None) => None,
            Some(KeepChoice::Keep(keep)) => Some(keep),
            None if self.solver == Solver::Mirror && n_cells * n_voxels > MOST_KEPT => None,
            None => Some(Keep::Mass(0.999)),
        }
    }

    /// The transform of both sides.
    #[must_use]
    pub fn transform(&self) -> Transform {
        self.transform.unwrap_or_default()
    }

    /// Number of threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        threads(self.threads)
    }

    /// Most passes.
    #[must_use]
    pub fn passes(&self) -> usize {
        self.epochs.unwrap_or(1)
    }

    fn objective(&self) -> Objective {
        Objective {
            gene: self.lambda_g1,
            voxel: self.lambda_g2.unwrap_or(0.0),
            density: self.lambda_d.unwrap_or(0.0),
            entropy: self.lambda_r,
        }
    }

    /// Takes what does the work.
    ///
    /// # Errors
    /// If it cannot multiply in the precision that was asked for.
    pub fn take_engine(&mut self, engine: Engine) -> Result<(), CliError> {
        if engine == Engine::Native && self.precision == PrecisionChoice::Fp16 {
            let text = "--precision fp16: the kernels for cores do not multiply fp16; take f32 or bf16, or a GPU (--device cuda)";
            return Err(CliError::Usage(text.to_owned()));
        }
        self.engine = engine;
        Ok(())
    }

    /// What decides over the bytes of a pass.
    #[must_use]
    pub fn pass_plan(&self) -> PassPlan {
        PassPlan {
            mirror: self.solver == Solver::Mirror,
            objective: self.objective(),
            prior: self.prior != PriorChoice::None,
            temperature: !matches!(self.temperature, None | Some(Temperature::Off)),
            asks_for_rest: self.tolerance.is_some_and(|tolerance| tolerance > 0.0),
            precision: self.precision.on(self.engine),
            reduce: self.reduce,
            on_device: self.engine != Engine::Native,
        }
    }

    /// How cells that are not held are read from a file of so many genes.
    #[must_use]
    pub fn reading(&self, n_genes: usize) -> Reading {
        Reading {
            cells_per_part: cells_per_part(n_genes),
            first_part: self.batches,
        }
    }

    /// What adam needs of resolved settings.
    #[must_use]
    pub fn adam(&self) -> AdamSettings {
        AdamSettings {
            objective: self.objective(),
            epochs: self.passes(),
            learning_rate: self.lr.unwrap_or(0.1),
            seed: self.seed,
            threads: self.threads(),
            precision: self.precision.on(self.engine),
            tolerance: self.tolerance.unwrap_or(0.0),
            engine: self.engine,
        }
    }

    /// What mirror needs of resolved settings; a temperature to be found is off.
    #[must_use]
    pub fn mirror(&self) -> MirrorSettings {
        MirrorSettings {
            objective: self.objective(),
            passes: self.passes(),
            temperature: match self.temperature {
                Some(Temperature::Kappa(kappa)) => Some(kappa),
                _ => None,
            },
            first_part: self.batches,
            part_passes: self.batch_epochs,
            seed: self.seed,
            threads: self.threads(),
            precision: self.precision.on(self.engine),
            tolerance: self.tolerance.unwrap_or(0.0),
            engine: self.engine,
        }
    }
}

/// Cells × voxels up to which mirror's probabilities are stored unless asked otherwise.
const MOST_KEPT: usize = 50_000_000;

impl Stream {
    /// Where the cells are during the passes of a solver.
    #[must_use]
    pub fn cells_of(self, solver: Solver) -> CellsAre {
        match (solver, self) {
            (Solver::Adam, _) | (Solver::Mirror, Self::Off) => CellsAre::Held,
            (Solver::Mirror, Self::On) => CellsAre::Streamed,
            (Solver::Mirror, Self::Auto) => CellsAre::HeldIfTheyFit,
        }
    }
}

impl PrecisionChoice {
    /// What it comes to where the work is done.
    #[must_use]
    pub fn on(self, engine: Engine) -> Precision {
        match self {
            Self::Auto => match engine {
                Engine::Torch(TorchEngine {
                    device: TorchDevice::Cuda(_),
                    ..
                }) => Precision::Tf32,
                _ => Precision::F32,
            },
            Self::F32 => Precision::F32,
            Self::Tf32 => Precision::Tf32,
            Self::Bf16 => Precision::Bf16,
            Self::Fp16 => Precision::Fp16,
            Self::F64 => Precision::F64,
        }
    }
}

/// What a goal sets.
struct GoalSettings {
    transform: Transform,
    lambda_g2: f64,
    temperature: Temperature,
}

impl Goal {
    /// Measured over real pairs of data sets: docs/factored-mapping.md.
    fn settings(self) -> GoalSettings {
        match self {
            Self::Impute => GoalSettings {
                transform: Transform::None,
                lambda_g2: 1.0,
                temperature: Temperature::Kappa(4.0),
            },
            Self::Place => GoalSettings {
                transform: Transform::Sqrt,
                lambda_g2: 20.0,
                temperature: Temperature::Off,
            },
            Self::Package => GoalSettings {
                transform: Transform::None,
                lambda_g2: 0.0,
                temperature: Temperature::Off,
            },
        }
    }
}
