//! Host memory for transfers to and from a device.

use crate::MapError;
use crate::number::Number;
use tch::{Device, Kind, Tensor};

/// A buffer for numbers of any kind on their way to or from a device. For a GPU it is pinned, so that the card copies by itself;
/// what it copies keeps its kind, and is converted on the device.
pub(crate) struct Stage {
    device: Device,
    bytes: Tensor,
}

impl Stage {
    pub(crate) fn new(device: Device) -> Self {
        Self {
            device,
            bytes: Tensor::zeros([0], (Kind::Uint8, Device::Cpu)),
        }
    }

    /// So many numbers, to write or read.
    pub(crate) fn numbers<N: Number>(&mut self, len: usize) -> Result<&mut [N], MapError> {
        let n_bytes = len * size_of::<N>();
        if self.bytes.numel() < n_bytes {
            let bytes = Tensor::f_zeros([n_bytes as i64], (Kind::Uint8, Device::Cpu))?;
            self.bytes = match self.device {
                Device::Cuda(_) => bytes.f_pin_memory(self.device)?,
                _ => bytes,
            };
        }
        // SAFETY: the tensor holds at least that number of bytes, contiguous and aligned as libtorch aligns all memory (64 bytes), and is
        // borrowed mutably; views that `upload` and `download` make of it are gone, and copies to and from a device wait for
        // their end. Any bits are a number of the kinds in use.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.bytes.data_ptr().cast(), len) })
    }

    fn view<N: Number>(&self, size: &[i64]) -> Result<Tensor, MapError> {
        let n_bytes = size.iter().product::<i64>() * size_of::<N>() as i64;
        let flat = self.bytes.f_narrow(0, 0, n_bytes)?;
        Ok(flat.f_view_dtype(N::KIND)?.f_view(size)?)
    }

    /// What was written to [`numbers`](Self::numbers), on the device, where it is converted to `kind`.
    pub(crate) fn upload<N: Number>(&self, size: [i64; 2], kind: Kind) -> Result<Tensor, MapError> {
        let mut there = Tensor::f_empty(size, (N::KIND, self.device))?;
        there.f_copy_(&self.view::<N>(&size)?)?;
        Ok(there.f_to_kind(kind)?)
    }

    /// The numbers of a tensor, row after row.
    pub(crate) fn download<N: Number>(&mut self, from: &Tensor) -> Result<&mut [N], MapError> {
        let size = from.size();
        let len = from.numel();
        self.numbers::<N>(len)?;
        self.view::<N>(&size)?.f_copy_(from)?;
        self.numbers(len)
    }
}
