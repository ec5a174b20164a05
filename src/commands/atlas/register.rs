//! `tangram atlas register`: the place of one section.

use super::flags::{AtlasFlag, FitFlags};
use crate::choices::replace;
use crate::plain::command_line;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::n_threads;
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::outputs::write_registration;
use tangram_atlas::{
    Atlas, Found, PlaneCaller, PlaneChoice, ProbabilityPyramid, RegisterSettings, Registration,
    SectionMask, Side, register_within,
};
use tangram_pipeline::atlas_segment::{NETWORK_MASKS, origin_of};
use tangram_pipeline::error::{PipelineError, full_text};
use tangram_pipeline::plane_network::{PlaneNetwork, PlaneNetworkRecord};
use tangram_pipeline::registrations::FINEST_UM;
use tangram_pipeline::report::{REPORT_FILE, quoted};
use tangram_pipeline::run_directory::{existing, write};
use tangram_pipeline::section_report::{REGISTRATION_FILE, SectionSource};
use tangram_pipeline::settings::threads;
use tangram_pipeline::versions::Versions;
use tangram_store::{StoreError, write_aside};

/// The file that shows that this command wrote a folder.
const MARKER: &str = REGISTRATION_FILE;

const LONG_HELP: &str = "\
The mask is an image of 8-bit gray values, or the folder of an OME-Zarr label image of one plane (of its levels the coarsest with 1,000
pixels or more along an edge): 0 outside the tissue, k for class k of the atlas (the classes stand in the order of the rule), 255 for
pixels that say nothing. Background that tissue encloses is left out:
it may be a hole as well as a ventricle. The section may be turned by any angle, and may be a half. A mirrored section
cannot be told from the other half of a symmetric brain: turn it over first.

