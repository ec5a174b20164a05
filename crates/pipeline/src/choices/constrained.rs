//! The mode of a mapping: its rows are cells, clusters of cells, or cells weighted by a filter.

use super::{Solver, positive};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::str::FromStr;

/// What is mapped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// All cells, each as one.
    #[default]
    Cells,
    /// Clusters of the cells.
    Clusters,
    /// As many as are expected: a filter leaves the others out.
    Constrained,
}

impl Mode {
    /// Whether it is that of a mapping that names none.
    #[must_use]
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What of its cells' values a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClusterValues {
    /// Their sum: a cluster counts by its cells.
    Sums,
    /// Their mean: every cluster counts as one.
    Means,
}

impl ClusterValues {
    /// Unless others are given: those of the original package.
    pub const DEFAULT: Self = Self::Sums;
}

/// How a filter finds the cells that it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterChoice {
    /// By the slope of the loss, with exactly as many cells as expected.
    Learned,
    /// As the original package: a term for the number of cells, and one for decided cells.
    Package,
}

impl Solver {
    /// The filter unless one is given.
    #[must_use]
    pub fn default_filter(self) -> FilterChoice {
        match self {
            Self::Mirror => FilterChoice::Learned,
            Self::Adam => FilterChoice::Package,
        }
    }
}

/// How many cells a filter keeps: written as a number, `voxels` or `obs:COLUMN`.
#[derive(Debug, Clone, PartialEq)]
pub enum TargetCount {
    /// So many.
    Number(f64),
    /// As many as there are voxels.
    Voxels,
    /// The sum of a column of the voxels' obs, such as their segmented cells.
    Obs(String),
}

impl Display for TargetCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::Voxels => f.write_str("voxels"),
            Self::Obs(column) => write!(f, "obs:{column}"),
        }
    }
}

impl FromStr for TargetCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("obs:")) {
            ("voxels", _) => Ok(Self::Voxels),
            (_, Some(column)) if !column.is_empty() => Ok(Self::Obs(column.to_owned())),
            (number, _) => positive(number)
                .map(Self::Number)
                .map_err(|_| "write a number above 0, voxels or obs:COLUMN".to_owned()),
        }
    }
}
