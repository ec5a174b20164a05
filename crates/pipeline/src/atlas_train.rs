//! Training of the networks that look at sections, from an atlas to a folder with the network.

use crate::device::Gpus;
use crate::error::{PipelineError, Result};
use crate::listener::{Listener, Muted};
use crate::lock::Lock;
use crate::ranks::{Ranks, agreed, alike, on_first};
use crate::run_directory::write;
use crate::versions::Versions;
use crate::wording::count;
use serde::Serialize;
use std::ffi::OsString;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, LabelledFiles};
use tangram_comm::World;
use tangram_networks::{
    AtlasPlanes, Begin, Beginning, ComputeDevice, HeldOut, LabelledImages, LearnedPhotographs,
    NetworkError, Next, StepDone, TrainOrder, TrainSettings, Trained, train,
};
use tangram_store::{Existing, StoreError, fingerprint, remove_all_leftovers, write_aside};

/// The file that shows that a training wrote a folder: its settings and what it came to.
pub const TRAINING_FILE: &str = "training.toml";
/// The network's file.
pub const NETWORK_FILE: &str = "network.safetensors";
/// The loss of every step.
pub const LOSS_FILE: &str = "loss.tsv";
/// What the name of the state has after the folder's while a training goes on.
const STATE_ENDING: &str = ".training";
/// Steps whose mean loss stands for the beginning and for the end.
const FEW: usize = 20;

/// Where a network is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkDevice {
    /// On cores.
    Cpu,
    /// On a GPU.
    Cuda,
}

/// What to do with the state of an earlier training of the same name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EarlierState {
    /// There must be none.
    Refuse,
    /// Go on from it.
    Resume,
    /// Begin anew.
    Discard,
}

/// What to train, from which files.
#[derive(Debug, Clone)]
pub struct AtlasTraining {
    /// The atlas store.
    pub atlas: PathBuf,
    /// The encoder's weights.
    pub weights: Option<PathBuf>,
    /// Labelled photographs: their folder or table. They are learned from if the settings say in which share.
    pub labelled: Option<PathBuf>,
    /// How.
    pub settings: TrainSettings,
    /// Where.
    pub device: NetworkDevice,
    /// Threads of libtorch.
    pub threads: usize,
    /// Steps after which the state is saved.
    pub checkpoint_every: usize,
}

/// What `training.toml` holds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainingRecord {
    /// How the weights began, in words.
    pub weights: String,
    /// Whether images showed a template, were painted, or were labelled photographs.
    pub images: String,
    /// Mean loss of the first steps.
    pub loss_first: f64,
    /// Mean loss of the last steps.
    pub loss_last: f64,
    /// Mean seconds of a step of this process, with the making of its images; absent if it made none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds_per_step: Option<f64>,
    /// SHA-256 of the atlas.
    pub atlas_sha256: String,
    /// How the weights began.
    pub beginning: Beginning,
    /// Settings.
    pub settings: TrainSettings,
    /// What the network does on planes that it did not learn from.
    pub held_out: HeldOut,
    /// The labelled photographs, if it learned from any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub photographs: Option<LearnedPhotographs>,
    /// What the network does on labelled photographs that it did not learn from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_out_photographs: Option<HeldOut>,
    /// Versions of the program and its libraries.
    pub versions: Versions,
}

/// The place of the state of a training whose folder will be `out`.
#[must_use]
pub fn state_path(out: &Path) -> PathBuf {
    let mut path = OsString::from(out);
    path.push(STATE_ENDING);
    path.into()
}

/// Where libtorch computes.
///
/// All ranks must call it.
///
/// # Errors
/// [`PipelineError::Usage`] if there is no GPU.
pub fn compute_device(
    device: NetworkDevice,
    threads: usize,
    world: &World,
) -> Result<ComputeDevice> {
    match device {
        NetworkDevice::Cpu => Ok(ComputeDevice::Cores { threads }),
        NetworkDevice::Cuda => match Gpus::of(world).own {
            Ok((index, _)) => Ok(ComputeDevice::Cuda(index)),
            Err(why) => {
                let text = format!("--device cuda: {why}; or take --device cpu");
                Err(PipelineError::Usage(text))
            }
        },
    }
}

