//! `tangram plan`: how many ranks, along which axes, what memory and what time a mapping takes.

use crate::cell_expression::cells_per_part;
use crate::error::CliError;
use crate::grid_plan::{ASSUMED, Candidate, Gpu, Rates, Task};
use crate::map_settings::{PrecisionChoice, Solver, Stream};
use crate::memory::for_people;
use crate::report::{Report, thousands};
use crate::values::at_least_one;
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::time::Instant;
use tangram_comm::{Communicator, Kind, Reduce, World};
use tangram_core::{DensityPrior, Objective, SparseRows};
use tangram_mapper::{
    Engine, MirrorSettings, PassPlan, Precision, Problem, Reading, TorchDevice, TorchEngine,
    operations_of_pass, train_mirror,
};

const EXAMPLES: &str = "\
Examples:
  tangram plan --cells 1000000 --voxels 100000 --genes 2000 --ranks 64 --memory 60
  tangram plan --cells 1000000 --voxels 100000 --genes 2000 --ranks 64 --gpu-memory 80 --ranks-per-node 4
  tangram plan --measure rates.toml                        how fast this machine is; under mpirun also what lies between
  tangram plan --cells 1000000 --voxels 100000 --genes 2000 --ranks 64 --rates rates.toml";

/// Flags of `tangram plan`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Number of cells
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    cells: Option<usize>,
    /// Number of voxels
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    voxels: Option<usize>,
    /// Number of training genes
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    genes: Option<usize>,
    /// Share of the cells' counts that are not zero
    #[arg(long, value_name = "SHARE", default_value_t = 0.15, value_parser = share)]
    density: f64,
    /// MPI ranks
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    ranks: usize,
    /// Ranks of one node
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    ranks_per_node: usize,
    /// Cores of a rank
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    threads: usize,
    /// Memory of a rank in GB [default: any]
    #[arg(long, value_name = "GB", value_parser = positive)]
    memory: Option<f64>,
    /// Memory of a GPU in GB: plans for `map --device cuda`, a GPU for every rank
    #[arg(long, value_name = "GB", value_parser = positive)]
    gpu_memory: Option<f64>,
    /// How the mapping is found
    #[arg(long, value_enum, default_value_t = Solver::Mirror)]
    solver: Solver,
    /// Whether mirror reads the cells from disk at every pass (as --stream of map); auto: if they do not fit
    #[arg(long, value_enum, default_value_t = Stream::Auto)]
    stream: Stream,
    /// Cell batches of mirror (as --batches of map); samples of cells that are read at every pass are held, up to a size
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    batches: usize,
    /// Precision of the products, as of map
    #[arg(long, value_enum, default_value_t = PrecisionChoice::Auto)]
    precision: PrecisionChoice,
    /// How ranks add up: fast or exact
    #[arg(long, value_name = "HOW", default_value_t = Reduce::Fast)]
    reduce: Reduce,
    /// Measured rates, as --measure writes them [default: assumed ones, which it says]
    #[arg(long, value_name = "FILE.toml", conflicts_with = "measure")]
    rates: Option<PathBuf>,
    /// Measure this machine and write the rates; under mpirun, what lies between the ranks as well
    #[arg(long, value_name = "FILE.toml")]
    measure: Option<PathBuf>,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if share > 0.0 && share <= 1.0 => Ok(share),
        _ => Err("give a share above 0, at most 1".to_owned()),
    }
}

fn positive(text: &str) -> Result<f64, String> {
    crate::values::positive(text).map_err(|e| e.to_string())
}

/// Operations of a GPU in a second where nothing was measured, zeros included: about half of what the makers say of one of 2022 (H100).
fn assumed_of_gpu(precision: Precision) -> f64 {
    match precision {
        Precision::F64 => 20e12,
        Precision::F32 => 30e12,
        Precision::Tf32 => 150e12,
        Precision::Bf16 | Precision::Fp16 => 300e12,
    }
}

/// What the precision comes to on what does the work.
fn precision(args: &PlanArgs) -> Precision {
    args.precision.on(match args.gpu_memory {
        None => Engine::Native,
        Some(_) => Engine::Torch(TorchEngine {
            device: TorchDevice::Cuda(0),
            memory: None,
            block: None,
        }),
    })
}

