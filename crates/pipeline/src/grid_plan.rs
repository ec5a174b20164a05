//! The fastest grid of ranks for a mapping: `tangram plan` lists all, `tangram map --grid auto` uses the best.

use crate::choices::{CellsAre, Solver};
use crate::rates::{ASSUMED, Rates, passes_of};
use serde::Serialize;
use tangram_comm::{GridShape, Kind, Shares};
use tangram_core::Neighbours;
use tangram_mapper::{
    DeviceMemory, PASSES_PER_WEIGHING, PassPlan, Reading, bytes_of_pass, memory_of_rank,
    operations_of_pass, super_blocks,
};
use tangram_store::memory::for_people;

/// Grids within this factor of the fastest time count as equally fast.
const ABOUT_AS_FAST: f64 = 1.02;
/// What a pass multiplies more that weighs the cells for a filter, as a share of what others do.
const WEIGHING: f64 = 0.5;
/// Doublings of the number of ranks tried in the search for one that fits.
const DOUBLINGS: usize = 12;

/// A mapping to distribute over ranks.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Numbers of cells, voxels and training genes.
    pub lens: [usize; 3],
    /// Share of the cells' counts that are not zero.
    pub density: f64,
    /// The settings that determine the traffic of a pass.
    pub pass: PassPlan,
    /// The graph of the voxels, if a term of the loss compares neighbours.
    pub neighbours: Option<&'a Neighbours>,
    /// Where the cells are.
    pub cells: CellsAre,
    /// How they are read if they are on disk.
    pub reading: Reading,
    /// Ranks.
    pub n_ranks: usize,
    /// Cores of a rank.
    pub threads: usize,
    /// Bytes that a rank may take; `None`: any number.
    pub memory: Option<u64>,
    /// The GPU of each rank, if they have one.
    pub gpu: Option<Gpu>,
}

/// A GPU.
#[derive(Debug, Clone, Copy)]
pub struct Gpu {
    /// Bytes of its memory.
    pub memory: u64,
    /// Operations in a second, zeros included.
    pub operations: f64,
}

/// One grid and what it takes.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Candidate {
    /// The grid, CELLSxVOXELSxGENES.
    pub grid: String,
    /// The same.
    #[serde(skip)]
    pub shape: GridShape,
    /// Whether its ranks fit in their memory.
    pub fits: bool,
    /// Bytes of a rank.
    pub memory_bytes: u64,
    /// Bytes on its GPU; what is needed at least where it does not fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_bytes: Option<u64>,
    /// Traffic of a pass and rank in bytes, by kind.
    pub bytes: Vec<(String, u64)>,
    /// Seconds of computation in a pass.
    pub seconds_computing: f64,
    /// Seconds of communication in a pass.
    pub seconds_exchanging: f64,
    /// Seconds of all passes.
    pub seconds_in_all: f64,
}

