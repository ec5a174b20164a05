//! Products of rounded numbers keep the optimum.
//!
//! libtorch's CPU device has no tensor cores. There the program rounds the factors itself, TF32 ones too, and multiplies in single
//! precision: exact products, summed in single precision, which is what tensor cores do.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::{Array2, Axis};
use tangram_core::{DensityPrior, Objective, SparseRows, Term, Tissue, TissueSettings};
use tangram_mapper::{
    AdamSettings, Engine, Factors, InitialLogits, MirrorSettings, Precision, Problem, TorchDevice,
    TorchEngine, train_adam, train_mirror,
};

const TORCH: Engine = Engine::Torch(TorchEngine {
    device: TorchDevice::Cores,
    memory: None,
    block: None,
});

/// How far a rounded run's final loss may be from that of single precision.
fn gate(precision: Precision) -> f64 {
    match precision {
        // With the voxel term single precision goes so low that the eight bits of bf16 stay 2.3e-3 behind.
        Precision::Bf16 => 3e-3,
        Precision::Tf32 | Precision::Fp16 => 5e-4,
        Precision::F32 | Precision::F64 => 1e-5,
    }
}

const ROUNDED: [Precision; 3] = [Precision::Tf32, Precision::Fp16, Precision::Bf16];

/// Cells and voxels of one simulated tissue.
struct Shape {
    n_cells: usize,
    n_voxels: usize,
    n_genes: usize,
    /// Voxels of several cells each, by far deeper.
    spots: bool,
    /// Share of the cells' counts that are not zero.
    density: f64,
    voxel_weight: f64,
}

/// Few genes; many genes over few deep spots; more voxels, both terms.
const SHAPES: [Shape; 3] = [
    Shape {
        n_cells: 3_000,
        n_voxels: 250,
        n_genes: 80,
        spots: false,
        density: 0.15,
        voxel_weight: 0.0,
    },
    Shape {
        n_cells: 2_000,
        n_voxels: 120,
        n_genes: 300,
        spots: true,
        density: 0.3,
        voxel_weight: 0.0,
    },
    Shape {
        n_cells: 1_500,
        n_voxels: 500,
        n_genes: 150,
        spots: true,
        density: 0.15,
        voxel_weight: 1.0,
    },
];

impl Shape {
    fn problem(&self) -> Problem {
        let tissue = Tissue::new(TissueSettings {
            n_cells: self.n_cells,
            n_voxels: self.n_voxels,
            n_spots: self.n_voxels,
            n_genes: self.n_genes + 60,
            n_panel_genes: self.n_genes,
            density: self.density,
            ..TissueSettings::default()
        })
        .unwrap();
        let cells = tissue.cells(0..self.n_cells).select_columns(tissue.panel());
        let voxels = match self.spots {
            true => tissue
                .spots(0..self.n_voxels)
                .select_columns(tissue.panel()),
            false => tissue.voxels(0..self.n_voxels),
        };
        let total = |j| 1.0 + voxels.row(j).1.iter().map(|&x| f64::from(x)).sum::<f64>();
        let prior = DensityPrior::new((0..self.n_voxels).map(total).collect()).unwrap();
        Problem::new(cells, voxels, Some(prior)).unwrap()
    }

    fn objective(&self) -> Objective {
        Objective::NONE
            .with(Term::Gene, 1.0)
            .with(Term::Voxel, self.voxel_weight)
            .with(Term::Density, 1.0)
    }

    fn mirror_settings(&self, engine: Engine, precision: Precision) -> MirrorSettings {
        MirrorSettings {
            objective: self.objective(),
            passes: 60,
            temperature: None,
            batches: 1,
            batch_passes: None,
            seed: 1,
            threads: 1,
            precision,
            tolerance: 0.0,
            engine,
        }
    }
}

/// The loss of a run, and its factors.
fn mirror(problem: &Problem, settings: &MirrorSettings) -> (f64, Factors) {
    let mirrored = train_mirror(problem, settings, None, &mut |_| ()).unwrap();
    (mirrored.chosen().total, mirrored.factors().clone())
}

/// Whether the loss may be so; a lower one is as good.
fn check_gate(what: &str, precision: Precision, single: f64, rounded: f64) {
    let behind = rounded - single;
    println!(
        "{what} {precision:?}: {rounded:.6}, single precision {single:.6}, behind by {behind:.1e}"
    );
    assert!(
        behind < gate(precision),
        "{what} {precision:?}: {rounded} for {single}"
    );
}

fn check_mirror(shape: &Shape) {
    let problem = shape.problem();
    let what = format!(
        "mirror {}x{}x{}",
        shape.n_cells, shape.n_voxels, shape.n_genes
    );
    let settings = |engine, precision| shape.mirror_settings(engine, precision);
    let (single, _) = mirror(&problem, &settings(Engine::Native, Precision::F32));
    let (on_device, _) = mirror(&problem, &settings(TORCH, Precision::F32));
    println!("{what} F32 on the device: {on_device:.6}");
    for precision in ROUNDED {
        let (rounded, factors) = mirror(&problem, &settings(TORCH, precision));
        check_gate(&what, precision, single, rounded);
        assert_ne!(rounded, on_device, "{precision:?} is another precision");
        check_stored(&problem, shape, precision, &factors, rounded);
    }
}

#[test]
fn few_genes_keep_the_optimum() {
    check_mirror(&SHAPES[0]);
}

#[test]
fn many_genes_over_few_spots_keep_the_optimum() {
    check_mirror(&SHAPES[1]);
}

