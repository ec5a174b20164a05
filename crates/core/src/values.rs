//! What the values of an expression matrix are: counts, logarithms of counts, or something else.
//!
//! [`ValueProfile`] looks at some rows of a matrix and guesses; [`Values`] is what the user says of them.

use crate::SparseRows;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

use crate::normalize::UnknownWord;

/// What the values of a file are, as the user says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Values {
    /// To be looked at: values that are certainly logarithms are refused.
    #[default]
    Auto,
    /// Taken as they are.
    AsIs,
    /// `ln(1 + x)` of what is wanted: undone as they are read.
    Log1p,
}

impl Values {
    /// Whether this is the default, which settings files leave out.
    #[must_use]
    pub fn is_auto(&self) -> bool {
        *self == Self::Auto
    }

    /// Undoes what the values say was done.
    pub fn undo(self, rows: &mut SparseRows) {
        if self == Self::Log1p {
            let undone = |v: &mut f32| *v = f64::from(*v).exp_m1() as f32;
            rows.values_mut().iter_mut().for_each(undone);
        }
    }
}

impl fmt::Display for Values {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::AsIs => "as-is",
            Self::Log1p => "log1p",
        })
    }
}

impl FromStr for Values {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "auto" => Ok(Self::Auto),
            "as-is" => Ok(Self::AsIs),
            "log1p" => Ok(Self::Log1p),
            _ => Err(UnknownWord {
                word: word.to_owned(),
                choices: "auto, as-is, log1p",
            }),
        }
    }
}

/// A guess at what the values of a matrix are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Guess {
    /// Every value is 0.
    Empty,
    /// Whole numbers.
    Counts,
    /// Counts, every row multiplied by a number of its own.
    ScaledCounts,
    /// Certainly `ln(1 + x)` of counts, which may have been scaled.
    Log1p {
        /// The total that every row had before the logarithm, if it is the same for all.
        total: Option<f64>,
    },
    /// Perhaps logarithms: no whole numbers, and a narrow range.
    MaybeLog,
    /// Negative values: standardised, or something else that is no expression.
    Negative,
    /// Numbers that are none of these.
    Numbers,
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty"),
            Self::Counts => f.write_str("counts"),
            Self::ScaledCounts => f.write_str("counts scaled by row"),
            Self::Log1p { total: Some(total) } => {
                write!(f, "log1p of counts scaled to {total:.0} a row")
            }
            Self::Log1p { total: None } => f.write_str("log1p of counts"),
            Self::MaybeLog => f.write_str("perhaps logarithms"),
            Self::Negative => f.write_str("negative values, perhaps standardised"),
            Self::Numbers => f.write_str("numbers of another kind"),
        }
    }
}

/// No logarithm of a count is larger: ln(1 + 4 × 10¹⁰).
const LARGEST_LOG: f32 = 25.0;
/// A matrix whose largest value is below this may hold logarithms.
const LIKELY_LOG: f32 = 16.0;
/// Largest ratio of the maximum to the median of the non-zero values in logarithms; counts have a larger ratio.
const NARROW: f32 = 12.0;
/// Sums of rows that vary by less than this share of their mean are equal.
const EQUAL: f64 = 2e-3;
/// Ratios to a row's smallest value that tell something: above 1, and small enough that rounding does not hide their distance from a
/// whole number.
const RATIOS: (f64, f64) = (1.5, 100.0);
/// A ratio is a whole number if it is as near as this share of it.
const NEAR: f64 = 2e-4;
/// Ratios that a row must have to be asked.
const ASKED: usize = 3;

/// Values of some rows in short.
#[derive(Debug, Clone, Default)]
pub struct ValueProfile {
    n_rows: usize,
    n_values: usize,
    smallest: f32,
    largest: f32,
    has_fractions: bool,
    /// Non-zero values, some of them.
    some: Vec<f32>,
    sums: Vec<f64>,
    unlogged_sums: Vec<f64>,
    /// Rows that could be asked, and those whose values are multiples of the smallest, as they are and without the logarithm.
    asked: [usize; 2],
    multiples: [usize; 2],
}

/// Values that are kept for their median.
const KEPT: usize = 1 << 16;

impl ValueProfile {
    /// Looks at more rows.
    pub fn add(&mut self, rows: &SparseRows) {
        for i in 0..rows.n_rows() {
            self.add_row(rows.row(i).1);
        }
    }

    fn add_row(&mut self, values: &[f32]) {
        self.n_rows += 1;
        let values: Vec<f32> = values.iter().copied().filter(|&v| v != 0.0).collect();
        for &v in &values {
            self.smallest = self.smallest.min(v);
            // NaN is no larger than anything; reading refuses it.
            self.largest = self.largest.max(v);
            self.has_fractions |= v != v.round();
        }
        self.n_values += values.len();
        let room = KEPT.saturating_sub(self.some.len());
        self.some.extend(values.iter().take(room));
        if values.is_empty() || self.smallest < 0.0 || self.largest > f32::MAX / 2.0 {
            return;
        }
        let plain: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        self.sums.push(plain.iter().sum());
        let asked = multiples(&plain);
        self.count(0, asked);
        if self.largest < LARGEST_LOG {
            let unlogged: Vec<f64> = plain.iter().map(|v| v.exp_m1()).collect();
            self.unlogged_sums.push(unlogged.iter().sum());
            self.count(1, multiples(&unlogged));
        }
    }