/// Plans, or measures.
///
/// # Errors
/// If no grid fits, the rates cannot be read, or what was measured cannot be written.
pub fn run(args: &PlanArgs, report: Report) -> Result<()> {
    if let Some(path) = &args.measure {
        return measure(args, path, report);
    }
    let (rates, source) = match &args.rates {
        None => (
            ASSUMED,
            "assumed rates; `tangram plan --measure` takes real ones".to_owned(),
        ),
        Some(path) => {
            let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
            let rates = toml::from_str(&text)
                .map_err(|e| CliError::Usage(format!("{}: {}", path.display(), e.message())))?;
            (rates, format!("rates of {}", path.display()))
        }
    };
    let task = task(args);
    let candidates = task.candidates(rates);
    if !candidates.first().is_some_and(|best| best.fits) {
        return Err(CliError::Usage(task.nothing_fits(&candidates)).into());
    }
    tell(args, &candidates, &source, report)?;
    report.summary(&candidates)
}

fn task(args: &PlanArgs) -> Task {
    let mirror = args.solver == Solver::Mirror;
    Task {
        lens: [args.cells, args.voxels, args.genes].map(|n| n.unwrap_or(1)),
        density: args.density,
        pass: PassPlan {
            mirror,
            objective: Objective {
                gene: 1.0,
                voxel: if mirror { 1.0 } else { 0.0 },
                density: 1.0,
                entropy: 0.0,
            },
            prior: true,
            temperature: mirror,
            asks_for_rest: mirror,
            precision: precision(args),
            reduce: args.reduce,
            on_device: args.gpu_memory.is_some(),
        },
        cells: args.stream.cells_of(args.solver),
        reading: Reading {
            cells_per_part: cells_per_part(args.genes.unwrap_or(1)),
            first_part: args.batches,
        },
        n_ranks: args.ranks,
        threads: args.threads,
        memory: args.memory.map(|gb| (gb * 1e9) as u64),
        gpu: args.gpu_memory.map(|gb| Gpu {
            memory: (gb * 1e9) as u64,
            operations: assumed_of_gpu(precision(args)),
        }),
    }
}

fn tell(args: &PlanArgs, candidates: &[Candidate], source: &str, report: Report) -> Result<()> {
    let source = match args.gpu_memory {
        Some(_) => format!("the rate of a GPU is assumed, not measured; exchanges: {source}"),
        None => source.to_owned(),
    };
    report.say(format_args!(
        "{} cells onto {} voxels by {} genes, {} ranks of {} cores ({source})",
        thousands(args.cells.unwrap_or(0)),
        thousands(args.voxels.unwrap_or(0)),
        thousands(args.genes.unwrap_or(0)),
        args.ranks,
        args.threads
    ))?;
    let kinds = [Kind::Logits, Kind::Rows, Kind::Predicted, Kind::Loss];
    let mut head = format!("{:>10}  {:>9}", "grid", "memory");
    if args.gpu_memory.is_some() {
        head.push_str(&format!("  {:>9}", "GPU"));
    }
    for kind in kinds {
        head.push_str(&format!("  {:>31}", format!("{}, MB", kind.name())));
    }
    report.say(format_args!(
        "{head}  {:>9}  {:>9}  {:>9}",
        "s a pass", "exchange", "in all"
    ))?;
    for (i, c) in candidates.iter().enumerate() {
        let mut line = format!("{:>10}  {:>9}", c.grid, for_people(c.memory_bytes));
        if let Some(bytes) = c.gpu_bytes {
            line.push_str(&format!("  {:>9}", for_people(bytes)));
        }
        for (_, bytes) in c.bytes.iter().take(kinds.len()) {
            line.push_str(&format!("  {:>31.3}", *bytes as f64 / 1e6));
        }
        let each = c.seconds_computing + c.seconds_exchanging;
        let note = match (i, c.fits) {
            (0, _) => "  <- recommended",
            (_, false) => "  does not fit",
            _ => "",
        };
        report.say(format_args!(
            "{line}  {each:>9.3}  {:>8.1}%  {:>9}{note}",
            100.0 * c.seconds_exchanging / each,
            duration(c.seconds_in_all)
        ))?;
    }
    let best = &candidates[0];
    let nodes = args.ranks.div_ceil(args.ranks_per_node);
    let memory = (best.memory_bytes as f64 * 1.25 / 1e9).ceil().max(1.0);
    let (gpus, device) = match args.gpu_memory {
        Some(_) => (
            format!(
                "\n#SBATCH --gpus-per-node={}",
                args.ranks_per_node.min(args.ranks)
            ),
            " --device cuda",
        ),
        None => (String::new(), ""),
    };
    report.say(format_args!(
        "\n#SBATCH --nodes={nodes}\n#SBATCH --ntasks-per-node={}\n#SBATCH --cpus-per-task={}\n#SBATCH --mem={}G{gpus}\n#SBATCH --time={}\n#SBATCH --signal=USR2@120\n\
         srun --mpi=pmix tangram map --grid {}{device} --threads {} --resume …",
        args.ranks_per_node.min(args.ranks),
        args.threads,
        memory * args.ranks_per_node.min(args.ranks) as f64,
        slurm_time(3.0 * best.seconds_in_all + 600.0),
        best.grid,
        args.threads
    ))?;
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn slurm_time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).ceil() as u64;
    format!("{:02}:{:02}:00", minutes / 60, minutes % 60)
}

