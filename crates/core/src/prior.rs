//! The density prior: the expected share of the cells in each voxel.
//!
//! The density term of [`objective`](crate::objective) compares the predicted density with it.

/// The expected share of the cells in each voxel, `d_j ≥ 0` with `Σ_j d_j = 1`.
///
/// It is d in the density term `Σ_j d_j (log d_j − log q_j)`; Biancalani 2021, Methods. A voxel with `d_j = 0` adds
/// nothing to this term.
#[derive(Debug, Clone, PartialEq)]
pub struct DensityPrior {
    weights: Vec<f64>,
}

/// Why weights cannot be used as a density prior.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum PriorError {
    /// The number of weights is not the number of voxels.
    #[error("the density prior has {found} weights for {expected} voxels; give one per voxel")]
    Length {
        /// Number of voxels.
        expected: usize,
        /// Number of weights.
        found: usize,
    },
    /// A weight is below 0.
    #[error("the density prior of voxel {voxel} is negative ({value}); weights must be 0 or more")]
    Negative {
        /// Index of the voxel.
        voxel: usize,
        /// Its weight.
        value: f64,
    },
    /// A weight is infinite or NaN.
    #[error("the density prior of voxel {voxel} is {value}; weights must be finite numbers")]
    NotFinite {
        /// Index of the voxel.
        voxel: usize,
        /// Its weight.
        value: f64,
    },
    /// All weights are 0, or there are none.
    #[error(
        "the density prior sums to zero over {n_voxels} voxels; at least one weight must be above 0"
    )]
    ZeroSum {
        /// Number of voxels.
        n_voxels: usize,
    },
    /// The sum of the weights exceeds the range of `f64`.
    #[error("the weights of the density prior are too large to be added up; scale them down")]
    Overflow,
}

/// Weights whose sum differs from 1 by at most this are taken as shares: they were stored in single precision.
const SUM_OF_SHARES: f64 = 1e-6;

impl DensityPrior {
    /// Divides the weights by their sum. Weights that already sum to 1, within single precision, are not changed.
    ///
    /// * `weights`: one per voxel, at least 0
    ///
    /// # Errors
    /// [`PriorError`] if a weight is negative or not finite, or if the sum is 0 or exceeds the range of `f64`.
    pub fn new(mut weights: Vec<f64>) -> Result<Self, PriorError> {
        for (voxel, &value) in weights.iter().enumerate() {
            if !value.is_finite() {
                return Err(PriorError::NotFinite { voxel, value });
            }
            if value < 0.0 {
                return Err(PriorError::Negative { voxel, value });
            }
        }
        let sum: f64 = weights.iter().sum();
        if sum == 0.0 {
            return Err(PriorError::ZeroSum {
                n_voxels: weights.len(),
            });
        }
        if !sum.is_finite() {
            return Err(PriorError::Overflow);
        }
        if (sum - 1.0).abs() > SUM_OF_SHARES {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        Ok(Self { weights })
    }

    /// The same share in every voxel.
    ///
    /// # Errors
    /// [`PriorError::ZeroSum`] if there are no voxels.
    pub fn uniform(n_voxels: usize) -> Result<Self, PriorError> {
        Self::new(vec![1.0; n_voxels])
    }

    /// Shares proportional to the total count of each voxel.
    ///
    /// * `row_totals`: total of each voxel over all genes of the file, not only the training genes, before
    ///   normalisation, as in the package
    ///
    /// # Errors
    /// The errors of [`new`](Self::new).
    pub fn rna_counts(row_totals: &[f64]) -> Result<Self, PriorError> {
        Self::new(row_totals.to_vec())
    }

    /// Checks that the prior has `n_voxels` weights, and returns it.
    ///
    /// # Errors
    /// [`PriorError::Length`] if it has another number.
    pub fn of_voxels(self, n_voxels: usize) -> Result<Self, PriorError> {
        if self.weights.len() == n_voxels {
            Ok(self)
        } else {
            Err(PriorError::Length {
                expected: n_voxels,
                found: self.weights.len(),
            })
        }
    }

    /// The share of each voxel.
    #[must_use]
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_accepted_prior_sums_to_one_and_keeps_proportions() {
        let prior = DensityPrior::new(vec![0.0, 1.0, 3.0]).unwrap();
        assert_eq!(prior.weights(), [0.0, 0.25, 0.75]);
        let prior = DensityPrior::rna_counts(&[1e-300, 2e-300, 0.0]).unwrap();
        assert!((prior.weights().iter().sum::<f64>() - 1.0).abs() < 1e-15);
        assert_eq!(DensityPrior::uniform(4).unwrap().weights(), [0.25; 4]);
    }

    #[test]
    fn bad_weights_are_refused_with_their_voxel() {
        let refused = |weights: &[f64]| DensityPrior::new(weights.to_vec()).unwrap_err();
        assert_eq!(
            refused(&[1.0, -2.0]),
            PriorError::Negative {
                voxel: 1,
                value: -2.0
            }
        );
        assert!(matches!(
            refused(&[f64::NAN]),
            PriorError::NotFinite { voxel: 0, .. }
        ));
        assert!(matches!(
            refused(&[1.0, f64::INFINITY]),
            PriorError::NotFinite { voxel: 1, .. }
        ));
        assert_eq!(refused(&[0.0, 0.0]), PriorError::ZeroSum { n_voxels: 2 });
        assert_eq!(refused(&[f64::MAX, f64::MAX]), PriorError::Overflow);
        assert_eq!(
            DensityPrior::uniform(0),
            Err(PriorError::ZeroSum { n_voxels: 0 })
        );
        let short = DensityPrior::uniform(3).unwrap().of_voxels(4);
        assert_eq!(
            short,
            Err(PriorError::Length {
                expected: 4,
                found: 3
            })
        );
    }
}
