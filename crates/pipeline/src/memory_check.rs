//! Whether a mapping fits in memory, and whether its cells are held there or streamed.

use crate::choices::{CellsAre, Mode, Solver};
use crate::error::PipelineError;
use crate::ranks::Ranks;
use crate::settings::MapSettings;
use tangram_comm::{Cut, Shares};
use tangram_mapper::{Engine, Reading, filter_memory_needed, memory_needed, mirror_memory_needed};
use tangram_store::ExpressionFile;
use tangram_store::memory;

/// Whether the cells are streamed: read from disk at every pass.
///
/// * `on_node`: ranks that share the memory of this machine
#[must_use]
pub fn streams(
    settings: &MapSettings,
    engine: Engine,
    cells: &ExpressionFile,
    shares: &Shares,
    on_node: usize,
) -> bool {
    match settings.cells_are() {
        CellsAre::Held => false,
        CellsAre::Streamed => true,
        CellsAre::HeldIfTheyFit => {
            let entries = cells.most_entries(shares.genes.len()) as usize;
            let own = entries as f64 * shares.cells.len() as f64 / shares.cells.whole_len() as f64;
            let needed =
                needed(settings, engine, shares, Counts::held(own as usize)) * on_node as u64;
            memory::available().is_some_and(|free| needed > free / 2)
        }
    }
}

/// Number of a rank's non-zero counts of the training genes.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    nnz: usize,
    /// How they are read if they are streamed.
    reading: Option<Reading>,
}

impl Counts {
    /// Counts in memory.
    #[must_use]
    pub fn held(nnz: usize) -> Self {
        Self { nnz, reading: None }
    }

    /// Streamed counts; their number is estimated from the file's density.
    #[must_use]
    pub fn read(settings: &MapSettings, cells: &ExpressionFile, shares: &Shares) -> Self {
        let all = (shares.cells.len() * shares.genes.len()) as f64;
        Self {
            nnz: (all * cells.density()) as usize,
            reading: Some(settings.reading(cells.genes().len())),
        }
    }
}

/// Bytes that the solver needs on this rank.
#[must_use]
pub fn needed(settings: &MapSettings, engine: Engine, shares: &Shares, counts: Counts) -> u64 {
    let size = [&shares.cells, &shares.voxels, &shares.genes].map(Cut::len);
    let Counts { nnz, reading } = counts;
    let reading_clusters = match settings.mode {
        Mode::Clusters => sums_of_clusters(shares),
        Mode::Cells | Mode::Constrained => 0,
    };
    let solver = match settings.solver {
        Solver::Adam => memory_needed(size[0], size[1], size[2], nnz, &settings.adam(engine)),
        Solver::Mirror => {
            let (objective, precision) = (settings.objective, settings.precision.on(engine));
            let filter = match settings.mode {
                Mode::Constrained => {
                    filter_memory_needed(size, shares.cells.whole_len(), precision)
                }
                Mode::Cells | Mode::Clusters => 0,
            };
            filter + mirror_memory_needed(size, nnz, reading, &objective, precision)
        }
    };
    solver + reading_clusters
}

/// Bytes of the clusters' expression: sums of untransformed and of transformed values, and the matrices made of these sums. Every rank
/// holds all of it.
fn sums_of_clusters(shares: &Shares) -> u64 {
    let all = shares.cells.whole_len() * shares.genes.whole_len();
    (all * 2 * (8 + 8)) as u64
}

/// Checks that memory suffices: before anything large is read, and again when the counts are known.
///
/// # Errors
/// [`PipelineError::Memory`] if not.
pub fn check_memory(
    settings: &MapSettings,
    engine: Engine,
    shares: &Shares,
    ranks: &Ranks,
    counts: Counts,
) -> Result<(), PipelineError> {
    // The ranks of a node share its memory.
    let (_, on_node) = ranks.world().on_this_node();
    let needed = needed(settings, engine, shares, counts) * on_node as u64;
    match memory::available() {
        Some(available) if needed > available => Err(PipelineError::Memory {
            n_cells: shares.cells.len(),
            n_voxels: shares.voxels.len(),
            needed: memory::for_people(needed),
            available: memory::for_people(available),
            remedy: match settings.solver {
                Solver::Adam => "take --solver mirror, which needs no cells × voxels state",
                Solver::Mirror => "take fewer genes or voxels, or a machine with more memory",
            },
        }),
        _ => Ok(()),
    }
}
