//! Sparse expression cut into blocks that stay in cache.

use tangram_core::SparseRows;

/// A sparse matrix whose columns are cut into chunks of [`CHUNK`]: chunk after chunk, within a chunk row after row.
///
/// A product with it works on one chunk at a time, so that the other factor's part (a tile of [`CHUNK`] rows) stays in
/// the first cache while all rows pass.
#[derive(Debug, Clone)]
pub(crate) struct Blocked {
    n_rows: usize,
    n_cols: usize,
    n_chunks: usize,
    /// Start of each (chunk, row) in the other two arrays, and the end of the last.
    starts: Vec<usize>,
    /// Column within the chunk.
    columns: Vec<u8>,
    values: Vec<f32>,
}

/// Columns per chunk.
pub(crate) const CHUNK: usize = 64;

impl Blocked {
    /// Cuts the columns of a matrix.
    pub(crate) fn by_rows(matrix: &SparseRows) -> Self {
        let size = (matrix.n_rows(), matrix.n_cols());
        Self::cut(size, matrix, |row, column| (row, column))
    }

    /// Cuts the rows of a matrix, which become the columns.
    pub(crate) fn by_columns(matrix: &SparseRows) -> Self {
        let size = (matrix.n_cols(), matrix.n_rows());
        Self::cut(size, matrix, |row, column| (column, row))
    }

    /// A counting sort of the entries by (chunk, row); `turn` maps a (row, column) of the source to this matrix.
    fn cut(
        (n_rows, n_cols): (usize, usize),
        matrix: &SparseRows,
        turn: impl Fn(usize, usize) -> (usize, usize),
    ) -> Self {
        let n_chunks = n_cols.div_ceil(CHUNK);
        let entries = |visit: &mut dyn FnMut(usize, u8, f32)| {
            for i in 0..matrix.n_rows() {
                let (columns, values) = matrix.row(i);
                for (&c, &value) in columns.iter().zip(values) {
                    let (row, column) = turn(i, c as usize);
                    visit(column / CHUNK * n_rows + row, (column % CHUNK) as u8, value);
                }
            }
        };
        let mut starts = vec![0; n_chunks * n_rows + 1];
        entries(&mut |at, _, _| starts[at + 1] += 1);
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut next = starts.clone();
        let (mut columns, mut values) = (vec![0; matrix.nnz()], vec![0.0; matrix.nnz()]);
        entries(&mut |at, column, value| {
            (columns[next[at]], values[next[at]]) = (column, value);
            next[at] += 1;
        });
        Self {
            n_rows,
            n_cols,
            n_chunks,
            starts,
            columns,
            values,
        }
    }

    /// Columns of a chunk; those that [`row`](Self::row) names are below this.
    pub(crate) fn n_columns(&self, chunk: usize) -> usize {
        CHUNK.min(self.n_cols - chunk * CHUNK)
    }

    pub(crate) fn n_chunks(&self) -> usize {
        self.n_chunks
    }

    /// Columns (within the chunk) and values of one row of one chunk.
    #[inline(always)]
    pub(crate) fn row(&self, chunk: usize, row: usize) -> (&[u8], &[f32]) {
        let at = chunk * self.n_rows + row;
        let range = self.starts[at]..self.starts[at + 1];
        (&self.columns[range.clone()], &self.values[range])
    }

    /// Bytes of an entry.
    pub(crate) const ENTRY: usize = size_of::<u8>() + size_of::<f32>();

    /// Bytes held for a matrix of this shape and number of entries.
    pub(crate) fn bytes(n_rows: usize, n_cols: usize, nnz: usize) -> usize {
        n_cols.div_ceil(CHUNK) * n_rows * size_of::<usize>() + nnz * Self::ENTRY
    }
}
