//! What a step takes from a voxel's logits, made alike for all voxels.
//!
//! The slope of the voxel term by a voxel's A is about one over the size of A: a few voxels with few cells have slopes many times as steep
//! as the others, and would set the length of the step for all. So a step takes
//! `c_j (x_ij − m_i)` from logit (i, j) in place of `x_ij = S_i·W_j + u_j`, with a share c_j of the voxel from 0 to 1.
//!
//! Where `m_i = Σ_j P_ij x_ij`, this descends for any shares: by it the loss changes at the rate `−Σ_ij P_ij c_j (x_ij − m_i)²`, and it is
//! zero where the slope is. Logits stay factored only if m is linear in S: m_i is replaced by [its linear fit](super::linear_fit).

use crate::cost::tally::Tally;
use crate::ranks::Ranks;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use tangram_comm::Communicator;
use tangram_core::Sums;

/// Power of a voxel's length by which its share falls: at 1 all voxels with steep slopes would move alike, at 0 all shares were 1.
const POWER: f64 = 0.7;

/// What acts on the logits themselves: their slope has `weight · logits − to_rest · rest` more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pull<'a> {
    pub(crate) weight: f64,
    pub(crate) to_rest: f64,
    /// Of every voxel of this rank.
    pub(crate) rest: &'a [f64],
}

impl Pull<'_> {
    pub(crate) fn is_none(self) -> bool {
        self.weight == 0.0 && self.to_rest == 0.0
    }
}

/// How a slope is balanced between the voxels, and how far it then reaches.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Balance {
    /// Where it is balanced.
    pub(crate) of_voxels: Option<OfVoxels>,
    /// Largest change of a cell's logits, from their mean over the voxels, by the balanced slope: mean over the probe's cells.
    pub(crate) largest: f64,
}

/// What makes the balanced slope of a slope.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct OfVoxels {
    /// What is subtracted from every voxel's slope, (genes + 1).
    pub(crate) centre: Vec<f64>,
    /// c of this rank's voxels, 0 to 1.
    pub(crate) shares: Vec<f64>,
}

impl OfVoxels {
    /// Balances a slope, (genes + 1, voxels).
    pub(crate) fn apply(&self, slope: &mut Array2<f64>) {
        let rows = slope.axis_iter_mut(Axis(0)).into_par_iter();
        rows.zip(&self.centre).for_each(|(row, centre)| {
            let pairs = row.into_iter().zip(&self.shares);
            pairs.for_each(|(x, share)| *x = (*x - centre) * share);
        });
    }
}

/// Declares what balancing exchanges.
pub(super) fn declare(tally: &mut Tally<'_>, own: usize, n_probes: usize) {
    tally.max_rows(own);
    tally.over_voxels(2 * own);
    tally.sum_over_cells(n_probes);
    tally.over_cells(tally.shares().voxels.len());
    tally.over_voxels(1);
}

/// c of this rank's voxels: `(l / l_j)^0.7` where `l_j`, the root mean square of its changes, is above the typical l, else 1.
///
/// The typical length is the square of the mean of the roots, on which a few large ones have little weight.
///
/// * `squares`: Σ over the probe's cells of the squares of the changes
pub(super) fn shares(
    squares: &[f64],
    n_probes: usize,
    ranks: Ranks<'_, impl Communicator>,
) -> Vec<f64> {
    let length = |squares: f64| (squares / n_probes as f64).sqrt();
    let blocks = ranks.voxel_blocks().into_iter().map(|voxels| {
        let roots = squares[voxels].iter().map(|&s| length(s).sqrt());
        vec![roots.sum()]
    });
    let roots = ranks.over_voxels(blocks.collect())[0];
    let typical = (roots / ranks.shares.voxels.whole_len() as f64).powi(2);
    let share = |&squares: &f64| match length(squares) {
        length if length > typical => (typical / length).powf(POWER),
        _ => 1.0,
    };
    squares.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::one_rank;
    use tangram_comm::Shares;

    #[test]
    fn steep_voxels_get_smaller_shares_and_the_others_stay() {
        let (grid, shares_of) = (one_rank(), Shares::whole(5, 4, 3));
        let ranks = Ranks {
            grid: &grid,
            shares: &shares_of,
        };
        // Lengths 1, 1, 1 and 100: the typical one is ((1 + 1 + 1 + 10) / 4)² = 10.5625.
        let found = shares(&[5.0, 5.0, 5.0, 5e4], 5, ranks);
        assert_eq!(found[..3], [1.0; 3]);
        assert!(
            (found[3] - (0.105625_f64).powf(0.7)).abs() < 1e-12,
            "{found:?}"
        );
        assert_eq!(shares(&[0.0; 4], 5, ranks), [1.0; 4]);
    }
}
