//! How voxels are cut into tiles.

use crate::cpu::disjoint::Disjoint;
use crate::cpu::lanes::Real;
use ndarray::{ArrayView2, ArrayViewMut2};
use rayon::prelude::*;

/// Voxels in tiles of equal width; a (genes, voxels) matrix is stored tile after tile, within a tile gene after gene.
///
/// A tile of one gene fits in vector registers, a tile of some hundred genes in the first or second cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tiles {
    pub(crate) n_voxels: usize,
    /// Voxels per tile, a multiple of [`VOXELS_PER_VECTOR`]; the last tile is padded.
    pub(crate) width: usize,
    pub(crate) n_tiles: usize,
}

/// Tile widths are multiples of this: a whole number of vectors on every processor.
pub(crate) const VOXELS_PER_VECTOR: usize = 16;

impl Tiles {
    /// Tiles of at most `widest` voxels, as equal as can be.
    pub(crate) fn new(n_voxels: usize, widest: usize) -> Self {
        let n_tiles = n_voxels.div_ceil(widest);
        let width = n_voxels
            .div_ceil(n_tiles)
            .next_multiple_of(VOXELS_PER_VECTOR);
        Self {
            n_voxels,
            width,
            n_tiles: n_voxels.div_ceil(width),
        }
    }

    /// All voxels in one tile.
    pub(crate) fn one(n_voxels: usize) -> Self {
        Self {
            n_voxels,
            width: n_voxels.next_multiple_of(VOXELS_PER_VECTOR),
            n_tiles: 1,
        }
    }

    /// Voxels of a tile in whole vectors: the last tile may have fewer than its place holds.
    pub(crate) fn width_of(&self, tile: usize) -> usize {
        let rest = self.n_voxels - tile * self.width;
        self.width.min(rest.next_multiple_of(VOXELS_PER_VECTOR))
    }

    /// Voxels with padding.
    pub(crate) fn padded(&self) -> usize {
        self.width * self.n_tiles
    }

    /// Distance between rows of a (cells, voxels) block: an odd number of cache lines, lest the same voxel of many cells share one cache set.
    pub(crate) fn row_stride<T>(&self) -> usize {
        let line = 64 / size_of::<T>();
        let lines = self.padded().div_ceil(line);
        (lines | 1) * line
    }

    /// Entries of a (genes, voxels) matrix in tiles.
    pub(crate) fn len(&self, n_genes: usize) -> usize {
        self.padded() * n_genes
    }

    /// Copies a matrix in tiles to (genes, voxels) in double precision.
    pub(crate) fn copy_by_gene<T: Real>(&self, tiles: &[T], mut genes: ArrayViewMut2<'_, f64>) {
        let n_genes = genes.nrows();
        genes
            .outer_iter_mut()
            .into_par_iter()
            .enumerate()
            .for_each(|(k, mut row)| {
                let row = row.as_slice_mut().expect("standard layout");
                for (t, part) in row.chunks_mut(self.width).enumerate() {
                    let source = &tiles[(t * n_genes + k) * self.width..][..part.len()];
                    part.iter_mut()
                        .zip(source)
                        .for_each(|(to, &from)| *to = from.to_f64());
                }
            });
    }

    /// Sets a gene to 0 in all voxels.
    pub(crate) fn clear_gene<T: Real>(&self, k: usize, n_genes: usize, tiles: &mut [T]) {
        for tile in 0..self.n_tiles {
            tiles[(tile * n_genes + k) * self.width..][..self.width].fill(T::default());
        }
    }

    /// Copies (genes, voxels) into tiles; padding stays as it is.
    pub(crate) fn fill<T: Real>(&self, genes: ArrayView2<'_, f64>, tiles: &mut [T]) {
        let n_genes = genes.nrows();
        let tiles = Disjoint::new(tiles);
        genes
            .outer_iter()
            .into_par_iter()
            .enumerate()
            .for_each(|(k, row)| {
                let row = row.to_slice().expect("standard layout");
                for (t, part) in row.chunks(self.width).enumerate() {
                    // SAFETY: each (tile, gene) is one task's own.
                    let target = unsafe { tiles.part((t * n_genes + k) * self.width, part.len()) };
                    target
                        .iter_mut()
                        .zip(part)
                        .for_each(|(to, &from)| *to = T::from_f64(from));
                }
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    #[test]
    fn tiles_hold_every_voxel_once() {
        for n_voxels in [1, 16, 17, 162, 250, 1000, 4951] {
            for tiles in [Tiles::new(n_voxels, 96), Tiles::one(n_voxels)] {
                assert!(tiles.padded() >= n_voxels && tiles.padded() - n_voxels < tiles.width);
                let genes = Array2::from_shape_fn((3, n_voxels), |(k, j)| (k * 10_000 + j) as f64);
                let mut stored = vec![0f32; tiles.len(3)];
                tiles.fill(genes.view(), &mut stored);
                let mut back = Array2::zeros(genes.dim());
                tiles.copy_by_gene(&stored, back.view_mut());
                assert_eq!(back, genes);
            }
        }
    }
}
