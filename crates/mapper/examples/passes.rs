//! What `scripts/gpu.sh` runs: trainings on random expression with 15 % non-zero entries, or on a simulated tissue. Prints lines of JSON.

use ndarray::Array1;
use ndarray_npy::NpzWriter;
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use tangram_core::{DensityPrior, Objective, SparseRows, Term, Tissue, TissueSettings};
use tangram_mapper::{
    AdamSettings, Cuda, Engine, Epoch, InitialLogits, MirrorSettings, Precision, Problem,
    TorchDevice, TorchEngine, device_seconds, free_memory, libtorch_version, product_form,
    train_adam, train_mirror,
};

const USAGE: &str = "\
passes mirror|adam DEVICE CELLSxVOXELSxGENES PASSES PRECISION[,PRECISION...]
       [--threads N] [--block MEGABYTES] [--tissue] [--target LOSS]   trains once in each precision
passes device DEVICE                                                  says what libtorch sees, and how it multiplies
passes write CELLSxVOXELSxGENES FILE.npz                              writes the simulated tissue: S, G, d
DEVICE: cpu (the program's own kernels), torch-cpu, cuda; PRECISION: f32, tf32, bf16, fp16, f64";

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match &arguments[..] {
        ["device", device] => tell_device(device),
        ["write", size, file] => write(size, Path::new(file)),
        [
            solver @ ("mirror" | "adam"),
            device,
            size,
            passes,
            precisions,
            rest @ ..,
        ] => {
            Bench::parse(solver, device, size, passes, rest).and_then(|bench| bench.run(precisions))
        }
        _ => Err(USAGE.into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("passes: {failure}");
            ExitCode::FAILURE
        }
    }
}

struct Bench {
    solver: String,
    device: String,
    size: [usize; 3],
    passes: usize,
    threads: usize,
    /// Bytes of a block of logits.
    block: Option<u64>,
    tissue: bool,
    target: Option<f64>,
}

impl Bench {
    fn parse(
        solver: &str,
        device: &str,
        size: &str,
        passes: &str,
        rest: &[&str],
    ) -> Result<Self, Failure> {
        let mut bench = Self {
            solver: solver.to_owned(),
            device: device.to_owned(),
            size: size_of_problem(size)?,
            passes: passes.parse()?,
            threads: 2,
            block: None,
            tissue: false,
            target: None,
        };
        let mut rest = rest.iter();
        while let Some(&flag) = rest.next() {
            let mut value = || rest.next().ok_or(USAGE);
            match flag {
                "--threads" => bench.threads = value()?.parse()?,
                "--block" => bench.block = Some(1_000_000 * value()?.parse::<u64>()?),
                "--target" => bench.target = Some(value()?.parse()?),
                "--tissue" => bench.tissue = true,
                _ => return Err(USAGE.into()),
            }
        }
        Ok(bench)
    }

    fn run(&self, precisions: &str) -> Result<(), Failure> {
        let engine = engine(&self.device, self.block)?;
        let problem = match self.tissue {
            true => tissue(self.size)?,
            false => random_problem(self.size)?,
        };
        for precision in precisions.split(',') {
            self.train(&problem, engine, precision)?;
        }
        Ok(())
    }

    fn train(&self, problem: &Problem, engine: Engine, name: &str) -> Result<(), Failure> {
        let precision = precision(name)?;
        let (seed, tolerance, threads) = (42, 0.0, self.threads);
        let free = || match self.device.as_str() {
            "cuda" => free_memory(0),
            _ => None,
        };
        let (free_before, begun) = (free(), Instant::now());
        let mut least_free = free_before;
        // After every pass: when, how long the device has worked, the loss.
        let mut marks: Vec<[f64; 3]> = Vec::new();
        let mut watch = |epoch: &Epoch| {
            marks.push([begun.elapsed().as_secs_f64(), device_seconds(), epoch.total]);
            least_free = least_free.min(free());
        };
        let history = match self.solver.as_str() {
            "adam" => {
                let settings = AdamSettings {
                    objective: OBJECTIVE,
                    epochs: self.passes,
                    learning_rate: 0.1,
                    seed,
                    threads,
                    precision,
                    tolerance,
                    engine,
                };
                train_adam(problem, &settings, InitialLogits::Random, &mut watch)?
                    .history()
                    .to_vec()
            }
            _ => {
                let settings = MirrorSettings {
                    objective: OBJECTIVE,
                    passes: self.passes,
                    temperature: None,
                    batches: 1,
                    batch_passes: None,
                    seed,
                    threads,
                    precision,
                    tolerance,
                    engine,
                };
                train_mirror(problem, &settings, None, &mut watch)?
                    .history()
                    .to_vec()
            }
        };
        let between = |which: usize| {
            let mut spent: Vec<f64> = marks
                .windows(2)
                .map(|w| w[1][which] - w[0][which])
                .collect();
            spent.sort_by(f64::total_cmp);
            spent
        };
        let (whole, on_device) = (between(0), between(1));
        let losses = || history.iter().map(|epoch| epoch.total);
        let reached = self
            .target
            .and_then(|target| marks.iter().position(|mark| mark[2] <= target));
        let product = match engine {
            Engine::Native => None,
            Engine::Torch(torch) => {
                product_form(torch.device, precision).map(|form| form.to_string())
            }
        };
        // One line at once: whoever reads has it even if the next precision is cut.
        println!(
            "{}",
            json!({
                "solver": self.solver,
                "precision": name,
                "passes": self.passes,
                "median_s": whole.get(whole.len() / 2),
                "least_s": whole.first(),
                "device_s": on_device.get(on_device.len() / 2),
                "first_s": marks.first().map(|mark| mark[0]),
                "loss": losses().next_back(),
                "least_loss": losses().fold(f64::INFINITY, f64::min),
                "bits": format!("{:016x}", bits(losses())),
                "gpu_bytes": free_before.zip(least_free).map(|(before, least)| before - least),
                "product": product,
                "reached_pass": reached.map(|at| at + 1),
                "reached_s": reached.map(|at| marks[at][0]),
            })
        );
        Ok(())
    }
}

