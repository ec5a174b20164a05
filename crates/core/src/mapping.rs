//! The mapping P (cells × voxels) as a stream of row blocks.

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

/// Rows of P, as they are at hand.
#[derive(Debug, Clone)]
pub enum PBlock<'a> {
    /// Stored entries only.
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

    /// Calls `visit(row, voxel, probability)` for every entry that is not 0, by row, then by voxel.
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

/// A mapping that can be read block by block, as often as needed.
///
/// Nothing after the mapping may ask for the whole of P: it may not fit in memory, or never have been stored.
pub trait MappingRows {
    /// Why a block cannot be had.
    type Error;

    /// Number of cells, the rows of P.
    fn n_cells(&self) -> usize;

    /// Number of voxels, the columns of P.
    fn n_voxels(&self) -> usize;

    /// Hands every row of P to `visit` once, in blocks, by growing cell; stops at the first error.
    ///
    /// # Errors
    /// Its own, or that of `visit`.
    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Self::Error>,
    ) -> Result<(), Self::Error>;
}

/// A sparse mapping in memory is one block.
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

/// A dense mapping in memory is one block.
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
