//! Library-size normalisation and element-wise transforms of expression.
//!
//! Normalisation is two steps, because it needs the totals of the whole file: [`library_factors`] computes a factor per
//! row, [`scale_rows`] applies them. [`transform`] comes after it.

use crate::SparseRows;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How rows are scaled to a common total. The default is that of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// Every row is scaled to the median total of the non-zero rows.
    #[default]
    Library,
    /// Rows are not scaled.
    None,
}

impl Normalize {
    /// The default for cells.
    pub const FOR_CELLS: Self = Self::Library;
    /// The default for voxels: not scaled, because their totals reflect the density of cells.
    pub const FOR_VOXELS: Self = Self::None;
}

/// An element-wise transform that keeps zeros zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// Values are not changed.
    #[default]
    None,
    /// Square root.
    Sqrt,
    /// `ln(1 + x)`.
    Log1p,
}

/// A word that is not one of the choices.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of: {choices}")]
pub struct UnknownWord {
    /// The word.
    pub word: String,
    /// The choices, separated by commas.
    pub choices: &'static str,
}

impl fmt::Display for Normalize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Library => "library",
            Self::None => "none",
        })
    }
}

impl FromStr for Normalize {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "library" => Ok(Self::Library),
            "none" => Ok(Self::None),
            _ => Err(UnknownWord {
                word: word.to_owned(),
                choices: "library, none",
            }),
        }
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Sqrt => "sqrt",
            Self::Log1p => "log1p",
        })
    }
}

impl FromStr for Transform {
    type Err = UnknownWord;

    fn from_str(word: &str) -> Result<Self, UnknownWord> {
        match word {
            "none" => Ok(Self::None),
            "sqrt" => Ok(Self::Sqrt),
            "log1p" => Ok(Self::Log1p),
            _ => Err(UnknownWord {
                word: word.to_owned(),
                choices: "none, sqrt, log1p",
            }),
        }
    }
}

/// The factor that scales each row to the median total: `f_i = median{t > 0} / t_i`, and 1 for a row whose total is 0.
///
/// * `row_totals`: total of each row over all genes of the file, not only the training genes
///
/// The median of an even number of totals is the mean of the middle two, as in scanpy's `normalize_total`.
#[must_use]
pub fn library_factors(row_totals: &[f64]) -> Vec<f64> {
    let median = median_positive(row_totals).unwrap_or(1.0);
    factors_to(row_totals, median)
}

/// The factor that scales each row to `total`: `f_i = total / t_i`, and 1 for a row whose total is 0.
#[must_use]
pub fn factors_to(row_totals: &[f64], total: f64) -> Vec<f64> {
    row_totals
        .iter()
        .map(|&t| if t > 0.0 { total / t } else { 1.0 })
        .collect()
}

/// Median of the totals above 0; `None` if no total is above 0.
#[must_use]
pub fn median_positive(row_totals: &[f64]) -> Option<f64> {
    let mut positive: Vec<f64> = row_totals.iter().copied().filter(|&t| t > 0.0).collect();
    positive.sort_unstable_by(f64::total_cmp);
    let upper = positive.get(positive.len() / 2)?;
    let lower = positive[(positive.len() - 1) / 2];
    Some(lower + (upper - lower) / 2.0)
}

/// Multiplies each row by its factor.
///
/// # Panics
/// If the number of factors is not the number of rows.
pub fn scale_rows(matrix: &mut SparseRows, factors: &[f64]) {
    assert_eq!(matrix.n_rows(), factors.len(), "one factor per row");
    for (i, &factor) in factors.iter().enumerate() {
        for value in matrix.row_values_mut(i) {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}

/// Applies `transform` to every stored value. Zeros stay zero.
pub fn transform(matrix: &mut SparseRows, transform: Transform) {
    let values = matrix.values_mut();
    match transform {
        Transform::None => {}
        Transform::Sqrt => values.iter_mut().for_each(|v| *v = v.sqrt()),
        Transform::Log1p => values
            .iter_mut()
            .for_each(|v| *v = f64::from(*v).ln_1p() as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    fn counts() -> SparseRows {
        let dense = array![
            [1.0, 2.0, 0.0],
            [0.0, 0.0, 0.0],
            [4.0, 0.0, 6.0],
            [2.0, 3.0, 2.0],
            [1.0, 0.0, 0.0]
        ];
        SparseRows::from_dense(dense.view())
    }

    fn check(found: &SparseRows, wanted: &ndarray::Array2<f32>) {
        for (f, w) in found.to_dense().iter().zip(wanted) {
            assert!((f - w).abs() <= f32::EPSILON * w, "{f} is not {w}");
        }
    }

    #[test]
    fn library_and_log1p_are_those_of_scanpy() {
        // Expected values: scanpy 1.11, `pp.normalize_total`, then `pp.log1p`, of the same counts.
        let mut matrix = counts();
        let factors = library_factors(&matrix.row_sums());
        scale_rows(&mut matrix, &factors);
        check(
            &matrix,
            &array![
                [1.666_666_6, 3.333_333_3, 0.0],
                [0.0, 0.0, 0.0],
                [2.0, 0.0, 3.0],
                [1.428_571_5, 2.142_857, 1.428_571_5],
                [5.0, 0.0, 0.0]
            ],
        );
        transform(&mut matrix, Transform::Log1p);
        check(
            &matrix,
            &array![
                [0.980_829_24, 1.466_337_1, 0.0],
                [0.0, 0.0, 0.0],
                [1.098_612_3, 0.0, 1.386_294_4],
                [0.887_303_23, 1.145_132_3, 0.887_303_23],
                [1.791_759_5, 0.0, 0.0]
            ],
        );
    }

    #[test]
    fn transforms_keep_zeros_and_the_untouched_stay() {
        for kind in [Transform::None, Transform::Sqrt, Transform::Log1p] {
            let mut matrix = counts();
            transform(&mut matrix, kind);
            assert_eq!(matrix.parts().1, counts().parts().1);
            if kind == Transform::None {
                assert_eq!(matrix, counts());
            }
        }
        let mut roots = counts();
        transform(&mut roots, Transform::Sqrt);
        roots.values_mut().iter_mut().for_each(|v| *v *= *v);
        check(&roots, &counts().to_dense());
    }

    #[test]
    fn all_zero_rows_keep_factor_one() {
        assert_eq!(library_factors(&[0.0, 0.0]), [1.0, 1.0]);
        assert_eq!(library_factors(&[0.0, 2.0, 6.0]), [1.0, 2.0, 4.0 / 6.0]);
        assert!(library_factors(&[]).is_empty());
    }

    #[test]
    fn words_read_back_and_others_name_the_choices() {
        for kind in [Normalize::Library, Normalize::None] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        for kind in [Transform::None, Transform::Sqrt, Transform::Log1p] {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        let refused = "log".parse::<Transform>().unwrap_err().to_string();
        assert_eq!(refused, "`log` is not one of: none, sqrt, log1p");
    }
}
