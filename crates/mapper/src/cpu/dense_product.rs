//! Products of dense expression, for expression with few zeros.

use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::disjoint::Disjoint;
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use rayon::prelude::*;
use std::any::Any;
use std::ops::Range;
use tangram_core::SparseRows;

/// Cells per task of the first product.
pub(crate) const CELLS: usize = 256;
/// Voxels per task of the second product.
pub(crate) const VOXELS: usize = 512;

/// Scratch of one super-block: its cells' expression.
pub(crate) struct DenseProducts {
    n_genes: usize,
    tiles: Tiles,
    /// S of the super-block, (cells, genes), an [`Aligned`] of the training's numbers.
    expression: Box<dyn Any + Send + Sync>,
}

/// A matrix: where it begins, and the distances between its rows and between its columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<P> {
    pub(crate) start: P,
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl<P> Matrix<P> {
    fn by_rows(start: P, row: usize) -> Self {
        Self {
            start,
            row,
            column: 1,
        }
    }
}

impl DenseProducts {
    /// * `cells`: most of a super-block
    pub(crate) fn new<T: Number>(n_genes: usize, tiles: Tiles, cells: usize) -> Self {
        Self {
            n_genes,
            tiles,
            expression: Box::new(zeros::<T>(cells * n_genes)),
        }
    }

    fn expression<T: Number>(&self) -> &[T] {
        let expression = self.expression.downcast_ref::<Aligned<T>>();
        expression.expect("one kind of number in a training")
    }

    /// `gradient[i] = S_i · W`, (cells, voxels) from W, (genes, voxels).
    pub(crate) fn gradient<T: Number>(
        &mut self,
        cells: &SparseRows,
        range: Range<usize>,
        weights: &[T],
        gradient: &mut [T],
    ) {
        self.take::<T>(cells, &range);
        let (n_genes, padded) = (self.n_genes, self.tiles.padded());
        assert!(
            n_genes * padded <= weights.len(),
            "a weight for every gene and voxel"
        );
        let stride = self.tiles.row_stride::<T>();
        let (expression, gradient) = (self.expression::<T>(), Disjoint::new(gradient));
        parts(range.len(), CELLS).for_each(|part| {
            let rows = part.len();
            let target = gradient.address(part.start * stride, (rows - 1) * stride + padded);
            let expression = &expression[part.start * n_genes..part.end * n_genes];
            // SAFETY: all three matrices lie inside their slices (checked), and the target's rows are of this task only.
            unsafe {
                T::multiply(
                    [rows, n_genes, padded],
                    Matrix::by_rows(expression.as_ptr(), n_genes),
                    Matrix::by_rows(weights.as_ptr(), padded),
                    false,
                    Matrix::by_rows(target, stride),
                );
            }
        });
    }

    /// `sums += S_blkᵀ · P_blk`, (genes, voxels); the super-block is that of the last [`gradient`](Self::gradient) or [`take`](Self::take).
    pub(crate) fn accumulate<T: Number>(&self, n_cells: usize, rows: &[T], sums: &mut [T]) {
        let (padded, stride) = (self.tiles.padded(), self.tiles.row_stride::<T>());
        let n_genes = self.n_genes;
        let expression = &self.expression::<T>()[..n_cells * n_genes];
        assert!(
            (n_cells - 1) * stride + padded <= rows.len(),
            "a row for every cell"
        );
        let sums = Disjoint::new(sums);
        parts(padded, VOXELS).for_each(|part| {
            let target = sums.address(part.start, (n_genes - 1) * padded + part.len());
            let by_gene = Matrix {
                start: expression.as_ptr(),
                row: 1,
                column: n_genes,
            };
            // SAFETY: all three matrices lie inside their slices (checked), and the target's columns are of this task only.
            unsafe {
                T::multiply(
                    [n_genes, n_cells, part.len()],
                    by_gene,
                    Matrix::by_rows(rows[part.start..].as_ptr(), stride),
                    true,
                    Matrix::by_rows(target, padded),
                );
            }
        });
    }

