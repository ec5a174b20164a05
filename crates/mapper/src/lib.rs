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

/// Version of the libtorch linked.
#[must_use]
pub fn libtorch_version() -> String {
    // tch 0.24 checks at build time that it links this version; libtorch exports no run-time call for it.
    "2.11.0".to_owned()
}
