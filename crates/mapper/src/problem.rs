//! What is to be mapped.

use crate::MapError;
use tangram_core::{CellParts, DensityPrior, SparseRows};

/// Cells, voxels and prior over the same training genes, checked.
///
/// Cells are a matrix in memory, or parts that are read at every pass.
#[derive(Debug, Clone)]
pub struct Problem<C = SparseRows> {
    cells: C,
    voxels: SparseRows,
    prior: Option<DensityPrior>,
}

impl<C: CellParts> Problem<C> {
    /// Takes what is to be mapped.
    ///
    /// * `cells`: S, (cells, genes), normalised and transformed
    /// * `voxels`: G, (voxels, genes), the same genes in the same order
    /// * `prior`: d, (voxels)
    ///
    /// # Errors
    /// [`MapError::Shapes`] or [`MapError::Prior`] where they do not fit each other.
    pub fn new(
        cells: C,
        voxels: SparseRows,
        prior: Option<DensityPrior>,
    ) -> Result<Self, MapError> {
        let (n_cells, n_voxels) = (cells.n_cells(), voxels.n_rows());
        if cells.n_genes() != voxels.n_cols() || n_cells * n_voxels * cells.n_genes() == 0 {
            return Err(MapError::Shapes {
                n_cells,
                cell_genes: cells.n_genes(),
                n_voxels,
                voxel_genes: voxels.n_cols(),
            });
        }
        if let Some(found) = prior
            .as_ref()
            .map(|d| d.weights().len())
            .filter(|&n| n != n_voxels)
        {
            return Err(MapError::Prior { found, n_voxels });
        }
        Ok(Self {
            cells,
            voxels,
            prior,
        })
    }

    /// S, (cells, genes).
    #[must_use]
    pub fn cells(&self) -> &C {
        &self.cells
    }

    /// G, (voxels, genes).
    #[must_use]
    pub fn voxels(&self) -> &SparseRows {
        &self.voxels
    }

    /// d, (voxels).
    #[must_use]
    pub fn prior(&self) -> Option<&DensityPrior> {
        self.prior.as_ref()
    }

    /// Number of cells C.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.cells.n_cells()
    }

    /// Number of voxels V.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.voxels.n_rows()
    }

    /// Number of training genes K.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.cells.n_genes()
    }
}
