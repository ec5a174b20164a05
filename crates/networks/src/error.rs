//! What can be wrong with a network, its weights or its training.

use std::path::{Path, PathBuf};
use tangram_atlas::AtlasError;
use tangram_store::StoreError;

/// Why a network cannot be made, trained or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// An atlas or an image cannot be read.
    #[error(transparent)]
    Atlas(#[from] AtlasError),
    /// A file cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// This build has no libtorch, which networks are computed with.
    #[error(
        "this build of tangram has no libtorch, which networks need; install one that has it (the feature `torch`)"
    )]
    NoLibtorch,
    /// A file of weights that is damaged, or of another network.
    #[error("{path}: {reason}")]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A labelled image that does not fit its photograph.
    #[error("{path}: {reason}")]
    Labelled {
        /// The mask.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Settings that contradict each other.
    #[error("{0}")]
    Settings(String),
    /// Asked to stop; the state is kept.
    #[error(
        "stopped after step {step} as asked; the state is in {path}: the same command with --resume goes on"
    )]
    Stopped {
        /// The last step that was made, counted from 1.
        step: usize,
        /// The state.
        path: PathBuf,
    },
    /// Another rank has an error, which it tells.
    #[error("another rank stopped")]
    OtherRank,
    /// A training whose loss is no longer a number.
    #[error(
        "the loss of step {step} is not a number; a lower --learning-rate may help. Nothing was written for this step"
    )]
    Diverged {
        /// The step, counted from 1.
        step: usize,
    },
}

impl NetworkError {
    #[cfg_attr(not(feature = "torch"), allow(dead_code))]
    pub(crate) fn weights(path: &Path, reason: impl Into<String>) -> Self {
        Self::Weights {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}
