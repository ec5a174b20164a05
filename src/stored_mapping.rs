//! A mapping on disk, read as a stream of row blocks.

use crate::error::CliError;
use crate::memory;
use crate::run_directory::RunDirectory;
use anyhow::Result;
use ndarray::Array2;
use tangram_core::{MappingBlock, MappingRows, PBlock, SparseRows};
use tangram_store::{Dataset, MatrixName, Names, StoreError};

/// Stored entries of a block: 64 MB.
const BLOCK_ENTRIES: usize = 1 << 23;
/// Bytes of a stored entry in memory.
const ENTRY_BYTES: u64 = 8;

/// The mapping of a run.
///
/// One that takes less than a quarter of the free memory is read once and kept; a larger one is read from disk at
/// every pass.
#[derive(Debug)]
pub struct StoredMapping {
    dataset: Dataset,
    n_cells: usize,
    n_voxels: usize,
    rows_per_block: usize,
    kept: Option<SparseRows>,
}

impl StoredMapping {
    /// Opens the mapping of a run.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn open(run: &RunDirectory) -> Result<Self, StoreError> {
        let dataset = Dataset::open(&run.mapping())?;
        let (n_cells, n_voxels) = dataset.matrix(&MatrixName::X)?.shape();
        let per_row = run.record().n_stored / n_cells.max(1);
        let rows_per_block = (BLOCK_ENTRIES / per_row.max(1)).clamp(1, 1 << 16);
        let mut mapping = Self {
            dataset,
            n_cells,
            n_voxels,
            rows_per_block,
            kept: None,
        };
        let bytes = run.record().n_stored as u64 * ENTRY_BYTES;
        if memory::available().is_some_and(|free| bytes < free / 4) {
            let mut kept = SparseRows::empty(n_voxels);
            mapping.for_each_block(&mut |block| {
                if let PBlock::Sparse(rows) = block.rows {
                    kept.append(rows);
                }
                Ok(())
            })?;
            mapping.kept = Some(kept);
        }
        Ok(mapping)
    }

    /// The file: cells in obs, voxels in var.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Names of the cells.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn cells(&self) -> Result<Vec<String>, StoreError> {
        self.dataset.unique_names(Names::Obs)
    }

    /// Names of the voxels.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn voxels(&self) -> Result<Vec<String>, StoreError> {
        self.dataset.unique_names(Names::Var)
    }

    /// Coordinates of the voxels, if they had any.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn spatial(&self) -> Result<Option<Array2<f64>>, StoreError> {
        self.dataset.varm("spatial")
    }

    /// Checks that a file has the cells of the mapping, in its order.
    ///
    /// # Errors
    /// [`CliError::OtherNames`] if not.
    pub fn check_cells(&self, file: &Dataset) -> Result<()> {
        check(file, "cells", &self.cells()?)
    }

    /// Checks that a file has the voxels of the mapping, in its order.
    ///
    /// # Errors
    /// [`CliError::OtherNames`] if not.
    pub fn check_voxels(&self, file: &Dataset) -> Result<()> {
        check(file, "voxels", &self.voxels()?)
    }
}

fn check(file: &Dataset, what: &'static str, mapped: &[String]) -> Result<()> {
    let names = file.obs_names()?;
    let reason = if names.len() != mapped.len() {
        format!("{} instead of {}", names.len(), mapped.len())
    } else if let Some((i, (name, other))) = names
        .iter()
        .zip(mapped)
        .enumerate()
        .find(|(_, (a, b))| a != b)
    {
        format!("number {} is {name} instead of {other}", i + 1)
    } else {
        return Ok(());
    };
    Err(CliError::OtherNames {
        path: file.path().to_owned(),
        what,
        reason,
    }
    .into())
}

impl MappingRows for StoredMapping {
    type Error = StoreError;

    fn n_cells(&self) -> usize {
        self.n_cells
    }

    fn n_voxels(&self) -> usize {
        self.n_voxels
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(kept) = &self.kept {
            return visit(MappingBlock {
                first_cell: 0,
                rows: PBlock::Sparse(kept),
            });
        }
        let matrix = self.dataset.matrix(&MatrixName::X)?;
        for first_cell in (0..self.n_cells).step_by(self.rows_per_block) {
            let rows =
                matrix.read_rows(first_cell..self.n_cells.min(first_cell + self.rows_per_block))?;
            visit(MappingBlock {
                first_cell,
                rows: PBlock::Sparse(&rows),
            })?;
        }
        Ok(())
    }
}
