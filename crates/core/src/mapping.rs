//! The mapping P, (cells, voxels), as a stream of row blocks.
//!
//! Everything after the training reads P through [`MappingRows`], because P may not fit in memory. A matrix in memory, a
//! file and a solver that computes rows on demand all implement it. Users: [`transfer`](fn@crate::transfer),
//! [`assignment`](crate::assignment).

use crate::SparseRows;
use ndarray::{Array2, ArrayView2};
use std::convert::Infallible;

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
