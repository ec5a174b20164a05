//! Whether a mapping fits in memory, and whether its cells are then held or read at every pass.

use crate::cell_expression::CellExpression;
use crate::error::CliError;
use crate::expression::ExpressionFile;
use crate::map_inputs::Inputs;
use crate::map_settings::{MapSettings, Solver, Stream};
use crate::memory;
use crate::ranks::Ranks;
use tangram_comm::{Cut, Shares};
use tangram_mapper::{Reading, memory_needed, mirror_memory_needed};

/// Whether the cells are read at every pass; `on_node`: ranks that share the memory of this machine.
#[must_use]
pub fn streams(
    settings: &MapSettings,
    cells: &ExpressionFile,
    shares: &Shares,
    on_node: usize,
) -> bool {
    match (settings.solver, settings.stream) {
        (Solver::Adam, _) | (_, Stream::Off) => false,
        (_, Stream::On) => true,
        (_, Stream::Auto) => {
            let entries = cells.most_entries(shares.genes.len()) as usize;
            let own = entries as f64 * shares.cells.len() as f64 / shares.cells.whole_len() as f64;
            let needed = needed(settings, shares, Counts::held(own as usize)) * on_node as u64;
            memory::available().is_some_and(|free| needed > free / 2)
        }
    }
}

/// A rank's counts of the training genes.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    nnz: usize,
    /// If they are read at every pass.
    reading: Option<Reading>,
}

impl Counts {
    /// So many, in memory.
    #[must_use]
    pub fn held(nnz: usize) -> Self {
        Self { nnz, reading: None }
    }

    /// About so many as a file's density tells, read at every pass.
    #[must_use]
    pub fn read(settings: &MapSettings, cells: &ExpressionFile, shares: &Shares) -> Self {
        let all = (shares.cells.len() * shares.genes.len()) as f64;
        Self {
            nnz: (all * cells.density()) as usize,
            reading: Some(settings.reading(cells.genes().len())),
        }
    }

    /// Those that are trained on.
    #[must_use]
    pub fn of(inputs: &Inputs, settings: &MapSettings) -> Self {
        match inputs.problem.cells() {
            CellExpression::Memory(rows) => Self::held(rows.nnz()),
            CellExpression::Streamed(_) => {
                Self::read(settings, &inputs.cells.file, inputs.problem.shares())
            }
        }
    }
}

/// Bytes that the solver will need on this rank.
#[must_use]
pub fn needed(settings: &MapSettings, shares: &Shares, counts: Counts) -> u64 {
    let size = [&shares.cells, &shares.voxels, &shares.genes].map(Cut::len);
    let Counts { nnz, reading } = counts;
    match settings.solver {
        Solver::Adam => memory_needed(size[0], size[1], size[2], nnz, &settings.adam()),
        Solver::Mirror => {
            mirror_memory_needed(size, nnz, reading, settings.precision.on(settings.engine))
        }
    }
}

/// Whether memory will suffice, asked before anything large is read and again when the counts are known.
///
/// # Errors
/// [`CliError::Memory`] if not.
pub fn check_memory(
    settings: &MapSettings,
    shares: &Shares,
    ranks: &Ranks,
    counts: Counts,
) -> Result<(), CliError> {
    // Ranks of a node have its memory together.
    let (_, on_node) = ranks.world().on_this_node();
    let needed = needed(settings, shares, counts) * on_node as u64;
    match memory::available() {
        Some(available) if needed > available => Err(CliError::Memory {
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
