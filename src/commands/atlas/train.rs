//! `tangram atlas train`: networks that look at sections, trained on images made from an atlas and on labelled photographs.

use super::flags::AtlasFlag;
use crate::choices::replace;
use crate::exit;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, n_threads, seed};
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use std::path::{Path, PathBuf};
use tangram_comm::Reduce;
use tangram_networks::{Head, Preset, Task, TrainSettings, TrainedPart};
use tangram_pipeline::atlas_train::{
    AtlasTraining, EarlierState, NETWORK_FILE, NetworkDevice, TRAINING_FILE, TrainingRecord,
    atlas_train, state_path,
};
use tangram_pipeline::ranks;
use tangram_pipeline::run_directory::existing;
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;

const LONG_HELP: &str = "\
Images are made on the fly from planes of the atlas, tilted by up to 6°: painted with a gray value for every structure, and half
of them from the atlas's template if it has one; turned, stretched, warped, cropped, mirrored, with holes, blur, noise, uneven
light, other contrast, and inverted. Three blocks along the axis are held out: no plane that is learned from enters them, and
the network is measured there.

With --labelled the network of regions learns from photographs of real sections too, each with a mask as `tangram atlas register --regions`
takes it: NAME.png (or .jpg, .tif) and NAME_mask.png in a folder, or a table (CSV, TSV) with the columns image and mask. Pixels of the mask
that are 255 count neither in the loss nor in the scores. Photographs stand in the order of the numbers in their names, of which neighbours
look alike: three of twelve blocks are held out, the photographs at the borders of longer blocks are not used, and the network is measured on
the held-out ones apart, as `tangram atlas segment` sees them.

Weights begin as random numbers unless --weights gives a file of safetensors with torchvision's names (DenseNet169 for depth, ResNet50
for regions). No such file comes with the program. training.toml says which weights a network began with.

--preset full has the networks and image sizes of Biancalani et al.; it needs a GPU, or days. --preset small has smaller networks of the
same kind and needs minutes on two cores.

DIR holds network.safetensors, loss.tsv and training.toml. While the training goes on its state is in DIR.training, always whole: --resume
goes on from there, on cores with the same bits as without the interruption.

Under mpirun or srun the ranks divide the shards of every batch and sum the gradients; --shards must be at least their number.

Examples:
  tangram atlas train regions --atlas ccf.zarr --preset small --out regions
  tangram atlas train regions --atlas ccf.zarr --preset small --labelled sections --labelled-share 0.5 --out regions
  tangram atlas train depth --atlas ccf.zarr --weights densenet169.safetensors --train last-conv --device cuda --out depth
  mpirun -n 2 tangram atlas train regions --atlas ccf.zarr --preset small --shards 2 --out regions";

/// Flags of `tangram atlas train`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = LONG_HELP)]
pub struct TrainArgs {
    #[command(subcommand)]
    what: What,
}

/// The network.
#[derive(Debug, Subcommand)]
enum What {
    /// How far apart along the brain two images are: Siamese DenseNet
    Depth(DepthArgs),
    /// The class of every pixel: U-Net on a ResNet
    Regions(RegionsArgs),
    /// The plane of a mask: a small network
    Plane(CommonArgs),
}

/// Flags of `tangram atlas train depth`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
struct DepthArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    encoder: EncoderArgs,
    /// What follows the two images' places in latent space
    #[arg(long, value_enum, default_value_t = HeadFlag::Paper, value_name = "HEAD", help_heading = "Network")]
    head: HeadFlag,
}

/// Flags of `tangram atlas train regions`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
struct RegionsArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    encoder: EncoderArgs,
    /// Labelled photographs to learn from too: a folder with NAME.png and NAME_mask.png, or a table with the columns image and mask
    #[arg(long, value_name = "FOLDER", help_heading = "Input")]
    labelled: Option<PathBuf>,
    /// Part of the images that is made of labelled photographs, above 0 and up to 1
    #[arg(
        long,
        value_name = "PART",
        default_value_t = 0.5,
        requires = "labelled",
        help_heading = "Training"
    )]
    labelled_share: f64,
}

