//! `tangram atlas demo`: a synthetic section registered, and compared with the truth.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{n_threads, seed};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_pipeline::atlas_demo::{ATLAS_STORE, DEMO_FILE, FIGURE_FILE, MASK_FILE, atlas_demo};
use tangram_pipeline::report::quoted;
use tangram_pipeline::run_directory::existing;
use tangram_pipeline::settings::threads;

const LONG_HELP: &str = "\
The brain is made of ellipsoids, about as large as a mouse's. The section is cut at an oblique angle, turned, stretched, warped
and damaged, and where it was cut is known: the command says how far the registration is from it. One easy brain shows how the
commands work, not how exact they are on tissue.

Writes into DIR: annotation.nrrd, structures.csv and rule.toml (the brain as files, for `atlas import`), atlas.zarr, mask.png,
section (as `atlas register` writes it, without registration.toml and report.html), section.svg (the section in its atlas) and
demo.toml (the truth, what was found, and the difference).

Example:
  tangram atlas demo --out atlas_demo";

/// Flags of `tangram atlas demo`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct DemoArgs {
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram atlas demo` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Seed of the section; the same seed gives the same section
    #[arg(long, value_name = "N", default_value_t = 11, value_parser = seed, help_heading = "Section")]
    seed: u64,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// Makes the section, registers it, and tells how far off it is.
///
/// # Errors
/// If the fit is refused or the output cannot be written.
pub fn run(args: &DemoArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let existing = existing(&args.out, replace(args.force), DEMO_FILE)?;
    let (demo, seconds) = atlas_demo(&args.out, existing, args.seed)?;
    let (truth, found, error) = (demo.truth, demo.found, demo.error);
    report.say(format_args!(
        "a synthetic section registered in {seconds:.1} s, mean Dice {:.3}",
        demo.mean_dice
    ))?;
    report.say(format_args!(
        "  depth: {:.0} µm, truth {:.0} µm: off by {:.0} µm",
        found.depth_um, truth.depth_um, error.depth_um
    ))?;
    report.say(format_args!(
        "  pitch and yaw: {:.1}° and {:.1}°, truth {:.1}° and {:.1}°: off by at most {:.1}°",
        found.pitch_deg, found.yaw_deg, truth.pitch_deg, truth.yaw_deg, error.angle_deg
    ))?;
    report.say(format_args!(
        "  target registration error: median {:.0} µm, 90th percentile {:.0} µm over the tissue",
        error.target_registration_error_um, error.target_registration_error_p90_um
    ))?;
    let at = |name: &str| args.out.join(name);
    report.say(format_args!("wrote {}", at(FIGURE_FILE).display()))?;
    let [atlas, mask] = [ATLAS_STORE, MASK_FILE].map(|name| quoted(&at(name).to_string_lossy()));
    report.next(format_args!(
        "tangram atlas register --atlas {atlas} --regions {mask} --pixel-size {} --out section1",
        demo.pixel_um
    ))?;
    report.summary(&demo)
}
