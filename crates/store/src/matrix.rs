//! Matrices on disk, read in parts.

use crate::compressed::{Compressed, READ_AHEAD};
use crate::elements::{Encoding, sparse_shape};
use crate::tree::{Array, Tree};
use crate::{Dataset, StoreError};
use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
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
    dataset: &'a Dataset,
    name: MatrixName,
    shape: (usize, usize),
    dtype: String,
    layout: Layout<'a>,
    /// Rows read last: where they begin, and they themselves.
    ahead: Mutex<Option<(usize, SparseRows)>>,
}

#[derive(Debug)]
enum Layout<'a> {
    Dense(Box<dyn Array>),
    Csr(Arc<Compressed>),
    /// By columns; the rows are made from them when first asked for.
    Csc(Arc<Compressed>, OnceLock<SparseRows>),
    Memory(&'a SparseRows),
}

impl<'a> Matrix<'a> {
    /// Opens an AnnData matrix at a place of the tree.
    pub(crate) fn open(
        dataset: &'a Dataset,
        name: &MatrixName,
        tree: &dyn Tree,
        at: &str,
    ) -> Result<Self, StoreError> {
        let broken = |reason: String| StoreError::broken(tree.path(), at, reason);
        let (shape, dtype, layout) = match Encoding::of(tree, at)? {
            Encoding::Array => {
                let array = tree.array(at)?;
                let &[rows, columns] = array.shape() else {
                    return Err(broken(format!(
                        "it has {} dimensions, not two",
                        array.shape().len()
                    )));
                };
                (
                    (rows, columns),
                    array.dtype().to_string(),
                    Layout::Dense(array),
                )
            }
            encoding @ (Encoding::Csr | Encoding::Csc) => {
                let shape = sparse_shape(tree, at)?;
                let (major, minor) = if encoding == Encoding::Csr {
                    shape
                } else {
                    (shape.1, shape.0)
                };
                let parts = dataset.compressed(tree, at, (major, minor))?;
                let dtype = parts.dtype();
                let csr = encoding == Encoding::Csr;
                (
                    shape,
                    dtype,
                    if csr {
                        Layout::Csr(parts)
                    } else {
                        Layout::Csc(parts, OnceLock::new())
                    },
                )
            }
            other => return Err(broken(format!("a matrix cannot be a {other:?}"))),
        };
        Ok(Self {
            dataset,
            name: name.clone(),
            shape,
            dtype,
            layout,
            ahead: Mutex::new(None),
        })
    }

    /// A 10x matrix in HDF5, stored (genes, cells) by cell: that is (cells, genes) by row.
    pub(crate) fn tenx(
        dataset: &'a Dataset,
        tree: &dyn Tree,
        at: &str,
    ) -> Result<Self, StoreError> {
        let shape = (dataset.n_obs(), dataset.n_vars());
        let parts = dataset.compressed(tree, at, shape)?;
        let dtype = parts.dtype();
        Ok(Self {
            dataset,
            name: MatrixName::X,
            shape,
            dtype,
            layout: Layout::Csr(parts),
            ahead: Mutex::new(None),
        })
    }

    /// A matrix that had to be read whole.
    pub(crate) fn memory(dataset: &'a Dataset, rows: &'a SparseRows) -> Self {
        let shape = (rows.n_rows(), rows.n_cols());
        let layout = Layout::Memory(rows);
        Self {
            dataset,
            name: MatrixName::X,
            shape,
            dtype: "text".to_owned(),
            layout,
            ahead: Mutex::new(None),
        }
    }

