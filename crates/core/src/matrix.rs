//! [`SparseRows`], the sparse matrix of expression and of stored mappings.

use ndarray::{Array2, ArrayView2};
use std::ops::Range;

/// A sparse matrix in compressed row format (CSR): the column and value of each non-zero entry, row by row.
///
/// Columns are strictly ascending within a row. Values are `f32`, so counts are exact up to 2²⁴.
#[derive(Debug, Clone, PartialEq)]
pub struct SparseRows {
    n_cols: usize,
    indptr: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// Why arrays are not a valid [`SparseRows`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SparseError {
    /// `indptr` must start at 0, never decrease, and end at the number of entries.
    #[error(
        "row pointers must start at 0, never decrease, and end at {n_entries}, the number of stored entries"
    )]
    Pointers {
        /// Number of stored entries.
        n_entries: usize,
    },
    /// A row has a column index outside the matrix, or the same one twice.
    #[error(
        "row {row} has a column index twice, or one that is not below {n_cols}, the number of columns"
    )]
    Column {
        /// Index of the row.
        row: usize,
        /// Number of columns.
        n_cols: usize,
    },
}

impl SparseRows {
    /// Creates a matrix from CSR arrays, after checking them; rows with unsorted columns are sorted.
    ///
    /// * `indptr`: row i has the entries `indptr[i]..indptr[i + 1]`; one element more than rows
    /// * `indices`, `values`: column and value of each entry
    ///
    /// # Errors
    /// [`SparseError`] if the arrays do not describe a matrix with `n_cols` columns.
    pub fn new(
        n_cols: usize,
        indptr: Vec<usize>,
        mut indices: Vec<u32>,
        mut values: Vec<f32>,
    ) -> Result<Self, SparseError> {
        let n_entries = values.len();
        let bounds = indptr.first() == Some(&0) && indptr.last() == Some(&n_entries);
        if !bounds || indices.len() != n_entries || indptr.windows(2).any(|w| w[0] > w[1]) {
            return Err(SparseError::Pointers { n_entries });
        }
        for (row, w) in indptr.windows(2).enumerate() {
            let (cols, vals) = (&mut indices[w[0]..w[1]], &mut values[w[0]..w[1]]);
            if cols.windows(2).any(|c| c[0] >= c[1]) {
                let mut pairs: Vec<_> = cols.iter().copied().zip(vals.iter().copied()).collect();
                pairs.sort_by_key(|p| p.0);
                for (i, (c, v)) in pairs.into_iter().enumerate() {
                    (cols[i], vals[i]) = (c, v);
                }
            }
            let out = cols.last().is_some_and(|&c| c as usize >= n_cols);
            if out || cols.windows(2).any(|c| c[0] == c[1]) {
                return Err(SparseError::Column { row, n_cols });
            }
        }
        Ok(Self {
            n_cols,
            indptr,
            indices,
            values,
        })
    }

    /// A matrix without rows; [`push_row`](Self::push_row) adds them.
    #[must_use]
    pub fn empty(n_cols: usize) -> Self {
        Self {
            n_cols,
            indptr: vec![0],
            indices: vec![],
            values: vec![],
        }
    }

    /// Allocates memory for exactly this many more rows and entries, so that adding them does not reallocate.
    pub fn reserve_exact(&mut self, n_rows: usize, nnz: usize) {
        self.indptr.reserve_exact(n_rows);
        self.indices.reserve_exact(nnz);
        self.values.reserve_exact(nnz);
    }

    /// Appends a row of (column, value) entries; columns must be strictly ascending and below `n_cols`. Zeros are dropped.
    pub fn push_row(&mut self, entries: impl IntoIterator<Item = (u32, f32)>) {
        for (col, value) in entries {
            debug_assert!((col as usize) < self.n_cols);
            if value != 0.0 {
                self.indices.push(col);
                self.values.push(value);
            }
        }
        self.indptr.push(self.values.len());
    }

    /// Converts a dense array, (rows, columns).
    #[must_use]
    pub fn from_dense(dense: ArrayView2<'_, f32>) -> Self {
        let mut out = Self::empty(dense.ncols());
        for row in dense.rows() {
            out.push_row((0u32..).zip(row.iter().copied()));
        }
        out
    }

