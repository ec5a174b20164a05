//! [`Reduce`]: sums over ranks, either as fast as possible or independent of the number of ranks.
//!
//! Exact sums work like this. Summands are rounded to multiples of a power of two, the *step*. If the step is large
//! enough for the size of the sum ([`step_for`]), double precision adds such multiples without rounding, so the order of
//! the additions does not matter. [`on_grid`] rounds one number.

use crate::Communicator;
use std::fmt::{self, Display};
use std::str::FromStr;

/// How sums over ranks are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reduce {
    /// In the fastest order: the same bits in every run on the same grid; on other grids equal within rounding.
    #[default]
    Fast,
    /// The same bits for any number of ranks: the sums of fixed blocks are rounded to multiples of a step, whose sum is
    /// exact in double precision.
    Exact,
}

impl Display for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fast => "fast",
            Self::Exact => "exact",
        })
    }
}

impl FromStr for Reduce {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fast" => Ok(Self::Fast),
            "exact" => Ok(Self::Exact),
            _ => Err(format!("`{text}` is not one of: fast, exact")),
        }
    }
}

/// The step for sums up to `largest_sum`: a power of 2 whose multiples are added exactly in double precision.
#[must_use]
pub fn step_for(largest_sum: f64) -> f64 {
    if largest_sum <= 0.0 || !largest_sum.is_finite() {
        return 1.0;
    }
    // 52 bits of mantissa, less one bit because rounding can enlarge the summands.
    2f64.powi((largest_sum.log2().floor() as i32 + 1 - 51).max(-1000))
}

/// Rounds `x` to the nearest multiple of `step`, where `step` is [`step_for`] of a number of at least `|x|`.
#[must_use]
#[inline(always)]
pub fn on_grid(x: f64, step: f64) -> f64 {
    // In the sum with this number one unit in the last place is the step, so the addition rounds x (ties to even).
    let large = 1.5 * step * (1u64 << 52) as f64;
    (x + large) - large
}

/// Sums over the blocks of all ranks, entry by entry.
///
/// * `blocks`: for each block of this rank, its sums
/// * `n_blocks`: number of blocks of all ranks
pub(crate) fn sum_blocks<K: Communicator>(
    comm: &K,
    how: Reduce,
    n_blocks: usize,
    mut blocks: Vec<Vec<f64>>,
) -> Vec<f64> {
    if how == Reduce::Exact && n_blocks > 1 {
        let mut largest = vec![0.0f64; blocks[0].len()];
        for block in &blocks {
            for (largest, x) in largest.iter_mut().zip(block) {
                *largest = largest.max(x.abs());
            }
        }
        comm.max(&mut largest);
        for (k, largest) in largest.into_iter().enumerate() {
            let step = step_for(largest * n_blocks as f64);
            blocks.iter_mut().for_each(|b| b[k] = on_grid(b[k], step));
        }
    }
    let mut blocks = blocks.into_iter();
    let mut sum = blocks.next().unwrap_or_default();
    for block in blocks {
        sum.iter_mut().zip(block).for_each(|(sum, x)| *sum += x);
    }
    comm.sum(&mut sum);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_on_a_grid_are_the_same_in_any_order() {
        let summands: Vec<f64> = (0..1000)
            .map(|i| (f64::from(i) * 0.7).sin() * 10f64.powi(i % 9 - 4))
            .collect();
        let largest = summands.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let step = step_for(largest * 1000.0);
        let rounded: Vec<f64> = summands.iter().map(|&x| on_grid(x, step)).collect();
        let forward: f64 = rounded.iter().sum();
        let backward: f64 = rounded.iter().rev().sum();
        assert_eq!(forward, backward);
        let by_threes: f64 = rounded.chunks(3).map(|c| c.iter().sum::<f64>()).sum();
        assert_eq!(forward, by_threes);
        let plain: f64 = summands.iter().sum();
        assert_ne!(
            plain,
            summands.iter().rev().sum::<f64>(),
            "the order must matter without rounding, or this test shows nothing"
        );
        assert!((plain - forward).abs() < 1000.0 * step);
    }

    #[test]
    fn grid_points_are_nearest_and_exact() {
        let step = step_for(100.0);
        for x in [0.0, 1.0, -1.0, 99.9, -63.123_456, 1e-9, -step, 0.6 * step] {
            let on = on_grid(x, step);
            assert!((on - x).abs() <= step / 2.0, "{x}");
            assert_eq!((on / step).fract(), 0.0);
        }
        assert_eq!(on_grid(0.6 * step, step), step);
    }
}
