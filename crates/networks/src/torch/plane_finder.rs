//! The plane of a mask, by a network.

use crate::torch::layers::Mode;
use crate::torch::network::{Network, numbers, one_hot, unscaled};
use crate::torch::training::Loaded;
use crate::train::ComputeDevice;
use crate::{About, NetworkError};
use std::path::Path;
use tangram_atlas::Plane;

/// A network that finds planes.
#[derive(Debug)]
pub struct PlaneFinder {
    loaded: Loaded,
}

impl PlaneFinder {
    /// Reads a network of planes.
    ///
    /// # Errors
    /// [`NetworkError::Weights`] if the file is no such network.
    pub fn read(path: &Path, device: ComputeDevice) -> Result<Self, NetworkError> {
        let loaded = Loaded::read(path, device)?;
        match loaded.network {
            Network::Plane(_) => Ok(Self { loaded }),
            _ => {
                let reason = "a network of another kind; give one of `tangram atlas train plane`";
                Err(NetworkError::weights(path, reason))
            }
        }
    }

    /// What its file says.
    #[must_use]
    pub fn about(&self) -> &About {
        &self.loaded.about
    }

    /// The plane of an upright mask.
    ///
    /// * `classes`: of a square of the edge that [`about`](Self::about) tells, row after row
    ///
    /// # Panics
    /// If there is not one class per pixel.
    #[must_use]
    pub fn plane(&self, classes: &[u8]) -> Plane {
        let Network::Plane(network) = &self.loaded.network else {
            unreachable!("only networks of planes are read")
        };
        let about = &self.loaded.about;
        let edge = about.settings.edge;
        assert_eq!(classes.len(), edge * edge, "one class per pixel");
        let mask = one_hot([classes].into_iter(), edge, about.classes.len());
        let mask = mask.to(self.loaded.device);
        let found = tch::no_grad(|| network.planes(&mask, Mode::Evaluation));
        let found = numbers(&found);
        unscaled([found[0], found[1], found[2]], about.extent_um)
    }
}
