//! The predicted expression A = Pᵀ S, summed over super-blocks, blocks of cells, and ranks.

use crate::cost::tally::Tally;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sparse_product::WIDEST;
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use crate::ranks::Ranks;
use ndarray::{Array2, ArrayView1, Zip};
use std::ops::Range;
use tangram_comm::{Communicator, on_grid, step_for};

/// A by gene, with the expected cells of every voxel as that of a last gene.
pub(crate) struct Predicted<T> {
    layout: Layout,
    /// (genes + 1, voxels) in tiles: of all cells so far, or with exact sums of the block of cells in work.
    sums: Aligned<T>,
    exact: Option<Exact>,
    /// Sum of the rows' entropies, in nats, of every block of cells.
    entropy: Vec<f64>,
}

/// Sums of fixed blocks of cells on a grid, (genes + 1, voxels).
struct Exact {
    sums: Array2<f64>,
    block: Array2<f64>,
    /// By gene.
    steps: Vec<f64>,
}

/// Declares what [`Predicted::finish`] exchanges.
///
/// * `n_types`: number of cell types, held as columns of S after the genes
pub(crate) fn declare(tally: &mut Tally<'_>, n_types: usize) {
    let shares = tally.shares();
    let (n_voxels, n_genes) = (shares.voxels.len(), shares.genes.len() + n_types + 1);
    tally.sum_predicted(match tally.is_exact() {
        true => n_genes * n_voxels,
        false => Tiles::new(n_voxels, WIDEST).len(n_genes),
    });
    tally.over_cells(1);
}

impl<T: Number> Predicted<T> {
    /// `n_genes` with the gene of ones.
    pub(crate) fn new(layout: Layout, n_genes: usize) -> Self {
        Self {
            sums: zeros(layout.tiles.len(n_genes)),
            layout,
            exact: None,
            entropy: Vec::new(),
        }
    }

    /// Makes sums over ranks exact.
    ///
    /// * `largest`: the largest entry of S for every gene of this rank, of all cells
    /// * `mass`: the most that all cells together can count; P is at most 1, which bounds A
    pub(crate) fn exact(mut self, largest: &[f64], mass: f64) -> Self {
        let size = (largest.len() + 1, self.layout.tiles.n_voxels);
        let all = largest.iter().chain(&[1.0]);
        self.exact = Some(Exact {
            sums: Array2::zeros(size),
            block: Array2::zeros(size),
            steps: all.map(|x| step_for(x * mass)).collect(),
        });
        self
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.sums.fill(T::default());
        self.entropy.clear();
        self.entropy.push(0.0);
        if let Some(exact) = &mut self.exact {
            exact.sums.fill(0.0);
        }
    }

    /// Adds a super-block of P, (cells of the block, voxels), rows a stride apart, and its rows' entropies.
    pub(crate) fn add(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
        rows: &[T],
        entropies: impl Iterator<Item = f64>,
    ) {
        products.accumulate(block, rows, &mut self.sums);
        // In the order of the cells, whatever thread computed them.
        *self.entropy.last_mut().expect("cleared before") += entropies.sum::<f64>();
    }

    /// Ends a block of this rank's cells.
    pub(crate) fn end_block(&mut self) {
        self.entropy.push(0.0);
        if let Some(Exact { sums, block, steps }) = &mut self.exact {
            self.layout.tiles.copy_by_gene(&self.sums, block.view_mut());
            Zip::from(sums.rows_mut())
                .and(block.rows())
                .and(&ArrayView1::from(&*steps))
                .par_for_each(|mut sums, block, &step| {
                    sums.iter_mut()
                        .zip(block)
                        .for_each(|(sum, &x)| *sum += on_grid(x, step));
                });
            self.sums.fill(T::default());
        }
    }

    /// Writes A of all cells of all ranks, (genes + 1, voxels); gives the entropy of all.
    pub(crate) fn finish(
        &mut self,
        predicted: &mut Array2<f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        match &mut self.exact {
            Some(Exact { sums, .. }) => {
                let values = sums.as_slice_mut().expect("standard layout");
                ranks.grid.sum_predicted(values);
                predicted.assign(sums);
            }
            None => {
                T::sum_predicted(ranks.grid, &mut self.sums);
                let tiles = self.layout.tiles;
                tiles.copy_by_gene(&self.sums, predicted.view_mut());
            }
        }
        self.entropy.pop();
        ranks.over_cells(std::mem::take(&mut self.entropy))
    }
}
