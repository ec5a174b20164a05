//! The directory of a run: the mapping, its history, and `run.toml`, which says what it was made from.

use crate::error::CliError;
use crate::map_settings::MapSettings;
use crate::versions::Versions;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use tangram_core::Summary;
use tangram_mapper::{Epoch, TemperatureScore};
use tangram_store::{Existing, fingerprint};

/// The file that makes a directory a run.
pub const RUN_FILE: &str = "run.toml";
const HISTORY_FILE: &str = "history.tsv";

/// `run.toml`: settings under `[map]`, so that the file serves as `--config` to repeat the run, and `[record]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// The resolved settings.
    pub map: MapSettings,
    /// What came of them.
    pub record: Record,
}

/// What a run was made from, by what, and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Name of the file of factors in the directory, where the mapping has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factors: Option<String>,
    /// Name of the file of probabilities, where they are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// Whether the cells were read from disk at every pass.
    #[serde(default)]
    pub streamed: bool,
    /// SHA-256 of the cells' names in their order.
    #[serde(default)]
    pub cell_names_sha256: String,
    /// The total that every cell was brought to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library_median: Option<f64>,
    /// Number of cells.
    pub n_cells: usize,
    /// Number of voxels.
    pub n_voxels: usize,
    /// Number of training genes.
    pub n_genes: usize,
    /// Entries of the mapping that are stored.
    pub n_stored: usize,
    /// Mean over cells of the probability that is not stored.
    pub mean_dropped_mass: f64,
    /// Epochs that were run.
    pub epochs_run: usize,
    /// The same in passes over all cells.
    pub full_passes: f64,
    /// Whether the loss came to rest before the last epoch.
    pub stopped_early: bool,
    /// What did the work, of the first rank.
    #[serde(default)]
    pub device: String,
    /// Precision of the products and, on a device, how it multiplies.
    #[serde(default)]
    pub products: String,
    /// Median over epochs.
    pub seconds_per_epoch: f64,
    /// Of training, without reading and writing.
    pub seconds_training: f64,
    /// The most memory the process held.
    pub peak_memory_bytes: u64,
    /// Loss terms of the mapping; of adam's, before its last step.
    pub final_loss: FinalLoss,
    /// Cosine and other scores of the training genes, from the exact mapping.
    pub train_score: Option<TrainScore>,
    /// What the temperatures were worth from which `auto` chose; the one chosen is in the settings.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<TemperatureScore>,
    /// The cells' file.
    pub cells: InputRecord,
    /// The voxels' file.
    pub voxels: InputRecord,
    /// The ranks that learned it, CELLSxVOXELSxGENES, where there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Of the seconds of training, those of the first rank in sums over ranks, waiting for the slowest included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_exchanging: Option<f64>,
    /// Bytes that the first rank brought to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_exchanged: Option<u64>,
    /// The most memory that each rank had held when all had learned, before anything was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peak_memory_by_rank: Vec<u64>,
    /// Versions of everything that matters.
    pub versions: Versions,
    /// Genes by their part in training.
    pub genes: GeneRecord,
}

/// Scores of the training genes in short.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TrainScore {
    /// Mean cosine.
    pub mean_cosine: f64,
    /// Share of genes above 0.4.
    pub share_above: f64,
}

impl From<Summary> for TrainScore {
    fn from(summary: Summary) -> Self {
        Self {
            mean_cosine: summary.mean_cosine,
            share_above: summary.share_above,
        }
    }
}

/// The loss before the last step, and its terms that were computed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FinalLoss {
    /// The loss.
    pub total: f64,
    /// Mean cosine of genes.
    pub gene: f64,
    /// Mean cosine of voxels.
    pub voxel: Option<f64>,
    /// Divergence of the density from the prior.
    pub density: Option<f64>,
    /// Entropy of the mapping.
    pub entropy: Option<f64>,
}

/// An input and what it contained.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputRecord {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its contents.
    pub sha256: String,
}

/// Genes by their part in training; each list sorted.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GeneRecord {
    /// Trained on.
    pub training: Vec<String>,
    /// Held out.
    pub held_out: Vec<String>,
    /// Shared, but zero everywhere in the cells or in the voxels.
    pub dropped: Vec<String>,
}

impl GeneRecord {
    /// What [`part_of`](Self::part_of) says of a training gene.
    pub const TRAINED: &'static str = "trained";

    /// The part a gene had in training: `trained`, `held_out` or `other`.
    #[must_use]
    pub fn part_of(&self, gene: &str) -> &'static str {
        let has = |names: &[String]| names.binary_search_by(|n| n.as_str().cmp(gene)).is_ok();
        match (has(&self.training), has(&self.held_out)) {
            (true, _) => Self::TRAINED,
            (_, true) => "held_out",
            _ => "other",
        }
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
    file: RunFile,
}