    /// (rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        self.shape
    }

    /// How it is stored: `dense`, `csr` or `csc`.
    #[must_use]
    pub fn layout(&self) -> &'static str {
        match self.layout {
            Layout::Dense(_) => "dense",
            Layout::Csr(_) | Layout::Memory(_) => "csr",
            Layout::Csc(..) => "csc",
        }
    }

    /// Type of its numbers in the file, such as `float32`.
    #[must_use]
    pub fn dtype(&self) -> &str {
        &self.dtype
    }

    /// Number of stored entries; `None` for a dense matrix.
    #[must_use]
    pub fn stored_entries(&self) -> Option<usize> {
        match &self.layout {
            Layout::Dense(_) => None,
            Layout::Csr(parts) | Layout::Csc(parts, _) => Some(parts.stored()),
            Layout::Memory(rows) => Some(rows.nnz()),
        }
    }

    /// Names of its columns; those of `raw` differ from the dataset's.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn column_names(&self) -> Result<Vec<String>, StoreError> {
        self.dataset.variables_of(&self.name)
    }

    /// Rows of expression. Of a dense or CSR matrix only these rows are read; a CSC matrix is turned to rows in
    /// memory at the first call.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] names the first value that is NaN, infinite or negative.
    pub fn read_rows(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
        let first = rows.start;
        let out = self.read_rows_any(rows)?;
        self.refuse_bad_values(&out, first, |column| column)?;
        Ok(out)
    }

    /// Rows of any values.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_rows_any(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
        let (n_rows, n_columns) = self.shape;
        if rows.start > rows.end || rows.end > n_rows {
            return Err(self.broken(format!("rows {} to {} of {n_rows}", rows.start, rows.end)));
        }
        if rows.is_empty() {
            return Ok(SparseRows::empty(n_columns));
        }
        if let Layout::Memory(all) = &self.layout {
            return Ok(all.rows(rows));
        }
        let mut ahead = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, block)) = &*ahead
            && (*first..first + block.n_rows()).contains(&rows.start)
            && rows.end <= first + block.n_rows()
        {
            return Ok(block.rows(rows.start - first..rows.end - first));
        }
        let end = self.block_end(rows.start);
        if rows.end >= end {
            return self.fetch_rows(rows);
        }
        let block = self.fetch_rows(rows.start..end)?;
        let out = block.rows(0..rows.len());
        *ahead = Some((rows.start, block));
        Ok(out)
    }

    /// All rows of the given columns, in the given order (each at most once). Rows are streamed; of a CSC matrix
    /// only these columns are read.
    ///
    /// # Errors
    /// [`StoreError::BadValue`] names the first value that is NaN, infinite or negative.
    pub fn read_columns(&self, columns: &[usize]) -> Result<SparseRows, StoreError> {
        let out = self.read_columns_any(columns)?;
        self.refuse_bad_values(&out, 0, |column| columns[column])?;
        Ok(out)
    }

    /// All rows of the given columns, of any values.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn read_columns_any(&self, columns: &[usize]) -> Result<SparseRows, StoreError> {
        let (n_rows, n_columns) = self.shape;
        if let Some(beyond) = columns.iter().find(|&&c| c >= n_columns) {
            return Err(self.broken(format!("column {beyond} of {n_columns}")));
        }
        if let Layout::Csc(parts, _) = &self.layout {
            return Ok(parts.select(columns)?.transpose());
        }
        let mut out = SparseRows::empty(columns.len());
        let mut start = 0;
        while start < n_rows {
            let end = self.block_end(start);
            out.append(&self.fetch_rows(start..end)?.select_columns(columns));
            start = end;
        }
        Ok(out)
    }

    /// Where a block of about [`READ_AHEAD`] numbers ends that begins at a row.
    fn block_end(&self, start: usize) -> usize {
        let (n_rows, n_columns) = self.shape;
        let end = match &self.layout {
            Layout::Csr(parts) => parts.block_end(start),
            _ => start + (READ_AHEAD / n_columns.max(1)).max(1),
        };
        end.min(n_rows)
    }

    fn fetch_rows(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
        let n_columns = self.shape.1;
        match &self.layout {
            Layout::Memory(all) => Ok(all.rows(rows)),
            Layout::Dense(array) => {
                let mut out = SparseRows::empty(n_columns);
                let step = (READ_AHEAD / n_columns.max(1)).max(1);
                for start in rows.clone().step_by(step) {
                    let end = (start + step).min(rows.end);
                    if n_columns == 0 {
                        (start..end).for_each(|_| out.push_row([]));
                        continue;
                    }
                    let values = array.f32s(&[start..end, 0..n_columns])?;
                    for row in values.chunks_exact(n_columns) {
                        out.push_row((0u32..).zip(row.iter().copied()));
                    }
                }
                Ok(out)
            }
            Layout::Csr(parts) => parts.range(rows),
            Layout::Csc(parts, all) => {
                if let Some(all) = all.get() {
                    return Ok(all.rows(rows));
                }
                let by_column = parts.range(0..n_columns)?;
                Ok(all.get_or_init(|| by_column.transpose()).rows(rows))
            }
        }
    }

    fn refuse_bad_values(
        &self,
        rows: &SparseRows,
        first_row: usize,
        column_of: impl Fn(usize) -> usize,
    ) -> Result<(), StoreError> {
        // NaN fails every comparison, so it fails this one too.
        let good = |v: f32| (0.0..f32::INFINITY).contains(&v);
        let (indptr, columns, values) = rows.parts();
        let Some(entry) = values.iter().position(|&v| !good(v)) else {
            return Ok(());
        };
        let row = first_row + indptr.partition_point(|&p| p <= entry) - 1;
        let column = column_of(columns[entry] as usize);
        let name = |names: Vec<String>, at: usize| {
            names.get(at).cloned().unwrap_or_else(|| at.to_string())
        };
        Err(StoreError::BadValue {
            path: self.dataset.path().to_owned(),
            matrix: self.name.to_string(),
            row: name(self.dataset.obs_names()?, row),
            column: name(self.column_names()?, column),
            value: values[entry],
        })
    }

    fn broken(&self, reason: String) -> StoreError {
        StoreError::broken(self.dataset.path(), &self.name.to_string(), reason)
    }
}
