//! Which entries of the mapping P are stored: usually the few that hold almost all of each cell's probability.
//!
//! [`Keep`] is the choice (`--keep`), [`keep_block`] applies it to a block of rows.

use crate::SparseRows;
use ndarray::ArrayView2;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which entries of a row of P are kept; written `all`, `mass:SHARE` or `top:NUMBER`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// Every entry above 0.
    All,
    /// The fewest entries whose sum reaches this share of the row, and all other large entries (see [`keep_row`]). The
    /// share is above 0 and at most 1.
    Mass(f64),
    /// The largest entries, up to this number, at least 1.
    Top(usize),
}

/// Why a text is not a [`Keep`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// The text has none of the three forms.
    #[error("`{0}` is not one of: all, mass:SHARE (e.g. mass:0.999), top:NUMBER (e.g. top:50)")]
    Unknown(String),
    /// The share is not in (0, 1].
    #[error("`mass:{0}`: the share must be a number above 0 and at most 1, e.g. mass:0.999")]
    Mass(String),
    /// The number of entries is not a whole number above 0.
    #[error("`top:{0}`: the number of entries must be a whole number, 1 or more, e.g. top:50")]
    Top(String),
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.pad("all"),
            Self::Mass(share) => f.pad(&format!("mass:{share}")),
            Self::Top(count) => f.pad(&format!("top:{count}")),
        }
    }
}

impl FromStr for Keep {
    type Err = KeepError;

