//! What passes on devices bring to collectives, declared beside no pass since plans need it in builds without libtorch, too.

use crate::cost::tally::Tally;
use crate::torch::memory::PADDED;

/// Logits of blocks of cells, by `DeviceProducts::logits`.
pub(crate) fn logits(tally: &mut Tally<'_>, n_cells: usize) {
    tally.sum_logits(n_cells * tally.shares().voxels.len().next_multiple_of(PADDED));
}

/// Maxima and sums of rows, by `Softmax`.
pub(crate) fn softmax(tally: &mut Tally<'_>, n_cells: usize) {
    tally.max_rows(n_cells);
    tally.sum_rows(2 * n_cells);
}

/// A and the density, by `DeviceProducts::finish`.
///
/// * `n_types`: columns of S beside genes
pub(crate) fn sums(tally: &mut Tally<'_>, n_types: usize) {
    let shares = tally.shares();
    tally.sum_predicted((shares.genes.len() + n_types + 1) * shares.voxels.len());
}
