//! The two products of a pass on a device of libtorch, whose rows and columns are padded.

use crate::MapError;
use crate::cost::tally::Tally;
use crate::engine::TorchEngine;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::settings::Precision;
use crate::torch::memory::PADDED;
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::marker::PhantomData;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::SparseRows;
use tch::{Device, Kind, Tensor};

/// A logit so low that its probability is 0, of a voxel that only fills up a row.
const NO_VOXEL: f64 = -1e30;

/// W or Z, and A, (genes, voxels), on a device.
///
/// The last gene is the one that every cell expresses once, as in [`Products`](crate::cpu::products::Products); both axes are filled
/// up to multiples of eight, genes with 0.
pub(crate) struct DeviceProducts<T> {
    device: Device,
    /// Genes with that of ones.
    n_genes: usize,
    n_voxels: usize,
    genes: i64,
    voxels: i64,
    product: Kind,
    sum_of_16_bits: SumOf16Bits,
    weights: Tensor,
    sums: Tensor,
    stage: Stage<T>,
}

/// How products of 16-bit numbers come out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SumOf16Bits {
    /// In single precision.
    Wide,
    /// Rounded to 16 bits: the device's library has nothing else.
    Narrow,
}

impl<T: Number> DeviceProducts<T> {
    /// * `threads`: of libtorch, where the device is the cores
    /// * the number of this rank's genes, and of its voxels
    pub(crate) fn new(
        engine: &TorchEngine,
        precision: Precision,
        threads: usize,
        (n_genes, n_voxels): (usize, usize),
    ) -> Result<Self, MapError> {
        let n_genes = n_genes + 1;
        let device = engine.device.into();
        allow_tf32(precision);
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        let product = match precision {
            Precision::Bf16 => Kind::BFloat16,
            _ => T::KIND,
        };
        let padded = |n: usize| n.next_multiple_of(PADDED) as i64;
        let (genes, voxels) = (padded(n_genes), padded(n_voxels));
        let sum_of_16_bits = match product {
            Kind::BFloat16 => {
                let one = Tensor::f_zeros([8, 8], (product, device))?;
                match one.f_mm_dtype(&one, T::KIND) {
                    Ok(_) => SumOf16Bits::Wide,
                    Err(_) => SumOf16Bits::Narrow,
                }
            }
            _ => SumOf16Bits::Wide,
        };
        Ok(Self {
            device,
            n_genes,
            n_voxels,
            genes,
            voxels,
            product,
            sum_of_16_bits,
            weights: Tensor::f_zeros([genes, voxels], (product, device))?,
            sums: Tensor::f_zeros([genes, voxels], (T::KIND, device))?,
            stage: Stage::new(device),
        })
    }

    /// The kind of number of the products.
    pub(crate) fn product(&self) -> Kind {
        self.product
    }

    /// Room for `n_rows` rows of voxels.
    pub(crate) fn rows(&self, n_rows: usize, kind: Kind) -> Result<Tensor, MapError> {
        let size = [n_rows as i64, self.voxels];
        Ok(Tensor::f_zeros(size, (kind, self.device))?)
    }

    /// S of some cells, (cells, genes), brought to the device.
    pub(crate) fn expression(
        &mut self,
        cells: &SparseRows,
        range: Range<usize>,
    ) -> Result<Tensor, MapError> {
        let (genes, ones) = (self.genes as usize, self.n_genes - 1);
        let stage = self.stage.numbers(range.len() * genes)?;
        stage
            .par_chunks_mut(genes)
            .zip(range.clone())
            .for_each(|(row, cell)| {
                row.fill(T::default());
                let (places, counts) = cells.row(cell);
                for (&k, &x) in places.iter().zip(counts) {
                    row[k as usize] = T::from_f64(x.into());
                }
                row[ones] = T::from_f64(1.0);
            });
        let size = [range.len() as i64, self.genes];
        self.stage.upload(size, self.product)
    }

