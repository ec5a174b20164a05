//! AnnData files written.
#![allow(clippy::unimplemented, unused_variables)]

use crate::{Existing, MatrixName, StoreError, Uns};
use ndarray::ArrayView2;
use std::marker::PhantomData;
use std::path::Path;
use tangram_core::{SparseRows, Table};

/// Dense numbers in either precision, kept as they are.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// Single precision.
    F32(ArrayView2<'a, f32>),
    /// Double precision.
    F64(ArrayView2<'a, f64>),
}

impl<'a> From<ArrayView2<'a, f32>> for Floats<'a> {
    fn from(values: ArrayView2<'a, f32>) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Floats<'a> {
    fn from(values: ArrayView2<'a, f64>) -> Self {
        Self::F64(values)
    }
}

/// An AnnData file being written, `.h5ad` or `.zarr` (format 3) by the ending of its name.
///
/// It grows beside its place and is renamed into it by [`finish`](Self::finish); dropped before that, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct AnnDataWriter;

impl AnnDataWriter {
    /// Begins a file with these observations and variables.
    ///
    /// # Errors
    /// [`StoreError::Ending`], [`StoreError::Exists`] or [`StoreError::Write`].
    pub fn create(path: &Path, existing: Existing, obs: &Table, var: &Table) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// Begins a sparse matrix (CSR, `f32`) whose rows follow in blocks. `raw` gets the same variables as `X`.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn sparse(&mut self, name: &MatrixName) -> Result<SparseSink<'_>, StoreError> {
        unimplemented!()
    }

    /// Begins a dense matrix (`f32`) whose columns follow in pieces.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn dense(&mut self, name: &MatrixName) -> Result<DenseSink<'_>, StoreError> {
        unimplemented!()
    }

    /// Writes an array of `obsm`, (observations, columns).
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the rows do not fit.
    pub fn obsm<'a>(&mut self, name: &str, values: impl Into<Floats<'a>>) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Writes an array of `varm`, (variables, columns).
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the rows do not fit.
    pub fn varm<'a>(&mut self, name: &str, values: impl Into<Floats<'a>>) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Writes a value of `uns`.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn uns(&mut self, key: &str, value: &Uns) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Completes the file and renames it into place.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Exists`] if another took the place meanwhile.
    pub fn finish(self) -> Result<(), StoreError> {
        unimplemented!()
    }
}

/// A sparse matrix being written, row block after row block.
#[derive(Debug)]
pub struct SparseSink<'a> {
    writer: PhantomData<&'a ()>,
}

impl SparseSink<'_> {
    /// Appends rows.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the columns do not fit.
    pub fn append(&mut self, rows: &SparseRows) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Completes the matrix.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if rows are missing.
    pub fn finish(self) -> Result<(), StoreError> {
        unimplemented!()
    }
}

/// A dense matrix being written, from the first column to the last.
#[derive(Debug)]
pub struct DenseSink<'a> {
    writer: PhantomData<&'a ()>,
}

impl DenseSink<'_> {
    /// Writes all rows of the columns from `first_column` on. Pieces come in order, without gaps, of any width.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the piece does not fit or follow the last.
    pub fn write_columns(&mut self, first_column: usize, values: ArrayView2<'_, f32>) -> Result<(), StoreError> {
        unimplemented!()
    }

    /// Completes the matrix.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if columns are missing.
    pub fn finish(self) -> Result<(), StoreError> {
        unimplemented!()
    }
}
