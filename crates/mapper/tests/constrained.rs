//! Constrained mode: a filter that keeps T of the cells, on any grid, streamed, stopped, on a device.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::Array2;
use std::convert::Infallible;
use std::ops::Range;
use tangram_comm::{Bytes, Grid, GridShape, Reduce, Shares, Threads};
use tangram_core::{CellChunks, DensityPrior, Neighbours, Objective, SparseRows, Term, VisitChunk};
use tangram_mapper::{
    AdamBegin, AdamSettings, Begin, Engine, Factors, Filter, InitialLogits, Keeper, MapError,
    MirrorSettings, Mirrored, Mode, NoKeeper, PassPlan, Precision, Problem, Snapshot, Wish,
    bytes_of_pass, train_adam, train_adam_shard, train_mirror, train_mirror_shard,
};

const SIZE: (usize, usize, usize) = (131, 19, 23);
const GRIDS: [&str; 5] = ["1x1x1", "2x1x1", "1x2x1", "1x1x2", "2x2x1"];

/// Cells 50 to 50 from some file.
struct Streamed(SparseRows);

impl CellChunks for Streamed {
    type Error = Infallible;
    fn n_cells(&self) -> usize {
        self.0.n_rows()
    }
    fn n_genes(&self) -> usize {
        self.0.n_cols()
    }
    fn for_each_chunk(
        &self,
        range: Range<usize>,
        visit: &mut VisitChunk<'_, Infallible>,
    ) -> Result<(), Infallible> {
        for first in range.clone().step_by(50) {
            if visit(first, &self.0.rows(first..range.end.min(first + 50)))?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn number(i: usize, k: usize, salt: usize) -> f64 {
    let x = (i as f64 * 12.9898 + k as f64 * 78.233 + salt as f64 * 37.7).sin() * 43_758.545;
    x - x.floor()
}

fn counts((rows, columns): (usize, usize), salt: usize) -> SparseRows {
    SparseRows::from_dense(
        Array2::from_shape_fn((rows, columns), |(i, k)| {
            let x = number(i, k, salt);
            if x < 0.5 { 0.0 } else { (8.0 * x) as f32 }
        })
        .view(),
    )
}

fn problem(target: f64) -> Problem {
    let (n_cells, n_voxels, n_genes) = SIZE;
    let prior = DensityPrior::new((0..n_voxels).map(|j| 1.0 + (j % 5) as f64).collect());
    let (cells, voxels) = (
        counts((n_cells, n_genes), 1),
        counts((n_voxels, n_genes), 2),
    );
    let problem = Problem::new(cells, voxels, prior.ok()).unwrap();
    problem
        .with_mode(Mode::Constrained(Filter::new(target)))
        .unwrap()
}

fn objective(voxel: f64) -> Objective {
    Objective::NONE
        .with(Term::Gene, 1.0)
        .with(Term::Voxel, voxel)
        .with(Term::Density, 1.0)
}

fn mirror(precision: Precision, temperature: Option<f64>) -> MirrorSettings {
    MirrorSettings {
        objective: objective(0.6),
        passes: 32,
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

fn adam(precision: Precision, entropy: f64) -> AdamSettings {
    AdamSettings {
        objective: objective(0.6)
            .with(Term::Entropy, entropy)
            .with(Term::Count, 0.01)
            .with(Term::Undecided, 0.02),
        learning_rate: 0.1,
        epochs: 12,
        seed: 5,
        threads: 1,
        precision,
        tolerance: 0.0,
        engine: Engine::Native,
    }
}

/// Runs `work` on every rank of a grid, with its share of the problem.
fn on_grid<R: Send>(
    problem: &Problem,
    shape: &str,
    how: Reduce,
    work: impl Fn(&Grid<Threads>, Problem) -> R + Sync,
) -> Vec<R> {
    let shape: GridShape = shape.parse().unwrap();
    std::thread::scope(|scope| {
        let ranks = Threads::ranks(shape.n_ranks()).into_iter();
        let started: Vec<_> = ranks
            .map(|world| {
                let work = &work;
                scope.spawn(move || {
                    let grid = Grid::new(world, shape, how).unwrap();
                    let shares = grid.shares(SIZE.0, SIZE.1, SIZE.2).unwrap();
                    work(&grid, problem.share(shares).unwrap())
                })
            })
            .collect();
        started.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

/// What was learned, whatever the ranks.
#[derive(Debug, Clone, PartialEq)]
struct Learned {
    factors: Option<Factors>,
    filter: Vec<f64>,
    losses: Vec<f64>,
}

fn by_mirror(
    problem: &Problem,
    settings: &MirrorSettings,
    (shape, how): (&str, Reduce),
    streamed: bool,
) -> Learned {
    let all = on_grid(problem, shape, how, |grid, part| {
        let (begin, keeper) = (Begin::At(None), &mut NoKeeper);
        let shares = part.shares().clone();
        let mirrored = match streamed {
            false => train_mirror_shard(&part, settings, begin, grid, keeper, &mut |_| ()),
            true => {
                let cells = Streamed(part.cells().clone());
                let (voxels, prior) = (part.voxels().clone(), part.prior().cloned());
                let mode = part.mode().clone();
                let part = Problem::of_shard(cells, voxels, prior, shares.clone()).unwrap();
                let part = part.with_mode(mode).unwrap();
                train_mirror_shard(&part, settings, begin, grid, keeper, &mut |_| ())
            }
        };
        let mirrored = mirrored.unwrap();
        Learned {
            factors: Some(mirrored.factors().of_all(grid, &shares).unwrap()),
            filter: mirrored.filter().unwrap().to_vec(),
            losses: mirrored.history().iter().map(|e| e.total).collect(),
        }
    });
    assert!(all.iter().all(|one| *one == all[0]), "all ranks know alike");
    all.into_iter().next().unwrap()
}

fn by_adam(problem: &Problem, settings: &AdamSettings, (shape, how): (&str, Reduce)) -> Learned {
    let all = on_grid(problem, shape, how, |grid, part| {
        let begin = AdamBegin::At(InitialLogits::Random);
        let keeper = &mut NoKeeper;
        let trained = train_adam_shard(&part, settings, begin, grid, keeper, &mut |_| ()).unwrap();
        let losses: Vec<f64> = trained.history().iter().map(|e| e.total).collect();
        (
            part.shares().cells.range(),
            trained.filter().unwrap().to_vec(),
            losses,
        )
    });
    let mut filter = vec![f64::NAN; SIZE.0];
    for (cells, own, losses) in &all {
        assert_eq!(losses, &all[0].2, "all ranks know alike");
        filter[cells.clone()].copy_from_slice(own);
    }
    Learned {
        factors: None,
        filter,
        losses: all[0].2.clone(),
    }
}

fn largest_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).fold(0.0, |m, (a, b)| (a - b).abs().max(m))
}

fn check_close(alone: &Learned, found: &Learned, what: &str) {
    // Sums are taken in another order.
    let apart = largest_difference(&alone.losses, &found.losses);
    assert!(apart < 1e-9, "{what}: {apart:e}");
    let apart = largest_difference(&alone.filter, &found.filter);
    assert!(apart < 1e-7, "{what}: f by {apart:e}");
}

#[test]
fn every_grid_follows_one_rank_within_rounding() {
    let problem = problem(50.0);
    for temperature in [None, Some(2.0)] {
        let settings = mirror(Precision::F64, temperature);
        let alone = by_mirror(&problem, &settings, ("1x1x1", Reduce::Fast), false);
        for shape in GRIDS {
            for streamed in [false, true] {
                let found = by_mirror(&problem, &settings, (shape, Reduce::Fast), streamed);
                check_close(
                    &alone,
                    &found,
                    &format!("{shape} {temperature:?} {streamed}"),
                );
            }
        }
    }
    for entropy in [0.0, 1e-4] {
        let settings = adam(Precision::F64, entropy);
        let alone = by_adam(&problem, &settings, ("1x1x1", Reduce::Fast));
        for shape in GRIDS {
            let found = by_adam(&problem, &settings, (shape, Reduce::Fast));
            check_close(&alone, &found, &format!("{shape} {entropy}"));
        }
    }
}

#[test]
fn exact_sums_give_every_grid_the_same_bits() {
    let problem = problem(50.0);
    for precision in [Precision::F32, Precision::F64] {
        let settings = mirror(precision, Some(2.0));
        let alone = by_mirror(&problem, &settings, ("1x1x1", Reduce::Exact), false);
        for shape in GRIDS {
            let found = by_mirror(
                &problem,
                &settings,
                (shape, Reduce::Exact),
                shape == "2x1x1",
            );
            assert_eq!(alone, found, "{shape} {precision:?}");
        }
        let settings = adam(precision, 1e-4);
        let alone = by_adam(&problem, &settings, ("1x1x1", Reduce::Exact));
        for shape in GRIDS {
            let found = by_adam(&problem, &settings, (shape, Reduce::Exact));
            assert_eq!(alone, found, "{shape} {precision:?}");
        }
    }
}

#[cfg(feature = "torch")]
#[test]
fn libtorch_learns_what_the_native_kernels_learn() {
    use tangram_mapper::{TorchDevice, TorchEngine};
    let torch = |block: Option<u64>| {
        Engine::Torch(TorchEngine {
            device: TorchDevice::Cores,
            memory: None,
            block,
        })
    };
    let problem = problem(50.0);
    let native = mirror(Precision::F64, Some(2.0));
    let alone = by_mirror(&problem, &native, ("1x1x1", Reduce::Fast), false);
    let adam_native = adam(Precision::F64, 1e-4);
    let adam_alone = by_adam(&problem, &adam_native, ("1x1x1", Reduce::Fast));
    for (block, shape) in [
        (None, "1x1x1"),
        (Some(7_000), "1x1x1"),
        (Some(7_000), "2x2x1"),
        (None, "1x1x2"),
    ] {
        let engine = torch(block);
        let settings = MirrorSettings { engine, ..native };
        let found = by_mirror(&problem, &settings, (shape, Reduce::Fast), block.is_some());
        check_close(&alone, &found, &format!("mirror {block:?} {shape}"));
        let settings = AdamSettings {
            engine,
            ..adam_native
        };
        let found = by_adam(&problem, &settings, (shape, Reduce::Fast));
        check_close(&adam_alone, &found, &format!("adam {block:?} {shape}"));
    }
}

/// Bytes that every rank brings to one pass more.
fn counted(problem: &Problem, plan: &PassPlan, shape: &str, passes: usize) -> Vec<(Shares, Bytes)> {
    let once = |passes: usize| {
        on_grid(problem, shape, plan.reduce, |grid, part| {
            let keeper = &mut NoKeeper;
            if plan.mirror {
                let mut settings = mirror(plan.precision, None);
                (settings.objective, settings.passes, settings.tolerance) =
                    (plan.objective, passes, 0.0);
                let begin = Begin::At(None);
                train_mirror_shard(&part, &settings, begin, grid, keeper, &mut |_| ()).unwrap();
            } else {
                let mut settings = adam(plan.precision, 0.0);
                (settings.objective, settings.epochs) = (plan.objective, passes);
                let begin = AdamBegin::At(InitialLogits::Random);
                train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ()).unwrap();
            }
            (part.shares().clone(), grid.bytes())
        })
    };
    let pairs = once(passes + 1).into_iter().zip(once(passes));
    pairs
        .map(|((shares, after), (_, before))| {
            let bytes = std::array::from_fn(|i| (after[i].0, after[i].1 - before[i].1));
            (shares, bytes)
        })
        .collect()
}

#[test]
fn a_pass_exchanges_what_was_planned() {
    let problem = problem(50.0);
    let of_adam = adam(Precision::F32, 1e-4).objective;
    for shape in GRIDS {
        for reduce in [Reduce::Fast, Reduce::Exact] {
            // The eleventh pass of mirror weighs the cells, the next does not.
            for (mirror, weighs, passes, objective) in [
                (true, true, 10, objective(0.6)),
                (true, false, 11, objective(0.0)),
                (false, false, 3, of_adam),
                (false, false, 3, of_adam.with(Term::Entropy, 0.0)),
            ] {
                let plan = PassPlan {
                    mirror,
                    objective,
                    n_types: 0,
                    prior: true,
                    temperature: false,
                    asks_for_rest: false,
                    filter: true,
                    weighs,
                    precision: Precision::F32,
                    reduce,
                    on_device: false,
                };
                for (shares, found) in counted(&problem, &plan, shape, passes) {
                    let planned = bytes_of_pass(shape.parse().unwrap(), &shares, &plan, None);
                    assert_eq!(planned, found, "{shape} {plan:?}");
                }
            }
        }
    }
}

/// A row of voxels, each the neighbour of those beside it.
fn row_of_voxels(n_voxels: usize) -> Neighbours {
    let beside = |j: usize| {
        let both = [j.checked_sub(1), (j + 1 < n_voxels).then_some(j + 1)];
        both.into_iter().flatten().map(|l| (l, 0.5)).collect()
    };
    Neighbours::new((0..n_voxels).map(beside).collect()).unwrap()
}

#[test]
fn weights_of_rows_and_neighbours_exchange_what_was_planned() {
    let graph = row_of_voxels(SIZE.1);
    let weights = (0..SIZE.0).map(|i| 1.0 + (i % 3) as f64).collect();
    let clusters = problem(50.0).with_mode(Mode::Clusters(weights)).unwrap();
    for (problem, filter) in [(problem(50.0), true), (clusters, false)] {
        let problem = problem.with_neighbours(graph.clone()).unwrap();
        for shape in GRIDS {
            for (mirror, of_solver) in [
                (true, objective(0.6)),
                (false, adam(Precision::F32, 0.0).objective),
            ] {
                // Of the package's filter there is nothing without one.
                let of_solver = match filter {
                    true => of_solver,
                    false => of_solver.with(Term::Count, 0.0).with(Term::Undecided, 0.0),
                };
                let plan = PassPlan {
                    mirror,
                    objective: of_solver.with(Term::Neighbourhood, 0.3),
                    n_types: 0,
                    prior: true,
                    temperature: false,
                    asks_for_rest: false,
                    filter,
                    weighs: filter && mirror,
                    precision: Precision::F32,
                    reduce: Reduce::Fast,
                    on_device: false,
                };
                for (shares, found) in counted(&problem, &plan, shape, 10) {
                    let grid = shape.parse().unwrap();
                    let planned = bytes_of_pass(grid, &shares, &plan, Some(&graph));
                    assert_eq!(planned, found, "{shape} {plan:?}");
                }
            }
        }
    }
}

/// Wishes to stop after a number of passes.
struct Stops {
    passes: usize,
    kept: Option<Snapshot>,
}

impl Keeper for Stops {
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }
    fn save(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.kept = Some(snapshot.clone());
        Ok(())
    }
    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
    fn wish_at_end(&mut self) -> Wish {
        if self.passes > 0 {
            Wish::SaveAndStop
        } else {
            Wish::GoOn
        }
    }
}

#[test]
fn a_training_that_was_stopped_goes_on_to_the_same_bits() {
    let problem = problem(50.0);
    let result = |mirrored: &Mirrored| {
        (
            mirrored.factors().clone(),
            mirrored.filter().unwrap().to_vec(),
        )
    };
    let settings = mirror(Precision::F32, None);
    let alone = train_mirror(&problem, &settings, None, &mut |_| ()).unwrap();
    // After a pass that has a slope to weigh by, after the pass that weighed, and later.
    for stop in [10, 11, 13, 21] {
        let kept = on_grid(&problem, "1x1x1", Reduce::Fast, |grid, part| {
            let mut keeper = Stops {
                passes: stop,
                kept: None,
            };
            let short = MirrorSettings {
                passes: stop,
                ..settings
            };
            let begin = Begin::At(None);
            let ended = train_mirror_shard(&part, &short, begin, grid, &mut keeper, &mut |_| ());
            assert!(matches!(ended, Err(MapError::Stopped { .. })));
            let kept = keeper.kept.unwrap();
            let begin = Begin::Resume(&kept);
            let keeper = &mut NoKeeper;
            train_mirror_shard(&part, &settings, begin, grid, keeper, &mut |_| ()).unwrap()
        });
        assert_eq!(result(&kept[0]), result(&alone), "after {stop}");
    }
    let settings = adam(Precision::F32, 1e-4);
    let whole = by_adam(&problem, &settings, ("1x1x1", Reduce::Fast));
    let resumed = on_grid(&problem, "1x1x1", Reduce::Fast, |grid, part| {
        let mut keeper = Stops {
            passes: 5,
            kept: None,
        };
        let short = AdamSettings {
            epochs: 5,
            ..settings
        };
        let begin = AdamBegin::At(InitialLogits::Random);
        let ended = train_adam_shard(&part, &short, begin, grid, &mut keeper, &mut |_| ());
        assert!(matches!(ended, Err(MapError::Stopped { .. })));
        let kept = keeper.kept.unwrap();
        let begin = AdamBegin::Resume(&kept);
        let keeper = &mut NoKeeper;
        let trained = train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ()).unwrap();
        trained.filter().unwrap().to_vec()
    });
    assert_eq!(resumed[0], whole.filter);
}

#[test]
fn the_filter_sums_to_its_target_and_all_cells_are_cells_mode() {
    let settings = mirror(Precision::F64, None);
    for target in [0.25, 1.0, 77.5, 130.0] {
        let mirrored = train_mirror(&problem(target), &settings, None, &mut |_| ()).unwrap();
        let f = mirrored.filter().unwrap();
        assert!(f.iter().all(|f| (0.0..=1.0).contains(f)));
        let sum: f64 = f.iter().sum();
        assert!((sum - target).abs() < 1e-9 * target, "{sum}");
    }
    let all = problem(SIZE.0 as f64);
    let constrained = train_mirror(&all, &settings, None, &mut |_| ()).unwrap();
    assert!(constrained.filter().unwrap().iter().all(|&f| f == 1.0));
    let cells = all.clone().with_mode(Mode::Cells).unwrap();
    let cells = train_mirror(&cells, &settings, None, &mut |_| ()).unwrap();
    assert_eq!(constrained.factors(), cells.factors());
    assert_eq!(cells.filter(), None);
}

#[test]
fn smallest_problems_give_numbers() {
    for (n_cells, n_voxels, n_genes) in [(1, 3, 4), (5, 1, 4), (5, 3, 1), (1, 1, 1)] {
        let (cells, voxels) = (
            SparseRows::from_dense(Array2::from_elem((n_cells, n_genes), 2.0f32).view()),
            SparseRows::from_dense(Array2::from_elem((n_voxels, n_genes), 3.0f32).view()),
        );
        let prior = DensityPrior::uniform(n_voxels).ok();
        let problem = Problem::new(cells, voxels, prior).unwrap();
        let filter = Filter::new(0.5 * n_cells as f64);
        let problem = problem.with_mode(Mode::Constrained(filter)).unwrap();
        let settings = mirror(Precision::F64, None);
        let mirrored = train_mirror(&problem, &settings, None, &mut |_| ()).unwrap();
        assert!(
            mirrored
                .filter()
                .unwrap()
                .iter()
                .all(|f| (f - 0.5).abs() < 1e-9)
        );
        let initial = InitialLogits::Random;
        let trained = train_adam(&problem, &adam(Precision::F64, 0.0), initial, &mut |_| ());
        assert!(
            trained
                .unwrap()
                .filter()
                .unwrap()
                .iter()
                .all(|f| f.is_finite())
        );
    }
}

/// Two kinds of cells with genes of their own, of which the tissue has one.
fn half_absent() -> (Problem, usize) {
    let (n_each, n_voxels, n_genes) = (60, 25, 20);
    let expression = |kind: usize, i: usize| {
        move |k: usize| {
            let own = (k < n_genes / 2) == (kind == 0);
            let level = if own { 6.0 } else { 0.4 };
            (level * (0.3 + number(i, k, 11 + kind))).round() as f32
        }
    };
    let mut cells = SparseRows::empty(n_genes);
    for i in 0..2 * n_each {
        let count = expression(i % 2, i);
        let row = (0..n_genes).map(|k| (k as u32, count(k)));
        cells.push_row(row.filter(|(_, x)| *x > 0.0));
    }
    let mut voxels = SparseRows::empty(n_genes);
    for j in 0..n_voxels {
        let count = expression(0, 1_000 + j);
        let row = (0..n_genes).map(|k| (k as u32, 3.0 * count(k)));
        voxels.push_row(row.filter(|(_, x)| *x > 0.0));
    }
    let prior = DensityPrior::uniform(n_voxels).ok();
    (Problem::new(cells, voxels, prior).unwrap(), n_each)
}

#[test]
fn cells_that_belong_are_kept_whatever_the_start() {
    let (problem, n_belong) = half_absent();
    let settings = MirrorSettings {
        passes: 100,
        ..mirror(Precision::F32, Some(4.0))
    };
    for temperature in [Some(4.0), None] {
        let settings = MirrorSettings {
            temperature,
            ..settings
        };
        check_kept(&problem, n_belong, &settings);
    }
}

fn check_kept(problem: &Problem, n_belong: usize, settings: &MirrorSettings) {
    let n_cells = problem.n_cells();
    let kept = |initial: Option<Vec<f64>>| -> Vec<bool> {
        let filter = Filter {
            target: n_belong as f64,
            initial,
        };
        let problem = problem
            .clone()
            .with_mode(Mode::Constrained(filter))
            .unwrap();
        let mirrored = train_mirror(&problem, settings, None, &mut |_| ()).unwrap();
        mirrored
            .filter()
            .unwrap()
            .iter()
            .map(|&f| f > 0.5)
            .collect()
    };
    let none = kept(None);
    let recall = (0..n_cells).step_by(2).filter(|&i| none[i]).count();
    assert!(
        recall as f64 >= 0.95 * n_belong as f64,
        "{recall} of {n_belong}"
    );
    let n_kept = none.iter().filter(|&&kept| kept).count();
    assert!(n_kept as f64 <= 1.1 * n_belong as f64, "{n_kept} kept");
    for salt in [3, 4] {
        let start = (0..n_cells)
            .map(|i| 4.0 * number(i, 0, salt) - 2.0)
            .collect();
        let other = kept(Some(start));
        let same = none.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!(same as f64 >= 0.95 * n_cells as f64, "{same} of {n_cells}");
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let cells = problem(1.0).with_mode(Mode::Cells).unwrap();
    let n = SIZE.0 as f64;
    for target in [0.0, -1.0, n + 0.5, f64::NAN] {
        let mode = Mode::Constrained(Filter::new(target));
        let refused = cells.clone().with_mode(mode).unwrap_err();
        assert!(
            matches!(refused, MapError::Target { .. }),
            "{target}: {refused}"
        );
    }
    let initial = |values: Vec<f64>| {
        let filter = Filter {
            target: 5.0,
            initial: Some(values),
        };
        cells
            .clone()
            .with_mode(Mode::Constrained(filter))
            .unwrap_err()
    };
    assert!(matches!(
        initial(vec![0.0; 3]),
        MapError::FilterLogits { found: 3, .. }
    ));
    let mut one = vec![0.0; SIZE.0];
    one[7] = f64::INFINITY;
    assert!(matches!(
        initial(one),
        MapError::FilterLogitNotFinite { cell: 7 }
    ));
    let weights = |w: Vec<f64>| cells.clone().with_mode(Mode::Clusters(w)).unwrap_err();
    assert!(matches!(
        weights(vec![1.0; 2]),
        MapError::ClusterWeights { found: 2, .. }
    ));
    let mut none = vec![1.0; SIZE.0];
    none[4] = 0.0;
    assert!(matches!(
        weights(none),
        MapError::ClusterWeight { cluster: 4, .. }
    ));
    let good = mirror(Precision::F32, None);
    for (name, settings) in [
        ("batches", MirrorSettings { batches: 2, ..good }),
        (
            "lambda-r",
            MirrorSettings {
                objective: good.objective.with(Term::Entropy, 0.1),
                ..good
            },
        ),
        (
            "lambda-count",
            MirrorSettings {
                objective: good.objective.with(Term::Count, 1.0),
                ..good
            },
        ),
        (
            "lambda-f-reg",
            MirrorSettings {
                objective: good.objective.with(Term::Undecided, 1.0),
                ..good
            },
        ),
    ] {
        match train_mirror(&problem(9.0), &settings, None, &mut |_| ()) {
            Err(MapError::Setting { setting, .. }) => assert_eq!(setting, name),
            other => panic!("{name}: {other:?}"),
        }
    }
}
