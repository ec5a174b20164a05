//! Flags and words that several commands of an atlas share.

use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use tangram_atlas::{Limits, PlaneChoice, WarpChoice};
use tangram_pipeline::registrations::RegistrationSettings;

/// The atlas.
#[derive(Debug, Clone, Args, Serialize)]
pub struct AtlasFlag {
    /// The store that `tangram atlas import` wrote
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Input")]
    pub atlas: PathBuf,
}

/// How sections are fitted, and when a fit is refused.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct FitFlags {
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
    /// Refuse an expected error above this
    #[arg(long, value_name = "MICROMETRES", default_value_t = Limits::default().max_expected_error_um, value_parser = micrometres, help_heading = "Fit")]
    max_error: f64,
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

impl FitFlags {
    /// The settings that they mean.
    pub fn settings(&self) -> RegistrationSettings {
        RegistrationSettings {
            pixel_size: self.pixel_size,
            plane: match self.plane {
                PlaneFlag::Fitted => PlaneChoice::Fitted,
                PlaneFlag::Fixed => PlaneChoice::Fixed,
            },
            warp: match self.affine_only {
                true => WarpChoice::AffineOnly,
                false => WarpChoice::Warped,
            },
            limits: Limits {
                min_dice: self.min_dice,
                max_expected_error_um: self.max_error,
                ..Limits::default()
            },
        }
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("give a number from 0 to 1".to_owned()),
    }
}

/// A factor, larger than 0.
pub fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor < 1e6 => Ok(factor),
        _ => Err("give a number, more than 0".to_owned()),
    }
}

/// A length in micrometres, larger than 0.
pub fn micrometres(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(length) if length > 0.0 && length < 1e6 => Ok(length),
        _ => Err("give micrometres, more than 0".to_owned()),
    }
}
