//! Products of rows with each other and with weights.

use crate::cpu::lanes::Real;
use crate::cpu::sharded_softmax::ROWS;
use crate::cpu::softmax::{Scale, tail};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

/// `Σ_j a_j b_j` of two rows, or parts of them, of the same length.
pub(crate) struct RowProduct<'a, T> {
    pub(crate) a: &'a [T],
    pub(crate) b: &'a [T],
}

impl<T: Real> WithSimd for RowProduct<'_, T> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let (a, a_rest) = T::vectors::<S>(self.a);
        let (b, b_rest) = T::vectors::<S>(self.b);
        let zero = T::default();
        let mut sum = T::splat(simd, zero);
        for (&a, &b) in a.iter().zip(b) {
            sum = T::mul_add(simd, a, b, sum);
        }
        if !a_rest.is_empty() {
            let (a, b) = (tail::<T, S>(a_rest, zero), tail::<T, S>(b_rest, zero));
            sum = T::mul_add(simd, a, b, sum);
        }
        T::reduce_sum(simd, sum).to_f64()
    }
}

/// Multiplies every row, (voxels), by its weight; rows lie `stride` apart.
pub(crate) fn scale_rows<T: Real>(rows: &mut [T], stride: usize, n_voxels: usize, weights: &[f64]) {
    let arch = Arch::new();
    rows.par_chunks_mut(stride)
        .zip(weights)
        .with_min_len(ROWS)
        .for_each(|(row, &weight)| {
            arch.dispatch(Scale {
                values: &mut row[..n_voxels],
                by: T::from_f64(weight),
            });
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_any_length_are_the_plain_sum() {
        for n in [0usize, 1, 7, 16, 17, 100] {
            let a: Vec<f64> = (0..n).map(|j| (j as f64 * 0.3).sin()).collect();
            let b: Vec<f64> = (0..n).map(|j| (j as f64 * 0.7).cos()).collect();
            let plain: f64 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
            let found = Arch::new().dispatch(RowProduct { a: &a, b: &b });
            assert!((found - plain).abs() < 1e-14, "{n}: {found} {plain}");
        }
    }
}