// --- measuring -------------------------------------------------------------------------------------------

/// A mapping to time: large enough to leave the caches.
const TIMED: [usize; 3] = [8_192, 2_048, 256];
const TIMED_PASSES: usize = 6;

fn measure(args: &PlanArgs, path: &std::path::Path, report: Report) -> Result<()> {
    let world = World::join().map_err(CliError::Launcher)?;
    let rates = Rates {
        operations_per_core: measure_operations(args)?,
        ..measure_exchange(&world)
    };
    if world.rank() == 0 {
        let text = toml::to_string(&rates)?;
        crate::run_directory::write(path, &text)?;
        report.say(format_args!("{text}wrote {}", path.display()))?;
        if world.size() == 1 {
            report.warn("one rank has nothing to exchange: those rates are assumed; measure under mpirun or srun");
        }
    }
    world.leave();
    Ok(())
}

/// Thousand million operations of one core in a second, of the mirror solver on counts of which so many are not zero.
fn measure_operations(args: &PlanArgs) -> Result<f64> {
    let [n_cells, n_voxels, n_genes] = TIMED;
    let matrix = |rows: usize, salt: usize| {
        let mut out = SparseRows::empty(n_genes);
        let every = (1.0 / args.density).round().max(1.0) as usize;
        for i in 0..rows {
            let genes = (0..n_genes)
                .filter(|k| (i * 31 + k * 17 + salt + i * k % 13).is_multiple_of(every));
            out.push_row(genes.map(|k| (k as u32, 1.0 + ((i + k) % 5) as f32)));
        }
        out
    };
    let (cells, voxels) = (matrix(n_cells, 1), matrix(n_voxels, 2));
    let density = cells.density();
    let problem = Problem::new(cells, voxels, DensityPrior::uniform(n_voxels).ok())?;
    let settings = MirrorSettings {
        objective: Objective {
            gene: 1.0,
            voxel: 0.0,
            density: 1.0,
            entropy: 0.0,
        },
        passes: TIMED_PASSES,
        temperature: None,
        first_part: 1,
        part_passes: None,
        seed: 1,
        threads: args.threads,
        precision: args.precision.on(Engine::Native),
        tolerance: 0.0,
        engine: Engine::Native,
    };
    let mut ends = Vec::new();
    train_mirror(&problem, &settings, None, &mut |_| {
        ends.push(Instant::now())
    })?;
    let mut passes: Vec<f64> = ends
        .windows(2)
        .map(|t| (t[1] - t[0]).as_secs_f64())
        .collect();
    passes.sort_unstable_by(f64::total_cmp);
    let operations = operations_of_pass(problem.shares(), density);
    Ok(operations / passes[passes.len() / 2] / 1e9 / args.threads as f64)
}

/// What a sum over all ranks takes.
fn measure_exchange(world: &World) -> Rates {
    const LARGE: usize = 1 << 23;
    const TIMES: usize = 5;
    if world.size() == 1 {
        return ASSUMED;
    }
    let median = |values: usize, times: usize| {
        let mut room = vec![1.0f32; values];
        let mut spent: Vec<f64> = (0..times)
            .map(|_| {
                let begun = Instant::now();
                world.sum_single(&mut room, &mut || ());
                begun.elapsed().as_secs_f64()
            })
            .collect();
        spent.sort_unstable_by(f64::total_cmp);
        spent[times / 2]
    };
    let latency = median(1, 200);
    Rates {
        bytes_summed: 4.0 * LARGE as f64 / median(LARGE, TIMES) / 1e9,
        latency_us: latency * 1e6,
        ..ASSUMED
    }
}