    fn from_str(text: &str) -> Result<Self, KeepError> {
        match text.split_once(':') {
            None if text == "all" => Ok(Self::All),
            Some(("mass", share)) => match share.parse() {
                Ok(m) if m > 0.0 && m <= 1.0 => Ok(Self::Mass(m)),
                _ => Err(KeepError::Mass(share.to_owned())),
            },
            Some(("top", count)) => match count.parse() {
                Ok(k) if k > 0 => Ok(Self::Top(k)),
                _ => Err(KeepError::Top(count.to_owned())),
            },
            _ => Err(KeepError::Unknown(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Keep {
    type Error = KeepError;

    fn try_from(text: String) -> Result<Self, KeepError> {
        text.parse()
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> Self {
        keep.to_string()
    }
}

/// Buffers of [`keep_row`], reused for every row.
#[derive(Debug, Clone, Default)]
pub struct KeepScratch {
    mass: Vec<f64>,
    count: Vec<usize>,
    edge: Vec<(u32, f32)>,
}

/// Number of values of [`bucket`].
const BUCKETS: usize = 1 << 11;

/// The histogram bucket of a positive number: its exponent and the first three bits of its mantissa.
///
/// Buckets never decrease with the number, and numbers in one bucket differ by at most an eighth.
fn bucket(p: f32) -> usize {
    (p.to_bits() >> 20) as usize
}

/// Entries above this multiple of the mean dropped mass per voxel, `(1 − m) Σ_j P_ij / V`, are always kept.
///
/// Without this bound a flat row loses entries that matter: the transfer of a rare type was wrong by 0.7 % of its largest
/// value although only 0.1 % of the mass was dropped. Measured on simulated tissues, the error is 0.08 % with a factor of
/// 10, and half of 0.1 % with 5, which stores 8.5 % of P instead of 5.5 % (after 1,000 epochs).
const LARGE: f64 = 5.0;

/// The kept entries (voxel, probability) of one row of P, by ascending voxel, and the sum of the dropped entries.
///
/// * `row`: probabilities of one cell, one per voxel (V entries)
///
/// `Mass(m)` keeps the fewest entries with `Σ_kept P_ij ≥ m · Σ_j P_ij`, and also every entry above
/// `5 (1 − m) Σ_j P_ij / V`, so that the error of a transfer is small in every voxel. Of equal entries the lower voxel is
/// kept first. Zeros are never kept. Rows are not sorted: a histogram finds the few entries near the threshold.
pub fn keep_row(row: &[f32], keep: Keep, scratch: &mut KeepScratch) -> (Vec<(u32, f32)>, f64) {
    let positive = || (0u32..).zip(row.iter().copied()).filter(|e| e.1 > 0.0);
    let Some((last, smallest)) = last_kept(row, keep, scratch) else {
        return (positive().collect(), 0.0);
    };
    let large = match keep {
        Keep::Mass(share) => {
            let total: f64 = row.iter().map(|&p| f64::from(p)).sum();
            LARGE * (1.0 - share) * total / row.len() as f64
        }
        _ => f64::INFINITY,
    };
    let (mut kept, mut dropped) = (Vec::new(), 0.0);
    for (voxel, p) in positive() {
        let needed = p > smallest || (p == smallest && voxel <= last);
        if needed || f64::from(p) > large {
            kept.push((voxel, p));
        } else {
            dropped += f64::from(p);
        }
    }
    (kept, dropped)
}

/// The last entry that is kept, (voxel, probability), in the order of descending probability and ascending voxel;
/// `None` if all entries are kept.
fn last_kept(row: &[f32], keep: Keep, scratch: &mut KeepScratch) -> Option<(u32, f32)> {
    let KeepScratch { mass, count, edge } = scratch;
    mass.resize(BUCKETS, 0.0);
    count.resize(BUCKETS, 0);
    let (mut low, mut high) = (BUCKETS, 0);
    if keep != Keep::All {
        for &p in row.iter().filter(|&&p| p > 0.0) {
            let b = bucket(p);
            mass[b] += f64::from(p);
            count[b] += 1;
            (low, high) = (low.min(b), high.max(b));
        }
    }
    if low > high {
        return None;
    }
    let buckets = low..=high;
    // Summed from high to low, as below, so that the last bucket reaches the total of `mass:1` exactly.
    let total: f64 = buckets.clone().rev().fold(0.0, |sum, b| sum + mass[b]);
    let enough = |mass: f64, count: usize| match keep {
        Keep::All => false,
        Keep::Mass(share) => mass >= share * total,
        Keep::Top(most) => count >= most,
    };
    let (mut kept_mass, mut kept_count) = (0.0, 0);
    let found = buckets.clone().rev().find(|&b| {
        let reached = enough(kept_mass + mass[b], kept_count + count[b]);
        if !reached {
            kept_mass += mass[b];
            kept_count += count[b];
        }
        reached
    });
    mass[buckets.clone()].fill(0.0);
    count[buckets].fill(0);
    let found = found?;
    edge.clear();
    edge.extend(
        (0u32..)
            .zip(row.iter().copied())
            .filter(|e| e.1 > 0.0 && bucket(e.1) == found),
    );
    edge.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    for &(voxel, p) in edge.iter() {
        kept_mass += f64::from(p);
        kept_count += 1;
        if enough(kept_mass, kept_count) {
            return Some((voxel, p));
        }
    }
    edge.last().copied()
}

/// Applies [`keep_row`] to every row of a block in parallel; returns the kept block and the dropped mass per row.
///
/// * `block`: (cells, voxels)
#[must_use]
pub fn keep_block(block: ArrayView2<'_, f32>, keep: Keep) -> (SparseRows, Vec<f64>) {
    let kept: Vec<_> = (0..block.nrows())
        .into_par_iter()
        .map_init(KeepScratch::default, |scratch, i| {
            let row = block.row(i);
            match row.to_slice() {
                Some(row) => keep_row(row, keep, scratch),
                None => keep_row(&row.to_vec(), keep, scratch),
            }
        })
        .collect();
    let mut rows = SparseRows::empty(block.ncols());
    let mut dropped = Vec::with_capacity(kept.len());
    for (entries, mass) in kept {
        rows.push_row(entries);
        dropped.push(mass);
    }
    (rows, dropped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition without the histogram: sort all entries and take them from the largest down.
    fn plainly(row: &[f32], keep: Keep) -> Vec<(u32, f32)> {
        let mut order: Vec<(u32, f32)> = (0u32..)
            .zip(row.iter().copied())
            .filter(|e| e.1 > 0.0)
            .collect();
        order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = order.iter().map(|e| f64::from(e.1)).sum();
        let count = match keep {
            Keep::All => order.len(),
            Keep::Top(most) => most.min(order.len()),
            Keep::Mass(share) => {
                let mut sum = 0.0;
                let reached = order.iter().position(|e| {
                    sum += f64::from(e.1);
                    sum >= share * total
                });
                reached.map_or(order.len(), |at| at + 1)
            }
        };
        order.truncate(count);
        order.sort_by_key(|e| e.0);
        order
    }

    /// Rows as training produces them: from flat (sharpness 0) to a single voxel, with zeros from underflow.
    fn softmax_row() -> impl Strategy<Value = Vec<f32>> {
        (prop::collection::vec(-4.0f32..4.0, 1..400), 0.0f32..60.0).prop_map(
            |(logits, sharpness)| {
                let top = logits.iter().copied().fold(f32::MIN, f32::max);
                let raised: Vec<f32> = logits
                    .iter()
                    .map(|x| (sharpness * (x - top)).exp())
                    .collect();
                let sum: f32 = raised.iter().sum();
                raised.iter().map(|x| x / sum).collect()
            },
        )
    }

    proptest! {
        #[test]
        fn mass_keeps_the_fewest_entries_that_reach_it(row in softmax_row(), share in 0.01f64..=1.0) {
            let (kept, dropped) = keep_row(&row, Keep::Mass(share), &mut KeepScratch::default());
            let total: f64 = row.iter().map(|&p| f64::from(p)).sum();
            let held: f64 = kept.iter().map(|e| f64::from(e.1)).sum();
            let smallest = kept.iter().map(|e| f64::from(e.1)).fold(1.0, f64::min);
            // The same numbers are summed in another order.
            let rounding = 1e-13;
            let large = LARGE * (1.0 - share) * total / row.len() as f64;
            prop_assert!(held >= share * total - rounding);
            prop_assert!(held - smallest < share * total + rounding || smallest > large - rounding);
            let is_kept = |j: u32| kept.iter().any(|e| e.0 == j);
            let lost = (0u32..).zip(&row).find(|&(j, &p)| f64::from(p) > large + rounding && !is_kept(j));
            prop_assert!(lost.is_none());
            prop_assert!((held + dropped - total).abs() < rounding);
            prop_assert!(kept.windows(2).all(|w| w[0].0 < w[1].0));
            prop_assert!(kept.iter().all(|&(j, p)| p > 0.0 && row[j as usize] == p));
        }

        #[test]
        fn one_scratch_serves_all_rows(rows in prop::collection::vec(softmax_row(), 1..6), most in 1usize..50) {
            let mut scratch = KeepScratch::default();
            for row in &rows {
                for keep in [Keep::Top(most), Keep::All, Keep::Mass(0.9)] {
                    let alone = keep_row(row, keep, &mut KeepScratch::default());
                    prop_assert_eq!(&keep_row(row, keep, &mut scratch), &alone);
                    if !matches!(keep, Keep::Mass(_)) {
                        prop_assert_eq!(alone.0, plainly(row, keep));
                    }
                }
            }
        }
    }

    #[test]
    fn equal_entries_are_kept_by_growing_voxel() {
        // Sums of quarters are exact, so the threshold is reached exactly.
        let row = [0.0, 0.25, 0.25, 0.0, 0.25, 0.25];
        // No entry is above 5 × 0.5 / 6, the bound of large entries.
        for keep in [Keep::Mass(0.5), Keep::Top(2)] {
            let (kept, dropped) = keep_row(&row, keep, &mut KeepScratch::default());
            assert_eq!((kept, dropped), (vec![(1, 0.25), (2, 0.25)], 0.5), "{keep}");
        }
        let (kept, dropped) = keep_row(&row, Keep::Mass(1.0), &mut KeepScratch::default());
        assert_eq!((kept.len(), dropped), (4, 0.0));
        assert_eq!(
            keep_row(&[0.0; 3], Keep::Mass(0.9), &mut KeepScratch::default()),
            (vec![], 0.0)
        );
    }

    #[test]
    fn blocks_are_their_rows_whatever_the_memory_order() {
        let block = ndarray::Array2::from_shape_fn((37, 91), |(i, j)| {
            ((i * 31 + j * 17) % 101) as f32 / 5000.0
        });
        let (rows, dropped) = keep_block(block.view(), Keep::Mass(0.8));
        for (i, row) in block.rows().into_iter().enumerate() {
            let (kept, mass) =
                keep_row(&row.to_vec(), Keep::Mass(0.8), &mut KeepScratch::default());
            let (voxels, values) = rows.row(i);
            let found: Vec<_> = voxels.iter().copied().zip(values.iter().copied()).collect();
            assert_eq!((found, dropped[i]), (kept, mass));
        }
        let mut columns_first = ndarray::Array2::zeros((91, 37));
        columns_first.assign(&block.t());
        assert_eq!(
            keep_block(columns_first.t(), Keep::Mass(0.8)),
            (rows, dropped)
        );
    }

    #[test]
    fn texts_read_back_and_bad_ones_are_refused() {
        for keep in [Keep::All, Keep::Mass(0.999), Keep::Mass(1.0), Keep::Top(50)] {
            assert_eq!(keep.to_string().parse(), Ok(keep));
        }
        for bad in [
            "", "none", "all:1", "mass", "mass:0", "mass:1.1", "mass:nan", "mass:-1", "top:0",
            "top:1.5", "top:",
        ] {
            assert!(bad.parse::<Keep>().is_err(), "{bad}");
        }
    }
}
