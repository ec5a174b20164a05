//! The numbers of the published package, tangram-sc 1.0.4, on a small random problem (`parity/README.md`).

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array1, Array2, s};
use ndarray_npy::{ReadableElement, read_npy};
use std::path::PathBuf;
use tangram_comm::{Grid, GridShape, Reduce, Shares, Threads};
use tangram_core::{DensityPrior, Objective, SparseRows, Term, scale_rows};
use tangram_mapper::{
    AdamBegin, AdamSettings, Engine, Filter, InitialLogits, Mode, NoKeeper, Precision, Problem,
    TorchDevice, TorchEngine, Trained, train_adam, train_adam_shard,
};

struct Fixture {
    folder: PathBuf,
    meta: serde_json::Value,
}

impl Fixture {
    fn open(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("tests/parity")
            .join(name);
        let meta = std::fs::read_to_string(folder.join("meta.json")).unwrap();
        Self {
            folder,
            meta: serde_json::from_str(&meta).unwrap(),
        }
    }

    fn array2<T: ReadableElement>(&self, name: &str) -> Array2<T> {
        read_npy(self.folder.join(name)).unwrap()
    }

    /// A matrix stored in the precision of the run.
    fn run2(&self, name: &str) -> Array2<f64> {
        if self.meta["f64"].as_bool().unwrap() {
            self.array2::<f64>(name)
        } else {
            self.array2::<f32>(name).mapv(f64::from)
        }
    }

    fn problem(&self) -> Problem {
        let prior: Array1<f64> = match read_npy::<_, Array1<f64>>(self.folder.join("d.npy")) {
            Ok(prior) => prior,
            Err(_) => read_npy::<_, Array1<f32>>(self.folder.join("d.npy"))
                .unwrap()
                .mapv(f64::from),
        };
        let mut cells = SparseRows::from_dense(self.array2::<f32>("S.npy").view());
        let mode = self.mode();
        if let Some(weights) = mode.weights() {
            let factors: Vec<f64> = weights.iter().map(|w| 1.0 / w).collect();
            scale_rows(&mut cells, &factors);
        }
        let voxels = SparseRows::from_dense(self.array2::<f32>("G.npy").view());
        Problem::new(
            cells,
            voxels,
            Some(DensityPrior::new(prior.to_vec()).unwrap()),
        )
        .unwrap()
        .with_mode(mode)
        .unwrap()
    }

    fn mode(&self) -> Mode {
        let vector = |name| -> Vec<f64> {
            read_npy::<_, Array1<f64>>(self.folder.join(name))
                .unwrap()
                .to_vec()
        };
        match self.meta["mode"].as_str().unwrap() {
            "clusters" => Mode::Clusters(vector("d_source.npy")),
            "constrained" => Mode::Constrained(Filter {
                target: self.meta["target"].as_f64().unwrap(),
                initial: Some(vector("F0.npy")),
            }),
            _ => Mode::Cells,
        }
    }

    fn train(&self, epochs: usize, precision: Precision, engine: Engine) -> Trained {
        let initial = InitialLogits::Given(self.run2("M0.npy"));
        let settings = AdamSettings {
            engine,
            ..self.settings(epochs, precision)
        };
        train_adam(&self.problem(), &settings, initial, &mut |_| ()).unwrap()
    }

    /// Losses, P and f of the ranks of a grid.
    fn train_on(&self, shape: GridShape, how: Reduce) -> (Vec<f64>, Array2<f64>, Vec<f64>) {
        let (problem, settings) = (self.problem(), self.settings(100, Precision::F64));
        let (n_cells, n_voxels) = (problem.n_cells(), problem.n_voxels());
        let one = |world: Threads| {
            let grid = Grid::new(world, shape, how).unwrap();
            let shares = grid.shares(n_cells, n_voxels, problem.n_genes()).unwrap();
            let part = problem.share(shares.clone()).unwrap();
            let begin = AdamBegin::At(InitialLogits::Given(self.run2("M0.npy")));
            let keeper = &mut NoKeeper;
            let trained = train_adam_shard(&part, &settings, begin, &grid, keeper, &mut |_| ());
            (shares, trained.unwrap())
        };
        let all: Vec<(Shares, Trained)> = std::thread::scope(|scope| {
            let ranks = Threads::ranks(shape.n_ranks()).into_iter();
            let started: Vec<_> = ranks.map(|world| scope.spawn(|| one(world))).collect();
            started.into_iter().map(|r| r.join().unwrap()).collect()
        });
        let mut p = Array2::zeros((n_cells, n_voxels));
        let mut f = vec![f64::NAN; n_cells];
        for (shares, trained) in &all {
            if let Some(own) = trained.filter() {
                f[shares.cells.range()].copy_from_slice(own);
            }
            p.slice_mut(s![shares.cells.range(), shares.voxels.range()])
                .assign(&trained.probabilities(0..shares.cells.len()));
        }
        let losses = all[0].1.history().iter().map(|e| e.total).collect();
        (losses, p, f)
    }

