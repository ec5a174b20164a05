//! What a mapping takes, before it is tried: bytes between ranks, memory, operations.

use crate::cost::memory::{
    Reading, filter_memory_needed, memory_needed, mirror_memory_needed, second_logits,
};
use crate::cost::plan::PassPlan;
use crate::cost::tally::Tally;
use crate::cpu::blocked::CHUNK;
use crate::cpu::products::Layout;
use crate::{AdamSettings, Engine, Precision, adam, mirror};
use tangram_comm::{Cut, GridShape, Kind, Shares};
use tangram_core::{Neighbours, Objective};

/// Bytes that one rank brings to the collectives of a pass, by kind.
///
/// * `shares`: of the rank
/// * `neighbours`: the graph of all voxels, if the mapping has one
#[must_use]
pub fn bytes_of_pass(
    shape: GridShape,
    shares: &Shares,
    plan: &PassPlan,
    neighbours: Option<&Neighbours>,
) -> [(Kind, u64); 5] {
    let mut tally = Tally::new(shape, plan.reduce, shares, plan.number());
    match plan.mirror {
        true => mirror::solver::declare(&mut tally, plan, neighbours),
        false => adam::solver::declare(&mut tally, plan, neighbours),
    }
    tally.bytes()
}

/// Bytes of a process with its libraries, before it holds data.
const PROCESS: u64 = (48 << 20) + LIBTORCH;
/// What libtorch takes of them.
const LIBTORCH: u64 = if cfg!(feature = "torch") {
    102 << 20
} else {
    0
};
/// Bytes per non-zero beyond what the solver holds: the cells are cut for the products once more when genes are scored.
const ONCE_MORE: u64 = 11;
/// Copies of all factors while they are gathered.
const GATHERED: u64 = 3;
/// Peak bytes while the files are opened, on the first rank, which compares all cells' names: per cell, and once if cells are streamed.
const NAME: u64 = 104;
const OPENING: u64 = 85 << 20;
/// Bytes per cell of the file on a rank that streams it: total count, normalisation factor, offset of its counts.
const OF_CELL: u64 = 24;

/// Peak memory of a rank in bytes, with the process and the problem.
///
/// Fitted to simulated tissues: both solvers stayed within a tenth of it, with cells held and streamed.
///
/// * `density`: share of the cells' counts that are not zero
/// * `reading`: if the cells are not in memory
#[must_use]
pub fn memory_of_rank(
    shares: &Shares,
    plan: &PassPlan,
    density: f64,
    reading: Option<Reading>,
) -> u64 {
    let size = [&shares.cells, &shares.voxels, &shares.genes].map(Cut::len);
    let [n_cells, n_voxels, n_genes] = size;
    let nnz = (n_cells as f64 * n_genes as f64 * density) as usize;
    let solver = match plan.mirror {
        true => mirror_memory_needed(size, nnz, reading, &plan.objective, plan.precision),
        false => memory_needed(
            n_cells,
            n_voxels,
            n_genes + plan.n_types,
            nnz + if plan.n_types > 0 { n_cells } else { 0 },
            &AdamSettings {
                objective: plan.objective,
                learning_rate: 0.1,
                epochs: 1,
                seed: 0,
                threads: 1,
                precision: plan.precision,
                tolerance: 0.0,
                engine: Engine::Native,
            },
        ),
    };
    let [all_cells, all_voxels, all_genes] =
        [&shares.cells, &shares.voxels, &shares.genes].map(Cut::whole_len);
    // Factors of all voxels and genes are gathered by all ranks in the end.
    let factors = 8 * (all_voxels * (all_genes + 1)) as u64;
    let gathered = if plan.mirror { GATHERED * factors } else { 0 };
    let training = match reading {
        None => solver + gathered + ONCE_MORE * nnz as u64,
        Some(reading) => {
            // Then one rank scores all genes, for which it holds about what the solver would alone.
            let counts = (all_cells as f64 * all_genes as f64 * density) as usize;
            let reading = Reading {
                batches: 1,
                ..reading
            };
            let (size, reading) = ([all_cells, all_voxels, all_genes], Some(reading));
            let none = Objective::NONE;
            let scoring = mirror_memory_needed(size, counts, reading, &none, plan.precision);
            solver.max(scoring) + OF_CELL * all_cells as u64
        }
    };
    let second = match n_genes < all_genes {
        true => second_logits(size, plan.precision),
        false => 0,
    };
    let filter = match plan.mirror && plan.filter {
        true => filter_memory_needed(size, all_cells, plan.precision),
        false => 0,
    };
    let opening = reading.map_or(0, |_| OPENING);
    PROCESS + (training + second + filter).max(opening + NAME * all_cells as u64)
}

