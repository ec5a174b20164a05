//! The row softmax where several ranks share the voxels of a row.

use crate::cost::tally::Tally;
use crate::cpu::softmax::{ExpBelowMax, Scale};
use crate::number::Number;
use crate::ranks::Ranks;
use pulp::Arch;
use rayon::prelude::*;
use tangram_comm::{Communicator, on_grid, step_for};

/// Rows worked on by one task: they stay in the second-level cache.
pub(crate) const ROWS: usize = 8;

/// Maximum, sum and entropy of a row over the voxels of all ranks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WholeRow {
    /// Largest logit.
    pub(crate) max: f64,
    /// `Σ_j exp(x_j − max)`.
    pub(crate) sum: f64,
    /// Entropy, in nats.
    pub(crate) entropy: f64,
}

/// Softmax over all voxels of all ranks, in place.
///
/// * `rows`: logits of this rank's voxels, rows `stride` apart
/// * `whole`: receives those of each row
pub(crate) fn shared_softmax<T: Number, K: Communicator>(
    rows: &mut [T],
    stride: usize,
    whole: &mut [WholeRow],
    ranks: Ranks<'_, K>,
) {
    let arch = Arch::new();
    let voxels = &ranks.shares.voxels;
    let blocks = voxels.blocks();
    let n_rows = whole.len();
    // By row and block: largest, sum, weighted sum.
    let mut parts = vec![[0.0f64; 3]; n_rows * blocks.len()];
    rows.par_chunks_mut(stride)
        .zip(parts.par_chunks_mut(blocks.len()))
        .with_min_len(ROWS)
        .for_each(|(row, parts)| {
            for (block, part) in blocks.iter().zip(parts) {
                *part = arch.dispatch(ExpBelowMax {
                    values: &mut row[block.clone()],
                });
            }
            row[voxels.len()..].fill(T::default());
        });
    let mut largest: Vec<f64> = parts
        .chunks(blocks.len())
        .map(|parts| parts.iter().fold(f64::MIN, |m, p| m.max(p[0])))
        .collect();
    ranks.grid.max_rows(&mut largest);
    // A row's exponentials, and they times their logarithms, are at most 1 each.
    let step = ranks
        .is_exact()
        .then(|| step_for(2.0 * voxels.whole_len() as f64));
    let rounded = |x: f64| step.map_or(x, |step| on_grid(x, step));
    let mut sums = vec![0.0; 2 * n_rows];
    for ((sums, parts), &max) in sums
        .chunks_exact_mut(2)
        .zip(parts.chunks(blocks.len()))
        .zip(&largest)
    {
        for &[part_max, sum, weighted] in parts {
            let below = part_max - max;
            let scale = below.exp();
            sums[0] += rounded(scale * sum);
            // A block far below the maximum counts as 0: its logarithm may be infinite.
            let weighted = if scale > 0.0 {
                scale * (weighted + below * sum)
            } else {
                0.0
            };
            sums[1] += rounded(weighted);
        }
    }
    ranks.grid.sum_rows(&mut sums);
    for ((row, sums), &max) in whole.iter_mut().zip(sums.chunks_exact(2)).zip(&largest) {
        *row = WholeRow {
            max,
            sum: sums[0],
            entropy: sums[0].ln() - sums[1] / sums[0],
        };
    }
    rows.par_chunks_mut(stride)
        .zip(parts.par_chunks(blocks.len()))
        .zip(&*whole)
        .with_min_len(ROWS)
        .for_each(|((row, parts), whole)| {
            for (block, part) in blocks.iter().zip(parts) {
                arch.dispatch(Scale {
                    values: &mut row[block.clone()],
                    by: T::from_f64((part[0] - whole.max).exp() / whole.sum),
                });
            }
        });
}

/// Declares what [`shared_softmax`] exchanges over a number of cells.
pub(crate) fn declare(tally: &mut Tally<'_>, n_cells: usize) {
    tally.max_rows(n_cells);
    tally.sum_rows(2 * n_cells);
}
