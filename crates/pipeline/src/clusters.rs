//! Cells that are mapped by clusters: which they are, and their expression.

use crate::choices::{ClusterValues, Mode, ObsColumn};
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::ranks::{Ranks, agreed};
use crate::settings::MapSettings;
use crate::wording::count;
use ndarray::Array2;
use std::ops::ControlFlow;
use tangram_comm::{Axis, Communicator, Cut, Reduce};
use tangram_core::normalize::transform;
use tangram_core::{
    CellChunks, ClusterSums, Clusters, Column, Filtered, SparseRows, Table, Transform, transfer,
};
use tangram_mapper::Factors;
use tangram_store::{Dataset, StoreError, StreamedCells};

/// A column with fewer cells per label than this, on average, probably does not hold clusters: a warning says so.
const CELLS_OF_CLUSTER: usize = 2;
/// The column of obs of a mapping that holds how many cells a cluster has.
const N_CELLS: &str = "n_cells";
/// The column that holds its share of all cells, as the original package names it.
const SHARE: &str = "cluster_density";

/// The clusters of a mapping's cells.
#[derive(Debug, Clone)]
pub struct CellClusters {
    column: String,
    clusters: Clusters,
    values: ClusterValues,
}

/// Expression of all clusters over the training genes.
#[derive(Debug)]
pub struct ClusterExpression {
    /// S, (clusters, genes), for one unit of a cluster's weight, transformed: the mean over its cells of their transformed values.
    pub trained: SparseRows,
    /// The same untransformed.
    pub plain: SparseRows,
}

/// Clusters with their expression: all rows of the problem of all ranks.
#[derive(Debug)]
pub struct Clustered {
    /// The clusters.
    pub of: CellClusters,
    /// Their expression.
    pub expression: ClusterExpression,
    /// Median total of the cells that are in a cluster, if the cells were normalised to it.
    pub library_median: Option<f64>,
}

impl Clustered {
    /// The same with some of its genes.
    ///
    /// * `genes`: places among those there are
    pub(crate) fn of_genes(self, genes: &[usize]) -> Self {
        if genes.len() == self.expression.plain.n_cols() {
            return self;
        }
        let ClusterExpression { trained, plain } = self.expression;
        Self {
            expression: ClusterExpression {
                trained: trained.select_columns(genes),
                plain: plain.select_columns(genes),
            },
            ..self
        }
    }

    /// The training genes in space, (voxels, genes): `Pᵀ (w ∘ S)` of all clusters, with S untransformed.
    pub(crate) fn in_space(&self, factors: &Factors) -> Array2<f32> {
        let mapping = factors.mapping(&self.expression.trained);
        let weights = self.of.weights();
        let rows = Filtered::new(&mapping, Some(&weights));
        transfer(&rows, &self.expression.plain).unwrap_or_else(|never| match never {})
    }
}

/// How the cells' values are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// All cells, normalised, not transformed.
    pub(crate) cells: &'a StreamedCells,
    /// Total of every cell in the file.
    pub(crate) totals: &'a [f64],
    /// What each cell is multiplied by, if they are normalised.
    pub(crate) factors: Option<&'a [f64]>,
    /// What is done to values for training.
    pub(crate) transform: Transform,
}

impl CellClusters {
    /// The clusters that the settings ask for; `None` in another mode.
    ///
    /// # Errors
    /// [`PipelineError::Clusters`] if the column tells none; if it cannot be read.
    pub fn read(settings: &MapSettings, cells: &Dataset) -> Result<Option<Self>> {
        let (Mode::Clusters, Some(ObsColumn(column))) = (settings.mode, &settings.cluster) else {
            return Ok(None);
        };
        let labels = cells.obs_column(column)?;
        let clusters = Clusters::of(&labels).map_err(|error| PipelineError::Clusters {
            path: cells.path().to_owned(),
            column: column.clone(),
            what: "clusters",
            reason: error.to_string(),
        })?;
        Ok(Some(Self {
            column: column.clone(),
            clusters,
            values: settings.cluster_values.unwrap_or(ClusterValues::DEFAULT),
        }))
    }

    /// The column of the cells' obs that tells them.
    #[must_use]
    pub fn column(&self) -> &str {
        &self.column
    }

    /// Which cell belongs to which.
    #[must_use]
    pub fn clusters(&self) -> &Clusters {
        &self.clusters
    }

    /// What every cluster counts: its cells.
    #[must_use]
    pub fn weights(&self) -> Vec<f64> {
        self.clusters.n_cells().iter().map(|&n| n as f64).collect()
    }

