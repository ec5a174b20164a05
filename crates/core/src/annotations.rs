//! Annotations of cells: numbers per cell that a mapping can transfer to the voxels.
//!
//! [`one_hot`] turns a column of a table into annotations; [`transfer`](fn@crate::transfer) brings them to the voxels.

use crate::{Column, SparseRows};
use ndarray::{Array2, ArrayViewMut2, s};
use std::collections::BTreeSet;

/// Numbers per cell, (cells, annotations): one-hot cell types, genes, proteins, any score.
///
/// Implemented for dense arrays and for [`SparseRows`].
pub trait Annotations: Sync {
    /// Number of cells.
    fn n_cells(&self) -> usize;

    /// Number of annotations.
    fn n_annotations(&self) -> usize;

    /// `into += weight · annotations[cell, :]`; `into`: (annotations).
    fn add_scaled(&self, cell: usize, weight: f64, into: &mut [f64]);

    /// Writes the annotations of consecutive cells, starting with `first_cell`, into the rows of `into`.
    ///
    /// * `into`: (cells, annotations)
    fn fill(&self, first_cell: usize, into: ArrayViewMut2<'_, f32>);
}

/// Why a column cannot be used as annotations.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnnotationError {
    /// A number is missing or not finite.
    #[error("row {row} has no finite number; fill in the value or leave the cell out")]
    MissingNumber {
        /// Index of the first row without a finite number.
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

/// Converts a column to annotations: the labels, and an array (cells, labels).
///
/// * Categories: one column per category, in stored order; 1 if the cell has the category, otherwise 0.
/// * Text: one column per distinct text, sorted, likewise.
/// * Numbers: one column with the numbers, labelled `value`.
///
/// The row of a cell without a category, or with an empty text, is all 0.
///
/// # Errors
/// [`AnnotationError::MissingNumber`] if a number is missing or not finite.
pub fn one_hot(column: &Column) -> Result<(Vec<String>, Array2<f32>), AnnotationError> {
    match column {
        Column::Categorical {
            codes, categories, ..
        } => {
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
        Column::Numeric(_) | Column::Integer(_) | Column::Flag(_) => {
            let values = column.as_numbers().unwrap_or_default();
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

/// The one-hot array (rows, labels) of a code per row; a row without a code is all 0.
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
            ordered: false,
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
