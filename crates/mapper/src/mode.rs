//! What a row of a problem counts: a cell, a cluster of cells, or a cell that a filter keeps or leaves out.

use crate::MapError;
use std::ops::Range;

/// What a row of S is, and how much of it takes part.
///
/// A weight `r_i` of a row multiplies P between the softmax and the sums: `A = Pᵀ (r ∘ S)`, `q_j = Σ_i r_i P_ij / Σ_i r_i`.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Mode {
    /// Cells that all count alike: `r = 1`.
    #[default]
    Cells,
    /// Clusters of cells by their weights, such as the numbers of their cells: `r = w`.
    ///
    /// S is then expression for one unit of weight: the mean of the cluster where A is to be predicted from sums over cells, the mean
    /// divided by the weight where A is to be predicted from means.
    Clusters(Vec<f64>),
    /// Cells of which some are left out: `r = f`, learned.
    Constrained(Filter),
}

/// What decides which cells a filter keeps.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    /// T: how many cells are to be kept, above 0 and at most all.
    pub target: f64,
    /// Logits of f to begin from, one for every cell of all ranks.
    pub initial: Option<Vec<f64>>,
}

impl Filter {
    /// A filter that keeps a given number of cells.
    #[must_use]
    pub fn new(target: f64) -> Self {
        Self {
            target,
            initial: None,
        }
    }

    fn check(&self, n_cells: usize) -> Result<(), MapError> {
        if !(self.target > 0.0 && self.target <= n_cells as f64) {
            let target = self.target;
            return Err(MapError::Target { target, n_cells });
        }
        let Some(initial) = &self.initial else {
            return Ok(());
        };
        if initial.len() != n_cells {
            let found = initial.len();
            return Err(MapError::FilterLogits { found, n_cells });
        }
        match initial.iter().position(|x| !x.is_finite()) {
            Some(cell) => Err(MapError::FilterLogitNotFinite { cell }),
            None => Ok(()),
        }
    }
}

impl Mode {
    /// Refuses a mode that does not fit the number of rows.
    pub(crate) fn check(&self, n_cells: usize) -> Result<(), MapError> {
        match self {
            Self::Cells => Ok(()),
            Self::Constrained(filter) => filter.check(n_cells),
            Self::Clusters(weights) if weights.len() != n_cells => {
                let found = weights.len();
                Err(MapError::ClusterWeights { found, n_cells })
            }
            Self::Clusters(weights) => {
                match weights.iter().position(|w| !(w.is_finite() && *w > 0.0)) {
                    Some(cluster) => Err(MapError::ClusterWeight {
                        cluster,
                        weight: weights[cluster],
                    }),
                    None => Ok(()),
                }
            }
        }
    }

    /// The filter to be learned.
    #[must_use]
    pub fn filter(&self) -> Option<&Filter> {
        match self {
            Self::Constrained(filter) => Some(filter),
            _ => None,
        }
    }

    /// Weights of clusters, of all ranks.
    #[must_use]
    pub fn weights(&self) -> Option<&[f64]> {
        match self {
            Self::Clusters(weights) => Some(weights),
            _ => None,
        }
    }

    /// The same of some rows, where no filter is to be learned.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub(crate) fn of_rows(&self, rows: &[usize]) -> Self {
        match self {
            Self::Clusters(weights) => Self::Clusters(rows.iter().map(|&i| weights[i]).collect()),
            Self::Cells | Self::Constrained(_) => Self::Cells,
        }
    }

    /// Weights of some rows, where they are known and not 1.
    pub(crate) fn own_weights(&self, rows: Range<usize>) -> Option<&[f64]> {
        self.weights().map(|weights| &weights[rows])
    }

    /// The most that all rows together can count.
    pub(crate) fn largest_mass(&self, n_cells: usize) -> f64 {
        match self {
            Self::Clusters(weights) => weights.iter().sum(),
            _ => n_cells as f64,
        }
    }
}

/// `1 / (1 + exp(−x))`.
pub(crate) fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
