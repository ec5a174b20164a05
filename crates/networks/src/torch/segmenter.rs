//! A trained network of regions.

use crate::segmentation::Segmentation;
use crate::torch::network::Network;
use crate::torch::training::Loaded;
use crate::torch::views::segment;
use crate::train::ComputeDevice;
use crate::{About, NetworkError};
use std::path::Path;
use tangram_atlas::Photograph;

/// A network that segments.
#[derive(Debug)]
pub struct Segmenter {
    loaded: Loaded,
}

impl Segmenter {
    /// Reads a network of regions.
    ///
    /// # Errors
    /// [`NetworkError::Weights`] if the file is no such network.
    pub fn read(path: &Path, device: ComputeDevice) -> Result<Self, NetworkError> {
        let loaded = Loaded::read(path, device)?;
        match loaded.network {
            Network::Regions(_) => Ok(Self { loaded }),
            _ => {
                let reason = "a network of another kind; give one of `tangram atlas train regions`";
                Err(NetworkError::weights(path, reason))
            }
        }
    }

    /// What its file says.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.loaded.about
    }

    /// The classes of a photograph's pixels.
    #[must_use]
    pub fn segment(&self, photograph: &Photograph) -> Segmentation {
        let Network::Regions(unet) = &self.loaded.network else {
            unreachable!("only networks of regions are read")
        };
        let edge = self.loaded.about.settings.edge;
        segment(unet, photograph, edge, self.loaded.device)
    }
}