    /// What of its cells' values a cluster is, of sums over them: (clusters, values).
    #[must_use]
    pub fn of_sums(&self, sums: Array2<f64>) -> Array2<f64> {
        match self.values {
            ClusterValues::Sums => sums,
            ClusterValues::Means => self.clusters.per_cell(sums),
        }
    }

    /// Says which cells are in no cluster, and what may be a mistake.
    pub(crate) fn tell(&self, listener: &dyn Listener) -> Result<()> {
        let (all, column) = (self.clusters.of_cell().len(), &self.column);
        match self.clusters.n_unlabelled() {
            0 => {}
            n => listener.say(format_args!(
                "left out {} ({:.1} %) without a label in obs `{column}`: they are in no cluster",
                count(n, "cell"),
                100.0 * n as f64 / all as f64,
            ))?,
        }
        let n = self.clusters.len();
        if n == 1 {
            listener.warn(format_args!(
                "obs `{column}` has a single label: one cluster has nothing to tell voxels apart by"
            ));
        } else if n * CELLS_OF_CLUSTER > all {
            listener.warn(format_args!(
                "obs `{column}` has {n} labels for {}: is it the column of clusters?",
                count(all, "cell")
            ));
        }
        Ok(())
    }

    /// The table of the mapping's rows.
    pub(crate) fn table(&self) -> Table {
        let (names, n_cells) = (self.clusters.names(), self.clusters.n_cells());
        let mut table = Table::of_names(names.to_vec());
        let all: usize = n_cells.iter().sum();
        // In the order of the rows, which is that of the cells' categories.
        let labels = Column::Categorical {
            codes: (0..names.len()).map(|c| Some(c as u32)).collect(),
            categories: names.to_vec(),
            ordered: false,
        };
        table.set(&self.column, labels);
        table.set(
            N_CELLS,
            Column::Integer(n_cells.iter().map(|&n| Some(n as i64)).collect()),
        );
        table.set(
            SHARE,
            Column::numbers(n_cells.iter().map(|&n| n as f64 / all as f64)),
        );
        table
    }

    /// Adds up the cells of every cluster: every rank reads an equal share of them. Sums have the same bits for any number of ranks.
    ///
    /// # Errors
    /// If the cells cannot be read.
    pub(crate) fn expression(
        &self,
        reading: &Reading<'_>,
        ranks: &Ranks,
    ) -> Result<ClusterExpression> {
        let cells = reading.cells;
        let (all, n_genes) = (cells.n_cells(), cells.n_genes());
        let (rank, n_ranks) = (ranks.world().rank(), ranks.shape().n_ranks());
        let own = Cut::new(Axis::Cells, all, rank, n_ranks, Reduce::Fast).range();
        let largest = self.largest(reading);
        let transforms = reading.transform != Transform::None;
        let mut plain = ClusterSums::new(&self.clusters, n_genes, largest);
        let mut trained = transforms.then(|| {
            let largest = transformed(largest, reading.transform);
            ClusterSums::new(&self.clusters, n_genes, largest)
        });
        let read = cells.for_each_chunk(own, &mut |first, chunk| {
            plain.add(first, chunk);
            if let Some(trained) = &mut trained {
                let mut chunk = chunk.clone();
                transform(&mut chunk, reading.transform);
                trained.add(first, &chunk);
            }
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        });
        agreed(ranks, read.map_err(PipelineError::from))?;
        ranks.sum_of_all(plain.units_mut());
        if let Some(trained) = &mut trained {
            ranks.sum_of_all(trained.units_mut());
        }
        let plain = self.per_weight(plain.finish());
        Ok(ClusterExpression {
            trained: trained.map_or_else(|| plain.clone(), |sums| self.per_weight(sums.finish())),
            plain,
        })
    }

    /// What a cluster's values are for one unit of its weight, of sums over its cells.
    fn per_weight(&self, sums: Array2<f64>) -> SparseRows {
        let values = self.clusters.per_cell(self.of_sums(sums));
        SparseRows::from_dense(values.mapv(|v| v as f32).view())
    }

    /// No value of a cell is above this: it is part of the cell's total.
    fn largest(&self, reading: &Reading<'_>) -> f64 {
        let of_cell = |(i, total): (usize, &f64)| total * reading.factors.map_or(1.0, |f| f[i]);
        let labelled = |(i, _): &(usize, &f64)| self.clusters.of_cell()[*i].is_some();
        let cells = reading.totals.iter().enumerate().filter(labelled);
        cells.map(of_cell).fold(0.0, f64::max)
    }
}

fn transformed(value: f64, how: Transform) -> f64 {
    match how {
        Transform::None => value,
        Transform::Sqrt => value.sqrt(),
        Transform::Log1p => value.ln_1p(),
    }
}
