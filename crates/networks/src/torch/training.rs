//! The training loop, its state, and the network's file.

use crate::about::{About, Beginning, Format, LearnedPhotographs};
use crate::settings::{Task, TrainSettings, TrainedPart};
use crate::torch::adam::{Adam, STATE};
use crate::torch::held_out::{measure, measure_photographs};
use crate::torch::layers::Mode;
use crate::torch::network::{Batch, Network};
use crate::torch::parameters::Parameters;
use crate::torch::shards::{Shards, agreed};
use crate::torch::weights::{WeightsFile, write_weights};
use crate::train::{Begin, ComputeDevice, Next, StepDone, TrainOrder, Watch};
use crate::{NetworkError, Share};
use std::path::Path;
use std::time::Instant;
use tangram_comm::{Communicator, Grid};
use tangram_store::{Existing, fingerprint};
use tch::Device;

/// Beginning of the names of an encoder's tensors in the networks here.
const ENCODER: &str = "encoder.";
/// Beginnings of the names of classifiers, which torchvision's files have and these networks do not.
const CLASSIFIERS: [&str; 2] = ["classifier.", "fc."];
/// Part of the steps over which the learning rate rises.
const WARM_UP: f64 = 0.05;
/// Part of the learning rate that is left at the end.
const LEAST_RATE: f64 = 0.02;

/// A network whose training has ended.
#[derive(Debug)]
pub struct Trained {
    parameters: Parameters,
    /// What its file will say.
    pub about: About,
}

impl Trained {
    /// Writes the network as a file of safetensors.
    ///
    /// # Errors
    /// [`NetworkError::Store`] if it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), NetworkError> {
        let all = self.parameters.all().iter();
        let all = all.map(|p| (p.name.clone(), &p.value));
        write_weights(path, Existing::Refuse, all, &self.about.to_json())
    }
}

/// Where libtorch computes.
pub(crate) fn torch_device(device: ComputeDevice) -> Device {
    match device {
        ComputeDevice::Cores { threads } => {
            tch::set_num_threads(threads as i32);
            Device::Cpu
        }
        ComputeDevice::Cuda(index) => Device::Cuda(index),
    }
}

/// Trains a network; see [`train`](crate::train()).
pub(crate) fn train<C: Communicator>(
    order: &TrainOrder<'_>,
    ranks: &Grid<C>,
    watch: Watch<'_>,
) -> Result<Trained, NetworkError> {
    let (settings, planes) = (order.settings, order.planes);
    settings.check(order.weights.is_some())?;
    let shards = Shards::new(settings, ranks)?;
    let device = torch_device(order.device);
    let mut parameters = Parameters::new(settings.seed, device);
    let n_classes = planes.class_names().len();
    let network = Network::new(&mut parameters, &settings.network, n_classes);
    let beginning = agreed(ranks, begin(order.weights, &parameters))?;
    if settings.part == TrainedPart::LastConv {
        freeze_all_but_last(&mut parameters);
    }
    let mut about = About {
        format: Format::Current,
        settings: settings.clone(),
        classes: planes.class_names().to_vec(),
        extent_um: planes.blocks().extent_um(),
        atlas_sha256: order.atlas_sha256.to_owned(),
        saw_template: planes.has_template() && settings.task() != Task::Plane,
        beginning,
        threads: match order.device {
            ComputeDevice::Cores { threads } => threads,
            ComputeDevice::Cuda(_) => 0,
        },
        losses: Vec::new(),
        held_out: None,
        photographs: planes.labelled().map(|labelled| LearnedPhotographs {
            sha256: labelled.sha256().to_owned(),
            n_training: labelled.n_training(),
            training_sha256: labelled.training_sha256(),
            n_between: labelled.n_between(),
            held_out: labelled.held_out_names(),
        }),
        held_out_photographs: None,
    };
    let mut adam = Adam::new(&parameters);
    if order.begin == Begin::Resume {
        let losses = resume(order.state, &about, &parameters, &mut adam);
        about.losses = agreed(ranks, losses)?;
        let n = about.losses.len() as f64;
        let mut ends = [n, -n];
        ranks.max_of_all(&mut ends);
        if ends[0] != -ends[1] {
            let reason = "the ranks read different states; it must be on a file system that all of them share";
            return Err(NetworkError::weights(order.state, reason));
        }
    }
    let mode = match settings.part {
        TrainedPart::Full => Mode::Training,
        TrainedPart::LastConv => Mode::FrozenEncoder,
    };
    let mut saved = about.losses.len();
    for step in about.losses.len()..settings.steps {
        let begun = Instant::now();
        let first = (step * settings.batch) as u64;
        let value = shards.gradient(&network, &parameters, mode, first, |images| {
            Batch::make(planes, settings, images, Share::Training, device)
        })?;
        if !value.is_finite() {
            return Err(NetworkError::Diverged { step: step + 1 });
        }
        adam.step(rate(settings, step));
        about.losses.push(value);
        let seconds = begun.elapsed().as_secs_f64();
        let done = step + 1;
        let next = watch(StepDone {
            step: done,
            loss: value,
            seconds,
        });
        let next = agreed(ranks, next)?;
        // What one rank is asked all do.
        let stops = !ranks.all_agree(next == Next::GoOn);
        let due = done - saved >= order.checkpoint_every || stops;
        if due && done < settings.steps {
            let written = match ranks.is_first() {
                true => save(order.state, &about, &parameters, &adam),
                false => Ok(()),
            };
            agreed(ranks, written)?;
            saved = done;
        }
        if stops && done < settings.steps {
            return Err(NetworkError::Stopped {
                step: done,
                path: order.state.to_owned(),
            });
        }
    }
    about.held_out = Some(measure(&network, planes, settings, device)?);
    about.held_out_photographs = planes.labelled().and_then(|labelled| {
        measure_photographs(&network, labelled, planes.class_names(), settings, device)
    });
    Ok(Trained { parameters, about })
}

