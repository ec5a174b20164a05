//! Polls within a pass: a pass over many cells may last longer than the time that is left before a job ends.

use crate::cost::tally::Tally;
use crate::ranks::Ranks;
use crate::snapshot::{Keeper, Wish};
use std::ops::ControlFlow;
use tangram_comm::{Communicator, GridShape};

/// Logits computed between two polls: about a second of one core.
const LOGITS: usize = if cfg!(test) { 1 << 7 } else { 1 << 25 };

/// Number of polls in a pass of several ranks. It depends on the whole problem only: all ranks must poll equally often.
///
/// * `n_cells`, `n_voxels`: of all ranks, in this pass
fn polls_of_pass(shape: GridShape, n_cells: usize, n_voxels: usize) -> usize {
    match shape.n_ranks() {
        1 => 0,
        _ => (n_cells / shape.cells) * (n_voxels / shape.voxels) / LOGITS,
    }
}

/// Declares what ranks exchange within a pass over all cells.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    let shares = tally.shares();
    let (n_cells, n_voxels) = (shares.cells.whole_len(), shares.voxels.whole_len());
    (0..polls_of_pass(tally.shape(), n_cells, n_voxels)).for_each(|_| tally.max_of_all(1));
}

/// Asks the [`Keeper`] within a pass.
pub(crate) struct Polls<'a> {
    keeper: &'a mut dyn Keeper,
    alone: bool,
    /// Polls of a whole pass, and polls done.
    n_polls: usize,
    asked: usize,
    /// Cells of this rank in the pass, and those done.
    n_cells: usize,
    done: usize,
}

impl<'a> Polls<'a> {
    /// Begins a pass.
    ///
    /// * `n_cells`: of this rank, and of all ranks
    pub(crate) fn new(
        keeper: &'a mut dyn Keeper,
        n_cells: [usize; 2],
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        let shape = ranks.grid.shape();
        Self {
            keeper,
            alone: shape.n_ranks() == 1,
            n_polls: polls_of_pass(shape, n_cells[1], ranks.shares.voxels.whole_len()),
            asked: 0,
            n_cells: n_cells[0],
            done: 0,
        }
    }

    /// Counts finished cells, and polls when enough are done. Breaks if a rank wishes to stop, at the same poll on all ranks.
    pub(crate) fn done(
        &mut self,
        n_cells: usize,
        ranks: Ranks<'_, impl Communicator>,
    ) -> ControlFlow<()> {
        self.done += n_cells;
        if self.alone {
            return match self.keeper.wish() {
                Wish::SaveAndStop => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
        }
        self.ask(self.n_polls * self.done / self.n_cells.max(1), ranks)
    }

    /// Ends the pass with the polls that are left: a rank with few cells polls as often as the others.
    pub(crate) fn end(mut self, ranks: Ranks<'_, impl Communicator>) -> ControlFlow<()> {
        self.ask(self.n_polls, ranks)
    }

    fn ask(&mut self, times: usize, ranks: Ranks<'_, impl Communicator>) -> ControlFlow<()> {
        while self.asked < times {
            self.asked += 1;
            let mut wish = [f64::from(self.keeper.wish() as u8)];
            ranks.grid.max_of_all(&mut wish);
            if wish[0] == f64::from(Wish::SaveAndStop as u8) {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    }
}