    /// Takes W or Z, (genes + 1, voxels).
    ///
    /// Its last row, which all ranks along the genes have, counts on one of them.
    pub(crate) fn take_weights(
        &mut self,
        weights: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let (n_genes, n_voxels, voxels) = (self.n_genes, self.n_voxels, self.voxels as usize);
        let has_last = ranks.grid.is_last_of_genes();
        let stage = self.stage.numbers(self.genes as usize * voxels)?;
        stage
            .par_chunks_mut(voxels)
            .enumerate()
            .for_each(|(k, row)| {
                row.fill(T::default());
                let last = k + 1 == n_genes;
                if k < n_genes && (!last || has_last) {
                    row.iter_mut()
                        .zip(weights.row(k))
                        .for_each(|(to, &from)| *to = T::from_f64(from));
                }
                if last && has_last {
                    row[n_voxels..].fill(T::from_f64(NO_VOXEL));
                }
            });
        let uploaded = self.stage.upload([self.genes, self.voxels], self.product)?;
        self.weights = uploaded;
        Ok(())
    }

    /// Forgets A.
    pub(crate) fn clear(&mut self) -> Result<(), MapError> {
        let _ = self.sums.f_zero_()?;
        Ok(())
    }

    /// `S_blk W` of all genes of all ranks, into `rows`.
    pub(crate) fn logits(
        &mut self,
        expression: &Tensor,
        rows: &Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let mut rows = rows.shallow_clone();
        if rows.kind() == self.product {
            let _ = expression.f_mm_out(&rows, &self.weights)?;
        } else if self.sum_of_16_bits == SumOf16Bits::Wide {
            let _ = expression.f_mm_dtype_out(&rows, &self.weights, rows.kind())?;
        } else {
            rows.f_copy_(&expression.f_mm(&self.weights)?)?;
        }
        if ranks.grid.shape().genes > 1 {
            let numbers = self.stage.download(&rows)?;
            T::sum_logits(ranks.grid, numbers, &mut || ());
            let summed = self.stage.upload([rows.size()[0], self.voxels], T::KIND)?;
            rows.f_copy_(&summed)?;
        }
        Ok(())
    }

    /// `A += S_blkᵀ P`.
    pub(crate) fn accumulate(&mut self, expression: &Tensor, p: &Tensor) -> Result<(), MapError> {
        let cells = expression.tr();
        if self.product == T::KIND {
            let _ = self.sums.f_addmm_(&cells, p)?;
            return Ok(());
        }
        let p = p.f_to_kind(self.product)?;
        let part = match self.sum_of_16_bits {
            SumOf16Bits::Wide => cells.f_mm_dtype(&p, T::KIND)?,
            SumOf16Bits::Narrow => cells.f_mm(&p)?.f_to_kind(T::KIND)?,
        };
        let _ = self.sums.f_add_(&part)?;
        Ok(())
    }

    /// Writes A of all cells of all ranks, (genes + 1, voxels).
    pub(crate) fn finish(
        &mut self,
        predicted: &mut Array2<f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let own = self.sums.f_narrow(0, 0, self.n_genes as i64)?;
        let own = own.f_narrow(1, 0, self.n_voxels as i64)?;
        let numbers = self.stage.download(&own)?;
        T::sum_predicted(ranks.grid, numbers);
        let to = predicted.as_slice_mut().expect("standard layout");
        to.par_iter_mut()
            .zip(numbers)
            .for_each(|(to, from)| *to = from.to_f64());
        Ok(())
    }

    /// Brings rows of this rank's voxels to the device, filled up.
    pub(crate) fn bring(&mut self, rows: &[T], filler: f64) -> Result<Tensor, MapError> {
        let (n_voxels, voxels) = (self.n_voxels, self.voxels as usize);
        let n_rows = rows.len() / n_voxels;
        let stage = self.stage.numbers(n_rows * voxels)?;
        stage
            .par_chunks_mut(voxels)
            .zip(rows.par_chunks(n_voxels))
            .for_each(|(to, from)| {
                to[..n_voxels].copy_from_slice(from);
                to[n_voxels..].fill(T::from_f64(filler));
            });
        self.stage.upload([n_rows as i64, self.voxels], T::KIND)
    }

