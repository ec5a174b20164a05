//! Why a mapping cannot be learned.

/// Why a mapping cannot be learned.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// Cells and voxels must have the same genes, at least one of each.
    #[error(
        "cells × genes is {n_cells} × {cell_genes} but voxels × genes is {n_voxels} × {voxel_genes}: \
         both need the same genes, and at least one cell, one voxel and one gene"
    )]
    Shapes {
        /// Number of cells.
        n_cells: usize,
        /// Number of genes of the cells.
        cell_genes: usize,
        /// Number of voxels.
        n_voxels: usize,
        /// Number of genes of the voxels.
        voxel_genes: usize,
    },
    /// The density prior has one weight per voxel.
    #[error("the density prior has {found} weights for {n_voxels} voxels")]
    Prior {
        /// Number of weights.
        found: usize,
        /// Number of voxels.
        n_voxels: usize,
    },
    /// A graph of voxels has one row per voxel.
    #[error("the graph of neighbours is of {found} voxels, the mapping of {n_voxels}")]
    Neighbours {
        /// Voxels of the graph.
        found: usize,
        /// Number of voxels.
        n_voxels: usize,
    },
    /// Types are one row of shares per row of the cells.
    #[error(
        "there are types of {found} rows for {n_cells} cells or clusters: each row needs shares of types that sum to at most 1, and there \
         must be a type"
    )]
    Types {
        /// Rows found.
        found: usize,
        /// Number of cells or clusters of this rank.
        n_cells: usize,
    },
    /// Initial logits are cells × voxels.
    #[error(
        "the initial logits are {rows} × {columns}; this mapping needs {n_cells} cells × {n_voxels} voxels"
    )]
    Logits {
        /// Rows found.
        rows: usize,
        /// Columns found.
        columns: usize,
        /// Number of cells.
        n_cells: usize,
        /// Number of voxels.
        n_voxels: usize,
    },
    /// Initial logits must be finite.
    #[error(
        "the initial logits hold a value that is not finite, for cell {cell} and voxel {voxel} (from 0)"
    )]
    LogitNotFinite {
        /// Index of the cell.
        cell: usize,
        /// Index of the voxel.
        voxel: usize,
    },
    /// A filter keeps some of the cells, at most all.
    #[error(
        "a filter cannot keep {target} of {n_cells} cells: the number must be above 0 and at most that of the cells"
    )]
    Target {
        /// T.
        target: f64,
        /// Number of cells.
        n_cells: usize,
    },
    /// Initial logits of a filter are one for every cell.
    #[error("the filter begins from {found} logits; this mapping has {n_cells} cells")]
    FilterLogits {
        /// Number found.
        found: usize,
        /// Number of cells.
        n_cells: usize,
    },
    /// Initial logits of a filter must be finite.
    #[error("the filter's initial logit of cell {cell} (from 0) is not finite")]
    FilterLogitNotFinite {
        /// Index of the cell.
        cell: usize,
    },
    /// Weights of clusters are one for every cluster.
    #[error("there are {found} weights for {n_cells} clusters")]
    ClusterWeights {
        /// Number found.
        found: usize,
        /// Number of clusters.
        n_cells: usize,
    },
    /// Weights of clusters must be positive.
    #[error("the weight of cluster {cluster} (from 0) is {weight}; it must be a positive number")]
    ClusterWeight {
        /// Index of the cluster.
        cluster: usize,
        /// Its weight.
        weight: f64,
    },
    /// A snapshot that does not fit.
    #[error("the state to go on from does not fit: {reason}")]
    Snapshot {
        /// Why.
        reason: String,
    },
    /// A snapshot that cannot be kept.
    #[error("the state of the training cannot be kept")]
    Keep(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Stopped as asked; the state was kept.
    #[error("stopped as asked after {passes} passes; the state was kept")]
    Stopped {
        /// Passes done.
        passes: usize,
    },
    /// Factors to begin from are voxels × genes.
    #[error(
        "the factors to begin from are of {factor_voxels} voxels × {factor_genes} genes; this mapping has {n_voxels} × {n_genes}"
    )]
    Start {
        /// Voxels of the factors.
        factor_voxels: usize,
        /// Genes of the factors.
        factor_genes: usize,
        /// Number of voxels.
        n_voxels: usize,
        /// Number of genes.
        n_genes: usize,
    },
    /// A setting outside its range.
    #[error("{setting} = {value}: {needs}")]
    Setting {
        /// The setting.
        setting: &'static str,
        /// What it was.
        value: String,
        /// What it must be.
        needs: &'static str,
    },
    /// The loss became infinite or NaN.
    #[error(
        "the loss became {loss} at epoch {epoch}: check the expression for extreme values, or lower adam's learning rate"
    )]
    Diverged {
        /// The epoch.
        epoch: usize,
        /// The loss.
        loss: f64,
    },
    /// The cells' expression cannot be read.
    #[error("the expression of the cells cannot be read")]
    Cells(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Adam needs the cells' expression in memory.
    #[error(
        "adam needs the expression of the cells in memory; take the mirror solver for cells that are read in chunks"
    )]
    NotInMemory,
    /// A device that cannot hold the mapping.
    #[error(
        "the device needs at least {:.1} GB of memory for this rank's part of the mapping, and {:.1} GB may be used; share it by \
         more ranks, or take the factored solver, which has no state for every cell and voxel",
        *needed as f64 / 1e9,
        *available as f64 / 1e9
    )]
    DeviceMemory {
        /// Bytes needed.
        needed: u64,
        /// Bytes that may be used.
        available: u64,
    },
    /// The device ran out of memory while training.
    #[error(
        "the device's memory ran out, which other processes may use as well; allow this one less of it"
    )]
    DeviceFull,
    /// A device is asked of a build that has none.
    #[error(
        "this build of tangram has no libtorch, which works on devices; take the cores (--device cpu), or a build with it"
    )]
    NoLibtorch,
    /// libtorch failed.
    #[error("libtorch failed on the device: {}", .0.lines().next().unwrap_or("no reason given"))]
    Torch(String),
    /// No worker threads.
    #[error("cannot start {threads} worker threads: {cause}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        cause: String,
    },
}

#[cfg(feature = "torch")]
impl From<tch::TchError> for MapError {
    fn from(error: tch::TchError) -> Self {
        let text = error.to_string();
        match text.contains("out of memory") {
            true => Self::DeviceFull,
            false => Self::Torch(text),
        }
    }
}
