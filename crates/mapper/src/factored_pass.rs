//! One pass of the factored solver: what P = softmax(S Zᵀ + 1 bᵀ) predicts, P existing only one super-block at a time.

use crate::lanes::Real;
use crate::products::{Layout, Products};
use crate::softmax::{RowNorm, SoftmaxInPlace};
use ndarray::{Array2, ArrayView2};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;

/// Rows worked on by one task: they stay in the second cache.
const ROWS: usize = 8;

/// The buffers of a pass. Nothing in it grows with cells × voxels, and nothing is allocated while it runs.
pub(crate) struct FactoredPass<T> {
    layout: Layout,
    /// Z by gene, b as the row of the gene of ones, in tiles.
    factors: Vec<T>,
    /// A by gene, the expected cells of every voxel as its last row, in tiles.
    sums: Vec<T>,
    /// A super-block of logits, then of P.
    rows: Vec<T>,
    /// Entropy of every row of a super-block.
    entropies: Vec<T>,
    /// Sum of the rows' entropies so far, in nats.
    entropy: f64,
    arch: Arch,
}

impl<T: Real> FactoredPass<T> {
    /// Buffers for any products of this layout; `n_genes` with the gene of ones.
    pub(crate) fn new(layout: Layout, n_genes: usize) -> Self {
        let (tiles, cells_per_block) = (layout.tiles, layout.cells_per_block);
        let zeros = |n: usize| vec![T::default(); n];
        Self {
            layout,
            factors: zeros(tiles.len(n_genes)),
            sums: zeros(tiles.len(n_genes)),
            rows: zeros(cells_per_block * layout.stride::<T>()),
            entropies: zeros(cells_per_block),
            entropy: 0.0,
            arch: Arch::new(),
        }
    }

    /// Begins a pass with these factors, (genes + 1, voxels): Z, and b as its last row.
    pub(crate) fn begin(&mut self, factors: ArrayView2<'_, f64>) {
        self.layout.tiles.fill(factors, &mut self.factors);
        self.sums.fill(T::default());
        self.entropy = 0.0;
    }

    /// Adds what these cells predict.
    pub(crate) fn add(&mut self, products: &mut Products) {
        for block in products.blocks() {
            let n_rows = block.len();
            self.probabilities(products, block.clone());
            let rows = &self.rows[..n_rows * self.layout.stride::<T>()];
            products.accumulate(block, rows, &mut self.sums);
            // In the order of the cells, whatever thread computed them.
            self.entropy += self.entropies[..n_rows]
                .iter()
                .map(|h| h.to_f64())
                .sum::<f64>();
        }
    }

    /// P of one super-block: (cells of the block, voxels), rows [`Tiles::row_stride`] apart.
    pub(crate) fn probabilities(&mut self, products: &mut Products, block: Range<usize>) -> &[T] {
        let (stride, n_voxels, arch) = (
            self.layout.stride::<T>(),
            self.layout.tiles.n_voxels,
            self.arch,
        );
        let rows = &mut self.rows[..block.len() * stride];
        products.gradient(block.clone(), &self.factors, rows);
        rows.par_chunks_mut(stride)
            .zip(&mut self.entropies[..block.len()])
            .with_min_len(ROWS)
            .for_each(|(row, entropy)| {
                let norm: RowNorm<T> = arch.dispatch(SoftmaxInPlace { row, n_voxels });
                *entropy = norm.entropy;
            });
        rows
    }

    /// Writes A with the expected cells of every voxel as its last row, (genes + 1, voxels).
    pub(crate) fn finish(&self, predicted: &mut Array2<f64>) {
        self.layout
            .tiles
            .copy_by_gene(&self.sums, predicted.view_mut());
    }

    /// Sum of the rows' entropies, in nats.
    pub(crate) fn entropy(&self) -> f64 {
        self.entropy
    }
}
