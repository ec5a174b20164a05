//! What a file holds, for people.

use crate::Kind;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// What a dataset holds; displays as a table.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Number of observations.
    pub n_obs: usize,
    /// Number of variables.
    pub n_vars: usize,
    /// The first names of observations and of variables.
    pub first_names: (Vec<String>, Vec<String>),
    /// `X`, `raw` and layers.
    pub matrices: Vec<MatrixSummary>,
    /// Columns of `obs`.
    pub obs: Vec<ColumnSummary>,
    /// Columns of `var`.
    pub var: Vec<ColumnSummary>,
    /// Arrays of `obsm`.
    pub obsm: Vec<ObsmSummary>,
    /// Keys of `uns`.
    pub uns: Vec<String>,
}

/// A matrix of a dataset.
#[derive(Debug, Clone, Serialize)]
pub struct MatrixSummary {
    /// `X`, `raw` or `layer:NAME`.
    pub name: String,
    /// `dense`, `csr` or `csc`.
    pub layout: String,
    /// Type of its numbers, such as `float32`.
    pub dtype: String,
    /// (rows, columns).
    pub shape: (usize, usize),
    /// Share of entries that are stored, 0 to 1; `None` where that is not known without reading the matrix.
    pub density: Option<f64>,
}

/// A column of `obs` or `var`.
#[derive(Debug, Clone, Serialize)]
pub struct ColumnSummary {
    /// Its name.
    pub name: String,
    /// Its type, such as `categorical`, `float64`, `text`.
    pub dtype: String,
    /// Number of categories of a categorical column.
    pub n_categories: Option<usize>,
}

/// An array of `obsm`.
#[derive(Debug, Clone, Serialize)]
pub struct ObsmSummary {
    /// Its name.
    pub name: String,
    /// Its kind and type, such as `float64` or `table`.
    pub dtype: String,
    /// (observations, columns).
    pub shape: Vec<usize>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display())
    }
}
