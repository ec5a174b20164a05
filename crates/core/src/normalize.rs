//! Library-size normalisation and element-wise transforms of expression.

use crate::SparseRows;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How rows are brought to a common total. The default is that of cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    /// Every row is scaled to the median total of the rows that are not all zero.
    #[default]
    Library,
    /// Rows stay as they are.
    None,
}

impl Normalize {
    /// What cells get unless the user says otherwise.
    pub const FOR_CELLS: Self = Self::Library;
    /// What voxels get unless the user says otherwise: their totals carry the density.
    pub const FOR_VOXELS: Self = Self::None;
}

/// An element-wise transform that keeps zeros zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transform {
    /// Values stay as they are.
    #[default]
    None,
    /// Square root.
    Sqrt,
    /// `ln(1 + x)`.
    Log1p,
}

/// A word that names no choice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{word}` is not one of: {choices}")]
pub struct UnknownWord {
    /// What was given.
    pub word: String,
    /// What could be given.
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

/// The factor of each row that brings its total to the median total.
///
/// `f_i = median{t > 0} / t_i`; a row whose total is 0 gets 1. The median of an even number of totals is the mean of
/// the middle two, as in scanpy's `normalize_total`. Totals are over all genes, before any are cut.
#[must_use]
pub fn library_factors(row_totals: &[f64]) -> Vec<f64> {
    let mut positive: Vec<f64> = row_totals.iter().copied().filter(|&t| t > 0.0).collect();
    positive.sort_unstable_by(f64::total_cmp);
    let Some(upper) = positive.get(positive.len() / 2) else {
        return vec![1.0; row_totals.len()];
    };
    let lower = positive[(positive.len() - 1) / 2];
    let median = lower + (upper - lower) / 2.0;
    row_totals
        .iter()
        .map(|&t| if t > 0.0 { median / t } else { 1.0 })
        .collect()
}

/// Multiplies every row by its factor.
///
/// # Panics
/// If there is not one factor per row.
pub fn scale_rows(matrix: &mut SparseRows, factors: &[f64]) {
    assert_eq!(matrix.n_rows(), factors.len(), "one factor per row");
    for (i, &factor) in factors.iter().enumerate() {
        for value in matrix.row_values_mut(i) {
            *value = (f64::from(*value) * factor) as f32;
        }
    }
}

/// Applies `transform` to every stored value; zeros stay zero.
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