    /// Number of rows.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.indptr.len() - 1
    }

    /// Number of columns.
    #[must_use]
    pub fn n_cols(&self) -> usize {
        self.n_cols
    }

    /// Number of stored entries.
    #[must_use]
    pub fn nnz(&self) -> usize {
        self.values.len()
    }

    /// Stored entries divided by rows × columns, 0 to 1.
    #[must_use]
    pub fn density(&self) -> f64 {
        self.nnz() as f64 / (self.n_rows().max(1) * self.n_cols.max(1)) as f64
    }

    /// Columns and values of the entries of row `i`.
    #[must_use]
    pub fn row(&self, i: usize) -> (&[u32], &[f32]) {
        let r = self.indptr[i]..self.indptr[i + 1];
        (&self.indices[r.clone()], &self.values[r])
    }

    /// The CSR arrays: row pointers (`indptr`), columns, values.
    #[must_use]
    pub fn parts(&self) -> (&[usize], &[u32], &[f32]) {
        (&self.indptr, &self.indices, &self.values)
    }

    /// The values of all stored entries, mutable.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// The values of the entries of row `i`, mutable.
    pub fn row_values_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.values[self.indptr[i]..self.indptr[i + 1]]
    }

    /// A copy of the rows in `range`.
    #[must_use]
    pub fn rows(&self, range: Range<usize>) -> Self {
        let entries = self.indptr[range.start]..self.indptr[range.end];
        Self {
            n_cols: self.n_cols,
            indptr: self.indptr[range.start..=range.end]
                .iter()
                .map(|p| p - entries.start)
                .collect(),
            indices: self.indices[entries.clone()].to_vec(),
            values: self.values[entries].to_vec(),
        }
    }

    /// Appends the rows of another matrix with the same columns.
    ///
    /// # Panics
    /// If the numbers of columns differ.
    pub fn append(&mut self, other: &Self) {
        assert_eq!(self.n_cols, other.n_cols, "matrices with the same columns");
        let start = self.values.len();
        self.indptr
            .extend(other.indptr[1..].iter().map(|p| p + start));
        self.indices.extend_from_slice(&other.indices);
        self.values.extend_from_slice(&other.values);
    }

    /// A copy of the given columns, in this order; each at most once.
    #[must_use]
    pub fn select_columns(&self, columns: &[usize]) -> Self {
        let mut place = vec![u32::MAX; self.n_cols];
        for (new, &old) in (0u32..).zip(columns) {
            place[old] = new;
        }
        let mut out = Self::empty(columns.len());
        let stays = |c: &&u32| place[**c as usize] != u32::MAX;
        out.reserve_exact(self.n_rows(), self.indices.iter().filter(stays).count());
        let mut entries = Vec::new();
        for i in 0..self.n_rows() {
            let (cols, vals) = self.row(i);
            entries.clear();
            entries.extend(cols.iter().zip(vals).filter_map(|(&c, &v)| {
                let to = place[c as usize];
                (to != u32::MAX).then_some((to, v))
            }));
            entries.sort_unstable_by_key(|e| e.0);
            out.push_row(entries.iter().copied());
        }
        out
    }

    /// A copy of the given rows, in this order.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let mut out = Self::empty(self.n_cols);
        out.reserve_exact(rows.len(), rows.iter().map(|&i| self.row(i).0.len()).sum());
        for &i in rows {
            let (cols, vals) = self.row(i);
            out.push_row(cols.iter().copied().zip(vals.iter().copied()));
        }
        out
    }

    /// The transposed matrix.
    #[must_use]
    pub fn transpose(&self) -> Self {
        let mut indptr = vec![0usize; self.n_cols + 1];
        for &c in &self.indices {
            indptr[c as usize + 1] += 1;
        }
        for c in 0..self.n_cols {
            indptr[c + 1] += indptr[c];
        }
        let mut next = indptr.clone();
        let (mut indices, mut values) = (vec![0u32; self.nnz()], vec![0f32; self.nnz()]);
        for (i, row) in (0u32..).zip(0..self.n_rows()) {
            let (cols, vals) = self.row(row);
            for (&c, &v) in cols.iter().zip(vals) {
                let at = &mut next[c as usize];
                (indices[*at], values[*at]) = (i, v);
                *at += 1;
            }
        }
        Self {
            n_cols: self.n_rows(),
            indptr,
            indices,
            values,
        }
    }

    /// Converts to a dense array, (rows, columns).
    #[must_use]
    pub fn to_dense(&self) -> Array2<f32> {
        let mut out = Array2::zeros((self.n_rows(), self.n_cols));
        for (i, mut row) in out.rows_mut().into_iter().enumerate() {
            let (cols, vals) = self.row(i);
            for (&c, &v) in cols.iter().zip(vals) {
                row[c as usize] = v;
            }
        }
        out
    }

    /// Sum of each row, in double precision.
    #[must_use]
    pub fn row_sums(&self) -> Vec<f64> {
        (0..self.n_rows())
            .map(|i| self.row(i).1.iter().map(|&v| f64::from(v)).sum())
            .collect()
    }

    /// Sum of each column, in double precision.
    #[must_use]
    pub fn column_sums(&self) -> Vec<f64> {
        let mut sums = vec![0.0; self.n_cols];
        for (&c, &v) in self.indices.iter().zip(&self.values) {
            sums[c as usize] += f64::from(v);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn dense_to_sparse_and_back_is_the_same() {
        let dense = array![[0.0, 1.0, 2.0], [0.0, 0.0, 0.0], [3.0, 0.0, 4.0]];
        let sparse = SparseRows::from_dense(dense.view());
        assert_eq!(sparse.nnz(), 4);
        assert_eq!(sparse.to_dense(), dense);
        assert_eq!(sparse.transpose().to_dense(), dense.t());
        assert_eq!(
            sparse.select_columns(&[2, 0]).to_dense(),
            dense.select(ndarray::Axis(1), &[2, 0])
        );
        assert_eq!(
            sparse.select_rows(&[2, 0]).to_dense(),
            dense.select(ndarray::Axis(0), &[2, 0])
        );
        assert_eq!(sparse.column_sums(), vec![3.0, 1.0, 6.0]);
        let mut twice = sparse.rows(0..1);
        twice.append(&sparse.rows(1..3));
        assert_eq!(twice, sparse);
    }

    #[test]
    fn unsorted_columns_are_sorted_and_bad_ones_refused() {
        let m = SparseRows::new(3, vec![0, 2], vec![2, 0], vec![1.0, 2.0]).unwrap();
        assert_eq!(m.row(0), (&[0u32, 2][..], &[2.0f32, 1.0][..]));
        for (indptr, indices) in [(vec![0, 2], vec![1, 1]), (vec![0, 2], vec![0, 3])] {
            assert!(SparseRows::new(3, indptr, indices, vec![1.0, 1.0]).is_err());
        }
        assert!(SparseRows::new(3, vec![0, 3], vec![0, 1], vec![1.0, 1.0]).is_err());
    }
}