DIR holds transform.json (read by the other commands), field.zarr (every pixel's AP, DV and ML in µm), labels.nrrd and
labels.nii.gz (structure identifiers), labels.flat (VisuAlign's label map), labels.png, overlay.png (the mask under the atlas's borders),
registration.toml (quality and settings) and report.html (the section in its atlas, warnings and settings, for a browser).

With --plane-network the plane that the network calls, given the mask upright, is one more start; the one with the smallest loss at the end
wins, and the result says which it was and how the network's weights began. This needs a build with libtorch.

Every result tells its expected error, the median over the tissue of the distance to the true position, and what nine of ten such sections are
off by at most. It is predicted from signs of the fit by a regression on synthetic sections of the Allen mouse brain in 16 classes; for
another atlas or class rule, and for damage that those sections do not have, it is a guess.

A poor fit is refused, with exit code 7 and the reason: an expected error above --max-error, a mean Dice below --min-dice, places far apart that fit
almost equally well, or a warp that squeezes tissue to nothing. A high Dice does not prove a small error inside a class.

Example:
  tangram atlas register --atlas ccf.zarr --regions mask.png --pixel-size 20 --out section1";

/// Flags of `tangram atlas register`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct RegisterArgs {
    #[command(flatten)]
    settings: Settings,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram atlas register` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Do not write report.html, the section in its atlas for a browser
    #[arg(long, help_heading = "Output")]
    no_report: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    atlas: AtlasFlag,
    /// The mask of the section's regions
    #[arg(long, value_name = "MASK.png", help_heading = "Input")]
    regions: PathBuf,
    /// A network from masks to planes, whose call is one more start: the folder that `tangram atlas train plane` wrote, or its file
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    #[serde(skip_serializing_if = "Option::is_none")]
    plane_network: Option<PathBuf>,
    #[command(flatten)]
    #[serde(flatten)]
    fit: FitFlags,
}

/// What `registration.toml` holds, and `--json` prints.
#[derive(Debug, Serialize)]
struct Record<'a> {
    /// Where the command was typed: relative paths begin there.
    #[serde(rename = "working-directory")]
    working_directory: PathBuf,
    register: &'a Settings,
    #[serde(flatten)]
    found: Found<'a>,
    #[serde(rename = "plane-network", skip_serializing_if = "Option::is_none")]
    plane_network: Option<PlaneNetworkRecord>,
    versions: Versions,
}

/// Registers a section.
///
/// # Errors
/// If the atlas or the mask cannot be read, the fit is refused, or the output cannot be written.
pub fn run(args: &RegisterArgs, report: Report) -> Result<()> {
    let n_threads = threads(args.threads);
    use_threads(n_threads);
    let settings = &args.settings;
    let fit = settings.fit.settings();
    if settings.plane_network.is_some() && fit.plane == PlaneChoice::Fixed {
        let text = "--plane-network adds a start, and --plane fixed has only that of the comparison; leave one of them out";
        return Err(PipelineError::Usage(text.to_owned()).into());
    }
    let may_replace = existing(&args.out, replace(args.force), MARKER)?;
    let atlas = Atlas::open(&settings.atlas.atlas)?;
    let mask = SectionMask::read(&settings.regions, atlas.rule().names().len())?;
    let network = settings.plane_network.as_ref();
    let network = network.map(|path| PlaneNetwork::read(path, &atlas, n_threads));
    let network = network.transpose()?;
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, FINEST_UM)?;
    let path = &settings.regions;
    let origin = origin_of(path)?;
    if origin.by_network {
        report.warn(format_args!("{}: {NETWORK_MASKS}", path.display()));
    }
    let call = |mask: &[u8]| {
        let network = network.as_ref().expect("only a network is a caller");
        network.plane(mask)
    };
    let how = RegisterSettings {
        caller: network.as_ref().map(|network| PlaneCaller {
            edge: network.edge(),
            call: &call,
        }),
        ..fit.how()
    };
    let registration = register_within(&pyramid, &mask, path, &how, &fit.limits)?;
    let called = network.as_ref().zip(registration.called.as_ref());
    let record = Record {
        working_directory: std::env::current_dir().unwrap_or_default(),
        register: settings,
        found: Found::new(&registration, atlas.path(), path, origin.told.clone())?,
        plane_network: called.map(|(network, called)| network.record(called)),
        versions: Versions::current(),
    };
    write_aside(&args.out, may_replace, |folder| -> Result<()> {
        std::fs::create_dir(folder).map_err(|e| StoreError::Write {
            path: args.out.clone(),
            reason: e.to_string(),
        })?;
        write_registration(folder, &args.out, &atlas, &mask, &registration)?;
        let text = toml::to_string(&record).context(MARKER)?;
        write(&folder.join(MARKER), &text)?;
        if !args.no_report {
            let name = args.out.file_name().unwrap_or(args.out.as_os_str());
            let source = SectionSource {
                name: &name.to_string_lossy(),
                atlas: &atlas,
                mask: &mask,
                transform: &registration.transform,
                quality: &registration.quality,
            };
            let page = folder.join(REPORT_FILE);
            if let Err(error) = source.write_report(&page, &command_line(), &text, &origin) {
                // The registration is complete without.
                let _ = std::fs::remove_file(&page);
                report.warn(format_args!("no report: {}", full_text(&error)));
            }
        }
        Ok(())
    })?;
    tell(&args.out, &registration, report)?;
    if let Some(call) = &record.plane_network {
        tell_call(call, report)?;
    }
    let page = args.out.join(REPORT_FILE);
    if page.is_file() {
        let page = page.display();
        report.say(format_args!("wrote {page}; open it in a browser"))?;
    }
    let [atlas, section] = [&settings.atlas.atlas, &args.out].map(|p| quoted(&p.to_string_lossy()));
    report.next(format_args!(
        "tangram atlas query --atlas {atlas} --section {section} --out voxels.h5ad"
    ))?;
    report.summary(&record)
}

fn tell_call(call: &PlaneNetworkRecord, report: Report) -> Result<()> {
    let origin = match call.won {
        true => "the plane network's call",
        false => "the comparison of masks",
    };
    report.say(format_args!(
        "the fit began from {origin}; the network called {:.0} µm, pitch {:.1}°, yaw {:.1}° ({})",
        call.depth_um, call.pitch_deg, call.yaw_deg, call.weights
    ))?;
    if !call.learned_from_this_atlas {
        report.warn(format_args!(
            "the plane network learned from another atlas with classes of the same names"
        ));
    }
    Ok(())
}

fn tell(out: &Path, registration: &Registration, report: Report) -> Result<()> {
    let quality = &registration.quality;
    let parameters = registration.transform.parameters();
    let part = match registration.side {
        Side::Both => "whole section",
        Side::Low => "half where ML is below the middle",
        Side::High => "half where ML is above the middle",
    };
    report.say(format_args!(
        "wrote {}: {part}, {:.0} µm from the anterior end, pitch {:.1}°, yaw {:.1}°",
        out.display(),
        parameters.plane.depth_um,
        parameters.plane.pitch_deg,
        parameters.plane.yaw_deg
    ))?;
    if !parameters.pixel_size_given {
        report.say(format_args!(
            "the size of a pixel was not given: {:.2} µm fit best",
            parameters.pixel_um
        ))?;
    }
    report.say(format_args!(
        "mean Dice {:.3}, smallest Jacobian {:.2}, there and back within {:.1} µm; other starts within {:.0} µm of the depth",
        quality.mean_dice,
        quality.smallest_jacobian,
        quality.inverse_consistency.max_um,
        quality.depth_spread_um
    ))?;
    if let Some(expected) = quality.expected_error {
        report.say(format_args!(
            "expected error {:.0} µm, nine of ten such sections at most {:.0} µm (see `tangram atlas register --help`)",
            expected.median_um, expected.p90_um
        ))?;
    }
    for (class, dice) in &quality.dice {
        report.explain(format_args!("  {class}: Dice {dice:.3}"))?;
    }
    Ok(())
}
