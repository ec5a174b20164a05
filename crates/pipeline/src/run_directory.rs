//! The directory of a run: the mapping, its history, and `run.toml` with settings, versions and input hashes.

use crate::error::{PipelineError, Result, Within};
use crate::run_files;
use crate::settings::MapSettings;
use crate::versions::Versions;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use tangram_core::{Shown, Summary, Term, TermValues};
use tangram_mapper::{Epoch, TemperatureScore};
use tangram_store::{Existing, fingerprint};

/// The file that makes a directory a run.
pub const RUN_FILE: &str = "run.toml";
pub(crate) const HISTORY_FILE: &str = "history.tsv";

/// `run.toml`: settings under `[map]`, so that the file serves as `--config` to repeat the run, and `[record]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunFile {
    /// The resolved settings.
    pub map: MapSettings,
    /// The results.
    pub record: Record,
}

/// Inputs, versions and results of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Record {
    /// Name of the factors' file in the directory, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factors: Option<String>,
    /// Name of the probabilities' file, if they are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapping: Option<String>,
    /// Whether the cells were streamed: read from disk at every pass.
    #[serde(default)]
    pub streamed: bool,
    /// SHA-256 of the cells' names in their order.
    #[serde(default)]
    pub cell_names_sha256: String,
    /// Cells of which the filter keeps more than half, where one was learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_kept: Option<usize>,
    /// The total to which every cell was normalised.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub library_median: Option<f64>,
    /// Number of cells.
    pub n_cells: usize,
    /// Number of their clusters, if they were mapped by clusters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_clusters: Option<usize>,
    /// Number of cells without a label, which are in no cluster.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub n_unlabelled: usize,
    /// Number of voxels.
    pub n_voxels: usize,
    /// Voxels without a count that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dropped_voxels: Vec<String>,
    /// Number of training genes.
    pub n_genes: usize,
    /// Entries of the mapping that are stored.
    pub n_stored: usize,
    /// Mean over cells of the probability that is not stored.
    pub mean_dropped_mass: f64,
    /// Epochs that were run.
    pub epochs_run: usize,
    /// The epochs as a number of passes over all cells: epochs over batches count less than one.
    pub full_passes: f64,
    /// Whether the loss converged before the last epoch.
    pub stopped_early: bool,
    /// The device of the first rank.
    #[serde(default)]
    pub device: String,
    /// Precision of the products and, on a device, the operation of libtorch that multiplies.
    #[serde(default)]
    pub products: String,
    /// Median seconds of an epoch.
    pub seconds_per_epoch: f64,
    /// Seconds of training, without reading and writing.
    pub seconds_training: f64,
    /// Peak memory of the process.
    pub peak_memory_bytes: u64,
    /// Loss terms of the mapping. Adam's are computed before its last step.
    pub final_loss: FinalLoss,
    /// Cosine and other scores of the training genes, from the exact mapping.
    pub train_score: Option<TrainScore>,
    /// Scores of the temperatures from which `auto` chose. The settings name the chosen one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temperatures: Vec<TemperatureScore>,
    /// The cells' file.
    pub cells: InputRecord,
    /// The voxels' file.
    pub voxels: InputRecord,
    /// The grid of ranks, CELLSxVOXELSxGENES, if there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<String>,
    /// Seconds of training that the first rank spent in sums over ranks, including waits for the slowest rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds_exchanging: Option<f64>,
    /// Bytes that the first rank contributed to sums over ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_exchanged: Option<u64>,
    /// Peak memory of each rank at the end of training, before anything was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peak_memory_by_rank: Vec<u64>,
    /// Number of the files in the directory beside `run.toml`, which `files.tsv` lists, and SHA-256 of that list. Runs of older versions
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<FileList>,
    /// Versions of everything that matters.
    pub versions: Versions,
    /// Genes by their part in training.
    pub genes: GeneRecord,
}

/// Whether there are none, which `run.toml` leaves out.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// The list of a run's files, `files.tsv`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileList {
    /// How many there are.
    pub number: usize,
    /// SHA-256 of the list.
    pub sha256: String,
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

/// The loss and the terms that were computed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct FinalLoss {
    /// The loss.
    pub total: f64,
    /// Values of the terms, by their names.
    #[serde(flatten)]
    pub terms: TermValues,
}

/// An input and the hash of its contents.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InputRecord {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its contents.
    pub sha256: String,
}