impl Task<'_> {
    /// Every possible grid: first the best that fits, then the others from the fastest to the slowest.
    ///
    /// Of equally fast grids, the best distributes genes least, then voxels: the communication of every super-block waits for the slowest
    /// rank, which the rates do not include.
    #[must_use]
    pub fn candidates(&self, rates: Rates) -> Vec<Candidate> {
        let grids = grids(self.n_ranks).into_iter();
        let mut candidates: Vec<_> = grids
            .filter_map(|grid| self.candidate(grid, rates))
            .collect();
        // Stable: of equals the first in the order of `grids` stays the first.
        candidates.sort_by(|a, b| a.seconds_in_all.total_cmp(&b.seconds_in_all));
        let fastest = candidates.iter().find(|c| c.fits);
        let limit = fastest.map_or(0.0, |c| c.seconds_in_all * ABOUT_AS_FAST);
        let good = |c: &&Candidate| c.fits && c.seconds_in_all <= limit;
        let least = |c: &Candidate| (c.shape.genes, c.shape.voxels);
        let best = candidates.iter().filter(good).map(least).min();
        if let Some(best) = candidates.iter().position(|c| Some(least(c)) == best) {
            candidates[..=best].rotate_right(1);
        }
        candidates
    }

    fn candidate(&self, shape: GridShape, rates: Rates) -> Option<Candidate> {
        let pass = &self.pass;
        // Rank 0 has the largest share, to within one entry.
        let shares = Shares::at(shape, pass.reduce, self.lens, 0).ok()?;
        let bytes = self.bytes_of_pass(shape, &shares);
        let limit = self.memory.unwrap_or(u64::MAX);
        let held = memory_of_rank(&shares, pass, self.density, None);
        let streamed = memory_of_rank(&shares, pass, self.density, Some(self.reading));
        let memory_bytes = match self.cells {
            CellsAre::Held => held,
            CellsAre::Streamed => streamed,
            CellsAre::HeldIfTheyFit if held > limit => streamed,
            CellsAre::HeldIfTheyFit => held,
        };
        let on_gpu = self
            .gpu
            .map(|gpu| DeviceMemory::of_rank(&shares, pass, gpu.memory));
        let computing = match self.gpu {
            None => rates.seconds(operations_of_pass(&shares, self.density), self.threads),
            Some(gpu) => operations_of_pass(&shares, 1.0) / gpu.operations,
        } * match pass.weighs {
            true => 1.0 + WEIGHING / PASSES_PER_WEIGHING as f64,
            false => 1.0,
        };
        // Sums over voxels and genes are needed in every super-block.
        let blocks = match &on_gpu {
            Some(Ok(memory)) => shares.cells.len().div_ceil(memory.cells_per_block) as f64,
            _ => super_blocks(&shares, pass.precision) as f64,
        };
        let times = |ranks: usize, each: f64| if ranks > 1 { each } else { 0.0 };
        let sums = times(shape.genes, blocks) + times(shape.voxels, 3.0 * blocks) + 20.0;
        let volume: u64 = bytes.iter().map(|(_, bytes)| bytes).sum();
        let exchanging = match shape.n_ranks() {
            1 => 0.0,
            _ => volume as f64 / (rates.bytes_summed * 1e9) + sums * rates.latency_us * 1e-6,
        };
        let passes = passes_of(match pass.mirror {
            true => Solver::Mirror,
            false => Solver::Adam,
        });
        Some(Candidate {
            grid: shape.to_string(),
            shape,
            fits: memory_bytes <= limit && !matches!(on_gpu, Some(Err(_))),
            memory_bytes,
            gpu_bytes: on_gpu.map(|found| found.map_or_else(|least| least, |m| m.total())),
            bytes: bytes
                .map(|(kind, bytes)| (kind.name().to_owned(), bytes))
                .to_vec(),
            seconds_computing: computing,
            seconds_exchanging: exchanging,
            seconds_in_all: passes * (computing + exchanging),
        })
    }

    /// Bytes that a rank brings to the collectives of a pass; where some passes weigh the cells for a filter, the mean over them.
    fn bytes_of_pass(&self, shape: GridShape, shares: &Shares) -> [(Kind, u64); 5] {
        let of = |weighs| {
            let pass = PassPlan {
                weighs,
                ..self.pass
            };
            bytes_of_pass(shape, shares, &pass, self.neighbours)
        };
        let usual = of(false);
        if !self.pass.weighs {
            return usual;
        }
        let weighing = of(true);
        std::array::from_fn(|kind| {
            let (kind, usual, weighing) = (usual[kind].0, usual[kind].1, weighing[kind].1);
            let passes = PASSES_PER_WEIGHING as u64;
            (kind, usual + (weighing - usual) / passes)
        })
    }

    /// A message: why no candidate fits, and what would.
    #[must_use]
    pub fn nothing_fits(&self, candidates: &[Candidate]) -> String {
        let n_ranks = self.n_ranks;
        let Some(least) = candidates.iter().map(|c| c.memory_bytes).min() else {
            return format!("{n_ranks} ranks cannot share so small a mapping; take fewer");
        };
        let of_gpu = candidates.iter().filter_map(|c| c.gpu_bytes).min();
        let too_small = of_gpu.filter(|&needed| self.gpu.is_some_and(|gpu| needed > gpu.memory));
        let least = match too_small {
            Some(needed) => format!("{} of a GPU", for_people(needed)),
            None => format!("{} a rank", for_people(least)),
        };
        let why = format!("no grid of {n_ranks} ranks fits: the least needs {least}");
        let more = (1..DOUBLINGS).map(|i| n_ranks << i).find(|&n_ranks| {
            let more = Self { n_ranks, ..*self };
            more.candidates(ASSUMED).iter().any(|c| c.fits)
        });
        match (more, self.pass.mirror) {
            (Some(ranks), _) => format!("{why}; {ranks} ranks would do"),
            (None, false) => format!("{why}; --solver mirror needs far less"),
            (None, true) => format!("{why}; give each rank more memory"),
        }
    }
}

