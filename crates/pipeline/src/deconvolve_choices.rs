//! What the user may choose of a deconvolution.

use crate::named::Choice;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::path::PathBuf;
use std::str::FromStr;

/// How compositions of spots are estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By a mapping of the cells.
    Mapping,
    /// By non-negative least squares on the types' mean profiles.
    Nnls,
    /// By Poisson regression on the types' mean profiles.
    Poisson,
    /// By all three, beside each other.
    All,
}

/// Methods.
pub const METHODS: &[Choice<Method>] = &[
    (
        Method::Mapping,
        "mapping",
        "Maps the cells and counts them by type",
    ),
    (
        Method::Nnls,
        "nnls",
        "Non-negative least squares on the types' mean profiles",
    ),
    (
        Method::Poisson,
        "poisson",
        "Poisson regression on the types' mean profiles",
    ),
    (Method::All, "all", "All three, beside each other"),
];

impl Method {
    /// Its name as it is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        let known = METHODS.iter().find(|(method, ..)| *method == self);
        known.map_or("", |(_, name, _)| name)
    }

    /// The methods that it stands for, the one that gives cells their types first.
    #[must_use]
    pub fn each(self) -> Vec<Self> {
        match self {
            Self::All => vec![Self::Mapping, Self::Nnls, Self::Poisson],
            one => vec![one],
        }
    }
}

/// Whether genes have factors that stand for the difference between two ways of measuring.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Platform {
    /// A factor for every gene, fitted to the sum of the spots.
    Fit,
    /// None.
    None,
}

/// Platforms.
pub const PLATFORMS: &[Choice<Platform>] = &[
    (
        Platform::Fit,
        "fit",
        "A factor for every gene, fitted to the sum of all spots",
    ),
    (
        Platform::None,
        "none",
        "None: both files were measured alike",
    ),
];

/// Which cells of the single-cell data take part in the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Which {
    /// All.
    Cells,
    /// As many as there are segmented cells, chosen by a filter.
    Constrained,
}

/// Modes of the mapping.
pub const MODES: &[Choice<Which>] = &[
    (Which::Cells, "cells", "Every cell takes part, as one"),
    (
        Which::Constrained,
        "constrained",
        "A filter keeps as many cells as the spots hold",
    ),
];

/// Where the types of segmented cells are taken from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TypesFrom {
    /// From the composition of the spot, in whole numbers.
    Shares,
    /// From the cells that the mapping places in the spot.
    Placed,
}

/// Sources of types.
pub const TYPES_FROM: &[Choice<TypesFrom>] = &[
    (
        TypesFrom::Shares,
        "shares",
        "The composition of the spot, rounded at random to whole numbers that sum to its cells: every cell gets a type",
    ),
    (
        TypesFrom::Placed,
        "placed",
        "The cells that the mapping places in the spot, as in the paper: a segmented cell too many gets none",
    ),
];

/// Where true compositions are: written `obsm:NAME`, `obs` or as a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TruthChoice {
    /// An array of the voxels' obsm.
    Obsm(String),
    /// Columns of the voxels' obs, named as the types.
    Obs,
    /// An AnnData of voxels × types, or a table with a column for each type.
    File(PathBuf),
}

impl Display for TruthChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Obsm(name) => write!(f, "obsm:{name}"),
            Self::Obs => f.write_str("obs"),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}

impl FromStr for TruthChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("obsm:")) {
            ("", _) | (_, Some("")) => Err("write obsm:NAME, obs or the path of a file".to_owned()),
            ("obs", _) => Ok(Self::Obs),
            (_, Some(name)) => Ok(Self::Obsm(name.to_owned())),
            (path, None) => Ok(Self::File(PathBuf::from(path))),
        }
    }
}
