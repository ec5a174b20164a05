//! Sums over all logits, for the terms that keep them small.

use crate::adam::state::AdamState;
use crate::cost::tally::Tally;
use crate::number::Number;
use crate::ranks::Ranks;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::{Objective, Sums, Term};

/// Whether a term needs them.
pub(crate) fn asked(objective: &Objective) -> bool {
    objective[Term::L1] != 0.0 || objective[Term::L2] != 0.0
}

/// Declares what [`of_all`] exchanges.
///
/// * `n_blocks`: blocks of this rank's cells
pub(crate) fn declare(tally: &mut Tally<'_>, n_blocks: usize) {
    tally.over_voxels(2 * n_blocks);
    tally.over_cells(2);
}

/// Σ |M̃_ij| and Σ M̃_ij² over all ranks.
///
/// * `by_voxels`: for every block of voxels, both sums for every block of this rank's cells
pub(crate) fn of_all(by_voxels: Vec<Vec<f64>>, ranks: Ranks<'_, impl Communicator>) -> [f64; 2] {
    let sums = ranks.over_voxels(by_voxels);
    let blocks = sums.chunks_exact(2).map(<[f64]>::to_vec).collect();
    let all = ranks.grid.over_cells(&ranks.shares.cells, blocks);
    [all[0], all[1]]
}

impl<T: Number> AdamState<T> {
    /// Σ |M̃_ij| and Σ M̃_ij² over all cells and voxels of all ranks.
    pub(crate) fn logit_sums(&self, ranks: Ranks<'_, impl Communicator>) -> [f64; 2] {
        let cells = ranks.shares.cells.blocks();
        let of_voxels = |voxels: Range<usize>| {
            let blocks = cells.iter().cloned();
            blocks
                .flat_map(|cells| self.block_sums(cells, &voxels))
                .collect()
        };
        let blocks = ranks.voxel_blocks().into_iter().map(of_voxels);
        of_all(blocks.collect(), ranks)
    }

    /// The same over some cells and voxels of this rank; rows are added up in their order.
    fn block_sums(&self, cells: Range<usize>, voxels: &Range<usize>) -> [f64; 2] {
        let of_row = |i: usize| {
            let row = &self.logits[i * self.n_voxels..][voxels.clone()];
            row.iter().fold([0.0; 2], |[l1, l2], x| {
                let x = x.to_f64();
                [l1 + x.abs(), l2 + x * x]
            })
        };
        let rows: Vec<[f64; 2]> = cells.into_par_iter().map(of_row).collect();
        rows.into_iter()
            .fold([0.0; 2], |sum, row| [sum[0] + row[0], sum[1] + row[1]])
    }
}