/// Flags of networks with an encoder.
#[derive(Debug, Args)]
struct EncoderArgs {
    /// The encoder's weights, safetensors with torchvision's names [default: random numbers]
    #[arg(long, value_name = "FILE.safetensors", help_heading = "Network")]
    weights: Option<PathBuf>,
    /// What is trained of the encoder
    #[arg(long = "train", value_enum, default_value_t = PartFlag::Full, value_name = "PART", help_heading = "Network")]
    part: PartFlag,
}

/// Flags of every network.
#[derive(Debug, Args)]
struct CommonArgs {
    #[command(flatten)]
    atlas: AtlasFlag,
    /// Size of the network and of its training
    #[arg(long, value_enum, default_value_t = PresetFlag::Full, value_name = "SIZE", help_heading = "Training")]
    preset: PresetFlag,
    /// Steps of the optimiser [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    steps: Option<usize>,
    /// Images of a step, or pairs [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    batch: Option<usize>,
    /// Edge of the images in pixels, a multiple of 32 [default: the preset's]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Training")]
    image_size: Option<usize>,
    /// Largest learning rate [default: the preset's]
    #[arg(long, value_name = "RATE", value_parser = super::flags::factor, help_heading = "Training")]
    learning_rate: Option<f64>,
    /// Seed of the weights and of the images
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = seed, help_heading = "Training")]
    seed: u64,
    /// Parts of a batch, each normalised by statistics of its own; MPI ranks divide them. Their number changes the result, that of ranks
    /// does not
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one, help_heading = "Training")]
    shards: usize,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram atlas train` wrote it, and begin anew where one was interrupted
    #[arg(long, help_heading = "Output", conflicts_with = "resume")]
    force: bool,
    /// Go on with the training that was interrupted
    #[arg(long, help_heading = "Output")]
    resume: bool,
    /// Steps after which the state is saved
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one, help_heading = "Output")]
    checkpoint_every: usize,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceFlag::Cpu, value_name = "DEVICE", help_heading = "Work")]
    device: DeviceFlag,
    /// Threads to use; another number changes the rounding [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// See [`Head`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum HeadFlag {
    /// One fully connected layer to a difference with its sign, as the paper writes
    Paper,
    /// |z1 - z2| to one hard sigmoid without a sign, as the published code does
    ReleasedCode,
}

/// See [`TrainedPart`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PartFlag {
    /// All of it
    Full,
    /// Its last convolution, as in the paper; needs --weights
    LastConv,
}

/// See [`Preset`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PresetFlag {
    /// The paper's
    Full,
    /// Minutes on two cores
    Small,
    /// Seconds, to try the command
    Tiny,
}

/// See [`NetworkDevice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceFlag {
    /// The cores
    Cpu,
    /// A GPU
    Cuda,
}

impl From<DeviceFlag> for NetworkDevice {
    fn from(flag: DeviceFlag) -> Self {
        match flag {
            DeviceFlag::Cpu => Self::Cpu,
            DeviceFlag::Cuda => Self::Cuda,
        }
    }
}

