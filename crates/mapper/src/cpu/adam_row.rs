//! Adam on one row of logits, and the softmax of what comes out.

use crate::cpu::lanes::Real;
use crate::cpu::softmax::{FAR_BELOW, RowNorm, softmax_below, tail};
use pulp::{Simd, WithSimd};
use tangram_core::{Objective, Term};

pub(crate) const BETA_1: f64 = 0.9;
pub(crate) const BETA_2: f64 = 0.999;
pub(crate) const EPSILON: f64 = 1e-8;
/// Times the least normal number of single precision, about 1.
const LARGE: f64 = 1e38;

/// The numbers of one step, the same for every logit (Kingma & Ba 2015, with ε after the bias correction).
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamStep<T> {
    /// lr / (1 − β₁ᵗ).
    step: T,
    /// 1 / √(1 − β₂ᵗ).
    second_scale: T,
    /// λ_r, or nothing where the objective has no entropy term.
    entropy: Option<T>,
    /// λ_l1 and 2 λ_l2, or nothing where both are 0.
    sizes: Option<[T; 2]>,
}

impl<T: Real> AdamStep<T> {
    /// Step `epoch` (from 1).
    pub(crate) fn new(epoch: usize, learning_rate: f64, objective: &Objective) -> Self {
        let t = epoch as i32;
        let entropy = objective[Term::Entropy];
        let sizes = [objective[Term::L1], 2.0 * objective[Term::L2]];
        Self {
            step: T::from_f64(learning_rate / (1.0 - BETA_1.powi(t))),
            second_scale: T::from_f64(1.0 / (1.0 - BETA_2.powi(t)).sqrt()),
            entropy: (entropy != 0.0).then(|| T::from_f64(entropy)),
            sizes: (sizes != [0.0; 2]).then(|| sizes.map(T::from_f64)),
        }
    }
}

impl<T: Real> AdamStep<T> {
    /// The same where the objective had no entropy term.
    pub(crate) fn without_entropy(self) -> Self {
        Self {
            entropy: None,
            ..self
        }
    }

    pub(crate) fn has_entropy(&self) -> bool {
        self.entropy.is_some()
    }
}

/// One step on one row; its rows are (voxels).
///
/// `∂L/∂M̃_ij = P_ij (g_ij − Σ_l P_il g_il) + λ_l1 sign M̃_ij + 2 λ_l2 M̃_ij`, `g_ij = S_i·W_j + u_j/C − λ_r (ln P_ij + 1)`.
pub(crate) struct RowStep<'a, T> {
    pub(crate) logits: &'a mut [T],
    pub(crate) first_moment: &'a mut [T],
    pub(crate) second_moment: &'a mut [T],
    /// On entry `S_i·W_j + u_j/C`, on return P of the new logits; padded to whole vectors.
    pub(crate) gradient: &'a mut [T],
    /// Room for P of the old logits; padded to whole vectors.
    pub(crate) room: &'a mut [T],
    /// Norm of the old logits.
    pub(crate) norm: RowNorm<T>,
    pub(crate) step: AdamStep<T>,
}

/// The first half of a [`RowStep`], of a part of a row: P of the old logits, and the part's share of `Σ_l P_il g_il`.
pub(crate) struct RowDot<'a, T> {
    pub(crate) logits: &'a [T],
    /// On entry `S_i·W_j + u_j/C`, on return g; padded to whole vectors.
    pub(crate) gradient: &'a mut [T],
    /// Gets P; padded to whole vectors.
    pub(crate) room: &'a mut [T],
    /// Norm of the old logits.
    pub(crate) norm: RowNorm<T>,
    pub(crate) step: AdamStep<T>,
}

impl<T: Real> WithSimd for RowDot<'_, T> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        if let Some(weight) = self.step.entropy {
            add_entropy_gradient(simd, self.logits, &self.norm, weight, self.gradient);
        }
        probabilities(simd, self.logits, &self.norm, self.gradient, self.room)
    }
}

/// The second half of a [`RowStep`], of a part of a row; gives the largest new logit.
pub(crate) struct RowUpdate<'a, T> {
    pub(crate) logits: &'a mut [T],
    pub(crate) first_moment: &'a mut [T],
    pub(crate) second_moment: &'a mut [T],
    /// g; padded to whole vectors.
    pub(crate) gradient: &'a [T],
    /// P; padded to whole vectors.
    pub(crate) room: &'a [T],
    /// `Σ_l P_il g_il` of the whole row.
    pub(crate) mean: T,
    pub(crate) step: AdamStep<T>,
}

