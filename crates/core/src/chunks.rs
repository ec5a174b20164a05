//! [`CellChunks`]: the expression of the cells as a stream of chunks, because it may not fit in memory.
//!
//! The solvers read cells only through this trait. A matrix in memory is one chunk; readers of files implement it, too.

use crate::SparseRows;
use std::convert::Infallible;
use std::ops::{ControlFlow, Range};

/// A function that receives a chunk: the index of its first cell, and the cells, (cells of the chunk, genes).
///
/// It returns `Break` if it needs no further chunk.
pub type VisitChunk<'a, E> = dyn FnMut(usize, &SparseRows) -> Result<ControlFlow<()>, E> + 'a;

/// The expression S, (cells, genes), as chunks of consecutive cells that can be read any number of times.
pub trait CellChunks: Sync {
    /// Why a chunk cannot be read.
    type Error: std::error::Error + Send + Sync + 'static;

    /// Number of cells.
    fn n_cells(&self) -> usize;

    /// Number of genes.
    fn n_genes(&self) -> usize;

    /// The whole matrix if it is resident in memory, otherwise `None`.
    fn whole(&self) -> Option<&SparseRows> {
        None
    }

    /// Passes the cells of `range` to `visit`, chunk by chunk in ascending order. Stops at the first error, or when `visit`
    /// returns `Break`.
    ///
    /// # Errors
    /// If a chunk cannot be read, or the error of `visit`.
    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, Self::Error>,
    ) -> Result<(), Self::Error>;

    /// The given cells as one matrix, (cells chosen, genes).
    ///
    /// * `cells`: indices, strictly ascending
    ///
    /// # Errors
    /// If a chunk cannot be read.
    fn select(&self, cells: &[usize]) -> Result<SparseRows, Self::Error> {
        let mut chosen = SparseRows::empty(self.n_genes());
        let mut next = cells.iter().copied().peekable();
        // Cells far apart are read one by one, so that the cells between them are not read.
        if cells.len() * FAR_APART < self.n_cells() {
            for cell in next {
                self.for_each_chunk(cell..cell + 1, &mut |_, chunk| {
                    chosen.append(chunk);
                    Ok(ControlFlow::Continue(()))
                })?;
            }
            return Ok(chosen);
        }
        self.for_each_chunk(0..self.n_cells(), &mut |first, chunk| {
            while let Some(cell) = next.next_if(|&cell| cell < first + chunk.n_rows()) {
                let (genes, values) = chunk.row(cell - first);
                chosen.push_row(genes.iter().copied().zip(values.iter().copied()));
            }
            Ok(match next.peek() {
                Some(_) => ControlFlow::Continue(()),
                None => ControlFlow::Break(()),
            })
        })?;
        Ok(chosen)
    }
}

/// Reading one cell on its own costs about as much as reading this many consecutive cells.
const FAR_APART: usize = 1000;

/// A matrix in memory, as one chunk.
impl CellChunks for SparseRows {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.n_rows()
    }

    fn n_genes(&self) -> usize {
        self.n_cols()
    }

    fn whole(&self) -> Option<&SparseRows> {
        Some(self)
    }

    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, Infallible>,
    ) -> Result<(), Infallible> {
        let visited = if range == (0..self.n_rows()) {
            visit(0, self)
        } else {
            visit(range.start, &self.rows(range))
        };
        visited.map(|_| ())
    }
}

/// A matrix in memory that is read chunk by chunk: for tests of what reads cells from files.
#[derive(Debug, Clone)]
pub struct InChunks {
    /// S, (cells, genes).
    pub cells: SparseRows,
    /// Cells of a chunk, at least 1.
    pub cells_per_chunk: usize,
}

impl CellChunks for InChunks {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.cells.n_rows()
    }

    fn n_genes(&self) -> usize {
        self.cells.n_cols()
    }

    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, Infallible>,
    ) -> Result<(), Infallible> {
        for first in range.clone().step_by(self.cells_per_chunk) {
            let last = range.end.min(first + self.cells_per_chunk);
            if visit(first, &self.cells.rows(first..last))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selected_cells_are_the_rows_asked_for() {
        let mut rows = SparseRows::empty(4);
        for i in 0..3000u32 {
            rows.push_row([(i % 4, i as f32 + 1.0)]);
        }
        let chunks = InChunks {
            cells: rows.clone(),
            cells_per_chunk: 3,
        };
        for cells in [
            vec![],
            vec![0],
            vec![5, 2999],
            (0..3000).step_by(7).collect(),
        ] {
            assert_eq!(chunks.select(&cells).unwrap(), rows.select_rows(&cells));
            assert_eq!(rows.select(&cells).unwrap(), rows.select_rows(&cells));
        }
    }
}
