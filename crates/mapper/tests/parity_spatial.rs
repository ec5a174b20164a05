//! The spatial terms and those of the logits against the main branch of the published package (`parity/README.md`).
//!
//! The recorded run computed Getis-Ord of what is measured in single precision, and all else in double: that term is written out here in
//! dense matrices; all others come from the crate.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array1, Array2, Axis, concatenate, s};
use ndarray_npy::{ReadableElement, read_npy};
use std::path::PathBuf;
use tangram_comm::{Communicator, Grid, GridShape, Reduce, Shares, Threads};
use tangram_core::{
    DensityPrior, Known, LossFunction, Neighbours, Objective, OfCells, SparseRows, Term, Whole,
};
use tangram_mapper::{
    AdamBegin, AdamSettings, Begin, Engine, InitialLogits, MirrorSettings, NoKeeper, PassPlan,
    Precision, Problem, bytes_of_pass, train_adam, train_adam_shard, train_mirror_shard,
};

/// Relative, of the loss at every epoch and of the first gradient by its largest entry.
const RELATIVE: f64 = 1e-9;
/// Absolute, of P in the end.
const PROBABILITY: f64 = 1e-7;

const N: (usize, usize, usize) = (150, 64, 40);
const WHOLE: Whole = Whole {
    n_voxels: N.1,
    n_genes: N.2,
};

fn array<T: ReadableElement>(name: &str) -> Array2<T> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/spatial_f64");
    read_npy(folder.join(name)).unwrap()
}

fn single(name: &str) -> Array2<f64> {
    array::<f32>(name).mapv(f64::from)
}

/// Weights of the recorded run.
struct Weights {
    objective: Objective,
    getis_ord: f64,
    learning_rate: f64,
    epochs: usize,
}

struct Spatial {
    weights: Weights,
    cells: Array2<f64>,
    measured: Array2<f64>,
    prior: Vec<f64>,
    graph: Neighbours,
    /// 1 for every pair of neighbours, (voxels, voxels).
    pairs: Array2<f64>,
    /// One-hot types, (cells, types).
    types: Array2<f64>,
}

/// Cosines of columns, and their mean's slope by `a`.
fn column_cosines(a: &Array2<f64>, g: &Array2<f64>) -> (f64, Array2<f64>) {
    let sum = |m: Array2<f64>| m.sum_axis(Axis(0));
    let (a_norm, g_norm) = (sum(a * a).mapv(f64::sqrt), sum(g * g).mapv(f64::sqrt));
    let cosines = sum(a * g) / (&a_norm * &g_norm);
    let slope = g / &(&a_norm * &g_norm) - a * &(&cosines / &(&a_norm * &a_norm));
    (cosines.mean().unwrap(), slope / cosines.len() as f64)
}

fn softmax(logits: &Array2<f64>) -> Array2<f64> {
    let mut p = logits.clone();
    for mut row in p.rows_mut() {
        let max = row.fold(f64::MIN, |m, &x| m.max(x));
        row.mapv_inplace(|x| (x - max).exp());
        row /= row.sum();
    }
    p
}

