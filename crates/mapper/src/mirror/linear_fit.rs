//! A number of every cell as a linear function of its expression, fitted on the probe's cells.

use crate::ranks::Ranks;
use ndarray::{Array2, ArrayView2, Axis, s};
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::Sums;

/// Strength of the ridge, beside expression scaled to a mean square of 1 per cell, and the constant.
const RIDGE: f64 = 1e-2;

/// Ridge regression on expression and a constant, `value_i ≈ S_i·w + β`, solved in the space of the cells: `(K + ρ I) α = values` with
/// `K_ip = S_i·S_p / s + 1`, s the mean of `S_i·S_i`; then `w = Sᵀ α / s` and `β = Σ α`.
pub(crate) struct LinearFit {
    /// S, (cells, genes of this rank).
    cells: Array2<f64>,
    scale: f64,
    /// L of `K + ρ I = L Lᵀ`.
    lower: Array2<f64>,
}

/// A fit.
pub(crate) struct Fitted {
    /// `S_i·w + β` of every cell.
    pub(crate) values: Vec<f64>,
    /// w of this rank's genes, then β.
    pub(crate) by_gene: Vec<f64>,
}

impl LinearFit {
    /// * `cells`: S, (cells, genes of this rank)
    pub(crate) fn new(cells: Array2<f64>, ranks: Ranks<'_, impl Communicator>) -> Self {
        let n = cells.nrows();
        let of_block = |genes: Range<usize>| {
            let part = cells.slice(s![.., genes]);
            part.dot(&part.t()).into_raw_vec_and_offset().0
        };
        let products = ranks.over_genes(ranks.gene_blocks().into_iter().map(of_block).collect());
        let mut kernel = Array2::from_shape_vec((n, n), products).expect("cells × cells");
        let mean = kernel.diag().sum() / n.max(1) as f64;
        // Cells without any count leave the constant.
        let scale = if mean > 0.0 { mean } else { 1.0 };
        kernel.mapv_inplace(|x| x / scale + 1.0);
        kernel.diag_mut().mapv_inplace(|x| x + RIDGE);
        Self {
            cells,
            scale,
            lower: cholesky(kernel.view()),
        }
    }

    /// Fits one value for every cell.
    pub(crate) fn solve(&self, values: &[f64]) -> Fitted {
        let n = values.len();
        let mut alpha = values.to_vec();
        for i in 0..n {
            let (done, rest) = alpha.split_at_mut(i);
            let sum: f64 = self
                .lower
                .row(i)
                .iter()
                .zip(done)
                .map(|(l, x)| l * *x)
                .sum();
            rest[0] = (rest[0] - sum) / self.lower[[i, i]];
        }
        for i in (0..n).rev() {
            let column = self.lower.slice(s![i + 1.., i]);
            let sum: f64 = column.iter().zip(&alpha[i + 1..]).map(|(l, x)| l * x).sum();
            alpha[i] = (alpha[i] - sum) / self.lower[[i, i]];
        }
        let mut by_gene = vec![0.0; self.cells.ncols() + 1];
        for (row, alpha) in self.cells.axis_iter(Axis(0)).zip(&alpha) {
            let pairs = by_gene.iter_mut().zip(row);
            pairs.for_each(|(w, x)| *w += alpha / self.scale * x);
        }
        by_gene[self.cells.ncols()] = alpha.iter().sum();
        // K α = (K + ρ I) α − ρ α.
        let pairs = values.iter().zip(&alpha);
        Fitted {
            values: pairs.map(|(value, alpha)| value - RIDGE * alpha).collect(),
            by_gene,
        }
    }
}

/// L of a symmetric, positive definite matrix `L Lᵀ`.
fn cholesky(matrix: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut lower = Array2::<f64>::zeros((n, n));
    for i in 0..n {
        for j in 0..=i {
            let sum: f64 = (0..j).map(|k| lower[[i, k]] * lower[[j, k]]).sum();
            let rest = matrix[[i, j]] - sum;
            lower[[i, j]] = match i == j {
                true => rest.sqrt(),
                false => rest / lower[[j, j]],
            };
        }
    }
    lower
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::one_rank;
    use tangram_comm::Shares;

    #[test]
    fn a_linear_function_is_found_and_what_is_given_for_cells_and_genes_agrees() {
        let cells =
            Array2::from_shape_fn((40, 6), |(i, k)| f64::from((i * 7 + k * k * 3) as u32 % 11));
        let (grid, shares) = (one_rank(), Shares::whole(40, 5, 6));
        let ranks = Ranks {
            grid: &grid,
            shares: &shares,
        };
        let fit = LinearFit::new(cells.clone(), ranks);
        let w = [0.3, -0.2, 0.0, 0.5, 0.1, -0.4];
        let values: Vec<f64> = cells
            .rows()
            .into_iter()
            .map(|row| row.iter().zip(w).map(|(x, w)| x * w).sum::<f64>() - 2.0)
            .collect();
        let fitted = fit.solve(&values);
        let (mean, spread) = (-2.0, 3.0);
        for ((row, value), found) in cells.rows().into_iter().zip(&values).zip(&fitted.values) {
            let pairs = row.iter().chain([&1.0]).zip(&fitted.by_gene);
            let linear: f64 = pairs.map(|(x, w)| x * w).sum();
            assert!((linear - found).abs() < 1e-9, "{linear} and {found}");
            assert!(
                (found - value).abs() < 0.02 * spread,
                "{found} for {value}, about {mean}"
            );
        }
    }

    #[test]
    fn cells_without_counts_leave_the_mean() {
        let (grid, shares) = (one_rank(), Shares::whole(4, 5, 3));
        let ranks = Ranks {
            grid: &grid,
            shares: &shares,
        };
        let fit = LinearFit::new(Array2::zeros((4, 3)), ranks);
        let fitted = fit.solve(&[1.0, 2.0, 3.0, 6.0]);
        assert!(
            fitted.values.iter().all(|x| (x - 3.0).abs() < 0.01),
            "{:?}",
            fitted.values
        );
        assert_eq!(fitted.by_gene[..3], [0.0; 3]);
    }
}
