//! The loss of what a pass predicts.

use crate::cost::plan::PassPlan;
use crate::cost::tally::Tally;
use crate::ranks::{Ranks, voxel_shards};
use crate::{MapError, Problem};
use ndarray::{Array2, Axis};
use tangram_comm::Communicator;
use tangram_core::{
    CellParts, Exchange, Loss, LossFunction, Neighbours, Objective, Shard, SparseRows,
};

/// The loss of a problem, prepared on this rank.
pub(crate) fn loss_function<C: CellParts>(
    problem: &Problem<C>,
    objective: &Objective,
    ranks: Ranks<'_, impl Communicator>,
) -> LossFunction {
    let measured = problem.voxels().transpose().to_dense();
    let prior = problem.own_prior();
    LossFunction::of_shard(objective, measured, prior, problem.neighbours(), &ranks)
}

/// The loss of what is predicted, and its gradient in place of that.
///
/// * `predicted`: A, (genes + 1, voxels), whose last row is the sum of P over cells of this `mass`, in number; on return W, and by
///   the last row the slope of the loss by every cell's probability, u_j / C
pub(crate) fn evaluate(
    loss: &LossFunction,
    predicted: &mut Array2<f64>,
    mass: f64,
    entropy: Option<f64>,
    ranks: Ranks<'_, impl Communicator>,
) -> Loss {
    let share = 1.0 / mass;
    let n_genes = predicted.nrows() - 1;
    let (expression, mut density) = predicted.view_mut().split_at(Axis(0), n_genes);
    // Density of the share of cells, q; and back, from the slope by q to that by P.
    density *= share;
    let slope = density.as_slice_mut().expect("one row in standard layout");
    let loss = loss.evaluate_shard(expression, slope, mass, entropy, &ranks);
    density *= share;
    loss
}

/// Declares what [`evaluate`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan, neighbours: Option<&Neighbours>) {
    let shares = tally.shares();
    let shards = voxel_shards(tally.shape(), tally.how(), shares);
    let shard = Shard {
        n_genes: shares.genes.len(),
        n_voxels: shares.voxels.len(),
        has_prior: plan.prior,
        neighbours: neighbours.map(|graph| (graph, &shards)),
    };
    for exchange in plan.objective.exchanges(&shard) {
        match exchange {
            Exchange::SumOverVoxels(n) => tally.over_voxels(n),
            Exchange::SumOverGenes(n) => tally.over_genes(n),
            Exchange::ToNeighbours(n) => tally.swap_voxels(n),
        }
    }
}

/// The largest entry of S for every gene of this rank, of its cells.
///
/// # Errors
/// [`MapError::Cells`] if they cannot be read.
pub(crate) fn largest_of_genes<C: CellParts>(cells: &C) -> Result<Vec<f64>, MapError> {
    let mut largest = vec![0.0f64; cells.n_genes()];
    let read = cells.for_each_part(0..cells.n_cells(), &mut |_, part: &SparseRows| {
        for i in 0..part.n_rows() {
            let (genes, values) = part.row(i);
            for (&k, &x) in genes.iter().zip(values) {
                largest[k as usize] = largest[k as usize].max(x.into());
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    });
    read.map_err(|e| MapError::Cells(e.into()))?;
    Ok(largest)
}
