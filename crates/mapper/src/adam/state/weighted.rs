//! The step of rows that do not all count 1.

use super::AdamState;
use crate::cpu::adam_row::{AdamStep, WeightedStep};
use crate::cpu::row_product::scale_rows;
use crate::number::Number;
use crate::ranks::Ranks;
use pulp::Arch;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::Sums;

impl<T: Number> AdamState<T> {
    /// One step of Adam on a block of cells, then P of the new logits. Gives `t_i = Σ_j P_ij (S_i·W_j + u_j)` of the old ones.
    ///
    /// * `gradient`: rows `stride` apart: on entry `S_i·W_j + u_j`, on return P
    /// * `weights`: of the block's rows
    pub(crate) fn weighted_step(
        &mut self,
        block: Range<usize>,
        (stride, gradient): (usize, &mut [T]),
        weights: &[f64],
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Vec<f64> {
        if ranks.shares.voxels.n_blocks() > 1 {
            return self.shared_weighted_step(block, (stride, gradient), weights, step, ranks);
        }
        let arch = Arch::new();
        self.step_rows(block, (stride, gradient), step, |i, row| {
            let weight = T::from_f64(weights[i]);
            arch.dispatch(WeightedStep { row, weight })
        })
    }

    /// The same where the voxels of a row are in several blocks, usually on several ranks.
    fn shared_weighted_step(
        &mut self,
        cells: Range<usize>,
        (stride, rows): (usize, &mut [T]),
        weights: &[f64],
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Vec<f64> {
        let sums = |state: &Self, rows: Option<&[T]>, step| {
            let of_block = |voxels| state.dots(cells.clone(), (stride, rows), voxels, step);
            let blocks = ranks.voxel_blocks().into_iter().map(of_block);
            ranks.rows_over_voxels(blocks.collect())
        };
        let weighed = sums(self, Some(rows), step.without_entropy());
        let mut means: Vec<f64> = weighed.iter().zip(weights).map(|(t, w)| t * w).collect();
        if step.has_entropy() {
            let of_entropy = sums(self, None, step);
            means.iter_mut().zip(of_entropy).for_each(|(m, e)| *m += e);
        }
        scale_rows(rows, stride, self.n_voxels, weights);
        self.update(cells.clone(), (stride, &*rows), &means, step, ranks);
        self.shared_softmax(cells, stride, rows, ranks);
        weighed
    }
}
