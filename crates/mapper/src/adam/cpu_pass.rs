//! The passes of Adam by this crate's kernels.

use crate::adam::begin::AdamBegin;
use crate::adam::pass::Pass;
use crate::adam::state::AdamState;
use crate::cost::tally::Tally;
use crate::cpu::adam_row::AdamStep;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sharded_logits::{self, AllGenes};
use crate::cpu::sharded_softmax;
use crate::cpu::sharded_sums::{self, Predicted};
use crate::evaluate::largest_of_genes;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::snapshot::Parts;
use crate::{AdamSettings, MapError};
use ndarray::Array2;
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;
use tangram_core::{SparseRows, Term};

/// Logits with their moments, and products, softmax and step by super-blocks of cells. Nothing else grows with cells × voxels.
pub(crate) struct CpuPass<'a, T, K> {
    settings: &'a AdamSettings,
    ranks: Ranks<'a, K>,
    state: AdamState<T>,
    /// Every block of this rank's cells, with its first cell.
    blocks: Vec<(usize, Products)>,
    layout: Layout,
    /// A with the density as its last gene, (genes + 1, voxels); after [`evaluate`](crate::evaluate::evaluate) W, likewise.
    predicted: Array2<f64>,
    rounding: Rounding,
    /// W, (genes + 1, voxels) in tiles.
    weights: Aligned<T>,
    gradients: AllGenes<T>,
    sums: Predicted<T>,
    /// A super-block of P, where there is no gradient before it.
    rows: Aligned<T>,
}

/// Declares what [`CpuPass::step`](Pass::step) exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    let n_cells = tally.shares().cells.len();
    sharded_logits::declare(tally, n_cells);
    // The mean gradient of a row, then its softmax.
    tally.rows_over_voxels(n_cells);
    sharded_softmax::declare(tally, n_cells);
    sharded_sums::declare(tally);
}

impl<'a, T: Number, K: Communicator> CpuPass<'a, T, K> {
    /// * `cells`: S of this rank, (cells, genes)
    pub(crate) fn new(
        cells: &SparseRows,
        settings: &'a AdamSettings,
        begin: &AdamBegin<'_>,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        let shares = ranks.shares;
        let (n_genes, n_voxels) = (shares.genes.len() + 1, shares.voxels.len());
        let state = match begin {
            AdamBegin::At(initial) => {
                AdamState::new(initial.part::<T>(settings.seed, shares)?, n_voxels)
            }
            AdamBegin::Resume(snapshot) => AdamState::resumed(snapshot, shares)?,
        };
        let layout = Layout::agreed::<T>(cells.density(), settings.precision, ranks);
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
            settings,
            ranks,
            state,
            blocks: shares.cells.blocks().into_iter().map(cut).collect(),
            predicted: Array2::zeros((n_genes, n_voxels)),
            rounding: Rounding::of_gradients(
                settings.precision,
                &settings.engine,
                layout.dense,
                None,
            ),
            weights: zeros(layout.tiles.len(n_genes)),
            gradients,
            sums,
            rows: zeros(layout.cells_per_block * layout.stride::<T>()),
            layout,
        })
    }
}

impl<T: Number, K: Communicator> Pass<T> for CpuPass<'_, T, K> {
    fn predict(&mut self) -> Result<f64, MapError> {
        let (ranks, state) = (self.ranks, &mut self.state);
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
        Ok(self.sums.finish(&mut self.predicted, ranks))
    }

    fn predicted(&mut self) -> &mut Array2<f64> {
        &mut self.predicted
    }

    fn step(&mut self, epoch: usize) -> Result<f64, MapError> {
        let entropy = self.settings.objective[Term::Entropy];
        let step = AdamStep::new(epoch, self.settings.learning_rate, entropy);
        let (ranks, state) = (self.ranks, &mut self.state);
        self.rounding.round(&mut self.predicted, ranks);
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
        Ok(self.sums.finish(&mut self.predicted, ranks))
    }

    fn save(&mut self, parts: Parts) -> Result<Parts, MapError> {
        Ok(parts.with(&self.state))
    }

    fn into_state(self: Box<Self>) -> Result<AdamState<T>, MapError> {
        Ok(self.state)
    }
}
