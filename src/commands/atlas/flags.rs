//! Flags and words that several commands of an atlas share.

use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// The atlas.
#[derive(Debug, Clone, Args, Serialize)]
pub struct AtlasFlag {
    /// The store that `tangram atlas import` wrote
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Input")]
    pub atlas: PathBuf,
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
