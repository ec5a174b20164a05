//! The two matrix products of an epoch, sparse or dense, one super-block of cells at a time.

use crate::Precision;
use crate::blocked::{Blocked, CHUNK};
use crate::dense_product::DenseProducts;
use crate::disjoint::Disjoint;
use crate::lanes::Real;
use crate::sparse_product::{Start, TileProduct, WIDEST};
use crate::tiles::Tiles;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_core::SparseRows;

/// Bytes of a super-block's (cells, voxels) scratch: small enough for a third-level cache, large enough that the
/// (genes, voxels) matrices are read seldom.
const SCRATCH_BYTES: usize = 8 << 20;

/// Share of non-zero entries above which the dense product is faster in single precision, and in bf16 (`scripts/bench.sh` measures both).
const DENSE_ABOVE: f64 = 0.5;
const DENSE_ABOVE_BF16: f64 = 0.1;

/// Rows of S or genes per task.
const ROWS: usize = 512;
const GENES: usize = 256;

/// S, ready for products with tiles of voxels.
pub(crate) struct Products {
    cells: SparseRows,
    tiles: Tiles,
    cells_per_block: usize,
    way: Way,
    arch: Arch,
}

enum Way {
    Sparse { by_cell: Blocked, by_gene: Blocked },
    Dense(DenseProducts),
}

/// Whether S is worth treating as dense.
pub(crate) fn is_dense(density: f64, precision: Precision) -> bool {
    match precision {
        Precision::F32 => density > DENSE_ABOVE,
        Precision::Bf16 => density > DENSE_ABOVE_BF16,
        Precision::F64 => false,
    }
}

/// Cells per super-block: a multiple of [`CHUNK`].
pub(crate) fn cells_per_block<T>(n_cells: usize, tiles: &Tiles) -> usize {
    let fitting = SCRATCH_BYTES / (tiles.row_stride::<T>() * size_of::<T>());
    let chunks = (fitting / CHUNK).clamp(1, 4096 / CHUNK);
    chunks.min(n_cells.div_ceil(CHUNK)) * CHUNK
}

/// How voxels are cut for this kind of product.
pub(crate) fn tiles(n_voxels: usize, dense: bool) -> Tiles {
    if dense {
        Tiles::one(n_voxels)
    } else {
        Tiles::new(n_voxels, WIDEST)
    }
}

impl Products {
    pub(crate) fn new<T: Real>(cells: SparseRows, n_voxels: usize, precision: Precision) -> Self {
        let dense = is_dense(cells.density(), precision);
        let tiles = tiles(n_voxels, dense);
        let cells_per_block = cells_per_block::<T>(cells.n_rows(), &tiles);
        let way = if dense {
            let bf16 = precision == Precision::Bf16;
            Way::Dense(DenseProducts::new::<T>(
                cells.n_cols(),
                tiles,
                cells_per_block,
                bf16,
            ))
        } else {
            Way::Sparse {
                by_cell: Blocked::new(&cells),
                by_gene: Blocked::new(&cells.transpose()),
            }
        };
        Self {
            cells,
            tiles,
            cells_per_block,
            way,
            arch: Arch::new(),
        }
    }

    pub(crate) fn tiles(&self) -> Tiles {
        self.tiles
    }

    pub(crate) fn n_cells(&self) -> usize {
        self.cells.n_rows()
    }

    pub(crate) fn n_genes(&self) -> usize {
        self.cells.n_cols()
    }

    pub(crate) fn cells_per_block(&self) -> usize {
        self.cells_per_block
    }

