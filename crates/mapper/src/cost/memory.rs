//! How much memory a mapping needs, before it is tried.

use crate::cpu::blocked::Blocked;
use crate::cpu::products::Layout;
use crate::mirror::probe::Asked;
use crate::mirror::stage_cells::largest_held;
use crate::{AdamSettings, Precision};
use tangram_core::Objective;

/// How streamed cells are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Cells of a chunk.
    pub cells_per_chunk: usize,
    /// [`MirrorSettings::batches`](crate::MirrorSettings::batches): samples of the cells are held, up to a size.
    pub batches: usize,
}

/// Peak bytes per non-zero while streaming (measured): three decoded chunks, one raw chunk, one being cut for the products, two cut.
const OF_CHUNK: usize = 90;
/// Peak bytes per non-zero of a sample that is held: the sample, and what is cut of it.
const OF_SAMPLE: usize = 34;
/// Bytes of the reader itself, beside the chunks (measured).
const READER: usize = 48 << 20;

/// Bytes that [`train_mirror`](crate::train_mirror) will hold at once besides the voxels.
///
/// * numbers of cells, voxels and genes
/// * `nnz`: number of non-zero counts of the cells' training genes
/// * `reading`: if the cells are not in memory
#[must_use]
pub fn mirror_memory_needed(
    [n_cells, n_voxels, n_genes]: [usize; 3],
    nnz: usize,
    reading: Option<Reading>,
    objective: &Objective,
    precision: Precision,
) -> u64 {
    let (layout, number) = layout_and_number(n_cells, n_voxels, n_genes, 0.0, precision);
    let per_cell = nnz as f64 / n_cells.max(1) as f64 + 1.0;
    let n_genes = n_genes + 1;
    // Four matrices of double precision, the measured expression, three in the numbers of the products.
    let of_terms = 8 * objective.matrices();
    let genes_by_voxels = layout.tiles.padded() * n_genes * (4 * 8 + 4 + 3 * number + of_terms);
    let asked = Asked::by(objective, true);
    let of_probe_cell = 2 * layout.stride::<f32>() * number + asked.fitted_bytes(n_genes);
    let probe = asked.most_cells().min(n_cells) * of_probe_cell;
    let scratch = logits_of_block(layout, number) + probe;
    let cells_by_genes = |n_cells: usize, of_count: usize, copies: usize| {
        let starts = Blocked::bytes(n_cells, n_genes, 0) + Blocked::bytes(n_genes, n_cells, 0);
        (n_cells as f64 * per_cell) as usize * of_count + copies * starts
    };
    let expression = match reading {
        None => cells_by_genes(n_cells, 16 + 2 * Blocked::ENTRY, 1),
        Some(reading) => {
            let part = cells_by_genes(n_cells.min(reading.cells_per_chunk), OF_CHUNK, 3);
            let sample = largest_held(reading.batches, n_cells, n_genes - 1);
            READER + part.max(cells_by_genes(sample, OF_SAMPLE, 2))
        }
    };
    (genes_by_voxels + scratch + expression) as u64
}

/// Bytes that a filter of [`train_mirror`](crate::train_mirror) adds: W of the pass before, in double precision and in tiles, a second block
/// of logits, and numbers of all cells.
///
/// * numbers of this rank's cells, voxels and genes
/// * `all_cells`: of all ranks
#[must_use]
pub fn filter_memory_needed(
    [n_cells, n_voxels, n_genes]: [usize; 3],
    all_cells: usize,
    precision: Precision,
) -> u64 {
    let (layout, number) = layout_and_number(n_cells, n_voxels, n_genes, 0.0, precision);
    let slope = layout.tiles.padded() * (n_genes + 1) * (8 + number);
    // h, f and h of the best pass, what was weighed, and f as it was.
    let cells = all_cells * 5 * 8;
    (slope + logits_of_block(layout, number) + cells) as u64
}

/// Bytes of the second block of logits that a rank holds where genes are shared: one is summed while the next is computed.
pub(crate) fn second_logits([n_cells, n_voxels, n_genes]: [usize; 3], precision: Precision) -> u64 {
    let (layout, number) = layout_and_number(n_cells, n_voxels, n_genes, 0.0, precision);
    logits_of_block(layout, number) as u64
}

fn logits_of_block(layout: Layout, number: usize) -> usize {
    layout.cells_per_block * layout.stride::<f32>() * number
}

/// How a rank cuts its problem, and the bytes of a number of its products.
fn layout_and_number(
    n_cells: usize,
    n_voxels: usize,
    n_genes: usize,
    density: f64,
    precision: Precision,
) -> (Layout, usize) {
    match precision {
        Precision::F64 => (
            Layout::new::<f64>(n_cells, n_voxels, n_genes, density, precision),
            8,
        ),
        _ => (
            Layout::new::<f32>(n_cells, n_voxels, n_genes, density, precision),
            4,
        ),
    }
}

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
    let density = nnz as f64 / (n_cells.max(1) * n_genes.max(1)) as f64;
    let (layout, number) =
        layout_and_number(n_cells, n_voxels, n_genes, density, settings.precision);
    let Layout {
        tiles,
        cells_per_block: block,
        dense,
        ..
    } = layout;
    let logits_and_moments = 3 * n_cells * n_voxels * number;
    // Gradients and, before the first step, probabilities; a dense product has them in its own numbers, too.
    let scratch = block * (tiles.padded() + 64) * number * if dense { 3 } else { 2 };
    let expression = if dense {
        nnz * 8 + block * n_genes * number
    } else {
        // Cut by cells and by genes, and a copy while that is done.
        nnz * 8 + Blocked::bytes(n_cells, n_genes, nnz) + Blocked::bytes(n_genes, n_cells, nnz)
    };
    // W and A in tiles, A in double precision, G.
    let of_terms = 8 * settings.objective.matrices();
    let genes_by_voxels = tiles.padded() * n_genes * (2 * number + 8 + 4 + of_terms);
    (logits_and_moments + scratch + expression + genes_by_voxels) as u64
}
