//! Matrices on disk, read in parts.
#![allow(clippy::unimplemented, unused_variables)]

use crate::StoreError;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::str::FromStr;
use tangram_core::SparseRows;

/// Which matrix of a dataset: written `X`, `raw` or `layer:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatrixName {
    /// The main matrix.
    X,
    /// `raw/X`, with its own variables.
    Raw,
    /// A layer.
    Layer(String),
}

/// A text that names no matrix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no matrix; write X, raw or layer:NAME")]
pub struct ParseMatrixNameError(String);

impl fmt::Display for MatrixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X => f.write_str("X"),
            Self::Raw => f.write_str("raw"),
            Self::Layer(name) => write!(f, "layer:{name}"),
        }
    }
}

impl FromStr for MatrixName {
    type Err = ParseMatrixNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("layer:")) {
            ("X", _) => Ok(Self::X),
            ("raw", _) => Ok(Self::Raw),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Layer(name.to_owned())),
            _ => Err(ParseMatrixNameError(text.to_owned())),
        }
    }
}

/// A matrix on disk, (observations, variables): dense, by rows (CSR) or by columns (CSC), of any number type.
///
/// Values come as `f32`. [`read_rows`](Self::read_rows) and [`read_columns`](Self::read_columns) refuse values that
/// no expression can have (NaN, infinite, negative); the `_any` variants take every value.
#[derive(Debug)]
pub struct Matrix<'a> {
    dataset: PhantomData<&'a ()>,
}

impl Matrix<'_> {
    /// (rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        unimplemented!()
    }

    /// Names of its columns; those of `raw` differ from the dataset's.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn column_names(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// Rows of expression. Of a dense or CSR matrix only these rows are read; a CSC matrix is turned to rows in
    /// memory at the first call.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] names the first value that is NaN, infinite or negative.
    pub fn read_rows(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
        unimplemented!()
    }

    /// Rows of any values.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_rows_any(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
        unimplemented!()
    }

    /// All rows of the given columns, in the given order (each at most once). Rows are streamed; of a CSC matrix
    /// only these columns are read.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] names the first value that is NaN, infinite or negative.
    pub fn read_columns(&self, columns: &[usize]) -> Result<SparseRows, StoreError> {
        unimplemented!()
    }

    /// All rows of the given columns, of any values.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_columns_any(&self, columns: &[usize]) -> Result<SparseRows, StoreError> {
        unimplemented!()
    }
}