impl Spatial {
    fn open() -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/spatial_f64");
        let meta = std::fs::read_to_string(folder.join("meta.json")).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        let number = |name: &str| meta[name].as_f64().unwrap();
        for unused in ["lg2", "lr_ent", "ll1", "lmo", "lge"] {
            assert_eq!(number(unused), 0.0, "{unused}");
        }
        let prior: Array1<f32> = read_npy(folder.join("d.npy")).unwrap();
        let graph = single("W_std.npy");
        let row = |row: ndarray::ArrayView1<'_, f64>| {
            let entries = row.iter().copied().enumerate();
            entries.filter(|(_, weight)| *weight != 0.0).collect()
        };
        Self {
            weights: Weights {
                objective: Objective::NONE
                    .with(Term::Gene, number("lg1"))
                    .with(Term::Density, number("ld"))
                    .with(Term::Neighbourhood, number("lnb"))
                    .with(Term::Islands, number("lct"))
                    .with(Term::L2, number("ll2")),
                getis_ord: number("lgo"),
                learning_rate: number("lr"),
                epochs: meta["epochs"].as_u64().unwrap() as usize,
            },
            cells: single("S.npy"),
            measured: single("G.npy"),
            prior: prior.iter().map(|&d| d.into()).collect(),
            graph: Neighbours::new(graph.rows().into_iter().map(row).collect()).unwrap(),
            pairs: single("W_bin.npy"),
            types: single("ct_encode.npy"),
        }
    }

    fn problem(&self) -> Problem {
        let sparse = |name: &str| SparseRows::from_dense(array::<f32>(name).view());
        let prior = DensityPrior::new(self.prior.clone()).unwrap();
        let problem = Problem::new(sparse("S.npy"), sparse("G.npy"), Some(prior)).unwrap();
        let types = SparseRows::from_dense(self.types.mapv(|x| x as f32).view());
        let problem = problem.with_neighbours(self.graph.clone()).unwrap();
        problem.with_types(types).unwrap()
    }

    fn loss_function(&self) -> LossFunction {
        let measured = self.measured.t().mapv(|x| x as f32);
        let known = Known {
            prior: Some(self.prior.as_slice()),
            neighbours: Some(&self.graph),
            n_types: self.types.ncols(),
            ..Known::default()
        };
        LossFunction::of_shard(&self.weights.objective, measured, known, &WHOLE)
    }

    /// Getis-Ord of G: the recorded run computed it in single precision, and all else in double.
    fn measured_star(&self) -> Array2<f64> {
        let measured = self.measured.mapv(|x| x as f32);
        let totals = measured
            .rows()
            .into_iter()
            .fold(Array1::<f32>::zeros(N.2), |sum, row| sum + row);
        let around = (&self.pairs + &Array2::<f64>::eye(N.1)).mapv(|x| x as f32);
        (around.dot(&measured) / &totals).mapv(f64::from)
    }

    /// Value, and slope by the logits, of the Getis-Ord term as it was recorded.
    fn other_term(&self, p: &Array2<f64>) -> (f64, Array2<f64>) {
        let weight = self.weights.getis_ord;
        let a = p.t().dot(&self.cells);
        let (cosine, by_a) = self.getis_ord(&a, &self.measured_star());
        let by_p = self.cells.dot(&by_a.t()) * -weight;
        (-weight * cosine, by_logits(p, by_p))
    }

    /// Sums over a voxel and its neighbours by the sum over all voxels.
    fn star(&self, a: &Array2<f64>) -> Array2<f64> {
        let around = &self.pairs + &Array2::<f64>::eye(N.1);
        around.dot(a) / &a.sum_axis(Axis(0))
    }

    /// The Getis-Ord term of `a` and a measured G*, and its slope by `a`.
    fn getis_ord(&self, a: &Array2<f64>, measured: &Array2<f64>) -> (f64, Array2<f64>) {
        let around = &self.pairs + &Array2::<f64>::eye(N.1);
        let star = self.star(a);
        let (cosine, by_star) = column_cosines(&star, measured);
        let totals = a.sum_axis(Axis(0));
        let by_total = (&by_star * &star).sum_axis(Axis(0)) / &totals;
        let by_a = around.t().dot(&(&by_star / &totals)) - &by_total;
        (cosine, by_a)
    }

    /// The whole loss and its slope by the logits.
    fn loss(&self, logits: &Array2<f64>) -> (f64, Array2<f64>) {
        let p = softmax(logits);
        let n_cells = N.0 as f64;
        // Types are genes after the others.
        let cells = concatenate(Axis(1), &[self.cells.view(), self.types.view()]).unwrap();
        let mut a = p.t().dot(&cells).t().as_standard_layout().into_owned();
        let mut q = (p.sum_axis(Axis(0)) / n_cells).to_vec();
        let squares = logits.mapv(|x| x * x).sum();
        let of_cells = OfCells {
            logits: Some([0.0, squares]),
            ..OfCells::of(n_cells)
        };
        let own = self.loss_function();
        let loss = own.evaluate_shard(a.view_mut(), &mut q, of_cells, &WHOLE);
        let by_p = cells.dot(&a) + Array1::from(q) / n_cells;
        let (other, slope) = self.other_term(&p);
        let by_size = logits * (2.0 * self.weights.objective[Term::L2]);
        (loss.total + other, by_logits(&p, by_p) + slope + by_size)
    }
}

