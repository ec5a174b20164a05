//! `tangram doctor`: checks that this machine, and the ranks that were started, can run a mapping.

use crate::plain::Plain;
use crate::report::Report;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_comm::{Communicator, World};
use tangram_core::Table;
use tangram_mapper::{Precision, TorchDevice, product_form};
use tangram_pipeline::device::{self, Gpus};
use tangram_pipeline::versions::Versions;
use tangram_store::memory::{available, for_people};
use tangram_store::{AnnDataWriter, Dataset, Existing};

const EXAMPLES: &str = "\
Examples:
  tangram doctor --scratch /scratch/$USER
  srun --mpi=pmix tangram doctor            do the ranks find each other?";

/// Flags of `tangram doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// A folder in which runs will be written
    #[arg(long, value_name = "DIR", default_value = ".")]
    scratch: PathBuf,
}

/// A check and its result.
#[derive(Debug, Serialize)]
struct Finding {
    what: &'static str,
    good: bool,
    told: String,
}

/// Runs all checks; the first rank prints the findings.
///
/// # Errors
/// [`CommandError::Unwell`](crate::error::CommandError::Unwell) if a check fails.
pub fn run(args: &DoctorArgs, report: Report) -> Result<()> {
    let (world, mut findings) = match World::join() {
        Ok(world) => {
            let told = match world.size() {
                1 => "one process, no launcher".to_owned(),
                n => format!("{n} ranks find each other"),
            };
            (world, vec![finding("ranks", true, told)])
        }
        Err(told) => (World::alone(), vec![finding("ranks", false, told)]),
    };
    findings.push(cores(&world));
    findings.push(libraries());
    findings.push(gpus(&world));
    findings.extend(scratch(&args.scratch));
    let memory = available().map_or("unknown".to_owned(), for_people);
    findings.push(finding("memory", true, format!("{memory} free")));
    // Failed checks of all ranks.
    let mut bad = [findings.iter().filter(|f| !f.good).count() as f64];
    world.sum(&mut bad);
    if world.rank() == 0 {
        for f in &findings {
            let mark = if f.good { "ok " } else { "BAD" };
            report.say(format_args!("{mark}  {:<12} {}", f.what, f.told))?;
        }
        report.summary(&findings)?;
    } else {
        for f in findings.iter().filter(|f| !f.good) {
            eprintln!(
                "rank {}: BAD  {:<12} {}",
                world.rank(),
                f.what,
                Plain(&f.told)
            );
        }
    }
    world.leave();
    match bad[0] {
        0.0 => Ok(()),
        n => Err(crate::error::CommandError::Unwell { n: n as usize }.into()),
    }
}

fn finding(what: &'static str, good: bool, told: impl Into<String>) -> Finding {
    let told = told.into();
    Finding { what, good, told }
}

/// Checks that each rank of a node has a core.
fn cores(world: &World) -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, Into::into);
    let (_, on_node) = world.on_this_node();
    let told = format!("{on_node} on this node, which lets this one use {cores} cores");
    match on_node > cores {
        true => finding(
            "cores",
            false,
            format!("{told}: ranks share cores; start fewer, or bind them to other cores"),
        ),
        false => finding("cores", true, told),
    }
}

fn libraries() -> Finding {
    let versions = Versions::current();
    let mpi = versions
        .mpi
        .unwrap_or_else(|| "none in this build".to_owned());
    let old = tangram_store::hdf5_is_older_than((1, 14));
    let hdf5 = match old {
        true => {
            " (damaged files may crash it, so each is tried by another process first; HDF5_DIR chooses a newer one)"
        }
        false => "",
    };
    let told = format!(
        "libtorch {}, HDF5 {}{hdf5}, MPI {mpi}",
        versions.libtorch, versions.hdf5
    );
    finding("libraries", true, told)
}

/// Checks which GPU this rank would use, and that no other rank uses it; without GPUs a mapping runs on the cores.
fn gpus(world: &World) -> Finding {
    let Gpus { cuda, own } = Gpus::of(world);
    // A collective: ranks without a GPU take part, too.
    let nobody = format!("rank {} has none", world.rank());
    let taken = match &own {
        Ok((index, gpu)) => device::identity(*index, gpu),
        Err(_) => nobody,
    };
    let shared = device::shared(world, &taken);
    let all = cuda.gpus.iter().enumerate();
    let all: Vec<String> = all
        .map(|(i, gpu)| device::name_and_memory(i, gpu))
        .collect();
    match (own, shared) {
        (Err(why), _) => finding("gpus", cuda.gpus.is_empty(), why),
        (Ok(_), Some(why)) => finding("gpus", false, format!("{}: {why}", all.join(", "))),
        (Ok((index, _)), None) => {
            let form = product_form(TorchDevice::Cuda(index), Precision::Fp16);
            let told = format!(
                "{}; this rank would take cuda:{index}; 16-bit products: {form}",
                all.join(", ")
            );
            finding("gpus", true, told)
        }
    }
}

/// Checks that files can be written and read back, and lists files of killed runs.
fn scratch(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ending in ["h5ad", "zarr"] {
        let name = format!(".tangram-doctor-{}.{ending}", std::process::id());
        let path = folder.join(name);
        let tried = write_and_read(&path);
        let _ = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        let told = match &tried {
            Ok(()) => format!("{}: .{ending} written and read back", folder.display()),
            Err(error) => format!("{error:#}"),
        };
        findings.push(finding("scratch", tried.is_ok(), told));
    }
    let stale: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with('.') && name.ends_with(".partial"))
        .collect();
    let told = match stale.len() {
        0 => "no files of killed runs".to_owned(),
        _ => format!(
            "left by runs that are at work or were killed: {}",
            stale.join(", ")
        ),
    };
    findings.push(finding("leftovers", true, told));
    findings
}

fn write_and_read(path: &Path) -> Result<()> {
    let table = Table::of_names(vec!["a".to_owned(), "b".to_owned()]);
    AnnDataWriter::create(path, Existing::Refuse, &table, &table)?.finish()?;
    let found = Dataset::open(path)?.n_obs();
    anyhow::ensure!(
        found == 2,
        "{}: {found} rows came back of 2",
        path.display()
    );
    Ok(())
}
