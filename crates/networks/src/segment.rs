//! Segmentation, in builds with and without libtorch.

#[cfg(feature = "torch")]
pub use crate::torch::segmenter::Segmenter;

/// A network that segments; a build without libtorch never has one.
#[cfg(not(feature = "torch"))]
#[derive(Debug)]
pub struct Segmenter {
    about: crate::About,
}

#[cfg(not(feature = "torch"))]
impl Segmenter {
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
    pub fn segment(&self, _: &tangram_atlas::Photograph) -> crate::Segmentation {
        unreachable!("a build without libtorch reads no network")
    }
}