    fn settings(&self, epochs: usize, precision: Precision) -> AdamSettings {
        let number = |name: &str| self.meta[name].as_f64().unwrap();
        AdamSettings {
            objective: Objective::NONE
                .with(Term::Gene, number("lg1"))
                .with(Term::Voxel, number("lg2"))
                .with(Term::Density, number("ld"))
                .with(Term::Entropy, number("lr_ent"))
                .with(Term::Count, number("lcount"))
                .with(Term::Undecided, number("lf")),
            epochs,
            learning_rate: number("lr"),
            seed: 0,
            threads: 2,
            precision,
            tolerance: 0.0,
            engine: Engine::Native,
        }
    }
}

struct Gates {
    /// Relative, of the total loss at every epoch.
    loss: f64,
    /// Of the gradient at step 0, relative to its largest entry.
    gradient: f64,
    /// Absolute, of P at the end.
    probabilities: f64,
}

const F64: Gates = Gates {
    loss: 1e-9,
    gradient: 1e-9,
    probabilities: 1e-7,
};
const F32: Gates = Gates {
    loss: 1e-5,
    gradient: 1e-5,
    probabilities: 5e-3,
};

fn check(name: &str, precision: Precision, gates: &Gates) {
    check_by(name, precision, gates, Engine::Native);
    if !cfg!(feature = "torch") {
        return;
    }
    // Blocks of about 50 of the 150 cells.
    for block in [None, Some(20_000)] {
        let torch = TorchEngine {
            device: TorchDevice::Cores,
            memory: None,
            block,
        };
        check_by(name, precision, gates, Engine::Torch(torch));
    }
}

fn check_by(name: &str, precision: Precision, gates: &Gates, engine: Engine) {
    let fixture = Fixture::open(name);
    let trained = fixture.train(100, precision, engine);
    let losses = fixture.array2::<f64>("losses.npy");
    assert_eq!(losses.nrows(), 100);
    let off = trained
        .history()
        .iter()
        .zip(losses.column(0))
        .map(|(e, l)| (e.total / l - 1.0).abs());
    let worst_loss = off.fold(0.0, f64::max);
    let expected = fixture.run2("P_final.npy");
    let n_cells = expected.nrows();
    let difference = &trained.probabilities(0..n_cells) - &expected;
    let worst_probability = difference.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let worst_gradient = gradient_difference(&fixture, precision, engine);
    println!(
        "{name} {precision:?} {engine:?}: loss {worst_loss:.1e}, gradient {worst_gradient:.1e}, P {worst_probability:.1e}"
    );
    assert!(worst_loss < gates.loss, "loss off by {worst_loss:e}");
    assert!(
        worst_gradient < gates.gradient,
        "gradient off by {worst_gradient:e}"
    );
    assert!(
        worst_probability < gates.probabilities,
        "P off by {worst_probability:e}"
    );
}

/// Largest difference of the gradient at step 0, relative to its largest entry.
fn gradient_difference(fixture: &Fixture, precision: Precision, engine: Engine) -> f64 {
    let stored = fixture.run2("grad0_M.npy");
    // After one step Adam's first moment is (1 − β₁) times the gradient.
    let trained = fixture.train(1, precision, engine);
    let learned = trained.first_moment(0..stored.nrows()) / 0.1;
    let largest = stored.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    (&stored - &learned)
        .iter()
        .fold(0.0, |m: f64, x| m.max(x.abs()))
        / largest
}

#[test]
fn cells_mode_with_every_term_in_double_precision() {
    check("cells_f64", Precision::F64, &F64);
}

#[test]
fn cells_mode_with_the_default_terms_in_double_precision() {
    check("cells_default_f64", Precision::F64, &F64);
}

