//! What became of a section: registered, refused, or no section at all.

use crate::{
    AtlasError, Limits, Parameters, ProbabilityPyramid, Quality, Refusal, RegisterSettings,
    SectionMask, Side, register,
};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// What became of a section among several, where one that is refused does not stop the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SectionOutcome {
    /// How it ended.
    pub state: SectionState,
    /// Why it was refused or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The fit; of a refused section that which was refused, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fit: Option<SectionFit>,
}

/// How the registration of a section ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SectionState {
    /// It has a place.
    Registered,
    /// Its fit is too poor to be a result.
    Refused,
    /// Its file is no mask of a section.
    Failed,
}

impl SectionState {
    /// Its word in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The fit of a section.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SectionFit {
    /// Which part of a coronal section the mask shows.
    pub side: Side,
    /// Its quality.
    pub quality: Quality,
    /// From the section to the atlas and back.
    pub transform: Parameters,
}

impl SectionOutcome {
    /// Registers the section of a mask.
    ///
    /// * `path`: of the mask
    ///
    /// # Errors
    /// [`AtlasError::Store`] if the file cannot be read; one that is no mask is an outcome.
    pub fn of(
        pyramid: &ProbabilityPyramid,
        path: &Path,
        settings: &RegisterSettings<'_>,
        limits: &Limits,
    ) -> Result<Self, AtlasError> {
        let ended = |state, reason: String| Self {
            state,
            reason: Some(reason),
            fit: None,
        };
        let refused = |refusal: Refusal| ended(SectionState::Refused, refusal.to_string());
        let mask = match SectionMask::read(path, pyramid.names.len()) {
            Ok(mask) => mask,
            Err(AtlasError::Store(error)) => return Err(error.into()),
            Err(error) => return Ok(ended(SectionState::Failed, error.reason())),
        };
        let registration = match register(pyramid, &mask, settings) {
            Ok(registration) => registration,
            Err(refusal) => return Ok(refused(refusal)),
        };
        let verdict = limits.check(&registration.quality);
        let fit = SectionFit {
            side: registration.side,
            transform: registration.transform.parameters().clone(),
            quality: registration.quality,
        };
        let outcome = match verdict {
            Ok(()) => Self {
                state: SectionState::Registered,
                reason: None,
                fit: None,
            },
            Err(refusal) => refused(refusal),
        };
        Ok(Self {
            fit: Some(fit),
            ..outcome
        })
    }
}
