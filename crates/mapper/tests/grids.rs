//! Any grid of ranks learns what one rank learns: within rounding, or with exact sums to the bit; and what was stopped goes on to the
//! same end.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use std::iter;
use tangram_comm::{Bytes, Communicator, Grid, GridShape, Reduce, Shares, Threads};
use tangram_core::{DensityPrior, InChunks, Neighbours, Objective, SparseRows, Term};
use tangram_mapper::{
    AdamBegin, AdamSettings, Begin, Engine, Factors, InitialLogits, Keeper, MapError,
    MirrorSettings, NoKeeper, PassPlan, Precision, Problem, Snapshot, Wish, bytes_of_pass,
    train_adam_shard, train_mirror_shard,
};

const GRIDS: [&str; 8] = [
    "1x1x1", "2x1x1", "1x2x1", "1x1x2", "2x2x1", "2x1x2", "2x2x2", "3x1x1",
];

const OBJECTIVE: Objective = Objective::NONE
    .with(Term::Gene, 1.0)
    .with(Term::Voxel, 0.6)
    .with(Term::Density, 1.0);

/// Random counts; the second gene is silent in all cells, the last cell has no count.
fn problem(n_cells: usize, n_voxels: usize, n_genes: usize) -> Problem {
    let mut chance = ChaCha8Rng::seed_from_u64(7);
    let mut matrix = |n_rows: usize, cells: bool| {
        let mut out = SparseRows::empty(n_genes);
        for i in 0..n_rows {
            let row: Vec<(u32, f32)> = (0..n_genes as u32)
                .map(|k| (k, (chance.next_u32() % 8) as f32))
                .filter(|&(k, x)| x > 3.0 && !(cells && (k == 1 || i == n_rows - 1)))
                .collect();
            out.push_row(row);
        }
        out
    };
    let (cells, voxels) = (matrix(n_cells, true), matrix(n_voxels, false));
    let prior = DensityPrior::new((0..n_voxels).map(|j| 1.0 + (j % 5) as f64).collect());
    Problem::new(cells, voxels, prior.ok()).expect("fits")
}

