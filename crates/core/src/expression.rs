//! Expression of cells and of voxels, as two types that cannot be swapped.

use crate::SparseRows;
use crate::genes::Side;
use crate::normalize::{self, Normalize, Transform};
use std::collections::HashSet;
use std::marker::PhantomData;

/// Says of an [`Expression`] that its rows are cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {}

/// Says of an [`Expression`] that its rows are voxels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voxels {}

/// What the rows of an [`Expression`] are.
pub trait RowKind {
    /// The side of the mapping they belong to.
    const SIDE: Side;
}

impl RowKind for Cells {
    const SIDE: Side = Side::Cells;
}

impl RowKind for Voxels {
    const SIDE: Side = Side::Voxels;
}

/// Expression of the cells: (cells, genes).
pub type CellExpression = Expression<Cells>;

/// Expression of the voxels: (voxels, genes).
pub type VoxelExpression = Expression<Voxels>;

/// Named rows, named genes and their values, all finite and at least 0.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression<R> {
    names: Vec<String>,
    genes: Vec<String>,
    values: SparseRows,
    rows: PhantomData<R>,
}

/// Why names and values are no expression matrix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ExpressionError {
    /// Rows or columns and their names differ in number.
    #[error(
        "the {side} have a matrix of {rows} × {columns} but {names} row names and {genes} gene names"
    )]
    Shape {
        /// Which side.
        side: Side,
        /// Rows of the matrix.
        rows: usize,
        /// Columns of the matrix.
        columns: usize,
        /// Row names.
        names: usize,
        /// Gene names.
        genes: usize,
    },
    /// A value below 0, infinite or not a number.
    #[error(
        "the {side} have the value {value} at row `{name}`, gene `{gene}`; expression must be finite and 0 or more (counts, or normalised counts, not scaled or centred values)"
    )]
    Value {
        /// Which side.
        side: Side,
        /// Name of the row.
        name: String,
        /// Name of the gene.
        gene: String,
        /// The value.
        value: f32,
    },
    /// A row name that stands twice.
    #[error(
        "{count} names appear more than once in `obs` of the {side}: {first}; make them unique, e.g. with `obs_names_make_unique()`"
    )]
    Duplicate {
        /// Which side.
        side: Side,
        /// How many names are repeated.
        count: usize,
        /// The first of them.
        first: String,
    },
}

impl<R: RowKind> Expression<R> {
    /// Checks and takes a matrix (rows, genes) with its names.
    ///
    /// # Errors
    /// [`ExpressionError`] if the names do not fit, a row name repeats, or a value is negative or not finite.
    pub fn new(
        names: Vec<String>,
        genes: Vec<String>,
        values: SparseRows,
    ) -> Result<Self, ExpressionError> {
        let (side, rows, columns) = (R::SIDE, values.n_rows(), values.n_cols());
        if rows != names.len() || columns != genes.len() {
            let (names, genes) = (names.len(), genes.len());
            return Err(ExpressionError::Shape {
                side,
                rows,
                columns,
                names,
                genes,
            });
        }
        let mut seen = HashSet::with_capacity(names.len());
        let mut repeated: Vec<&str> = names
            .iter()
            .map(String::as_str)
            .filter(|name| !seen.insert(*name))
            .collect();
        if !repeated.is_empty() {
            repeated.sort_unstable();
            repeated.dedup();
            let (count, first) = (repeated.len(), crate::genes::some_of(repeated, 5));
            return Err(ExpressionError::Duplicate { side, count, first });
        }
        for (i, name) in names.iter().enumerate() {
            let (columns, row) = values.row(i);
            let bad = |v: &f32| !v.is_finite() || *v < 0.0;
            if let Some(at) = row.iter().position(bad) {
                let gene = genes[columns[at] as usize].clone();
                return Err(ExpressionError::Value {
                    side,
                    name: name.clone(),
                    gene,
                    value: row[at],
                });
            }
        }
        Ok(Self {
            names,
            genes,
            values,
            rows: PhantomData,
        })
    }

