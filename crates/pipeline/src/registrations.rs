//! Registrations of sections, as the items of a sweep.

use crate::error::Result;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tangram_atlas::{Limits, PlaneChoice, RegisterSettings, SectionOutcome, WarpChoice};
use tangram_sweep::{Input, Item, Manifest, Output, SweepError, TaskProgress};
use toml::Table;

/// Name of the atlas among the inputs of a sweep.
pub const ATLAS: &str = "atlas";
/// Name of the mask among the inputs of a section.
pub const REGIONS: &str = "regions";
/// Voxels of the finest level that a section is compared with.
pub const FINEST_UM: f64 = 50.0;

/// What all sections of a sweep share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RegistrationSettings {
    /// Edge of the masks' pixels, micrometres; `None`: the scale is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixel_size: Option<f64>,
    /// The plane.
    pub plane: PlaneChoice,
    /// The warp.
    pub warp: WarpChoice,
    /// Limits beyond which a section is refused.
    pub limits: Limits,
}

impl RegistrationSettings {
    /// Settings of each registration.
    #[must_use]
    pub fn how(&self) -> RegisterSettings<'static> {
        RegisterSettings {
            pixel_um: self.pixel_size,
            plane: self.plane,
            warp: self.warp,
            caller: None,
        }
    }
}

/// The section of a mask.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionOf {
    /// Its name.
    pub name: String,
    /// The mask of its regions.
    pub regions: PathBuf,
}

impl SectionOf {
    /// The item of this section.
    ///
    /// # Errors
    /// If the mask cannot be read.
    pub fn item(&self) -> Result<Item> {
        Ok(Item {
            name: self.name.clone(),
            output: Output::Record,
            inputs: BTreeMap::from([(REGIONS.to_owned(), Input::of(&self.regions)?)]),
            work: Table::new(),
        })
    }
}

/// What became of the sections of a sweep, by the number of the item; those of a task that is not done are told as far as they are.
///
/// # Errors
/// [`SweepError::Work`] if a record is not understood.
pub fn outcomes(progress: &[TaskProgress]) -> Result<BTreeMap<usize, SectionOutcome>, SweepError> {
    let attempts = progress.iter().flat_map(|task| &task.attempts);
    let known = attempts.flat_map(|attempt| &attempt.items);
    known.map(|o| Ok((o.item, o.result()?))).collect()
}

/// Where the atlas of a sweep is.
pub(crate) fn atlas_of(manifest: &Manifest) -> Result<PathBuf> {
    input(&manifest.inputs, ATLAS).map(|input| input.path.clone())
}

/// A file by its name among the inputs.
pub(crate) fn input<'a>(inputs: &'a BTreeMap<String, Input>, name: &str) -> Result<&'a Input> {
    inputs.get(name).ok_or_else(|| {
        let (what, reason) = ("inputs".to_owned(), format!("no `{name}`"));
        SweepError::Work { what, reason }.into()
    })
}
