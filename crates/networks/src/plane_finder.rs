//! The plane of a mask by a network, in builds with and without libtorch.

#[cfg(feature = "torch")]
pub use crate::torch::plane_finder::PlaneFinder;

/// A network that finds planes; a build without libtorch never has one.
#[cfg(not(feature = "torch"))]
#[derive(Debug)]
pub struct PlaneFinder {
    about: crate::About,
}

#[cfg(not(feature = "torch"))]
impl PlaneFinder {
    /// This build cannot.
    ///
    /// # Errors
    /// [`NetworkError::NoLibtorch`](crate::NetworkError::NoLibtorch).
    pub fn read(_: &std::path::Path, _: crate::ComputeDevice) -> Result<Self, crate::NetworkError> {
        Err(crate::NetworkError::NoLibtorch)
    }

    /// What its file says.
    #[must_use]
    pub fn about(&self) -> &crate::About {
        &self.about
    }

    /// Never called: there is no such value.
    ///
    /// # Panics
    /// Always.
    #[must_use]
    pub fn plane(&self, _: &[u8]) -> tangram_atlas::Plane {
        unreachable!("a build without libtorch reads no network")
    }
}
