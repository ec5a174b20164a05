//! `tangram plan`: estimates memory, traffic and time of a mapping for every grid of ranks.

use crate::choices::one_of;
use crate::report::Report;
use crate::values::at_least_one;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_comm::{Communicator, Kind, Reduce, World};
use tangram_mapper::Engine;
use tangram_pipeline::choices::{Mode, PrecisionChoice, Solver, Stream};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::grid_plan::Candidate;
use tangram_pipeline::named::{MODES, PRECISIONS, SOLVERS, STREAMS};
use tangram_pipeline::neighbours::NeighbourChoice;
use tangram_pipeline::planned::{Planned, script};
use tangram_pipeline::rates::{self, ASSUMED, Measuring};
use tangram_pipeline::wording::thousands;
use tangram_store::memory::for_people;

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
    /// Number of cells; with --mode clusters, of clusters
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    cells: Option<usize>,
    /// Number of voxels
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    voxels: Option<usize>,
    /// Number of training genes
    #[arg(long, value_name = "N", value_parser = at_least_one, required_unless_present = "measure")]
    genes: Option<usize>,
    /// Fraction of the cells' counts that are not zero
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
    /// Solver
    #[arg(long, value_parser = one_of(SOLVERS), default_value = "mirror")]
    solver: Solver,
    /// What is mapped (as --mode of map)
    #[arg(long, value_parser = one_of(MODES), default_value = "cells")]
    mode: Mode,
    /// Compare each voxel's surroundings (as --neighbours of map with one term of the loss), the voxels being on a square lattice of
    /// distance 1, in the order of its rows
    #[arg(long, value_name = "WHICH")]
    neighbours: Option<NeighbourChoice>,
    /// Number of types that --lambda-islands of map compares between neighbours, instead of their expression; adam only
    #[arg(long, value_name = "N", default_value_t = 0)]
    island_types: usize,
    /// Whether mirror reads the cells from disk at every pass (as --stream of map); auto: if they do not fit
    #[arg(long, value_parser = one_of(STREAMS), default_value = "auto")]
    stream: Stream,
    /// Cell batches of mirror (as --batches of map); small samples of streamed cells are held in memory
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    batches: usize,
    /// Precision of the products (as --precision of map)
    #[arg(long, value_parser = one_of(PRECISIONS), default_value = "auto")]
    precision: PrecisionChoice,
    /// Sums over ranks: fast or exact
    #[arg(long, value_name = "HOW", default_value_t = Reduce::Fast)]
    reduce: Reduce,
    /// Measured rates, as --measure writes them [default: assumed ones, as the output says]
    #[arg(long, value_name = "FILE.toml", conflicts_with = "measure")]
    rates: Option<PathBuf>,
    /// Measure this machine and write the rates; under mpirun, also the communication between ranks
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

/// Plans, or measures.
///
/// # Errors
/// If no grid fits, the rates cannot be read, or the measured rates cannot be written.
pub fn run(args: &PlanArgs, report: Report) -> Result<()> {
    if let Some(path) = &args.measure {
        return measure(args, path, report);
    }
    let (rates, source) = match &args.rates {
        None => (
            ASSUMED,
            "assumed rates; `tangram plan --measure` takes real ones".to_owned(),
        ),
        Some(path) => (rates::read(path)?, format!("rates of {}", path.display())),
    };
    let planned = planned(args);
    let graph = planned.graph()?;
    let task = planned.task(graph.as_ref());
    let candidates = task.candidates(rates);
    if !candidates.first().is_some_and(|best| best.fits) {
        return Err(PipelineError::Usage(task.nothing_fits(&candidates)).into());
    }
    tell(args, &candidates, &source, report)?;
    report.summary(&candidates)
}

fn planned(args: &PlanArgs) -> Planned {
    Planned {
        lens: [args.cells, args.voxels, args.genes].map(|n| n.unwrap_or(1)),
        mode: args.mode,
        neighbours: args.neighbours,
        n_types: args.island_types,
        density: args.density,
        solver: args.solver,
        stream: args.stream,
        batches: args.batches,
        precision: args.precision,
        reduce: args.reduce,
        n_ranks: args.ranks,
        threads: args.threads,
        memory_gb: args.memory,
        gpu_memory_gb: args.gpu_memory,
    }
}

fn tell(args: &PlanArgs, candidates: &[Candidate], source: &str, report: Report) -> Result<()> {
    let source = match args.gpu_memory {
        Some(_) => format!("the rate of a GPU is assumed, not measured; exchanges:\n{source}"),
        None => source.to_owned(),
    };
    report.say(format_args!(
        "{} {} onto {} voxels by {} genes, {} ranks of {} cores\n{source}",
        thousands(args.cells.unwrap_or(0)),
        match args.mode {
            Mode::Clusters => "clusters",
            Mode::Cells | Mode::Constrained => "cells",
        },
        thousands(args.voxels.unwrap_or(0)),
        thousands(args.genes.unwrap_or(0)),
        args.ranks,
        args.threads
    ))?;
    let kinds = [Kind::Logits, Kind::Rows, Kind::Predicted, Kind::Loss];
    // 80 columns; --json has every kind of exchange.
    let mut head = format!("{:>12}  {:>9}", "grid", "memory");
    if args.gpu_memory.is_some() {
        head.push_str(&format!("  {:>9}", "GPU"));
    }
    report.say(format_args!(
        "{head}  {:>9}  {:>8}  {:>8}  {:>8}",
        "MB sent", "s a pass", "exchange", "in all"
    ))?;
    for (i, c) in candidates.iter().enumerate() {
        let mark = match (i, c.fits) {
            (0, _) => '*',
            (_, false) => '!',
            _ => ' ',
        };
        let mut line = format!("{mark} {:>10}  {:>9}", c.grid, for_people(c.memory_bytes));
        if let Some(bytes) = c.gpu_bytes {
            line.push_str(&format!("  {:>9}", for_people(bytes)));
        }
        let sent = || c.bytes.iter().take(kinds.len());
        let all: u64 = sent().map(|(_, bytes)| *bytes).sum();
        let each = c.seconds_computing + c.seconds_exchanging;
        report.say(format_args!(
            "{line}  {:>9.1}  {each:>8.3}  {:>7.1}%  {:>8}",
            all as f64 / 1e6,
            100.0 * c.seconds_exchanging / each,
            duration(c.seconds_in_all)
        ))?;
        for (kind, (_, bytes)) in kinds.iter().zip(sent()) {
            let megabytes = *bytes as f64 / 1e6;
            report.explain(format_args!(
                "{:>16} MB: {}",
                format!("{megabytes:.3}"),
                kind.name()
            ))?;
        }
    }
    report.say("* recommended   ! does not fit   MB sent: by a rank in a pass (-v: for what)")?;
    let script = script(&planned(args), &candidates[0], args.ranks_per_node);
    report.say(format_args!("\n{script}"))?;
    Ok(())
}

fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.1} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

fn measure(args: &PlanArgs, path: &std::path::Path, report: Report) -> Result<()> {
    let world = World::join().map_err(PipelineError::Launcher)?;
    let settings = Measuring {
        density: args.density,
        threads: args.threads,
        precision: args.precision.on(Engine::Native),
    };
    let rates = rates::measure(&settings, &world)?;
    if world.rank() == 0 {
        let text = toml::to_string(&rates)?;
        tangram_pipeline::run_directory::write(path, &text)?;
        report.say(format_args!("{text}wrote {}", path.display()))?;
        if world.size() == 1 {
            report.warn("one rank has nothing to exchange: those rates are assumed; measure under mpirun or srun");
        }
    }
    world.leave();
    Ok(())
}
