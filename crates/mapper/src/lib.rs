//! Learns the mapping P (cells × voxels): the problem, the solvers, what they learned.
//!
//! Products and rows are worked on by this crate's own kernels, or by libtorch on a device ([`Engine`]).
//!
//! Adam on free logits ([`train_adam`]) is the published package's own solver, here as one streaming pass per epoch:
//! gradients in closed form, P never stored. The objective itself is `tangram_core::objective`.

mod adam;
mod all_genes;
mod blocked;
mod carried;
mod cuda;
mod denormals;
mod dense_product;
mod device_adam;
mod device_memory;
mod device_pass;
mod device_products;
mod device_softmax;
mod disjoint;
mod engine;
mod epochs;
mod error;
mod factored_pass;
mod factors;
mod fused_adam;
mod initial;
mod iterates;
mod lanes;
mod memory;
mod mirror;
mod polls;
mod predicted;
mod probe;
mod problem;
mod products;
mod ranks;
mod rounding;
mod settings;
mod snapshot;
mod softmax;
mod sparse_product;
mod stage_cells;
mod state;
mod temperature;
mod tiles;
mod torch_clock;
mod torch_product;
mod torch_stage;
mod traffic;
mod train;

pub use cuda::{Cuda, Gpu, free_memory};
pub use denormals::flush_denormals;
pub use device_memory::DeviceMemory;
pub use engine::{Engine, TorchDevice, TorchEngine};
pub use error::MapError;
pub use factors::{FactoredMapping, Factors};
pub use initial::InitialLogits;
pub use memory::{Reading, memory_needed, mirror_memory_needed};
pub use mirror::{Begin, Mirrored, train_mirror, train_mirror_part};
pub use problem::Problem;
pub use settings::{AdamSettings, MirrorSettings, Precision};
pub use snapshot::{Axes, Keeper, NoKeeper, Numbers, Snapshot, SnapshotArray, Wish};
pub use state::Trained;
pub use temperature::{CELLS_TO_CHOOSE_BY, TemperatureScore, best_temperature, score_temperatures};
pub use torch_clock::device_seconds;
pub use torch_product::{ProductForm, product_form};
pub use traffic::{PassPlan, bytes_of_pass, memory_of_rank, operations_of_pass, super_blocks};
pub use train::{AdamBegin, Epoch, train_adam, train_adam_part};

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
