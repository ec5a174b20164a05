//! libtorch on a device learns what the native kernels learn. Here the device is libtorch's own use of the cores, which runs the same code
//! but for the memory that is copied.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tangram_comm::{Bytes, Communicator, Grid, GridShape, Reduce, Shares, Solo, Threads};
use tangram_core::{DensityPrior, InChunks, Neighbours, Objective, SparseRows, Term};
use tangram_mapper::{
    AdamBegin, AdamSettings, Begin, Engine, Epoch, Factors, InitialLogits, Keeper, MapError,
    MirrorSettings, Mode, NoKeeper, PassPlan, Precision, Problem, Snapshot, TorchDevice,
    TorchEngine, Wish, bytes_of_pass, train_adam_shard, train_mirror, train_mirror_shard,
};

/// Losses after some tens of passes in double precision: sums are taken in another order.
const ROUNDING: f64 = 1e-9;
/// P, likewise.
const P_ROUNDING: f64 = 1e-7;

const TORCH: TorchEngine = TorchEngine {
    device: TorchDevice::Cores,
    memory: None,
    block: None,
};

/// Blocks of as many cells, of a problem of 37 voxels in double precision.
fn in_blocks(cells: u64) -> Engine {
    Engine::Torch(TorchEngine {
        block: Some(cells * 40 * 8),
        ..TORCH
    })
}

/// So little memory that the cells' expression does not stay on the device (the library's own part of it aside).
fn without_cells() -> Engine {
    Engine::Torch(TorchEngine {
        memory: Some((512 << 20) + 160_000),
        ..TORCH
    })
}

const OBJECTIVE: Objective = Objective::NONE
    .with(Term::Gene, 1.0)
    .with(Term::Voxel, 0.6)
    .with(Term::Density, 1.0);

