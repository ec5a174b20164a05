//! Speeds of a machine, assumed or measured, and the passes that a training takes.

use crate::choices::Solver;
use crate::error::{PipelineError, Result, Within};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::time::Instant;
use tangram_comm::Communicator;
use tangram_core::{DensityPrior, Objective, SparseRows, Term};
use tangram_mapper::{
    Engine, MirrorSettings, Precision, Problem, operations_of_pass, train_mirror,
};

/// Speeds of a machine.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rates {
    /// Operations on non-zero counts, in 10⁹ per second and core.
    pub operations_per_core: f64,
    /// Bytes that a rank contributes to sums over ranks, in 10⁹ per second.
    pub bytes_summed: f64,
    /// Time of the shortest sum over ranks, in microseconds.
    pub latency_us: f64,
}

/// Assumed where nothing was measured: a server core of 2020 with 256-bit vectors, and 100 Gbit/s between nodes.
pub const ASSUMED: Rates = Rates {
    operations_per_core: 15.0,
    bytes_summed: 4.0,
    latency_us: 20.0,
};

/// Estimated number of passes of a training: mirror usually converges within these, adam runs all its epochs.
#[must_use]
pub fn passes_of(solver: Solver) -> f64 {
    match solver {
        Solver::Mirror => 70.0,
        Solver::Adam => 1000.0,
    }
}

/// Estimated number of passes of a fold that starts from the mapping of all genes.
pub const PASSES_OF_WARM_FOLD: f64 = 25.0;

impl Rates {
    /// Seconds of a number of operations on non-zero counts.
    #[must_use]
    pub fn seconds(&self, operations: f64, threads: usize) -> f64 {
        operations / (self.operations_per_core * 1e9 * threads as f64)
    }
}

/// Reads rates that were measured.
///
/// # Errors
/// [`PipelineError::Usage`] if the file holds something else; if it cannot be read.
pub fn read(path: &Path) -> Result<Rates> {
    let text = tangram_store::read_text(path).within(|| path.display().to_string())?;
    toml::from_str(&text)
        .map_err(|e| PipelineError::Usage(format!("{}: {}", path.display(), e.message())))
}

/// How to measure this machine.
#[derive(Debug, Clone, Copy)]
pub struct Measuring {
    /// Fraction of non-zero counts.
    pub density: f64,
    /// Cores of a rank.
    pub threads: usize,
    /// Precision of the numbers.
    pub precision: Precision,
}

/// Measures the cores of this rank and the communication between ranks; with one rank, the communication rates are the assumed ones. All
/// ranks must call it.
///
/// # Errors
/// If the threads cannot be started.
pub fn measure(settings: &Measuring, world: &impl Communicator) -> Result<Rates> {
    Ok(Rates {
        operations_per_core: operations(settings)?,
        ..exchange(world)
    })
}

/// Size of the mapping to time: larger than the caches.
const TIMED: [usize; 3] = [8_192, 2_048, 256];
const TIMED_PASSES: usize = 6;

/// Operations of the mirror solver on non-zero counts, in 10⁹ per second and core.
fn operations(settings: &Measuring) -> Result<f64> {
    let [n_cells, n_voxels, n_genes] = TIMED;
    let matrix = |rows: usize, salt: usize| {
        let mut out = SparseRows::empty(n_genes);
        let every = (1.0 / settings.density).round().max(1.0) as usize;
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
        objective: Objective::NONE
            .with(Term::Gene, 1.0)
            .with(Term::Density, 1.0),
        passes: TIMED_PASSES,
        temperature: None,
        batches: 1,
        batch_passes: None,
        seed: 1,
        threads: settings.threads,
        precision: settings.precision,
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
    Ok(operations / passes[passes.len() / 2] / 1e9 / settings.threads as f64)
}

/// Bandwidth and latency of sums over all ranks.
fn exchange(world: &impl Communicator) -> Rates {
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
