//! The loss of what a pass predicts.

use ndarray::{Array2, Axis};
use tangram_core::{Loss, Measured, Objective, SparseRows, Sums};

/// The loss of what is predicted, and its gradient in place of that.
///
/// * `predicted`: A, (genes + 1, voxels), whose last row is the sum of P over `n_cells` cells; on return W, and by the
///   last row the slope of the loss by every cell's probability, u_j / C
pub(crate) fn evaluate(
    measured: &Measured,
    objective: &Objective,
    prior: Option<&[f64]>,
    predicted: &mut Array2<f64>,
    n_cells: usize,
    entropy: Option<f64>,
    sums: impl Sums,
) -> Loss {
    let share = 1.0 / n_cells as f64;
    let n_genes = predicted.nrows() - 1;
    let (expression, mut density) = predicted.view_mut().split_at(Axis(0), n_genes);
    // Density of the share of cells, q; and back, from the slope by q to that by P.
    density *= share;
    let slope = density.as_slice_mut().expect("one row in standard layout");
    let loss = measured.evaluate_part(objective, prior, expression, slope, entropy, &sums);
    density *= share;
    loss
}

/// Raises `largest` to the largest entry of S for every gene.
pub(crate) fn largest_of_genes(cells: &SparseRows, largest: &mut [f64]) {
    for i in 0..cells.n_rows() {
        let (genes, values) = cells.row(i);
        for (&k, &x) in genes.iter().zip(values) {
            largest[k as usize] = largest[k as usize].max(x.into());
        }
    }
}