    /// Row names.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Gene names.
    #[must_use]
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// The matrix.
    #[must_use]
    pub fn values(&self) -> &SparseRows {
        &self.values
    }

    /// The matrix alone.
    #[must_use]
    pub fn into_values(self) -> SparseRows {
        self.values
    }

    /// Rows without any count.
    #[must_use]
    pub fn zero_rows(&self) -> Vec<usize> {
        let empty = |i: &usize| self.values.row(*i).1.iter().all(|&v| v == 0.0);
        (0..self.values.n_rows()).filter(empty).collect()
    }

    /// Only the genes at `columns`, in that order (each at most once).
    #[must_use]
    pub fn select_genes(&self, columns: &[usize]) -> Self {
        Self {
            names: self.names.clone(),
            genes: columns.iter().map(|&c| self.genes[c].clone()).collect(),
            values: self.values.select_columns(columns),
            rows: PhantomData,
        }
    }

    /// Brings rows to a common total, over the genes that are here now.
    #[must_use]
    pub fn normalized(mut self, normalize: Normalize) -> Self {
        match normalize {
            Normalize::None => {}
            Normalize::Library => {
                let factors = normalize::library_factors(&self.values.row_sums());
                normalize::scale_rows(&mut self.values, &factors);
            }
        }
        self
    }

    /// Transforms every value.
    #[must_use]
    pub fn transformed(mut self, transform: Transform) -> Self {
        normalize::transform(&mut self.values, transform);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn cells(
        rows: &str,
        genes: &str,
        dense: &Array2<f32>,
    ) -> Result<CellExpression, ExpressionError> {
        CellExpression::new(
            names(rows),
            names(genes),
            SparseRows::from_dense(dense.view()),
        )
    }

    #[test]
    fn wrong_numbers_and_names_are_refused_by_name() {
        let fine = array![[1.0, 0.0], [0.0, 2.0]];
        assert!(cells("c1 c2", "g1 g2", &fine).is_ok());
        let shape = cells("c1 c2", "g1", &fine).unwrap_err();
        assert!(
            matches!(
                shape,
                ExpressionError::Shape {
                    names: 2,
                    genes: 1,
                    ..
                }
            ),
            "{shape}"
        );
        let twice = cells("c1 c1", "g1 g2", &fine).unwrap_err().to_string();
        assert!(twice.contains("`obs` of the cells: `c1`"), "{twice}");
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            let dense = array![[1.0, 0.0], [0.0, bad]];
            let refused = VoxelExpression::new(
                names("v1 v2"),
                names("g1 g2"),
                SparseRows::from_dense(dense.view()),
            );
            let message = refused.unwrap_err().to_string();
            for part in [
                "the voxels have the value",
                &bad.to_string(),
                "`v2`",
                "`g2`",
            ] {
                assert!(message.contains(part), "{message}");
            }
        }
    }

    #[test]
    fn totals_are_taken_before_genes_are_cut() {
        let whole = cells(
            "c1 c2 c3",
            "a b c",
            &array![[1., 1., 2.], [0., 0., 0.], [1., 3., 4.]],
        )
        .unwrap();
        let trained = whole
            .clone()
            .normalized(Normalize::Library)
            .select_genes(&[2, 0]);
        assert_eq!(trained.genes(), names("c a"));
        assert_eq!(
            trained.values().to_dense(),
            array![[3.0, 1.5], [0.0, 0.0], [3.0, 0.75]]
        );
        assert_eq!(whole.zero_rows(), [1]);
        assert_eq!(
            whole
                .clone()
                .normalized(Normalize::None)
                .transformed(Transform::None),
            whole
        );
    }

    #[test]
    fn stored_zeros_count_as_zero() {
        let stored = SparseRows::new(2, vec![0, 2, 3], vec![0, 1, 0], vec![0.0, 0.0, 1.0]).unwrap();
        let cells = CellExpression::new(names("c1 c2"), names("a b"), stored).unwrap();
        assert_eq!(cells.zero_rows(), [0]);
    }
}
