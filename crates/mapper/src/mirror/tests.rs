//! The solver's own tests: stopping within a pass and going on, samples that are read or held, steps that are too long.

use super::engine::open;
use super::pass::Rows;
use super::solver::{Begin, Mirror, Mirrored, train_mirror, train_mirror_shard};
use super::stage_cells::LARGEST_SAMPLE;
use crate::evaluate::{evaluate_by_mass, loss_function};
use crate::ranks::Ranks;
use crate::workers::one_rank;
use crate::{
    Engine, Filter, Keeper, MapError, MirrorSettings, Mode, NoKeeper, Precision, Problem, Snapshot,
    TorchDevice, TorchEngine, Wish,
};
use ndarray::Array2;
use tangram_comm::{Communicator, Grid, Reduce, Threads};
use tangram_core::{InChunks, Objective, OfCells, SparseRows, Term};

const SETTINGS: MirrorSettings = MirrorSettings {
    objective: Objective::NONE
        .with(Term::Gene, 1.0)
        .with(Term::Density, 1.0),
    passes: 80,
    temperature: None,
    batches: 1,
    batch_passes: None,
    seed: 1,
    threads: 1,
    precision: Precision::F32,
    tolerance: 0.0,
    engine: Engine::Native,
};

fn problem() -> Problem {
    problem_of(40)
}

fn problem_of(n_cells: u32) -> Problem {
    let matrix = |rows: u32, salt: u32| {
        let mut out = SparseRows::empty(12);
        for i in 0..rows {
            let value = |k: u32| ((i * 7 + k * 13 + salt * 5) % 11) as f32;
            out.push_row((0..12).map(|k| (k, (value(k) - 5.0).max(0.0))));
        }
        out
    };
    let prior = tangram_core::DensityPrior::uniform(9).ok();
    Problem::new(matrix(n_cells, 0), matrix(9, 3), prior).expect("fits")
}

/// Cells that come ten by ten, so that a pass has several places to stop at.
fn in_tens(problem: &Problem) -> Problem<InChunks> {
    let (voxels, prior) = (problem.voxels().clone(), problem.prior().cloned());
    let cells = InChunks {
        cells: problem.cells().clone(),
        cells_per_chunk: 10,
    };
    Problem::of_shard(cells, voxels, prior, problem.shares().clone()).unwrap()
}

/// Wishes to stop when it has been asked so often.
struct Stops {
    after: usize,
    kept: Option<Snapshot>,
}

impl Keeper for Stops {
    fn wish(&mut self) -> Wish {
        let stop = self.after == 0;
        self.after = self.after.saturating_sub(1);
        if stop { Wish::SaveAndStop } else { Wish::GoOn }
    }
    fn save(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.kept = Some(snapshot.clone());
        Ok(())
    }
    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
}

