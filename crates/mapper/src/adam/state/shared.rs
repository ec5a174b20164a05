//! Rows whose voxels are in several blocks, usually on several ranks.

use super::AdamState;
use crate::cpu::adam_row::{AdamStep, RowDot, RowUpdate};
use crate::cpu::aligned::zeros;
use crate::cpu::sharded_softmax::{ROWS, WholeRow, shared_softmax};
use crate::cpu::softmax::RowNorm;
use crate::number::Number;
use crate::ranks::Ranks;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::Sums;

impl<T: Number> AdamState<T> {
    pub(super) fn shared_softmax(
        &mut self,
        block: Range<usize>,
        stride: usize,
        rows: &mut [T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let n_voxels = self.n_voxels;
        let entries = block.start * n_voxels..block.end * n_voxels;
        rows.par_chunks_mut(stride)
            .zip(self.logits[entries].par_chunks(n_voxels))
            .for_each(|(row, logits)| row[..n_voxels].copy_from_slice(logits));
        let mut whole = vec![WholeRow::default(); block.len()];
        shared_softmax(rows, stride, &mut whole, ranks);
        for (norm, row) in self.norms[block].iter_mut().zip(whole) {
            *norm = RowNorm {
                max: T::from_f64(row.max),
                inverse_sum: T::from_f64(1.0 / row.sum),
                log_sum: T::from_f64(row.sum.ln()),
                entropy: T::from_f64(row.entropy),
            };
        }
    }

    /// The step takes two passes over a row: the row's mean gradient needs the voxels of all ranks first.
    pub(super) fn shared_step(
        &mut self,
        cells: Range<usize>,
        stride: usize,
        rows: &mut [T],
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let of_block = |voxels| self.dots(cells.clone(), (stride, Some(&*rows)), voxels, step);
        let blocks = ranks.voxel_blocks().into_iter().map(of_block);
        let means = ranks.rows_over_voxels(blocks.collect());
        self.update(cells.clone(), (stride, &*rows), &means, step, ranks);
        self.shared_softmax(cells, stride, rows, ranks);
    }

    /// `Σ_j P_ij g_ij` over some voxels of every row; without rows g has nothing but the slope of the entropy.
    pub(super) fn dots(
        &self,
        cells: Range<usize>,
        (stride, rows): (usize, Option<&[T]>),
        voxels: Range<usize>,
        step: AdamStep<T>,
    ) -> Vec<f64> {
        let (arch, n_voxels, first) = (Arch::new(), self.n_voxels, cells.start);
        let room = || [0, 1].map(|_| zeros::<T>(stride));
        let norms = self.norms[cells].par_iter().enumerate();
        norms
            .with_min_len(ROWS)
            .map_init(room, |[gradient, room], (i, &norm)| {
                let part = &mut gradient[..voxels.len()];
                match rows {
                    Some(rows) => part.copy_from_slice(&rows[i * stride..][voxels.clone()]),
                    None => part.fill(T::default()),
                }
                let logits = &self.logits[(first + i) * n_voxels..][voxels.clone()];
                arch.dispatch(RowDot {
                    logits,
                    gradient,
                    room,
                    norm,
                    step,
                })
                .to_f64()
            })
            .collect()
    }

    /// Steps of rows whose mean gradients are known.
    ///
    /// * `rows`: their gradients without that of the entropy, `stride` apart
    pub(super) fn update(
        &mut self,
        cells: Range<usize>,
        (stride, rows): (usize, &[T]),
        means: &[f64],
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let (arch, n_voxels) = (Arch::new(), self.n_voxels);
        let entries = cells.start * n_voxels..cells.end * n_voxels;
        let room = || [0, 1].map(|_| zeros::<T>(stride));
        let blocks = ranks.voxel_blocks();
        let logits = self.logits[entries.clone()].par_chunks_mut(n_voxels);
        let first = self.first_moment[entries.clone()].par_chunks_mut(n_voxels);
        let second = self.second_moment[entries].par_chunks_mut(n_voxels);
        let norms = self.norms[cells].par_iter();
        rows.par_chunks(stride)
            .zip(logits)
            .zip(first.zip(second))
            .zip(norms.zip(means))
            .with_min_len(ROWS)
            .for_each_init(room, |[gradient, room], rows| {
                let (((row, logits), (first, second)), (&norm, &mean)) = rows;
                for voxels in &blocks {
                    let part = &row[voxels.clone()];
                    gradient[..part.len()].copy_from_slice(part);
                    let _ = arch.dispatch(RowDot {
                        logits: &logits[voxels.clone()],
                        gradient,
                        room,
                        norm,
                        step,
                    });
                    let _ = arch.dispatch(RowUpdate {
                        logits: &mut logits[voxels.clone()],
                        first_moment: &mut first[voxels.clone()],
                        second_moment: &mut second[voxels.clone()],
                        gradient,
                        room,
                        mean: T::from_f64(mean),
                        step,
                    });
                }
            });
    }
}
