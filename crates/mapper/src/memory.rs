//! How much memory a mapping needs, before it is tried.

use crate::blocked::Blocked;
use crate::products::{cells_per_block, is_dense, tiles};
use crate::{AdamSettings, Precision};

/// Bytes that [`train_adam`](crate::train_adam) will hold at once besides the problem itself.
///
/// * `nnz`: number of non-zero counts of the cells' training genes
#[must_use]
pub fn memory_needed(
    n_cells: usize,
    n_voxels: usize,
    n_genes: usize,
    nnz: usize,
    settings: &AdamSettings,
) -> u64 {
    // The gene of ones.
    let (n_genes, nnz) = (n_genes + 1, nnz + n_cells);
    let number = if settings.precision == Precision::F64 {
        8
    } else {
        4
    };
    let dense = is_dense(
        nnz as f64 / (n_cells.max(1) * n_genes.max(1)) as f64,
        settings.precision,
    );
    let tiles = tiles(n_voxels, dense);
    let block = match settings.precision {
        Precision::F64 => cells_per_block::<f64>(n_cells, &tiles),
        _ => cells_per_block::<f32>(n_cells, &tiles),
    };
    let logits_and_moments = 3 * n_cells * n_voxels * number;
    let scratch = block * (tiles.padded() + 64) * number * if dense { 2 } else { 1 };
    let expression = if dense {
        nnz * 8 + block * n_genes * number
    } else {
        // Cut by cells and by genes, and a copy while that is done.
        nnz * 8 + Blocked::bytes(n_cells, n_genes, nnz) + Blocked::bytes(n_genes, n_cells, nnz)
    };
    // W and A in tiles, A in double precision, G.
    let genes_by_voxels = tiles.padded() * n_genes * (2 * number + 8 + 4);
    (logits_and_moments + scratch + expression + genes_by_voxels) as u64
}
