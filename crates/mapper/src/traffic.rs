//! What a pass exchanges, before it is tried: the same sums that [`Grid::bytes`](tangram_comm::Grid::bytes) counts.

use crate::blocked::CHUNK;
use crate::device_memory::PADDED;
use crate::memory::{Reading, memory_needed, mirror_memory_needed, second_logits};
use crate::polls::polls_of_pass;
use crate::probe::N_CELLS;
use crate::products::Layout;
use crate::rounding::centres;
use crate::tiles::Tiles;
use crate::{AdamSettings, Engine, Precision};
use tangram_comm::{Cut, GridShape, Kind, Reduce, Shares};
use tangram_core::Objective;

/// What decides over the bytes of a pass.
#[derive(Debug, Clone, Copy)]
pub struct PassPlan {
    /// Whether it is the factored solver.
    pub mirror: bool,
    /// The loss.
    pub objective: Objective,
    /// Whether there is a density prior.
    pub prior: bool,
    /// Whether there is a temperature.
    pub temperature: bool,
    /// Whether it is asked if the loss is at rest (mirror, from its 11th pass on).
    pub asks_for_rest: bool,
    /// Numbers of the products.
    pub precision: Precision,
    /// How sums are made.
    pub reduce: Reduce,
    /// Whether libtorch does the work on a device.
    pub on_device: bool,
}

impl PassPlan {
    /// What decides over the memory of a device.
    pub(crate) fn of_device(mirror: bool, objective: Objective, precision: Precision) -> Self {
        Self {
            mirror,
            objective,
            prior: true,
            temperature: false,
            asks_for_rest: false,
            precision,
            reduce: Reduce::Fast,
            on_device: true,
        }
    }
}

/// Bytes that one rank brings to the collectives of a pass, by kind.
///
/// * `shares`: of the rank
#[must_use]
pub fn bytes_of_pass(shape: GridShape, shares: &Shares, plan: &PassPlan) -> [(Kind, u64); 5] {
    let mut counter = Counter {
        shape,
        exact: plan.reduce == Reduce::Exact,
        bytes: [0; 5],
    };
    counter.pass(shares, plan);
    Kind::ALL.map(|kind| (kind, counter.bytes[kind as usize]))
}

struct Counter {
    shape: GridShape,
    exact: bool,
    bytes: [u64; 5],
}

impl Counter {
    fn add(&mut self, kind: Kind, ranks: usize, values: usize, bytes_each: usize) {
        if ranks > 1 {
            self.bytes[kind as usize] += (values * bytes_each) as u64;
        }
    }

    /// Sums of blocks, whose largest are exchanged first if sums are exact.
    fn over(&mut self, kind: Kind, ranks: usize, cut: &Cut, values: usize) {
        let twice = self.exact && cut.n_blocks() > 1;
        self.add(kind, ranks, values, if twice { 16 } else { 8 });
    }

    /// One number of all ranks.
    fn of_all(&mut self) {
        self.add(Kind::Loss, self.shape.n_ranks(), 1, 8);
    }

    fn pass(&mut self, shares: &Shares, plan: &PassPlan) {
        let GridShape {
            cells,
            voxels,
            genes,
        } = self.shape;
        let (n_cells, n_voxels, n_genes) =
            (shares.cells.len(), shares.voxels.len(), shares.genes.len());
        let number = if plan.precision == Precision::F64 {
            8
        } else {
            4
        };
        let summed = if self.exact { 8 } else { number };
        let tiles = |dense| match dense {
            true => Tiles::one(n_voxels),
            false => Tiles::new(n_voxels, crate::sparse_product::WIDEST),
        };
        let stride = |tiles: Tiles| match number {
            8 => tiles.row_stride::<f64>(),
            _ => tiles.row_stride::<f32>(),
        };
        if plan.mirror && centres(plan.precision, plan.on_device) {
            self.over(Kind::Loss, voxels, &shares.voxels, n_genes + 1);
        }
        // Logits, or gradients by them, and the softmax of the rows.
        if self.exact {
            self.of_all();
        }
        let row = match plan.on_device {
            true => n_voxels.next_multiple_of(PADDED),
            false => stride(tiles(false)),
        };
        self.add(Kind::Logits, genes, n_cells * row, summed);
        if !plan.mirror {
            self.over(Kind::Rows, voxels, &shares.voxels, n_cells);
        }
        self.add(Kind::Rows, voxels, 3 * n_cells, 8);
        let predicted = match self.exact || plan.on_device {
            true => (n_genes + 1) * n_voxels,
            false => tiles(false).len(n_genes + 1),
        };
        self.add(Kind::Predicted, cells, predicted, summed);
        self.over(Kind::Loss, cells, &shares.cells, 1);
        self.loss(shares, plan);
        if plan.mirror {
            self.over(Kind::Loss, voxels, &shares.voxels, n_genes);
            for _ in 0..1 + usize::from(plan.temperature || plan.objective.entropy != 0.0) {
                self.probe(shares, stride(tiles(false)), summed);
            }
            if plan.asks_for_rest {
                self.over(Kind::Loss, voxels, &shares.voxels, 2);
            }
        }
        // Whether the state is to be kept, or the pass given up.
        self.of_all();
        if plan.mirror {
            let (n_cells, n_voxels) = (shares.cells.whole_len(), shares.voxels.whole_len());
            (0..polls_of_pass(self.shape, n_cells, n_voxels)).for_each(|_| self.of_all());
        }
    }

