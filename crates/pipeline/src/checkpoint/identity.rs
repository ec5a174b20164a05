//! What must be the same of a command that goes on from a checkpoint.

use crate::error::Result;
use crate::settings::MapSettings;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Settings that may differ: they do not change the result, or, as the number of epochs, only where it ends.
const MAY_DIFFER: [&str; 10] = [
    "threads",
    "grid",
    "epochs",
    "keep",
    "reduce",
    "device",
    "gpu-memory",
    "device-block",
    "stream",
    "format",
];

/// The settings and inputs of a run, as its checkpoints record them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// All settings that the result depends on, as TOML.
    settings: String,
    cells_sha256: String,
    voxels_sha256: String,
}

impl Identity {
    /// Of settings in which nothing is open any more, and the hashes of the inputs.
    ///
    /// # Errors
    /// If TOML cannot hold the settings.
    pub fn new(settings: &MapSettings, cells_sha256: &str, voxels_sha256: &str) -> Result<Self> {
        Ok(Self {
            settings: toml::to_string(&decisive(Table::try_from(settings)?))?,
            cells_sha256: cells_sha256.to_owned(),
            voxels_sha256: voxels_sha256.to_owned(),
        })
    }

    /// What differs from the identity of a checkpoint, in the user's words.
    pub(super) fn difference(&self, begun: &Self) -> Option<String> {
        if self.cells_sha256 != begun.cells_sha256 {
            return Some("the cells' file has changed".to_owned());
        }
        if self.voxels_sha256 != begun.voxels_sha256 {
            return Some("the voxels' file has changed".to_owned());
        }
        let (now, begun) = (lines(&self.settings), lines(&begun.settings));
        let only = |these: &[String], others: &[String]| {
            let only = these.iter().filter(|line| !others.contains(line));
            only.cloned().collect::<Vec<_>>().join(", ")
        };
        (now != begun).then(|| {
            format!(
                "it was started with `{}`, this command has `{}`",
                only(&begun, &now),
                only(&now, &begun)
            )
        })
    }
}

fn decisive(mut settings: Table) -> Table {
    settings.retain(|key, _| !MAY_DIFFER.contains(&key));
    settings
}

/// `key = value` for every decisive setting, sorted by key.
fn lines(settings: &str) -> Vec<String> {
    // A text that is no TOML differs from any that is.
    let table: Table = settings.parse().unwrap_or_default();
    let line = |(key, value): (String, Value)| format!("{key} = {value}");
    decisive(table).into_iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choices::{DeviceChoice, MappingFormat, Stream};

    #[test]
    fn what_does_not_change_the_result_may_differ() {
        let begun = MapSettings::new("/a", "/b");
        let now = MapSettings {
            threads: begun.threads + 1,
            epochs: begun.epochs + 1,
            device: DeviceChoice::Auto,
            stream: Stream::On,
            format: MappingFormat::H5ad,
            ..begun.clone()
        };
        let [begun, now] = [begun, now].map(|s| Identity::new(&s, "c", "v").unwrap());
        assert_eq!(now.difference(&begun), None);
    }

    #[test]
    fn what_differs_is_told_in_the_words_of_the_flags() {
        let begun = MapSettings::new("/a", "/b");
        let now = MapSettings {
            lambda_g1: 2.0,
            ..begun.clone()
        };
        let [begun, now] = [begun, now].map(|s| Identity::new(&s, "c", "v").unwrap());
        assert_eq!(
            now.difference(&begun).unwrap(),
            "it was started with `lambda-g1 = 1.0`, this command has `lambda-g1 = 2.0`"
        );
        let other = Identity {
            cells_sha256: "d".to_owned(),
            ..begun.clone()
        };
        assert!(other.difference(&begun).unwrap().contains("cells"));
    }
}
