//! Arithmetic on vectors of either precision, as wide as the processor has them.
//!
//! `pulp` chooses the instruction set when the program runs; every kernel of this crate is written once, over [`Real`].

use crate::snapshot::Numbers;
use ndarray::Array2;
use pulp::Simd;
use tangram_comm::{Communicator, Grid};

/// `f32` or `f64`, with the vector operations that the kernels need.
pub(crate) trait Real: Copy + Default + PartialOrd + Send + Sync + 'static {
    type V<S: Simd>: Copy;
    /// The tch kind of this number.
    const KIND: tch::Kind;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    /// In a snapshot.
    fn numbers(values: Array2<Self>) -> Numbers;
    /// Sums logits over the ranks along the genes while `work` is done.
    fn sum_logits<K: Communicator>(grid: &Grid<K>, values: &mut [Self], work: &mut dyn FnMut());
    /// Sums what the ranks along the cells predict.
    fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]);
    fn lanes<S: Simd>() -> usize;
    /// Whole vectors, and what is left.
    fn vectors<S: Simd>(x: &[Self]) -> (&[Self::V<S>], &[Self]);
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [Self::V<S>], &mut [Self]);
    fn splat<S: Simd>(simd: S, x: Self) -> Self::V<S>;
    fn add<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn sub<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn mul<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn div<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    fn sqrt<S: Simd>(simd: S, a: Self::V<S>) -> Self::V<S>;
    fn max<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>) -> Self::V<S>;
    /// `a · b + c`.
    fn mul_add<S: Simd>(simd: S, a: Self::V<S>, b: Self::V<S>, c: Self::V<S>) -> Self::V<S>;
    fn reduce_sum<S: Simd>(simd: S, a: Self::V<S>) -> Self;
    fn reduce_max<S: Simd>(simd: S, a: Self::V<S>) -> Self;
    /// exp(x) for x ≤ 0.
    fn exp<S: Simd>(simd: S, x: Self::V<S>) -> Self::V<S>;
}

macro_rules! real {
    ($real:ty, $kind:expr, $lanes:ident, $vectors:ident, $vectors_mut:ident, $v:ident, $splat:ident, $add:ident, $sub:ident, $mul:ident, $div:ident,
     $sqrt:ident, $max:ident, $mul_add:ident, $sum:ident, $reduce_max:ident, $exp:path, $sum_logits:ident, $sum_predicted:ident, $numbers:path) => {
        impl Real for $real {
            type V<S: Simd> = S::$v;
            const KIND: tch::Kind = $kind;
            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self.into()
            }
            fn numbers(values: Array2<Self>) -> Numbers {
                $numbers(values)
            }
            fn sum_logits<K: Communicator>(
                grid: &Grid<K>,
                values: &mut [Self],
                work: &mut dyn FnMut(),
            ) {
                grid.$sum_logits(values, work);
            }
            fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]) {
                grid.$sum_predicted(values);
            }
            #[inline(always)]
            fn lanes<S: Simd>() -> usize {
                S::$lanes
            }
            #[inline(always)]
            fn vectors<S: Simd>(x: &[Self]) -> (&[S::$v], &[Self]) {
                S::$vectors(x)
            }
            #[inline(always)]
            fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [S::$v], &mut [Self]) {
                S::$vectors_mut(x)
            }
            #[inline(always)]
            fn splat<S: Simd>(simd: S, x: Self) -> S::$v {
                simd.$splat(x)
            }
            #[inline(always)]
            fn add<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$add(a, b)
            }
            #[inline(always)]
            fn sub<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$sub(a, b)
            }
            #[inline(always)]
            fn mul<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$mul(a, b)
            }
            #[inline(always)]
            fn div<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$div(a, b)
            }
            #[inline(always)]
            fn sqrt<S: Simd>(simd: S, a: S::$v) -> S::$v {
                simd.$sqrt(a)
            }
            #[inline(always)]
            fn max<S: Simd>(simd: S, a: S::$v, b: S::$v) -> S::$v {
                simd.$max(a, b)
            }
            #[inline(always)]
            fn mul_add<S: Simd>(simd: S, a: S::$v, b: S::$v, c: S::$v) -> S::$v {
                simd.$mul_add(a, b, c)
            }
            #[inline(always)]
            fn reduce_sum<S: Simd>(simd: S, a: S::$v) -> Self {
                simd.$sum(a)
            }
            #[inline(always)]
            fn reduce_max<S: Simd>(simd: S, a: S::$v) -> Self {
                simd.$reduce_max(a)
            }
            #[inline(always)]
            fn exp<S: Simd>(simd: S, x: S::$v) -> S::$v {
                $exp(simd, x)
            }
        }
    };
}

