//! Transfers annotations of cells to the voxels: [`transfer`](fn@transfer), and [`density`] for the number of cells.

use crate::{Annotations, MappingRows, PBlock, SparseRows};
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;

/// Transfers annotations to the voxels: `T = Pᵀ · annotations`, (voxels, annotations); Biancalani 2021, Methods.
///
/// ```
/// use ndarray::array;
/// use tangram_core::transfer;
///
/// // Two cells, three voxels; each row of P sums to 1.
/// let p = array![[0.5_f32, 0.5, 0.0], [0.0, 0.25, 0.75]];
/// // The first cell is of type 0, the second of type 1.
/// let types = array![[1.0_f32, 0.0], [0.0, 1.0]];
/// let in_space = transfer(&p, &types).unwrap();
/// assert_eq!(in_space, array![[0.5, 0.0], [0.5, 0.25], [0.0, 0.75]]);
/// ```
///
/// Sums are in double precision; with dense rows of P, partial sums over 256 cells are in single precision. The result has
/// the same bits for any number of threads.
///
/// Memory: the result, and the same array in double precision. Transfer many annotations, such as all genes, in groups of
/// columns.
///
/// # Errors
/// `M::Error` if the mapping cannot be read.
///
/// # Panics
/// If `annotations` and `mapping` have different numbers of cells.
pub fn transfer<M: MappingRows>(
    mapping: &M,
    annotations: &dyn Annotations,
) -> Result<Array2<f32>, M::Error> {
    assert_eq!(
        annotations.n_cells(),
        mapping.n_cells(),
        "annotations are of the mapping's cells"
    );
    let shape = (mapping.n_voxels(), annotations.n_annotations());
    if shape.0 == 0 || shape.1 == 0 {
        return Ok(Array2::zeros(shape));
    }
    let mut sums = Array2::<f64>::zeros(shape);
    mapping.for_each_block(&mut |block| {
        match block.rows {
            PBlock::Sparse(rows) if rows.density() > DENSE_ABOVE => {
                for start in (0..rows.n_rows()).step_by(CELLS_PER_PRODUCT) {
                    let end = rows.n_rows().min(start + CELLS_PER_PRODUCT);
                    let part = rows.rows(start..end).to_dense();
                    add_dense(
                        block.first_cell + start,
                        part.view(),
                        annotations,
                        &mut sums,
                    );
                }
            }
            PBlock::Sparse(rows) => add_sparse(block.first_cell, rows, annotations, &mut sums),
            PBlock::Dense(rows) => add_dense(block.first_cell, rows, annotations, &mut sums),
        }
        Ok(())
    })?;
    Ok(sums.mapv(|sum| sum as f32))
}

/// Voxels whose sums one thread computes at a time; they fit in its cache.
const VOXELS_PER_STRIPE: usize = 128;

/// Cells per matrix product in single precision, few enough for a rounding error near 1e-6.
const CELLS_PER_PRODUCT: usize = 256;

/// Sparse rows with a larger share of stored entries than this are converted to dense, because that is faster.
///
/// Measured on 2 cores: dense is faster above a share of 0.03 for 20 cell types, and above 0.2 for 512 genes of which one
/// seventh is non-zero.
const DENSE_ABOVE: f64 = 0.125;

/// Adds `rowsᵀ · annotations` to `sums`. Each voxel adds its cells in ascending order, so threads do not change the bits.
fn add_sparse(
    first_cell: usize,
    rows: &SparseRows,
    annotations: &dyn Annotations,
    sums: &mut Array2<f64>,
) {
    let by_voxel = rows.transpose();
    sums.axis_chunks_iter_mut(Axis(0), VOXELS_PER_STRIPE)
        .into_par_iter()
        .enumerate()
        .for_each(|(stripe, mut sums)| {
            for (j, mut sum) in sums.rows_mut().into_iter().enumerate() {
                let sum = sum
                    .as_slice_mut()
                    .expect("rows of an owned array are contiguous");
                let (cells, probabilities) = by_voxel.row(stripe * VOXELS_PER_STRIPE + j);
                for (&i, &p) in cells.iter().zip(probabilities) {
                    annotations.add_scaled(first_cell + i as usize, f64::from(p), sum);
                }
            }
        });
}

