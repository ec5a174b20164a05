//! The device of a mapping: the cores, or one GPU for each rank.

use crate::choices::{DeviceChoice, PrecisionChoice};
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::ranks::{Ranks, agreed};
use crate::settings::MapSettings;
use std::collections::HashMap;
use tangram_comm::{Communicator, Reduce, World};
use tangram_mapper::{
    Cuda, Engine, Gpu, Precision, TorchDevice, TorchEngine, libtorch_version, product_form,
};
use tangram_store::memory::for_people;

/// A chosen device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// For the mapper.
    pub engine: Engine,
    /// Its name, such as `cuda:0 NVIDIA H100 80GB HBM3`.
    pub name: String,
}

impl Device {
    fn cores() -> Self {
        Self {
            engine: Engine::Native,
            name: "cores".to_owned(),
        }
    }
}

/// Chooses the device of every rank; all ranks must call it.
///
/// # Errors
/// If GPUs are asked for, and a rank has none of its own; if the device cannot multiply in the precision that was asked for.
pub fn choose(settings: &MapSettings, ranks: &Ranks, listener: &dyn Listener) -> Result<Device> {
    let device = find(settings, ranks, listener)?;
    if device.engine == Engine::Native {
        check_on_cores(settings.precision)?;
    }
    if device.engine == Engine::Native {
        let given = [
            (settings.gpu_memory, "--gpu-memory"),
            (settings.device_block, "--device-block"),
        ];
        for (_, flag) in given.iter().filter(|(value, _)| value.is_some()) {
            listener.warn(format_args!(
                "{flag} does nothing: no device is used (--device cuda or auto takes one)"
            ));
        }
    }
    Ok(device)
}

/// Refuses what the kernels for cores do not multiply.
fn check_on_cores(precision: PrecisionChoice) -> Result<()> {
    let text = match precision {
        PrecisionChoice::Fp16 => {
            "--precision fp16: the kernels for cores do not multiply fp16; take f32 or bf16, or a GPU (--device cuda)"
        }
        PrecisionChoice::Bf16 if libtorch_version().is_none() => {
            "--precision bf16: libtorch multiplies bf16 on cores, and this build has none; take f32, or a build with libtorch"
        }
        _ => return Ok(()),
    };
    Err(PipelineError::Usage(text.to_owned()))
}

/// The precision of a mapping's products and, on a device, the operation of libtorch that multiplies.
#[must_use]
pub fn products(settings: &MapSettings, engine: Engine) -> String {
    let precision = settings.precision.on(engine);
    let name = match precision {
        Precision::F32 => "f32",
        Precision::Tf32 => "tf32",
        Precision::Bf16 => "bf16",
        Precision::Fp16 => "fp16",
        Precision::F64 => "f64",
    };
    match engine {
        Engine::Native => name.to_owned(),
        Engine::Torch(torch) => match product_form(torch.device, precision) {
            Some(form) => format!("{name}, {form}"),
            None => name.to_owned(),
        },
    }
}

fn find(settings: &MapSettings, ranks: &Ranks, listener: &dyn Listener) -> Result<Device> {
    let torch = |device| {
        Engine::Torch(TorchEngine {
            device,
            memory: settings.gpu_memory.map(|gb| (gb * 1e9) as u64),
            block: settings.device_block.map(|mb| (mb * 1e6) as u64),
        })
    };
    let of_gpu = |(index, gpu): (usize, Gpu)| Device {
        engine: torch(TorchDevice::Cuda(index)),
        name: name(index, &gpu),
    };
    match settings.device {
        DeviceChoice::Cpu => Ok(Device::cores()),
        DeviceChoice::TorchCpu if libtorch_version().is_none() => Err(PipelineError::Usage(
            format!("--device torch-cpu: {NO_LIBTORCH}; or take --device cpu"),
        )),
        DeviceChoice::TorchCpu => Ok(Device {
            engine: torch(TorchDevice::Cores),
            name: "cores, by libtorch".to_owned(),
        }),
        DeviceChoice::Cuda => {
            let own = Gpus::of(ranks.world()).own;
            let own = own.map_err(|why| usage(&why));
            let own = agreed(ranks, own)?;
            let shared = shared(ranks.world(), &identity(own.0, &own.1));
            agreed(ranks, shared.map_or(Ok(()), |why| Err(usage(&why))))?;
            listener.say(format_args!("works on {}", name(own.0, &own.1)))?;
            Ok(of_gpu(own))
        }
        DeviceChoice::Auto => {
            let own = Gpus::of(ranks.world()).own;
            let why = match &own {
                _ if settings.reduce == Reduce::Exact => {
                    Some("exact sums are for cores".to_owned())
                }
                Err(why) => Some(why.clone()),
                Ok(_) => None,
            };
            let all = ranks.all_agree(why.is_none());
            let shared = match (&own, all) {
                (Ok((index, gpu)), true) => shared(ranks.world(), &identity(*index, gpu)),
                _ => None,
            };
            match (own, all, &shared) {
                (Ok(own), true, None) => {
                    listener.say(format_args!("works on {}", name(own.0, &own.1)))?;
                    Ok(of_gpu(own))
                }
                _ => {
                    let why = why.or(shared);
                    let why = why.unwrap_or_else(|| "another rank has no GPU".to_owned());
                    listener.say(format_args!("works on cores: {why}"))?;
                    Ok(Device::cores())
                }
            }
        }
    }
}

fn usage(why: &str) -> PipelineError {
    let text = format!("--device cuda: {why}; or take --device cpu, or auto");
    PipelineError::Usage(text)
}

/// The GPUs visible to a rank, and the one that it uses.
#[derive(Debug)]
pub struct Gpus {
    /// All that libtorch finds.
    pub cuda: Cuda,
    /// Index and properties of the GPU to use, or why there is none and what to do.
    pub own: Result<(usize, Gpu), String>,
}

