//! How well predicted genes agree with measured ones.

use serde::Serialize;

/// Norms are clamped from below here, each on its own, as in the loss.
const SMALLEST_NORM: f64 = 1e-8;

/// A gene whose cosine is above this counts as well predicted (the paper's figure).
pub const WELL_PREDICTED: f64 = 0.4;

/// The quantiles of a [`Summary`].
pub const QUANTILES: [f64; 5] = [0.05, 0.25, 0.5, 0.75, 0.95];

/// Agreement of one gene, predicted against measured, over voxels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GeneScore {
    /// Cosine similarity: the package's `score`.
    pub cosine: f64,
    /// Pearson correlation; `None` if either side is the same in all voxels.
    pub pearson: Option<f64>,
    /// Share of voxels where the measured gene is 0.
    pub sparsity_measured: f64,
    /// Share of voxels where the predicted gene is 0.
    pub sparsity_predicted: f64,
}

/// The scores of many genes in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Number of genes.
    pub n_genes: usize,
    /// Mean cosine.
    pub mean_cosine: f64,
    /// Mean Pearson correlation of the genes that have one.
    pub mean_pearson: Option<f64>,
    /// Cosine at each of [`QUANTILES`], linear between genes.
    pub quantiles: [f64; 5],
    /// Share of genes with a cosine above [`WELL_PREDICTED`].
    pub share_above: f64,
}

/// Scores one gene from its values over all voxels.
///
/// # Panics
/// If the two differ in length.
#[must_use]
pub fn score_gene(predicted: &[f32], measured: &[f32]) -> GeneScore {
    let _ = (predicted, measured, SMALLEST_NORM);
    unimplemented!("follows")
}

impl Summary {
    /// The summary of `scores`; `None` if there are none.
    #[must_use]
    pub fn of(scores: &[GeneScore]) -> Option<Self> {
        let _ = scores;
        unimplemented!("follows")
    }
}

/// Area under the package's sparsity-against-score curve of (test) genes.
///
/// `None` if fewer than three distinct scores define no curve, or fewer than two points of it lie in the unit square.
#[must_use]
pub fn auc(scores: &[GeneScore]) -> Option<f64> {
    let _ = scores;
    unimplemented!("follows")
}