/// Floating-point operations of a pass on a rank: 4 · cells · voxels · genes, of which only non-zero counts cost any.
#[must_use]
pub fn operations_of_pass(shares: &Shares, density: f64) -> f64 {
    4.0 * shares.cells.len() as f64
        * shares.voxels.len() as f64
        * (shares.genes.len() as f64 * density + 1.0)
}

/// Number of super-blocks of a pass: each costs a few exchanges if ranks share voxels or genes.
#[must_use]
pub fn super_blocks(shares: &Shares, precision: Precision) -> usize {
    let (n_cells, n_voxels, n_genes) =
        (shares.cells.len(), shares.voxels.len(), shares.genes.len());
    let layout = Layout::new::<f32>(n_cells, n_voxels, n_genes, 0.0, precision);
    n_cells.div_ceil(layout.cells_per_block.max(CHUNK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_comm::Reduce;
    use tangram_core::Term;

    fn planned(lens: [usize; 3], shape: &str, reading: Option<Reading>) -> f64 {
        let objective = Objective::NONE
            .with(Term::Gene, 1.0)
            .with(Term::Voxel, 1.0)
            .with(Term::Density, 1.0);
        let plan = PassPlan {
            on_device: false,
            ..PassPlan::of_device(true, objective, 0, Precision::F32)
        };
        let shares = Shares::at(shape.parse().unwrap(), Reduce::Fast, lens, 0).unwrap();
        // The ranks of the tests had libtorch.
        (memory_of_rank(&shares, &plan, 0.15, reading) - LIBTORCH + (102 << 20)) as f64
    }

    /// Peak memory of the rank of `scripts/grids.sh` that took most.
    #[test]
    fn what_held_cells_took_is_within_a_tenth() {
        let grids = ["1x1x1", "2x1x1", "1x2x1", "1x1x2"];
        for (shape, took) in grids.into_iter().zip([228e6, 220e6, 215e6, 214e6]) {
            let planned = planned([20_000, 2_000, 250], shape, None);
            let off = planned / took - 1.0;
            assert!(off.abs() < 0.1, "{shape}: {planned} for {took}");
        }
    }

    /// Peak memory that ranks took whose cells were read from Zarr, 15 % of the counts not zero, `docs/ranks.md`.
    #[test]
    fn what_streamed_cells_took_is_within_a_tenth() {
        for (lens, shape, batches, took) in [
            ([300_000, 20_000, 500], "1x1x1", 1, 1183e6),
            ([1_000_000, 20_000, 500], "1x1x1", 8, 1302e6),
            ([1_000_000, 2_000, 500], "1x1x1", 1, 807e6),
            ([1_000_000, 2_000, 500], "1x1x1", 8, 782e6),
            ([400_000, 3_000, 1_000], "1x1x1", 1, 864e6),
            ([2_000_000, 10_000, 100], "1x1x1", 1, 480e6),
            ([10_000_000, 20_000, 300], "2x1x1", 64, 1290e6),
        ] {
            let reading = Reading {
                cells_per_chunk: (1 << 25) / lens[2].max(1 << 9),
                batches,
            };
            let planned = planned(lens, shape, Some(reading));
            let off = planned / took - 1.0;
            assert!(off.abs() < 0.1, "{lens:?} {shape}: {planned} for {took}");
        }
    }
}
