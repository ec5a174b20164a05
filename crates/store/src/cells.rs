//! The cells' expression over the training genes: in memory, or read from disk chunk by chunk at every pass.

use crate::StoreError;
use crate::expression::ExpressionFile;
use crate::memory;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use tangram_core::normalize::transform;
use tangram_core::{CellChunks, SparseRows, Transform, VisitChunk, scale_rows};

/// S, (cells, genes), normalised and transformed.
#[derive(Debug, Clone)]
pub enum CellExpression {
    /// All of it.
    Memory(SparseRows),
    /// To be read.
    Streamed(StreamedCells),
}

/// Where the cells' expression is, and what is done to it as it is read.
#[derive(Debug, Clone)]
pub struct StreamedCells {
    file: Arc<ExpressionFile>,
    columns: Vec<usize>,
    factors: Option<Arc<[f64]>>,
    transform: Transform,
    /// Of the file's cells.
    cells: Range<usize>,
    cells_per_chunk: usize,
}

/// Entries of a chunk, zeros counted: a few chunks take less than 1 GB even if nothing is zero.
const CHUNK_ENTRIES: usize = 1 << 25;

/// Cells of a chunk of a file of `n_genes` genes.
#[must_use]
pub fn cells_per_chunk(n_genes: usize) -> usize {
    (CHUNK_ENTRIES / n_genes.max(1)).clamp(64, 1 << 16)
}

impl StreamedCells {
    /// * `columns`: the training genes, in their order
    /// * `factors`: what each cell is multiplied by
    #[must_use]
    pub fn new(
        file: Arc<ExpressionFile>,
        columns: Vec<usize>,
        factors: Option<Arc<[f64]>>,
        transform: Transform,
    ) -> Self {
        Self {
            cells_per_chunk: cells_per_chunk(file.genes().len()),
            cells: 0..file.n_rows(),
            file,
            columns,
            factors,
            transform,
        }
    }

    /// Some of these cells, and some of the genes.
    #[must_use]
    pub fn shard(&self, cells: Range<usize>, genes: Range<usize>) -> Self {
        let first = self.cells.start;
        Self {
            cells: first + cells.start..first + cells.end,
            columns: self.columns[genes].to_vec(),
            ..self.clone()
        }
    }

    /// The same cells with some of their genes.
    ///
    /// * `genes`: places among those there are
    #[must_use]
    pub fn genes(&self, genes: &[usize]) -> Self {
        Self {
            columns: genes.iter().map(|&k| self.columns[k]).collect(),
            ..self.clone()
        }
    }

    /// The same cells transformed.
    #[must_use]
    pub fn transformed(&self, how: Transform) -> Self {
        Self {
            transform: how,
            ..self.clone()
        }
    }

    /// The same cells without the transform.
    #[must_use]
    pub fn untransformed(&self) -> Self {
        Self {
            transform: Transform::None,
            ..self.clone()
        }
    }

    /// All of it, if it takes less than a quarter of the free memory.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn held_if_small(self) -> Result<CellExpression, StoreError> {
        let bytes = self.file.most_entries(self.columns.len()) * ENTRY_BYTES;
        if memory::available().is_some_and(|free| bytes > free / 4) {
            return Ok(CellExpression::Streamed(self));
        }
        Ok(CellExpression::Memory(self.held()?))
    }

    /// All of it.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn held(&self) -> Result<SparseRows, StoreError> {
        let mut all = self.file.read_rows(self.cells.clone(), &self.columns)?;
        self.finish(&mut all, self.cells.clone());
        Ok(all)
    }

    fn finish(&self, chunk: &mut SparseRows, cells: Range<usize>) {
        if let Some(factors) = &self.factors {
            scale_rows(chunk, &factors[cells]);
        }
        transform(chunk, self.transform);
    }

    fn read(&self, cells: Range<usize>) -> Result<SparseRows, StoreError> {
        let first = self.cells.start;
        let cells = first + cells.start..first + cells.end;
        let mut chunk = self.file.read_cells(cells.clone(), &self.columns)?;
        self.finish(&mut chunk, cells);
        Ok(chunk)
    }
}

impl CellExpression {
    /// The same cells with some of their genes.
    ///
    /// * `genes`: places among those there are
    #[must_use]
    pub fn genes(&self, genes: &[usize]) -> Self {
        match self {
            Self::Memory(rows) => Self::Memory(rows.select_columns(genes)),
            Self::Streamed(cells) => Self::Streamed(cells.genes(genes)),
        }
    }
}

/// Bytes of an entry as it is held and cut for products.
const ENTRY_BYTES: u64 = 26;

impl CellChunks for StreamedCells {
    type Error = StoreError;

    fn n_cells(&self) -> usize {
        self.cells.len()
    }

    fn n_genes(&self) -> usize {
        self.columns.len()
    }

    /// What lies between cells that are far apart is not read.
    fn select(&self, cells: &[usize]) -> Result<SparseRows, StoreError> {
        let mut chosen = SparseRows::empty(self.n_genes());
        let first = self.cells.start;
        let rows = |cells: &[usize]| cells.iter().map(|cell| first + cell).collect::<Vec<_>>();
        self.file
            .read_rows_of(&rows(cells), &self.columns, &mut |place, mut rows| {
                if let Some(factors) = &self.factors {
                    let of_row = |i| factors[first + cells[place + i]];
                    let own: Vec<f64> = (0..rows.n_rows()).map(of_row).collect();
                    scale_rows(&mut rows, &own);
                }
                transform(&mut rows, self.transform);
                chosen.append(&rows);
            })?;
        Ok(chosen)
    }

    /// Reads the next chunk while one is worked on.
    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, StoreError>,
    ) -> Result<(), StoreError> {
        std::thread::scope(|scope| {
            let (sender, chunks) = sync_channel(1);
            let last = range.end;
            scope.spawn(move || {
                for first in range.step_by(self.cells_per_chunk) {
                    let chunk = self.read(first..last.min(first + self.cells_per_chunk));
                    // Nobody takes it after an error of `visit`, or a break.
                    if sender.send((first, chunk)).is_err() {
                        return;
                    }
                }
            });
            for (first, chunk) in chunks {
                if visit(first, &chunk?)?.is_break() {
                    break;
                }
            }
            Ok(())
        })
    }
}

impl CellChunks for CellExpression {
    type Error = StoreError;

    fn n_cells(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.n_rows(),
            Self::Streamed(cells) => cells.n_cells(),
        }
    }

    fn n_genes(&self) -> usize {
        match self {
            Self::Memory(rows) => rows.n_cols(),
            Self::Streamed(cells) => cells.n_genes(),
        }
    }

    fn whole(&self) -> Option<&SparseRows> {
        match self {
            Self::Memory(rows) => Some(rows),
            Self::Streamed(_) => None,
        }
    }

    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, StoreError>,
    ) -> Result<(), StoreError> {
        match self {
            Self::Memory(rows) if range == (0..rows.n_rows()) => visit(0, rows).map(|_| ()),
            Self::Memory(rows) => visit(range.start, &rows.rows(range)).map(|_| ()),
            Self::Streamed(cells) => cells.for_each_chunk(range, visit),
        }
    }

    fn select(&self, cells: &[usize]) -> Result<SparseRows, StoreError> {
        match self {
            Self::Memory(rows) => rows.select(cells).map_err(|never| match never {}),
            Self::Streamed(streamed) => streamed.select(cells),
        }
    }
}