const OBJECTIVE: Objective = Objective::NONE
    .with(Term::Gene, 1.0)
    .with(Term::Density, 1.0);

/// A fingerprint of numbers to the last bit (FNV-1a).
fn bits(numbers: impl Iterator<Item = f64>) -> u64 {
    numbers
        .flat_map(|x| x.to_bits().to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        })
}

fn size_of_problem(text: &str) -> Result<[usize; 3], Failure> {
    let size: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    Ok(size?.try_into().map_err(|_| USAGE)?)
}

fn precision(name: &str) -> Result<Precision, Failure> {
    match name {
        "f32" => Ok(Precision::F32),
        "tf32" => Ok(Precision::Tf32),
        "bf16" => Ok(Precision::Bf16),
        "fp16" => Ok(Precision::Fp16),
        "f64" => Ok(Precision::F64),
        _ => Err(USAGE.into()),
    }
}

fn engine(device: &str, block: Option<u64>) -> Result<Engine, Failure> {
    let torch = |device| {
        Engine::Torch(TorchEngine {
            device,
            memory: None,
            block,
        })
    };
    match device {
        "cpu" => Ok(Engine::Native),
        "torch-cpu" => Ok(torch(TorchDevice::Cores)),
        "cuda" => {
            // Loads libtorch's CUDA part, before anything else is asked of libtorch.
            let cuda = Cuda::found();
            match (cuda.gpus.is_empty(), cuda.absent) {
                (false, _) => Ok(torch(TorchDevice::Cuda(0))),
                (true, Some(why)) => {
                    Err(format!("libtorch's CUDA part is not loaded: {why}").into())
                }
                (true, None) => Err("libtorch's CUDA part is loaded, but sees no GPU".into()),
            }
        }
        _ => Err(USAGE.into()),
    }
}

fn tell_device(device: &str) -> Result<(), Failure> {
    let cuda = Cuda::found();
    let seen = match &cuda.absent {
        Some(why) => format!("not loaded ({why})"),
        None => format!("loaded, sees {} GPUs", cuda.gpus.len()),
    };
    let mut told = json!({"libtorch": libtorch_version(), "its CUDA part": seen});
    if let Engine::Torch(torch) = engine(device, None)? {
        for (name, precision) in [("bf16", Precision::Bf16), ("fp16", Precision::Fp16)] {
            let form = product_form(torch.device, precision).map(|form| form.to_string());
            told[format!("products of {name}")] = form.into();
        }
    }
    println!("{told}");
    Ok(())
}

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

fn random_problem([cells, voxels, genes]: [usize; 3]) -> Result<Problem, Failure> {
    let prior = DensityPrior::uniform(voxels)?;
    let (cells, voxels) = (random(cells, genes, 0.15, 1), random(voxels, genes, 0.9, 2));
    Ok(Problem::new(cells, voxels, Some(prior))?)
}

/// Cells of a simulated tissue, and voxels of one cell each.
fn tissue([n_cells, n_voxels, n_genes]: [usize; 3]) -> Result<Problem, Failure> {
    let tissue = Tissue::new(TissueSettings {
        n_cells,
        n_voxels,
        n_genes: n_genes + 50,
        n_panel_genes: n_genes,
        ..TissueSettings::default()
    })?;
    let cells = tissue.cells(0..n_cells).select_columns(tissue.panel());
    let prior = DensityPrior::uniform(n_voxels)?;
    Ok(Problem::new(
        cells,
        tissue.voxels(0..n_voxels),
        Some(prior),
    )?)
}

fn write(size: &str, file: &Path) -> Result<(), Failure> {
    let problem = tissue(size_of_problem(size)?)?;
    let mut npz = NpzWriter::new(File::create(file)?);
    npz.add_array("S", &problem.cells().to_dense())?;
    npz.add_array("G", &problem.voxels().to_dense())?;
    let prior = problem.prior().ok_or("no prior")?.weights();
    npz.add_array("d", &Array1::from(prior.to_vec()))?;
    npz.finish()?;
    Ok(())
}