    /// Makes `range` the super-block of the next [`accumulate`](Self::accumulate).
    pub(crate) fn take<T: Number>(&mut self, cells: &SparseRows, range: &Range<usize>) {
        let n_genes = self.n_genes;
        let expression = self.expression.downcast_mut::<Aligned<T>>();
        let expression = &mut expression.expect("one kind of number in a training")[..];
        expression[..range.len() * n_genes]
            .par_chunks_mut(n_genes)
            .zip(range.clone())
            .for_each(|(row, cell)| {
                row.fill(T::default());
                let (genes, values) = cells.row(cell);
                for (&k, &value) in genes.iter().zip(values) {
                    row[k as usize] = T::from_f64(value.into());
                }
            });
    }
}

/// `0..len` in consecutive parts of at most `at_most`.
pub(crate) fn parts(
    len: usize,
    at_most: usize,
) -> impl IndexedParallelIterator<Item = Range<usize>> {
    (0..len.div_ceil(at_most))
        .into_par_iter()
        .map(move |i| i * at_most..len.min((i + 1) * at_most))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the products are compared with: sums in double precision.
    fn check<T: Number + std::fmt::Debug>(tolerance: f64) {
        let (n_cells, n_genes, n_voxels) = (300, 40, 530);
        let mut cells = SparseRows::empty(n_genes);
        for i in 0..n_cells + 7 {
            let genes = (0..n_genes).filter(|k| (i * 31 + k * 17) % 5 > 1);
            cells.push_row(genes.map(|k| (k as u32, ((i + 3 * k) % 11) as f32 - 4.5)));
        }
        let tiles = Tiles::one(n_voxels);
        let (padded, stride) = (tiles.padded(), tiles.row_stride::<T>());
        let numbers = |len: usize, salt: usize| -> Vec<T> {
            let number = |i: usize| ((i * 7919 + salt) % 103) as f64 / 50.0 - 1.0;
            (0..len).map(|i| T::from_f64(number(i))).collect()
        };
        let (weights, rows) = (numbers(n_genes * padded, 1), numbers(n_cells * stride, 2));
        let begin = numbers(n_genes * padded, 3);
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            pool.unwrap().install(|| {
                let mut products = DenseProducts::new::<T>(n_genes, tiles, 512);
                let mut gradient = vec![T::default(); n_cells * stride];
                products.gradient(&cells, 7..7 + n_cells, &weights, &mut gradient);
                let mut sums = begin.clone();
                products.accumulate(n_cells, &rows, &mut sums);
                (gradient, sums)
            })
        };
        let (gradient, sums) = run(1);
        let s = cells.to_dense();
        for i in (0..n_cells).step_by(29) {
            for j in (0..n_voxels).step_by(7) {
                let terms = (0..n_genes)
                    .map(|k| f64::from(s[[7 + i, k]]) * weights[k * padded + j].to_f64());
                let apart = terms.sum::<f64>() - gradient[i * stride + j].to_f64();
                assert!(apart.abs() < tolerance, "{i} {j}: {apart:e}");
            }
        }
        for k in 0..n_genes {
            for j in (0..n_voxels).step_by(7) {
                let terms =
                    (0..n_cells).map(|i| f64::from(s[[7 + i, k]]) * rows[i * stride + j].to_f64());
                let all = begin[k * padded + j].to_f64() + terms.sum::<f64>();
                let apart = all - sums[k * padded + j].to_f64();
                assert!(apart.abs() < tolerance, "{k} {j}: {apart:e}");
            }
        }
        // The same bits for any number of threads.
        assert_eq!(run(3), (gradient, sums));
    }

    #[test]
    fn products_are_those_of_the_matrices() {
        check::<f32>(1e-3);
        check::<f64>(1e-10);
    }
}
