//! One pass of the factored solver: what P = softmax(S Zᵀ + 1 bᵀ) predicts, P existing only one super-block at a time.

use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sharded_logits::AllGenes;
use crate::cpu::sharded_softmax::{ROWS, WholeRow, shared_softmax};
use crate::cpu::sharded_sums::Predicted;
use crate::cpu::softmax::{RowNorm, SoftmaxInPlace};
use crate::mirror::polls::Polls;
use crate::number::Number;
use crate::ranks::Ranks;
use ndarray::{Array2, ArrayView2};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;

/// The buffers of a pass. Nothing in it grows with cells × voxels, and on one rank nothing is allocated while it runs.
pub(crate) struct FactoredRows<T> {
    layout: Layout,
    /// Z by gene, b as the row of the gene of ones, in tiles.
    factors: Aligned<T>,
    logits: AllGenes<T>,
    predicted: Predicted<T>,
    /// Every row of a super-block.
    whole: Vec<WholeRow>,
}

impl<T: Number> FactoredRows<T> {
    /// Buffers for any products of this layout; `n_genes` with the gene of ones.
    pub(crate) fn new(layout: Layout, n_genes: usize) -> Self {
        Self {
            factors: zeros(layout.tiles.len(n_genes)),
            logits: AllGenes::new(layout),
            predicted: Predicted::new(layout, n_genes),
            whole: vec![WholeRow::default(); layout.cells_per_block],
            layout,
        }
    }

    /// Makes all sums over ranks exact.
    ///
    /// * `largest`: the largest entry of S for every gene of this rank, of all cells
    /// * `largest_of_all`: of all genes
    pub(crate) fn exact(
        self,
        largest: &[f64],
        largest_of_all: f64,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        Self {
            logits: self.logits.exact(largest_of_all, ranks),
            predicted: self.predicted.exact(largest, ranks),
            ..self
        }
    }

    /// Begins a pass with these factors, (genes + 1, voxels): Z, and b as its last row.
    pub(crate) fn begin(
        &mut self,
        factors: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        self.logits.take_weights(factors, &mut self.factors, ranks);
        self.predicted.clear();
    }

    /// Adds what these cells predict; breaks where the pass is given up.
    pub(crate) fn add(
        &mut self,
        products: &mut Products,
        ranks: Ranks<'_, impl Communicator>,
        polls: &mut Polls<'_>,
    ) -> ControlFlow<()> {
        let (layout, whole, predicted) = (self.layout, &mut self.whole, &mut self.predicted);
        let weights = &self.factors;
        self.logits
            .for_each_block(products, weights, ranks, &mut |products, block, rows| {
                let whole = &mut whole[..block.len()];
                if ranks.shares.voxels.n_blocks() == 1 {
                    softmax(rows, layout, whole);
                } else {
                    shared_softmax(rows, layout.stride::<T>(), whole, ranks);
                }
                let n_cells = block.len();
                predicted.add(products, block, rows, whole.iter().map(|row| row.entropy));
                polls.done(n_cells, ranks)
            })
    }

    /// P of one super-block, of all genes and voxels: (cells of the block, voxels), rows a stride apart.
    pub(crate) fn probabilities(&mut self, products: &mut Products, block: Range<usize>) -> &[T] {
        let n_rows = block.len();
        let rows = self.logits.block(products, block, &self.factors);
        softmax(rows, self.layout, &mut self.whole[..n_rows]);
        rows
    }

    /// Ends a block of this rank's cells.
    pub(crate) fn end_block(&mut self) {
        self.predicted.end_block();
    }

    /// Writes A of all cells with the expected cells of every voxel as its last row, (genes + 1, voxels); gives the entropy.
    pub(crate) fn finish(
        &mut self,
        predicted: &mut Array2<f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        self.predicted.finish(predicted, ranks)
    }
}

/// P of logits whose voxels are all here, in place.
fn softmax<T: Number>(rows: &mut [T], layout: Layout, whole: &mut [WholeRow]) {
    let (n_voxels, arch) = (layout.tiles.n_voxels, Arch::new());
    rows.par_chunks_mut(layout.stride::<T>())
        .zip(whole)
        .with_min_len(ROWS)
        .for_each(|(row, whole)| {
            let norm: RowNorm<T> = arch.dispatch(SoftmaxInPlace { row, n_voxels });
            whole.entropy = norm.entropy.to_f64();
        });
}
