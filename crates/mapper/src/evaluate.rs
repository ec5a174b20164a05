//! The loss of what a pass predicts.

use crate::cost::plan::PassPlan;
use crate::cost::tally::Tally;
use crate::ranks::{Ranks, voxel_shards};
use crate::{MapError, Problem};
use ndarray::{Array2, Axis, s};
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::{
    CellChunks, Exchange, Known, Loss, LossFunction, Neighbours, Objective, OfCells, Shard,
    SparseRows, Sums, Term,
};

/// The loss of a problem, prepared on this rank.
pub(crate) fn loss_function<C: CellChunks>(
    problem: &Problem<C>,
    objective: &Objective,
    ranks: Ranks<'_, impl Communicator>,
) -> LossFunction {
    let measured = problem.voxels().transpose().to_dense();
    let known = Known {
        prior: problem.own_prior(),
        target: problem.filter().map(|filter| filter.target),
        neighbours: problem.neighbours(),
        n_types: types(problem, objective).map_or(0, SparseRows::n_cols),
    };
    LossFunction::of_shard(objective, measured, known, &ranks)
}

/// Types of this rank's rows, if a term of the loss compares them.
pub(crate) fn types<'a, C: CellChunks>(
    problem: &'a Problem<C>,
    objective: &Objective,
) -> Option<&'a SparseRows> {
    let compared = objective[Term::Islands] != 0.0;
    problem.types().filter(|_| compared)
}

/// The loss of what is predicted, and its gradient in place of that.
///
/// * `predicted`: A, (genes + types + 1, voxels), whose last row is the sum of P over cells of this mass, in number; on return W, and by
///   the last row the slope of the loss by every cell's probability, u_j / Σ r
pub(crate) fn evaluate(
    loss: &LossFunction,
    predicted: &mut Array2<f64>,
    cells: OfCells,
    ranks: Ranks<'_, impl Communicator>,
) -> Loss {
    let share = 1.0 / cells.mass;
    let (n_genes, n_types) = (loss.n_genes(), loss.n_types());
    let rows = n_genes + n_types;
    let (expression, mut density) = predicted.view_mut().split_at(Axis(0), rows);
    // Density of the share of cells, q; and back, from the slope by q to that by P.
    density *= share;
    let slope = density.as_slice_mut().expect("one row in standard layout");
    let loss = loss.evaluate_shard(expression, slope, cells, &ranks);
    density *= share;
    // Ranks along the genes all have the types, which count on one of them, as the density does.
    if n_types > 0 && !ranks.grid.is_last_of_genes() {
        predicted.slice_mut(s![n_genes..rows, ..]).fill(0.0);
    }
    loss
}

/// As [`evaluate`]; gives also the slope of the loss by Σ r, which the density depends on: `− Σ_j q_j u_j / Σ r`.
pub(crate) fn evaluate_by_mass(
    loss: &LossFunction,
    predicted: &mut Array2<f64>,
    cells: OfCells,
    ranks: Ranks<'_, impl Communicator>,
) -> (Loss, f64) {
    let last = predicted.nrows() - 1;
    let density: Vec<f64> = predicted.row(last).iter().map(|c| c / cells.mass).collect();
    let loss = evaluate(loss, predicted, cells, ranks);
    let slope = predicted.row(last);
    let of_block = |voxels: Range<usize>| {
        let pairs = voxels.map(|j| density[j] * slope[j]);
        vec![pairs.sum::<f64>()]
    };
    let blocks = ranks.voxel_blocks().into_iter().map(of_block);
    let sum = ranks.over_voxels(blocks.collect())[0];
    (loss, -sum)
}

/// Declares what [`evaluate_by_mass`] exchanges beside what [`evaluate`] does.
pub(crate) fn declare_by_mass(tally: &mut Tally<'_>) {
    tally.over_voxels(1);
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
        n_types: plan.n_types,
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
pub(crate) fn largest_of_genes<C: CellChunks>(cells: &C) -> Result<Vec<f64>, MapError> {
    let mut largest = vec![0.0f64; cells.n_genes()];
    let read = cells.for_each_chunk(0..cells.n_cells(), &mut |_, chunk: &SparseRows| {
        for i in 0..chunk.n_rows() {
            let (genes, values) = chunk.row(i);
            for (&k, &x) in genes.iter().zip(values) {
                largest[k as usize] = largest[k as usize].max(x.into());
            }
        }
        Ok(std::ops::ControlFlow::Continue(()))
    });
    read.map_err(|e| MapError::Cells(e.into()))?;
    Ok(largest)
}