/// Trains a network on images made from an atlas, and writes a folder with it.
///
/// While it goes on its state is in [`state_path`], always whole. The ranks divide the shards of every batch; the first writes.
///
/// # Errors
/// If an input cannot be read, the settings contradict each other, the build has no libtorch, the output cannot be written, or another rank
/// has such an error.
pub fn atlas_train(
    training: &AtlasTraining,
    out: &Path,
    existing: Existing,
    earlier: EarlierState,
    ranks: &Ranks,
    listener: &dyn Listener,
) -> Result<TrainingRecord> {
    let settings = &training.settings;
    let checked = settings.check(training.weights.is_some());
    agreed(ranks, checked.map_err(PipelineError::from))?;
    let muted = Muted(listener);
    let listener = match ranks.is_first() {
        true => listener,
        false => &muted,
    };
    let state = state_path(out);
    let mut lock = None;
    let is_there = on_first(ranks, || {
        lock = Some(Lock::take(out)?);
        claim(out, existing, earlier)
    })?;
    let begin = match is_there && earlier == EarlierState::Resume {
        true => Begin::Resume,
        false => Begin::New,
    };
    let device = compute_device(training.device, training.threads, ranks.world());
    let device = agreed(ranks, device)?;
    let (atlas_sha256, planes) = agreed(ranks, images_of(training, listener))?;
    let of_weights = training.weights.as_deref().map(fingerprint).transpose();
    let of_weights = agreed(ranks, of_weights.map_err(PipelineError::from))?;
    let of_labelled = planes.labelled().map(LabelledImages::sha256);
    let inputs = format!("{atlas_sha256} {of_weights:?} {of_labelled:?}");
    alike(ranks.world(), "inputs", &inputs)?;
    let order = TrainOrder {
        planes: &planes,
        settings,
        weights: training.weights.as_deref(),
        atlas_sha256: &atlas_sha256,
        device,
        begin,
        state: &state,
        checkpoint_every: training.checkpoint_every,
    };
    let mut seconds: Vec<f64> = Vec::new();
    let trained = {
        let steps = listener.steps("step", settings.steps);
        listener.asks_whether_to_stop(true);
        let mut watch = |done: StepDone| -> Result<Next, NetworkError> {
            seconds.push(done.seconds);
            steps.step(done.step, &|| format!("loss {:.4}  ", done.loss));
            match listener.stop_asked() {
                true => Ok(Next::Stop),
                false => Ok(Next::GoOn),
            }
        };
        let trained = train(&order, ranks, &mut watch);
        listener.asks_whether_to_stop(false);
        let own = match trained {
            // The rank that has the error tells it.
            Err(NetworkError::OtherRank) => Ok(None),
            trained => trained.map(Some).map_err(PipelineError::from),
        };
        agreed(ranks, own)?.expect("a rank that stops others has an error")
    };
    let about = &trained.about;
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len().max(1) as f64;
    let losses = &about.losses;
    let few = FEW.min(losses.len());
    let record = TrainingRecord {
        weights: about.beginning.to_string(),
        images: images(about.saw_template, settings),
        loss_first: mean(&losses[..few]),
        loss_last: mean(&losses[losses.len() - few..]),
        seconds_per_step: (!seconds.is_empty()).then(|| mean(&seconds)),
        atlas_sha256,
        beginning: about.beginning.clone(),
        settings: settings.clone(),
        held_out: about
            .held_out
            .clone()
            .expect("a trained network is measured"),
        photographs: about.photographs.clone(),
        held_out_photographs: about.held_out_photographs.clone(),
        versions: Versions::current(),
    };
    on_first(ranks, || write_folder(out, existing, &trained, &record))?;
    Ok(record)
}

/// Whether there is the state of an earlier training, after what must not be is refused.
fn claim(out: &Path, existing: Existing, earlier: EarlierState) -> Result<bool> {
    if existing == Existing::Refuse && out.symlink_metadata().is_ok() {
        let path = out.to_owned();
        return Err(StoreError::Exists { path }.into());
    }
    let state = state_path(out);
    // Of a process that was killed while it wrote.
    remove_all_leftovers(&state);
    remove_all_leftovers(out);
    match (earlier, state.symlink_metadata().is_ok()) {
        (EarlierState::Refuse, true) => Err(PipelineError::Interrupted { path: state }),
        (EarlierState::Resume, false) => Err(PipelineError::NotInterrupted { path: state }),
        (_, is_there) => Ok(is_there),
    }
}

/// SHA-256 of the atlas, and what images are made of.
fn images_of(training: &AtlasTraining, listener: &dyn Listener) -> Result<(String, AtlasPlanes)> {
    let settings = &training.settings;
    let atlas = Atlas::open(&training.atlas)?;
    let mut planes = AtlasPlanes::of_atlas(&atlas, settings.edge)?;
    if let (Some(path), Some(share)) = (&training.labelled, settings.labelled_share) {
        let files = LabelledFiles::find(path)?;
        if let Some(first) = files.without_mask.first() {
            listener.warn(format_args!(
                "{} without a mask ({} first): not learned from",
                count(files.without_mask.len(), "photograph"),
                first.display()
            ));
        }
        let n_classes = planes.class_names().len();
        let labelled = LabelledImages::read(&files, n_classes, settings.edge, share)?;
        planes = planes.with_labelled(labelled);
    }
    Ok((fingerprint(&training.atlas)?, planes))
}

fn write_folder(
    out: &Path,
    existing: Existing,
    trained: &Trained,
    record: &TrainingRecord,
) -> Result<()> {
    write_aside(out, existing, |folder| -> Result<()> {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
        trained.write(&folder.join(NETWORK_FILE))?;
        write(&folder.join(LOSS_FILE), &loss_table(&trained.about.losses))?;
        let text = toml::to_string(record)?;
        write(&folder.join(TRAINING_FILE), &text)
    })?;
    // The network is complete without; what stays is refused, or resumed at its last step.
    let _ = std::fs::remove_file(state_path(out));
    Ok(())
}

fn images(saw_template: bool, settings: &TrainSettings) -> String {
    let of_planes = match (settings.task(), saw_template) {
        (tangram_networks::Task::Plane, _) => "masks of the atlas's planes",
        (_, true) => {
            "planes of the template, and planes painted structure by structure, half of each"
        }
        (_, false) => "planes painted structure by structure",
    };
    match settings.labelled_share {
        Some(1.0) => "labelled photographs".to_owned(),
        Some(share) => format!(
            "{}; labelled photographs are {:.0} % of all",
            of_planes,
            share * 100.0
        ),
        None => of_planes.to_owned(),
    }
}

fn loss_table(losses: &[f64]) -> String {
    let mut table = "step\tloss\n".to_owned();
    for (i, loss) in losses.iter().enumerate() {
        writeln!(table, "{}\t{loss}", i + 1).expect("a text grows");
    }
    table
}