/// `P_ij (g_ij − Σ_l P_il g_il)`.
fn by_logits(p: &Array2<f64>, by_p: Array2<f64>) -> Array2<f64> {
    let means = (p * &by_p).sum_axis(Axis(1)).insert_axis(Axis(1));
    p * &(by_p - means)
}

fn largest(m: &Array2<f64>) -> f64 {
    m.iter().fold(0.0, |m: f64, x| m.max(x.abs()))
}

#[test]
fn every_loss_the_first_gradient_and_p_are_those_of_the_package() {
    let spatial = Spatial::open();
    let (losses, stored) = (array::<f64>("losses.npy"), array::<f64>("grad0_M.npy"));
    let mut logits: Array2<f64> = array("M0.npy");
    let mut moments = [0, 1].map(|_| Array2::<f64>::zeros(logits.dim()));
    assert_eq!(losses.nrows(), spatial.weights.epochs);
    for epoch in 0..spatial.weights.epochs {
        let (loss, slope) = spatial.loss(&logits);
        let off = (loss / losses[[epoch, 0]] - 1.0).abs();
        assert!(off < RELATIVE, "epoch {epoch}: loss off by {off:e}");
        if epoch == 0 {
            let off = largest(&(&slope - &stored)) / largest(&stored);
            assert!(off < RELATIVE, "gradient off by {off:e}");
        }
        let t = epoch as i32 + 1;
        let [first, second] = &mut moments;
        *first = &*first * 0.9 + &slope * 0.1;
        *second = &*second * 0.999 + &slope * &slope * 0.001;
        let (first, second) = (
            &*first / (1.0 - 0.9f64.powi(t)),
            &*second / (1.0 - 0.999f64.powi(t)),
        );
        logits -= &(first / (second.mapv(f64::sqrt) + 1e-8) * spatial.weights.learning_rate);
    }
    let off = largest(&(softmax(&logits) - array::<f64>("P_final.npy")));
    assert!(off < PROBABILITY, "P off by {off:e}");
}

#[test]
fn getis_ord_is_that_of_the_package() {
    let spatial = Spatial::open();
    let p = softmax(&array("M0.npy"));
    let a = p.t().dot(&spatial.cells);
    let weight = spatial.weights.getis_ord;
    let own = Spatial {
        weights: Weights {
            objective: Objective::NONE.with(Term::GetisOrd, weight),
            ..spatial.weights
        },
        types: Array2::zeros((N.0, 0)),
        ..spatial
    };
    let mut slope = a.t().as_standard_layout().into_owned();
    let mut q = (p.sum_axis(Axis(0)) / N.0 as f64).to_vec();
    let loss = own
        .loss_function()
        .evaluate(slope.view_mut(), &mut q, N.0 as f64, None);
    // The same written out, which with all else gives the recorded losses; here measured in double precision, too.
    let (cosine, by_a) = own.getis_ord(&a, &own.star(&own.measured));
    assert!((loss.total + weight * cosine).abs() < 1e-12);
    let off = largest(&(&slope.t() + &(by_a * weight))) / largest(&slope);
    assert!(off < RELATIVE, "slope off by {off:e}");
    // The package's own measured G* is in single precision.
    let (recorded, _) = own.getis_ord(&a, &own.measured_star());
    assert!((recorded - cosine).abs() < 1e-6);
}

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
                scope.spawn(move || work(&Grid::new(world, shape, how).unwrap()))
            })
            .collect();
        started.into_iter().map(|r| r.join().unwrap()).collect()
    })
}

impl Spatial {
    fn adam(&self, epochs: usize) -> AdamSettings {
        AdamSettings {
            objective: self.weights.objective,
            epochs,
            learning_rate: self.weights.learning_rate,
            seed: 0,
            threads: 1,
            precision: Precision::F64,
            tolerance: 0.0,
            engine: Engine::Native,
        }
    }

