//! A mapping on disk, read as a stream of row blocks.

use crate::carried_uns;
use crate::error::{PipelineError, Result};
use crate::expression_files::cells_of_training;
use crate::factors_file;
use crate::filter;
use crate::match_genes::MatchGenes;
use crate::run_directory::RunDirectory;
use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use tangram_core::{Filtered, MappingBlock, MappingRows, PBlock, SparseRows, Table};
use tangram_mapper::Factors;
use tangram_store::memory;
use tangram_store::{CellExpression, StreamedCells};
use tangram_store::{Dataset, MatrixName, Names, StoreError, fingerprint_names};
use tangram_store::{ExpressionFile, RowNames};

/// Stored entries of a block: 64 MB.
const BLOCK_ENTRIES: usize = 1 << 23;
/// Bytes of a stored entry in memory.
const ENTRY_BYTES: u64 = 8;

/// The mapping of a run, read from its factors or from its stored probabilities.
#[derive(Debug)]
pub struct StoredMapping {
    /// The factors, with voxels in obs, or the probabilities, with voxels in var.
    dataset: Dataset,
    cell_names_sha256: String,
    rows: Rows,
    /// f, where a filter was learned.
    filter: Option<Vec<f64>>,
}

/// Where the rows of P come from.
#[derive(Debug)]
enum Rows {
    /// Computed from the cells' expression.
    Factored {
        factors: Factors,
        cells: CellExpression,
    },
    Stored(StoredRows),
}

/// Probabilities on disk. Those that take less than a quarter of the free memory are read once and kept; others are
/// read from disk at every pass.
#[derive(Debug)]
struct StoredRows {
    n_cells: usize,
    n_voxels: usize,
    rows_per_block: usize,
    kept: Option<SparseRows>,
}

impl StoredMapping {
    /// Opens the mapping of a run.
    ///
    /// * `cells`: the file of its cells
    /// * `match_genes`: how its genes match those of the training, if not as in the training
    ///
    /// # Errors
    /// If the mapping or the cells cannot be read, or the cells lack genes of the training.
    pub fn open(
        run: &RunDirectory,
        cells: &Path,
        match_genes: Option<&MatchGenes>,
    ) -> Result<Self> {
        let dataset = Dataset::open(&run.mapping()?)?;
        let record = run.record();
        let (rows, cell_names_sha256) = if record.factors.is_some() {
            let names = RowNames::Checked;
            let training = &record.genes.training;
            let (file, _) = cells_of_training(run.settings(), training, cells, match_genes, names)?;
            let (file, names) = (Arc::new(file), record.cell_names_sha256.clone());
            let factors = factors_file::read(&dataset)?;
            // Checked before any value is read: the factors are valid for these cells only.
            check(file.dataset(), "cells", record.n_cells, &names)?;
            let cells = training_cells(run, &file)?.held_if_small()?;
            (Rows::Factored { factors, cells }, names)
        } else {
            let names = fingerprint_names(&dataset.unique_names(Names::Obs)?);
            (
                Rows::Stored(StoredRows::open(&dataset, record.n_stored)?),
                names,
            )
        };
        Ok(Self {
            filter: filter::read(run, &dataset)?,
            dataset,
            cell_names_sha256,
            rows,
        })
    }

    /// The rows with the cells left out that the filter leaves out: what transfers, densities and scores are made of.
    #[must_use]
    pub fn filtered(&self) -> Filtered<'_, Self> {
        Filtered::new(self, self.filter())
    }

    /// Cells that take part: all, or Σ f where a filter was learned.
    #[must_use]
    pub fn mass(&self) -> f64 {
        match self.filter() {
            Some(kept) => kept.iter().sum(),
            None => self.n_cells().max(1) as f64,
        }
    }

    /// f of every cell, where a filter was learned.
    #[must_use]
    pub fn filter(&self) -> Option<&[f64]> {
        self.filter.as_deref()
    }

    /// Names of the voxels.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn voxels(&self) -> Result<Vec<String>, StoreError> {
        self.dataset.unique_names(match self.rows {
            Rows::Factored { .. } => Names::Obs,
            Rows::Stored(_) => Names::Var,
        })
    }

    /// The obs table of the voxels.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn voxel_table(&self) -> Result<Table, StoreError> {
        match self.rows {
            Rows::Factored { .. } => factors_file::voxels(&self.dataset),
            Rows::Stored(_) => self.dataset.var(),
        }
    }

    /// Coordinates of the voxels, if they had any.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn spatial(&self) -> Result<Option<Array2<f64>>, StoreError> {
        match self.rows {
            Rows::Factored { .. } => self.dataset.spatial(),
            Rows::Stored(_) => self.dataset.varm("spatial"),
        }
    }

    /// What uns said of the voxels: images, colours.
    ///
    /// # Errors
    /// If it cannot be read.
    pub(crate) fn voxel_uns(&self) -> Result<carried_uns::Entries, StoreError> {
        match self.rows {
            Rows::Factored { .. } => carried_uns::of(&self.dataset),
            Rows::Stored(_) => carried_uns::read_of_voxels(&self.dataset),
        }
    }

    /// Checks that a file has the cells of the mapping, in its order.
    ///
    /// # Errors
    /// [`PipelineError::OtherNames`] if not.
    pub fn check_cells(&self, file: &Dataset) -> Result<()> {
        check(file, "cells", self.n_cells(), &self.cell_names_sha256)
    }

    /// Checks that a file has the voxels of the mapping, in its order.
    ///
    /// # Errors
    /// [`PipelineError::OtherNames`] if not.
    pub fn check_voxels(&self, file: &Dataset) -> Result<()> {
        let names = self.voxels()?;
        check(file, "voxels", names.len(), &fingerprint_names(&names))
    }
}