    fn loss(&mut self, shares: &Shares, plan: &PassPlan) {
        let GridShape { voxels, genes, .. } = self.shape;
        let (by_voxels, by_genes) = (&shares.voxels, &shares.genes);
        if plan.objective.gene != 0.0 {
            self.over(Kind::Loss, voxels, by_voxels, 2 * shares.genes.len());
            self.over(Kind::Loss, genes, by_genes, 1);
        }
        if plan.objective.voxel != 0.0 {
            self.over(Kind::Loss, genes, by_genes, 2 * shares.voxels.len());
            self.over(Kind::Loss, voxels, by_voxels, 1);
        }
        if plan.prior && plan.objective.density != 0.0 {
            self.over(Kind::Loss, voxels, by_voxels, 1);
        }
    }

    fn probe(&mut self, shares: &Shares, stride: usize, summed: usize) {
        let GridShape {
            cells,
            voxels,
            genes,
        } = self.shape;
        let (all, range) = (shares.cells.whole_len(), shares.cells.range());
        let n_probes = N_CELLS.min(all);
        let places = (0..n_probes).map(|i| i * all / n_probes);
        let own = places.filter(|cell| range.contains(cell)).count();
        if self.exact {
            self.of_all();
        }
        self.add(Kind::Logits, genes, own * stride, summed);
        self.over(Kind::Loss, voxels, &shares.voxels, own);
        self.over(Kind::Loss, voxels, &shares.voxels, own);
        self.add(Kind::Rows, voxels, own, 8);
        self.add(Kind::Loss, cells, 2 * n_probes, 8);
    }
}

/// A process with its libraries that holds nothing yet, in bytes.
const PROCESS: u64 = 150 << 20;
/// Bytes of a count that is not zero besides what the solver counts: the cells are cut once more when genes are scored.
const ONCE_MORE: u64 = 11;
/// Copies of all factors while they are gathered.
const GATHERED: u64 = 3;
/// What opening the files takes at most on the first rank, which compares all cells' names: for a cell, and, where they are streamed, in all.
const NAME: u64 = 104;
const OPENING: u64 = 85 << 20;
/// Bytes of a cell of the file on every rank that reads it at every pass: its total, its factor, where its counts begin.
const OF_CELL: u64 = 24;

/// Bytes that a rank will hold at once, the process and the problem included.
///
/// Fitted to simulated tissues, where both solvers stay within a tenth of it, with the cells in memory or not.
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
        true => mirror_memory_needed(size, nnz, reading, plan.precision),
        false => memory_needed(
            n_cells,
            n_voxels,
            n_genes,
            nnz,
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
                first_part: 1,
                ..reading
            };
            let (size, reading) = ([all_cells, all_voxels, all_genes], Some(reading));
            let scoring = mirror_memory_needed(size, counts, reading, plan.precision);
            solver.max(scoring) + OF_CELL * all_cells as u64
        }
    };
    let second = match n_genes < all_genes {
        true => second_logits(size, plan.precision),
        false => 0,
    };
    let opening = reading.map_or(0, |_| OPENING);
    PROCESS + (training + second).max(opening + NAME * all_cells as u64)
}

/// Operations of a pass on a rank: 4 · cells · voxels · genes, of which only counts that are not zero cost any.
#[must_use]
pub fn operations_of_pass(shares: &Shares, density: f64) -> f64 {
    4.0 * shares.cells.len() as f64
        * shares.voxels.len() as f64
        * (shares.genes.len() as f64 * density + 1.0)
}

/// Super-blocks of a pass: every one of them takes some exchanges where voxels or genes are shared.
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

    fn planned(lens: [usize; 3], shape: &str, reading: Option<Reading>) -> f64 {
        let objective = Objective {
            gene: 1.0,
            voxel: 1.0,
            density: 1.0,
            entropy: 0.0,
        };
        let plan = PassPlan {
            on_device: false,
            ..PassPlan::of_device(true, objective, Precision::F32)
        };
        let shares = Shares::at(shape.parse().unwrap(), Reduce::Fast, lens, 0).unwrap();
        memory_of_rank(&shares, &plan, 0.15, reading) as f64
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
        for (lens, shape, first_part, took) in [
            ([300_000, 20_000, 500], "1x1x1", 1, 1183e6),
            ([1_000_000, 20_000, 500], "1x1x1", 8, 1302e6),
            ([1_000_000, 2_000, 500], "1x1x1", 1, 807e6),
            ([1_000_000, 2_000, 500], "1x1x1", 8, 782e6),
            ([400_000, 3_000, 1_000], "1x1x1", 1, 864e6),
            ([2_000_000, 10_000, 100], "1x1x1", 1, 480e6),
            ([10_000_000, 20_000, 300], "2x1x1", 64, 1290e6),
        ] {
            let reading = Reading {
                cells_per_part: (1 << 25) / lens[2].max(1 << 9),
                first_part,
            };
            let planned = planned(lens, shape, Some(reading));
            let off = planned / took - 1.0;
            assert!(off.abs() < 0.1, "{lens:?} {shape}: {planned} for {took}");
        }
    }
}
