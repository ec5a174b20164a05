//! Seconds per epoch of Adam on random sparse expression: `epoch CELLS VOXELS GENES EPOCHS PRECISION [DENSITY] [THREADS]`.

use tangram_core::{DensityPrior, Objective, SparseRows};
use tangram_mapper::{AdamSettings, Engine, InitialLogits, Precision, Problem, train_adam};

/// A matrix with about `density` of its entries non-zero, from a linear congruential generator.
fn random(rows: usize, columns: usize, density: f64, mut seed: u64) -> SparseRows {
    let mut unit = move || {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as f64 / (1u64 << 31) as f64
    };
    let mut out = SparseRows::empty(columns);
    for _ in 0..rows {
        let mut entries = Vec::new();
        for column in 0..columns as u32 {
            if unit() < density {
                entries.push((column, 1.0 + 9.0 * unit() as f32));
            }
        }
        out.push_row(entries);
    }
    out
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default: usize| {
        arguments
            .get(i)
            .map_or(default, |a| a.parse().expect("a number"))
    };
    let (cells, voxels, genes) = (number(0, 20_000), number(1, 2_000), number(2, 250));
    let precision = match arguments.get(4).map(String::as_str) {
        Some("bf16") => Precision::Bf16,
        Some("f64") => Precision::F64,
        _ => Precision::F32,
    };
    let density = arguments
        .get(5)
        .map_or(0.15, |a| a.parse().expect("a share"));
    let problem = Problem::new(
        random(cells, genes, density, 1),
        random(voxels, genes, 0.9, 2),
        Some(DensityPrior::uniform(voxels).expect("voxels")),
    )
    .expect("shapes fit");
    let settings = AdamSettings {
        objective: Objective {
            gene: 1.0,
            voxel: 0.0,
            density: 1.0,
            entropy: 0.0,
        },
        epochs: number(3, 10),
        learning_rate: 0.1,
        seed: 42,
        threads: number(6, 2),
        precision,
        tolerance: 0.0,
        engine: Engine::Native,
    };
    let trained =
        train_adam(&problem, &settings, InitialLogits::Random, &mut |_| ()).expect("trains");
    let times: Vec<f64> = trained
        .history()
        .windows(2)
        .map(|w| w[1].elapsed_s - w[0].elapsed_s)
        .collect();
    let mut sorted = times.clone();
    sorted.sort_by(f64::total_cmp);
    println!(
        "{cells} x {voxels} x {genes} {precision:?} density {density}: median {:.4} least {:.4} s/epoch; loss {:.5}",
        sorted[sorted.len() / 2],
        sorted[0],
        trained.history().last().expect("epochs").total
    );
}
