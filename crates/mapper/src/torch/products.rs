//! The two products of a pass on a device of libtorch, whose rows and columns are padded.

use crate::MapError;
use crate::engine::TorchEngine;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::{Format, Rounding};
use crate::torch::memory::PADDED;
use crate::torch::product_form::{ProductForm, factor_kind};
use crate::torch::staging::Stage;
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
/// up to multiples of eight, with zeros.
pub(crate) struct DeviceProducts<T> {
    device: Device,
    /// Genes with that of ones.
    n_genes: usize,
    n_voxels: usize,
    genes: i64,
    voxels: i64,
    rounding: Rounding,
    form: ProductForm,
    /// Of S and P where they are multiplied.
    factor: Kind,
    weights: Tensor,
    /// Binary exponent of the weights' common scale.
    common: i32,
    /// W by which a filter weighs cells, with its exponent, where it does.
    slope: Option<(Tensor, i32)>,
    sums: Tensor,
    /// Room for a product before it is added, where the form needs it.
    product: Tensor,
    /// Room for P as a factor, where it is of another kind.
    p: Tensor,
    /// One number that P is multiplied by there.
    p_scale: Tensor,
    stage: Stage,
    numbers: PhantomData<T>,
}

impl<T: Number> DeviceProducts<T> {
    /// * `threads`: of libtorch, where the device is the cores
    /// * `cells`: most cells of a block
    /// * the number of this rank's genes, and of its voxels
    pub(crate) fn new(
        engine: &TorchEngine,
        rounding: Rounding,
        threads: usize,
        cells: usize,
        (n_genes, n_voxels): (usize, usize),
    ) -> Result<Self, MapError> {
        let n_genes = n_genes + 1;
        let device = engine.device.into();
        // Numbers of 16 bits are TF32 numbers as they are.
        allow_tf32(!matches!(
            rounding.format(),
            Format::Single | Format::Double
        ));
        tch::set_num_threads(i32::try_from(threads).unwrap_or(i32::MAX));
        let format = rounding.format();
        let form = ProductForm::probe(format, T::KIND, device);
        let factor = factor_kind(format, T::KIND);
        let padded = |n: usize| n.next_multiple_of(PADDED) as i64;
        let (genes, voxels) = (padded(n_genes), padded(n_voxels));
        let of_weights = form.weights_kind(format, T::KIND);
        let rows_of_p = if factor == T::KIND { 0 } else { cells as i64 };
        Ok(Self {
            device,
            n_genes,
            n_voxels,
            genes,
            voxels,
            form,
            factor,
            weights: Tensor::f_zeros([genes, voxels], (of_weights, device))?,
            common: 0,
            slope: None,
            sums: Tensor::f_zeros([genes, voxels], (T::KIND, device))?,
            product: Tensor::f_zeros([0, 0], (T::KIND, device))?,
            p: Tensor::f_zeros([rows_of_p, voxels], (factor, device))?,
            p_scale: Tensor::f_full([0; 0], rounding.p_scale(), (T::KIND, Device::Cpu))?,
            rounding,
            stage: Stage::new(device),
            numbers: PhantomData,
        })
    }

    /// Room for `n_rows` rows of voxels.
    pub(crate) fn rows(&self, n_rows: usize) -> Result<Tensor, MapError> {
        let size = [n_rows as i64, self.voxels];
        Ok(Tensor::f_zeros(size, (T::KIND, self.device))?)
    }

    /// S of some cells, (cells, genes), brought to the device in the numbers of the file, and made factors of products there.
    pub(crate) fn expression(
        &mut self,
        cells: &SparseRows,
        range: Range<usize>,
    ) -> Result<Tensor, MapError> {
        let (genes, ones, rounding) = (self.genes as usize, self.n_genes - 1, &self.rounding);
        let stage = self.stage.numbers::<f32>(range.len() * genes)?;
        stage
            .par_chunks_mut(genes)
            .zip(range.clone())
            .for_each(|(row, cell)| {
                row.fill(0.0);
                let (places, counts) = cells.row(cell);
                for (&k, &x) in places.iter().zip(counts) {
                    row[k as usize] = rounding.expression(k as usize, x);
                }
                row[ones] = 1.0;
            });
        let size = [range.len() as i64, self.genes];
        self.stage.upload::<f32>(size, self.factor)
    }

