//! One pass of Adam over the logits by the native kernels.

use crate::adam::state::AdamState;
use crate::cpu::adam_row::AdamStep;
use crate::cpu::products::{Layout, Products};
use crate::cpu::sharded_logits::AllGenes;
use crate::cpu::sharded_sums::Predicted;
use crate::evaluate::largest_of_genes;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::{MapError, Precision};
use ndarray::Array2;
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;
use tangram_core::SparseRows;

/// One pass over the logits: products, softmax and step by super-blocks of cells. Nothing in it grows with cells × voxels.
pub(crate) struct Pass<T> {
    /// Every block of this rank's cells, with its first cell.
    blocks: Vec<(usize, Products)>,
    layout: Layout,
    /// A with the density as its last gene, (genes + 1, voxels); after [`evaluate`](crate::evaluate::evaluate) W, likewise.
    pub(crate) predicted: Array2<f64>,
    /// W, (genes + 1, voxels) in tiles.
    weights: Vec<T>,
    gradients: AllGenes<T>,
    sums: Predicted<T>,
    /// A super-block of P, where there is no gradient before it.
    rows: Vec<T>,
}

impl<T: Number> Pass<T> {
    /// A pass over this rank's cells, (cells, genes).
    pub(crate) fn new(
        cells: &SparseRows,
        precision: Precision,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let shares = ranks.shares;
        let n_genes = shares.genes.len() + 1;
        let mut density = [cells.density(), 1.0];
        ranks.grid.sum_of_all(&mut density);
        let density = match ranks.is_exact() {
            // A dense product's sums depend on how many cells and genes it gets.
            true => 0.0,
            false => density[0] / density[1],
        };
        let (n_voxels, most) = (shares.voxels.len(), ranks.most());
        let layout = Layout::shared::<T>(cells.n_rows(), n_voxels, most, density, precision);
        let (mut gradients, mut sums) = (AllGenes::new(layout), Predicted::new(layout, n_genes));
        if ranks.is_exact() {
            let mut by_gene = largest_of_genes(cells)?;
            let largest = ranks.largest(&mut by_gene);
            gradients = gradients.exact(largest, ranks);
            sums = sums.exact(&by_gene, ranks);
        }
        let genes = ranks.gene_parts();
        let cut = |block: Range<usize>| {
            let first = block.start;
            (first, Products::in_parts::<T>(cells, block, layout, &genes))
        };
        Ok(Self {
            blocks: shares.cells.blocks().into_iter().map(cut).collect(),
            predicted: Array2::zeros((n_genes, n_voxels)),
            weights: vec![T::default(); layout.tiles.len(n_genes)],
            gradients,
            sums,
            rows: vec![T::default(); layout.cells_per_block * layout.stride::<T>()],
            layout,
        })
    }

    /// A and q of the logits as they are; gives the entropy.
    pub(crate) fn predict(
        &mut self,
        state: &mut AdamState<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        self.sums.clear();
        let stride = self.layout.stride::<T>();
        for (first, products) in &mut self.blocks {
            for block in products.blocks() {
                let rows = &mut self.rows[..block.len() * stride];
                let cells = *first + block.start..*first + block.end;
                state.softmax(cells.clone(), stride, rows, ranks);
                products.take::<T>(&block);
                self.sums.add(products, block, rows, state.entropies(cells));
            }
            self.sums.end_block();
        }
        self.sums.finish(&mut self.predicted, ranks)
    }

    /// One step of Adam down the gradients left by [`evaluate`](crate::evaluate::evaluate), then A and q of the new logits: one pass does both.
    /// Gives the entropy.
    pub(crate) fn step(
        &mut self,
        state: &mut AdamState<T>,
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        let weights = self.predicted.view();
        self.gradients
            .take_weights(weights, &mut self.weights, ranks);
        self.sums.clear();
        let (stride, sums) = (self.layout.stride::<T>(), &mut self.sums);
        for (first, products) in &mut self.blocks {
            let weights = &self.weights;
            let done = self.gradients.for_each_block(
                products,
                weights,
                ranks,
                &mut |products, block, rows| {
                    let cells = *first + block.start..*first + block.end;
                    state.step(cells.clone(), stride, rows, step, ranks);
                    sums.add(products, block, rows, state.entropies(cells));
                    // Logits change as they come: half a pass is no state to go on from.
                    ControlFlow::Continue(())
                },
            );
            debug_assert!(done.is_continue(), "it never breaks");
            sums.end_block();
        }
        self.sums.finish(&mut self.predicted, ranks)
    }
}