/// Reads the encoder's weights, if there is a file.
fn begin(weights: Option<&Path>, parameters: &Parameters) -> Result<Beginning, NetworkError> {
    let Some(path) = weights else {
        return Ok(Beginning::Random);
    };
    let file = WeightsFile::read(path)?;
    let n_tensors = file.load(parameters, "", ENCODER, &CLASSIFIERS)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Beginning::EncoderFile {
        name: name.into_owned(),
        sha256: fingerprint(path)?,
        n_tensors,
    })
}

fn freeze_all_but_last(parameters: &mut Parameters) {
    let is_conv = |p: &&crate::torch::parameters::Parameter| {
        p.name.starts_with(ENCODER) && p.value.dim() == 4 && !p.name.contains("downsample")
    };
    let last = parameters.all().iter().rfind(is_conv);
    let last = last.map(|p| p.name.clone());
    parameters.freeze(|name| name.starts_with(ENCODER) && Some(name) != last.as_deref());
}

/// Rises linearly, then falls as a cosine.
fn rate(settings: &TrainSettings, step: usize) -> f64 {
    let part = (step as f64 + 0.5) / settings.steps as f64;
    let factor = match part < WARM_UP {
        true => part / WARM_UP,
        false => {
            let fallen = (part - WARM_UP) / (1.0 - WARM_UP);
            LEAST_RATE + (1.0 - LEAST_RATE) * (0.5 + 0.5 * (std::f64::consts::PI * fallen).cos())
        }
    };
    settings.learning_rate * factor
}

fn save(
    path: &Path,
    about: &About,
    parameters: &Parameters,
    adam: &Adam,
) -> Result<(), NetworkError> {
    let weights = parameters.all().iter().map(|p| (p.name.clone(), &p.value));
    let all = weights.chain(adam.state());
    write_weights(path, Existing::Replace, all, &about.to_json())
}

/// Takes up a saved state.
///
/// # Returns
/// The losses so far.
fn resume(
    path: &Path,
    about: &About,
    parameters: &Parameters,
    adam: &mut Adam,
) -> Result<Vec<f64>, NetworkError> {
    let file = WeightsFile::read(path)?;
    let then = About::parse(file.about.as_deref(), path)?;
    then.must_continue(about, path)?;
    file.load(parameters, "", "", &[STATE])?;
    if !adam.restore(then.losses.len(), |name| file.tensor(name)) {
        let reason = "the optimiser's state is not whole; remove the file and train again";
        return Err(NetworkError::weights(path, reason));
    }
    Ok(then.losses)
}

/// A network read from its file.
#[derive(Debug)]
pub struct Loaded {
    /// The network.
    pub network: Network,
    /// What its file says.
    pub about: About,
    /// Where it computes.
    pub device: Device,
}

impl Loaded {
    /// Reads a network that [`Trained::write`] wrote.
    ///
    /// # Errors
    /// [`NetworkError::Weights`] if it is none, or its training has not ended.
    pub fn read(path: &Path, device: ComputeDevice) -> Result<Self, NetworkError> {
        let file = WeightsFile::read(path)?;
        let about = About::parse(file.about.as_deref(), path)?;
        if about.held_out.is_none() {
            let reason =
                "this is the state of a training that has not ended; finish it with --resume";
            return Err(NetworkError::weights(path, reason));
        }
        let device = torch_device(device);
        let mut parameters = Parameters::new(0, device);
        let network = Network::new(
            &mut parameters,
            &about.settings.network,
            about.classes.len(),
        );
        file.load(&parameters, "", "", &[])?;
        Ok(Self {
            network,
            about,
            device,
        })
    }
}