    fn count(&mut self, which: usize, of_smallest: Option<bool>) {
        self.asked[which] += usize::from(of_smallest.is_some());
        self.multiples[which] += usize::from(of_smallest == Some(true));
    }

    /// Number of rows that were looked at.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Smallest and largest value; zeros count where there are any.
    #[must_use]
    pub fn range(&self) -> (f32, f32) {
        (self.smallest, self.largest)
    }

    /// Whether every value is a whole number.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        !self.has_fractions
    }

    /// What they are.
    #[must_use]
    pub fn guess(&self) -> Guess {
        if self.n_values == 0 {
            return Guess::Empty;
        }
        if self.smallest < 0.0 {
            return Guess::Negative;
        }
        if !self.has_fractions {
            return Guess::Counts;
        }
        let mostly =
            |which: usize| self.asked[which] > 0 && 2 * self.multiples[which] > self.asked[which];
        if mostly(0) {
            return Guess::ScaledCounts;
        }
        if self.largest < LARGEST_LOG && self.unlogged_sums.len() == self.sums.len() {
            let (mean, varies) = spread(&self.unlogged_sums);
            let (_, varies_as_is) = spread(&self.sums);
            let equal = self.sums.len() > 2 && varies < EQUAL && varies_as_is > 5.0 * varies;
            if equal || mostly(1) {
                let total = equal.then_some(mean);
                return Guess::Log1p { total };
            }
            if self.largest < LIKELY_LOG && self.largest < NARROW * self.median() {
                return Guess::MaybeLog;
            }
        }
        Guess::Numbers
    }

    /// Median of the non-zero values that were kept.
    fn median(&self) -> f32 {
        let mut some = self.some.clone();
        some.sort_unstable_by(f32::total_cmp);
        some.get(some.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Whether all values of a row are multiples of its smallest; `None` if too few of them could tell.
fn multiples(row: &[f64]) -> Option<bool> {
    let least = row.iter().copied().fold(f64::INFINITY, f64::min);
    let telling = row
        .iter()
        .map(|v| v / least)
        .filter(|r| (RATIOS.0..RATIOS.1).contains(r));
    let (mut n, mut near) = (0, 0);
    for ratio in telling {
        n += 1;
        near += usize::from((ratio - ratio.round()).abs() < NEAR * ratio);
    }
    (n >= ASKED).then_some(near == n)
}

/// Mean, and standard deviation as a share of it.
fn spread(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let square = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
    (mean, square.sqrt() / mean.abs().max(f64::MIN_POSITIVE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts of 40 rows and 60 columns, skewed as those of genes are.
    fn counts() -> Vec<Vec<f64>> {
        let noise = |i: usize, j: usize| {
            let x = ((i * 60 + j) as f64 * 12.9898).sin() * 43_758.545;
            x - x.floor()
        };
        let of =
            |i: usize, j: usize| (-(1.0 - noise(i, j)).ln() * 40.0 / (1 + j % 17) as f64).floor();
        (0..40)
            .map(|i| (0..60).map(|j| of(i, j)).collect())
            .collect()
    }

    fn guess(change: impl Fn(f64, f64) -> f64, columns: usize) -> Guess {
        let mut rows = SparseRows::empty(columns);
        for row in counts() {
            let total: f64 = row.iter().sum();
            let values = row[..columns].iter().map(|&v| change(v, total) as f32);
            rows.push_row((0u32..).zip(values));
        }
        let mut profile = ValueProfile::default();
        profile.add(&rows);
        profile.guess()
    }

    #[test]
    fn logarithms_are_known_from_counts_and_scaled_counts() {
        assert_eq!(guess(|v, _| v, 60), Guess::Counts);
        assert_eq!(guess(|v, total| v / total * 1e4, 60), Guess::ScaledCounts);
        assert_eq!(guess(|v, _| v.ln_1p(), 60), Guess::Log1p { total: None });
        let Guess::Log1p { total: Some(total) } = guess(|v, total| (v / total * 1e4).ln_1p(), 60)
        else {
            panic!("log-normalised counts are certain");
        };
        assert!((total - 1e4).abs() < 1.0, "{total}");
        // Some of the genes only: the sums are no longer equal, the multiples are.
        let some = guess(|v, total| (v / total * 1e4).ln_1p(), 25);
        assert_eq!(some, Guess::Log1p { total: None });
        assert_eq!(guess(|v, _| v - 3.0, 60), Guess::Negative);
        assert_eq!(guess(|_, _| 0.0, 60), Guess::Empty);
        // Another base, after something that left no multiples.
        assert_eq!(
            guess(
                |v, total| (v.powf(1.1) / total * 1e3).ln_1p() / 2f64.ln(),
                25
            ),
            Guess::MaybeLog
        );
        // A volume that every cell has of its own, and noise: a range as wide as that of counts.
        let odd = guess(|v, total| v * v * (1.0 + 0.1 * (v * 7.7).sin()) / total, 60);
        assert_eq!(odd, Guess::Numbers);
    }

    #[test]
    fn log1p_is_undone() {
        let mut rows = SparseRows::empty(3);
        rows.push_row([(0, 2f32.ln_1p()), (2, 7f32.ln_1p())]);
        Values::Log1p.undo(&mut rows);
        let (_, values) = rows.row(0);
        assert!((values[0] - 2.0).abs() < 1e-6 && (values[1] - 7.0).abs() < 1e-5);
        for word in ["auto", "as-is", "log1p"] {
            assert_eq!(word.parse::<Values>().unwrap().to_string(), word);
        }
    }
}