    /// Takes W or Z as they are multiplied, (genes + 1, voxels).
    ///
    /// Its last row, which all ranks along the genes have, counts on one of them.
    ///
    /// * `common`: the exponent of their common scale
    pub(crate) fn take_weights(
        &mut self,
        weights: ArrayView2<'_, f64>,
        common: i32,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        self.weights = self.weights_of(weights, common, ranks)?;
        self.common = common;
        Ok(())
    }

    /// Takes a second W for [`slopes`](Self::slopes), as [`take_weights`](Self::take_weights) takes the first; `None` where there is none.
    pub(crate) fn take_slope(
        &mut self,
        slope: Option<(ArrayView2<'_, f64>, i32)>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        self.slope = match slope {
            Some((slope, common)) => Some((self.weights_of(slope, common, ranks)?, common)),
            None => None,
        };
        Ok(())
    }

    fn weights_of(
        &mut self,
        weights: ArrayView2<'_, f64>,
        common: i32,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Tensor, MapError> {
        let (n_genes, voxels, rounding) = (self.n_genes, self.voxels as usize, &self.rounding);
        let has_last = ranks.grid.is_last_of_genes();
        let stage = self.stage.numbers::<T>(self.genes as usize * voxels)?;
        stage
            .par_chunks_mut(voxels)
            .enumerate()
            .for_each(|(k, row)| {
                row.fill(T::default());
                let last = k + 1 == n_genes;
                if k < n_genes && (!last || has_last) {
                    let scale = rounding.weight_scale(k, common);
                    row.iter_mut()
                        .zip(weights.row(k))
                        .for_each(|(to, &from)| *to = T::from_f64(from * scale));
                }
            });
        let size = [self.genes, self.voxels];
        self.stage.upload::<T>(size, self.weights.kind())
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
        let weights = self.weights.shallow_clone();
        self.product(expression, (&weights, self.common), rows, ranks)
    }

    /// The same by the second W.
    pub(crate) fn slopes(
        &mut self,
        expression: &Tensor,
        rows: &Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<bool, MapError> {
        let slope = self.slope.as_ref();
        let Some((slope, common)) = slope.map(|(slope, c)| (slope.shallow_clone(), *c)) else {
            return Ok(false);
        };
        self.product(expression, (&slope, common), rows, ranks)?;
        Ok(true)
    }

    fn product(
        &mut self,
        expression: &Tensor,
        (weights, common): (&Tensor, i32),
        rows: &Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let mut rows = rows.shallow_clone();
        self.form.write(&rows, expression, weights)?;
        if common != 0 {
            let _ = rows.f_mul_scalar_(2f64.powi(-common))?;
        }
        if ranks.grid.shape().genes > 1 {
            let numbers = self.stage.download::<T>(&rows)?;
            T::sum_logits(ranks.grid, numbers, &mut || ());
            let summed = self
                .stage
                .upload::<T>([rows.size()[0], self.voxels], T::KIND)?;
            rows.f_copy_(&summed)?;
        }
        Ok(())
    }

    /// Makes the probabilities of what only fills up rows of logits 0.
    pub(crate) fn hide_fillers(&self, logits: &Tensor) -> Result<(), MapError> {
        let n_voxels = self.n_voxels as i64;
        if n_voxels < self.voxels {
            let mut fillers = logits.f_narrow(1, n_voxels, self.voxels - n_voxels)?;
            let _ = fillers.f_fill_(NO_VOXEL)?;
        }
        Ok(())
    }

    /// `A += S_blkᵀ P`.
    pub(crate) fn accumulate(&mut self, expression: &Tensor, p: &Tensor) -> Result<(), MapError> {
        let p = self.as_factor(p)?;
        let cells = expression.tr();
        self.form.add(&mut self.sums, &mut self.product, &cells, &p)
    }

    /// P as products take it.
    fn as_factor(&self, p: &Tensor) -> Result<Tensor, MapError> {
        match self.rounding.format() {
            Format::Single | Format::Double => Ok(p.shallow_clone()),
            // A GPU's multipliers round by themselves.
            Format::Tf32 if self.device != Device::Cpu => Ok(p.shallow_clone()),
            Format::Tf32 => rounded_to_tf32(p),
            Format::Bf16 | Format::Fp16 => {
                let factor = self.p.f_narrow(0, 0, p.size()[0])?;
                // One pass over P: libtorch rounds what it has multiplied.
                let _ = p.f_mul_out(&factor, &self.p_scale)?;
                Ok(factor)
            }
        }
    }

    /// Writes A of all cells of all ranks, (genes + 1, voxels).
    pub(crate) fn finish(
        &mut self,
        predicted: &mut Array2<f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let own = self.sums.f_narrow(0, 0, self.n_genes as i64)?;
        let own = own.f_narrow(1, 0, self.n_voxels as i64)?;
        let numbers = self.stage.download::<T>(&own)?;
        T::sum_predicted(ranks.grid, numbers);
        let (n_voxels, rounding) = (self.n_voxels, &self.rounding);
        let to = predicted.as_slice_mut().expect("standard layout");
        to.par_chunks_mut(n_voxels)
            .zip(numbers.par_chunks(n_voxels))
            .enumerate()
            .for_each(|(k, (to, from))| {
                let scale = rounding.sum_scale(k);
                to.iter_mut()
                    .zip(from)
                    .for_each(|(to, from)| *to = from.to_f64() * scale);
            });
        Ok(())
    }

    /// Brings rows of this rank's voxels to the device, filled up.
    pub(crate) fn bring(&mut self, rows: &[T], filler: f64) -> Result<Tensor, MapError> {
        let (n_voxels, voxels) = (self.n_voxels, self.voxels as usize);
        let n_rows = rows.len() / n_voxels;
        let stage = self.stage.numbers::<T>(n_rows * voxels)?;
        stage
            .par_chunks_mut(voxels)
            .zip(rows.par_chunks(n_voxels))
            .for_each(|(to, from)| {
                to[..n_voxels].copy_from_slice(from);
                to[n_voxels..].fill(T::from_f64(filler));
            });
        self.stage
            .upload::<T>([n_rows as i64, self.voxels], T::KIND)
    }

    /// The same of logits.
    pub(crate) fn bring_logits(&mut self, rows: &[T]) -> Result<Tensor, MapError> {
        self.bring(rows, NO_VOXEL)
    }

    /// Fetches rows of this rank's voxels.
    pub(crate) fn fetch(&mut self, rows: &Tensor, to: &mut [T]) -> Result<(), MapError> {
        let own = rows.f_narrow(1, 0, self.n_voxels as i64)?;
        to.copy_from_slice(self.stage.download::<T>(&own)?);
        Ok(())
    }
}

/// The nearest numbers of 10 bits after the leading one, where the device has no multiplier that makes them so.
///
/// `c − (c − x)` with `c = (2¹³ + 1) x` in single precision (Veltkamp's splitting).
fn rounded_to_tf32(x: &Tensor) -> Result<Tensor, MapError> {
    let c = x.f_mul_scalar(8193.0)?;
    Ok(c.f_sub(&c.f_sub(x)?)?)
}

/// Lets products of single precision round their factors to 10 bits (TF32) where a GPU is faster so, or forbids it.
fn allow_tf32(allowed: bool) {
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
    unsafe { set_allow_tf32(global_context(), allowed) };
}
