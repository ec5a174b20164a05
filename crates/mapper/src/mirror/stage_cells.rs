//! The cells of a stage: all, or a sample. They are cut for the products once and held, or streamed at every pass.

use crate::cpu::products::{Layout, Products};
use crate::error::MapError;
use crate::mirror::factored_rows::FactoredRows;
use crate::mirror::polls::Polls;
use crate::number::Number;
use crate::ranks::Ranks;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;
use tangram_core::{CellChunks, SparseRows};

/// Entries, zeros included, of the largest sample that a rank holds when cells are streamed: about as much memory as the chunks take.
pub(crate) const LARGEST_SAMPLE: usize = if cfg!(test) { 400 } else { 1 << 26 };

/// The cells of the passes of a stage.
pub(crate) enum StageCells {
    /// Held, block by block of the rank's cells, each with the place of its first.
    Cut(Vec<(usize, Products)>),
    /// Streamed and cut at every pass: all, or those at these places, in growing order.
    Streamed(Option<Vec<usize>>),
}

impl StageCells {
    /// Cuts all cells of a rank.
    pub(crate) fn all<T: Number>(
        cells: &SparseRows,
        layout: Layout,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        Self::cut::<T>(cells, layout, ranks, |block| block)
    }

    /// Cuts some of them.
    ///
    /// * `sample`: the cells at the places `chosen`, which grow
    pub(crate) fn some<T: Number>(
        sample: &SparseRows,
        chosen: &[usize],
        layout: Layout,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        Self::cut::<T>(sample, layout, ranks, |block| within(chosen, block))
    }

    fn cut<T: Number>(
        cells: &SparseRows,
        layout: Layout,
        ranks: Ranks<'_, impl Communicator>,
        rows: impl Fn(Range<usize>) -> Range<usize>,
    ) -> Self {
        let genes = ranks.first_genes();
        let blocks = ranks.shares.cells.blocks().into_iter();
        let cut = |block: Range<usize>| {
            let first = block.start;
            (
                first,
                Products::by_gene_blocks::<T>(cells, rows(block), layout, &genes),
            )
        };
        Self::Cut(blocks.map(cut).collect())
    }

    /// Adds what all of them predict to a pass; breaks if the pass is to be given up.
    ///
    /// * `chunks`: all cells of the rank
    pub(crate) fn add_to<T: Number, C: CellChunks>(
        &mut self,
        pass: &mut FactoredRows<T>,
        chunks: &C,
        layout: Layout,
        ranks: Ranks<'_, impl Communicator>,
        polls: &mut Polls<'_>,
    ) -> Result<ControlFlow<()>, MapError> {
        let chosen = match self {
            Self::Cut(blocks) => {
                for (first, products) in blocks {
                    if pass.add(products, *first, ranks, polls).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                    pass.end_block();
                }
                return Ok(ControlFlow::Continue(()));
            }
            Self::Streamed(chosen) => chosen.as_deref(),
        };
        let genes = ranks.first_genes();
        for block in ranks.shares.cells.blocks() {
            // The next chunk is cut while this one is worked on.
            let (mut waiting, mut flow) = (None::<(usize, Products)>, ControlFlow::Continue(()));
            let read = chunks.for_each_chunk(block, &mut |first, chunk: &SparseRows| {
                let cut = || match chosen {
                    None => Products::by_gene_blocks::<T>(chunk, 0..chunk.n_rows(), layout, &genes),
                    Some(chosen) => {
                        let own = within(chosen, first..first + chunk.n_rows());
                        let rows: Vec<_> = chosen[own].iter().map(|cell| cell - first).collect();
                        let chunk = chunk.select_rows(&rows);
                        Products::by_gene_blocks::<T>(&chunk, 0..rows.len(), layout, &genes)
                    }
                };
                let next = match &mut waiting {
                    None => cut(),
                    Some((first, products)) => {
                        let add = || pass.add(products, *first, ranks, polls);
                        let (added, next) = rayon::join(add, cut);
                        flow = added;
                        next
                    }
                };
                waiting = Some((first, next));
                Ok(flow)
            });
            read.map_err(|e| MapError::Cells(e.into()))?;
            if let (Some((first, products)), true) = (&mut waiting, flow.is_continue()) {
                flow = pass.add(products, *first, ranks, polls);
            }
            if flow.is_break() {
                return Ok(flow);
            }
            pass.end_block();
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Which of the growing places `chosen` lie in `range`.
fn within(chosen: &[usize], range: Range<usize>) -> Range<usize> {
    let place = |cell| chosen.partition_point(|&c| c < cell);
    place(range.start)..place(range.end)
}

/// One of every `every` consecutive cells, chosen by the seed: neighbouring cells of a file are often similar.
///
/// * `n_cells`: of all ranks
/// * `range`: those of this rank; places are counted from its start
pub(crate) fn one_of_every(
    every: usize,
    seed: u64,
    n_cells: usize,
    range: Range<usize>,
) -> Vec<usize> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut chosen = Vec::with_capacity(range.len() / every + 1);
    // Groups are of all cells, whatever the ranks.
    for first in (range.start / every * every..range.end).step_by(every) {
        chance.set_word_pos(2 * first as u128);
        let cell = first + (chance.next_u64() % every as u64) as usize;
        if range.contains(&cell) && cell < n_cells {
            chosen.push(cell - range.start);
        }
    }
    chosen
}

/// Whether a sample of one cell in `every` is too large to hold when cells are streamed. It depends on the whole problem only:
/// ranks that share cells must decide alike.
pub(crate) fn too_large_to_hold(
    every: usize,
    n_cells: usize,
    ranks: Ranks<'_, impl Communicator>,
) -> bool {
    let shape = ranks.grid.shape();
    let n_genes = ranks.shares.genes.whole_len().div_ceil(shape.genes);
    n_cells / every / shape.cells * n_genes > LARGEST_SAMPLE
}

/// Cells of the largest sample that a rank holds where all its cells are read at every pass.
///
/// * `batches`: the first stage takes one cell in `batches`, each later stage twice as many cells
pub(crate) fn largest_held(batches: usize, n_cells: usize, n_genes: usize) -> usize {
    let stages = std::iter::successors(Some(batches), |every| Some(every / 2));
    let samples = stages
        .take_while(|&every| every > 1)
        .map(|every| n_cells / every);
    let held = samples.take_while(|n_cells| n_cells * n_genes <= LARGEST_SAMPLE);
    held.last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_sample_held_is_no_larger_than_may_be() {
        // Samples of 100, 200, 400, 800 cells.
        let held = |n_genes| largest_held(16, 1600, n_genes);
        assert_eq!(held(4), LARGEST_SAMPLE / 4);
        assert_eq!([held(2), held(1), held(5)], [200, 400, 0]);
        assert_eq!(largest_held(1, 1600, 1), 0, "no samples");
    }
}