    /// The same of logits.
    pub(crate) fn bring_logits(&mut self, rows: &[T]) -> Result<Tensor, MapError> {
        self.bring(rows, NO_VOXEL)
    }

    /// Fetches rows of this rank's voxels.
    pub(crate) fn fetch(&mut self, rows: &Tensor, to: &mut [T]) -> Result<(), MapError> {
        let own = rows.f_narrow(1, 0, self.n_voxels as i64)?;
        to.copy_from_slice(self.stage.download(&own)?);
        Ok(())
    }
}

/// Declares what [`DeviceProducts::logits`] exchanges over so many cells.
pub(crate) fn declare_logits(tally: &mut Tally<'_>, n_cells: usize) {
    tally.sum_logits(n_cells * tally.shares().voxels.len().next_multiple_of(PADDED));
}

/// Declares what [`DeviceProducts::finish`] exchanges.
pub(crate) fn declare_sums(tally: &mut Tally<'_>) {
    let shares = tally.shares();
    tally.sum_predicted((shares.genes.len() + 1) * shares.voxels.len());
}

/// Memory of the machine from which a device reads, and into which it writes: pinned for a GPU.
struct Stage<T> {
    device: Device,
    memory: Tensor,
    numbers: PhantomData<T>,
}

impl<T: Number> Stage<T> {
    fn new(device: Device) -> Self {
        Self {
            device,
            memory: Tensor::zeros([0], (T::KIND, Device::Cpu)),
            numbers: PhantomData,
        }
    }

    /// So many numbers, to write or read.
    fn numbers(&mut self, len: usize) -> Result<&mut [T], MapError> {
        if self.memory.numel() < len {
            let memory = Tensor::f_zeros([len as i64], (T::KIND, Device::Cpu))?;
            self.memory = match self.device {
                Device::Cuda(_) => memory.f_pin_memory(self.device)?,
                _ => memory,
            };
        }
        // SAFETY: the tensor holds at least `len` numbers of this kind, contiguous, and is borrowed mutably; views that `upload`
        // and `download` make of it are gone, and copies to and from a device wait for their end.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.memory.data_ptr().cast(), len) })
    }

    fn view(&self, size: &[i64]) -> Result<Tensor, MapError> {
        let flat = self.memory.f_narrow(0, 0, size.iter().product())?;
        Ok(flat.f_view(size)?)
    }

    /// What was written to [`numbers`](Self::numbers), on the device.
    fn upload(&self, size: [i64; 2], kind: Kind) -> Result<Tensor, MapError> {
        let mut there = Tensor::f_empty(size, (kind, self.device))?;
        there.f_copy_(&self.view(&size)?)?;
        Ok(there)
    }

    /// The numbers of a tensor, row after row.
    fn download(&mut self, from: &Tensor) -> Result<&mut [T], MapError> {
        let size = from.size();
        let len = from.numel();
        self.numbers(len)?;
        self.view(&size)?.f_copy_(from)?;
        self.numbers(len)
    }
}

/// Lets products of single precision round their factors to 10 bits (TF32) where a GPU is faster so, or forbids it.
fn allow_tf32(precision: Precision) {
    unsafe extern "C" {
        /// `at::globalContext()`
        #[link_name = "_ZN2at13globalContextEv"]
        fn global_context() -> *mut std::ffi::c_void;
        /// `at::Context::setAllowTF32CuBLAS(bool)`
        #[link_name = "_ZN2at7Context18setAllowTF32CuBLASEb"]
        fn set_allow_tf32(context: *mut std::ffi::c_void, allow: bool);
    }
    // SAFETY: tch has no binding for this setting of libtorch; the names are those that libtorch 2.11 exports, the signatures those of
    // its header `ATen/Context.h`.
    unsafe { set_allow_tf32(global_context(), precision == Precision::Tf32) };
}