/// Stopped as often as asked for, each time with one ask more, and gone on from; without an `every`, left alone.
fn stopped_and_resumed(
    problem: &Problem<InChunks>,
    settings: &MirrorSettings,
    grid: &Grid<impl Communicator>,
    every: Option<usize>,
) -> (Mirrored, usize) {
    let (mut kept, mut stops) = (None::<Snapshot>, 0);
    loop {
        // One rank alone wishes it.
        let last = grid.world().rank() + 1 == grid.shape().n_ranks();
        let after = every.filter(|_| last && stops < 12);
        let mut keeper = Stops {
            after: after.map_or(usize::MAX, |every| every + stops),
            kept: None,
        };
        let begin = kept.as_ref().map_or(Begin::At(None), Begin::Resume);
        match train_mirror_shard(problem, settings, begin, grid, &mut keeper, &mut |_| ()) {
            Ok(mirrored) => return (mirrored, stops),
            Err(MapError::Stopped { passes }) => {
                kept = keeper.kept;
                assert_eq!(kept.as_ref().unwrap().passes, passes);
                stops += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn check_stops(shape: &str, reduce: Reduce, batches: usize) {
    let problem = problem_of(160);
    let settings = MirrorSettings {
        passes: 16,
        batches,
        ..SETTINGS
    };
    let compare = |grid: &Grid<Threads>, problem: &Problem| {
        let problem = in_tens(problem);
        let (whole, stops) = stopped_and_resumed(&problem, &settings, grid, None);
        assert_eq!(stops, 0);
        for every in [0, 1, 5] {
            let (pieces, stops) = stopped_and_resumed(&problem, &settings, grid, Some(every));
            assert!(stops >= 3, "{shape}: {stops}");
            let totals = |m: &Mirrored| -> Vec<u64> {
                m.history().iter().map(|e| e.total.to_bits()).collect()
            };
            assert_eq!(totals(&whole), totals(&pieces), "{shape}, every {every}");
            assert_eq!(whole.factors(), pieces.factors(), "{shape}, every {every}");
        }
    };
    let shape: tangram_comm::GridShape = shape.parse().unwrap();
    std::thread::scope(|scope| {
        for world in Threads::ranks(shape.n_ranks()) {
            let (problem, compare) = (&problem, &compare);
            scope.spawn(move || {
                let grid = Grid::new(world, shape, reduce).unwrap();
                let shares = grid.shares(160, 9, 12).unwrap();
                compare(&grid, &problem.share(shares).unwrap());
            });
        }
    });
}

#[test]
fn a_sample_read_at_every_pass_is_the_one_that_is_held() {
    let problem = problem_of(160);
    let settings = MirrorSettings {
        passes: 16,
        batches: 4,
        ..SETTINGS
    };
    let size = |part: usize| 160 / part * problem.n_genes();
    assert!(size(4) > LARGEST_SAMPLE, "the sample is read");
    let of = |problem: &Problem<InChunks>| {
        let (grid, begin) = (one_rank(), Begin::At(None));
        train_mirror_shard(problem, &settings, begin, &grid, &mut NoKeeper, &mut |_| ())
    };
    let read = of(&in_tens(&problem)).unwrap();
    let held = train_mirror(&problem, &settings, None, &mut |_| ()).unwrap();
    assert_eq!(read.history().len(), held.history().len());
    for (read, held) in read.history().iter().zip(held.history()) {
        assert_eq!(read.n_cells, held.n_cells);
        let apart = (read.total - held.total).abs();
        assert!(apart < 1e-5, "{} and {}", read.total, held.total);
    }
    let cells: Vec<usize> = held.history().iter().map(|e| e.n_cells).collect();
    assert!(cells.contains(&40) && cells.contains(&160), "{cells:?}");
}

#[test]
fn a_pass_given_up_and_gone_on_from_changes_no_bit() {
    for batches in [1, 4] {
        for shape in ["1x1x1", "2x1x1", "1x2x1", "1x1x2"] {
            check_stops(shape, Reduce::Fast, batches);
        }
    }
    check_stops("3x1x1", Reduce::Exact, 1);
}

#[test]
fn a_wish_to_stop_ends_a_pass_on_the_way() {
    let problem = in_tens(&problem_of(160));
    let grid = one_rank();
    let mut asks = Vec::new();
    for after in [0, 3, 15] {
        let mut keeper = Stops { after, kept: None };
        let begin = Begin::At(None);
        let ended = train_mirror_shard(&problem, &SETTINGS, begin, &grid, &mut keeper, &mut |_| ());
        // Sixteen parts: the first pass is not complete.
        assert!(matches!(ended, Err(MapError::Stopped { passes: 0 })));
        asks.push(keeper.after);
    }
    assert_eq!(asks, [0, 0, 0], "asked no further");
}

#[test]
fn a_step_that_is_far_too_long_is_taken_back() {
    let problem = problem();
    let grid = one_rank();
    let ranks = Ranks {
        grid: &grid,
        shares: problem.shares(),
    };
    let new = || {
        let pass = open::<f32, _, _>(&problem, &SETTINGS, ranks).unwrap();
        Mirror::new(&problem, &SETTINGS, Begin::At(None), pass, ranks).unwrap()
    };
    let undisturbed = new().train(&mut NoKeeper, &mut |_| ()).unwrap();
    let mut mirror = new();
    mirror.sabotage = Some(30);
    let mirrored = mirror.train(&mut NoKeeper, &mut |_| ()).unwrap();
    let loss = |m: &Mirrored, pass: usize| m.history()[pass].total;
    let before = mirrored.history()[..31].iter().map(|e| e.total);
    let before = before.fold(f64::INFINITY, f64::min);
    assert!(loss(&mirrored, 31) > before + 0.01, "the step did harm");
    assert!(mirrored.chosen().total <= before, "the harm was undone");
    let behind = mirrored.chosen().total - undisturbed.chosen().total;
    assert!(behind < 5e-3, "{behind} behind the undisturbed run");
}

#[test]
fn what_a_filter_learns_from_is_the_slope_of_the_loss_by_it() {
    const STEP: f64 = 1e-6;
    let torch = Engine::Torch(TorchEngine {
        device: TorchDevice::Cores,
        memory: None,
        block: None,
    });
    let problem = problem().with_mode(Mode::Constrained(Filter::new(9.0)));
    let problem = problem.unwrap();
    let (grid, shares) = (one_rank(), problem.shares());
    let ranks = Ranks {
        grid: &grid,
        shares,
    };
    let objective = SETTINGS.objective.with(Term::Voxel, 0.7);
    let loss = loss_function(&problem, &objective, ranks);
    let factors = Array2::from_shape_fn((13, 9), |(k, j)| ((k * 5 + j * 3) % 7) as f64 / 9.0 - 0.3);
    let f: Vec<f64> = (0..40).map(|i| 0.1 + ((i * 7) % 9) as f64 / 10.0).collect();
    let there = |engine: &Engine| *engine == Engine::Native || cfg!(feature = "torch");
    for engine in [Engine::Native, torch].into_iter().filter(there) {
        let settings = MirrorSettings {
            precision: Precision::F64,
            objective,
            engine,
            ..SETTINGS
        };
        let mut pass = open::<f64, _, _>(&problem, &settings, ranks).unwrap();
        pass.take_cells(1).unwrap();
        // The loss at a filter, W and u, and the slope by Σ f.
        let mut at = |f: &[f64]| {
            let mut point = factors.clone();
            let rows = Rows {
                weights: Some(f),
                slope: None,
            };
            pass.predict(&mut point, rows, &mut NoKeeper).unwrap();
            let cells = OfCells::of(f.iter().sum());
            let (loss, by_mass) = evaluate_by_mass(&loss, &mut point, cells, ranks);
            (loss.total, point, by_mass)
        };
        let (_, slope, by_mass) = at(&f);
        let differences: Vec<f64> = (0..f.len())
            .map(|i| {
                let moved = |by: f64| {
                    let mut f = f.clone();
                    f[i] += by;
                    f
                };
                (at(&moved(STEP)).0 - at(&moved(-STEP)).0) / (2.0 * STEP)
            })
            .collect();
        let rows = Rows {
            weights: Some(&f),
            slope: Some(slope.view()),
        };
        let found = pass.predict(&mut factors.clone(), rows, &mut NoKeeper);
        let weighed = found.unwrap().unwrap().weighed.unwrap();
        for (i, (t, difference)) in weighed.iter().zip(differences).enumerate() {
            let slope = t + by_mass;
            assert!(
                (slope - difference).abs() < 1e-8,
                "{i}: {slope} {difference}"
            );
        }
    }
}