/// All grids of a number of ranks.
fn grids(n_ranks: usize) -> Vec<GridShape> {
    let divisors = |n: usize| (1..=n).filter(move |d| n.is_multiple_of(*d));
    divisors(n_ranks)
        .flat_map(|cells| {
            divisors(n_ranks / cells).map(move |voxels| GridShape {
                cells,
                voxels,
                genes: n_ranks / cells / voxels,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_comm::Reduce;
    use tangram_core::{Objective, Term};
    use tangram_mapper::Precision;

    fn task(lens: [usize; 3], n_ranks: usize) -> Task<'static> {
        Task {
            lens,
            density: 0.15,
            pass: PassPlan {
                mirror: true,
                objective: Objective::NONE
                    .with(Term::Gene, 1.0)
                    .with(Term::Voxel, 1.0)
                    .with(Term::Density, 1.0),
                n_types: 0,
                prior: true,
                temperature: true,
                asks_for_rest: true,
                filter: false,
                weighs: false,
                precision: Precision::F32,
                reduce: Reduce::Fast,
                on_device: false,
            },
            neighbours: None,
            cells: CellsAre::Held,
            reading: Reading {
                cells_per_chunk: 1 << 16,
                batches: 1,
            },
            n_ranks,
            threads: 1,
            memory: None,
            gpu: None,
        }
    }

    #[test]
    fn only_axes_that_can_be_cut_are_cut_and_the_first_fits() {
        let grids = |task: Task| -> Vec<String> {
            let all = task.candidates(ASSUMED);
            all.into_iter().map(|c| c.grid).collect()
        };
        // Three cells and two genes: 13 ranks can only share the voxels.
        assert_eq!(grids(task([3, 50, 2], 13)), ["1x13x1"]);
        assert!(grids(task([3, 2, 1], 13)).is_empty());
        let all = task([100_000, 20_000, 1000], 8);
        assert_eq!(all.candidates(ASSUMED)[0].grid, "8x1x1");
        // Cells alone leave every rank all factors: with less memory the voxels are shared as well.
        let whole = all.candidates(ASSUMED)[0].memory_bytes;
        let tight = Task {
            memory: Some(whole * 9 / 10),
            ..all
        };
        let found = tight.candidates(ASSUMED);
        assert!(found[0].fits && found[0].shape.cells < 8, "{found:?}");
        assert!(found[1..].is_sorted_by(|a, b| a.seconds_in_all <= b.seconds_in_all));
        assert!(found.iter().any(|c| c.grid == "8x1x1" && !c.fits));
        let told = Task {
            memory: Some(700 << 20),
            ..all
        };
        let told = told.nothing_fits(&told.candidates(ASSUMED));
        assert!(told.contains("ranks would do"), "{told}");
    }

    #[test]
    fn a_filter_and_neighbours_cost_what_their_passes_exchange() {
        let plain = task([1000, 400, 50], 2);
        let of = |task: &Task<'_>, grid: &str| {
            let all = task.candidates(ASSUMED);
            let found = all.into_iter().find(|c| c.grid == grid).unwrap();
            let bytes: u64 = found.bytes.iter().map(|(_, bytes)| bytes).sum();
            (bytes, found.memory_bytes, found.seconds_computing)
        };
        let filter = Task {
            pass: PassPlan {
                filter: true,
                weighs: true,
                ..plain.pass
            },
            ..plain
        };
        let (without, with) = (of(&plain, "2x1x1"), of(&filter, "2x1x1"));
        // One pass in five gathers a number of every cell.
        assert_eq!(with.0 - without.0, 8 * 1000 / 5);
        assert!(with.1 > without.1);
        assert!((with.2 / without.2 - 1.1).abs() < 1e-9);
        // A row of voxels in which everyone is a neighbour of the next: one voxel is needed by the other rank, there and back.
        let row = (0..400).map(|j: usize| {
            let next = [j.checked_sub(1), (j < 399).then_some(j + 1)];
            next.into_iter().flatten().map(|l| (l, 0.5)).collect()
        });
        let row = Neighbours::new(row.collect()).unwrap();
        let compared = Task {
            pass: PassPlan {
                objective: plain.pass.objective.with(Term::Neighbourhood, 1.0),
                ..plain.pass
            },
            neighbours: Some(&row),
            ..plain
        };
        let more = of(&compared, "1x2x1").0 - of(&plain, "1x2x1").0;
        // Values and slopes of 50 genes in one voxel, and the sums of the term's cosines: dot products and norms.
        assert_eq!(more, 8 * (2 * 50 + 2 * 50));
    }
}