real!(
    f32,
    tch::Kind::Float,
    F32_LANES,
    as_simd_f32s,
    as_mut_simd_f32s,
    f32s,
    splat_f32s,
    add_f32s,
    sub_f32s,
    mul_f32s,
    div_f32s,
    sqrt_f32s,
    max_f32s,
    mul_add_e_f32s,
    reduce_sum_f32s,
    reduce_max_f32s,
    exp_f32,
    sum_logits_single,
    sum_predicted_single,
    Numbers::Single
);
real!(
    f64,
    tch::Kind::Double,
    F64_LANES,
    as_simd_f64s,
    as_mut_simd_f64s,
    f64s,
    splat_f64s,
    add_f64s,
    sub_f64s,
    mul_f64s,
    div_f64s,
    sqrt_f64s,
    max_f64s,
    mul_add_e_f64s,
    reduce_sum_f64s,
    reduce_max_f64s,
    exp_f64,
    sum_logits,
    sum_predicted,
    Numbers::Double
);

/// exp(x) for x ≤ 0 within 2 units of the last place; arguments below −87 count as −87, so that no probability is 0 or denormal.
///
/// `x = n ln 2 + r` with n rounded by adding 1.5·2²³ (whose low bits then hold n, and with 127 more the exponent of 2ⁿ); a polynomial in r as in Cephes' `expf`.
#[inline(always)]
fn exp_f32<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let c = |x: f32| simd.splat_f32s(x);
    let magic = c(12_582_912.0 + 127.0);
    let x = simd.max_f32s(x, c(-87.0));
    let shifted = simd.mul_add_e_f32s(x, c(std::f32::consts::LOG2_E), magic);
    let n = simd.sub_f32s(shifted, magic);
    let r = simd.mul_add_e_f32s(n, c(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, c(2.121_944_4e-4), r);
    let mut p = c(1.987_569_1e-4);
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = simd.mul_add_e_f32s(p, r, c(coefficient));
    }
    let p = simd.mul_add_e_f32s(simd.mul_f32s(p, r), r, simd.add_f32s(r, c(1.0)));
    let power = simd.wrapping_dyn_shl_u32s(simd.transmute_u32s_f32s(shifted), simd.splat_u32s(23));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(power))
}

/// exp(x), lane by lane: double precision is for comparisons, not for speed.
#[inline(always)]
fn exp_f64<S: Simd>(_: S, mut x: S::f64s) -> S::f64s {
    for lane in pulp::bytemuck::cast_slice_mut::<S::f64s, f64>(std::slice::from_mut(&mut x)) {
        *lane = lane.max(-708.0).exp();
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;
    use pulp::{Arch, WithSimd};

    struct Exp<'a, T>(&'a mut [T]);
    impl<T: Real> WithSimd for Exp<'_, T> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for v in T::vectors_mut::<S>(self.0).0 {
                *v = T::exp(simd, *v);
            }
        }
    }

    fn worst_relative_error<T: Real>(lowest: f64) -> f64 {
        let n = 1 << 16;
        let inputs: Vec<T> = (0..n)
            .map(|i| T::from_f64(lowest * i as f64 / n as f64))
            .collect();
        let mut outputs = inputs.clone();
        Arch::new().dispatch(Exp(&mut outputs));
        let errors = inputs
            .iter()
            .zip(&outputs)
            .map(|(x, y)| y.to_f64() / x.to_f64().exp() - 1.0);
        errors.map(f64::abs).fold(0.0, f64::max)
    }

    #[test]
    fn exponentials_are_exact_to_two_units_of_the_last_place() {
        assert!(worst_relative_error::<f32>(-87.0) < 2.0 * f64::from(f32::EPSILON));
        assert!(worst_relative_error::<f64>(-700.0) < 2.0 * f64::EPSILON);
    }

    #[test]
    fn far_below_is_next_to_nothing_but_no_nan() {
        let mut x = vec![f32::NEG_INFINITY; 64];
        Arch::new().dispatch(Exp(&mut x));
        assert!(x.iter().all(|&y| y > 0.0 && y < 1e-37));
    }
}
