//! The product `S_blk W` over the genes of all ranks (logits, or gradients by them), one super-block of cells at a time.

use crate::cost::tally::Tally;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sparse_product::WIDEST;
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use crate::ranks::Ranks;
use rayon::prelude::*;
use std::ops::{ControlFlow, Range};
use tangram_comm::{Communicator, on_grid, step_for};

/// Buffers for `S_blk W` of super-blocks.
pub(crate) struct AllGenes<T> {
    layout: Layout,
    /// The super-block in work, and the next one, computed while the first is summed over ranks.
    rows: [Aligned<T>; 2],
    exact: Option<Wide>,
}

/// Takes a super-block: its cells, and its rows, (cells, voxels). Breaks to end the pass.
pub(crate) type Visit<'a, T> =
    dyn FnMut(&mut Products, Range<usize>, &mut [T]) -> ControlFlow<()> + 'a;

/// Sums over parts of the genes on a grid.
struct Wide {
    sums: Vec<f64>,
    step: f64,
    /// Bound of Σ_k |S_ik| of all cells.
    largest_total: f64,
}

/// Entries of a block worked on by one task.
const ENTRIES: usize = 4096;

/// Declares what [`AllGenes::take_weights`], then [`AllGenes::for_each_block`] over a number of cells exchange.
pub(crate) fn declare(tally: &mut Tally<'_>, n_cells: usize) {
    if tally.is_exact() {
        tally.max_of_all(1);
    }
    let tiles = Tiles::new(tally.shares().voxels.len(), WIDEST);
    let stride = match tally.number() {
        8 => tiles.row_stride::<f64>(),
        _ => tiles.row_stride::<f32>(),
    };
    tally.sum_logits(n_cells * stride);
}

impl<T: Number> AllGenes<T> {
    pub(crate) fn new(layout: Layout) -> Self {
        let rows = zeros(layout.cells_per_block * layout.stride::<T>());
        Self {
            layout,
            rows: [rows, zeros(0)],
            exact: None,
        }
    }

    /// Makes sums over ranks exact.
    ///
    /// * `largest`: the largest entry of S
    /// * `n_types`: number of cell types, held as columns of S after the genes; a row of these columns sums to at most 1
    pub(crate) fn exact(
        mut self,
        largest: f64,
        n_types: usize,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        let of_types = if n_types > 0 { 1.0 } else { 0.0 };
        self.exact = Some(Wide {
            sums: Vec::new(),
            step: 0.0,
            largest_total: ranks.shares.genes.whole_len() as f64 * largest + of_types + 1.0,
        });
        self
    }

    /// Copies W, (genes + 1, voxels), into tiles; its last row, which all ranks along the genes have, counts on one of them.
    pub(crate) fn take_weights(
        &mut self,
        weights: ndarray::ArrayView2<'_, f64>,
        tiles: &mut [T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let n_genes = weights.nrows();
        self.layout.tiles.fill(weights, tiles);
        if !ranks.grid.is_last_of_genes() {
            self.layout.tiles.clear_gene(n_genes - 1, n_genes, tiles);
        }
        if let Some(wide) = &mut self.exact {
            let mut largest = [weights.iter().fold(0.0f64, |m, z| m.max(z.abs()))];
            ranks.grid.max_of_all(&mut largest);
            wide.step = step_for(wide.largest_total * largest[0]);
        }
    }

    /// Hands `S_blk W` of all genes to `visit`, block after block: (cells of the block, voxels), rows a stride apart.
    ///
    /// * `weights`: W, (genes + 1, voxels) in tiles
    pub(crate) fn for_each_block(
        &mut self,
        products: &mut Products,
        weights: &[T],
        ranks: Ranks<'_, impl Communicator>,
        visit: &mut Visit<'_, T>,
    ) -> ControlFlow<()> {
        let stride = self.layout.stride::<T>();
        let blocks: Vec<_> = products.blocks().collect();
        let [now, next] = &mut self.rows;
        if let Some(wide) = &mut self.exact {
            for block in blocks {
                let rows = &mut now[..block.len() * stride];
                wide.logits(products, block.clone(), weights, rows, ranks);
                visit(products, block, rows)?;
            }
            return ControlFlow::Continue(());
        }
        if ranks.grid.shape().genes == 1 {
            for block in blocks {
                let rows = &mut now[..block.len() * stride];
                products.gradient(block.clone(), weights, rows);
                visit(products, block, rows)?;
            }
            return ControlFlow::Continue(());
        }
        next.resize(now.len(), T::default());
        if let Some(block) = blocks.first() {
            products.gradient(block.clone(), weights, &mut now[..block.len() * stride]);
        }
        for (b, block) in blocks.iter().enumerate() {
            let rows = &mut now[..block.len() * stride];
            T::sum_logits(ranks.grid, rows, &mut || {
                if let Some(block) = blocks.get(b + 1) {
                    products.gradient(block.clone(), weights, &mut next[..block.len() * stride]);
                }
            });
            products.take::<T>(block);
            visit(products, block.clone(), rows)?;
            std::mem::swap(now, next);
        }
        ControlFlow::Continue(())
    }

    /// `S_blk W` of all genes for one super-block.
    pub(crate) fn of_all_genes(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
        weights: &[T],
        ranks: Ranks<'_, impl Communicator>,
    ) -> &[T] {
        let rows = &mut self.rows[0][..block.len() * self.layout.stride::<T>()];
        match &mut self.exact {
            Some(wide) => wide.logits(products, block, weights, rows, ranks),
            None => {
                products.gradient(block, weights, rows);
                if ranks.grid.shape().genes > 1 {
                    T::sum_logits(ranks.grid, rows, &mut || ());
                }
            }
        }
        rows
    }

    /// One super-block of this rank's own genes.
    pub(crate) fn block(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
        weights: &[T],
    ) -> &mut [T] {
        let rows = &mut self.rows[0][..block.len() * self.layout.stride::<T>()];
        products.gradient(block, weights, rows);
        rows
    }
}

impl Wide {
    /// `S_blk W` from fixed parts of the genes, each rounded to the grid.
    fn logits<T: Number>(
        &mut self,
        products: &mut Products,
        block: Range<usize>,
        weights: &[T],
        rows: &mut [T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let step = self.step;
        self.sums.clear();
        self.sums.resize(rows.len(), 0.0);
        for part in 0..products.n_parts() {
            products.gradient_of(part, block.clone(), weights, rows);
            self.sums
                .par_iter_mut()
                .zip(&*rows)
                .with_min_len(ENTRIES)
                .for_each(|(sum, x)| *sum += on_grid(x.to_f64(), step));
        }
        ranks.grid.sum_logits(&mut self.sums, &mut || ());
        rows.par_iter_mut()
            .zip(&self.sums)
            .with_min_len(ENTRIES)
            .for_each(|(x, &sum)| *x = T::from_f64(sum));
    }
}