impl Gpus {
    /// Finds them; all ranks must call it.
    pub fn of(world: &World) -> Self {
        let (rank, on_node) = world.on_this_node();
        let cuda = Cuda::found();
        let own = why_none(&cuda).map_or_else(|| place(rank, on_node, cuda.gpus.len()), Err);
        let own = own.map(|index| (index, cuda.gpus[index].clone()));
        Self { cuda, own }
    }
}

/// Why a build without libtorch has no devices.
const NO_LIBTORCH: &str =
    "this build of tangram has no libtorch, which works on devices; install one that has it";

/// Why libtorch finds no GPU.
fn why_none(cuda: &Cuda) -> Option<String> {
    let Some(torch) = libtorch_version() else {
        return Some(NO_LIBTORCH.to_owned());
    };
    match &cuda.absent {
        Some(reason) => Some(format!(
            "libtorch {torch} is one without CUDA ({reason}); build with a libtorch that has it, by LIBTORCH or LIBTORCH_USE_PYTORCH=1"
        )),
        None if cuda.gpus.is_empty() => Some(format!(
            "libtorch {torch} has CUDA but sees no GPU; look at nvidia-smi, CUDA_VISIBLE_DEVICES, and what the job asked for"
        )),
        None => None,
    }
}

/// The index of a rank's GPU: the only visible one, or the one numbered as the rank on its node.
fn place(rank: usize, on_node: usize, n_gpus: usize) -> Result<usize, String> {
    match n_gpus {
        // `shared` checks afterwards whether other ranks see the same one.
        1 => Ok(0),
        n if on_node <= n => Ok(rank),
        n => Err(format!(
            "{on_node} ranks of a node share {n} GPUs, and each needs one of its own; start {n} ranks a node"
        )),
    }
}

/// The name of a GPU.
#[must_use]
pub fn name(index: usize, gpu: &Gpu) -> String {
    match &gpu.name {
        Some(name) => format!("cuda:{index} {name}"),
        None => format!("cuda:{index}"),
    }
}

/// The name of a GPU with its memory.
#[must_use]
pub fn name_and_memory(index: usize, gpu: &Gpu) -> String {
    let memory = gpu.memory.map(for_people);
    memory.map_or(name(index, gpu), |m| format!("{} ({m})", name(index, gpu)))
}

/// An identifier of this GPU that is unique across nodes.
#[must_use]
pub fn identity(index: usize, gpu: &Gpu) -> String {
    if let Some(uuid) = &gpu.uuid {
        return uuid.clone();
    }
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let visible = std::env::var("CUDA_VISIBLE_DEVICES").unwrap_or_default();
    let number = visible.split(',').nth(index).filter(|n| !n.is_empty());
    let number = number.map_or_else(|| index.to_string(), str::to_owned);
    format!("{} {number}", node.trim())
}

/// The message if two ranks use the same GPU, the same on every rank; all ranks must call it.
pub fn shared(world: &impl Communicator, identity: &str) -> Option<String> {
    let mine: Vec<f64> = identity.bytes().map(f64::from).collect();
    let all = world.gather(&mine);
    let mut pair = duplicate(&all).map_or(Vec::new(), |(a, b)| vec![a as f64, b as f64]);
    world.broadcast(&mut pair);
    match pair[..] {
        [a, b] => Some(format!(
            "ranks {a} and {b} see the same GPU; give each its own, such as by srun --gpus-per-task=1, or start fewer ranks a node"
        )),
        _ => None,
    }
}

/// The first two ranks with the same identifier.
fn duplicate(all: &[Vec<f64>]) -> Option<(usize, usize)> {
    let mut takers = HashMap::new();
    all.iter().enumerate().find_map(|(rank, identity)| {
        let bytes: Vec<u8> = identity.iter().map(|&b| b as u8).collect();
        takers.insert(bytes, rank).map(|earlier| (earlier, rank))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_comm::Threads;

    const UNKNOWN: Gpu = Gpu {
        name: None,
        uuid: None,
        memory: None,
    };

    #[test]
    fn every_rank_of_a_node_takes_its_own() {
        assert_eq!(place(0, 1, 4), Ok(0));
        assert_eq!(place(3, 4, 4), Ok(3));
        assert_eq!(place(5, 8, 1), Ok(0), "a launcher shows each its own");
        assert!(place(1, 4, 2).unwrap_err().contains("start 2 ranks a node"));
    }

    #[test]
    fn ranks_that_see_the_same_gpu_are_told() {
        let told = |identities: [&str; 3]| -> Vec<Option<String>> {
            std::thread::scope(|scope| {
                let ranks = Threads::ranks(3).into_iter().zip(identities);
                let started: Vec<_> = ranks
                    .map(|(world, identity)| scope.spawn(move || shared(&world, identity)))
                    .collect();
                started.into_iter().map(|r| r.join().unwrap()).collect()
            })
        };
        assert_eq!(told(["a", "b", "c"]), [None, None, None]);
        for told in told(["a", "b", "a"]) {
            assert!(told.unwrap().contains("ranks 0 and 2"));
        }
    }

    #[test]
    fn a_gpu_is_told_by_what_is_known() {
        let known = Gpu {
            name: Some("H100".to_owned()),
            uuid: Some("12ab".to_owned()),
            memory: Some(80 << 30),
        };
        assert_eq!(name_and_memory(1, &known), "cuda:1 H100 (80.0 GiB)");
        assert_eq!(identity(1, &known), "12ab");
        assert_eq!(name_and_memory(0, &UNKNOWN), "cuda:0");
        assert_ne!(identity(0, &UNKNOWN), identity(1, &UNKNOWN));
    }
}
