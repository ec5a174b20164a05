//! The row softmax.

use crate::cpu::lanes::Real;
use pulp::{Simd, WithSimd};

/// What turns a row of logits x into probabilities: `P_j = exp(x_j − max) · inverse_sum`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct RowNorm<T> {
    pub(crate) max: T,
    pub(crate) inverse_sum: T,
    /// `ln Σ_j exp(x_j − max)`, so that `ln P_j = x_j − max − log_sum`.
    pub(crate) log_sum: T,
    /// Entropy of the row, in nats.
    pub(crate) entropy: T,
}

impl<T: Real> RowNorm<T> {
    /// * `sum`: `Σ_j exp(x_j − max)`
    /// * `weighted`: `Σ_j exp(x_j − max) (x_j − max)`
    #[inline(always)]
    fn new(max: T, sum: T, weighted: T) -> Self {
        let (sum, weighted) = (sum.to_f64(), weighted.to_f64());
        Self {
            max,
            inverse_sum: T::from_f64(1.0 / sum),
            log_sum: T::from_f64(sum.ln()),
            entropy: T::from_f64(sum.ln() - weighted / sum),
        }
    }
}

/// Most lanes of a vector on any processor.
pub(crate) const MOST_LANES: usize = 16;

/// Far below every maximum: its exponential is the smallest there is, and adds nothing.
pub(crate) const FAR_BELOW: f64 = 1e3;

/// `probabilities = softmax(logits)` of one row.
pub(crate) struct Softmax<'a, T> {
    pub(crate) logits: &'a [T],
    /// At least as long as the logits, padded to whole vectors.
    pub(crate) probabilities: &'a mut [T],
}

impl<T: Real> WithSimd for Softmax<'_, T> {
    type Output = RowNorm<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> RowNorm<T> {
        let max = row_max(simd, self.logits);
        softmax_below(simd, self.logits, max, self.probabilities)
    }
}

/// Softmax of the first `n_voxels` of a row, in its place; what is beyond, up to a whole vector, is padding.
pub(crate) struct SoftmaxInPlace<'a, T> {
    pub(crate) row: &'a mut [T],
    pub(crate) n_voxels: usize,
}

impl<T: Real> WithSimd for SoftmaxInPlace<'_, T> {
    type Output = RowNorm<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> RowNorm<T> {
        let Self { row, n_voxels } = self;
        let max = row_max(simd, &row[..n_voxels]);
        let padded = n_voxels.next_multiple_of(T::lanes::<S>());
        row[n_voxels..padded].fill(T::from_f64(max.to_f64() - FAR_BELOW));
        let vectors = T::vectors_mut::<S>(&mut row[..padded]).0;
        let (max_v, zero) = (T::splat(simd, max), T::splat(simd, T::default()));
        let (mut sum, mut weighted) = (zero, zero);
        for x in vectors.iter_mut() {
            let below = T::sub(simd, *x, max_v);
            *x = T::exp(simd, below);
            sum = T::add(simd, sum, *x);
            weighted = T::mul_add(simd, *x, below, weighted);
        }
        let norm = RowNorm::new(max, T::reduce_sum(simd, sum), T::reduce_sum(simd, weighted));
        let scale = T::splat(simd, norm.inverse_sum);
        for x in vectors {
            *x = T::mul(simd, *x, scale);
        }
        norm
    }
}

/// P of a row, or of a part of one, whose norm is known.
pub(crate) struct SoftmaxOf<'a, T> {
    pub(crate) logits: &'a [T],
    pub(crate) norm: RowNorm<T>,
    /// At least as long as the logits, padded to whole vectors.
    pub(crate) probabilities: &'a mut [T],
}

impl<T: Real> WithSimd for SoftmaxOf<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            logits,
            norm,
            probabilities,
        } = self;
        let (max, scale) = (T::splat(simd, norm.max), T::splat(simd, norm.inverse_sum));
        let of = |x| T::mul(simd, T::exp(simd, T::sub(simd, x, max)), scale);
        let (vectors, rest) = T::vectors::<S>(logits);
        let out = T::vectors_mut::<S>(probabilities).0;
        for (out, &x) in out.iter_mut().zip(vectors) {
            *out = of(x);
        }
        if !rest.is_empty() {
            out[vectors.len()] = of(tail::<T, S>(
                rest,
                T::from_f64(norm.max.to_f64() - FAR_BELOW),
            ));
        }
    }
}

/// Replaces a part of a row by `exp(x_j − max)`, max being its largest; gives max, `Σ_j exp(x_j − max)` and `Σ_j exp(x_j − max) (x_j − max)`.
pub(crate) struct ExpBelowMax<'a, T> {
    pub(crate) values: &'a mut [T],
}

impl<T: Real> WithSimd for ExpBelowMax<'_, T> {
    type Output = [f64; 3];

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> [f64; 3] {
        let max = row_max(simd, self.values);
        let (vectors, rest) = T::vectors_mut::<S>(self.values);
        let (max_v, zero) = (T::splat(simd, max), T::splat(simd, T::default()));
        let (mut sum, mut weighted) = (zero, zero);
        for x in vectors {
            let below = T::sub(simd, *x, max_v);
            *x = T::exp(simd, below);
            sum = T::add(simd, sum, *x);
            weighted = T::mul_add(simd, *x, below, weighted);
        }
        if !rest.is_empty() {
            let x = tail::<T, S>(rest, T::from_f64(max.to_f64() - FAR_BELOW));
            let below = T::sub(simd, x, max_v);
            let e = T::exp(simd, below);
            sum = T::add(simd, sum, e);
            weighted = T::mul_add(simd, e, below, weighted);
            let mut lanes = [T::default(); MOST_LANES];
            T::vectors_mut::<S>(&mut lanes).0[0] = e;
            rest.copy_from_slice(&lanes[..rest.len()]);
        }
        [
            max.to_f64(),
            T::reduce_sum(simd, sum).to_f64(),
            T::reduce_sum(simd, weighted).to_f64(),
        ]
    }
}

