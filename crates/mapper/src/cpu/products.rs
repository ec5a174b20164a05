//! The two matrix products of an epoch, sparse or dense, one super-block of cells at a time.

use crate::Precision;
#[cfg(feature = "torch")]
use crate::cpu::bf16_product::Bf16Products;
use crate::cpu::blocked::{Blocked, CHUNK};
use crate::cpu::dense_product::DenseProducts;
use crate::cpu::disjoint::Disjoint;
use crate::cpu::sparse_product::{Start, TileProduct, WIDEST};
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use crate::ranks::{Most, Ranks};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::SparseRows;

/// Largest scratch of a super-block, (cells, voxels), that stays in a third-level cache, in bytes.
const CACHED_BYTES: usize = 8 << 20;
/// Largest scratch of a super-block that does not stay there, in bytes.
const LARGEST_BYTES: usize = 128 << 20;
/// The two (genes, voxels) matrices are read from memory once per super-block. With more than this many genes per cell of a cached
/// scratch, that reading limits a pass, and a larger scratch of [`CELLS_PER_GENE`] is faster (docs/adr/0001).
const GENES_PER_CACHED_CELL: usize = 2;
const CELLS_PER_GENE: f64 = 1.5;

/// Share of non-zero entries above which the dense product is faster in single precision, and in bf16 (`scripts/bench.sh` measures both).
const DENSE_ABOVE: f64 = 0.5;
const DENSE_ABOVE_BF16: f64 = 0.25;

/// Cells or genes per task.
const CELLS: usize = 512;
const GENES: usize = 256;

/// S, ready for products with tiles of voxels.
///
/// A last gene that every cell expresses once is added: its prediction is the density, its weight the slope of the loss
/// by the density, so that no product needs to know of densities.
pub(crate) struct Products {
    n_cells: usize,
    n_genes: usize,
    layout: Layout,
    way: Way,
    arch: Arch,
}

enum Way {
    Sparse {
        /// S by blocks of genes, each with its first gene.
        by_cell: Vec<(usize, Blocked)>,
        /// For the second product, where it is asked for.
        by_gene: Option<Blocked>,
    },
    Dense {
        cells: SparseRows,
        products: DenseProducts,
    },
    #[cfg(feature = "torch")]
    Bf16 {
        cells: SparseRows,
        products: Bf16Products,
    },
}

/// How cells and voxels are cut, the same for all parts of the cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) tiles: Tiles,
    /// Cells per super-block: a multiple of [`CHUNK`].
    pub(crate) cells_per_block: usize,
    /// Whether S is worth treating as dense.
    pub(crate) dense: bool,
    #[cfg(feature = "torch")]
    bf16: bool,
}

impl Layout {
    /// * `n_cells`: most cells at a time
    /// * `density`: share of counts that are not zero
    pub(crate) fn new<T>(
        n_cells: usize,
        n_voxels: usize,
        n_genes: usize,
        density: f64,
        precision: Precision,
    ) -> Self {
        let most = Most {
            voxels: n_voxels,
            genes: n_genes,
        };
        Self::shared::<T>(n_cells, n_voxels, most, density, precision)
    }

    /// The layout of all ranks of a training.
    ///
    /// * `density`: share of a rank's counts, or of a sample of them, that are not zero
    pub(crate) fn agreed<T>(
        density: f64,
        precision: Precision,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        let mut densities = [density, 1.0];
        ranks.grid.sum_of_all(&mut densities);
        let density = match ranks.is_exact() {
            // A dense product's sums depend on how many cells and genes it gets.
            true => 0.0,
            false => densities[0] / densities[1],
        };
        let (n_cells, n_voxels) = (ranks.shares.cells.len(), ranks.shares.voxels.len());
        Self::shared::<T>(n_cells, n_voxels, ranks.most(), density, precision)
    }

    /// Layout of a rank that has `n_voxels` where some rank has most: all work on as many cells at a time.
    pub(crate) fn shared<T>(
        n_cells: usize,
        n_voxels: usize,
        most: Most,
        density: f64,
        precision: Precision,
    ) -> Self {
        let dense = match precision {
            Precision::F32 | Precision::Tf32 | Precision::Fp16 => density > DENSE_ABOVE,
            Precision::Bf16 => density > DENSE_ABOVE_BF16,
            Precision::F64 => false,
        };
        let tiles = if dense {
            Tiles::one(n_voxels)
        } else {
            Tiles::new(n_voxels, WIDEST)
        };
        let row_bytes = Tiles::new(most.voxels, WIDEST).row_stride::<T>() * size_of::<T>();
        let cached = CACHED_BYTES / row_bytes;
        let cells = match most.genes > GENES_PER_CACHED_CELL * cached {
            true => (CELLS_PER_GENE * most.genes as f64) as usize,
            false => cached,
        };
        let cells = cells.min(LARGEST_BYTES / row_bytes);
        let chunks = (cells / CHUNK).clamp(1, 4096 / CHUNK);
        Self {
            tiles,
            cells_per_block: chunks.min(n_cells.div_ceil(CHUNK)).max(1) * CHUNK,
            dense,
            #[cfg(feature = "torch")]
            bf16: precision == Precision::Bf16,
        }
    }

