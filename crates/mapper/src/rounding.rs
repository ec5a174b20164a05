//! Rounding of the factors of a product to the few bits that tensor cores take.
//!
//! The logits `S Zᵀ + 1 bᵀ` reach hundreds, mostly by an offset per cell that the row softmax ignores. Rounding Z as it is would turn that
//! offset into an error that the softmax does not ignore. So each gene's mean over the voxels is subtracted first: this changes no
//! probability, and what is left to round is small. The gradient `S Wᵀ + 1 uᵀ` of Adam needs none of this, although an offset per cell
//! falls out of it as well: with and without it the losses of rounded epochs differ by 3·10⁻⁵ at most (docs/adr/0003).

use crate::cost::tally::Tally;
use crate::{Engine, Precision};
use ndarray::{Array2, ArrayView1, Axis, Zip, s};
use rayon::prelude::*;
use std::ops::Range;
use tangram_core::Sums;

/// fp16 numbers of this binary exponent are the largest that do not round up to infinity.
const FP16_TOP: i32 = 14;
/// Weights whose largest has at least this exponent need no common scale: fp16's normal numbers reach 2¹⁰ further down.
const FP16_LEAST_TOP: i32 = -4;
/// P is multiplied by 2 to this power before it becomes fp16: normal numbers then reach down to 2⁻²⁹.
const FP16_P: i32 = 15;
/// Least normal number of fp16.
const FP16_NORMAL: f32 = 6.103_515_6e-5;

/// The numbers that the products of a pass multiply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Single precision.
    Single,
    /// Double precision.
    Double,
    /// 10 bits after the leading one, the exponents of single precision.
    Tf32,
    /// 7 bits after the leading one, the exponents of single precision.
    Bf16,
    /// 10 bits after the leading one, exponents from −14 to 15: numbers are scaled by powers of two.
    Fp16,
}

impl Format {
    /// * `dense`: whether the native kernels treat S as dense; their sparse products know single and double precision only
    fn of(precision: Precision, engine: &Engine, dense: bool) -> Self {
        let native = *engine == Engine::Native;
        match precision {
            Precision::F64 => Self::Double,
            Precision::F32 => Self::Single,
            Precision::Tf32 if native => Self::Single,
            Precision::Tf32 => Self::Tf32,
            Precision::Bf16 if native && !dense => Self::Single,
            Precision::Bf16 => Self::Bf16,
            Precision::Fp16 => Self::Fp16,
        }
    }

    /// The nearest number of this format; ties go to the even one.
    pub(crate) fn nearest(self, x: f32) -> f32 {
        match self {
            Self::Single | Self::Double => x,
            Self::Tf32 => without_bits(x, 13),
            Self::Bf16 => without_bits(x, 16),
            // Below the normal numbers they are multiples of 2⁻²⁴, which is the last place of numbers from ½ to 1.
            Self::Fp16 if x.abs() < FP16_NORMAL => ((x.abs() + 0.75) - 0.75).copysign(x),
            Self::Fp16 => without_bits(x, 13),
        }
    }
}

/// Rounds a number to fewer bits.
fn without_bits(x: f32, n_bits: u32) -> f32 {
    if !x.is_finite() {
        return x;
    }
    let bits = x.to_bits();
    let half = (1 << (n_bits - 1)) - 1 + ((bits >> n_bits) & 1);
    f32::from_bits((bits + half) & !((1 << n_bits) - 1))
}

/// Whether the factors of the factored solver are centred before they are rounded, for which ranks along the voxels exchange a sum
/// per gene.
fn centres(precision: Precision, on_device: bool) -> bool {
    match precision {
        Precision::F32 | Precision::F64 => false,
        Precision::Bf16 => true,
        Precision::Tf32 | Precision::Fp16 => on_device,
    }
}

/// Declares what [`Rounding::round`] of the factored solver exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, precision: Precision, on_device: bool) {
    if centres(precision, on_device) {
        tally.over_voxels(tally.shares().genes.len() + 1);
    }
}

/// How the factors of a training's products are rounded.
#[derive(Debug, Clone)]
pub(crate) struct Rounding {
    format: Format,
    centres: bool,
    /// For fp16, by gene: S is multiplied by 2 to minus this power, Z or W by 2 to this power. Genes beyond the last have 0.
    exponents: Vec<i32>,
}

impl Rounding {
    /// Of the factored solver.
    ///
    /// * `dense`: whether the native kernels treat S as dense
    /// * `largest`: the largest entry of S for every gene of this rank, of all cells; only for fp16
    pub(crate) fn new(
        precision: Precision,
        engine: &Engine,
        dense: bool,
        largest: Option<&[f64]>,
    ) -> Self {
        let largest = largest.unwrap_or(&[]).iter();
        Self {
            format: Format::of(precision, engine, dense),
            centres: centres(precision, *engine != Engine::Native),
            exponents: largest.map(|&x| exponent(x).unwrap_or(0)).collect(),
        }
    }

