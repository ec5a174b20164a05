//! A mapping that is planned by its sizes, before there are files.

use crate::choices::{CellsAre, Mode, PrecisionChoice, Solver, Stream};
use crate::error::{PipelineError, Result};
use crate::grid_plan::{Candidate, Gpu, Task};
use crate::neighbours::NeighbourChoice;
use ndarray::Array2;
use tangram_comm::Reduce;
use tangram_core::{Neighbours, Term};
use tangram_mapper::{Engine, PassPlan, Precision, Reading, TorchDevice, TorchEngine};
use tangram_store::cells_per_chunk;

/// Room that a job asks for beyond the planned memory.
const MEMORY_TO_SPARE: f64 = 1.25;
/// Time that a job asks for: the planned one times this, and as many seconds more.
const TIME_TO_SPARE: (f64, f64) = (3.0, 600.0);

/// Sizes and settings of a mapping, with the loss of its solver's default goal.
#[derive(Debug, Clone, Copy)]
pub struct Planned {
    /// Numbers of cells, voxels and training genes; clusters count as cells.
    pub lens: [usize; 3],
    /// What is mapped.
    pub mode: Mode,
    /// Which voxels are neighbours, if a term of the loss compares them.
    pub neighbours: Option<NeighbourChoice>,
    /// Number of the cells' types, if a term of the loss compares them; otherwise 0.
    pub n_types: usize,
    /// Share of the cells' counts that are not zero.
    pub density: f64,
    /// How the mapping is found.
    pub solver: Solver,
    /// Whether mirror reads the cells from disk at every pass.
    pub stream: Stream,
    /// Batches of mirror: its first passes see one cell in this number.
    pub batches: usize,
    /// Precision of the products.
    pub precision: PrecisionChoice,
    /// How ranks add up.
    pub reduce: Reduce,
    /// Ranks.
    pub n_ranks: usize,
    /// Cores of a rank.
    pub threads: usize,
    /// Memory of a rank in 10⁹ bytes; `None`: any.
    pub memory_gb: Option<f64>,
    /// Memory of the GPU of each rank in 10⁹ bytes, if they have one.
    pub gpu_memory_gb: Option<f64>,
}

impl Planned {
    /// The graph of voxels on a square lattice of distance 1, in the order of its rows; `None` if no term compares neighbours.
    ///
    /// # Errors
    /// [`PipelineError::Usage`] if there are no such neighbours, or if types are compared without neighbours or by the mirror solver.
    pub fn graph(&self) -> Result<Option<Neighbours>> {
        if self.n_types > 0 && (self.solver == Solver::Mirror || self.neighbours.is_none()) {
            let text = "--island-types compares neighbours, and only adam has that term: add --neighbours lattice and --solver adam";
            return Err(PipelineError::Usage(text.to_owned()));
        }
        let Some(choice) = self.neighbours else {
            return Ok(None);
        };
        let n_voxels = self.lens[1];
        let side = (n_voxels as f64).sqrt().ceil() as usize;
        let place = |(j, axis): (usize, usize)| [j % side, j / side][axis] as f64;
        let places = Array2::from_shape_fn((n_voxels, 2), place);
        let graph = choice.of(places.view());
        graph
            .map(Some)
            .map_err(|reason| PipelineError::Usage(format!("--neighbours {choice}: {reason}")))
    }

    /// The mapping to distribute over ranks.
    ///
    /// * `graph`: that of the voxels
    #[must_use]
    pub fn task<'a>(&self, graph: Option<&'a Neighbours>) -> Task<'a> {
        let mirror = self.solver == Solver::Mirror;
        let precision = self.precision.on(match self.gpu_memory_gb {
            None => Engine::Native,
            Some(_) => Engine::Torch(TorchEngine {
                device: TorchDevice::Cuda(0),
                memory: None,
                block: None,
            }),
        });
        let bytes = |gb: f64| (gb * 1e9) as u64;
        let if_compared = |compared: bool| f64::from(u8::from(compared));
        let neighbourhood = if_compared(graph.is_some() && self.n_types == 0);
        Task {
            lens: self.lens,
            density: self.density,
            pass: PassPlan {
                mirror,
                objective: self
                    .solver
                    .default_goal(self.mode)
                    .settings()
                    .weights
                    .with(Term::Density, 1.0)
                    .with(Term::Neighbourhood, neighbourhood)
                    .with(Term::Islands, if_compared(self.n_types > 0)),
                n_types: self.n_types,
                prior: true,
                temperature: mirror,
                asks_for_rest: mirror,
                filter: self.mode == Mode::Constrained,
                weighs: mirror && self.mode == Mode::Constrained,
                precision,
                reduce: self.reduce,
                on_device: self.gpu_memory_gb.is_some(),
            },
            neighbours: graph,
            cells: match self.mode {
                Mode::Clusters => CellsAre::Held,
                Mode::Cells | Mode::Constrained => self.stream.cells_of(self.solver),
            },
            reading: Reading {
                cells_per_chunk: cells_per_chunk(self.lens[2]),
                batches: self.batches,
            },
            n_ranks: self.n_ranks,
            threads: self.threads,
            memory: self.memory_gb.map(bytes),
            gpu: self.gpu_memory_gb.map(|gb| Gpu {
                memory: bytes(gb),
                operations: assumed_of_gpu(precision),
            }),
        }
    }
}

/// Assumed operations of a GPU per second, zeros included: about half of the specification of an H100 (2022).
fn assumed_of_gpu(precision: Precision) -> f64 {
    match precision {
        Precision::F64 => 20e12,
        Precision::F32 => 30e12,
        Precision::Tf32 => 150e12,
        Precision::Bf16 | Precision::Fp16 => 300e12,
    }
}

/// Lines of a Slurm script for a mapping on a grid.
#[must_use]
pub fn script(planned: &Planned, grid: &Candidate, ranks_per_node: usize) -> String {
    let on_node = ranks_per_node.min(planned.n_ranks);
    let nodes = planned.n_ranks.div_ceil(ranks_per_node);
    let memory = grid.memory_bytes as f64 * MEMORY_TO_SPARE / 1e9;
    let memory = memory.ceil().max(1.0) * on_node as f64;
    let (gpus, device) = match planned.gpu_memory_gb {
        Some(_) => (
            format!("\n#SBATCH --gpus-per-node={on_node}"),
            " --device cuda",
        ),
        None => (String::new(), ""),
    };
    let (factor, seconds) = TIME_TO_SPARE;
    let minutes = ((factor * grid.seconds_in_all + seconds) / 60.0).ceil() as u64;
    let time = format!("{:02}:{:02}:00", minutes / 60, minutes % 60);
    let (threads, grid) = (planned.threads, &grid.grid);
    format!(
        "#SBATCH --nodes={nodes}\n#SBATCH --ntasks-per-node={on_node}\n#SBATCH --cpus-per-task={threads}\n#SBATCH --mem={memory}G{gpus}\n\
         #SBATCH --time={time}\n#SBATCH --signal=USR2@120\n\
         srun --mpi=pmix tangram map --grid {grid}{device} --threads {threads} --resume …"
    )
}
