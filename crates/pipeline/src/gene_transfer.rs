//! Genes carried into space, some columns at a time.

use crate::stored_mapping::StoredMapping;
use ndarray::Array2;
use tangram_core::transfer;
use tangram_store::ExpressionFile;
use tangram_store::StoreError;
use tangram_store::memory;

/// Bytes of a stored entry in memory, twice while it is turned from rows to columns.
const ENTRY_BYTES: u64 = 16;
/// Memory to count on if the system does not tell: 4 GiB.
const MEMORY_UNTOLD: u64 = 1 << 32;

/// Genes to carry: which columns of which file, and what their values are multiplied by.
#[derive(Debug)]
pub struct Genes<'a> {
    /// The cells' file.
    pub file: &'a ExpressionFile,
    /// The columns.
    pub columns: &'a [usize],
    /// What they are.
    pub values: GeneValues,
    /// Genes that are dense at a time.
    pub chunk: usize,
}

/// What the values of a gene are.
#[derive(Debug)]
pub enum GeneValues {
    /// Expression, every cell multiplied by its factor if there are any.
    Scaled(Option<Vec<f64>>),
    /// Anything, taken as it is.
    AsTheyAre,
}

impl Genes<'_> {
    /// Carries all genes, handing (voxels, genes) pieces to `visit` in order, each with the place of its first gene.
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
                let piece = transfer(mapping, &by_gene.rows(genes).transpose())?;
                visit(g * group + first, piece)?;
            }
        }
        Ok(())
    }

    /// Columns to read in one pass over the file: what a quarter of the free memory holds even if nothing is zero.
    fn columns_at_a_time(&self) -> usize {
        let budget = memory::available().unwrap_or(MEMORY_UNTOLD) / 4;
        let column = self.file.n_rows().max(1) as u64 * ENTRY_BYTES;
        let columns = usize::try_from(budget / column).unwrap_or(usize::MAX);
        columns.max(self.chunk) / self.chunk * self.chunk
    }
}