#[test]
fn cells_mode_with_every_term_in_single_precision() {
    check("cells_f32", Precision::F32, &F32);
}

#[test]
fn every_grid_gives_the_numbers_of_the_package() {
    let fixture = Fixture::open("cells_f64");
    let losses = fixture.array2::<f64>("losses.npy");
    let expected = fixture.run2("P_final.npy");
    for shape in [
        "2x1x1", "1x2x1", "1x1x2", "2x2x1", "2x1x2", "2x2x2", "3x1x1",
    ] {
        for how in [Reduce::Fast, Reduce::Exact] {
            let (found, p, _) = fixture.train_on(shape.parse().unwrap(), how);
            let off = found.iter().zip(losses.column(0));
            let worst = off.map(|(f, l)| (f / l - 1.0).abs()).fold(0.0, f64::max);
            assert!(worst < F64.loss, "{shape} {how}: loss off by {worst:e}");
            let worst = (&p - &expected).iter().fold(0.0f64, |m, x| m.max(x.abs()));
            assert!(
                worst < F64.probabilities,
                "{shape} {how}: P off by {worst:e}"
            );
        }
    }
}

/// Largest difference of two lists, and the largest of the first.
fn apart(a: &[f64], b: &[f64]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let pairs = a.iter().zip(b);
    pairs.fold((0.0, 0.0), |(m, l), (a, b)| {
        ((a - b).abs().max(m), a.abs().max(l))
    })
}

#[test]
fn constrained_mode_in_double_precision() {
    check("constrained_f64", Precision::F64, &F64);
    let fixture = Fixture::open("constrained_f64");
    let vector = |name: &str| -> Vec<f64> {
        read_npy::<_, Array1<f64>>(fixture.folder.join(name))
            .unwrap()
            .to_vec()
    };
    let torch = Engine::Torch(TorchEngine {
        device: TorchDevice::Cores,
        memory: None,
        block: Some(20_000),
    });
    let there = |engine: &Engine| *engine == Engine::Native || cfg!(feature = "torch");
    for engine in [Engine::Native, torch].into_iter().filter(there) {
        let first = fixture.train(1, Precision::F64, engine);
        let slope: Vec<f64> = first.filter_first_moment().unwrap().to_vec();
        let slope: Vec<f64> = slope.iter().map(|m| m / 0.1).collect();
        let (off, largest) = apart(&vector("grad0_F.npy"), &slope);
        assert!(off < F64.gradient * largest, "{engine:?}: {off:e}");
        let last = fixture.train(100, Precision::F64, engine);
        let (off, _) = apart(&vector("F_final.npy"), last.filter().unwrap());
        assert!(off < F64.probabilities, "{engine:?}: f off by {off:e}");
    }
}

#[test]
fn constrained_mode_in_single_precision() {
    // The gate of the package's own runs in single precision.
    let gates = Gates { loss: 1e-4, ..F32 };
    check("constrained_f64", Precision::F32, &gates);
}

#[test]
fn every_grid_gives_the_filter_of_the_package() {
    let fixture = Fixture::open("constrained_f64");
    let losses = fixture.array2::<f64>("losses.npy");
    let expected: Array1<f64> = read_npy(fixture.folder.join("F_final.npy")).unwrap();
    for (shape, how) in [
        ("2x1x1", Reduce::Fast),
        ("1x2x1", Reduce::Fast),
        ("1x1x2", Reduce::Fast),
        ("2x2x1", Reduce::Fast),
        ("1x2x1", Reduce::Exact),
    ] {
        let (found, _, f) = fixture.train_on(shape.parse().unwrap(), how);
        let off = found.iter().zip(losses.column(0));
        let worst = off.map(|(f, l)| (f / l - 1.0).abs()).fold(0.0, f64::max);
        assert!(worst < F64.loss, "{shape} {how}: loss off by {worst:e}");
        let (off, _) = apart(expected.as_slice().unwrap(), &f);
        assert!(off < F64.probabilities, "{shape} {how}: f off by {off:e}");
    }
}

#[test]
fn clusters_mode_in_double_precision() {
    // Sums over cells are divided by the clusters' weights in single precision, in which expression is held.
    let gates = Gates {
        loss: 1e-7,
        gradient: 1e-6,
        probabilities: 1e-5,
    };
    check("clusters_f64", Precision::F64, &gates);
}