/// Reads the training genes of a file's cells, normalised and transformed as in the run's training.
///
/// # Errors
/// If the file lacks genes of the training or cannot be read.
pub fn training_cells(run: &RunDirectory, file: &Arc<ExpressionFile>) -> Result<StreamedCells> {
    let training = &run.record().genes.training;
    let columns = file.columns_of(training).map_err(|error| match error {
        StoreError::UnknownGenes {
            path,
            matrix,
            n_missing,
            n_asked,
            examples,
        } => PipelineError::TrainingGenes {
            path,
            matrix,
            n_missing,
            n_training: n_asked,
            examples,
        },
        other => other.into(),
    })?;
    let factors = match run.record().library_median {
        Some(median) => Some(tangram_core::factors_to(&file.totals()?, median).into()),
        None => None,
    };
    let transform = run.settings().transform;
    Ok(StreamedCells::new(
        Arc::clone(file),
        columns,
        factors,
        transform,
    ))
}

/// * `n`, `sha256`: number and fingerprint of the names in the mapping
fn check(file: &Dataset, what: &'static str, n: usize, sha256: &str) -> Result<()> {
    let names = file.obs_names()?;
    let reason = if names.len() != n {
        format!("{} instead of {n}", names.len())
    } else if fingerprint_names(&names) != sha256 {
        "other names, or another order".to_owned()
    } else {
        return Ok(());
    };
    Err(PipelineError::OtherNames {
        path: file.path().to_owned(),
        what,
        reason,
    })
}

impl StoredRows {
    fn open(dataset: &Dataset, n_stored: usize) -> Result<Self, StoreError> {
        let (n_cells, n_voxels) = dataset.matrix(&MatrixName::X)?.shape();
        let per_row = n_stored / n_cells.max(1);
        let mut rows = Self {
            n_cells,
            n_voxels,
            rows_per_block: (BLOCK_ENTRIES / per_row.max(1)).clamp(1, 1 << 16),
            kept: None,
        };
        let bytes = n_stored as u64 * ENTRY_BYTES;
        if memory::available().is_some_and(|free| bytes < free / 4) {
            let mut kept = SparseRows::empty(n_voxels);
            rows.for_each_block(dataset, &mut |block| {
                if let PBlock::Sparse(rows) = block.rows {
                    kept.append(rows);
                }
                Ok(())
            })?;
            rows.kept = Some(kept);
        }
        Ok(rows)
    }

    fn for_each_block(
        &self,
        dataset: &Dataset,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(kept) = &self.kept {
            return visit(MappingBlock {
                first_cell: 0,
                rows: PBlock::Sparse(kept),
            });
        }
        let matrix = dataset.matrix(&MatrixName::X)?;
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

impl MappingRows for StoredMapping {
    type Error = StoreError;

    fn n_cells(&self) -> usize {
        match &self.rows {
            Rows::Factored { factors, cells } => factors.mapping(cells).n_cells(),
            Rows::Stored(rows) => rows.n_cells,
        }
    }

    fn n_voxels(&self) -> usize {
        match &self.rows {
            Rows::Factored { factors, .. } => factors.n_voxels(),
            Rows::Stored(rows) => rows.n_voxels,
        }
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        match &self.rows {
            Rows::Factored { factors, cells } => factors.mapping(cells).for_each_block(visit),
            Rows::Stored(rows) => rows.for_each_block(&self.dataset, visit),
        }
    }
}