    /// The same of Adam's gradients, which are not centred.
    pub(crate) fn of_gradients(
        precision: Precision,
        engine: &Engine,
        dense: bool,
        largest: Option<&[f64]>,
    ) -> Self {
        Self {
            centres: false,
            ..Self::new(precision, engine, dense, largest)
        }
    }

    /// Whether [`new`](Self::new) must know the largest entries of S.
    pub(crate) fn asks_for_largest(precision: Precision) -> bool {
        precision == Precision::Fp16
    }

    pub(crate) fn format(&self) -> Format {
        self.format
    }

    /// An entry of S as it is multiplied, but for the last rounding of fp16 and bf16, which the device does.
    pub(crate) fn expression(&self, gene: usize, x: f32) -> f32 {
        match self.format {
            Format::Tf32 => self.format.nearest(x),
            Format::Fp16 => x * power(-self.exponent(gene)) as f32,
            _ => x,
        }
    }

    /// Factor on the weights of a gene.
    ///
    /// * `common`: as [`round`](Self::round) gave it
    pub(crate) fn weight_scale(&self, gene: usize, common: i32) -> f64 {
        power(self.exponent(gene) + common)
    }

    /// Factor on P.
    pub(crate) fn p_scale(&self) -> f64 {
        match self.format {
            Format::Fp16 => power(FP16_P),
            _ => 1.0,
        }
    }

    /// Factor on sums of products of S and P that gives A.
    pub(crate) fn sum_scale(&self, gene: usize) -> f64 {
        power(self.exponent(gene)) / self.p_scale()
    }

    fn exponent(&self, gene: usize) -> i32 {
        self.exponents.get(gene).copied().unwrap_or(0)
    }

    /// Rounds and scales weights, (genes + 1, voxels), for the products; returns the binary exponent of their common scale.
    ///
    /// Numbers that are not rounded to less than single precision stay as they are.
    pub(crate) fn round(&self, weights: &mut Array2<f64>, sums: impl Sums) -> i32 {
        if self.centres {
            centre(weights, sums);
        }
        if matches!(self.format, Format::Single | Format::Double) {
            return 0;
        }
        let common = match self.format {
            Format::Fp16 => self.common_exponent(weights),
            _ => 0,
        };
        Zip::indexed(weights.rows_mut()).par_for_each(|gene, mut row| {
            let scale = self.weight_scale(gene, common);
            let back = 1.0 / scale;
            row.mapv_inplace(|x| f64::from(self.format.nearest((x * scale) as f32)) * back);
        });
        common
    }

    /// Rounds weights as they are stored: exactly the numbers that were multiplied, single precision included.
    pub(crate) fn as_multiplied(&self, mut weights: Array2<f64>, sums: impl Sums) -> Array2<f64> {
        self.round(&mut weights, sums);
        if self.format == Format::Single {
            weights.par_mapv_inplace(|x| f64::from(x as f32));
        }
        weights
    }

    /// Brings the largest weight into the range of fp16.
    fn common_exponent(&self, weights: &Array2<f64>) -> i32 {
        let of_row = |(gene, row): (usize, ArrayView1<'_, f64>)| {
            let largest = row.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            exponent(largest).map(|e| e + self.exponent(gene))
        };
        let top = weights
            .rows()
            .into_iter()
            .enumerate()
            .filter_map(of_row)
            .max();
        match top {
            Some(top) if !(FP16_LEAST_TOP..=FP16_TOP).contains(&top) => FP16_TOP - top,
            _ => 0,
        }
    }
}

/// Subtracts each gene's mean over the voxels of all ranks.
fn centre(weights: &mut Array2<f64>, sums: impl Sums) {
    let of_block = |voxels: Range<usize>| {
        let rows = weights.axis_iter(Axis(0)).into_par_iter();
        rows.map(|row| row.slice(s![voxels.clone()]).sum())
            .collect()
    };
    let blocks = sums.voxel_blocks().into_iter().map(of_block).collect();
    let n_voxels = sums.size().0 as f64;
    let means = sums.over_voxels(blocks);
    Zip::from(weights.axis_iter_mut(Axis(0)))
        .and(&ArrayView1::from(&means))
        .par_for_each(|mut row, &sum| row -= sum / n_voxels);
}

/// The binary exponent of a positive number.
fn exponent(x: f64) -> Option<i32> {
    let exponent = ((x.to_bits() >> 52) & 0x7ff) as i32 - 1023;
    (x > 0.0 && x.is_finite()).then_some(exponent)
}

