//! The settings of a mapping, with nothing left open but what is chosen when the inputs are known.

use crate::choices::{
    CellsAre, ClusterValues, DeviceChoice, FilterChoice, Goal, GridChoice, KeepChoice,
    MappingFormat, Mode, ObsColumn, PrecisionChoice, PriorChoice, Solver, Stream, TargetCount,
    Temperature, as_text, maybe_text,
};
use crate::error::{PipelineError, Result};
use crate::match_genes::MatchGenes;
use crate::mode_check::check_mode;
use crate::neighbours::NeighbourChoice;
use crate::weights::{self, Available};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tangram_comm::{GridShape, Reduce};
use tangram_core::{Convention, GivenWeights, Keep, Normalize, Objective, Term, Transform, Values};
use tangram_mapper::{AdamSettings, Engine, MirrorSettings, PassPlan, Reading};
use tangram_store::{MatrixName, cells_per_chunk};

/// Together with the inputs and the program's version they decide the result; they are `[map]` of `run.toml`.
///
/// Keys and values are those of the flags of `tangram map`, whose help describes them.
///
/// ```
/// use tangram_core::Term;
/// use tangram_pipeline::settings::MapSettings;
///
/// let settings = MapSettings {
///     epochs: 50,
///     ..MapSettings::new("cells.h5ad", "voxels.h5ad")
/// };
/// assert_eq!(settings.objective[Term::Density], 1.0);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapSettings {
    /// The single-cell data.
    pub cells: PathBuf,
    /// The spatial data.
    pub voxels: PathBuf,
    /// Where the cells' counts are.
    #[serde(with = "as_text")]
    pub cells_matrix: MatrixName,
    /// Where the voxels' counts are.
    #[serde(with = "as_text")]
    pub voxels_matrix: MatrixName,

    /// What the cells' values are.
    #[serde(default, skip_serializing_if = "Values::is_auto")]
    pub values: Values,
    /// What the voxels' values are.
    #[serde(default, skip_serializing_if = "Values::is_auto")]
    pub values_voxels: Values,
    /// How genes are matched; `None`: by exact names, unless another way would match many more.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub match_genes: Option<MatchGenes>,
    /// Whether voxels without a count are left out instead of refused.
    #[serde(default, skip_serializing_if = "is_false")]
    pub drop_empty: bool,

    /// A list of the genes to train on, instead of all that both files have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genes: Option<PathBuf>,
    /// A list of genes to keep out of training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<PathBuf>,
    /// Whether cells are brought to the same total.
    pub normalize: Normalize,
    /// Whether voxels are.
    pub normalize_voxels: Normalize,
    /// Transform of both sides for training.
    pub transform: Transform,

    /// What is mapped: all cells, clusters of them, or those that a filter keeps.
    #[serde(default, skip_serializing_if = "Mode::is_default")]
    pub mode: Mode,
    /// The column of the cells' obs that tells their clusters, in clusters mode.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<ObsColumn>,
    /// What of its cells' values a cluster is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_values: Option<ClusterValues>,
    /// How many cells a filter keeps, in constrained mode.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub target_count: Option<TargetCount>,
    /// How the filter finds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<FilterChoice>,
    /// A NumPy array of logits that the filter begins from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init_filter: Option<PathBuf>,

    /// What the mapping is for.
    pub goal: Goal,
    /// Where cells are expected.
    #[serde(with = "as_text")]
    pub prior: PriorChoice,
    /// What is meant by the terms: how cosines are added up, and which way round densities are compared.
    #[serde(
        rename = "objective",
        default,
        skip_serializing_if = "Convention::is_default"
    )]
    pub convention: Convention,
    /// λ of every term of the loss; those of terms whose data are missing are 0.
    #[serde(flatten)]
    pub objective: Objective,
    /// Which voxels are neighbours, for terms that compare them.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub neighbours: Option<NeighbourChoice>,
    /// The column of the cells' obs that tells their types, for the term that compares how many of each neighbouring voxels have.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub island_types: Option<ObsColumn>,
    /// How far a cell's logits may spread over the voxels; adam has no such limit.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<Temperature>,

    /// How the mapping is found.
    pub solver: Solver,
    /// Most passes over the data.
    pub epochs: usize,
    /// Learning rate of adam; mirror finds its own steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lr: Option<f64>,
    /// Seed of the random numbers.
    pub seed: u64,
    /// Training stops once the loss changes by less than this share of it; 0: never.
    pub tolerance: f64,
    /// Batches of mirror: its first passes see one cell in this number.
    pub batches: usize,
    /// Most passes over batches, if not half of all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_epochs: Option<usize>,
    /// Whether mirror reads the cells from disk at every pass.
    pub stream: Stream,
    /// What does the work.
    #[serde(default)]
    pub device: DeviceChoice,
    /// GPU memory that may be taken, in GB, if not nine tenths of what is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_memory: Option<f64>,
    /// Megabytes of a block of logits on the device, if not as the mapper chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_block: Option<f64>,
    /// Precision of the products.
    pub precision: PrecisionChoice,
    /// Threads of every rank.
    pub threads: usize,
    /// How ranks share the work; `None`: as [`GridChoice::Auto`].
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<GridChoice>,
    /// How ranks add up.
    #[serde(with = "as_text", default)]
    pub reduce: Reduce,
    /// A NumPy array of logits that adam begins from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_logits: Option<PathBuf>,

    /// What is stored of every cell's probabilities, if not by the size of the mapping.
    #[serde(with = "maybe_text", default, skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepChoice>,
    /// File format of the mapping.
    pub format: MappingFormat,
}

