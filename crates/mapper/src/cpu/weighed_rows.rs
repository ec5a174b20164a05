//! What a filter learns from: `t_i = Σ_j P_ij (S_i·W_j + u_j)` of every cell of a pass.

use crate::cost::tally::Tally;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::row_product::RowProduct;
use crate::cpu::sharded_logits::{self, AllGenes};
use crate::cpu::sharded_softmax::ROWS;
use crate::number::Number;
use crate::ranks::Ranks;
use ndarray::ArrayView2;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Communicator;

/// A second product with the rows of P, while they are there.
pub(crate) struct WeighedRows<T> {
    layout: Layout,
    /// W by gene, u as the row of the gene of ones, in tiles.
    slope: Aligned<T>,
    products: AllGenes<T>,
    /// t of this rank's cells.
    weighed: Vec<f64>,
}

impl<T: Number> WeighedRows<T> {
    /// * `n_genes`: with the gene of ones
    /// * `n_cells`: of this rank
    /// * `largest`: the largest entry of S, where sums are exact
    pub(crate) fn new(
        layout: Layout,
        [n_genes, n_cells]: [usize; 2],
        largest: Option<f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        let products = AllGenes::new(layout);
        Self {
            slope: zeros(layout.tiles.len(n_genes)),
            products: match largest {
                Some(largest) => products.exact(largest, 0, ranks),
                None => products,
            },
            weighed: vec![0.0; n_cells],
            layout,
        }
    }

    /// Begins a pass with W and u, (genes + 1, voxels).
    pub(crate) fn begin(
        &mut self,
        slope: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        self.products.take_weights(slope, &mut self.slope, ranks);
    }

    /// Takes a super-block.
    ///
    /// * `block`: its cells among those of `products`
    /// * `cells`: the same among all of this rank
    /// * `rows`: P, rows a stride apart
    pub(crate) fn add(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
        cells: Range<usize>,
        rows: &[T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let (arch, stride) = (Arch::new(), self.layout.stride::<T>());
        let slopes = self
            .products
            .of_all_genes(products, block, &self.slope, ranks);
        let of_block = |voxels: Range<usize>| -> Vec<f64> {
            let pairs = rows.par_chunks(stride).zip(slopes.par_chunks(stride));
            let product = |(p, slope): (&[T], &[T])| {
                arch.dispatch(RowProduct {
                    a: &p[voxels.clone()],
                    b: &slope[voxels.clone()],
                })
            };
            pairs.with_min_len(ROWS).map(product).collect()
        };
        let blocks = ranks.shares.voxels.blocks().into_iter().map(of_block);
        let sums = ranks.rows_over_voxels(blocks.collect());
        self.weighed[cells].copy_from_slice(&sums);
    }

    /// t of this rank's cells.
    pub(crate) fn weighed(&self) -> &[f64] {
        &self.weighed
    }
}

/// Declares what weighing a number of cells exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, n_cells: usize) {
    sharded_logits::declare(tally, n_cells);
    tally.rows_over_voxels(n_cells);
}
