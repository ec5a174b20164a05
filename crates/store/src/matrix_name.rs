//! Which matrix of a file.

use std::fmt;
use std::str::FromStr;

/// Which matrix of a dataset: written `X`, `raw` or `layer:NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MatrixName {
    /// The main matrix.
    X,
    /// `raw/X`, with its own variables.
    Raw,
    /// A layer.
    Layer(String),
}

/// A text that names no matrix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no matrix; write X, raw or layer:NAME")]
pub struct ParseMatrixNameError(String);

impl fmt::Display for MatrixName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::X => f.write_str("X"),
            Self::Raw => f.write_str("raw"),
            Self::Layer(name) => write!(f, "layer:{name}"),
        }
    }
}

impl FromStr for MatrixName {
    type Err = ParseMatrixNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match (text, text.strip_prefix("layer:")) {
            ("X", _) => Ok(Self::X),
            ("raw", _) => Ok(Self::Raw),
            (_, Some(name)) if !name.is_empty() => Ok(Self::Layer(name.to_owned())),
            _ => Err(ParseMatrixNameError(text.to_owned())),
        }
    }
}
