//! What Adam needs of whoever does its work: the seam between the solver and its engines.

use crate::MapError;
use crate::adam::state::AdamState;
use crate::snapshot::Parts;
use ndarray::Array2;

/// One engine's logits with their moments, and its passes over them.
///
/// As for the factored solver, a filter's weight of a row belongs between the softmax and the sums of both functions, and what it
/// learns from, `t_i = Σ_j P_ij (S_i·W_j)`, is a row sum that [`step`](Self::step) already has.
pub(crate) trait Pass<T> {
    /// A and q of the logits as they are, into [`predicted`](Self::predicted). Gives the entropy.
    fn predict(&mut self) -> Result<f64, MapError>;

    /// A with the density as its last gene, (genes + 1, voxels); the gradient is to be left in its place.
    fn predicted(&mut self) -> &mut Array2<f64>;

    /// Step `epoch` (from 1) down the gradient, then A and q of the new logits: one pass over them does both. Gives the entropy.
    fn step(&mut self, epoch: usize) -> Result<f64, MapError>;

    /// Adds what another training needs to go on.
    fn save(&mut self, parts: Parts) -> Result<Parts, MapError>;

    /// The state in the end, with the norms of the rows.
    fn into_state(self: Box<Self>) -> Result<AdamState<T>, MapError>;
}