/// Random counts; the second gene is silent in all cells, the last cell has no count.
fn problem() -> Problem {
    let (n_cells, n_voxels, n_genes) = SIZE;
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

const SIZE: (usize, usize, usize) = (331, 37, 26);

fn mirror_settings(precision: Precision, engine: Engine) -> MirrorSettings {
    MirrorSettings {
        objective: OBJECTIVE,
        passes: 40,
        temperature: None,
        batches: 1,
        batch_passes: None,
        seed: 3,
        threads: 1,
        precision,
        tolerance: 5e-4,
        engine,
    }
}

fn adam_settings(precision: Precision, engine: Engine) -> AdamSettings {
    AdamSettings {
        objective: OBJECTIVE,
        learning_rate: 0.1,
        epochs: 30,
        seed: 5,
        threads: 1,
        precision,
        tolerance: 0.0,
        engine,
    }
}

/// Runs `work` on every rank of a grid.
fn on_grid<R: Send>(shape: &str, work: impl Fn(&Grid<Threads>) -> R + Sync) -> Vec<R> {
    let shape: GridShape = shape.parse().unwrap();
    std::thread::scope(|scope| {
        let ranks = Threads::ranks(shape.n_ranks()).into_iter();
        let started: Vec<_> = ranks
            .map(|world| {
                let work = &work;
                scope.spawn(move || work(&Grid::new(world, shape, Reduce::Fast).unwrap()))
            })
            .collect();
        started.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

fn share(problem: &Problem, grid: &Grid<impl Communicator>) -> Problem {
    let (n_cells, n_voxels, n_genes) = SIZE;
    let shares = grid.shares(n_cells, n_voxels, n_genes).unwrap();
    problem.share(shares).unwrap()
}

/// What was learned, whatever the ranks.
#[derive(Debug, Clone, PartialEq)]
struct Learned {
    losses: Vec<f64>,
    entropies: Vec<f64>,
    p: Array2<f64>,
}

impl Learned {
    fn new(history: &[Epoch], p: Array2<f64>) -> Self {
        Self {
            losses: history.iter().map(|e| e.total).collect(),
            entropies: history
                .iter()
                .filter_map(|e| e.terms[Term::Entropy])
                .collect(),
            p,
        }
    }

    fn check(&self, found: &Self, rounding: f64, p_rounding: f64, what: &str) {
        let apart = |a: &[f64], b: &[f64]| {
            assert_eq!(a.len(), b.len(), "{what}");
            let pairs = a.iter().zip(b);
            pairs.fold(0.0f64, |m, (a, b)| m.max((a - b).abs() / a.abs().max(1.0)))
        };
        let losses = apart(&self.losses, &found.losses);
        assert!(losses < rounding, "{what}: losses by {losses}");
        let entropies = apart(&self.entropies, &found.entropies);
        assert!(entropies < rounding, "{what}: entropies by {entropies}");
        let p = (&self.p - &found.p)
            .iter()
            .fold(0.0f64, |m, x| m.max(x.abs()));
        assert!(p < p_rounding, "{what}: P by {p}");
    }
}

fn mirror(problem: &Problem, settings: &MirrorSettings, shape: &str) -> Learned {
    let all = on_grid(shape, |grid| {
        let part = share(problem, grid);
        let begin = Begin::At(None);
        let mirrored =
            train_mirror_shard(&part, settings, begin, grid, &mut NoKeeper, &mut |_| ()).unwrap();
        let factors = mirrored.factors().of_all(grid, part.shares()).unwrap();
        Learned::new(mirrored.history(), factors.probabilities(problem.cells()))
    });
    assert!(
        all.iter().all(|one| *one == all[0]),
        "all ranks know the same"
    );
    all.into_iter().next().unwrap()
}

fn adam(problem: &Problem, settings: &AdamSettings, shape: &str) -> Learned {
    let all = on_grid(shape, |grid| {
        let part = share(problem, grid);
        let begin = AdamBegin::At(InitialLogits::Random);
        let trained =
            train_adam_shard(&part, settings, begin, grid, &mut NoKeeper, &mut |_| ()).unwrap();
        let p = trained.probabilities(0..part.shares().cells.len());
        (part.shares().clone(), p, trained.history().to_vec())
    });
    let mut p = Array2::from_elem((SIZE.0, SIZE.1), f64::NAN);
    for (shares, part, _) in &all {
        for (i, row) in shares.cells.range().zip(part.rows()) {
            for (j, &x) in shares.voxels.range().zip(row) {
                // Ranks along the genes are copies of each other.
                assert!(p[[i, j]].is_nan() || p[[i, j]] == x);
                p[[i, j]] = x;
            }
        }
    }
    Learned::new(&all[0].2, p)
}

const ALL: Engine = Engine::Torch(TORCH);

#[test]
fn the_factored_solver_is_the_same_on_a_device() {
    let problem = problem();
    for (temperature, batches, entropy) in [
        (None, 1, 0.0),
        (Some(2.0), 1, 0.0),
        (None, 2, 0.0),
        (Some(2.0), 1, 1e-4),
    ] {
        let mut settings = mirror_settings(Precision::F64, Engine::Native);
        (settings.temperature, settings.batches) = (temperature, batches);
        settings.objective = settings.objective.with(Term::Entropy, entropy);
        let native = mirror(&problem, &settings, "1x1x1");
        assert!(native.losses.len() > 15 && native.losses[14] < native.losses[0] - 0.05);
        for engine in [ALL, in_blocks(7), in_blocks(100), without_cells()] {
            settings.engine = engine;
            let what = format!("{temperature:?} {batches} {entropy} {engine:?}");
            let found = mirror(&problem, &settings, "1x1x1");
            native.check(&found, ROUNDING, P_ROUNDING, &what);
            assert_eq!(
                found,
                mirror(&problem, &settings, "1x1x1"),
                "the same bits again"
            );
        }
    }
}

#[test]
fn cells_that_are_read_in_parts_are_brought_to_the_device() {
    let whole = problem();
    for batches in [1, 2] {
        let mut settings = mirror_settings(Precision::F64, Engine::Native);
        settings.batches = batches;
        let native = train_mirror(&whole, &settings, None, &mut |_| ()).unwrap();
        settings.engine = in_blocks(64);
        let cells = InChunks {
            cells: whole.cells().clone(),
            cells_per_chunk: 100,
        };
        let (voxels, prior) = (whole.voxels().clone(), whole.prior().cloned());
        let streamed = Problem::new(cells, voxels, prior).unwrap();
        let found = train_mirror(&streamed, &settings, None, &mut |_| ()).unwrap();
        let of = |factors: &Factors| factors.probabilities(whole.cells());
        let native = Learned::new(native.history(), of(native.factors()));
        let found = Learned::new(found.history(), of(found.factors()));
        native.check(&found, ROUNDING, P_ROUNDING, "streamed");
    }
}

#[test]
fn adam_is_the_same_on_a_device() {
    let problem = problem();
    for entropy in [0.0, 1e-4] {
        let mut settings = adam_settings(Precision::F64, Engine::Native);
        settings.objective = settings.objective.with(Term::Entropy, entropy);
        let native = adam(&problem, &settings, "1x1x1");
        assert!(native.losses[29] < native.losses[0] - 0.05);
        for engine in [ALL, in_blocks(7), in_blocks(100)] {
            settings.engine = engine;
            let found = adam(&problem, &settings, "1x1x1");
            native.check(
                &found,
                ROUNDING,
                P_ROUNDING,
                &format!("{entropy} {engine:?}"),
            );
            assert_eq!(
                found,
                adam(&problem, &settings, "1x1x1"),
                "the same bits again"
            );
        }
    }
}

/// Voxels in a row, and cells of three types.
fn with_types(problem: Problem) -> Problem {
    let row = |j: usize| {
        let near = [j.checked_sub(1), Some(j + 1)];
        let near = near.into_iter().flatten().filter(|&l| l < SIZE.1);
        near.map(|l| (l, 0.5)).collect()
    };
    let graph = Neighbours::new((0..SIZE.1).map(row).collect()).unwrap();
    let mut types = SparseRows::empty(3);
    (0..SIZE.0).for_each(|i| types.push_row((i % 7 > 0).then_some((i as u32 % 3, 1.0))));
    let problem = problem.with_neighbours(graph).unwrap();
    problem.with_types(types).unwrap()
}

/// Terms of types, of logits and of neighbours.
const FURTHER_TERMS: Objective = OBJECTIVE
    .with(Term::Neighbourhood, 0.5)
    .with(Term::Islands, 0.3)
    .with(Term::L1, 1e-5)
    .with(Term::L2, 1e-6);

#[test]
fn adam_with_types_and_sizes_of_logits_is_the_same_on_a_device_and_on_ranks() {
    let problem = with_types(problem());
    let mut settings = adam_settings(Precision::F64, Engine::Native);
    settings.objective = FURTHER_TERMS;
    let native = adam(&problem, &settings, "1x1x1");
    let mut without = settings;
    without.objective = OBJECTIVE;
    assert_ne!(native.p, adam(&problem, &without, "1x1x1").p);
    for engine in [Engine::Native, ALL, in_blocks(7)] {
        settings.engine = engine;
        for shape in GRIDS {
            let found = adam(&problem, &settings, shape);
            let what = format!("{shape} {engine:?}");
            native.check(&found, ROUNDING, P_ROUNDING, &what);
        }
    }
}

#[test]
fn both_solvers_map_clusters_alike_on_a_device_and_on_ranks() {
    let weights = (0..SIZE.0).map(|i| 1.0 + (i % 4) as f64).collect();
    let problem = problem().with_mode(Mode::Clusters(weights)).unwrap();
    let of_mirror = mirror_settings(Precision::F64, Engine::Native);
    let of_adam = adam_settings(Precision::F64, Engine::Native);
    let one = mirror(&problem, &of_mirror, "1x1x1");
    let one_adam = adam(&problem, &of_adam, "1x1x1");
    for engine in [Engine::Native, ALL, in_blocks(7)] {
        for shape in GRIDS {
            let what = format!("{shape} {engine:?}");
            let settings = MirrorSettings {
                engine,
                ..of_mirror
            };
            let found = mirror(&problem, &settings, shape);
            one.check(&found, ROUNDING, P_ROUNDING, &what);
            let settings = AdamSettings { engine, ..of_adam };
            let found = adam(&problem, &settings, shape);
            one_adam.check(&found, ROUNDING, P_ROUNDING, &what);
        }
    }
}

#[test]
fn lesser_precisions_stay_within_their_rounding() {
    let problem = problem();
    let exact = mirror_settings(Precision::F64, Engine::Native);
    let exact_mirror = mirror(&problem, &exact, "1x1x1");
    let exact_adam = adam(
        &problem,
        &adam_settings(Precision::F64, Engine::Native),
        "1x1x1",
    );
    // Every loss on the way, and P at the end. Rounded factors lead elsewhere among mappings of nearly the same loss, the more so with 331
    // cells; what the final loss may be is held in `precisions.rs`.
    for (precision, rounding, p_rounding) in [
        (Precision::F32, 1e-5, 1e-4),
        (Precision::Tf32, 5e-4, 3e-2),
        (Precision::Fp16, 5e-4, 3e-2),
        (Precision::Bf16, 5e-3, 0.1),
    ] {
        let what = format!("{precision:?}");
        // Where the loss comes to rest may be another pass.
        let mut settings = mirror_settings(precision, ALL);
        settings.passes = exact_mirror.losses.len();
        settings.tolerance = 0.0;
        let found = mirror(&problem, &settings, "1x1x1");
        exact_mirror.check(&found, rounding, p_rounding, &what);
        let found = adam(&problem, &adam_settings(precision, ALL), "1x1x1");
        exact_adam.check(&found, rounding, p_rounding, &what);
        assert_ne!(
            exact_adam.losses, found.losses,
            "{what} is another precision"
        );
    }
}

const GRIDS: [&str; 7] = [
    "2x1x1", "3x1x1", "1x2x1", "1x1x2", "2x2x1", "2x1x2", "2x2x2",
];

#[test]
fn ranks_with_a_device_each_learn_what_one_learns() {
    let problem = problem();
    for entropy in [0.0, 1e-4] {
        let mut settings = mirror_settings(Precision::F64, Engine::Native);
        settings.objective = settings.objective.with(Term::Entropy, entropy);
        (settings.temperature, settings.batches) = (Some(2.0), 2);
        let native = mirror(&problem, &settings, "1x1x1");
        let mut of_adam = adam_settings(Precision::F64, Engine::Native);
        of_adam.objective = of_adam.objective.with(Term::Entropy, entropy);
        let native_adam = adam(&problem, &of_adam, "1x1x1");
        for shape in GRIDS {
            for engine in [ALL, in_blocks(50)] {
                (settings.engine, of_adam.engine) = (engine, engine);
                let what = format!("{shape} {entropy} {engine:?}");
                let found = mirror(&problem, &settings, shape);
                native.check(&found, ROUNDING, P_ROUNDING, &what);
                let found = adam(&problem, &of_adam, shape);
                native_adam.check(&found, ROUNDING, P_ROUNDING, &what);
            }
        }
    }
}

/// Means of the factors are of the voxels of all ranks, scales of fp16 those of the cells of all.
#[test]
fn ranks_round_the_same_factors() {
    let problem = problem();
    for (precision, at_most) in [
        (Precision::Tf32, 1e-4),
        (Precision::Fp16, 1e-4),
        (Precision::Bf16, 5e-4),
    ] {
        let settings = mirror_settings(precision, ALL);
        let of_adam = adam_settings(precision, ALL);
        let one = mirror(&problem, &settings, "1x1x1");
        let one_adam = adam(&problem, &of_adam, "1x1x1");
        for shape in GRIDS {
            let found = mirror(&problem, &settings, shape);
            let found_adam = adam(&problem, &of_adam, shape);
            for (one, found) in [(&one, &found), (&one_adam, &found_adam)] {
                let pairs = one.losses.iter().zip(&found.losses);
                let apart: Vec<f64> = pairs.map(|(a, b)| (a - b).abs()).collect();
                // Sums in another order round a factor the other way now and then, and the runs part.
                let largest = apart.iter().copied().fold(0.0, f64::max);
                let first = apart[..3].iter().copied().fold(0.0, f64::max);
                let what = format!("{precision:?} {shape}: {first:.1e}, then {largest:.1e}");
                assert!(first < 1e-5 && largest < at_most, "{what}");
            }
        }
    }
}

#[test]
fn a_pass_on_a_device_exchanges_what_was_predicted() {
    let problem = with_types(problem());
    let single = [(true, Precision::F32), (false, Precision::F32)];
    // Factors are centred before they are rounded, by one sum for every gene; Adam's gradients are not.
    let rounded = [
        (true, Precision::Fp16),
        (false, Precision::Bf16),
        (true, Precision::Tf32),
    ];
    for shape in GRIDS {
        for (is_mirror, precision) in single.into_iter().chain(rounded) {
            let plan = PassPlan {
                mirror: is_mirror,
                objective: if is_mirror { OBJECTIVE } else { FURTHER_TERMS },
                n_types: if is_mirror { 0 } else { 3 },
                prior: true,
                temperature: is_mirror,
                asks_for_rest: false,
                filter: false,
                weighs: false,
                precision,
                reduce: Reduce::Fast,
                on_device: true,
            };
            let counted = |epochs: usize| -> Vec<(Shares, Bytes)> {
                on_grid(shape, |grid| {
                    let part = share(&problem, grid);
                    let keeper = &mut NoKeeper;
                    if is_mirror {
                        let mut settings = mirror_settings(precision, in_blocks(64));
                        (settings.passes, settings.tolerance) = (epochs, 0.0);
                        settings.temperature = Some(2.0);
                        let begin = Begin::At(None);
                        train_mirror_shard(&part, &settings, begin, grid, keeper, &mut |_| ())
                            .unwrap();
                    } else {
                        let mut settings = adam_settings(precision, in_blocks(64));
                        settings.epochs = epochs;
                        settings.objective = FURTHER_TERMS;
                        let begin = AdamBegin::At(InitialLogits::Random);
                        train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ())
                            .unwrap();
                    }
                    (part.shares().clone(), grid.bytes())
                })
            };
            let (before, after) = (counted(5), counted(6));
            for ((shares, after), (_, before)) in after.iter().zip(&before) {
                let found: Bytes = std::array::from_fn(|i| (after[i].0, after[i].1 - before[i].1));
                let predicted =
                    bytes_of_pass(shape.parse().unwrap(), shares, &plan, problem.neighbours());
                assert_eq!(
                    predicted, found,
                    "{shape}, mirror: {is_mirror}, {precision:?}"
                );
            }
        }
    }
}

/// Stops after some passes and keeps what there was.
struct StopsAfter {
    left: usize,
    kept: Option<Snapshot>,
}

impl Keeper for StopsAfter {
    fn wish(&mut self) -> Wish {
        self.left -= 1;
        match self.left {
            0 => Wish::SaveAndStop,
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

#[test]
fn what_was_stopped_goes_on_elsewhere() {
    let problem = problem();
    let grid = Grid::new(Solo, GridShape::ONE, Reduce::Fast).unwrap();
    for (first, then) in [
        (Engine::Native, ALL),
        (in_blocks(90), Engine::Native),
        (ALL, ALL),
    ] {
        for stop in [1, 9] {
            let what = format!("{first:?} {then:?} {stop}");
            let keeper = || StopsAfter {
                left: stop,
                kept: None,
            };
            let mut settings = mirror_settings(Precision::F64, first);
            settings.batches = 2;
            let whole = mirror(&problem, &settings, "1x1x1");
            let mut kept = keeper();
            let begin = Begin::At(None);
            let stopped =
                train_mirror_shard(&problem, &settings, begin, &grid, &mut kept, &mut |_| ());
            // The native engine is asked within a pass as well.
            assert!(matches!(stopped, Err(MapError::Stopped { passes }) if passes <= stop));
            settings.engine = then;
            let kept = kept.kept.unwrap();
            let begin = Begin::Resume(&kept);
            let ended = train_mirror_shard(
                &problem,
                &settings,
                begin,
                &grid,
                &mut NoKeeper,
                &mut |_| (),
            );
            let ended = ended.unwrap();
            let p = ended.factors().probabilities(problem.cells());
            whole.check(
                &Learned::new(ended.history(), p),
                ROUNDING,
                P_ROUNDING,
                &what,
            );

            let mut settings = adam_settings(Precision::F64, first);
            let whole = adam(&problem, &settings, "1x1x1");
            let mut kept = keeper();
            let begin = AdamBegin::At(InitialLogits::Random);
            let stopped =
                train_adam_shard(&problem, &settings, begin, &grid, &mut kept, &mut |_| ());
            assert!(stopped.is_err());
            settings.engine = then;
            let kept = kept.kept.unwrap();
            let begin = AdamBegin::Resume(&kept);
            let ended = train_adam_shard(
                &problem,
                &settings,
                begin,
                &grid,
                &mut NoKeeper,
                &mut |_| (),
            );
            let ended = ended.unwrap();
            let p = ended.probabilities(0..SIZE.0);
            let ended = Learned::new(ended.history(), p);
            whole.check(&ended, ROUNDING, P_ROUNDING, &what);
            if first == then {
                assert_eq!(whole, ended, "the same bits on the same device");
            }
        }
    }
}

#[test]
fn what_a_device_cannot_do_is_refused() {
    let problem = problem();
    let exact = Grid::new(Solo, GridShape::ONE, Reduce::Exact).unwrap();
    let part = share(&problem, &exact);
    let keeper = &mut NoKeeper;
    let settings = mirror_settings(Precision::F32, ALL);
    let told = train_mirror_shard(
        &part,
        &settings,
        Begin::At(None),
        &exact,
        keeper,
        &mut |_| (),
    );
    assert!(told.unwrap_err().to_string().contains("reduce = exact"));
    let adam = adam_settings(Precision::F32, ALL);
    let begin = AdamBegin::At(InitialLogits::Random);
    let told = train_adam_shard(&part, &adam, begin, &exact, keeper, &mut |_| ());
    assert!(told.unwrap_err().to_string().contains("reduce = exact"));
    let small = TorchEngine {
        memory: Some((512 << 20) + 10_000),
        ..TORCH
    };
    let settings = mirror_settings(Precision::F32, Engine::Torch(small));
    let told = train_mirror(&problem, &settings, None, &mut |_| ());
    assert!(
        matches!(told, Err(MapError::DeviceMemory { needed, available }) if needed > available)
    );
    // A device that is not there.
    if tch::Cuda::device_count() == 0 {
        let absent = TorchEngine {
            device: TorchDevice::Cuda(0),
            ..TORCH
        };
        let settings = mirror_settings(Precision::F32, Engine::Torch(absent));
        let told = train_mirror(&problem, &settings, None, &mut |_| ());
        assert!(matches!(told, Err(MapError::Torch(_))));
    }
}
