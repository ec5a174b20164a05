//! Arithmetic on vectors of either precision, as wide as the processor has them.
//!
//! `pulp` chooses the instruction set when the program runs; every kernel of this crate is written once, over [`Real`].

use pulp::Simd;

/// `f32` or `f64`, with the vector operations that the kernels need.
pub(crate) trait Real: Copy + Default + PartialOrd + Send + Sync + 'static {
    /// A vector register of numbers.
    type V<S: Simd>: Copy;
    fn from_f64(x: f64) -> Self;
    fn to_f64(self) -> f64;
    fn lanes<S: Simd>() -> usize;
    /// Whole vectors, and the remaining numbers.
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

/// Functions of vectors of `$v`, each by the method of pulp's [`Simd`] that does it.
macro_rules! by_pulp {
    ($v:ident: $($name:ident($($of:ident),+) = $method:ident;)+) => {
        $(
            #[inline(always)]
            fn $name<S: Simd>(simd: S, $($of: S::$v),+) -> S::$v {
                simd.$method($($of),+)
            }
        )+
    };
}

impl Real for f32 {
    type V<S: Simd> = S::f32s;

    by_pulp! { f32s:
        add(a, b) = add_f32s;
        sub(a, b) = sub_f32s;
        mul(a, b) = mul_f32s;
        div(a, b) = div_f32s;
        sqrt(a) = sqrt_f32s;
        max(a, b) = max_f32s;
        mul_add(a, b, c) = mul_add_e_f32s;
    }

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x as Self
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self.into()
    }

    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        S::F32_LANES
    }

    #[inline(always)]
    fn vectors<S: Simd>(x: &[Self]) -> (&[S::f32s], &[Self]) {
        S::as_simd_f32s(x)
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [S::f32s], &mut [Self]) {
        S::as_mut_simd_f32s(x)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f32s {
        simd.splat_f32s(x)
    }

    #[inline(always)]
    fn reduce_sum<S: Simd>(simd: S, a: S::f32s) -> Self {
        simd.reduce_sum_f32s(a)
    }

    #[inline(always)]
    fn reduce_max<S: Simd>(simd: S, a: S::f32s) -> Self {
        simd.reduce_max_f32s(a)
    }

    #[inline(always)]
    fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
        exp_f32(simd, x)
    }
}

impl Real for f64 {
    type V<S: Simd> = S::f64s;

    by_pulp! { f64s:
        add(a, b) = add_f64s;
        sub(a, b) = sub_f64s;
        mul(a, b) = mul_f64s;
        div(a, b) = div_f64s;
        sqrt(a) = sqrt_f64s;
        max(a, b) = max_f64s;
        mul_add(a, b, c) = mul_add_e_f64s;
    }

    #[inline(always)]
    fn from_f64(x: f64) -> Self {
        x
    }

    #[inline(always)]
    fn to_f64(self) -> f64 {
        self
    }

    #[inline(always)]
    fn lanes<S: Simd>() -> usize {
        S::F64_LANES
    }

    #[inline(always)]
    fn vectors<S: Simd>(x: &[Self]) -> (&[S::f64s], &[Self]) {
        S::as_simd_f64s(x)
    }

    #[inline(always)]
    fn vectors_mut<S: Simd>(x: &mut [Self]) -> (&mut [S::f64s], &mut [Self]) {
        S::as_mut_simd_f64s(x)
    }

    #[inline(always)]
    fn splat<S: Simd>(simd: S, x: Self) -> S::f64s {
        simd.splat_f64s(x)
    }

    #[inline(always)]
    fn reduce_sum<S: Simd>(simd: S, a: S::f64s) -> Self {
        simd.reduce_sum_f64s(a)
    }

    #[inline(always)]
    fn reduce_max<S: Simd>(simd: S, a: S::f64s) -> Self {
        simd.reduce_max_f64s(a)
    }

    #[inline(always)]
    fn exp<S: Simd>(simd: S, x: S::f64s) -> S::f64s {
        exp_f64(simd, x)
    }
}

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
