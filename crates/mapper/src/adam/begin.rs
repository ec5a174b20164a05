//! Where a training by Adam begins.

use crate::{InitialLogits, Snapshot};

/// Where a training by Adam begins.
#[derive(Debug)]
pub enum AdamBegin<'a> {
    /// At these logits, of all cells and voxels.
    At(InitialLogits),
    /// Where another training was.
    Resume(&'a Snapshot),
}
