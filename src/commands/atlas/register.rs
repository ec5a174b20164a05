//! `tangram atlas register`: the place of one section.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::outputs::write_registration;
use tangram_atlas::{
    Atlas, AtlasError, Limits, PlaneChoice, ProbabilityPyramid, Quality, RegisterSettings,
    Registration, SectionMask, Side, WarpChoice, register,
};
use tangram_pipeline::run_directory::{existing, write};
use tangram_pipeline::settings::threads;
use tangram_pipeline::versions::Versions;
use tangram_store::{StoreError, fingerprint, write_aside};

/// The file that shows that this command wrote a folder.
const MARKER: &str = "registration.toml";
/// Voxels of the finest level that a section is compared with.
const FINEST_UM: f64 = 50.0;

const LONG_HELP: &str = "\
The mask is an image of 8-bit gray values: 0 outside the tissue, k for class k of the atlas (the classes stand in
the order of the rule), 255 for pixels that say nothing. Background that tissue encloses is left out:
it may be a hole as well as a ventricle. The section may be turned by any angle, and may be a half. A mirrored section
cannot be told from the other half of a symmetric brain: turn it over first.

DIR holds transform.json (read by the other commands), field.zarr (every pixel's AP, DV and ML in µm), labels.nrrd (structure
identifiers), labels.flat (VisuAlign's label map), labels.png, overlay.png (the mask under the atlas's borders) and
registration.toml (quality and settings).

A poor fit is refused, with exit code 7 and the reason: below --min-dice, where places far apart fit almost equally well, or
where the warp squeezes tissue to nothing. The limits were set by hand and are not calibrated. A high Dice does not prove
a small error inside a class.

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
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    /// The store that `tangram atlas import` wrote
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Input")]
    atlas: PathBuf,
    /// The mask of the section's regions
    #[arg(long, value_name = "MASK.png", help_heading = "Input")]
    regions: PathBuf,
    /// Edge of a pixel of the mask [default: unknown, the scale is free]
    #[arg(long, value_name = "MICROMETRES", value_parser = micrometres, help_heading = "Input")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pixel_size: Option<f64>,
    /// Whether the plane is fitted, or fixed where the comparison of masks calls it, as in the paper
    #[arg(
        long,
        value_enum,
        default_value_t = PlaneFlag::Fitted,
        value_name = "HOW",
        help_heading = "Fit"
    )]
    plane: PlaneFlag,
    /// Fit the affine map only, no warp
    #[arg(long, help_heading = "Fit")]
    affine_only: bool,
    /// Refuse a mean Dice below this
    #[arg(long, value_name = "DICE", default_value_t = Limits::default().min_dice, value_parser = share, help_heading = "Fit")]
    min_dice: f64,
}

/// See [`PlaneChoice`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum PlaneFlag {
    /// Depth, pitch and yaw are fitted
    Fitted,
    /// The coronal plane that the comparison calls
    Fixed,
}

/// What `registration.toml` holds, and `--json` prints.
#[derive(Debug, Serialize)]
struct Record<'a> {
    register: &'a Settings,
    result: Place,
    quality: &'a Quality,
    inputs: Inputs,
    versions: Versions,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Place {
    depth_um: f64,
    pitch_deg: f64,
    yaw_deg: f64,
    pixel_um: f64,
    pixel_size_given: bool,
    side: Side,
    /// How the class masks came about: registrations of predicted masks will name the weights here.
    regions: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Inputs {
    atlas_sha256: String,
    regions_sha256: String,
}

/// A length in micrometres, larger than 0.
pub fn micrometres(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(length) if length > 0.0 && length < 1e6 => Ok(length),
        _ => Err("give micrometres, more than 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// Registers a section.
///
/// # Errors
/// If the atlas or the mask cannot be read, the fit is refused, or the output cannot be written.
pub fn run(args: &RegisterArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let settings = &args.settings;
    let may_replace = existing(&args.out, replace(args.force), MARKER)?;
    let atlas = Atlas::open(&settings.atlas)?;
    let mask = SectionMask::read(&settings.regions, atlas.rule().names().len())?;
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, FINEST_UM)?;
    let registration = fit(settings, &pyramid, &mask)?;
    let plane = registration.transform.parameters().plane;
    let record = Record {
        register: settings,
        result: Place {
            depth_um: plane.depth_um,
            pitch_deg: plane.pitch_deg,
            yaw_deg: plane.yaw_deg,
            pixel_um: registration.transform.parameters().pixel_um,
            pixel_size_given: settings.pixel_size.is_some(),
            side: registration.side,
            regions: "the user's mask",
        },
        quality: &registration.quality,
        inputs: Inputs {
            atlas_sha256: fingerprint(&settings.atlas)?,
            regions_sha256: fingerprint(&settings.regions)?,
        },
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
        Ok(())
    })?;
    tell(&args.out, &registration, report)?;
    report.summary(&record)
}

fn fit(
    settings: &Settings,
    pyramid: &ProbabilityPyramid,
    mask: &SectionMask,
) -> Result<Registration, AtlasError> {
    let refused = |refusal| AtlasError::Refused {
        path: settings.regions.clone(),
        refusal,
    };
    let how = RegisterSettings {
        pixel_um: settings.pixel_size,
        plane: match settings.plane {
            PlaneFlag::Fitted => PlaneChoice::Fitted,
            PlaneFlag::Fixed => PlaneChoice::Fixed,
        },
        warp: match settings.affine_only {
            true => WarpChoice::AffineOnly,
            false => WarpChoice::Warped,
        },
    };
    let registration = register(pyramid, mask, &how).map_err(refused)?;
    let limits = Limits {
        min_dice: settings.min_dice,
        ..Limits::default()
    };
    limits.check(&registration.quality).map_err(refused)?;
    Ok(registration)
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
    for (class, dice) in &quality.dice {
        report.explain(format_args!("  {class}: Dice {dice:.3}"))?;
    }
    Ok(())
}
