//! Learns the mapping P (cells × voxels).
//!
//! A [`Problem`] is what to map: cells, voxels and a density prior over the same genes. Two solvers learn from it:
//!
//! - [`train_mirror`], the factored solver, keeps the logits as `S Zᵀ + 1 bᵀ` and learns [`Factors`] Z and b;
//! - [`train_adam`] learns a free logit for every cell and voxel, as the published package does.
//!
//! Both minimise a [`LossFunction`](tangram_core::LossFunction) and never store P. Products and rows are computed by this crate's
//! own kernels, or by libtorch on a device ([`Engine`]). On several ranks each holds a shard of the problem
//! ([`train_mirror_shard`], [`train_adam_shard`]).
//!
//! Rooms: `mirror` and `adam` are the solvers, each with its passes on the CPU and on a device behind one trait; `cpu` and `torch` are the
//! kernels; `cost` computes memory and traffic before anything runs, from what the passes and the terms of the loss declare.

// What only devices need stays unused in a build without them.
#![cfg_attr(not(feature = "torch"), allow(dead_code))]

mod adam;
mod cost;
mod cpu;
mod engine;
mod error;
mod evaluate;
mod history;
mod keep;
mod mirror;
mod mode;
mod number;
mod problem;
mod ranks;
mod rounding;
mod settings;
mod snapshot;
mod torch;
mod workers;

pub use adam::begin::AdamBegin;
pub use adam::initial::InitialLogits;
pub use adam::solver::{train_adam, train_adam_shard};
pub use adam::state::Trained;
pub use cost::memory::{Reading, filter_memory_needed, memory_needed, mirror_memory_needed};
pub use cost::plan::PassPlan;
pub use cost::traffic::{bytes_of_pass, memory_of_rank, operations_of_pass, super_blocks};
pub use cpu::denormals::flush_denormals;
pub use engine::{Engine, TorchDevice, TorchEngine};
pub use error::MapError;
pub use history::Epoch;
pub use mirror::factors::{FactoredMapping, Factors};
pub use mirror::filter::EVERY as PASSES_PER_WEIGHING;
pub use mirror::solver::{Begin, Mirrored, train_mirror, train_mirror_shard};
pub use mirror::temperature::{
    CELLS_TO_CHOOSE_BY, TemperatureScore, best_temperature, score_temperatures,
};
pub use mode::{Filter, Mode};
pub use problem::Problem;
pub use settings::{AdamSettings, MirrorSettings, Precision};
pub use snapshot::{Axes, Extent, Keeper, NoKeeper, Numbers, Snapshot, SnapshotArray, Wish};
pub use torch::clock::device_seconds;
pub use torch::cuda::{Cuda, Gpu, free_memory};
pub use torch::memory::DeviceMemory;
pub use torch::product_form::{ProductForm, product_form};

/// Version of the libtorch in use, as it tells itself; `None` in a build without it.
#[cfg(not(feature = "torch"))]
#[must_use]
pub fn libtorch_version() -> Option<String> {
    None
}

/// Version of the libtorch in use, as it tells itself; `None` in a build without it.
#[cfg(feature = "torch")]
#[must_use]
pub fn libtorch_version() -> Option<String> {
    unsafe extern "C" {
        /// Of libtorch's stable C interface: major, minor and patch version in the three highest bytes.
        safe fn aoti_torch_abi_version() -> u64;
    }
    let [major, minor, patch, ..] = aoti_torch_abi_version().to_be_bytes();
    Some(format!("{major}.{minor}.{patch}"))
}
