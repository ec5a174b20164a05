//! Carrying annotations of cells into space.

use crate::{Column, MappingRows, SparseRows};
use ndarray::{Array2, ArrayViewMut2};

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

/// Annotations in space: `T = Pᵀ · annotations`, (voxels, annotations).
///
/// Sums are kept in double precision; the result has the same bits for every number of threads.
///
/// # Errors
/// Those of reading the mapping.
///
/// # Panics
/// If `annotations` is not of the cells of the mapping.
pub fn transfer<M: MappingRows>(
    mapping: &M,
    annotations: &dyn Annotations,
) -> Result<Array2<f32>, M::Error> {
    let _ = (mapping, annotations);
    unimplemented!("follows")
}

/// A column as annotations: their labels and (cells, labels).
///
/// Categories become one column each, in their stored order, 1 where the cell has it; text likewise, sorted; a cell
/// without a value (empty text) is all zero. Numbers become one column as they are, labelled `value`.
///
/// # Errors
/// [`AnnotationError::MissingNumber`] if a number is missing or not finite.
pub fn one_hot(column: &Column) -> Result<(Vec<String>, Array2<f32>), AnnotationError> {
    let _ = column;
    unimplemented!("follows")
}

/// Expected number of cells in each voxel: the column sums of P.
///
/// # Errors
/// Those of reading the mapping.
pub fn density<M: MappingRows>(mapping: &M) -> Result<Vec<f64>, M::Error> {
    let mut sums = vec![0.0; mapping.n_voxels()];
    mapping.for_each_block(&mut |block| {
        block.rows.for_each_entry(|_, j, p| sums[j] += f64::from(p));
        Ok(())
    })?;
    Ok(sums)
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
        into.assign(&self.slice(ndarray::s![range, ..]));
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