    /// Distance between rows of a (cells, voxels) block.
    pub(crate) fn stride<T>(&self) -> usize {
        self.tiles.row_stride::<T>()
    }
}

impl Products {
    /// Takes the cells of `range`, (cells, genes), so that the logits of each block of genes can be computed alone.
    ///
    /// * `genes`: first gene of every block, 0 first
    pub(crate) fn by_gene_blocks<T: Number>(
        cells: &SparseRows,
        range: Range<usize>,
        layout: Layout,
        genes: &[usize],
    ) -> Self {
        Self::cut::<T>(cells, range, layout, true, genes)
    }

    /// Takes cells, (cells, genes), for [`gradient`](Self::gradient) alone.
    pub(crate) fn for_logits<T: Number>(
        cells: &SparseRows,
        layout: Layout,
        genes: &[usize],
    ) -> Self {
        Self::cut::<T>(cells, 0..cells.n_rows(), layout, false, genes)
    }

    fn cut<T: Number>(
        cells: &SparseRows,
        range: Range<usize>,
        layout: Layout,
        both: bool,
        genes: &[usize],
    ) -> Self {
        let cells = with_a_gene_of_ones(cells, range);
        let (n_cells, n_genes) = (cells.n_rows(), cells.n_cols());
        let way = if layout.dense {
            dense::<T>(cells, layout)
        } else {
            let ends = genes[1..].iter().copied().chain([n_genes]);
            let part = |(&first, end): (&usize, usize)| {
                let part = match end - first == n_genes {
                    true => Blocked::by_rows(&cells),
                    false => {
                        Blocked::by_rows(&cells.select_columns(&(first..end).collect::<Vec<_>>()))
                    }
                };
                (first, part)
            };
            Way::Sparse {
                by_cell: genes.iter().zip(ends).map(part).collect(),
                by_gene: both.then(|| Blocked::by_columns(&cells)),
            }
        };
        Self {
            n_cells,
            n_genes,
            layout,
            way,
            arch: Arch::new(),
        }
    }

    pub(crate) fn tiles(&self) -> Tiles {
        self.layout.tiles
    }

    pub(crate) fn n_cells(&self) -> usize {
        self.n_cells
    }

    /// Number of genes, with the one of ones.
    pub(crate) fn n_genes(&self) -> usize {
        self.n_genes
    }

