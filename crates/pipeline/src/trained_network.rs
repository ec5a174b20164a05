//! The file of a trained network, and whether it fits an atlas.

use crate::atlas_train::NETWORK_FILE;
use crate::error::{PipelineError, Result};
use std::path::{Path, PathBuf};
use tangram_atlas::Atlas;
use tangram_networks::About;

/// The network's file.
///
/// * `path`: it, or the folder that a training wrote
pub(crate) fn network_file(path: &Path) -> PathBuf {
    match path.is_dir() {
        true => path.join(NETWORK_FILE),
        false => path.to_owned(),
    }
}

/// Refuses a network for other classes than the atlas has.
pub(crate) fn check_classes(about: &About, network: &Path, atlas: &Atlas) -> Result<()> {
    match about.classes == atlas.rule().names() {
        true => Ok(()),
        false => Err(PipelineError::Usage(format!(
            "{}: the network is for other classes than {} has; take the atlas that it was trained on, or one imported with the same --classes",
            network.display(),
            atlas.path().display()
        ))),
    }
}
