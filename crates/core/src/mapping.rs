//! The mapping P, (cells, voxels), as a stream of row blocks.
//!
//! Everything after the training reads P through [`MappingRows`], because P may not fit in memory. A matrix in memory, a
//! file and a solver that computes rows on demand all implement it. Users: [`transfer`](fn@crate::transfer),
//! [`assignment`](crate::assignment).

use crate::SparseRows;
use ndarray::{Array2, ArrayView2, s};
use rayon::prelude::*;
use std::convert::Infallible;

/// Voxels that one thread goes through at a time; what is kept of each stays in its cache.
const VOXELS_PER_STRIPE: usize = 1024;

/// Consecutive rows of P.
#[derive(Debug, Clone)]
pub struct MappingBlock<'a> {
    /// Index of the cell of the first row.
    pub first_cell: usize,
    /// The rows, (cells of the block, voxels).
    pub rows: PBlock<'a>,
}

/// The rows of a block, sparse or dense, whichever their source has.
#[derive(Debug, Clone)]
pub enum PBlock<'a> {
    /// Stored entries only; the others are 0.
    Sparse(&'a SparseRows),
    /// Every entry.
    Dense(ArrayView2<'a, f32>),
}

impl PBlock<'_> {
    /// Number of cells of the block.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        match self {
            Self::Sparse(rows) => rows.n_rows(),
            Self::Dense(rows) => rows.nrows(),
        }
    }

    /// Number of voxels.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        match self {
            Self::Sparse(rows) => rows.n_cols(),
            Self::Dense(rows) => rows.ncols(),
        }
    }

    /// Calls `visit(of_voxel, row, probability)` for every non-zero entry, where `of_voxel` is the entry's voxel in `of_voxels`; for each
    /// voxel by ascending row, whatever the number of threads.
    ///
    /// # Panics
    /// If `of_voxels` has another number of voxels.
    pub fn fold_voxels<T: Send>(
        &self,
        of_voxels: &mut [T],
        visit: impl Fn(&mut T, usize, f32) + Sync,
    ) {
        assert_eq!(of_voxels.len(), self.n_voxels(), "one value a voxel");
        let rows = match self {
            Self::Sparse(_) => {
                return self.for_each_entry(|i, j, p| visit(&mut of_voxels[j], i, p));
            }
            Self::Dense(rows) => rows,
        };
        let stripes = of_voxels.par_chunks_mut(VOXELS_PER_STRIPE).enumerate();
        stripes.for_each(|(stripe, of_voxels)| {
            let first = stripe * VOXELS_PER_STRIPE;
            let rows = rows.slice(s![.., first..first + of_voxels.len()]);
            for (i, row) in rows.rows().into_iter().enumerate() {
                let mut put = |(of_voxel, &p): (&mut T, &f32)| {
                    if p != 0.0 {
                        visit(of_voxel, i, p);
                    }
                };
                match row.as_slice() {
                    // The compiler makes a faster loop of a slice.
                    Some(row) => of_voxels.iter_mut().zip(row).for_each(&mut put),
                    None => of_voxels.iter_mut().zip(row).for_each(&mut put),
                }
            }
        });
    }

    /// Calls `visit(row, voxel, probability)` for every non-zero entry, by ascending row and voxel.
    pub fn for_each_entry(&self, mut visit: impl FnMut(usize, usize, f32)) {
        match self {
            Self::Sparse(rows) => {
                for i in 0..rows.n_rows() {
                    let (voxels, values) = rows.row(i);
                    for (&j, &p) in voxels.iter().zip(values) {
                        visit(i, j as usize, p);
                    }
                }
            }
            Self::Dense(rows) => {
                for (i, row) in rows.rows().into_iter().enumerate() {
                    for (j, &p) in row.iter().enumerate() {
                        if p != 0.0 {
                            visit(i, j, p);
                        }
                    }
                }
            }
        }
    }
}

/// A mapping that can be read block by block, any number of times.
///
/// There is no way to get the whole of P: it may not fit in memory, or may never have been stored.
pub trait MappingRows {
    /// Why a block cannot be read.
    type Error;

    /// Number of cells, the rows of P.
    fn n_cells(&self) -> usize;

    /// Number of voxels, the columns of P.
    fn n_voxels(&self) -> usize;

    /// Passes every row of P to `visit` once, in blocks, by ascending cell; stops at the first error.
    ///
    /// # Errors
    /// If a block cannot be read, or the error of `visit`.
    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Self::Error>,
    ) -> Result<(), Self::Error>;
}

/// A sparse mapping in memory, as one block.
impl MappingRows for SparseRows {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.n_rows()
    }

    fn n_voxels(&self) -> usize {
        self.n_cols()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Infallible>,
    ) -> Result<(), Infallible> {
        visit(MappingBlock {
            first_cell: 0,
            rows: PBlock::Sparse(self),
        })
    }
}

/// A dense mapping in memory, as one block.
impl MappingRows for Array2<f32> {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.nrows()
    }

    fn n_voxels(&self) -> usize {
        self.ncols()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Infallible>,
    ) -> Result<(), Infallible> {
        visit(MappingBlock {
            first_cell: 0,
            rows: PBlock::Dense(self.view()),
        })
    }
}