fn power(exponent: i32) -> f64 {
    2f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{TorchDevice, TorchEngine};
    use tangram_core::Whole;

    const DEVICE: Engine = Engine::Torch(TorchEngine {
        device: TorchDevice::Cores,
        memory: None,
        block: None,
    });

    /// Numbers of all sizes, ties and the smallest among them.
    fn numbers() -> Vec<f32> {
        let mut state = 9u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        let mut all: Vec<f32> = (0..20_000)
            .map(|_| f32::from_bits(next()))
            .filter(|x| x.abs() < 65_504.0)
            .collect();
        let small = (0..20_000).map(|_| f32::from_bits(0x3000_0000 + next() % 0x1700_0000));
        all.extend(small);
        // Half-way between two numbers of 10 bits, of 7 bits, and of the last place of fp16.
        let ties = (0..64).flat_map(|i| {
            let i = i as f32;
            [
                1.0 + (i + 0.5) / 1024.0,
                1.0 + (i + 0.5) / 128.0,
                (i + 0.5) / 16_777_216.0,
            ]
        });
        all.extend(ties.flat_map(|x| [x, -x]));
        all
    }

    #[cfg(feature = "torch")]
    #[test]
    fn rounding_is_that_of_libtorch() {
        use tch::{Kind, Tensor};
        let all = numbers();
        for (format, kind) in [(Format::Bf16, Kind::BFloat16), (Format::Fp16, Kind::Half)] {
            let there = Tensor::from_slice(&all).to_kind(kind).to_kind(Kind::Float);
            let there = Vec::<f32>::try_from(there).unwrap();
            for (&x, there) in all.iter().zip(there) {
                assert_eq!(
                    format.nearest(x).to_bits(),
                    there.to_bits(),
                    "{format:?} of {x}"
                );
            }
        }
        // Numbers below the normal ones have fewer bits to begin with.
        for &x in all.iter().filter(|x| x.is_normal()) {
            let rounded = Format::Tf32.nearest(x);
            assert_eq!(rounded.to_bits() & 0x1fff, 0);
            assert!((rounded - x).abs() <= x.abs() / 2048.0, "{x}");
        }
        assert!(Format::Bf16.nearest(f32::NAN).is_nan());
        assert!(Format::Fp16.nearest(f32::INFINITY).is_infinite());
    }

    fn weights() -> Array2<f64> {
        Array2::from_shape_fn((4, 5), |(k, j)| {
            // The second gene is rare: its weights are large, as its counts are small.
            let size = [3.0, 4e6, 1e-3, 0.2][k];
            size * (40.0 + (7 * k + 3 * j) as f64 % 5.0 + 0.123 * j as f64)
        })
    }

    const LARGEST: [f64; 3] = [9.0, 3e-5, 1_200.0];
    const SUMS: Whole = Whole {
        n_voxels: 5,
        n_genes: 3,
    };

    #[test]
    fn weights_are_centred_rounded_and_in_range() {
        for (precision, bits) in [
            (Precision::Tf32, 11),
            (Precision::Fp16, 11),
            (Precision::Bf16, 8),
        ] {
            let rounding = Rounding::new(precision, &DEVICE, false, Some(&LARGEST));
            for size in [1.0, 1e-9, 1e9] {
                let before = weights() * size;
                let mut after = before.clone();
                let common = rounding.round(&mut after, SUMS);
                for (k, (before, after)) in before.rows().into_iter().zip(after.rows()).enumerate()
                {
                    let mean = before.mean().unwrap();
                    let largest = before.iter().fold(0.0f64, |m, x| m.max((x - mean).abs()));
                    let scale = rounding.weight_scale(k, common);
                    for (before, &after) in before.iter().zip(after) {
                        let off = (after - (before - mean)).abs();
                        assert!(
                            off <= largest / f64::from(1 << bits),
                            "{precision:?} {k}: {off}"
                        );
                        // What is uploaded is a number of the format to the last bit.
                        let uploaded = (after * scale) as f32;
                        assert_eq!(f64::from(uploaded), after * scale);
                        assert_eq!(rounding.format().nearest(uploaded), uploaded);
                        if precision == Precision::Fp16 {
                            assert!(uploaded.abs() <= 65_504.0, "{size}: {uploaded}");
                        }
                    }
                }
                // The same again: what is stored is what was used.
                assert_eq!(rounding.as_multiplied(before.clone(), SUMS), after);
            }
        }
    }

    #[test]
    fn scales_of_expression_weights_and_sums_cancel() {
        let rounding = Rounding::new(Precision::Fp16, &DEVICE, false, Some(&LARGEST));
        for (k, &largest) in LARGEST.iter().enumerate() {
            let scaled = f64::from(rounding.expression(k, largest as f32));
            assert!((1.0..2.0).contains(&scaled), "{k}: {scaled}");
            let product = scaled * rounding.weight_scale(k, 0);
            assert_eq!(product, f64::from(largest as f32));
            let sum = scaled * rounding.p_scale() * rounding.sum_scale(k);
            assert_eq!(sum, f64::from(largest as f32));
        }
        // The gene of ones.
        assert_eq!(rounding.weight_scale(3, 0), 1.0);
        // A sum of probabilities of 1 does not overflow.
        assert!(rounding.p_scale() < 65_504.0);
    }

    #[test]
    fn single_and_double_precision_stay_as_they_are() {
        for precision in [Precision::F32, Precision::F64] {
            for engine in [Engine::Native, DEVICE] {
                let mut after = weights();
                Rounding::new(precision, &engine, true, None).round(&mut after, SUMS);
                assert_eq!(after, weights());
            }
        }
        let mut after = weights();
        Rounding::new(Precision::Tf32, &Engine::Native, true, None).round(&mut after, SUMS);
        assert_eq!(after, weights());
    }
}