/// What a mapping's settings leave open until its inputs and its machine are known.
#[derive(Debug, Clone, PartialEq)]
pub struct Chosen {
    /// What does the work.
    pub engine: Engine,
    /// The grid of the ranks; `None` for one process.
    pub grid: Option<GridShape>,
    /// As in the settings, with [`Temperature::Auto`] replaced by what held-out genes chose.
    pub temperature: Option<Temperature>,
}

impl MapSettings {
    /// The settings of `tangram map` without any flag but the inputs.
    #[must_use]
    pub fn new(cells: impl Into<PathBuf>, voxels: impl Into<PathBuf>) -> Self {
        let solver = Solver::Mirror;
        let goal = solver.default_goal(Mode::Cells);
        let of_goal = goal.settings();
        Self {
            cells: cells.into(),
            voxels: voxels.into(),
            cells_matrix: MatrixName::X,
            voxels_matrix: MatrixName::X,
            values: Values::Auto,
            values_voxels: Values::Auto,
            match_genes: None,
            drop_empty: false,
            genes: None,
            hold_out: None,
            normalize: Normalize::FOR_CELLS,
            normalize_voxels: Normalize::FOR_VOXELS,
            transform: Transform::None,
            mode: Mode::Cells,
            cluster: None,
            cluster_values: None,
            target_count: None,
            filter: None,
            init_filter: None,
            goal,
            prior: PriorChoice::Rna,
            convention: Convention::Package,
            objective: weights::resolved(&GivenWeights::default(), goal, &Available::default())
                .expect("default weights need no data but the prior"),
            neighbours: None,
            island_types: None,
            temperature: Some(of_goal.temperature),
            solver,
            epochs: solver.default_epochs(),
            lr: solver.default_lr(),
            seed: Self::SEED,
            tolerance: solver.default_tolerance(),
            batches: 1,
            batch_epochs: None,
            stream: Stream::Auto,
            device: DeviceChoice::Cpu,
            gpu_memory: None,
            device_block: None,
            precision: PrecisionChoice::Auto,
            threads: threads(None),
            grid: None,
            reduce: Reduce::Fast,
            init_logits: None,
            keep: None,
            format: MappingFormat::Zarr,
        }
    }

    /// The seed unless one is given.
    pub const SEED: u64 = 42;

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// [`PipelineError::Usage`] with the flags and a remedy.
    pub fn check(&self) -> Result<()> {
        match self.solver {
            Solver::Mirror => self.check_mirror()?,
            Solver::Adam => self.check_adam()?,
        }
        check_mode(self)?;
        let on_device = matches!(self.device, DeviceChoice::Cuda | DeviceChoice::TorchCpu);
        match self.reduce == Reduce::Exact && on_device {
            true => usage(
                "--reduce exact: sums on a device are not exact; take --device cpu, or leave it out",
            ),
            false => Ok(()),
        }
    }

