//! The passes of Adam by this crate's kernels.

use crate::adam::begin::AdamBegin;
use crate::adam::logit_sums;
use crate::adam::pass::Pass;
use crate::adam::row_weights::{FilterStep, RowWeights};
use crate::adam::state::AdamState;
use crate::cost::tally::Tally;
use crate::cpu::adam_row::AdamStep;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::row_product::scale_rows;
use crate::cpu::sharded_logits::{self, AllGenes};
use crate::cpu::sharded_softmax;
use crate::cpu::sharded_sums::{self, Predicted};
use crate::evaluate::largest_of_genes;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::snapshot::Parts;
use crate::{AdamSettings, MapError, Mode, PassPlan};
use ndarray::Array2;
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;
use tangram_core::{OfCells, SparseRows, Term};

/// Logits with their moments, and products, softmax and step by super-blocks of cells. Nothing else grows with cells × voxels.
pub(crate) struct CpuPass<'a, T, K> {
    settings: &'a AdamSettings,
    ranks: Ranks<'a, K>,
    state: AdamState<T>,
    /// Every block of this rank's cells, with its first cell.
    blocks: Vec<(usize, Products)>,
    layout: Layout,
    /// A with the types and the density as its last genes, (genes + types + 1, voxels); after [`evaluate`](crate::evaluate::evaluate) W, likewise.
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
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan) {
    let n_cells = tally.shares().cells.len();
    sharded_logits::declare(tally, n_cells);
    if plan.filter && plan.objective[Term::Entropy] != 0.0 {
        // The entropy's part of the mean gradient, which no weight multiplies.
        tally.rows_over_voxels(n_cells);
    }
    // The mean gradient of a row, then its softmax.
    tally.rows_over_voxels(n_cells);
    sharded_softmax::declare(tally, n_cells);
    sharded_sums::declare(tally, plan.n_types);
}

impl<'a, T: Number, K: Communicator> CpuPass<'a, T, K> {
    /// * `cells`: S of this rank, (cells, genes and types), and what its rows count
    pub(crate) fn new(
        (cells, mode): (&SparseRows, &Mode),
        settings: &'a AdamSettings,
        begin: &AdamBegin<'_>,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        let shares = ranks.shares;
        let (n_genes, n_voxels) = (cells.n_cols() + 1, shares.voxels.len());
        let weights = RowWeights::begin(mode, settings, shares);
        let state = match begin {
            AdamBegin::At(initial) => {
                let logits = initial.shard::<T>(settings.seed, shares)?;
                AdamState::new(logits, n_voxels, weights)
            }
            AdamBegin::Resume(snapshot) => AdamState::resumed(snapshot, weights, shares)?,
        };
        let layout = Layout::agreed::<T>(cells.density(), settings.precision, ranks);
        let (mut gradients, mut sums) = (AllGenes::new(layout), Predicted::new(layout, n_genes));
        if ranks.is_exact() {
            let mut by_gene = largest_of_genes(cells)?;
            let largest = ranks.largest(&mut by_gene);
            let n_types = cells.n_cols() - shares.genes.len();
            gradients = gradients.exact(largest, n_types, ranks);
            sums = sums.exact(&by_gene, mode.largest_mass(shares.cells.whole_len()));
        }
        let genes = ranks.first_genes();
        let cut = |block: Range<usize>| {
            let first = block.start;
            (
                first,
                Products::by_gene_blocks::<T>(cells, block, layout, &genes),
            )
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

impl<T: Number, K: Communicator> CpuPass<'_, T, K> {
    /// What is summed over the cells, with the entropy of all.
    fn of_cells(&mut self, entropy: f64) -> OfCells {
        let cells = self.state.weights.sums(entropy, self.ranks);
        let asked = logit_sums::asked(&self.settings.objective);
        let logits = asked.then(|| self.state.logit_sums(self.ranks));
        OfCells { logits, ..cells }
    }
}

impl<T: Number, K: Communicator> Pass<T> for CpuPass<'_, T, K> {
    fn predict(&mut self) -> Result<OfCells, MapError> {
        let (ranks, state) = (self.ranks, &mut self.state);
        self.sums.clear();
        let stride = self.layout.stride::<T>();
        for (first, products) in &mut self.blocks {
            for block in products.blocks() {
                let rows = &mut self.rows[..block.len() * stride];
                let cells = *first + block.start..*first + block.end;
                state.softmax(cells.clone(), stride, rows, ranks);
                if let Some(weights) = state.weights.of(cells.clone()) {
                    scale_rows(rows, stride, state.n_voxels, weights);
                }
                products.take::<T>(&block);
                self.sums.add(products, block, rows, state.entropies(cells));
            }
            self.sums.end_block();
        }
        let entropy = self.sums.finish(&mut self.predicted, ranks);
        Ok(self.of_cells(entropy))
    }

    fn predicted(&mut self) -> &mut Array2<f64> {
        &mut self.predicted
    }

    fn step(&mut self, filter: FilterStep) -> Result<OfCells, MapError> {
        let settings = self.settings;
        let step = AdamStep::new(filter.epoch, settings.learning_rate, &settings.objective);
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
                    match state.weights.of(cells.clone()).map(<[f64]>::to_vec) {
                        None => state.step(cells.clone(), stride, rows, step, ranks),
                        Some(before) => {
                            let gradient = (stride, &mut *rows);
                            let weighed =
                                state.weighted_step(cells.clone(), gradient, &before, step, ranks);
                            state.weights.learn(cells.clone(), &weighed, filter);
                            let weights = state.weights.of(cells.clone());
                            let weights = weights.expect("as before the step");
                            scale_rows(rows, stride, state.n_voxels, weights);
                        }
                    }
                    sums.add(products, block, rows, state.entropies(cells));
                    // Logits change as they come: half a pass is no state to go on from.
                    ControlFlow::Continue(())
                },
            );
            debug_assert!(done.is_continue(), "it never breaks");
            sums.end_block();
        }
        let entropy = self.sums.finish(&mut self.predicted, ranks);
        Ok(self.of_cells(entropy))
    }

    fn save(&mut self, parts: Parts) -> Result<Parts, MapError> {
        Ok(parts.with(&self.state))
    }

    fn into_state(self: Box<Self>) -> Result<AdamState<T>, MapError> {
        Ok(self.state)
    }
}