#[test]
fn many_voxels_and_both_terms_keep_the_optimum() {
    check_mirror(&SHAPES[2]);
}

#[test]
fn adam_keeps_its_course() {
    for shape in &SHAPES {
        let problem = shape.problem();
        let train = |engine, precision| {
            let settings = AdamSettings {
                objective: shape.objective(),
                learning_rate: 0.1,
                epochs: 50,
                seed: 1,
                threads: 1,
                precision,
                tolerance: 0.0,
                engine,
            };
            let trained = train_adam(&problem, &settings, InitialLogits::Random, &mut |_| ());
            trained.unwrap().history().last().unwrap().total
        };
        let single = train(Engine::Native, Precision::F32);
        let what = format!(
            "Adam {}x{}x{}",
            shape.n_cells, shape.n_voxels, shape.n_genes
        );
        for precision in ROUNDED {
            let rounded = train(TORCH, precision);
            check_gate(&what, precision, single, rounded);
            // Adam's course does not depend on chance after its start: neither may it be ahead.
            assert!(single - rounded < gate(precision), "{what} {precision:?}");
            assert_ne!(rounded, train(TORCH, Precision::F32));
        }
    }
}

/// The kernels for cores multiply bf16 where S has few zeros.
#[test]
fn bf16_on_cores_keeps_the_optimum() {
    let shape = Shape {
        n_cells: 900,
        n_voxels: 100,
        density: 0.45,
        ..SHAPES[0]
    };
    let problem = shape.problem();
    let settings = |precision| shape.mirror_settings(Engine::Native, precision);
    let (single, _) = mirror(&problem, &settings(Precision::F32));
    let (rounded, factors) = mirror(&problem, &settings(Precision::Bf16));
    check_gate("cores", Precision::Bf16, single, rounded);
    assert_ne!(rounded, single);
    assert!(
        factors.weights().iter().all(|&z| z == to_bits(z, 8)),
        "numbers of bf16"
    );
}

/// The nearest number of `n_bits` bits, the leading one included.
fn to_bits(x: f64, n_bits: i32) -> f64 {
    if x == 0.0 {
        return 0.0;
    }
    let last_place = 2f64.powi(x.abs().log2().floor() as i32 - n_bits + 1);
    (x / last_place).round_ties_even() * last_place
}

/// The factors that are stored are those of the loss that is recorded.
fn check_stored(
    problem: &Problem,
    shape: &Shape,
    precision: Precision,
    factors: &Factors,
    recorded: f64,
) {
    // The loss in double precision of the same S. What is left is the rounding of P, which sums of many cells average out.
    let (n_bits, rounding_of_p) = match precision {
        Precision::Bf16 => (8, 1e-4),
        _ => (11, 1e-5),
    };
    let weights = factors.weights();
    // fp16 has fewer bits below 2⁻¹⁴, scaled as the program scales: no weight has more.
    assert!(
        weights.iter().all(|&z| z == to_bits(z, n_bits)),
        "{precision:?}: numbers of the products"
    );
    for gene in weights.columns() {
        let largest = gene.iter().fold(0.0f64, |m, z| m.max(z.abs()));
        assert!(
            gene.mean().unwrap().abs() <= largest / f64::from(1 << n_bits),
            "centred"
        );
    }
    let mut expression = SparseRows::empty(problem.n_genes());
    for i in 0..problem.n_cells() {
        let (genes, counts) = problem.cells().row(i);
        let rounded = counts.iter().map(|&x| to_bits(x.into(), n_bits) as f32);
        expression.push_row(genes.iter().copied().zip(rounded));
    }
    let found = loss(problem, &expression, factors, &shape.objective());
    let apart = (found - recorded).abs();
    println!("  stored factors: {found:.6}, recorded {recorded:.6}, apart {apart:.1e}");
    assert!(
        apart < rounding_of_p,
        "{precision:?}: {found} for {recorded}"
    );
}

/// The loss by its definition, in double precision.
fn loss(problem: &Problem, cells: &SparseRows, factors: &Factors, objective: &Objective) -> f64 {
    let p = factors.probabilities(cells);
    let expression: Array2<f64> = cells.to_dense().mapv(f64::from);
    let predicted = p.t().dot(&expression);
    let measured: Array2<f64> = problem.voxels().to_dense().mapv(f64::from);
    let cosines = |axis: Axis| {
        let n = predicted.len_of(axis);
        let of = |i| {
            let (a, g) = (predicted.index_axis(axis, i), measured.index_axis(axis, i));
            let norm = |x: ndarray::ArrayView1<'_, f64>| x.dot(&x).sqrt().max(1e-8);
            a.dot(&g) / (norm(a) * norm(g))
        };
        (0..n).map(of).sum::<f64>() / n as f64
    };
    let density = p.sum_axis(Axis(0)) / problem.n_cells() as f64;
    let prior = problem.prior().unwrap().weights();
    let divergence: f64 = prior
        .iter()
        .zip(&density)
        .map(|(d, q)| d * (d.ln() - q.ln()))
        .sum();
    let voxels = match objective[Term::Voxel] {
        0.0 => 0.0,
        weight => weight * cosines(Axis(0)),
    };
    objective[Term::Density] * divergence - objective[Term::Gene] * cosines(Axis(1)) - voxels
}

#[test]
fn cores_refuse_fp16_and_say_what_to_take() {
    let shape = &SHAPES[0];
    let settings = shape.mirror_settings(Engine::Native, Precision::Fp16);
    let told = settings.check().unwrap_err().to_string();
    assert!(told.contains("fp16") && told.contains("bf16"), "{told}");
}