    /// Losses and first moment of Adam on a grid, from the recorded logits.
    fn trained(&self, shape: &str, how: Reduce, epochs: usize) -> (Vec<f64>, Array2<f64>) {
        let (problem, settings) = (self.problem(), self.adam(epochs));
        let all: Vec<(Shares, Vec<f64>, Array2<f64>)> =
            on_grid(shape.parse().unwrap(), how, |grid| {
                let shares = grid.shares(N.0, N.1, N.2).unwrap();
                let part = problem.share(shares.clone()).unwrap();
                let begin = AdamBegin::At(InitialLogits::Given(array("M0.npy")));
                let keeper = &mut NoKeeper;
                let trained = train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ());
                let trained = trained.unwrap();
                let losses = trained.history().iter().map(|e| e.total).collect();
                let moment = trained.first_moment(0..shares.cells.len());
                (shares, losses, moment)
            });
        let mut moment = Array2::zeros((N.0, N.1));
        for (shares, _, part) in &all {
            moment
                .slice_mut(s![shares.cells.range(), shares.voxels.range()])
                .assign(part);
        }
        (all[0].1.clone(), moment)
    }
}

const GRIDS: [&str; 7] = [
    "1x1x1", "2x1x1", "1x2x1", "1x5x1", "1x1x2", "2x3x1", "2x2x2",
];

#[test]
fn the_solver_on_any_grid_has_the_gradient_of_the_package() {
    let spatial = Spatial::open();
    let logits: Array2<f64> = array("M0.npy");
    let others = spatial.other_term(&softmax(&logits)).1;
    let stored: Array2<f64> = array("grad0_M.npy");
    for shape in GRIDS {
        for how in [Reduce::Fast, Reduce::Exact] {
            // After one step Adam's first moment is (1 − β₁) times the gradient.
            let found = spatial.trained(shape, how, 1).1 / 0.1 + &others;
            let off = largest(&(found - &stored)) / largest(&stored);
            assert!(off < RELATIVE, "{shape} {how}: {off:e}");
        }
    }
}

#[test]
fn exact_sums_give_every_grid_the_same_bits() {
    let spatial = Spatial::open();
    let alone = spatial.trained("1x1x1", Reduce::Exact, 12);
    for shape in GRIDS {
        assert_eq!(spatial.trained(shape, Reduce::Exact, 12), alone, "{shape}");
    }
}

#[test]
fn both_solvers_exchange_what_was_planned() {
    let spatial = Spatial::open();
    let problem = spatial.problem();
    for shape in GRIDS {
        let shape: GridShape = shape.parse().unwrap();
        for (mirror, reduce) in [
            (false, Reduce::Fast),
            (false, Reduce::Exact),
            (true, Reduce::Fast),
        ] {
            let objective = spatial.weights.objective;
            let plan = PassPlan {
                mirror,
                // Mirror has no counterpart to types and logits.
                objective: match mirror {
                    true => objective.with(Term::Islands, 0.0).with(Term::L2, 0.0),
                    false => objective,
                },
                n_types: if mirror { 0 } else { spatial.types.ncols() },
                prior: true,
                temperature: false,
                asks_for_rest: false,
                filter: false,
                weighs: false,
                precision: Precision::F64,
                reduce,
                on_device: false,
            };
            let counted = |passes: usize| {
                on_grid(shape, reduce, |grid| {
                    let part = problem.share(grid.shares(N.0, N.1, N.2).unwrap()).unwrap();
                    let keeper = &mut NoKeeper;
                    if mirror {
                        let settings = MirrorSettings {
                            objective: plan.objective,
                            passes,
                            temperature: None,
                            batches: 1,
                            batch_passes: None,
                            seed: 1,
                            threads: 1,
                            precision: plan.precision,
                            tolerance: 0.0,
                            engine: Engine::Native,
                        };
                        let begin = Begin::At(None);
                        train_mirror_shard(&part, &settings, begin, grid, keeper, &mut |_| ())
                            .unwrap();
                    } else {
                        let begin = AdamBegin::At(InitialLogits::Random);
                        let settings = spatial.adam(passes);
                        train_adam_shard(&part, &settings, begin, grid, keeper, &mut |_| ())
                            .unwrap();
                    }
                    (grid.world().rank(), grid.bytes())
                })
            };
            for ((rank, before), (_, after)) in counted(3).into_iter().zip(counted(4)) {
                let found: Vec<_> = (0..5)
                    .map(|i| (after[i].0, after[i].1 - before[i].1))
                    .collect();
                let shares = Shares::at(shape, reduce, [N.0, N.1, N.2], rank).unwrap();
                let planned = bytes_of_pass(shape, &shares, &plan, Some(&spatial.graph));
                assert_eq!(
                    planned.to_vec(),
                    found,
                    "{shape} {reduce} rank {rank} {mirror}"
                );
            }
        }
    }
}

