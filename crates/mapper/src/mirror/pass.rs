//! What the factored solver needs of whoever does its work: the seam between the solver and its engines.

use crate::mirror::balance::{Balance, Pull};
use crate::{Keeper, MapError};
use ndarray::{Array2, ArrayView2};

/// How the rows of a pass count.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rows<'a> {
    /// Weights of this rank's cells, where they are not 1.
    pub(crate) weights: Option<&'a [f64]>,
    /// W and u, (genes + 1, voxels), by which the cells are to be weighed.
    pub(crate) slope: Option<ArrayView2<'a, f64>>,
}

/// What a pass finds of the rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfRows {
    /// Of all cells; 0 where the objective does not ask for it.
    pub(crate) entropy: f64,
    /// `t_i = Σ_j P_ij (S_i·W_j + u_j)` of this rank's cells, where it was asked for.
    pub(crate) weighed: Option<Vec<f64>>,
}

/// One engine's passes over the cells of a problem.
///
/// Whether cells are held or streamed, whether sums over ranks are exact, and what ranks share are matters of the pass: the
/// solver knows of none.
///
/// A weight of a row multiplies P at one place, between the softmax and the sums. What a filter learns from is a second product
/// over the same super-blocks while P is there.
pub(crate) trait Pass {
    /// Takes the cells of the passes to come: all, or one of every `part`. Gives their number, of all ranks.
    fn take_cells(&mut self, part: usize) -> Result<usize, MapError>;

    /// Writes what the factors predict in their place, (genes + 1, voxels): A, and the expected cells of every voxel as the last
    /// row. Gives nothing if a rank wishes to stop.
    fn predict(
        &mut self,
        factors: &mut Array2<f64>,
        rows: Rows<'_>,
        keeper: &mut dyn Keeper,
    ) -> Result<Option<OfRows>, MapError>;

    /// These factors, (genes + 1, voxels), as [`predict`](Self::predict) multiplies them, to the last bit: what is stored is what the
    /// history has the loss of.
    fn as_multiplied(&self, factors: Array2<f64>) -> Array2<f64>;

    /// Takes the factors, (genes + 1, voxels), from which the next step goes.
    fn stand_at(&mut self, factors: ArrayView2<'_, f64>);

    /// Takes the slope of the loss there, (genes + 1, voxels), and gives its spread: the standard deviation over the voxels of what it
    /// takes from a cell's logits, mean over some cells.
    fn spread(&mut self, slope: ArrayView2<'_, f64>) -> f64;

    /// How this slope, with `pull` added, is balanced between the voxels.
    fn balance(&mut self, pull: Pull<'_>) -> Balance;
}