impl<T: Real> WithSimd for RowUpdate<'_, T> {
    type Output = T;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> T {
        // Two loops: the one that nearly all use has nothing to ask.
        match self.step.sizes {
            None => self.run(simd, |_, g| g),
            Some(sizes) => {
                let [l1, l2] = sizes.map(|weight| T::splat(simd, weight));
                self.run(simd, |x, g| {
                    let g = T::mul_add(simd, l1, sign::<T, S>(simd, x), g);
                    T::mul_add(simd, l2, x, g)
                })
            }
        }
    }
}

/// −1, 0 or 1; of numbers nearer to 0 than the least normal of single precision, something between.
#[inline(always)]
fn sign<T: Real, S: Simd>(simd: S, x: T::V<S>) -> T::V<S> {
    let c = |x: f64| T::splat(simd, T::from_f64(x));
    let at_least = T::max(simd, T::mul(simd, x, c(LARGE)), c(-1.0));
    // The smaller of this and 1.
    let minus = T::sub(simd, T::splat(simd, T::default()), at_least);
    T::sub(
        simd,
        T::splat(simd, T::default()),
        T::max(simd, minus, c(-1.0)),
    )
}

impl<T: Real> RowUpdate<'_, T> {
    /// * `more`: of a logit and its gradient by P, the whole gradient
    #[inline(always)]
    fn run<S: Simd>(self, simd: S, more: impl Fn(T::V<S>, T::V<S>) -> T::V<S>) -> T {
        let Self {
            logits,
            first_moment,
            second_moment,
            gradient,
            room,
            mean,
            step,
        } = self;
        let c = |x: f64| T::splat(simd, T::from_f64(x));
        let constants = Constants {
            beta_1: c(BETA_1),
            rest_1: c(1.0 - BETA_1),
            beta_2: c(BETA_2),
            rest_2: c(1.0 - BETA_2),
            second_scale: T::splat(simd, step.second_scale),
            epsilon: c(EPSILON),
            minus_step: c(-step.step.to_f64()),
        };
        let mean = T::splat(simd, mean);
        let whole = logits.len() / T::lanes::<S>();
        let (x_v, x_rest) = T::vectors_mut::<S>(logits);
        let (m_v, m_rest) = T::vectors_mut::<S>(first_moment);
        let (v_v, v_rest) = T::vectors_mut::<S>(second_moment);
        let (p_v, d_v) = (T::vectors::<S>(room).0, T::vectors::<S>(gradient).0);
        let mut max = c(f64::MIN);
        for ((((x, m), v), &p), &d) in x_v.iter_mut().zip(m_v).zip(v_v).zip(p_v).zip(d_v) {
            let g = more(*x, T::mul(simd, p, T::sub(simd, d, mean)));
            (*x, *m, *v) = step_vector::<T, S>(simd, &constants, *x, *m, *v, g);
            max = T::max(simd, max, *x);
        }
        let mut max = T::reduce_max(simd, max);
        if !x_rest.is_empty() {
            let zero = T::default();
            let g = T::mul(simd, p_v[whole], T::sub(simd, d_v[whole], mean));
            let (x, m, v) = (
                tail::<T, S>(x_rest, zero),
                tail::<T, S>(m_rest, zero),
                tail::<T, S>(v_rest, zero),
            );
            let (x, m, v) = step_vector::<T, S>(simd, &constants, x, m, v, more(x, g));
            store_tail::<T, S>(x_rest, x);
            store_tail::<T, S>(m_rest, m);
            store_tail::<T, S>(v_rest, v);
            max = x_rest
                .iter()
                .fold(max, |max, &x| if x > max { x } else { max });
        }
        max
    }
}

/// The constants of a row as vectors.
#[derive(Clone, Copy)]
struct Constants<V> {
    beta_1: V,
    rest_1: V,
    beta_2: V,
    rest_2: V,
    second_scale: V,
    epsilon: V,
    minus_step: V,
}

impl<T: Real> WithSimd for RowStep<'_, T> {
    type Output = RowNorm<T>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> RowNorm<T> {
        let Self {
            logits,
            first_moment,
            second_moment,
            gradient,
            room,
            norm,
            step,
        } = self;
        let dot = RowDot {
            logits: &*logits,
            gradient: &mut *gradient,
            room: &mut *room,
            norm,
            step,
        };
        let mean = dot.with_simd(simd);
        let update = RowUpdate {
            logits: &mut *logits,
            first_moment,
            second_moment,
            gradient: &*gradient,
            room: &*room,
            mean,
            step,
        };
        let max = update.with_simd(simd);
        softmax_below(simd, logits, max, gradient)
    }
}

/// A [`RowStep`] of a row that counts `weight`; gives also `Σ_j P_ij (S_i·W_j + u_j)` of the old logits, which a filter learns from.
///
/// `g_ij = weight · (S_i·W_j + u_j) − λ_r (ln P_ij + 1)`.
pub(crate) struct WeightedStep<'a, T> {
    pub(crate) row: RowStep<'a, T>,
    pub(crate) weight: T,
}

