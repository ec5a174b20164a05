//! A network's call of the plane of a mask, as one more start of a registration.

use crate::atlas_train::{NetworkDevice, compute_device};
use crate::error::Result;
use crate::trained_network::{check_classes, network_file};
use serde::Serialize;
use std::path::Path;
use tangram_atlas::{Atlas, CalledPlane, Plane};
use tangram_comm::World;
use tangram_networks::PlaneFinder;
use tangram_store::fingerprint;

/// A network of planes, read for an atlas.
#[derive(Debug)]
pub struct PlaneNetwork {
    finder: PlaneFinder,
    sha256: String,
    learned_from_this_atlas: bool,
}

/// What `registration.toml` holds about it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlaneNetworkRecord {
    /// How the network's weights began, in words.
    pub weights: String,
    /// SHA-256 of the network's file.
    pub network_sha256: String,
    /// Whether the network learned from this atlas.
    pub learned_from_this_atlas: bool,
    /// Depth that it called, micrometres.
    pub depth_um: f64,
    /// Pitch that it called, degrees.
    pub pitch_deg: f64,
    /// Yaw that it called, degrees.
    pub yaw_deg: f64,
    /// Whether the result was fitted from its call; otherwise from the comparison with all coronal planes.
    pub won: bool,
}

impl PlaneNetwork {
    /// Reads a network that calls planes of this atlas.
    ///
    /// * `path`: the folder that a training wrote, or the network's file
    ///
    /// # Errors
    /// If it cannot be read, is of another kind or for other classes, or this build has no libtorch.
    pub fn read(path: &Path, atlas: &Atlas, threads: usize) -> Result<Self> {
        let path = network_file(path);
        let device = compute_device(NetworkDevice::Cpu, threads, &World::alone())?;
        let finder = PlaneFinder::read(&path, device)?;
        check_classes(finder.about(), &path, atlas)?;
        Ok(Self {
            sha256: fingerprint(&path)?,
            learned_from_this_atlas: finder.about().atlas_sha256 == fingerprint(atlas.path())?,
            finder,
        })
    }

    /// Edge of the square masks that it looks at, pixels.
    #[must_use]
    pub fn edge(&self) -> usize {
        self.finder.about().settings.edge
    }

    /// The plane of an upright mask; see [`PlaneCaller`](tangram_atlas::PlaneCaller).
    #[must_use]
    pub fn plane(&self, classes: &[u8]) -> Plane {
        self.finder.plane(classes)
    }

    /// For the registration's record.
    #[must_use]
    pub fn record(&self, called: &CalledPlane) -> PlaneNetworkRecord {
        PlaneNetworkRecord {
            weights: self.finder.about().beginning.to_string(),
            network_sha256: self.sha256.clone(),
            learned_from_this_atlas: self.learned_from_this_atlas,
            depth_um: called.plane.depth_um,
            pitch_deg: called.plane.pitch_deg,
            yaw_deg: called.plane.yaw_deg,
            won: called.won,
        }
    }
}