    /// Super-blocks of cells, in order.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (step, n_cells) = (self.cells_per_block, self.n_cells());
        (0..n_cells)
            .step_by(step)
            .map(move |first| first..n_cells.min(first + step))
    }

    /// `gradient[i] = start + S_i · W` for the cells of a super-block.
    ///
    /// * `weights`: W, (genes, voxels) in tiles; `start`: (voxels), padded
    /// * `gradient`: (cells of the block, voxels), rows [`Tiles::row_stride`] apart
    pub(crate) fn gradient<T: Real>(
        &mut self,
        block: Range<usize>,
        weights: &[T],
        start: &[T],
        gradient: &mut [T],
    ) {
        let (tiles, arch, n_genes) = (self.tiles, self.arch, self.n_genes());
        let by_cell = match &mut self.way {
            Way::Dense(dense) => {
                return dense.gradient(&self.cells, block, weights, start, gradient);
            }
            Way::Sparse { by_cell, .. } => by_cell,
        };
        let (width, stride) = (tiles.width, tiles.row_stride::<T>());
        let gradient = Disjoint::new(gradient);
        let parts = block.len().div_ceil(ROWS);
        (0..tiles.n_tiles * parts).into_par_iter().for_each(|task| {
            let (tile, part) = (task / parts, task % parts);
            let rows = part * ROWS..block.len().min((part + 1) * ROWS);
            let at = rows.start * stride + tile * width;
            let result = gradient.address(at, (rows.len() - 1) * stride + width);
            for chunk in 0..by_cell.n_chunks() {
                let genes = chunk * CHUNK..n_genes.min((chunk + 1) * CHUNK);
                let product = TileProduct {
                    sparse: by_cell,
                    chunk,
                    rows: block.start + rows.start..block.start + rows.end,
                    dense: &weights[(tile * n_genes + genes.start) * width..]
                        [..genes.len() * width],
                    dense_stride: width,
                    result,
                    result_stride: stride,
                    start: if chunk == 0 {
                        Start::From(&start[tile * width..][..width])
                    } else {
                        Start::There
                    },
                    width,
                };
                // SAFETY: `result` holds these rows of this tile (checked above), which are this task's own.
                unsafe { product.run(arch) };
            }
        });
    }

    /// `sums += S_blkᵀ · P_blk` and `density += 1ᵀ · P_blk` for the cells of a super-block.
    ///
    /// * `rows`: P, (cells of the block, voxels), rows [`Tiles::row_stride`] apart
    /// * `sums`: A, (genes, voxels) in tiles; `density`: (voxels), padded
    pub(crate) fn accumulate<T: Real>(
        &mut self,
        block: Range<usize>,
        rows: &[T],
        sums: &mut [T],
        density: &mut [f64],
    ) {
        let (tiles, arch, n_genes) = (self.tiles, self.arch, self.n_genes());
        let (width, stride) = (tiles.width, tiles.row_stride::<T>());
        density
            .par_chunks_mut(width)
            .enumerate()
            .for_each(|(tile, density)| {
                add_rows(&rows[tile * width..], stride, block.len(), density);
            });
        let by_gene = match &mut self.way {
            Way::Dense(dense) => return dense.accumulate(block.len(), rows, sums),
            Way::Sparse { by_gene, .. } => by_gene,
        };
        let sums = Disjoint::new(sums);
        let parts = n_genes.div_ceil(GENES);
        (0..tiles.n_tiles * parts).into_par_iter().for_each(|task| {
            let (tile, part) = (task / parts, task % parts);
            let genes = part * GENES..n_genes.min((part + 1) * GENES);
            let result = sums.address((tile * n_genes + genes.start) * width, genes.len() * width);
            for chunk in block.start / CHUNK..block.end.div_ceil(CHUNK) {
                let cells =
                    chunk * CHUNK - block.start..block.len().min((chunk + 1) * CHUNK - block.start);
                let product = TileProduct {
                    sparse: by_gene,
                    chunk,
                    rows: genes.clone(),
                    dense: &rows[cells.start * stride + tile * width..]
                        [..(cells.len() - 1) * stride + width],
                    dense_stride: stride,
                    result,
                    result_stride: width,
                    start: Start::There,
                    width,
                };
                // SAFETY: `result` holds these genes of this tile (checked above), which are this task's own.
                unsafe { product.run(arch) };
            }
        });
    }

    /// Tells which super-block comes, where [`accumulate`](Self::accumulate) is not preceded by [`gradient`](Self::gradient).
    pub(crate) fn take<T: Real>(&mut self, block: &Range<usize>) {
        if let Way::Dense(dense) = &mut self.way {
            dense.take::<T>(&self.cells, block);
        }
    }
}

/// `sums[j] += Σ_i rows[i][j]`: short sums in T, the long one in double precision.
fn add_rows<T: Real>(rows: &[T], stride: usize, n_rows: usize, sums: &mut [f64]) {
    for (j, sum) in sums.chunks_mut(64).enumerate() {
        let mut part = [0.0; 64];
        for i in 0..n_rows {
            let row = &rows[i * stride + j * 64..][..sum.len()];
            part.iter_mut().zip(row).for_each(|(p, x)| *p += x.to_f64());
        }
        sum.iter_mut().zip(part).for_each(|(s, p)| *s += p);
    }
}
