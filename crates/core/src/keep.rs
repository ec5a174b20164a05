//! What part of the mapping is stored: the entries that carry its mass.

use crate::SparseRows;
use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which entries of a row of P are kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// Every entry above 0.
    All,
    /// The fewest entries that hold this share of the row, above 0 and at most 1.
    Mass(f64),
    /// The largest entries, this many, at least 1.
    Top(usize),
}

/// A text that names no part of the mapping.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeepError {
    /// None of the three forms.
    #[error("`{0}` is not one of: all, mass:SHARE (e.g. mass:0.999), top:NUMBER (e.g. top:50)")]
    Unknown(String),
    /// A share outside (0, 1].
    #[error("`mass:{0}`: the share must be a number above 0 and at most 1, e.g. mass:0.999")]
    Mass(String),
    /// A count that is no whole number above 0.
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

/// Memory that [`keep_row`] uses again from row to row.
#[derive(Debug, Clone, Default)]
pub struct KeepScratch {}

/// The kept entries of one row of P by growing voxel, and the mass of those dropped.
///
/// Of equal entries the one of the lower voxel is kept first. Zeros are never kept.
///
/// * `row`: probabilities of one cell, one per voxel
pub fn keep_row(row: &[f32], keep: Keep, scratch: &mut KeepScratch) -> (Vec<(u32, f32)>, f64) {
    let _ = (row, keep, scratch);
    unimplemented!("follows")
}

/// [`keep_row`] of every row of a block, in parallel: the kept block and the mass dropped from each row.
///
/// * `block`: (cells, voxels)
#[must_use]
pub fn keep_block(block: ArrayView2<'_, f32>, keep: Keep) -> (SparseRows, Vec<f64>) {
    let _ = (block, keep);
    unimplemented!("follows")
}
