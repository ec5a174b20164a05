//! What is known of every cell and can be carried into space.

use crate::{Column, SparseRows};
use ndarray::{Array2, ArrayViewMut2, s};
use std::collections::BTreeSet;

/// Numbers known of every cell: (cells, annotations).
pub trait Annotations: Sync {
    /// Number of cells.
    fn n_cells(&self) -> usize;

    /// Number of annotations.
    fn n_annotations(&self) -> usize;

    /// `into += weight · annotations of cell`.
    fn add_scaled(&self, cell: usize, weight: f64, into: &mut [f64]);

    /// Writes the annotations of the cells from `first_cell` on into the rows of `into`.
    fn fill(&self, first_cell: usize, into: ArrayViewMut2<'_, f32>);
}

/// Why a column is no annotation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// A number is missing, or not finite.
    #[error("row {row} has no finite number; fill in the value or leave the cell out")]
    MissingNumber {
        /// Index of the first such row.
        row: usize,
    },
}

impl Annotations for Array2<f32> {
    fn n_cells(&self) -> usize {
        self.nrows()
    }

    fn n_annotations(&self) -> usize {
        self.ncols()
    }

    fn add_scaled(&self, cell: usize, weight: f64, into: &mut [f64]) {
        for (sum, &value) in into.iter_mut().zip(self.row(cell)) {
            *sum += weight * f64::from(value);
        }
    }

    fn fill(&self, first_cell: usize, mut into: ArrayViewMut2<'_, f32>) {
        let range = first_cell..first_cell + into.nrows();
        into.assign(&self.slice(s![range, ..]));
    }
}

impl Annotations for SparseRows {
    fn n_cells(&self) -> usize {
        self.n_rows()
    }

    fn n_annotations(&self) -> usize {
        self.n_cols()
    }

    fn add_scaled(&self, cell: usize, weight: f64, into: &mut [f64]) {
        let (columns, values) = self.row(cell);
        for (&c, &value) in columns.iter().zip(values) {
            into[c as usize] += weight * f64::from(value);
        }
    }

    fn fill(&self, first_cell: usize, mut into: ArrayViewMut2<'_, f32>) {
        into.fill(0.0);
        for (i, mut row) in into.rows_mut().into_iter().enumerate() {
            let (columns, values) = self.row(first_cell + i);
            for (&c, &value) in columns.iter().zip(values) {
                row[c as usize] = value;
            }
        }
    }
}

/// A column as annotations: their labels and (cells, labels).
///
/// Categories become one column each, in their stored order, 1 where the cell has it; text likewise, sorted; a cell
/// without a value (empty text) is all zero. Numbers become one column as they are, labelled `value`.
///
/// # Errors
/// [`AnnotationError::MissingNumber`] if a number is missing or not finite.
pub fn one_hot(column: &Column) -> Result<(Vec<String>, Array2<f32>), AnnotationError> {
    match column {
        Column::Categorical { codes, categories } => {
            let codes = codes.iter().map(|code| code.map(|c| c as usize));
            Ok((categories.clone(), indicators(codes, categories.len())))
        }
        Column::Text(values) => {
            let labels: BTreeSet<&String> = values.iter().filter(|v| !v.is_empty()).collect();
            let labels: Vec<String> = labels.into_iter().cloned().collect();
            let codes = values.iter().map(|v| labels.binary_search(v).ok());
            let dense = indicators(codes, labels.len());
            Ok((labels, dense))
        }
        Column::Numeric(values) => {
            let mut dense = Array2::zeros((values.len(), 1));
            for (row, value) in values.iter().enumerate() {
                match value {
                    Some(number) if number.is_finite() => dense[[row, 0]] = *number as f32,
                    _ => return Err(AnnotationError::MissingNumber { row }),
                }
            }
            Ok((vec!["value".to_owned()], dense))
        }
    }
}

/// 1 where a row has a code, 0 elsewhere: (rows, labels).
fn indicators(codes: impl ExactSizeIterator<Item = Option<usize>>, n_labels: usize) -> Array2<f32> {
    let mut dense = Array2::zeros((codes.len(), n_labels));
    for (row, code) in codes.enumerate() {
        if let Some(code) = code {
            dense[[row, code]] = 1.0;
        }
    }
    dense
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn columns_become_annotations() {
        let stored = Column::Categorical {
            codes: vec![Some(1), None, Some(0), Some(1)],
            categories: vec!["Sst".to_owned(), "Astro".to_owned()],
        };
        let (labels, dense) = one_hot(&stored).unwrap();
        assert_eq!(labels, ["Sst", "Astro"]);
        assert_eq!(
            dense,
            array![[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
        );

        let text = ["b", "", "a", "b"].map(str::to_owned).to_vec();
        let (labels, dense) = one_hot(&Column::Text(text)).unwrap();
        assert_eq!(labels, ["a", "b"]);
        assert_eq!(
            dense,
            array![[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
        );

        let (labels, dense) = one_hot(&Column::numbers([0.5, -3.0])).unwrap();
        assert_eq!((labels.len(), dense), (1, array![[0.5], [-3.0]]));
        for gap in [None, Some(f64::NAN)] {
            let refused = one_hot(&Column::Numeric(vec![Some(1.0), Some(2.0), gap]));
            assert_eq!(refused, Err(AnnotationError::MissingNumber { row: 2 }));
        }
    }
}
