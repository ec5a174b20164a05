//! Learns the mapping P (cells × voxels): the problem, the solvers, what they learned.
//!
//! Adam on free logits ([`train_adam`]) is the published package's own solver, here as one streaming pass per epoch:
//! gradients in closed form, P never stored. The objective itself is `tangram_core::objective`.

mod adam;
mod blocked;
mod denormals;
mod dense_product;
mod disjoint;
mod error;
mod initial;
mod lanes;
mod memory;
mod problem;
mod products;
mod settings;
mod softmax;
mod sparse_product;
mod state;
mod tiles;
mod train;

pub use error::MapError;
pub use initial::InitialLogits;
pub use memory::memory_needed;
pub use problem::Problem;
pub use settings::{AdamSettings, Precision};
pub use state::Trained;
pub use train::{Epoch, train_adam, train_adam_shard};

/// Version of the libtorch in use, as it tells itself.
#[must_use]
pub fn libtorch_version() -> String {
    unsafe extern "C" {
        /// Of libtorch's stable C interface: major, minor and patch version in the three highest bytes.
        safe fn aoti_torch_abi_version() -> u64;
    }
    let [major, minor, patch, ..] = aoti_torch_abi_version().to_be_bytes();
    format!("{major}.{minor}.{patch}")
}