impl<T: Real> WithSimd for WeightedStep<'_, T> {
    type Output = (RowNorm<T>, f64);

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> (RowNorm<T>, f64) {
        let Self { row, weight } = self;
        let RowStep {
            logits,
            first_moment,
            second_moment,
            gradient,
            room,
            norm,
            step,
        } = row;
        let weighed = probabilities(simd, logits, &norm, gradient, room);
        let by = T::splat(simd, weight);
        for g in T::vectors_mut::<S>(gradient).0 {
            *g = T::mul(simd, *g, by);
        }
        let mean = match step.entropy {
            None => T::from_f64(weight.to_f64() * weighed.to_f64()),
            Some(entropy) => {
                add_entropy_gradient(simd, logits, &norm, entropy, gradient);
                probabilities(simd, logits, &norm, gradient, room)
            }
        };
        let update = RowUpdate {
            logits: &mut *logits,
            first_moment,
            second_moment,
            gradient: &*gradient,
            room: &*room,
            mean,
            step,
        };
        let max = update.with_simd(simd);
        (softmax_below(simd, logits, max, gradient), weighed.to_f64())
    }
}

/// `d_j −= λ_r (ln P_j + 1)`.
#[inline(always)]
fn add_entropy_gradient<T: Real, S: Simd>(
    simd: S,
    logits: &[T],
    norm: &RowNorm<T>,
    weight: T,
    d: &mut [T],
) {
    let minus_weight = T::splat(simd, T::from_f64(-weight.to_f64()));
    let shift = T::splat(
        simd,
        T::from_f64(1.0 - norm.max.to_f64() - norm.log_sum.to_f64()),
    );
    let (x_v, rest) = T::vectors::<S>(logits);
    let d_v = T::vectors_mut::<S>(d).0;
    for (d, &x) in d_v.iter_mut().zip(x_v) {
        *d = T::mul_add(simd, minus_weight, T::add(simd, x, shift), *d);
    }
    if !rest.is_empty() {
        let (x, d) = (tail::<T, S>(rest, norm.max), &mut d_v[x_v.len()]);
        *d = T::mul_add(simd, minus_weight, T::add(simd, x, shift), *d);
    }
}

/// Writes P of the old logits to `room` and returns `Σ_j P_j d_j`.
#[inline(always)]
fn probabilities<T: Real, S: Simd>(
    simd: S,
    logits: &[T],
    norm: &RowNorm<T>,
    d: &[T],
    room: &mut [T],
) -> T {
    let (max, scale) = (T::splat(simd, norm.max), T::splat(simd, norm.inverse_sum));
    let (x_v, rest) = T::vectors::<S>(logits);
    let (d_v, p_v) = (T::vectors::<S>(d).0, T::vectors_mut::<S>(room).0);
    let mut sum = T::splat(simd, T::default());
    for ((p, &x), &d) in p_v.iter_mut().zip(x_v).zip(d_v) {
        *p = T::mul(simd, T::exp(simd, T::sub(simd, x, max)), scale);
        sum = T::mul_add(simd, *p, d, sum);
    }
    if !rest.is_empty() {
        let x = tail::<T, S>(rest, T::from_f64(norm.max.to_f64() - FAR_BELOW));
        let p = T::mul(simd, T::exp(simd, T::sub(simd, x, max)), scale);
        sum = T::mul_add(simd, p, d_v[x_v.len()], sum);
        p_v[x_v.len()] = p;
    }
    T::reduce_sum(simd, sum)
}

#[inline(always)]
fn step_vector<T: Real, S: Simd>(
    simd: S,
    c: &Constants<T::V<S>>,
    x: T::V<S>,
    m: T::V<S>,
    v: T::V<S>,
    g: T::V<S>,
) -> (T::V<S>, T::V<S>, T::V<S>) {
    let m = T::mul_add(simd, c.rest_1, g, T::mul(simd, c.beta_1, m));
    let v = T::mul_add(
        simd,
        T::mul(simd, c.rest_2, g),
        g,
        T::mul(simd, c.beta_2, v),
    );
    let root = T::mul_add(simd, T::sqrt(simd, v), c.second_scale, c.epsilon);
    let x = T::mul_add(simd, c.minus_step, T::div(simd, m, root), x);
    (x, m, v)
}

#[inline(always)]
fn store_tail<T: Real, S: Simd>(rest: &mut [T], vector: T::V<S>) {
    let mut lanes = [T::default(); crate::cpu::softmax::MOST_LANES];
    T::vectors_mut::<S>(&mut lanes).0[0] = vector;
    rest.copy_from_slice(&lanes[..rest.len()]);
}
