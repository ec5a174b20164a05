//! What Adam needs of whoever does its work: the seam between the solver and its engines.

use crate::MapError;
use crate::adam::row_weights::FilterStep;
use crate::adam::state::AdamState;
use crate::snapshot::Parts;
use ndarray::Array2;
use tangram_core::OfCells;

/// One engine's logits with their moments, and its passes over them.
///
/// As for the factored solver, a row's weight belongs between the softmax and the sums of both functions. What a filter learns from,
/// `t_i = Σ_j P_ij (S_i·W_j + u_j)`, is a row sum that [`step`](Self::step) has anyway.
pub(crate) trait Pass<T> {
    /// A and q of the logits as they are, into [`predicted`](Self::predicted). Gives what is summed over the cells.
    fn predict(&mut self) -> Result<OfCells, MapError>;

    /// A with the density as its last gene, (genes + 1, voxels); the gradient is to be left in its place.
    fn predicted(&mut self) -> &mut Array2<f64>;

    /// Step down the gradient, then A and q of the new logits: one pass over them does both. Gives what is summed over the cells.
    fn step(&mut self, step: FilterStep) -> Result<OfCells, MapError>;

    /// Adds what another training needs to go on.
    fn save(&mut self, parts: Parts) -> Result<Parts, MapError>;

    /// The state in the end, with the norms of the rows.
    fn into_state(self: Box<Self>) -> Result<AdamState<T>, MapError>;
}
