//! What a file holds, for people.

use crate::elements::{self, Encoding};
use crate::tables;
use crate::tree::{Node, Tree};
use crate::{Dataset, Kind, StoreError};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use tangram_core::{Column, Table, ValueProfile};

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
    /// What its values are like.
    pub values: ValuesSummary,
}

/// What the values of a matrix are like, by some of its rows.
#[derive(Debug, Clone, Serialize)]
pub struct ValuesSummary {
    /// Rows that were looked at.
    pub n_rows: usize,
    /// The smallest value.
    pub smallest: f32,
    /// The largest value.
    pub largest: f32,
    /// Whether all are whole numbers.
    pub whole: bool,
    /// What they seem to be.
    pub guess: String,
}

impl From<&ValueProfile> for ValuesSummary {
    fn from(profile: &ValueProfile) -> Self {
        let (smallest, largest) = profile.range();
        Self {
            n_rows: profile.n_rows(),
            smallest,
            largest,
            whole: profile.is_whole(),
            guess: profile.guess().to_string(),
        }
    }
}

impl ValuesSummary {
    fn line(&self, n_rows: usize) -> String {
        let kind = if self.whole {
            "whole numbers"
        } else {
            "not whole"
        };
        let rows = match self.n_rows < n_rows {
            true => format!(" (in {} rows)", self.n_rows),
            false => String::new(),
        };
        format!(
            "{} to {}, {kind}{rows}: {}",
            self.smallest, self.largest, self.guess
        )
    }
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

impl Dataset {
    /// What the input holds; of its matrices some rows are read.
    ///
    /// # Errors
    /// If its structure cannot be read.
    pub fn summary(&self) -> Result<Summary, StoreError> {
        summarise(self)
    }
}

/// Collects what a dataset holds.
fn summarise(dataset: &Dataset) -> Result<Summary, StoreError> {
    const NAMES: usize = 3;
    let mut matrices = Vec::new();
    for name in dataset.matrix_names()? {
        let matrix = dataset.matrix(&name)?;
        let (n_rows, n_columns) = matrix.shape();
        let all = (n_rows as f64 * n_columns as f64).max(1.0);
        matrices.push(MatrixSummary {
            name: name.to_string(),
            layout: matrix.layout().to_owned(),
            dtype: matrix.dtype().to_owned(),
            shape: matrix.shape(),
            density: matrix.stored_entries().map(|n| n as f64 / all),
            values: ValuesSummary::from(&matrix.profile(None)?),
        });
    }
    let first = |mut names: Vec<String>| {
        names.truncate(NAMES);
        names
    };
    let (obs, var, obsm) = match dataset.tree() {
        Some(tree) => (
            columns(tree, "obs")?,
            columns(tree, "var")?,
            arrays(tree, dataset)?,
        ),
        None => {
            let spatial = dataset.spatial()?;
            let spatial = spatial.map(|s| ObsmSummary {
                name: "spatial".to_owned(),
                dtype: "float64".to_owned(),
                shape: s.shape().to_vec(),
            });
            (
                described(&dataset.obs()?),
                described(&dataset.var()?),
                spatial.into_iter().collect(),
            )
        }
    };
    Ok(Summary {
        path: dataset.path().to_owned(),
        kind: dataset.kind(),
        n_obs: dataset.n_obs(),
        n_vars: dataset.n_vars(),
        first_names: (first(dataset.obs_names()?), first(dataset.var_names()?)),
        matrices,
        obs,
        var,
        obsm,
        uns: dataset.uns_names()?,
    })
}

fn columns(tree: &dyn Tree, table: &str) -> Result<Vec<ColumnSummary>, StoreError> {
    let mut out = Vec::new();
    for name in tables::table_columns(tree, table)? {
        let (dtype, n_categories) = tables::column_type(tree, table, &name)?;
        out.push(ColumnSummary {
            name,
            dtype,
            n_categories,
        });
    }
    Ok(out)
}

fn described(table: &Table) -> Vec<ColumnSummary> {
    let describe = |(name, column): &(String, Column)| {
        let (dtype, n_categories) = match column {
            Column::Categorical { categories, .. } => ("categorical", Some(categories.len())),
            Column::Numeric(_) => ("float64", None),
            Column::Integer(_) => ("int64", None),
            Column::Flag(_) => ("bool", None),
            Column::Text(_) => ("text", None),
        };
        ColumnSummary {
            name: name.clone(),
            dtype: dtype.to_owned(),
            n_categories,
        }
    };
    table.columns.iter().map(describe).collect()
}

fn arrays(tree: &dyn Tree, dataset: &Dataset) -> Result<Vec<ObsmSummary>, StoreError> {
    let mut out = Vec::new();
    for name in dataset.obsm_names()? {
        let at = format!("obsm/{name}");
        let (dtype, shape) = match Encoding::of(tree, &at) {
            Ok(Encoding::Array) if tree.node(&at)? == Some(Node::Array) => {
                let array = tree.array(&at)?;
                (array.dtype().to_string(), array.shape().to_vec())
            }
            Ok(Encoding::Csr | Encoding::Csc) => {
                let (rows, columns) = elements::sparse_shape(tree, &at)?;
                ("sparse".to_owned(), vec![rows, columns])
            }
            Ok(Encoding::Dataframe) => (
                "table".to_owned(),
                vec![dataset.n_obs(), tables::table_columns(tree, &at)?.len()],
            ),
            Ok(other) => (format!("{other:?} (not read)"), vec![]),
            Err(StoreError::Encoding { encoding, .. }) => {
                (format!("{encoding} (not read)"), vec![])
            }
            Err(error) => return Err(error),
        };
        out.push(ObsmSummary { name, dtype, shape });
    }
    Ok(out)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.path.display()).and_then(|()| {
            writeln!(
                f,
                "{}: {} observations × {} variables",
                self.kind, self.n_obs, self.n_vars
            )
        })?;
        writeln!(
            f,
            "  observations  {}",
            names(&self.first_names.0, self.n_obs)
        )?;
        writeln!(
            f,
            "  variables     {}",
            names(&self.first_names.1, self.n_vars)
        )?;
        section(
            f,
            "matrices",
            self.matrices.iter().map(|m| {
                let density = m
                    .density
                    .map_or_else(String::new, |d| format!(", {:.1} % stored", d * 100.0));
                (
                    m.name.clone(),
                    format!(
                        "{} × {}, {} {}{density}; {}",
                        m.shape.0,
                        m.shape.1,
                        m.layout,
                        m.dtype,
                        m.values.line(m.shape.0)
                    ),
                )
            }),
        )?;
        section(f, "obs columns", self.obs.iter().map(ColumnSummary::line))?;
        section(f, "var columns", self.var.iter().map(ColumnSummary::line))?;
        section(
            f,
            "obsm",
            self.obsm.iter().map(|o| {
                let sizes: Vec<String> = o.shape.iter().map(ToString::to_string).collect();
                (
                    o.name.clone(),
                    format!("{} {}", sizes.join(" × "), o.dtype)
                        .trim()
                        .to_owned(),
                )
            }),
        )?;
        if !self.uns.is_empty() {
            writeln!(f, "uns\n  {}", self.uns.join(", "))?;
        }
        Ok(())
    }
}

impl ColumnSummary {
    fn line(&self) -> (String, String) {
        let categories = self
            .n_categories
            .map_or_else(String::new, |n| format!(", {n} categories"));
        (self.name.clone(), format!("{}{categories}", self.dtype))
    }
}

fn names(first: &[String], all: usize) -> String {
    let more = if all > first.len() { ", …" } else { "" };
    format!("{}{more}", first.join(", "))
}

fn section(
    f: &mut fmt::Formatter<'_>,
    title: &str,
    lines: impl Iterator<Item = (String, String)>,
) -> fmt::Result {
    let lines: Vec<_> = lines.collect();
    let width = lines
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    if !lines.is_empty() {
        writeln!(f, "{title}")?;
    }
    lines
        .iter()
        .try_for_each(|(name, what)| writeln!(f, "  {name:width$}  {what}"))
}
