//! Learns the mapping P (cells × voxels): the problem, the solvers, what they learned.
//!
//! Products and rows are worked on by this crate's own kernels, or by libtorch on a device ([`Engine`]).
//!
//! Adam on free logits ([`train_adam`]) is the published package's own solver, here as one streaming pass per epoch:
//! gradients in closed form, P never stored. The objective itself is `tangram_core::objective`.

mod adam;
mod cost;
mod cpu;
mod engine;
mod error;
mod evaluate;
mod history;
mod keep;
mod mirror;
mod number;
mod problem;
mod ranks;
mod settings;
mod snapshot;
mod torch;
mod workers;

pub use adam::begin::AdamBegin;
pub use adam::initial::InitialLogits;
pub use adam::solver::{train_adam, train_adam_part};
pub use adam::state::Trained;
pub use cost::memory::{Reading, memory_needed, mirror_memory_needed};
pub use cost::traffic::{
    PassPlan, bytes_of_pass, memory_of_rank, operations_of_pass, super_blocks,
};
pub use cpu::denormals::flush_denormals;
pub use engine::{Engine, TorchDevice, TorchEngine};
pub use error::MapError;
pub use history::Epoch;
pub use mirror::factors::{FactoredMapping, Factors};
pub use mirror::solver::{Begin, Mirrored, train_mirror, train_mirror_part};
pub use mirror::temperature::{
    CELLS_TO_CHOOSE_BY, TemperatureScore, best_temperature, score_temperatures,
};
pub use problem::Problem;
pub use settings::{AdamSettings, MirrorSettings, Precision};
pub use snapshot::{Axes, Keeper, NoKeeper, Numbers, Snapshot, SnapshotArray, Wish};
pub use torch::cuda::{Cuda, Gpu};
pub use torch::memory::DeviceMemory;

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
