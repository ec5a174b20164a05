//! What a registration found, as `registration.toml` records it.

use crate::{
    AtlasError, Limits, ProbabilityPyramid, Quality, RegisterSettings, Registration, SectionMask,
    Side, register,
};
use serde::Serialize;
use std::path::Path;
use tangram_store::fingerprint;

/// The place of a section, how good the fit is, and what it was made from.
#[derive(Debug, Serialize)]
pub struct Found<'a> {
    result: Place,
    quality: &'a Quality,
    inputs: Inputs,
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
    /// Where the mask comes from.
    regions: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Inputs {
    atlas_sha256: String,
    regions_sha256: String,
}

impl<'a> Found<'a> {
    /// Takes a registration and the files that it was made from.
    ///
    /// * `regions`: where the mask comes from, in words
    ///
    /// # Errors
    /// [`AtlasError::Store`] if a file cannot be read.
    pub fn new(
        registration: &'a Registration,
        atlas: &Path,
        mask: &Path,
        regions: String,
    ) -> Result<Self, AtlasError> {
        let parameters = registration.transform.parameters();
        let plane = parameters.plane;
        Ok(Self {
            result: Place {
                depth_um: plane.depth_um,
                pitch_deg: plane.pitch_deg,
                yaw_deg: plane.yaw_deg,
                pixel_um: parameters.pixel_um,
                pixel_size_given: parameters.pixel_size_given,
                side: registration.side,
                regions,
            },
            quality: &registration.quality,
            inputs: Inputs {
                atlas_sha256: fingerprint(atlas)?,
                regions_sha256: fingerprint(mask)?,
            },
        })
    }
}

/// [`register`]s a section; a fit outside the limits is an error.
///
/// * `path`: of the mask, for messages
///
/// # Errors
/// [`AtlasError::Refused`].
pub fn register_within(
    pyramid: &ProbabilityPyramid,
    mask: &SectionMask,
    path: &Path,
    settings: &RegisterSettings<'_>,
    limits: &Limits,
) -> Result<Registration, AtlasError> {
    let refused = |refusal| AtlasError::Refused {
        path: path.to_owned(),
        refusal,
    };
    let registration = register(pyramid, mask, settings).map_err(refused)?;
    limits.check(&registration.quality).map_err(refused)?;
    Ok(registration)
}