impl RunDirectory {
    /// Opens the directory of a run.
    ///
    /// # Errors
    /// [`CliError::NotARun`] if it is none.
    pub fn open(path: &Path) -> Result<Self, CliError> {
        let not_a_run = |reason: String| CliError::NotARun {
            path: path.to_owned(),
            reason,
        };
        let text = fs::read_to_string(path.join(RUN_FILE))
            .map_err(|e| not_a_run(format!("{RUN_FILE}: {e}")))?;
        let file: RunFile =
            toml::from_str(&text).map_err(|e| not_a_run(format!("{RUN_FILE}: {}", e.message())))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The settings it was made with.
    #[must_use]
    pub fn settings(&self) -> &MapSettings {
        &self.file.map
    }

    /// What came of them.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.file.record
    }

    /// The file that later commands read the mapping from: its factors, or where there are none its probabilities.
    ///
    /// # Errors
    /// [`CliError::NotARun`] if the run names neither.
    pub fn mapping(&self) -> Result<PathBuf, CliError> {
        let Record {
            factors, mapping, ..
        } = self.record();
        let name = factors.as_ref().or(mapping.as_ref());
        name.map(|name| self.path.join(name))
            .ok_or_else(|| CliError::NotARun {
                path: self.path.clone(),
                reason: format!("{RUN_FILE} names no factors and no mapping"),
            })
    }

    /// The file to read cells or voxels from: another one if given, else the one of the run if it is unchanged.
    ///
    /// * `flag`: the flag by which `other` is given
    ///
    /// # Errors
    /// [`CliError::Changed`] if the file of the run has other contents by now; if it cannot be read.
    pub fn input(
        &self,
        recorded: &InputRecord,
        other: Option<&Path>,
        flag: &'static str,
    ) -> Result<PathBuf> {
        if let Some(other) = other {
            return Ok(other.to_owned());
        }
        let path = recorded.path.clone();
        let now = fingerprint(&path).with_context(|| {
            format!("an input of the run is gone; say where it is now with {flag}")
        })?;
        if now == recorded.sha256 {
            Ok(path)
        } else {
            Err(CliError::Changed {
                path,
                run: self.path.clone(),
                flag,
            }
            .into())
        }
    }
}

/// Whether a directory that exists may be replaced: only with `--force`, and only one that has the file `marker`.
///
/// # Errors
/// [`CliError::NotOurs`] if there is something else at `path`.
pub fn existing(path: &Path, force: bool, marker: &'static str) -> Result<Existing, CliError> {
    if !force {
        return Ok(Existing::Refuse);
    }
    if path.symlink_metadata().is_ok() && !path.join(marker).is_file() {
        return Err(CliError::NotOurs {
            path: path.to_owned(),
            marker,
        });
    }
    Ok(Existing::Replace)
}

/// Whether an output file that exists may be replaced: only with `--force`, never one that is read from, and of folders
/// only a Zarr store.
///
/// # Errors
/// [`CliError::Usage`] if the output is an input too; [`CliError::NotOurs`] if there is some other folder.
pub fn replaceable(path: &Path, force: bool, inputs: &[&Path]) -> Result<Existing, CliError> {
    let Ok(real) = path.canonicalize() else {
        return Ok(Existing::Refuse);
    };
    let read_from = |input: &&Path| {
        input
            .canonicalize()
            .is_ok_and(|input| input.starts_with(&real) || real.starts_with(input))
    };
    if let Some(input) = inputs.iter().copied().find(|i| read_from(i)) {
        let text = format!(
            "{}: would overwrite the input {}; choose another name",
            path.display(),
            input.display()
        );
        return Err(CliError::Usage(text));
    }
    let is_zarr = ["zarr.json", ".zgroup"]
        .iter()
        .any(|name| path.join(name).is_file());
    match (force, path.is_dir() && !is_zarr) {
        (false, _) => Ok(Existing::Refuse),
        (true, true) => Err(CliError::NotOurs {
            path: path.to_owned(),
            marker: "zarr.json",
        }),
        (true, false) => Ok(Existing::Replace),
    }
}

/// Writes `run.toml`.
///
/// # Errors
/// If it cannot be written.
pub fn write_run_file(directory: &Path, file: &RunFile) -> Result<()> {
    let text = toml::to_string(file).context("run.toml")?;
    write(&directory.join(RUN_FILE), &text)
}

/// Writes `history.tsv`: one line an epoch, numbers in full precision, a term that was not computed left empty.
///
/// # Errors
/// If it cannot be written.
pub fn write_history(directory: &Path, history: &[Epoch]) -> Result<()> {
    let mut text =
        "epoch\ttotal\tgene\tvoxel\tdensity\tentropy\tcells\tstep\tspread\telapsed_s\n".to_owned();
    let term = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for e in history {
        let terms = [e.voxel, e.density, e.entropy].map(term).join("\t");
        let moved = [e.step, e.spread].map(term).join("\t");
        text.push_str(&format!(
            "{}\t{}\t{}\t{terms}\t{}\t{moved}\t{}\n",
            e.epoch, e.total, e.gene, e.n_cells, e.elapsed_s
        ));
    }
    write(&directory.join(HISTORY_FILE), &text)
}

/// Writes a text file.
///
/// # Errors
/// [`StoreError::Write`](tangram_store::StoreError::Write), as for every other output.
pub fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|e| {
        tangram_store::StoreError::Write {
            path: path.to_owned(),
            reason: e.to_string(),
        }
        .into()
    })
}