/// Genes by their role in training; each list is sorted.
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
    /// The word of [`part_of`](Self::part_of) for a training gene.
    pub const TRAINED: &'static str = "trained";

    /// The role of a gene in training: `trained`, `held_out` or `other`.
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
    /// Opens the directory of a run, all of whose files must be there with their sizes.
    ///
    /// # Errors
    /// [`PipelineError::NotARun`] if it is none, [`PipelineError::Torn`] if files are missing or cut off.
    pub fn open(path: &Path) -> Result<Self, PipelineError> {
        let not_a_run = |reason: String| PipelineError::NotARun {
            path: path.to_owned(),
            reason,
        };
        let text = tangram_store::read_text(&path.join(RUN_FILE))
            .map_err(|e| not_a_run(format!("{RUN_FILE}: {e}")))?;
        let file: RunFile =
            toml::from_str(&text).map_err(|e| not_a_run(format!("{RUN_FILE}: {}", e.message())))?;
        if let Some(files) = &file.record.files {
            run_files::check(path, files)?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// A run that is being written: its files are there, `run.toml` is not yet.
    pub(crate) fn being_written(path: &Path, file: &RunFile) -> Self {
        Self {
            path: path.to_owned(),
            file: file.clone(),
        }
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

    /// Its inputs, versions and results.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.file.record
    }

    /// The file from which later commands read the mapping: its factors, or its probabilities if it has no factors.
    ///
    /// # Errors
    /// [`PipelineError::NotARun`] if the run names neither.
    pub fn mapping(&self) -> Result<PathBuf, PipelineError> {
        let Record {
            factors, mapping, ..
        } = self.record();
        let name = factors.as_ref().or(mapping.as_ref());
        name.map(|name| self.path.join(name))
            .ok_or_else(|| PipelineError::NotARun {
                path: self.path.clone(),
                reason: format!("{RUN_FILE} names no factors and no mapping"),
            })
    }

    /// The file to read cells or voxels from: `other` if given, else the run's own if it is unchanged.
    ///
    /// * `flag`: the flag by which `other` is given
    ///
    /// # Errors
    /// [`PipelineError::Changed`] if the file of the run has other contents by now; if it cannot be read.
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
        let now = fingerprint(&path)
            .within(|| format!("an input of the run is gone; say where it is now with {flag}"))?;
        if now == recorded.sha256 {
            Ok(path)
        } else {
            Err(PipelineError::Changed {
                path,
                run: self.path.clone(),
                flag,
            })
        }
    }
}

/// The folder of checkpoints of an output.
#[must_use]
pub fn checkpoints_of(out: &Path) -> PathBuf {
    let mut name: OsString = out.file_name().unwrap_or_default().to_owned();
    name.push(".checkpoint");
    out.with_file_name(name)
}

/// Whether an output in the place of a new one may be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// It may not.
    Never,
    /// It may, if this program wrote it.
    IfOurs,
}

/// Whether a directory that exists may be replaced: only if asked, and only one that has the file `marker`.
///
/// # Errors
/// [`PipelineError::NotOurs`] if there is something else at `path`.
pub fn existing(
    path: &Path,
    replace: Replace,
    marker: &'static str,
) -> Result<Existing, PipelineError> {
    if replace == Replace::Never {
        return Ok(Existing::Refuse);
    }
    if path.symlink_metadata().is_ok() && !path.join(marker).is_file() {
        return Err(PipelineError::NotOurs {
            path: path.to_owned(),
            marker,
        });
    }
    Ok(Existing::Replace)
}

/// Whether an output file that exists may be replaced: only if asked, never one that is read from, and of folders
/// only a Zarr store.
///
/// # Errors
/// [`PipelineError::Usage`] if the output is an input too; [`PipelineError::NotOurs`] if there is some other folder.
pub fn replaceable(
    path: &Path,
    replace: Replace,
    inputs: &[&Path],
) -> Result<Existing, PipelineError> {
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
        return Err(PipelineError::Usage(text));
    }
    let is_zarr = ["zarr.json", ".zgroup"]
        .iter()
        .any(|name| path.join(name).is_file());
    match (replace, path.is_dir() && !is_zarr) {
        (Replace::Never, _) => Ok(Existing::Refuse),
        (Replace::IfOurs, true) => Err(PipelineError::NotOurs {
            path: path.to_owned(),
            marker: "zarr.json",
        }),
        (Replace::IfOurs, false) => Ok(Existing::Replace),
    }
}

/// Lists the files of a run that is whole otherwise, and writes `run.toml`, which makes it one.
///
/// # Errors
/// If they cannot be written.
pub fn write_run_file(directory: &Path, file: &mut RunFile) -> Result<()> {
    file.record.files = Some(run_files::write(directory)?);
    let text = toml::to_string(file)?;
    write(&directory.join(RUN_FILE), &text)
}

/// Writes `history.tsv`: one line an epoch, numbers in full precision, a term that was not computed left empty.
///
/// # Errors
/// If it cannot be written.
pub fn write_history(directory: &Path, history: &[Epoch]) -> Result<()> {
    let computed = |term: &Term| history.iter().any(|e| e.terms[*term].is_some());
    let shown = |term: &Term| term.about().shown == Shown::Always || computed(term);
    let terms: Vec<Term> = Term::ALL.into_iter().filter(shown).collect();
    let names: Vec<&str> = terms.iter().map(|term| term.about().name).collect();
    let names = names.join("\t");
    let mut text = format!("epoch\ttotal\t{names}\tcells\tstep\tspread\telapsed_s\n");
    let number = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for e in history {
        let terms: Vec<String> = terms.iter().map(|&term| number(e.terms[term])).collect();
        let terms = terms.join("\t");
        let moved = [e.step, e.spread].map(number).join("\t");
        text.push_str(&format!(
            "{}\t{}\t{terms}\t{}\t{moved}\t{}\n",
            e.epoch, e.total, e.n_cells, e.elapsed_s
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