/// Adds `rowsᵀ · annotations` to `sums`, by matrix products of a few cells and a stripe of voxels.
fn add_dense(
    first_cell: usize,
    rows: ArrayView2<'_, f32>,
    annotations: &dyn Annotations,
    sums: &mut Array2<f64>,
) {
    let n_annotations = annotations.n_annotations();
    let mut known = Array2::<f32>::zeros((CELLS_PER_PRODUCT, n_annotations));
    let mut first = first_cell;
    for rows in rows.axis_chunks_iter(Axis(0), CELLS_PER_PRODUCT) {
        let mut known = known.slice_mut(s![..rows.nrows(), ..]);
        annotations.fill(first, known.view_mut());
        first += rows.nrows();
        sums.axis_chunks_iter_mut(Axis(0), VOXELS_PER_STRIPE)
            .into_par_iter()
            .enumerate()
            .for_each_init(
                || Array2::<f32>::zeros((VOXELS_PER_STRIPE, n_annotations)),
                |product, (stripe, mut sums)| {
                    let start = stripe * VOXELS_PER_STRIPE;
                    let voxels = start..start + sums.nrows();
                    let mut product = product.slice_mut(s![..sums.nrows(), ..]);
                    let p = rows.slice(s![.., voxels]);
                    general_mat_mul(1.0, &p.t(), &known, 0.0, &mut product);
                    sums.zip_mut_with(&product, |sum, &part| *sum += f64::from(part));
                },
            );
    }
}

