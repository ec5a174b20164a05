//! A mapping on disk, read as a stream of row blocks.

use crate::carried_uns;
use crate::clusters::{CellClusters, Reading};
use crate::error::{PipelineError, Result};
use crate::expression_files::cells_of_training;
use crate::factors_file;
use crate::filter;
use crate::match_genes::MatchGenes;
use crate::ranks;
use crate::run_directory::RunDirectory;
use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use tangram_comm::Reduce;
use tangram_core::{
    Annotations, Filtered, MappingBlock, MappingRows, PBlock, SparseRows, Table, Transform,
    density, transfer,
};
use tangram_mapper::Factors;
use tangram_store::memory;
use tangram_store::{CellExpression, StreamedCells};
use tangram_store::{Dataset, MatrixName, Names, StoreError, fingerprint_names};
use tangram_store::{ExpressionFile, RowNames};

/// Stored entries of a block: 64 MB.
const BLOCK_ENTRIES: usize = 1 << 23;
/// Bytes of a stored entry in memory.
const ENTRY_BYTES: u64 = 8;

/// The mapping of a run, read from its factors or from its stored probabilities. Its rows are cells, or clusters of them.
#[derive(Debug)]
pub struct StoredMapping {
    /// The factors, with voxels in obs, or the probabilities, with voxels in var.
    dataset: Dataset,
    /// Number of cells in the cells' file, and the fingerprint of their names.
    cells: (usize, String),
    rows: Rows,
    /// f, where a filter was learned.
    filter: Option<Vec<f64>>,
    /// Which cells belong to which row, where the rows are clusters, and how many cells each has.
    clusters: Option<(CellClusters, Vec<f64>)>,
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
        let n_cells = record.n_cells;
        let (rows, names, clusters) = if record.factors.is_some() {
            let names = RowNames::Checked;
            let training = &record.genes.training;
            let (file, _) = cells_of_training(run.settings(), training, cells, match_genes, names)?;
            let (file, names) = (Arc::new(file), record.cell_names_sha256.clone());
            let factors = factors_file::read(&dataset)?;
            // Checked before any value is read: the factors are valid for these cells only.
            check(file.dataset(), "cells", n_cells, &names)?;
            let clusters = clusters_of(run, file.dataset())?;
            let cells = match &clusters {
                Some(clusters) => training_clusters(run, &file, clusters)?,
                None => training_cells(run, &file)?.held_if_small()?,
            };
            (Rows::Factored { factors, cells }, names, clusters)
        } else {
            let rows = Rows::Stored(StoredRows::open(&dataset, record.n_stored)?);
            if record.n_clusters.is_some() {
                let (file, names) = (Dataset::open(cells)?, record.cell_names_sha256.clone());
                check(&file, "cells", n_cells, &names)?;
                (rows, names, clusters_of(run, &file)?)
            } else {
                let names = fingerprint_names(&dataset.unique_names(Names::Obs)?);
                (rows, names, None)
            }
        };
        Ok(Self {
            filter: filter::read(run, &dataset)?,
            dataset,
            cells: (n_cells, names),
            rows,
            clusters: clusters.map(|clusters| {
                let weights = clusters.weights();
                (clusters, weights)
            }),
        })
    }

    /// Annotations of the cells in space, (voxels, annotations): `Pᵀ · (r ∘ annotations)`.
    ///
    /// Where the rows are clusters, a cluster has the sum or the mean over its cells, as in training.
    ///
    /// * `annotations`: (cells of the file, annotations)
    ///
    /// # Errors
    /// If the mapping cannot be read.
    ///
    /// # Panics
    /// If the annotations are of another number of cells.
    pub fn transfer(&self, annotations: &dyn Annotations) -> Result<Array2<f32>, StoreError> {
        match &self.clusters {
            None => transfer(&self.filtered(), annotations),
            Some((clusters, _)) => {
                let values = clusters.of_sums(clusters.clusters().sums(annotations));
                transfer(self, &values.mapv(|v| v as f32))
            }
        }
    }

    /// Numbers of cells in space, (voxels, kinds of cells): as [`transfer`](Self::transfer), but a cluster always counts by its cells.
    ///
    /// * `kinds`: 1 where a cell of the file is of a kind, else 0
    ///
    /// # Errors
    /// If the mapping cannot be read.
    ///
    /// # Panics
    /// If the kinds are of another number of cells.
    pub fn transfer_counts(&self, kinds: &dyn Annotations) -> Result<Array2<f32>, StoreError> {
        match &self.clusters {
            None => transfer(&self.filtered(), kinds),
            Some((clusters, _)) => {
                let counts = clusters.clusters().sums(kinds);
                transfer(self, &counts.mapv(|v| v as f32))
            }
        }
    }

    /// Expected number of cells in each voxel.
    ///
    /// # Errors
    /// If the mapping cannot be read.
    pub fn density(&self) -> Result<Vec<f64>, StoreError> {
        density(&self.filtered())
    }

    /// Which cells belong to which row, where the rows are clusters.
    #[must_use]
    pub fn clusters(&self) -> Option<&CellClusters> {
        self.clusters.as_ref().map(|(clusters, _)| clusters)
    }

    /// The rows multiplied by what they count: how much of a cell the filter keeps, or how many cells a cluster has.
    #[must_use]
    pub fn filtered(&self) -> Filtered<'_, Self> {
        Filtered::new(self, self.weights())
    }

    /// Cells that take part: all, those that are in a cluster, or Σ f where a filter was learned.
    #[must_use]
    pub fn mass(&self) -> f64 {
        match self.weights() {
            Some(weights) => weights.iter().sum(),
            None => self.n_cells().max(1) as f64,
        }
    }

    /// What every row counts; `None` where all count 1.
    fn weights(&self) -> Option<&[f64]> {
        let of_clusters = self.clusters.as_ref().map(|(_, weights)| &weights[..]);
        self.filter().or(of_clusters)
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
        let (n_cells, names_sha256) = &self.cells;
        check(file, "cells", *n_cells, names_sha256)
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

/// The clusters of a run's cells, which must be those of its training.
fn clusters_of(run: &RunDirectory, cells: &Dataset) -> Result<Option<CellClusters>> {
    let record = run.record();
    let clusters = CellClusters::read(run.settings(), cells)?;
    let found = clusters.as_ref().map(|found| {
        let clusters = found.clusters();
        (clusters.len(), clusters.n_unlabelled())
    });
    let trained = record.n_clusters.map(|n| (n, record.n_unlabelled));
    match (&clusters, found == trained) {
        (Some(clusters), false) => Err(PipelineError::Clusters {
            path: cells.path().to_owned(),
            column: clusters.column().to_owned(),
            what: "clusters",
            reason: "its labels are not those of the training; give the file that was mapped"
                .to_owned(),
        }),
        _ => Ok(clusters),
    }
}

/// Reads the training genes of a file's clusters, normalised and transformed as in the run's training.
fn training_clusters(
    run: &RunDirectory,
    file: &Arc<ExpressionFile>,
    clusters: &CellClusters,
) -> Result<CellExpression> {
    let columns = training_columns(run, file)?;
    let totals = file.totals()?;
    let median = run.record().library_median;
    let factors = median.map(|median| tangram_core::factors_to(&totals, median));
    let cells = StreamedCells::new(
        Arc::clone(file),
        columns,
        factors.clone().map(Into::into),
        Transform::None,
    );
    let reading = Reading {
        cells: &cells,
        totals: &totals,
        factors: factors.as_deref(),
        transform: run.settings().transform,
    };
    let expression = clusters.expression(&reading, &ranks::one(Reduce::Fast))?;
    Ok(CellExpression::Memory(expression.trained))
}

/// The places of the training genes in a file of cells.
fn training_columns(run: &RunDirectory, file: &ExpressionFile) -> Result<Vec<usize>> {
    let training = &run.record().genes.training;
    file.columns_of(training).map_err(|error| match error {
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
    })
}

/// Reads the training genes of a file's cells, normalised and transformed as in the run's training.
///
/// # Errors
/// If the file lacks genes of the training or cannot be read.
pub fn training_cells(run: &RunDirectory, file: &Arc<ExpressionFile>) -> Result<StreamedCells> {
    let columns = training_columns(run, file)?;
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
