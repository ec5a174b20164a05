//! The history of a training: one line for every epoch, or pass.

use serde::{Deserialize, Serialize};
use tangram_core::Loss;

/// One line of the training history: the loss terms before the step of this epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// What is minimised.
    pub total: f64,
    /// Mean cosine similarity of the training genes over voxels.
    pub gene: f64,
    /// Mean cosine similarity of the voxels over genes, where λ_g2 is not 0.
    pub voxel: Option<f64>,
    /// Divergence from the density prior in nats, where λ_d is not 0.
    pub density: Option<f64>,
    /// Entropy of P summed over cells in nats, where λ_r is not 0.
    pub entropy: Option<f64>,
    /// Cells that took part: fewer than all in an early pass of the factored solver over a part of them.
    pub n_cells: usize,
    /// Step of the factored solver: how far the gradient by Z and b was followed.
    pub step: Option<f64>,
    /// Spread of the gradient over the voxels, mean over probe cells of its standard deviation (factored solver).
    pub spread: Option<f64>,
    /// Seconds since training began.
    pub elapsed_s: f64,
}

impl Epoch {
    pub(crate) fn new(epoch: usize, loss: &Loss, n_cells: usize, elapsed_s: f64) -> Self {
        let Loss {
            total,
            gene,
            voxel,
            density,
            entropy,
        } = *loss;
        Self {
            epoch,
            total,
            gene: gene.unwrap_or(0.0),
            voxel,
            density,
            entropy,
            n_cells,
            step: None,
            spread: None,
            elapsed_s,
        }
    }
}
