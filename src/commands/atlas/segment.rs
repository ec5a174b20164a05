//! `tangram atlas segment`: masks of regions from photographs.

use super::flags::AtlasFlag;
use super::train::DeviceFlag;
use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::n_threads;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_pipeline::atlas_segment::{AtlasSegmentation, SEGMENTATION_FILE, atlas_segment};
use tangram_pipeline::report::quoted;
use tangram_pipeline::run_directory::existing;
use tangram_pipeline::settings::threads;

const LONG_HELP: &str = "\
An image is PNG, JPEG or TIFF of 8 or 16 bits, or the folder of an OME-Zarr image of one plane (of its levels the coarsest with 1,000 pixels or
more along an edge); of several channels the brightness counts. The network sees it twelve times, in
four orientations (as it is, mirrored along either axis, turned by half) and three sizes; the probabilities are turned back and averaged.

DIR holds a mask for every image, of its name and size, for `tangram atlas register --regions`, and segmentation.toml: which network made
the masks, how its weights began, and for every mask the mean probability of the chosen class and the share of pixels that single views
see otherwise. A high probability does not prove a right class.

Example:
  tangram atlas segment section1.jpg section2.jpg --network regions --atlas ccf.zarr --out masks";

/// Flags of `tangram atlas segment`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct SegmentArgs {
    /// Photographs of sections
    #[arg(value_name = "IMAGE", required = true, help_heading = "Input")]
    images: Vec<PathBuf>,
    /// The folder that `tangram atlas train regions` wrote, or the network's file
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    network: PathBuf,
    #[command(flatten)]
    atlas: AtlasFlag,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram atlas segment` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Where to compute
    #[arg(long, value_enum, default_value_t = DeviceFlag::Cpu, value_name = "DEVICE", help_heading = "Work")]
    device: DeviceFlag,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// Segments photographs.
///
/// # Errors
/// If an input cannot be read, the network has other classes, this build has no libtorch, or the output cannot be written.
pub fn run(args: &SegmentArgs, report: Report) -> Result<()> {
    let n_threads = threads(args.threads);
    use_threads(n_threads);
    let may_replace = existing(&args.out, replace(args.force), SEGMENTATION_FILE)?;
    let order = AtlasSegmentation {
        images: args.images.clone(),
        network: args.network.clone(),
        atlas: args.atlas.atlas.clone(),
        device: args.device.into(),
        threads: n_threads,
    };
    let record = atlas_segment(&order, &args.out, may_replace, &report)?;
    report.say(format_args!("network: {}", record.weights))?;
    if !record.learned_from_this_atlas {
        report.warn(format_args!(
            "the network learned from another atlas with classes of the same names"
        ));
    }
    for mask in record.masks.iter().filter(|m| m.learned_from_this_image) {
        report.warn(format_args!(
            "{}: the network learned from this photograph; its mask is better than that of a new one",
            mask.image.display()
        ));
    }
    for mask in &record.masks {
        report.say(format_args!(
            "wrote {}: {:.0} % tissue, mean probability {:.2}, views disagree on {:.0} %",
            args.out.join(&mask.mask).display(),
            mask.tissue * 100.0,
            mask.mean_probability,
            mask.disagreement * 100.0
        ))?;
        if mask.tissue < 0.02 {
            report.warn(format_args!(
                "{}: hardly any tissue was found",
                mask.image.display()
            ));
        }
    }
    let first = args.out.join(&record.masks[0].mask);
    let [atlas, mask] = [&args.atlas.atlas, &first].map(|p| quoted(&p.to_string_lossy()));
    let pixel_um = record.masks[0].pixel_um;
    let pixel_um = pixel_um.map_or("MICROMETRES".to_owned(), |um| um.to_string());
    report.next(format_args!(
        "tangram atlas register --atlas {atlas} --regions {mask} --pixel-size {pixel_um} --out section1"
    ))?;
    report.summary(&record)
}