/// Expected number of cells in each voxel, `Σ_i P_ij`; one value per voxel.
///
/// # Errors
/// `M::Error` if the mapping cannot be read.
pub fn density<M: MappingRows>(mapping: &M) -> Result<Vec<f64>, M::Error> {
    let mut sums = vec![0.0; mapping.n_voxels()];
    mapping.for_each_block(&mut |block| {
        block
            .rows
            .fold_voxels(&mut sums, |sum, _, p| *sum += f64::from(p));
        Ok(())
    })?;
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MappingBlock;
    use proptest::prelude::*;
    use std::convert::Infallible;

    /// Tolerance: the result is rounded to `f32`; with dense blocks, sums over 256 cells are, too.
    const ROUNDING: f64 = 2e-6;

    /// P in blocks of `cells` cells, alternately of two kinds: sparse or dense.
    struct Blocks {
        p: Array2<f32>,
        cells: usize,
        sparse: [bool; 2],
    }

    impl MappingRows for Blocks {
        type Error = Infallible;

        fn n_cells(&self) -> usize {
            self.p.nrows()
        }

        fn n_voxels(&self) -> usize {
            self.p.ncols()
        }

        fn for_each_block(
            &self,
            visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Infallible>,
        ) -> Result<(), Infallible> {
            for (b, rows) in self.p.axis_chunks_iter(Axis(0), self.cells).enumerate() {
                let first_cell = b * self.cells;
                if self.sparse[b % 2] {
                    let rows = SparseRows::from_dense(rows);
                    visit(MappingBlock {
                        first_cell,
                        rows: PBlock::Sparse(&rows),
                    })?;
                } else {
                    visit(MappingBlock {
                        first_cell,
                        rows: PBlock::Dense(rows),
                    })?;
                }
            }
            Ok(())
        }
    }

    /// Pseudo-random numbers in (0, 1).
    fn noise(seed: usize, i: usize, j: usize) -> f64 {
        let x = (i as f64 * 12.9898 + j as f64 * 78.233 + seed as f64 * 3.7).sin() * 43_758.545;
        x - x.floor()
    }

    /// Rows that sum to 1; about `share` of the entries are above 0.
    fn probabilities(n_cells: usize, n_voxels: usize, share: f64, seed: usize) -> Array2<f32> {
        let mut p = Array2::from_shape_fn((n_cells, n_voxels), |(i, j)| {
            if noise(seed + 1, i, j) < share || j == i % n_voxels {
                noise(seed, i, j)
            } else {
                0.0
            }
        });
        for mut row in p.rows_mut() {
            let sum = row.sum();
            row /= sum;
        }
        p.mapv(|x| x as f32)
    }

    fn annotations(n_cells: usize, n_annotations: usize, share: f64) -> Array2<f32> {
        Array2::from_shape_fn((n_cells, n_annotations), |(i, k)| {
            if noise(8, i, k) < share {
                (noise(9, i, k) * 20.0) as f32
            } else {
                0.0
            }
        })
    }

    fn check_close(found: &Array2<f32>, wanted: &Array2<f64>) {
        assert_eq!(found.dim(), wanted.dim());
        for (&f, &w) in found.iter().zip(wanted) {
            assert!(
                (f64::from(f) - w).abs() <= ROUNDING * (1.0 + w.abs()),
                "{f} is not {w}"
            );
        }
    }

    fn run<M: MappingRows<Error = Infallible>>(p: &M, known: &dyn Annotations) -> Array2<f32> {
        let Ok(found) = transfer(p, known);
        found
    }

    #[test]
    fn every_kind_of_block_gives_the_plain_product() {
        // More cells than in one product and more voxels than in one stripe; neither is a multiple.
        let (n_cells, n_voxels) = (700, 301);
        for share in [0.02, 0.1, 1.0] {
            let p = probabilities(n_cells, n_voxels, share, 1);
            let dense = annotations(n_cells, 37, 0.3);
            let sparse = SparseRows::from_dense(dense.view());
            let wanted = p.mapv(f64::from).t().dot(&dense.mapv(f64::from));
            for (cells, kinds) in [
                (700, [true, true]),
                (700, [false, false]),
                (97, [true, false]),
                (1, [false, true]),
            ] {
                let blocks = Blocks {
                    p: p.clone(),
                    cells,
                    sparse: kinds,
                };
                check_close(&run(&blocks, &dense), &wanted);
                check_close(&run(&blocks, &sparse), &wanted);
            }
        }
    }

    #[test]
    fn threads_do_not_change_the_bits() {
        let known = annotations(600, 65, 0.4);
        for (share, sparse) in [(0.05, true), (0.5, true), (0.5, false)] {
            let p = probabilities(600, 400, share, 2);
            let blocks = Blocks {
                p,
                cells: 333,
                sparse: [sparse; 2],
            };
            let on = |threads| {
                let pool = rayon::ThreadPoolBuilder::new()
                    .num_threads(threads)
                    .build()
                    .unwrap();
                pool.install(|| run(&blocks, &known)).mapv(f32::to_bits)
            };
            assert_eq!(on(1), on(2));
            assert_eq!(on(1), on(7));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn permuting_cells_permutes_nothing(seed in 0usize..1000, step in 1usize..52) {
            let (p, known) = (probabilities(53, 20, 0.3, seed), annotations(53, 5, 0.5));
            // 53 is prime: any step visits every cell.
            let order: Vec<usize> = (0..53).map(|i| i * step % 53).collect();
            let (shuffled, theirs) = (p.select(Axis(0), &order), known.select(Axis(0), &order));
            let wanted = run(&p, &known).mapv(f64::from);
            check_close(&run(&shuffled, &theirs), &wanted);
            check_close(&run(&SparseRows::from_dense(shuffled.view()), &theirs), &wanted);
        }

        #[test]
        fn totals_are_preserved(seed in 0usize..1000) {
            let (p, known) = (probabilities(90, 31, 0.4, seed), annotations(90, 4, 0.7));
            let before = known.mapv(f64::from).sum_axis(Axis(0));
            let after = run(&p, &known).mapv(f64::from).sum_axis(Axis(0));
            for (a, b) in after.iter().zip(&before) {
                prop_assert!((a - b).abs() < 1e-5 * b.abs().max(1.0), "{} is not {}", a, b);
            }
        }
    }

    #[test]
    fn density_is_the_transfer_of_ones() {
        let p = probabilities(211, 57, 0.3, 5);
        let Ok(sums) = density(&p);
        let ones = run(&p, &Array2::ones((211, 1)));
        check_close(
            &ones,
            &Array2::from_shape_vec((57, 1), sums.clone()).unwrap(),
        );
        assert!((sums.iter().sum::<f64>() - 211.0).abs() < 1e-4);
    }

    #[test]
    #[should_panic(expected = "annotations are of the mapping's cells")]
    fn annotations_of_other_cells_are_refused() {
        run(&probabilities(5, 3, 1.0, 0), &annotations(6, 2, 1.0));
    }
}