/// Runs `work` on every rank of a grid.
fn on_grid<R: Send>(
    shape: GridShape,
    how: Reduce,
    work: impl Fn(&Grid<Threads>) -> R + Sync,
) -> Vec<R> {
    std::thread::scope(|scope| {
        let ranks = Threads::ranks(shape.n_ranks()).into_iter();
        let started: Vec<_> = ranks
            .map(|world| {
                let work = &work;
                scope.spawn(move || work(&Grid::new(world, shape, how).expect("fits")))
            })
            .collect();
        started.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

#[derive(Debug, Clone, PartialEq)]
struct Learned {
    /// Factors, or for Adam P, of all ranks.
    factors: Option<Factors>,
    p: Option<Array2<f64>>,
    losses: Vec<f64>,
}

/// What rank 0 knows after mirror descent, all having learned the same.
fn mirror(
    problem: &Problem,
    settings: &MirrorSettings,
    shape: &str,
    how: Reduce,
    streamed: bool,
) -> (Learned, Vec<Bytes>) {
    let shape: GridShape = shape.parse().unwrap();
    let size = (problem.n_cells(), problem.n_voxels(), problem.n_genes());
    let all = on_grid(shape, how, |grid| {
        let shares = grid.shares(size.0, size.1, size.2).unwrap();
        let part = problem.share(shares.clone()).unwrap();
        let mirrored = if streamed {
            let cells = InChunks {
                cells: part.cells().clone(),
                cells_per_chunk: 100,
            };
            let (voxels, prior) = (part.voxels().clone(), part.prior().cloned());
            let part = Problem::of_shard(cells, voxels, prior, shares.clone()).unwrap();
            train_mirror_shard(
                &part,
                settings,
                Begin::At(None),
                grid,
                &mut NoKeeper,
                &mut |_| (),
            )
            .unwrap()
        } else {
            train_mirror_shard(
                &part,
                settings,
                Begin::At(None),
                grid,
                &mut NoKeeper,
                &mut |_| (),
            )
            .unwrap()
        };
        let bytes = grid.bytes();
        let learned = Learned {
            factors: Some(mirrored.factors().of_all(grid, &shares).unwrap()),
            p: None,
            losses: mirrored.history().iter().map(|e| e.total).collect(),
        };
        (learned, bytes)
    });
    assert!(
        all.iter().all(|one| one.0 == all[0].0),
        "all ranks know the same"
    );
    let bytes = all.iter().map(|one| one.1).collect();
    (all.into_iter().next().unwrap().0, bytes)
}

fn adam(problem: &Problem, settings: &AdamSettings, shape: &str, how: Reduce) -> Learned {
    let shape: GridShape = shape.parse().unwrap();
    let (n_cells, n_voxels) = (problem.n_cells(), problem.n_voxels());
    let all = on_grid(shape, how, |grid| {
        let shares = grid.shares(n_cells, n_voxels, problem.n_genes()).unwrap();
        let part = problem.share(shares.clone()).unwrap();
        let begin = AdamBegin::At(InitialLogits::Random);
        let trained =
            train_adam_shard(&part, settings, begin, grid, &mut NoKeeper, &mut |_| ()).unwrap();
        let p = trained.probabilities(0..shares.cells.len());
        let losses: Vec<f64> = trained.history().iter().map(|e| e.total).collect();
        (shares, p, losses)
    });
    of_all_ranks(problem, &all)
}

/// What the ranks learned by Adam, put together: losses and P.
fn of_all_ranks(problem: &Problem, all: &[(Shares, Array2<f64>, Vec<f64>)]) -> Learned {
    let mut p = Array2::from_elem((problem.n_cells(), problem.n_voxels()), f64::NAN);
    for (shares, part, losses) in all {
        assert_eq!(losses, &all[0].2, "all ranks know the same");
        for (i, row) in shares.cells.range().zip(part.rows()) {
            for (j, &x) in shares.voxels.range().zip(row) {
                // Ranks along the genes are copies of each other.
                assert!(p[[i, j]].is_nan() || p[[i, j]] == x);
                p[[i, j]] = x;
            }
        }
    }
    Learned {
        factors: None,
        p: Some(p),
        losses: all[0].2.clone(),
    }
}

fn mirror_settings(
    precision: Precision,
    passes: usize,
    temperature: Option<f64>,
) -> MirrorSettings {
    MirrorSettings {
        objective: OBJECTIVE,
        passes,
        temperature,
        batches: 1,
        batch_passes: None,
        seed: 3,
        threads: 1,
        precision,
        tolerance: 5e-4,
        engine: Engine::Native,
    }
}

fn adam_settings(precision: Precision, entropy: f64) -> AdamSettings {
    AdamSettings {
        objective: OBJECTIVE.with(Term::Entropy, entropy),
        learning_rate: 0.1,
        epochs: 12,
        seed: 5,
        threads: 1,
        precision,
        tolerance: 0.0,
        engine: Engine::Native,
    }
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

#[test]
fn every_grid_follows_one_rank_within_rounding() {
    // Sums are taken in another order; 40 passes carry a rounding of 1e-16 no further than this.
    const ROUNDING: f64 = 1e-9;
    let problem = problem(331, 37, 26);
    for temperature in [None, Some(2.0)] {
        for batches in [1, 2] {
            let mut settings = mirror_settings(Precision::F64, 40, temperature);
            settings.batches = batches;
            let (alone, _) = mirror(&problem, &settings, "1x1x1", Reduce::Fast, false);
            for shape in GRIDS {
                for streamed in [false, true] {
                    let (found, _) = mirror(&problem, &settings, shape, Reduce::Fast, streamed);
                    let apart = largest_difference(&alone.losses, &found.losses);
                    assert!(apart < ROUNDING, "{shape}, {temperature:?}: {apart}");
                    let p =
                        |l: &Learned| l.factors.as_ref().unwrap().probabilities(problem.cells());
                    let apart = (p(&alone) - p(&found))
                        .iter()
                        .fold(0.0f64, |m, x| m.max(x.abs()));
                    assert!(apart < 1e-7, "{shape}, {temperature:?}: P by {apart}");
                }
            }
        }
    }
    for entropy in [0.0, 1e-4] {
        let settings = adam_settings(Precision::F64, entropy);
        let alone = adam(&problem, &settings, "1x1x1", Reduce::Fast);
        for shape in GRIDS {
            let found = adam(&problem, &settings, shape, Reduce::Fast);
            let apart = largest_difference(&alone.losses, &found.losses);
            assert!(apart < ROUNDING, "{shape}: {apart}");
            let apart = alone.p.as_ref().unwrap() - found.p.as_ref().unwrap();
            let apart = apart.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(apart < 1e-7, "{shape}: P by {apart}");
        }
    }
}

#[test]
fn exact_sums_give_every_grid_the_same_bits() {
    let problem = problem(331, 37, 26);
    for precision in [Precision::F32, Precision::F64] {
        for temperature in [None, Some(2.0)] {
            let mut settings = mirror_settings(precision, 25, temperature);
            settings.batches = 2;
            let (alone, _) = mirror(&problem, &settings, "1x1x1", Reduce::Exact, false);
            let (fast, _) = mirror(&problem, &settings, "1x1x1", Reduce::Fast, false);
            assert!(largest_difference(&alone.losses, &fast.losses) < 1e-3);
            for shape in GRIDS {
                for streamed in [false, true] {
                    let (found, _) = mirror(&problem, &settings, shape, Reduce::Exact, streamed);
                    assert_eq!(
                        alone, found,
                        "{shape} {precision:?} {temperature:?} {streamed}"
                    );
                }
            }
        }
        let settings = adam_settings(precision, 1e-4);
        let alone = adam(&problem, &settings, "1x1x1", Reduce::Exact);
        for shape in GRIDS {
            let found = adam(&problem, &settings, shape, Reduce::Exact);
            assert_eq!(alone, found, "{shape} {precision:?}");
        }
    }
}

/// Bytes that every rank brings to the collectives of one pass more.
fn counted(problem: &Problem, plan: &PassPlan, shape: GridShape, epochs: usize) -> Vec<Bytes> {
    let once = |epochs: usize| {
        on_grid(shape, plan.reduce, |grid| {
            let shares = grid.shares(331, 37, 26).unwrap();
            let part = problem.share(shares).unwrap();
            let keeper = &mut NoKeeper;
            if plan.mirror {
                let mut settings = mirror_settings(plan.precision, epochs, None);
                settings.objective = plan.objective;
                settings.temperature = plan.temperature.then_some(2.0);
                settings.tolerance = if plan.asks_for_rest { 1e-12 } else { 0.0 };
                train_mirror_shard(&part, &settings, Begin::At(None), grid, keeper, &mut |_| ())
                    .unwrap();
            } else {
                let mut settings = adam_settings(plan.precision, 0.0);
                (settings.objective, settings.epochs) = (plan.objective, epochs);
                let begin = AdamBegin::At(InitialLogits::Random);
                train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ()).unwrap();
            }
            grid.bytes()
        })
    };
    let (before, after) = (once(epochs), once(epochs + 1));
    let pairs = after.iter().zip(&before);
    pairs
        .map(|(a, b)| std::array::from_fn(|i| (a[i].0, a[i].1 - b[i].1)))
        .collect()
}

#[test]
fn a_pass_exchanges_what_was_predicted() {
    let problem = problem(331, 37, 26);
    for shape in GRIDS {
        let shape: GridShape = shape.parse().unwrap();
        for reduce in [Reduce::Fast, Reduce::Exact] {
            let single = [
                (true, false, 0.0, Precision::F32),
                (true, true, 0.6, Precision::F32),
                (false, false, 0.0, Precision::F32),
                (false, false, 0.6, Precision::F32),
            ];
            // Mirror's factors are centred.
            let bf16 = [true, false].map(|mirror| (mirror, false, 0.0, Precision::Bf16));
            let bf16 = bf16.into_iter().filter(|_| cfg!(feature = "torch"));
            for (mirror, temperature, voxel, precision) in single.into_iter().chain(bf16) {
                let plan = PassPlan {
                    mirror,
                    objective: OBJECTIVE.with(Term::Voxel, voxel),
                    n_types: 0,
                    prior: true,
                    temperature,
                    asks_for_rest: mirror && temperature,
                    filter: false,
                    weighs: false,
                    precision,
                    reduce,
                    on_device: false,
                };
                // Whether the loss is at rest is asked from the eleventh pass on.
                let found = counted(&problem, &plan, shape, 12);
                for (rank, found) in found.into_iter().enumerate() {
                    let shares = Shares::at(shape, reduce, [331, 37, 26], rank).unwrap();
                    let predicted = bytes_of_pass(shape, &shares, &plan, None);
                    assert_eq!(predicted, found, "{shape} {reduce} rank {rank} {plan:?}");
                }
            }
        }
    }
}

#[test]
fn dense_products_shard_too() {
    let mut problem = problem(700, 90, 70);
    let full = |n_rows: usize, salt: usize| {
        let mut out = SparseRows::empty(70);
        for i in 0..n_rows {
            out.push_row(
                (0..70).map(|k| (k, 1.0 + ((i * 7 + k as usize * 13 + salt) % 11) as f32)),
            );
        }
        out
    };
    problem = Problem::new(full(700, 0), full(90, 4), problem.prior().cloned()).unwrap();
    let bf16 = cfg!(feature = "torch").then_some(Precision::Bf16);
    for precision in iter::once(Precision::F32).chain(bf16) {
        let settings = mirror_settings(precision, 8, None);
        let (alone, _) = mirror(&problem, &settings, "1x1x1", Reduce::Fast, false);
        for shape in ["2x1x1", "1x2x1", "1x1x2", "2x2x2"] {
            let (found, _) = mirror(&problem, &settings, shape, Reduce::Fast, false);
            let apart = largest_difference(&alone.losses, &found.losses);
            let rounding = if precision == Precision::F32 {
                1e-4
            } else {
                2e-2
            };
            assert!(apart < rounding, "{shape}: {apart}");
        }
    }
}

#[test]
fn a_share_that_is_another_problems_is_refused() {
    let problem = problem(40, 10, 12);
    let grid = Grid::new(tangram_comm::Solo, GridShape::ONE, Reduce::Fast).unwrap();
    let shares = grid.shares(41, 10, 12).unwrap();
    let part = Problem::of_shard(
        problem.cells().clone(),
        problem.voxels().clone(),
        None,
        shares,
    );
    assert!(part.unwrap_err().to_string().contains("40"));
    assert_eq!(grid.world().size(), 1);
}

/// Stops after some passes and keeps what there was.
struct StopsAfter {
    left: usize,
    kept: Option<Snapshot>,
}

impl StopsAfter {
    fn new(passes: usize) -> Self {
        Self {
            left: passes,
            kept: None,
        }
    }
}

impl Keeper for StopsAfter {
    fn wish(&mut self) -> Wish {
        self.left -= 1;
        match self.left {
            0 => Wish::SaveAndStop,
            n if n % 3 == 0 => Wish::Save,
            _ => Wish::GoOn,
        }
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

/// A training with the mirror solver that was stopped after some passes and went on.
fn mirror_resumed(
    problem: &Problem,
    settings: &MirrorSettings,
    grid: &Grid<Threads>,
    stop: usize,
) -> Learned {
    let shares = grid.shares(331, 37, 26).unwrap();
    let part = problem.share(shares.clone()).unwrap();
    let mut keeper = StopsAfter::new(stop);
    let begin = Begin::At(None);
    let stopped = train_mirror_shard(&part, settings, begin, grid, &mut keeper, &mut |_| ());
    assert!(matches!(stopped, Err(MapError::Stopped { passes }) if passes == stop));
    let kept = keeper.kept.unwrap();
    let begin = Begin::Resume(&kept);
    let ended = train_mirror_shard(&part, settings, begin, grid, &mut NoKeeper, &mut |_| ());
    let ended = ended.unwrap();
    Learned {
        factors: Some(ended.factors().of_all(grid, &shares).unwrap()),
        p: None,
        losses: ended.history().iter().map(|e| e.total).collect(),
    }
}

/// The same with Adam: P of a rank's share, and the losses.
fn adam_resumed(
    problem: &Problem,
    settings: &AdamSettings,
    grid: &Grid<Threads>,
    stop: usize,
) -> (Shares, Array2<f64>, Vec<f64>) {
    let shares = grid.shares(331, 37, 26).unwrap();
    let part = problem.share(shares.clone()).unwrap();
    let mut keeper = StopsAfter::new(stop);
    let begin = AdamBegin::At(InitialLogits::Random);
    let stopped = train_adam_shard(&part, settings, begin, grid, &mut keeper, &mut |_| ());
    assert!(matches!(stopped, Err(MapError::Stopped { passes }) if passes == stop));
    let kept = keeper.kept.unwrap();
    let begin = AdamBegin::Resume(&kept);
    let ended = train_adam_shard(&part, settings, begin, grid, &mut NoKeeper, &mut |_| ());
    let ended = ended.unwrap();
    let p = ended.probabilities(0..shares.cells.len());
    let losses = ended.history().iter().map(|e| e.total).collect();
    (shares, p, losses)
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bits() {
    let problem = problem(331, 37, 26);
    let shape: GridShape = "2x2x1".parse().unwrap();
    for stop in [1, 2, 7, 13, 24] {
        for temperature in [None, Some(2.0)] {
            let mut settings = mirror_settings(Precision::F32, 25, temperature);
            settings.batches = 2;
            let (whole, _) = mirror(&problem, &settings, "2x2x1", Reduce::Fast, false);
            let resumed = on_grid(shape, Reduce::Fast, |grid| {
                mirror_resumed(&problem, &settings, grid, stop)
            });
            assert_eq!(whole, resumed[0], "after {stop} passes, {temperature:?}");
        }
        if stop < 12 {
            let settings = adam_settings(Precision::F32, 0.0);
            let whole = adam(&problem, &settings, "2x2x1", Reduce::Fast);
            let resumed = on_grid(shape, Reduce::Fast, |grid| {
                adam_resumed(&problem, &settings, grid, stop)
            });
            let resumed = of_all_ranks(&problem, &resumed);
            assert_eq!(whole, resumed, "adam after {stop} epochs");
        }
    }
}

/// The problem with a graph and types: the neighbours of a voxel are the two after it, and every fourth cell has no type.
fn with_neighbours_and_types(problem: Problem) -> Problem {
    let (n_cells, n_voxels) = (problem.cells().n_rows(), problem.voxels().n_rows());
    let next = |j: usize| vec![((j + 1) % n_voxels, 0.7), ((j + 2) % n_voxels, 0.3)];
    let graph = Neighbours::new((0..n_voxels).map(next).collect()).unwrap();
    let mut types = SparseRows::empty(3);
    for i in 0..n_cells {
        types.push_row((i % 4 < 3).then_some((i as u32 % 4, 1.0)));
    }
    let problem = problem.with_neighbours(graph).unwrap();
    problem.with_types(types).unwrap()
}

#[test]
fn terms_of_neighbours_types_and_logits_go_on_to_the_same_bits() {
    let problem = with_neighbours_and_types(problem(331, 37, 26));
    let spatial = OBJECTIVE
        .with(Term::Neighbourhood, 0.5)
        .with(Term::GetisOrd, 0.3)
        .with(Term::Moran, 0.4)
        .with(Term::Geary, 0.2);
    let shape: GridShape = "2x2x1".parse().unwrap();
    for stop in [1, 5, 11] {
        let mut settings = mirror_settings(Precision::F32, 14, None);
        settings.objective = spatial;
        let (whole, _) = mirror(&problem, &settings, "2x2x1", Reduce::Fast, false);
        let resumed = on_grid(shape, Reduce::Fast, |grid| {
            mirror_resumed(&problem, &settings, grid, stop)
        });
        assert_eq!(whole, resumed[0], "mirror after {stop} passes");

        let mut settings = adam_settings(Precision::F32, 0.0);
        settings.objective = spatial
            .with(Term::Islands, 0.6)
            .with(Term::L1, 1e-4)
            .with(Term::L2, 1e-5);
        let whole = adam(&problem, &settings, "2x2x1", Reduce::Fast);
        let resumed = on_grid(shape, Reduce::Fast, |grid| {
            adam_resumed(&problem, &settings, grid, stop)
        });
        let resumed = of_all_ranks(&problem, &resumed);
        assert_eq!(whole, resumed, "adam after {stop} epochs");
    }
}

/// Keeps what there is when the training has come to its end, and stops.
struct StopsAtEnd(Option<Snapshot>);

impl Keeper for StopsAtEnd {
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }

    fn wish_at_end(&mut self) -> Wish {
        Wish::SaveAndStop
    }

    fn save(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.0 = Some(snapshot.clone());
        Ok(())
    }

    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
}

#[test]
fn a_training_kept_at_its_end_needs_no_more_pass_and_gives_the_same_bits() {
    let problem = problem(200, 20, 18);
    let grid = Grid::new(tangram_comm::Solo, GridShape::ONE, Reduce::Fast).unwrap();
    // At rest before its last pass, and not.
    for (passes, tolerance) in [(80, 1e-2), (12, 0.0)] {
        let mut settings = mirror_settings(Precision::F32, passes, None);
        (settings.batches, settings.tolerance) = (2, tolerance);
        let train = |begin: Begin<'_>, keeper: &mut dyn Keeper| {
            let mut seen = 0;
            let trained =
                train_mirror_shard(&problem, &settings, begin, &grid, keeper, &mut |_| {
                    seen += 1
                });
            (trained, seen)
        };
        let (whole, _) = train(Begin::At(None), &mut NoKeeper);
        let whole = whole.unwrap();
        assert_eq!(whole.stopped_early(), tolerance > 0.0);
        let mut keeper = StopsAtEnd(None);
        let (stopped, _) = train(Begin::At(None), &mut keeper);
        assert!(
            matches!(stopped, Err(MapError::Stopped { passes }) if passes == whole.history().len())
        );
        let (ended, seen) = train(Begin::Resume(&keeper.0.unwrap()), &mut NoKeeper);
        let ended = ended.unwrap();
        assert_eq!(seen, 0, "a pass too many");
        assert_eq!(ended.factors(), whole.factors());
        assert_eq!(ended.history().len(), whole.history().len());
        assert_eq!(ended.stopped_early(), whole.stopped_early());
    }
    for tolerance in [0.0, 0.5] {
        let mut settings = adam_settings(Precision::F32, 0.0);
        (settings.epochs, settings.tolerance) = (70, tolerance);
        let train = |begin: AdamBegin<'_>, keeper: &mut dyn Keeper| {
            let mut seen = 0;
            let trained = train_adam_shard(&problem, &settings, begin, &grid, keeper, &mut |_| {
                seen += 1
            });
            (trained, seen)
        };
        let (whole, _) = train(AdamBegin::At(InitialLogits::Random), &mut NoKeeper);
        let whole = whole.unwrap();
        assert_eq!(whole.stopped_early(), tolerance > 0.0);
        let mut keeper = StopsAtEnd(None);
        let (stopped, _) = train(AdamBegin::At(InitialLogits::Random), &mut keeper);
        assert!(stopped.is_err());
        let (ended, seen) = train(AdamBegin::Resume(&keeper.0.unwrap()), &mut NoKeeper);
        let ended = ended.unwrap();
        assert_eq!(seen, 0, "an epoch too many");
        assert_eq!(ended.probabilities(0..200), whole.probabilities(0..200));
        assert_eq!(ended.stopped_early(), whole.stopped_early());
    }
}

#[test]
fn a_state_of_another_problem_is_refused() {
    let settings = mirror_settings(Precision::F32, 10, None);
    let grid = Grid::new(tangram_comm::Solo, GridShape::ONE, Reduce::Fast).unwrap();
    let mut keeper = StopsAfter::new(4);
    let begin = Begin::At(None);
    let one = problem(60, 12, 14);
    let stopped = train_mirror_shard(&one, &settings, begin, &grid, &mut keeper, &mut |_| ());
    assert!(stopped.is_err());
    let kept = keeper.kept.unwrap();
    let other = problem(60, 13, 14);
    let begin = Begin::Resume(&kept);
    let refused = train_mirror_shard(&other, &settings, begin, &grid, &mut NoKeeper, &mut |_| ());
    assert!(matches!(refused, Err(MapError::Snapshot { .. })));
}
