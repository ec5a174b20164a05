//! Matrices on disk, read in parts.

use crate::compressed::{Compressed, READ_AHEAD};
use crate::elements::{Encoding, sparse_shape};
use crate::tree::{Array, Tree};
use crate::{Dataset, MatrixName, StoreError};
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tangram_core::{SparseRows, ValueProfile};

/// Places from which rows are looked at, and rows at each of them.
const PROFILED: (usize, usize) = (8, 64);

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
    /// The stored rows that are looked at, if not all.
    rows: Option<Arc<[usize]>>,
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
            rows: None,
            ahead: Mutex::new(None),
        })
    }

    /// A 10x matrix in HDF5, stored (genes, cells) by cell: that is (cells, genes) by row.
    pub(crate) fn tenx(
        dataset: &'a Dataset,
        tree: &dyn Tree,
        at: &str,
    ) -> Result<Self, StoreError> {
        let shape = (dataset.stored_obs(), dataset.n_vars());
        let parts = dataset.compressed(tree, at, shape)?;
        let dtype = parts.dtype();
        Ok(Self {
            dataset,
            name: MatrixName::X,
            shape,
            dtype,
            layout: Layout::Csr(parts),
            rows: None,
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
            rows: None,
            ahead: Mutex::new(None),
        }
    }

    /// The same matrix as if it had only these of its rows.
    pub(crate) fn of_rows(self, rows: Option<Arc<[usize]>>) -> Self {
        Self { rows, ..self }
    }

    /// (rows, columns).
    #[must_use]
    pub fn shape(&self) -> (usize, usize) {
        let n_rows = self.rows.as_ref().map_or(self.shape.0, |rows| rows.len());
        (n_rows, self.shape.1)
    }

    /// (rows, columns) in the file.
    pub(crate) fn stored_shape(&self) -> (usize, usize) {
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
        let Some(looked_at) = &self.rows else {
            return self.stored_rows(rows);
        };
        let mut out = SparseRows::empty(self.shape.1);
        let rows = looked_at
            .get(rows.clone())
            .ok_or_else(|| self.broken(format!("rows {} to {}", rows.start, rows.end)))?;
        for &row in rows {
            out.append(&self.stored_rows(row..row + 1)?);
        }
        Ok(out)
    }

    fn stored_rows(&self, rows: Range<usize>) -> Result<SparseRows, StoreError> {
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
        let mut out = SparseRows::empty(columns.len());
        if let Layout::Csc(parts, _) = &self.layout {
            out = parts.select(columns)?.transpose();
        } else {
            let mut start = 0;
            while start < n_rows {
                let end = self.block_end(start);
                out.append(&self.fetch_rows(start..end)?.select_columns(columns));
                start = end;
            }
        }
        Ok(match &self.rows {
            None => out,
            Some(rows) => out.select_rows(rows),
        })
    }

    /// What its values are like, by rows from all over it.
    ///
    /// * `columns`: the columns to look at, if not all
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn profile(&self, columns: Option<&[usize]>) -> Result<ValueProfile, StoreError> {
        let n_rows = self.shape().0;
        let mut profile = ValueProfile::default();
        let step = n_rows.div_ceil(PROFILED.0).max(PROFILED.1);
        for first in (0..n_rows).step_by(step) {
            let rows = self.read_rows_any(first..n_rows.min(first + PROFILED.1))?;
            match columns {
                None => profile.add(&rows),
                Some(columns) => profile.add(&rows.select_columns(columns)),
            }
        }
        Ok(profile)
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