    /// Super-blocks of cells, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (step, n_cells) = (self.layout.cells_per_block, self.n_cells);
        (0..n_cells)
            .step_by(step)
            .map(move |first| first..n_cells.min(first + step))
    }

    /// Number of blocks of genes whose logits can be computed alone.
    pub(crate) fn n_parts(&self) -> usize {
        match &self.way {
            Way::Sparse { by_cell, .. } => by_cell.len(),
            _ => 1,
        }
    }

    /// `gradient[i] = S_i · W` for the cells of a super-block.
    ///
    /// * `weights`: W, (genes, voxels) in tiles
    /// * `gradient`: (cells of the block, voxels), rows [`Tiles::row_stride`] apart
    pub(crate) fn gradient<T: Number>(
        &mut self,
        block: Range<usize>,
        weights: &[T],
        gradient: &mut [T],
    ) {
        debug_assert_eq!(self.n_parts(), 1, "all genes at once");
        self.gradient_of(0, block, weights, gradient);
    }

    /// The same over the genes of one block.
    pub(crate) fn gradient_of<T: Number>(
        &mut self,
        part: usize,
        block: Range<usize>,
        weights: &[T],
        gradient: &mut [T],
    ) {
        let (tiles, arch, n_genes) = (self.layout.tiles, self.arch, self.n_genes());
        let (first_gene, by_cell) = match &mut self.way {
            Way::Dense { cells, products } => {
                return products.gradient(cells, block, weights, gradient);
            }
            #[cfg(feature = "torch")]
            Way::Bf16 { cells, products } => {
                return products.gradient(cells, block, weights, gradient);
            }
            Way::Sparse { by_cell, .. } => (by_cell[part].0, &by_cell[part].1),
        };
        let stride = tiles.row_stride::<T>();
        let gradient = Disjoint::new(gradient);
        let parts = block.len().div_ceil(CELLS);
        (0..tiles.n_tiles * parts).into_par_iter().for_each(|task| {
            let (tile, part) = (task / parts, task % parts);
            let cells = part * CELLS..block.len().min((part + 1) * CELLS);
            let at = cells.start * stride + tile * tiles.width;
            let result = gradient.address(at, (cells.len() - 1) * stride + tiles.width);
            for chunk in 0..by_cell.n_chunks() {
                let first = tile * n_genes + first_gene + chunk * CHUNK;
                let product = TileProduct {
                    sparse: by_cell,
                    chunk,
                    rows: block.start + cells.start..block.start + cells.end,
                    dense: &weights[first * tiles.width..],
                    dense_stride: tiles.width,
                    result,
                    result_stride: stride,
                    start: if chunk == 0 {
                        Start::Zero
                    } else {
                        Start::There
                    },
                    width: tiles.width_of(tile),
                };
                // SAFETY: `result` holds these cells of this tile (checked above), which are this task's own.
                unsafe { product.run(arch) };
            }
        });
    }

    /// `sums += S_blkᵀ · P_blk` for the cells of a super-block.
    ///
    /// * `rows`: P, (cells of the block, voxels), rows [`Tiles::row_stride`] apart
    /// * `sums`: A, (genes, voxels) in tiles
    pub(crate) fn accumulate<T: Number>(
        &mut self,
        block: Range<usize>,
        rows: &[T],
        sums: &mut [T],
    ) {
        let (tiles, arch, n_genes) = (self.layout.tiles, self.arch, self.n_genes());
        let by_gene = match &mut self.way {
            Way::Dense { products, .. } => return products.accumulate(block.len(), rows, sums),
            #[cfg(feature = "torch")]
            Way::Bf16 { products, .. } => return products.accumulate(block.len(), rows, sums),
            Way::Sparse { by_gene, .. } => by_gene.as_ref().expect("cut for both products"),
        };
        let stride = tiles.row_stride::<T>();
        let sums = Disjoint::new(sums);
        let parts = n_genes.div_ceil(GENES);
        (0..tiles.n_tiles * parts).into_par_iter().for_each(|task| {
            let (tile, part) = (task / parts, task % parts);
            let genes = part * GENES..n_genes.min((part + 1) * GENES);
            let first = (tile * n_genes + genes.start) * tiles.width;
            let result = sums.address(first, genes.len() * tiles.width);
            for chunk in block.start / CHUNK..block.end.div_ceil(CHUNK) {
                let first_cell = chunk * CHUNK - block.start;
                let product = TileProduct {
                    sparse: by_gene,
                    chunk,
                    rows: genes.clone(),
                    dense: &rows[first_cell * stride + tile * tiles.width..],
                    dense_stride: stride,
                    result,
                    result_stride: tiles.width,
                    start: Start::There,
                    width: tiles.width_of(tile),
                };
                // SAFETY: `result` holds these genes of this tile (checked above), which are this task's own.
                unsafe { product.run(arch) };
            }
        });
    }

    /// Announces the super-block to come, where [`accumulate`](Self::accumulate) is not preceded by [`gradient`](Self::gradient).
    pub(crate) fn take<T: Number>(&mut self, block: &Range<usize>) {
        match &mut self.way {
            Way::Sparse { .. } => {}
            Way::Dense { cells, products } => products.take::<T>(cells, block),
            #[cfg(feature = "torch")]
            Way::Bf16 { cells, products } => products.take(cells, block),
        }
    }
}

/// The way of S as dense, in the numbers of the products.
fn dense<T: Number>(cells: SparseRows, layout: Layout) -> Way {
    let (n_genes, n_cells) = (cells.n_cols(), layout.cells_per_block);
    #[cfg(feature = "torch")]
    if layout.bf16 {
        let products = Bf16Products::new(n_genes, layout.tiles, n_cells);
        return Way::Bf16 { cells, products };
    }
    let products = DenseProducts::new::<T>(n_genes, layout.tiles, n_cells);
    Way::Dense { cells, products }
}

/// S of some cells with one more gene, of which each has one count.
fn with_a_gene_of_ones(cells: &SparseRows, range: Range<usize>) -> SparseRows {
    let last = cells.n_cols() as u32;
    let mut out = SparseRows::empty(cells.n_cols() + 1);
    let indptr = cells.parts().0;
    let nnz = indptr[range.end] - indptr[range.start];
    out.reserve_exact(range.len(), nnz + range.len());
    for i in range {
        let (genes, counts) = cells.row(i);
        let entries = genes.iter().copied().zip(counts.iter().copied());
        out.push_row(entries.chain([(last, 1.0)]));
    }
    out
}
