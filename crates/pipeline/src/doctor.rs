//! Whether this machine, and the ranks that were started, can run a mapping.

use crate::device::{self, Gpus};
use crate::error::full_text;
use crate::versions::Versions;
use serde::Serialize;
use std::path::Path;
use tangram_comm::{Communicator, World};
use tangram_core::Table;
use tangram_mapper::{Precision, TorchDevice, product_form};
use tangram_store::memory::{available, for_people};
use tangram_store::{AnnDataWriter, Dataset, Existing, StoreError};

/// A check and its result.
#[derive(Debug, Serialize)]
pub struct Finding {
    /// What was checked.
    pub what: &'static str,
    /// Whether it is as a mapping needs it.
    pub good: bool,
    /// What was found, for people.
    pub told: String,
}

/// All ranks that a launcher started, or this process alone, and whether they find each other.
#[must_use]
pub fn join() -> (World, Finding) {
    match World::join() {
        Ok(world) => {
            let told = match world.size() {
                1 => "one process, no launcher".to_owned(),
                n => format!("{n} ranks find each other"),
            };
            (world, finding("ranks", true, told))
        }
        Err(told) => (World::alone(), finding("ranks", false, told)),
    }
}

/// Checks cores, libraries, GPUs, the folder for outputs and the memory of this rank. All ranks call it.
#[must_use]
pub fn examine(world: &World, scratch: &Path) -> Vec<Finding> {
    let mut findings = vec![cores(world), libraries(), gpus(world)];
    findings.extend(try_folder(scratch));
    let memory = available().map_or("unknown".to_owned(), for_people);
    findings.push(finding("memory", true, format!("{memory} free")));
    findings
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

/// What stands for the version of a library that a build does without.
const NONE: &str = "none in this build";

fn libraries() -> Finding {
    let versions = Versions::current();
    let mpi = versions.mpi.unwrap_or_else(|| NONE.to_owned());
    let old = tangram_store::hdf5_is_older_than((1, 14));
    let hdf5 = match old {
        true => {
            " (damaged files may crash it, so each is tried by another process first; HDF5_DIR chooses a newer one)"
        }
        false => "",
    };
    let told = format!(
        "libtorch {}, HDF5 {}{hdf5}, MPI {mpi}",
        versions.libtorch.as_deref().unwrap_or(NONE),
        versions.hdf5
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
            let form = form.map_or("none".to_owned(), |form| form.to_string());
            let told = format!(
                "{}; this rank would take cuda:{index}; 16-bit products: {form}",
                all.join(", ")
            );
            finding("gpus", true, told)
        }
    }
}

/// Checks that files can be written and read back, and lists files of killed runs.
fn try_folder(folder: &Path) -> Vec<Finding> {
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
            Err(error) => full_text(error),
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

fn write_and_read(path: &Path) -> Result<(), StoreError> {
    let table = Table::of_names(vec!["a".to_owned(), "b".to_owned()]);
    AnnDataWriter::create(path, Existing::Refuse, &table, &table)?.finish()?;
    match Dataset::open(path)?.n_obs() {
        2 => Ok(()),
        found => Err(StoreError::Read {
            path: path.to_owned(),
            reason: format!("{found} rows came back of 2"),
        }),
    }
}