/// Multiplies every value.
pub(crate) struct Scale<'a, T> {
    pub(crate) values: &'a mut [T],
    pub(crate) by: T,
}

impl<T: Real> WithSimd for Scale<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let by = T::splat(simd, self.by);
        let (vectors, rest) = T::vectors_mut::<S>(self.values);
        for x in vectors {
            *x = T::mul(simd, *x, by);
        }
        if !rest.is_empty() {
            let scaled = T::mul(simd, tail::<T, S>(rest, T::default()), by);
            let mut lanes = [T::default(); MOST_LANES];
            T::vectors_mut::<S>(&mut lanes).0[0] = scaled;
            rest.copy_from_slice(&lanes[..rest.len()]);
        }
    }
}

/// Largest of a row that is not empty.
#[inline(always)]
pub(crate) fn row_max<T: Real, S: Simd>(simd: S, row: &[T]) -> T {
    let (vectors, rest) = T::vectors::<S>(row);
    let mut max = T::splat(simd, row[0]);
    for &x in vectors {
        max = T::max(simd, max, x);
    }
    let max = T::reduce_max(simd, max);
    rest.iter()
        .fold(max, |max, &x| if x > max { x } else { max })
}

/// The last, incomplete vector of a row, filled up with `fill`.
#[inline(always)]
pub(crate) fn tail<T: Real, S: Simd>(rest: &[T], fill: T) -> T::V<S> {
    let mut lanes = [fill; MOST_LANES];
    lanes[..rest.len()].copy_from_slice(rest);
    T::vectors::<S>(&lanes[..T::lanes::<S>()]).0[0]
}

/// Softmax of a row whose maximum is known.
#[inline(always)]
pub(crate) fn softmax_below<T: Real, S: Simd>(
    simd: S,
    logits: &[T],
    max: T,
    probabilities: &mut [T],
) -> RowNorm<T> {
    let (vectors, rest) = T::vectors::<S>(logits);
    let out = T::vectors_mut::<S>(probabilities).0;
    let (max_v, zero) = (T::splat(simd, max), T::splat(simd, T::default()));
    let (mut sum, mut weighted) = (zero, zero);
    for (out, &x) in out.iter_mut().zip(vectors) {
        let below = T::sub(simd, x, max_v);
        let e = T::exp(simd, below);
        *out = e;
        sum = T::add(simd, sum, e);
        weighted = T::mul_add(simd, e, below, weighted);
    }
    let mut used = vectors.len();
    if !rest.is_empty() {
        let below = T::sub(
            simd,
            tail::<T, S>(rest, T::from_f64(max.to_f64() - FAR_BELOW)),
            max_v,
        );
        let e = T::exp(simd, below);
        out[used] = e;
        used += 1;
        sum = T::add(simd, sum, e);
        weighted = T::mul_add(simd, e, below, weighted);
    }
    let norm = RowNorm::new(max, T::reduce_sum(simd, sum), T::reduce_sum(simd, weighted));
    let scale = T::splat(simd, norm.inverse_sum);
    for out in &mut out[..used] {
        *out = T::mul(simd, *out, scale);
    }
    norm
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::Arch;

    #[test]
    fn rows_of_any_length_and_scale_sum_to_one() {
        for n in [1usize, 2, 15, 16, 17, 33, 250] {
            for scale in [0.0, 1.0, 1e4, -1e4] {
                let logits: Vec<f64> = (0..n)
                    .map(|j| scale + (j as f64 * 0.7).sin() * 5.0)
                    .collect();
                let mut p = vec![0.0; n.next_multiple_of(16)];
                let norm = Arch::new().dispatch(Softmax {
                    logits: &logits,
                    probabilities: &mut p,
                });
                let exps: Vec<f64> = logits.iter().map(|x| (x - norm.max).exp()).collect();
                let sum: f64 = exps.iter().sum();
                let entropy: f64 = exps.iter().map(|e| -(e / sum) * (e / sum).ln()).sum();
                assert!((norm.entropy - entropy).abs() < 1e-12);
                for (p, e) in p.iter().zip(&exps) {
                    assert!((p - e / sum).abs() < 1e-14);
                }
                let mut row = logits.clone();
                row.resize(n.next_multiple_of(16), f64::NAN);
                let row_norm = Arch::new().dispatch(SoftmaxInPlace {
                    row: &mut row,
                    n_voxels: n,
                });
                assert_eq!(row_norm.entropy, norm.entropy);
                let mut part = logits.clone();
                let [max, sum, weighted] = Arch::new().dispatch(ExpBelowMax { values: &mut part });
                assert_eq!(max, norm.max);
                assert!((sum.ln() - weighted / sum - entropy).abs() < 1e-12);
                Arch::new().dispatch(Scale {
                    values: &mut part,
                    by: 1.0 / sum,
                });
                assert!(part.iter().zip(&p).all(|(x, p)| (x - p).abs() < 1e-14));
                assert_eq!(row[..n], p[..n]);
            }
        }
    }
}