/// Trains a network.
///
/// # Errors
/// If an input cannot be read, settings contradict each other, this build has no libtorch, or the output cannot be written.
pub fn run(args: &TrainArgs, report: Report) -> Result<()> {
    let (task, common, encoder, head) = match &args.what {
        What::Depth(args) => (Task::Depth, &args.common, Some(&args.encoder), args.head),
        What::Regions(args) => (
            Task::Regions,
            &args.common,
            Some(&args.encoder),
            HeadFlag::Paper,
        ),
        What::Plane(common) => (Task::Plane, common, None, HeadFlag::Paper),
    };
    let labelled = match &args.what {
        What::Regions(args) => args
            .labelled
            .clone()
            .map(|path| (path, args.labelled_share)),
        What::Depth(_) | What::Plane(_) => None,
    };
    let n_threads = threads(common.threads);
    use_threads(n_threads);
    let preset = match common.preset {
        PresetFlag::Full => Preset::Full,
        PresetFlag::Small => Preset::Small,
        PresetFlag::Tiny => Preset::Tiny,
    };
    let head = match head {
        HeadFlag::Paper => Head::Paper,
        HeadFlag::ReleasedCode => Head::ReleasedCode,
    };
    let of_preset = TrainSettings::preset(task, preset, head);
    let settings = TrainSettings {
        edge: common.image_size.unwrap_or(of_preset.edge),
        batch: common.batch.unwrap_or(of_preset.batch),
        steps: common.steps.unwrap_or(of_preset.steps),
        learning_rate: common.learning_rate.unwrap_or(of_preset.learning_rate),
        part: match encoder.map(|e| e.part) {
            Some(PartFlag::LastConv) => TrainedPart::LastConv,
            Some(PartFlag::Full) | None => TrainedPart::Full,
        },
        seed: common.seed,
        shards: common.shards,
        labelled_share: labelled.as_ref().map(|(_, share)| *share),
        ..of_preset
    };
    let training = AtlasTraining {
        atlas: common.atlas.atlas.clone(),
        weights: encoder.and_then(|e| e.weights.clone()),
        labelled: labelled.map(|(path, _)| path),
        settings,
        device: common.device.into(),
        threads: n_threads,
        checkpoint_every: common.checkpoint_every,
    };
    let may_replace = existing(&common.out, replace(common.force), TRAINING_FILE)?;
    let earlier = match (common.resume, common.force) {
        (true, _) => EarlierState::Resume,
        (false, true) => EarlierState::Discard,
        (false, false) => EarlierState::Refuse,
    };
    // Whatever decides the result; the number of threads may change its rounding.
    let command = format!("{training:?} {} {earlier:?}", common.out.display());
    let mut ranks = ranks::join(Reduce::Exact)?;
    let record = ranks::arrange(&mut ranks, None, &command).and_then(|()| {
        atlas_train(
            &training,
            &common.out,
            may_replace,
            earlier,
            &ranks,
            &report,
        )
    });
    let told = match (record, ranks.is_first()) {
        (Ok(record), true) => tell(&common.out, &record, report),
        (record, _) => record.map(|_| ()).map_err(Into::into),
    };
    if let Err(error) = &told {
        exit::say(error);
    }
    // MPI ends in order only if all ranks come here.
    ranks.leave();
    told
}

fn tell(out: &Path, record: &TrainingRecord, report: Report) -> Result<()> {
    report.say(format_args!(
        "wrote {}: {}; {}",
        out.join(NETWORK_FILE).display(),
        record.weights,
        record.images
    ))?;
    report.say(format_args!(
        "loss {:.4} over the first steps, {:.4} over the last",
        record.loss_first, record.loss_last
    ))?;
    report.say(format_args!(
        "on {} held-out samples of made images, which is not accuracy on tissue:",
        record.held_out.n
    ))?;
    for (name, value) in &record.held_out.measures {
        match name.starts_with("dice ") {
            true => report.explain(format_args!("  {name}: {value:.3}"))?,
            false => report.say(format_args!("  {}: {value:.3}", name.replace('-', " ")))?,
        }
    }
    if let (Some(photographs), Some(held_out)) = (&record.photographs, &record.held_out_photographs)
    {
        report.say(format_args!(
            "learned from {}; on {} held out, as `tangram atlas segment` sees them:",
            count(photographs.n_training, "labelled photograph"),
            held_out.n
        ))?;
        for (name, value) in &held_out.measures {
            report.say(format_args!("  {}: {value:.3}", name.replace('-', " ")))?;
        }
    }
    let state = state_path(out);
    if state.exists() {
        report.warn(format_args!("{} could not be removed", state.display()));
    }
    report.summary(record)
}
