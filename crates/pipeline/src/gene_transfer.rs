//! Genes predicted in space, a chunk of columns at a time.

use crate::stored_mapping::StoredMapping;
use ndarray::Array2;
use tangram_store::ExpressionFile;
use tangram_store::StoreError;
use tangram_store::memory;

/// Bytes of a stored entry: twice its size, since rows and columns are both held during the transposition.
const ENTRY_BYTES: u64 = 16;
/// Memory assumed where the system does not report it: 4 GiB.
const MEMORY_UNTOLD: u64 = 1 << 32;

/// Genes to transfer: columns of a file, and how their values are scaled.
#[derive(Debug)]
pub struct Genes<'a> {
    /// The cells' file.
    pub file: &'a ExpressionFile,
    /// The columns.
    pub columns: &'a [usize],
    /// What they are.
    pub values: GeneValues,
    /// Genes in a dense chunk.
    pub chunk: usize,
}

/// How the values of a gene are read.
#[derive(Debug)]
pub enum GeneValues {
    /// As expression: every cell multiplied by its factor, if there are factors.
    Scaled(Option<Vec<f64>>),
    /// Unchanged; any values are allowed.
    AsTheyAre,
}

impl Genes<'_> {
    /// Transfers all genes; calls `visit` with one (voxels, genes) chunk after the other and the index of its first gene.
    ///
    /// # Errors
    /// If a file cannot be read, and whatever `visit` returns.
    pub fn transfer<E: From<StoreError>>(
        &self,
        mapping: &StoredMapping,
        mut visit: impl FnMut(usize, Array2<f32>) -> Result<(), E>,
    ) -> Result<(), E> {
        let group = self.columns_at_a_time();
        for (g, columns) in self.columns.chunks(group).enumerate() {
            let by_cell = match &self.values {
                GeneValues::Scaled(factors) => {
                    self.file.read_scaled(columns, factors.as_deref())?
                }
                GeneValues::AsTheyAre => self.file.read_any(columns)?,
            };
            let by_gene = by_cell.transpose();
            drop(by_cell);
            for first in (0..columns.len()).step_by(self.chunk) {
                let genes = first..columns.len().min(first + self.chunk);
                let piece = mapping.transfer(&by_gene.rows(genes).transpose())?;
                visit(g * group + first, piece)?;
            }
        }
        Ok(())
    }

    /// Columns to read in one pass over the file: as many as fit a quarter of the free memory if no entry is zero.
    fn columns_at_a_time(&self) -> usize {
        let budget = memory::available().unwrap_or(MEMORY_UNTOLD) / 4;
        let column = self.file.n_rows().max(1) as u64 * ENTRY_BYTES;
        let columns = usize::try_from(budget / column).unwrap_or(usize::MAX);
        columns.max(self.chunk) / self.chunk * self.chunk
    }
}
