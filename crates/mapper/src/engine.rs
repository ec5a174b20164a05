//! The engines: this crate's own kernels, or libtorch on a device.

use serde::{Deserialize, Serialize};

/// What does the work of a training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// This crate's own kernels, on the cores of the machine.
    Native,
    /// libtorch, a block of cells after the other.
    Torch(TorchEngine),
}

/// How libtorch does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TorchEngine {
    /// Where.
    pub device: TorchDevice,
    /// Bytes of the device's memory that may be taken; `None`: nine tenths of what it has free.
    pub memory: Option<u64>,
    /// Bytes of a block of logits; `None`: 64 MiB, but no fewer than 2,048 cells.
    pub block: Option<u64>,
}

/// A device of libtorch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TorchDevice {
    /// The cores of the machine: slower than [`Engine::Native`], to check this engine where there is no GPU.
    Cores,
    /// The GPU of this number among those that the process sees.
    Cuda(usize),
}

#[cfg(feature = "torch")]
impl From<TorchDevice> for tch::Device {
    fn from(device: TorchDevice) -> Self {
        match device {
            TorchDevice::Cores => Self::Cpu,
            TorchDevice::Cuda(index) => Self::Cuda(index),
        }
    }
}
