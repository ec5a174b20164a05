//! The cells, voxels and prior to map.

use crate::{Filter, MapError, Mode};
use tangram_comm::Shares;
use tangram_core::{CellChunks, DensityPrior, Neighbours, SparseRows};

/// By how much a row's shares may sum to more than 1.
const LARGEST_ROUNDING: f64 = 1e-5;

/// Cells, voxels and prior over the same training genes, checked.
///
/// Cells are a matrix in memory, or streamed: read at every pass.
#[derive(Debug, Clone)]
pub struct Problem<C = SparseRows> {
    cells: C,
    voxels: SparseRows,
    prior: Option<DensityPrior>,
    neighbours: Option<Neighbours>,
    types: Option<SparseRows>,
    mode: Mode,
    shares: Shares,
}

impl<C: CellChunks> Problem<C> {
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
        let shares = Shares::whole(cells.n_cells(), voxels.n_rows(), cells.n_genes());
        Self::of_shard(cells, voxels, prior, shares)
    }

    /// Takes one rank's shard of a problem.
    ///
    /// * `cells`: S, (cells of this rank, genes of this rank), normalised and transformed
    /// * `voxels`: G, (voxels of this rank, genes of this rank)
    /// * `prior`: d, (all voxels)
    ///
    /// # Errors
    /// [`MapError::Shapes`] or [`MapError::Prior`] where they do not fit each other or the rank's share.
    pub fn of_shard(
        cells: C,
        voxels: SparseRows,
        prior: Option<DensityPrior>,
        shares: Shares,
    ) -> Result<Self, MapError> {
        let (n_cells, n_voxels) = (cells.n_cells(), voxels.n_rows());
        let expected = (shares.cells.len(), shares.voxels.len(), shares.genes.len());
        if cells.n_genes() != voxels.n_cols()
            || (n_cells, n_voxels, cells.n_genes()) != expected
            || n_cells * n_voxels * cells.n_genes() == 0
        {
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
            .filter(|&n| n != shares.voxels.whole_len())
        {
            let n_voxels = shares.voxels.whole_len();
            return Err(MapError::Prior { found, n_voxels });
        }
        Ok(Self {
            cells,
            voxels,
            prior,
            neighbours: None,
            types: None,
            mode: Mode::Cells,
            shares,
        })
    }

    /// The same with a graph of all voxels, for terms of the loss that compare a voxel's surroundings.
    ///
    /// # Errors
    /// [`MapError::Neighbours`] if the graph has another number of voxels.
    pub fn with_neighbours(mut self, neighbours: Neighbours) -> Result<Self, MapError> {
        let (found, n_voxels) = (neighbours.n_voxels(), self.n_voxels());
        if found != n_voxels {
            return Err(MapError::Neighbours { found, n_voxels });
        }
        self.neighbours = Some(neighbours);
        Ok(self)
    }

    /// The same with the types of this rank's rows, for the term of the loss that compares how many cells of a type neighbouring voxels have.
    ///
    /// * `types`: (rows, types): 1 at the type of a cell, nothing where it is not known; of a cluster the share of its cells
    ///
    /// # Errors
    /// [`MapError::Types`] if there are none, there are types of another number of rows, or shares above 1.
    pub fn with_types(mut self, types: SparseRows) -> Result<Self, MapError> {
        let (found, n_cells) = (types.n_rows(), self.cells.n_cells());
        let shares = |shares: f64| (0.0..=1.0 + LARGEST_ROUNDING).contains(&shares);
        let are_shares = types.parts().2.iter().all(|share| *share >= 0.0)
            && types.row_sums().into_iter().all(shares);
        if found != n_cells || types.n_cols() == 0 || !are_shares {
            return Err(MapError::Types { found, n_cells });
        }
        self.types = Some(types);
        Ok(self)
    }

    /// A whole problem of the same voxels, with their prior and graph: other cells or genes.
    ///
    /// * `cells`: S, (cells, genes), normalised and transformed
    /// * `voxels`: G, (all voxels, genes), the same genes in the same order
    ///
    /// # Errors
    /// [`MapError::Shapes`], [`MapError::Prior`] or [`MapError::Neighbours`] where they do not fit each other.
    pub fn of_same_voxels<D: CellChunks>(
        &self,
        cells: D,
        voxels: SparseRows,
    ) -> Result<Problem<D>, MapError> {
        let problem = Problem::new(cells, voxels, self.prior.clone())?;
        match self.neighbours.clone() {
            Some(neighbours) => problem.with_neighbours(neighbours),
            None => Ok(problem),
        }
    }

    /// The same with rows that do not all count 1.
    ///
    /// # Errors
    /// [`MapError`] if the mode is of another number of rows, or its numbers are out of range.
    pub fn with_mode(mut self, mode: Mode) -> Result<Self, MapError> {
        mode.check(self.n_cells())?;
        self.mode = mode;
        Ok(self)
    }

    /// What a row of the cells counts.
    #[must_use]
    pub fn mode(&self) -> &Mode {
        &self.mode
    }

    /// The filter to be learned.
    #[must_use]
    pub fn filter(&self) -> Option<&Filter> {
        self.mode.filter()
    }

    /// The graph of all voxels.
    #[must_use]
    pub fn neighbours(&self) -> Option<&Neighbours> {
        self.neighbours.as_ref()
    }

    /// Types of this rank's rows, (rows, types), where they are known.
    #[must_use]
    pub fn types(&self) -> Option<&SparseRows> {
        self.types.as_ref()
    }

    /// The shards of cells, voxels and genes that this rank holds.
    #[must_use]
    pub fn shares(&self) -> &Shares {
        &self.shares
    }

    /// d of this rank's voxels.
    #[must_use]
    pub fn own_prior(&self) -> Option<&[f64]> {
        self.prior
            .as_ref()
            .map(|d| &d.weights()[self.shares.voxels.range()])
    }

    /// S, (cells, genes), of this rank.
    #[must_use]
    pub fn cells(&self) -> &C {
        &self.cells
    }

    /// G, (voxels, genes), of this rank.
    #[must_use]
    pub fn voxels(&self) -> &SparseRows {
        &self.voxels
    }

    /// d, (all voxels).
    #[must_use]
    pub fn prior(&self) -> Option<&DensityPrior> {
        self.prior.as_ref()
    }

    /// Number of all cells C.
    #[must_use]
    pub fn n_cells(&self) -> usize {
        self.shares.cells.whole_len()
    }

    /// Number of all voxels V.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.shares.voxels.whole_len()
    }

    /// Number of all training genes K.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.shares.genes.whole_len()
    }
}

impl Problem<SparseRows> {
    /// One rank's shard of a whole problem.
    ///
    /// # Errors
    /// [`MapError::Shapes`] if the share is of another problem.
    pub fn share(&self, shares: Shares) -> Result<Self, MapError> {
        let genes: Vec<usize> = shares.genes.range().collect();
        let types = self.types.as_ref().map(|t| t.rows(shares.cells.range()));
        let share = Self::of_shard(
            self.cells.rows(shares.cells.range()).select_columns(&genes),
            self.voxels
                .rows(shares.voxels.range())
                .select_columns(&genes),
            self.prior.clone(),
            shares,
        )?;
        let share = share.with_mode(self.mode.clone())?;
        let share = match types {
            Some(types) => share.with_types(types)?,
            None => share,
        };
        match self.neighbours.clone() {
            Some(neighbours) => share.with_neighbours(neighbours),
            None => Ok(share),
        }
    }
}
