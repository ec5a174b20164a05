//! Compositions of spots by cell type: whole numbers of cells drawn from them, and how well they agree with a truth.

use ndarray::{Array2, ArrayView1, ArrayView2, Axis};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Whole numbers that sum to `n`, each less than 1 away from `n` times its share, and equal to it in the mean over u: systematic sampling.
///
/// `c_t = ⌊n S_t + u⌋ − ⌊n S_{t−1} + u⌋` with S the cumulated shares.
///
/// * `shares`: not negative; they are scaled to sum to 1
/// * `u`: in [0, 1)
///
/// # Panics
/// If all shares are 0 and `n` is not.
#[must_use]
pub fn whole_numbers(shares: &[f64], n: usize, u: f64) -> Vec<usize> {
    let all: f64 = shares.iter().sum();
    assert!(n == 0 || all > 0.0, "cells of no type");
    let last = shares.iter().rposition(|&s| s > 0.0).unwrap_or_default();
    let (mut sum, mut before) = (0.0, 0);
    let mut counts = Vec::with_capacity(shares.len());
    for (t, share) in shares.iter().enumerate() {
        sum += share;
        // The last one takes what rounding leaves.
        let up_to = match t >= last {
            true => n,
            false => ((n as f64 * (sum / all.max(f64::MIN_POSITIVE)) + u).floor() as usize).min(n),
        };
        counts.push(up_to - before);
        before = up_to;
    }
    counts
}

/// Random numbers that depend only on a seed and the index of a spot.
#[derive(Debug)]
pub struct SpotRandom(ChaCha8Rng);

impl SpotRandom {
    /// Those of a spot.
    #[must_use]
    pub fn new(seed: u64, spot: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(spot as u64);
        Self(rng)
    }

    /// A number in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Brings values into a random order; Fisher and Yates.
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let below = (i as u128 + 1) * u128::from(self.0.next_u64());
            values.swap(i, (below >> 64) as usize);
        }
    }
}

/// How well one list of shares agrees with another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Agreement {
    /// Pearson's correlation; `None` where one side is constant.
    pub pearson: Option<f64>,
    /// Root of the mean squared difference.
    pub rmse: f64,
    /// Jensen–Shannon divergence in bits, 0 to 1; `None` where one side is 0 everywhere.
    pub jensen_shannon: Option<f64>,
}

/// Agreement of predicted with true shares, (spots, types), of every type and of all together.
///
/// * of a type: over the spots; the divergence is that of its distributions over the spots
/// * pooled: over all pairs of spot and type; the divergence is the mean over the spots of that of their compositions
///
/// # Panics
/// If the shapes differ.
#[must_use]
pub fn agreement(
    predicted: ArrayView2<'_, f64>,
    truth: ArrayView2<'_, f64>,
) -> (Vec<Agreement>, Agreement) {
    assert_eq!(predicted.dim(), truth.dim(), "the same spots and types");
    let types = predicted
        .columns()
        .into_iter()
        .zip(truth.columns())
        .map(|(p, t)| Agreement {
            pearson: pearson(p.iter(), t.iter()),
            rmse: rmse(p.iter(), t.iter()),
            jensen_shannon: jensen_shannon(p, t),
        })
        .collect();
    let spots = predicted.rows().into_iter().zip(truth.rows());
    let divergences: Vec<f64> = spots.filter_map(|(p, t)| jensen_shannon(p, t)).collect();
    let mean = divergences.iter().sum::<f64>() / divergences.len().max(1) as f64;
    let pooled = Agreement {
        pearson: pearson(predicted.iter(), truth.iter()),
        rmse: rmse(predicted.iter(), truth.iter()),
        jensen_shannon: (!divergences.is_empty()).then_some(mean),
    };
    (types, pooled)
}

/// The rows scaled to sum to 1; a row of zeros stays.
#[must_use]
pub fn shares_of(amounts: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut shares = amounts.to_owned();
    for mut row in shares.axis_iter_mut(Axis(0)) {
        let sum = row.sum();
        if sum > 0.0 {
            row /= sum;
        }
    }
    shares
}

fn rmse<'a>(
    a: impl ExactSizeIterator<Item = &'a f64>,
    b: impl ExactSizeIterator<Item = &'a f64>,
) -> f64 {
    let n = a.len().max(1) as f64;
    (a.zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / n).sqrt()
}

fn pearson<'a>(
    a: impl ExactSizeIterator<Item = &'a f64> + Clone,
    b: impl ExactSizeIterator<Item = &'a f64> + Clone,
) -> Option<f64> {
    let n = a.len().max(1) as f64;
    let mean = |values: &mut dyn Iterator<Item = &'a f64>| values.sum::<f64>() / n;
    let (of_a, of_b) = (mean(&mut a.clone()), mean(&mut b.clone()));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (a, b) in a.zip(b) {
        let (a, b) = (a - of_a, b - of_b);
        ab += a * b;
        aa += a * a;
        bb += b * b;
    }
    // What rounding leaves of a constant.
    let varies = |sum: f64, mean: f64| sum > 1e-24 * n * mean * mean && sum > 0.0;
    (varies(aa, of_a) && varies(bb, of_b)).then(|| ab / (aa * bb).sqrt())
}

