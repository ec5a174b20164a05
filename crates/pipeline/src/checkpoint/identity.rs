//! What must be the same of a command that goes on from a checkpoint.

use crate::error::Result;
use crate::inputs::Inputs;
use crate::settings::MapSettings;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use tangram_store::{fingerprint, fingerprint_names};
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

/// The program, the settings and everything that a run has read, as its checkpoints record them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the program.
    #[serde(default)]
    program: String,
    /// All settings that the result depends on, as TOML.
    settings: String,
    cells_sha256: String,
    voxels_sha256: String,
    /// What follows from settings and files, by name: the genes, the prior, the initial logits.
    #[serde(default)]
    read: BTreeMap<String, String>,
}

impl Identity {
    /// Of settings in which nothing is open any more, and of what was read by them. Only the first rank knows the hashes of the files.
    ///
    /// # Errors
    /// If TOML cannot hold the settings, or the initial logits cannot be read.
    pub fn new(settings: &MapSettings, inputs: &Inputs) -> Result<Self> {
        let genes = &inputs.genes;
        let genes = [&genes.names, &genes.held_out.names, &inputs.dropped];
        let mut read = vec![(
            "the list of genes",
            fingerprint_names(&genes.map(|names| fingerprint_names(names))),
        )];
        if let Some(prior) = inputs.problem.prior() {
            read.push(("the density prior", of_numbers(prior.weights())));
        }
        if let Some(filter) = inputs.problem.filter() {
            let initial = filter.initial.iter().flatten();
            let numbers: Vec<f64> = initial.copied().chain([filter.target]).collect();
            read.push((
                "the number of cells to keep or what the filter begins from",
                of_numbers(&numbers),
            ));
        }
        let first_rank = !inputs.cells.sha256.is_empty();
        if let Some(logits) = settings.init_logits.as_deref().filter(|_| first_rank) {
            read.push(("the file of initial logits", fingerprint(logits)?));
        }
        Self::of_parts(
            settings,
            [&inputs.cells.sha256, &inputs.voxels.sha256],
            &read,
        )
    }

    fn of_parts(
        settings: &MapSettings,
        [cells_sha256, voxels_sha256]: [&str; 2],
        read: &[(&str, String)],
    ) -> Result<Self> {
        let read = read
            .iter()
            .map(|(name, hash)| ((*name).to_owned(), hash.clone()));
        Ok(Self {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            settings: toml::to_string(&decisive(Table::try_from(settings)?))?,
            cells_sha256: cells_sha256.to_owned(),
            voxels_sha256: voxels_sha256.to_owned(),
            read: read.collect(),
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
        let mut names = self.read.keys().chain(begun.read.keys());
        if let Some(name) = names.find(|name| self.read.get(*name) != begun.read.get(*name)) {
            return Some(format!("{name} has changed"));
        }
        if self.program != begun.program {
            let version = match begun.program.as_str() {
                "" => "an older version",
                version => version,
            };
            return Some(format!(
                "it was begun by {version} of the program, this is {}",
                self.program
            ));
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

fn of_numbers(numbers: &[f64]) -> String {
    let mut hash = Sha256::new();
    numbers.iter().for_each(|n| hash.update(n.to_le_bytes()));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
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
    use tangram_core::Term;

    fn identity(settings: &MapSettings) -> Identity {
        let read = [("the list of genes", "g".to_owned())];
        Identity::of_parts(settings, ["c", "v"], &read).unwrap()
    }

    #[test]
    fn whatever_was_read_tells_two_runs_apart() {
        let begun = identity(&MapSettings::new("/a", "/b"));
        let told = |change: fn(&mut Identity)| {
            let mut now = begun.clone();
            change(&mut now);
            now.difference(&begun).unwrap()
        };
        let genes = |now: &mut Identity| {
            now.read
                .insert("the list of genes".to_owned(), "h".to_owned());
        };
        assert_eq!(told(genes), "the list of genes has changed");
        assert_eq!(
            told(|now| now.read.clear()),
            "the list of genes has changed"
        );
        let prior = |now: &mut Identity| {
            now.read
                .insert("the density prior".to_owned(), "p".to_owned());
        };
        assert_eq!(told(prior), "the density prior has changed");
        assert!(told(|now| now.program = "2".to_owned()).contains("this is 2"));
    }

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
        let [begun, now] = [begun, now].map(|s| identity(&s));
        assert_eq!(now.difference(&begun), None);
    }

    #[test]
    fn what_differs_is_told_in_the_words_of_the_flags() {
        let begun = MapSettings::new("/a", "/b");
        let now = MapSettings {
            objective: begun.objective.with(Term::Gene, 2.0),
            ..begun.clone()
        };
        let [begun, now] = [begun, now].map(|s| identity(&s));
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
