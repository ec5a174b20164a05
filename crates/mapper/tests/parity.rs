//! The numbers of the published package, tangram-sc 1.0.4, on a small random problem (`parity/README.md`).

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array1, Array2};
use ndarray_npy::{ReadableElement, read_npy};
use std::path::PathBuf;
use tangram_core::{DensityPrior, Objective, SparseRows};
use tangram_mapper::{AdamSettings, InitialLogits, Precision, Problem, Trained, train_adam};

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
        let cells = SparseRows::from_dense(self.array2::<f32>("S.npy").view());
        let voxels = SparseRows::from_dense(self.array2::<f32>("G.npy").view());
        Problem::new(
            cells,
            voxels,
            Some(DensityPrior::new(prior.to_vec()).unwrap()),
        )
        .unwrap()
    }

    fn train(&self, epochs: usize, precision: Precision) -> Trained {
        let number = |name: &str| self.meta[name].as_f64().unwrap();
        let settings = AdamSettings {
            objective: Objective {
                gene: number("lg1"),
                voxel: number("lg2"),
                density: number("ld"),
                entropy: number("lr_ent"),
            },
            epochs,
            learning_rate: number("lr"),
            seed: 0,
            threads: 2,
            precision,
            tolerance: 0.0,
        };
        let initial = InitialLogits::Given(self.run2("M0.npy"));
        train_adam(&self.problem(), &settings, initial, &mut |_| ()).unwrap()
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
    let fixture = Fixture::open(name);
    let trained = fixture.train(100, precision);
    let losses = fixture.array2::<f64>("losses.npy");
    assert_eq!(losses.nrows(), 100);
    let off = trained
        .history()
        .iter()
        .zip(losses.column(0))
        .map(|(e, l)| (e.total / l - 1.0).abs());
    let worst_loss = off.fold(0.0, f64::max);
    let difference = &trained.probabilities(0..150) - &fixture.run2("P_final.npy");
    let worst_probability = difference.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    let worst_gradient = gradient_difference(&fixture, precision);
    println!(
        "{name} {precision:?}: loss {worst_loss:.1e}, gradient {worst_gradient:.1e}, P {worst_probability:.1e}"
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
fn gradient_difference(fixture: &Fixture, precision: Precision) -> f64 {
    let stored = fixture.run2("grad0_M.npy");
    // After one step Adam's first moment is (1 − β₁) times the gradient.
    let learned = fixture.train(1, precision).first_moment(0..150) / 0.1;
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