fn jensen_shannon(a: ArrayView1<'_, f64>, b: ArrayView1<'_, f64>) -> Option<f64> {
    let (of_a, of_b) = (a.sum(), b.sum());
    if of_a <= 0.0 || of_b <= 0.0 {
        return None;
    }
    let part = |x: f64, middle: f64| match x > 0.0 {
        true => x * (x / middle).log2(),
        false => 0.0,
    };
    let terms = a.iter().zip(b).map(|(a, b)| {
        let (a, b) = (a / of_a, b / of_b);
        let middle = (a + b) / 2.0;
        (part(a, middle) + part(b, middle)) / 2.0
    });
    Some(terms.sum::<f64>().clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use proptest::prelude::*;

    #[test]
    fn scores_are_those_of_the_hand() {
        let truth = array![[1.0, 0.0], [0.5, 0.5]];
        let predicted = array![[0.5, 0.5], [0.5, 0.5]];
        let (types, pooled) = agreement(predicted.view(), truth.view());
        // Differences −0.5, 0.5, 0, 0.
        assert!((pooled.rmse - (0.5_f64 / 4.0).sqrt()).abs() < 1e-15);
        assert_eq!((pooled.pearson, types[0].pearson), (None, None));
        // Of (½, ½) and (1, 0): ½ (½ log₂ ⅔ + ½ log₂ 2 + log₂ 4⁄3) = 0.3113; of the second spot 0.
        let first = 0.5 * (0.5 * (2.0_f64 / 3.0).log2() + 0.5 + (4.0_f64 / 3.0).log2());
        assert!((pooled.jensen_shannon.unwrap() - first / 2.0).abs() < 1e-12);
        let predicted = array![[0.8, 0.2], [0.4, 0.6]];
        let (types, pooled) = agreement(predicted.view(), truth.view());
        assert!((types[0].pearson.unwrap() - 1.0).abs() < 1e-12);
        // Σ ab = 0.3·0.5 + 0.3·0.5 + 0.1·0 + 0.1·0 = 0.3; Σ aa = 0.2; Σ bb = 0.5.
        let by_hand = 0.3 / (0.2_f64 * 0.5).sqrt();
        assert!((pooled.pearson.unwrap() - by_hand).abs() < 1e-12);
        let nothing = array![[0.0, 0.0], [0.0, 0.0]];
        let (types, pooled) = agreement(nothing.view(), truth.view());
        assert_eq!(
            (types[0].jensen_shannon, pooled.jensen_shannon),
            (None, None)
        );
    }

    #[test]
    fn the_same_seed_gives_the_same_order_and_spots_differ() {
        let order = |seed, spot| {
            let mut values: Vec<usize> = (0..50).collect();
            SpotRandom::new(seed, spot).shuffle(&mut values);
            values
        };
        assert_eq!(order(1, 3), order(1, 3));
        assert_ne!(order(1, 3), order(1, 4));
        assert_ne!(order(1, 3), order(2, 3));
        let mut sorted = order(7, 7);
        sorted.sort_unstable();
        assert_eq!(sorted, (0..50).collect::<Vec<_>>());
    }

    #[test]
    fn whole_numbers_have_the_shares_as_their_mean() {
        let shares = [0.15, 0.0, 0.6, 0.25];
        let (n, draws) = (3, 1000);
        let mut sums = [0usize; 4];
        for i in 0..draws {
            let u = (f64::from(i) + 0.5) / f64::from(draws);
            for (sum, c) in sums.iter_mut().zip(whole_numbers(&shares, n, u)) {
                *sum += c;
            }
        }
        for (sum, share) in sums.iter().zip(shares) {
            let mean = *sum as f64 / f64::from(draws);
            assert!((mean - n as f64 * share).abs() < 2e-3, "{sums:?}");
        }
    }

    proptest! {
        #[test]
        fn whole_numbers_sum_up_and_are_near_their_shares(
            shares in proptest::collection::vec(0.0f64..1.0, 1..30),
            n in 0usize..200,
            u in 0.0f64..1.0,
        ) {
            let all: f64 = shares.iter().sum();
            prop_assume!(all > 0.0);
            let counts = whole_numbers(&shares, n, u);
            prop_assert_eq!(counts.iter().sum::<usize>(), n);
            for (c, s) in counts.iter().zip(&shares) {
                prop_assert!((*c as f64 - n as f64 * s / all).abs() < 1.0 + 1e-9);
                prop_assert!(*s > 0.0 || *c == 0);
            }
        }
    }
}
