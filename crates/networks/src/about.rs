//! What a network's file says of itself.

use crate::NetworkError;
use crate::settings::TrainSettings;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::path::Path;

/// The format of a network's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Format {
    /// That of this version; files of others are not read.
    #[serde(rename = "tangram-network 1")]
    Current,
}

/// How the weights began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "kebab-case")]
pub enum Beginning {
    /// All from random numbers.
    Random,
    /// The encoder's from a file, the others from random numbers.
    #[serde(rename_all = "kebab-case")]
    EncoderFile {
        /// Its name.
        name: String,
        /// SHA-256 of its contents.
        sha256: String,
        /// Tensors that were read.
        n_tensors: usize,
    },
}

impl Display for Beginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Random => f.write_str("all weights began as random numbers"),
            Self::EncoderFile { name, sha256, .. } => write!(
                f,
                "the encoder began with the weights of {name} (SHA-256 {}…), the rest as random numbers",
                &sha256[..12.min(sha256.len())]
            ),
        }
    }
}

/// What a trained network does on held-out planes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HeldOut {
    /// Images, or pairs.
    pub n: usize,
    /// Measures by name; those that begin with `guess` are of a guess that looks at nothing.
    pub measures: BTreeMap<String, f64>,
}

/// The labelled photographs that a network learned from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LearnedPhotographs {
    /// SHA-256 of all photographs and masks, those that are held out too.
    pub sha256: String,
    /// Photographs that were learned from.
    pub n_training: usize,
    /// SHA-256 of each of these.
    pub training_sha256: Vec<String>,
    /// Photographs at the borders of held-out blocks, which were not used.
    pub n_between: usize,
    /// Names of the photographs that were held out.
    pub held_out: Vec<String>,
}

/// Everything about a network but its numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct About {
    /// Its format.
    pub format: Format,
    /// How it was trained.
    pub settings: TrainSettings,
    /// Names of the classes, background first.
    pub classes: Vec<String>,
    /// Lengths of the atlas's axes, micrometres.
    pub extent_um: [f64; 3],
    /// SHA-256 of the atlas that it learned from.
    pub atlas_sha256: String,
    /// Whether half of the images showed the atlas's template; without one all were painted.
    pub saw_template: bool,
    /// How its weights began.
    pub beginning: Beginning,
    /// Threads that computed; 0 on a GPU.
    pub threads: usize,
    /// The loss of every step.
    pub losses: Vec<f64>,
    /// What it does on held-out planes; none while it is being trained.
    pub held_out: Option<HeldOut>,
    /// The labelled photographs, if it learned from any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photographs: Option<LearnedPhotographs>,
    /// What it does on the labelled photographs that were held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_out_photographs: Option<HeldOut>,
}

#[cfg_attr(not(feature = "torch"), allow(dead_code))]
impl About {
    pub(crate) fn parse(text: Option<&str>, path: &Path) -> Result<Self, NetworkError> {
        let other = |reason: &str| {
            let reason = format!(
                "not a network of this version of tangram ({reason}); make one with `tangram atlas train`"
            );
            NetworkError::weights(path, reason)
        };
        let text = text.ok_or_else(|| other("its metadata is missing"))?;
        serde_json::from_str(text).map_err(|e| other(&e.to_string()))
    }

    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts")
    }

    /// Refuses to go on with another training than the one that was interrupted.
    pub(crate) fn must_continue(&self, now: &Self, path: &Path) -> Result<(), NetworkError> {
        let settings = |about: &Self| serde_json::to_value(&about.settings).expect("numbers");
        let (then, asked) = (settings(self), settings(now));
        let fields = then.as_object().into_iter().flatten();
        let mut differs = fields
            .filter(|(name, value)| asked.get(name.as_str()) != Some(value))
            .map(|(name, value)| format!("{name} was {value}, now {}", asked[name.as_str()]));
        let other = match () {
            () if let Some(difference) = differs.next() => difference,
            // Not among the names above where it was 1.
            () if self.settings.shards != now.settings.shards => format!(
                "shards was {}, now {}",
                self.settings.shards, now.settings.shards
            ),
            () if self.settings.labelled_share != now.settings.labelled_share => format!(
                "labelled-share was {:?}, now {:?}",
                self.settings.labelled_share, now.settings.labelled_share
            ),
            () if self.photographs != now.photographs => {
                "the labelled images are others".to_owned()
            }
            () if self.atlas_sha256 != now.atlas_sha256 => "the atlas is another one".to_owned(),
            () if self.classes != now.classes => "the classes are others".to_owned(),
            () if self.beginning != now.beginning => format!("then {}", self.beginning),
            () if self.threads != now.threads => format!(
                "it ran with {}, now {}; another number changes the rounding",
                threads(self.threads),
                threads(now.threads)
            ),
            () => return Ok(()),
        };
        let reason = format!(
            "the interrupted training is not the one asked for: {other}; repeat its settings, or remove the file"
        );
        Err(NetworkError::weights(path, reason))
    }
}

fn threads(n: usize) -> String {
    match n {
        0 => "a GPU".to_owned(),
        n => format!("--threads {n}"),
    }
}