    fn check_mirror(&self) -> Result<()> {
        let refuse = |flag: &str, why: &str| {
            usage(&format!(
                "{flag}: {why}; leave it out, or add --solver adam"
            ))
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
        for (term, why) in [
            (
                Term::Islands,
                "mirror's logits are functions of the cells' expression alone, and this term moves cells by their types",
            ),
            (Term::L1, NO_LOGITS),
            (Term::L2, NO_LOGITS),
        ] {
            if self.objective[term] != 0.0 {
                return refuse(&format!("--{}", term.about().setting), why);
            }
        }
        if self
            .batch_epochs
            .is_some_and(|passes| passes >= self.epochs)
        {
            return usage(
                "--batch-epochs must be less than --epochs: the last passes see all cells",
            );
        }
        Ok(())
    }

    fn check_adam(&self) -> Result<()> {
        let refuse = |flag: &str, why: &str| {
            usage(&format!(
                "{flag}: {why}; leave it out, or take --solver mirror"
            ))
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
        Ok(())
    }

    /// The same settings with what was chosen in the place of what was open: what `run.toml` records.
    #[must_use]
    pub fn with(&self, chosen: &Chosen) -> Self {
        Self {
            grid: chosen.grid.map(GridChoice::Shape),
            temperature: chosen.temperature,
            ..self.clone()
        }
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

    /// The sizes that the bytes of a pass depend on, with no types of cells.
    #[must_use]
    pub fn pass_plan(&self, engine: Engine) -> PassPlan {
        PassPlan {
            mirror: self.solver == Solver::Mirror,
            objective: self.objective.by(self.convention),
            n_types: 0,
            prior: self.prior != PriorChoice::None,
            temperature: !matches!(self.temperature, None | Some(Temperature::Off)),
            asks_for_rest: self.tolerance > 0.0,
            filter: self.mode == Mode::Constrained,
            weighs: self.mode == Mode::Constrained && self.solver == Solver::Mirror,
            precision: self.precision.on(engine),
            reduce: self.reduce,
            on_device: engine != Engine::Native,
        }
    }

    /// Where the cells' values are during the passes. Those of clusters are few.
    #[must_use]
    pub fn cells_are(&self) -> CellsAre {
        match self.mode {
            Mode::Clusters => CellsAre::Held,
            Mode::Cells | Mode::Constrained => self.stream.cells_of(self.solver),
        }
    }

    /// How cells that are not held are read from a file of `n_genes` genes.
    #[must_use]
    pub fn reading(&self, n_genes: usize) -> Reading {
        Reading {
            cells_per_chunk: cells_per_chunk(n_genes),
            batches: self.batches,
        }
    }

    /// The settings of adam.
    #[must_use]
    pub fn adam(&self, engine: Engine) -> AdamSettings {
        AdamSettings {
            objective: self.objective.by(self.convention),
            epochs: self.epochs,
            learning_rate: self.lr.unwrap_or(0.1),
            seed: self.seed,
            threads: helpful(self.threads),
            precision: self.precision.on(engine),
            tolerance: self.tolerance,
            engine,
        }
    }

    /// The settings of mirror; a temperature that is still to be chosen counts as off.
    ///
    /// * `temperature`: the chosen one, or that of these settings
    #[must_use]
    pub fn mirror(&self, engine: Engine, temperature: Option<Temperature>) -> MirrorSettings {
        MirrorSettings {
            objective: self.objective.by(self.convention),
            passes: self.epochs,
            temperature: match temperature {
                Some(Temperature::Kappa(kappa)) => Some(kappa),
                _ => None,
            },
            batches: self.batches,
            batch_passes: self.batch_epochs,
            seed: self.seed,
            threads: helpful(self.threads),
            precision: self.precision.on(engine),
            tolerance: self.tolerance,
            engine,
        }
    }
}

/// Why mirror has no terms of the logits' sizes.
const NO_LOGITS: &str = "mirror holds no logits, and those it stands for may differ by a constant for every cell, which changes no probability";

fn usage<T>(text: &str) -> Result<T> {
    Err(PipelineError::Usage(text.to_owned()))
}

/// Threads per core above which more only wait for each other.
const THREADS_PER_CORE: usize = 4;

/// As many threads as help on this machine: no more than a few for every core that this process may use. The number changes no bits.
#[must_use]
pub fn helpful(threads: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    threads.min(THREADS_PER_CORE * cores)
}

/// Whether a setting is off, which settings files leave out.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_false(setting: &bool) -> bool {
    !setting
}

/// The number of threads to use: what was asked for, or one for every core this process may use.
#[must_use]
pub fn threads(asked: Option<usize>) -> usize {
    asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// Cells × voxels up to which mirror's probabilities are stored unless asked otherwise.
const MOST_KEPT: usize = 50_000_000;
