//! One pass of the factored solver: what P = softmax(S Zᵀ + 1 bᵀ) predicts, P existing only one super-block at a time.

use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::row_product::scale_rows;
use crate::cpu::sharded_logits::AllGenes;
use crate::cpu::sharded_softmax::{ROWS, WholeRow, shared_softmax};
use crate::cpu::sharded_sums::Predicted;
use crate::cpu::softmax::{RowNorm, SoftmaxInPlace};
use crate::cpu::weighed_rows::WeighedRows;
use crate::mirror::pass::Rows;
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
    /// Weights of this rank's cells; none where all count 1.
    weights: Vec<f64>,
    weighed: Weighed<T>,
}

/// Whether the cells of a pass are weighed.
enum Weighed<T> {
    /// Buffers are made when it is asked for first. Holds the largest entry of S, where sums are exact.
    NotYet(Option<f64>),
    /// Not in this pass.
    Not(WeighedRows<T>),
    InWork(WeighedRows<T>),
}

impl<T: Number> FactoredRows<T> {
    /// Buffers for any products of this layout; `n_genes` with the gene of ones.
    pub(crate) fn new(layout: Layout, n_genes: usize) -> Self {
        Self {
            factors: zeros(layout.tiles.len(n_genes)),
            logits: AllGenes::new(layout),
            predicted: Predicted::new(layout, n_genes),
            whole: vec![WholeRow::default(); layout.cells_per_block],
            weights: Vec::new(),
            weighed: Weighed::NotYet(None),
            layout,
        }
    }

    /// Makes all sums over ranks exact.
    ///
    /// * `largest`: the largest entry of S for every gene of this rank, of all cells
    /// * `largest_of_all`: of all genes
    /// * `largest_mass`: the most that all cells together can count
    pub(crate) fn exact(
        self,
        largest: &[f64],
        [largest_of_all, largest_mass]: [f64; 2],
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        Self {
            logits: self.logits.exact(largest_of_all, 0, ranks),
            predicted: self.predicted.exact(largest, largest_mass),
            weighed: Weighed::NotYet(Some(largest_of_all)),
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

    /// How the rows of the pass that has begun count.
    pub(crate) fn take_rows(&mut self, rows: Rows<'_>, ranks: Ranks<'_, impl Communicator>) {
        self.weights.clear();
        self.weights.extend_from_slice(rows.weights.unwrap_or(&[]));
        let size = [ranks.shares.genes.len() + 1, ranks.shares.cells.len()];
        let before = std::mem::replace(&mut self.weighed, Weighed::NotYet(None));
        self.weighed = match (before, rows.slope) {
            (Weighed::NotYet(largest), None) => Weighed::NotYet(largest),
            (Weighed::Not(weighed) | Weighed::InWork(weighed), None) => Weighed::Not(weighed),
            (before, Some(slope)) => {
                let mut weighed = match before {
                    Weighed::NotYet(largest) => WeighedRows::new(self.layout, size, largest, ranks),
                    Weighed::Not(weighed) | Weighed::InWork(weighed) => weighed,
                };
                weighed.begin(slope, ranks);
                Weighed::InWork(weighed)
            }
        };
    }

    /// What the cells weigh, where the pass has weighed them.
    pub(crate) fn weighed(&self) -> Option<Vec<f64>> {
        match &self.weighed {
            Weighed::InWork(weighed) => Some(weighed.weighed().to_vec()),
            _ => None,
        }
    }

    /// Adds what these cells predict; breaks where the pass is given up.
    ///
    /// * `first`: place of the first of them among this rank's cells
    pub(crate) fn add(
        &mut self,
        products: &mut Products,
        first: usize,
        ranks: Ranks<'_, impl Communicator>,
        polls: &mut Polls<'_>,
    ) -> ControlFlow<()> {
        let (layout, whole, predicted) = (self.layout, &mut self.whole, &mut self.predicted);
        let (factors, stride) = (&self.factors, layout.stride::<T>());
        let (weights, weighed) = (&self.weights, &mut self.weighed);
        self.logits
            .for_each_block(products, factors, ranks, &mut |products, block, rows| {
                let whole = &mut whole[..block.len()];
                if ranks.shares.voxels.n_blocks() == 1 {
                    softmax(rows, layout, whole);
                } else {
                    shared_softmax(rows, stride, whole, ranks);
                }
                let n_cells = block.len();
                let cells = first + block.start..first + block.end;
                if let Weighed::InWork(weighed) = weighed {
                    weighed.add(products, block.clone(), cells.clone(), rows, ranks);
                }
                if !weights.is_empty() {
                    scale_rows(rows, stride, layout.tiles.n_voxels, &weights[cells]);
                }
                predicted.add(products, block, rows, whole.iter().map(|row| row.entropy));
                polls.done(n_cells, ranks)
            })
    }

    /// P of one super-block, of all genes and voxels: (cells of the block, voxels), rows a stride apart.
    pub(crate) fn probabilities(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
    ) -> &mut [T] {
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
