//! Seconds per pass, or epoch, on random expression of which 15 % is not zero; `scripts/gpu.sh` runs it.

use tangram_core::{DensityPrior, Objective, SparseRows, Term};
use tangram_mapper::{
    AdamSettings, Cuda, Engine, InitialLogits, MirrorSettings, Precision, Problem, TorchDevice,
    TorchEngine, train_adam, train_mirror,
};

const USAGE: &str = "passes mirror|adam cpu|torch-cpu|cuda CELLSxVOXELSxGENES PASSES f32|tf32|bf16|f64 [THREADS [MEGABYTES OF A BLOCK]]";

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
    let [solver, device, size, passes, precision, rest @ ..] = &arguments[..] else {
        eprintln!("{USAGE}");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<usize>().expect(USAGE);
    let size: Vec<usize> = size.split('x').map(number).collect();
    let [cells, voxels, genes] = size[..] else {
        panic!("{USAGE}")
    };
    let threads = rest.first().map_or(2, |t| number(t));
    let torch = |device| {
        Engine::Torch(TorchEngine {
            device,
            memory: None,
            block: rest.get(1).map(|mb| 1_000_000 * number(mb) as u64),
        })
    };
    let engine = match device.as_str() {
        "cpu" => Engine::Native,
        "torch-cpu" => torch(TorchDevice::Cores),
        "cuda" => {
            let cuda = Cuda::found();
            assert!(!cuda.gpus.is_empty(), "no GPU: {:?}", cuda.absent);
            torch(TorchDevice::Cuda(0))
        }
        _ => panic!("{USAGE}"),
    };
    let precision = match precision.as_str() {
        "f32" => Precision::F32,
        "tf32" => Precision::Tf32,
        "bf16" => Precision::Bf16,
        "f64" => Precision::F64,
        _ => panic!("{USAGE}"),
    };
    let problem = Problem::new(
        random(cells, genes, 0.15, 1),
        random(voxels, genes, 0.9, 2),
        Some(DensityPrior::uniform(voxels).expect("voxels")),
    )
    .expect("shapes fit");
    let objective = Objective::NONE
        .with(Term::Gene, 1.0)
        .with(Term::Density, 1.0);
    let (passes, seed, tolerance) = (number(passes), 42, 0.0);
    let history = match solver.as_str() {
        "adam" => {
            let settings = AdamSettings {
                objective,
                epochs: passes,
                learning_rate: 0.1,
                seed,
                threads,
                precision,
                tolerance,
                engine,
            };
            let trained = train_adam(&problem, &settings, InitialLogits::Random, &mut |_| ());
            trained.expect("trains").history().to_vec()
        }
        "mirror" => {
            let settings = MirrorSettings {
                objective,
                passes,
                temperature: None,
                first_part: 1,
                part_passes: None,
                seed,
                threads,
                precision,
                tolerance,
                engine,
            };
            let mirrored = train_mirror(&problem, &settings, None, &mut |_| ());
            mirrored.expect("trains").history().to_vec()
        }
        _ => panic!("{USAGE}"),
    };
    let mut times: Vec<f64> = history
        .windows(2)
        .map(|w| w[1].elapsed_s - w[0].elapsed_s)
        .collect();
    times.sort_by(f64::total_cmp);
    let loss = history.last().expect("passes").total;
    println!(
        "{{\"median_s\": {:.6}, \"least_s\": {:.6}, \"loss\": {loss:.6}}}",
        times[times.len() / 2],
        times[0]
    );
}