/// `spatial_mg_f64`: the same problem with the terms of Moran and Geary and the logits' magnitudes.
#[test]
fn moran_and_geary_are_those_of_the_package() {
    // The recorded run computed both of G in single precision, and all else in double.
    const LOSS: f64 = 2e-9;
    const GRADIENT: f64 = 1e-5;
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/parity/spatial_mg_f64");
    let single = |name: &str| -> Array2<f64> {
        read_npy::<_, Array2<f32>>(folder.join(name))
            .unwrap()
            .mapv(f64::from)
    };
    let double = |name: &str| -> Array2<f64> { read_npy(folder.join(name)).unwrap() };
    let meta = std::fs::read_to_string(folder.join("meta.json")).unwrap();
    let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
    let number = |name: &str| meta[name].as_f64().unwrap();
    let objective = Objective::NONE
        .with(Term::Gene, number("lg1"))
        .with(Term::Density, number("ld"))
        .with(Term::Moran, number("lmo"))
        .with(Term::Geary, number("lge"))
        .with(Term::L1, number("ll1"));
    let (cells, measured) = (single("S.npy"), single("G.npy"));
    let weights = single("W_std.npy");
    let row = |j: usize| {
        let row = weights.row(j).into_iter().copied().enumerate();
        row.filter(|(_, w)| *w != 0.0).collect()
    };
    let graph = Neighbours::new((0..N.1).map(row).collect()).unwrap();
    let prior: Array1<f64> = match read_npy::<_, Array1<f64>>(folder.join("d.npy")) {
        Ok(prior) => prior,
        Err(_) => read_npy::<_, Array1<f32>>(folder.join("d.npy"))
            .unwrap()
            .mapv(f64::from),
    };
    let known = Known {
        prior: prior.as_slice(),
        neighbours: Some(&graph),
        ..Known::default()
    };
    let measured_by_gene = measured.t().mapv(|x| x as f32);
    let loss = LossFunction::of_shard(&objective, measured_by_gene, known, &WHOLE);
    let logits = double("M0.npy");
    let p = softmax(&logits);
    let mut a = p.t().dot(&cells).t().as_standard_layout().into_owned();
    let mut q = (p.sum_axis(Axis(0)) / N.0 as f64).to_vec();
    let of_cells = OfCells {
        logits: Some([logits.mapv(f64::abs).sum(), 0.0]),
        ..OfCells::of(N.0 as f64)
    };
    let found = loss.evaluate_shard(a.view_mut(), &mut q, of_cells, &WHOLE);
    let total = found.total;
    let expected = double("losses.npy")[[0, 0]];
    assert!((total / expected - 1.0).abs() < LOSS, "{total} {expected}");
    let by_p = cells.dot(&a) + Array1::from(q) / N.0 as f64;
    let slope = by_logits(&p, by_p) + logits.mapv(|x| number("ll1") * x.signum());
    let expected = double("grad0_M.npy");
    let off = largest(&(&slope - &expected)) / largest(&expected);
    assert!(off < GRADIENT, "gradient off by {off:e}");

    // The solver's own: after one step Adam's first moment is (1 − β₁) times the gradient.
    let sparse = |m: &Array2<f64>| SparseRows::from_dense(m.mapv(|x| x as f32).view());
    let prior = DensityPrior::new(prior.to_vec()).unwrap();
    let problem = Problem::new(sparse(&cells), sparse(&measured), Some(prior)).unwrap();
    let problem = problem.with_neighbours(graph).unwrap();
    let settings = AdamSettings {
        objective,
        ..Spatial::open().adam(1)
    };
    let begin = InitialLogits::Given(logits);
    let trained = train_adam(&problem, &settings, begin, &mut |_| ()).unwrap();
    let own = &trained.history()[0].total;
    assert!((own / found.total - 1.0).abs() < 1e-12, "{own}");
    let off = largest(&(trained.first_moment(0..N.0) / 0.1 - &slope)) / largest(&slope);
    assert!(off < RELATIVE, "gradient off by {off:e}");
}
