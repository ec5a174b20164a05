//! What a run must have in common with the one that wrote a checkpoint to go on from it.

use crate::inputs::Inputs;
use crate::settings::{DeviceChoice, MapSettings, MappingFormat, Stream};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tangram_comm::Reduce;
use tangram_store::{fingerprint, fingerprint_names};

/// What is the same of a run that may go on from a checkpoint: the program, the settings, and everything that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Version of the program.
    #[serde(default)]
    program: String,
    /// All settings that the result depends on, as TOML.
    settings: String,
    cells_sha256: String,
    voxels_sha256: String,
    /// Of the names of the training genes, of those held out, and of those dropped as zero.
    #[serde(default)]
    genes_sha256: String,
    /// Of the weights of the density prior; empty without one.
    #[serde(default)]
    prior_sha256: String,
    /// Of the file of initial logits; empty without one.
    #[serde(default)]
    logits_sha256: String,
}

impl Identity {
    /// Of resolved settings and of what was read by them. Only the first rank knows the hashes of the files.
    ///
    /// # Errors
    /// If the settings cannot be written as TOML, or the initial logits cannot be read.
    pub fn new(settings: &MapSettings, inputs: &Inputs) -> Result<Self> {
        let same = MapSettings {
            threads: None,
            grid: None,
            epochs: None,
            keep: None,
            reduce: Reduce::Fast,
            device: DeviceChoice::Cpu,
            gpu_memory: None,
            device_block: None,
            stream: Stream::Auto,
            format: MappingFormat::Zarr,
            ..settings.clone()
        };
        let first_rank = !inputs.cells.sha256.is_empty();
        let logits = settings.init_logits.as_deref().filter(|_| first_rank);
        let genes = &inputs.genes;
        let parts = [&genes.names, &genes.held_out.names, &inputs.dropped];
        Ok(Self {
            program: env!("CARGO_PKG_VERSION").to_owned(),
            settings: toml::to_string(&same)?,
            cells_sha256: inputs.cells.sha256.clone(),
            voxels_sha256: inputs.voxels.sha256.clone(),
            genes_sha256: fingerprint_names(&parts.map(|names| fingerprint_names(names))),
            prior_sha256: inputs
                .problem
                .prior()
                .map_or_else(String::new, |prior| of_numbers(prior.weights())),
            logits_sha256: logits.map(fingerprint).transpose()?.unwrap_or_default(),
        })
    }

    /// What differs from that of a checkpoint, in the user's words.
    pub(super) fn difference(&self, other: &Self) -> Option<String> {
        let (mine, theirs) = (self.settings.lines(), other.settings.lines());
        let mine: Vec<_> = mine.filter(|l| !other.settings.contains(l)).collect();
        let theirs: Vec<_> = theirs.filter(|l| !self.settings.contains(l)).collect();
        if self.settings != other.settings {
            return Some(format!(
                "it was begun with `{}`, this command says `{}`",
                theirs.join(", "),
                mine.join(", ")
            ));
        }
        let changed = [
            (
                &self.cells_sha256,
                &other.cells_sha256,
                "the cells' file has changed",
            ),
            (
                &self.voxels_sha256,
                &other.voxels_sha256,
                "the voxels' file has changed",
            ),
            (
                &self.genes_sha256,
                &other.genes_sha256,
                "the list of genes has changed",
            ),
            (
                &self.prior_sha256,
                &other.prior_sha256,
                "the density prior has changed",
            ),
            (
                &self.logits_sha256,
                &other.logits_sha256,
                "the file of initial logits has changed",
            ),
        ];
        if let Some((_, _, what)) = changed.iter().find(|(mine, theirs, _)| mine != theirs) {
            return Some((*what).to_owned());
        }
        (self.program != other.program).then(|| {
            let theirs = match other.program.as_str() {
                "" => "an older version",
                version => version,
            };
            format!(
                "it was begun by {theirs} of the program, this is {}",
                self.program
            )
        })
    }
}

fn of_numbers(numbers: &[f64]) -> String {
    let mut hash = Sha256::new();
    numbers.iter().for_each(|n| hash.update(n.to_le_bytes()));
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_decides_the_result_tells_two_runs_apart() {
        let one = Identity {
            program: "1".into(),
            settings: "seed = 1\nprior = \"rna\"\n".into(),
            cells_sha256: "a".into(),
            voxels_sha256: "b".into(),
            genes_sha256: "c".into(),
            prior_sha256: "d".into(),
            logits_sha256: String::new(),
        };
        assert_eq!(one.difference(&one), None);
        let told = |change: fn(&mut Identity)| {
            let mut other = one.clone();
            change(&mut other);
            one.difference(&other).unwrap()
        };
        assert!(told(|o| o.genes_sha256 = "x".into()).contains("list of genes"));
        assert!(told(|o| o.prior_sha256.clear()).contains("prior"));
        assert!(told(|o| o.logits_sha256 = "x".into()).contains("initial logits"));
        assert!(told(|o| o.cells_sha256 = "x".into()).contains("cells' file"));
        assert!(told(|o| o.program.clear()).contains("an older version"));
        let said = told(|o| o.settings = "seed = 2\nprior = \"rna\"\n".into());
        assert!(
            said.contains("`seed = 2`") && said.contains("`seed = 1`"),
            "{said}"
        );
    }
}
