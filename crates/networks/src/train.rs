//! Training, in builds with and without libtorch.

use crate::settings::TrainSettings;
use crate::{AtlasPlanes, NetworkError};
use std::path::Path;
use tangram_comm::{Communicator, Grid};

/// Where networks are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ComputeDevice {
    /// On cores.
    Cores {
        /// Threads of libtorch; another number may change the rounding.
        threads: usize,
    },
    /// On the GPU of this number.
    Cuda(usize),
}

/// Whether a training begins, or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// At its first step.
    New,
    /// Where its saved state stands.
    Resume,
}

/// What to train.
#[derive(Debug, Clone, Copy)]
pub struct TrainOrder<'a> {
    /// What images are made of.
    pub planes: &'a AtlasPlanes,
    /// How.
    pub settings: &'a TrainSettings,
    /// The encoder's weights, with torchvision's names.
    pub weights: Option<&'a Path>,
    /// SHA-256 of the atlas.
    pub atlas_sha256: &'a str,
    /// Where to compute.
    pub device: ComputeDevice,
    /// Whether to take up the state.
    pub begin: Begin,
    /// The file of the state while the training goes on; always whole.
    pub state: &'a Path,
    /// Steps after which the state is saved.
    pub checkpoint_every: usize,
}

/// A step that was made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepDone {
    /// Its number, counted from 1.
    pub step: usize,
    /// The loss before it.
    pub loss: f64,
    /// How long it took, with the making of its images.
    pub seconds: f64,
}

/// What follows a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// The next step.
    GoOn,
    /// The state is saved, and the training ends with [`NetworkError::Stopped`].
    Stop,
}

/// Is told every step; an error ends the training as it is.
pub type Watch<'a> = &'a mut dyn FnMut(StepDone) -> Result<Next, NetworkError>;

/// Trains a network on images made from an atlas, and measures it on held-out planes.
///
/// All ranks make all steps and hold the same weights; the first writes the state. On cores a training that was interrupted and resumed ends
/// with the bits of an uninterrupted one, and any number of ranks gives the same bits for the same number of shards.
///
/// # Errors
/// [`NetworkError`]: settings that cannot be, weights of another network, a state of another training, a loss that is not a number; in a
/// build without libtorch always [`NetworkError::NoLibtorch`].
#[cfg(feature = "torch")]
pub fn train<C: Communicator>(
    order: &TrainOrder<'_>,
    ranks: &Grid<C>,
    watch: Watch<'_>,
) -> Result<Trained, NetworkError> {
    crate::torch::training::train(order, ranks, watch)
}

#[cfg(feature = "torch")]
pub use crate::torch::training::Trained;

/// A network whose training has ended; a build without libtorch never has one.
#[cfg(not(feature = "torch"))]
#[derive(Debug)]
pub struct Trained {
    /// What its file would say.
    pub about: crate::About,
}

#[cfg(not(feature = "torch"))]
impl Trained {
    /// Never called.
    ///
    /// # Errors
    /// [`NetworkError::NoLibtorch`].
    pub fn write(&self, _: &Path) -> Result<(), NetworkError> {
        Err(NetworkError::NoLibtorch)
    }
}

/// This build cannot train.
///
/// # Errors
/// [`NetworkError::NoLibtorch`], after settings that cannot be.
#[cfg(not(feature = "torch"))]
pub fn train<C: Communicator>(
    order: &TrainOrder<'_>,
    _: &Grid<C>,
    _: Watch<'_>,
) -> Result<Trained, NetworkError> {
    order.settings.check(order.weights.is_some())?;
    Err(NetworkError::NoLibtorch)
}
