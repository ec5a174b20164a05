//! The manifest of a sweep: what is to be done, written once.

use crate::{Fold, SweepError};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;
use tangram_store::{Existing, fingerprint, fingerprint_names, write_aside};
use toml::Table;

/// Name of the manifest in the folder of a sweep.
pub const MANIFEST: &str = "sweep.toml";
/// The form of the folder; a program that does not know it must not touch it.
const FORMAT: u32 = 1;

/// What a sweep does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// The form of the folder.
    pub format: u32,
    /// Which sweep it is.
    pub kind: Kind,
    /// Version of the program that made it.
    pub version: String,
    /// Folds of a task; the last task may have fewer.
    pub folds_per_task: usize,
    /// Seconds that one fold was estimated to take.
    pub seconds_per_fold: f64,
    /// SHA-256 of the cells' file.
    pub cells_sha256: String,
    /// SHA-256 of the voxels' file.
    pub voxels_sha256: String,
    /// Number of voxels.
    pub n_voxels: usize,
    /// Where trainings begin.
    pub start: Start,
    /// Genes that train in some fold, sorted.
    #[serde(default)]
    pub genes: Vec<String>,
    /// The settings of the mapping, as `tangram map` has them.
    pub map: Table,
    /// The trainings.
    #[serde(flatten)]
    pub work: Work,
}

/// The sweeps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Every gene held out in turn.
    LeaveOneOut,
    /// The genes in so many parts, each held out in turn.
    KFold,
    /// Trainings on parts of the genes.
    Ablation,
    /// The same mapping from several seeds.
    Seeds,
    /// The same cells onto several sections.
    Sections,
    /// Mappings with settings of their own.
    List,
}

impl Kind {
    /// Whether every gene is predicted by one fold at most, so that predictions make one matrix.
    #[must_use]
    pub fn predicts(self) -> bool {
        matches!(self, Self::LeaveOneOut | Self::KFold)
    }
}

/// Where the trainings of folds begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// From nothing, as `tangram map` does.
    Cold,
    /// From the mapping of all genes without the genes held out.
    Warm,
}

/// The trainings of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Work {
    /// Over parts of the genes, each of which is predicted and scored.
    #[serde(rename = "fold")]
    Folds(Vec<Fold>),
    /// Over settings, each of which gives a run of its own.
    #[serde(rename = "run")]
    Runs(Vec<RunSpec>),
}

/// A mapping with settings of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunSpec {
    /// Name of its folder in `runs/`.
    pub name: String,
    /// All settings, as `tangram map` has them.
    pub map: Table,
}

impl Manifest {
    /// The format that [`write`](Self::write) writes.
    pub const FORMAT: u32 = FORMAT;

    /// Number of trainings.
    #[must_use]
    pub fn n_folds(&self) -> usize {
        match &self.work {
            Work::Folds(folds) => folds.len(),
            Work::Runs(runs) => runs.len(),
        }
    }

    /// Number of tasks.
    #[must_use]
    pub fn n_tasks(&self) -> usize {
        self.n_folds().div_ceil(self.folds_per_task.max(1))
    }

    /// The folds of a task.
    #[must_use]
    pub fn folds_of(&self, task: usize) -> Range<usize> {
        let first = (task * self.folds_per_task).min(self.n_folds());
        first..(first + self.folds_per_task).min(self.n_folds())
    }

    /// Most genes that a fold holds out.
    #[must_use]
    pub fn most_held_out(&self) -> usize {
        match &self.work {
            Work::Folds(folds) => folds.iter().map(|f| f.held_out.len()).max().unwrap_or(0),
            Work::Runs(_) => 0,
        }
    }

    /// What tells a task from any other: a hash of settings, inputs, program and folds.
    #[must_use]
    pub fn task_id(&self, task: usize) -> String {
        let mut parts = vec![
            self.map.to_string(),
            self.version.clone(),
            self.cells_sha256.clone(),
            self.voxels_sha256.clone(),
            format!("{:?}", self.start),
        ];
        let range = self.folds_of(task);
        match &self.work {
            Work::Folds(folds) => parts.extend(folds[range].iter().flat_map(|fold| {
                let genes = fold.held_out.iter().cloned();
                [fold.label.clone()]
                    .into_iter()
                    .chain(genes)
                    .collect::<Vec<_>>()
            })),
            Work::Runs(runs) => parts.extend(
                runs[range]
                    .iter()
                    .flat_map(|run| [run.name.clone(), run.map.to_string()]),
            ),
        }
        fingerprint_names(&parts)[..16].to_owned()
    }

    /// Writes the manifest into a folder.
    ///
    /// # Errors
    /// [`SweepError::Write`], or that one is there.
    pub fn write(&self, folder: &Path) -> Result<(), SweepError> {
        let path = folder.join(MANIFEST);
        let text = toml::to_string(self).map_err(|e| SweepError::Write {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        write_aside(&path, Existing::Refuse, |aside| {
            std::fs::write(aside, text).map_err(|e| SweepError::write(&path, &e))
        })
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`SweepError::NotASweep`] if there is none, or one of another form.
    pub fn read(folder: &Path) -> Result<Self, SweepError> {
        let not = |reason: String| SweepError::NotASweep {
            path: folder.to_owned(),
            reason,
        };
        let text = tangram_store::read_text(&folder.join(MANIFEST))
            .map_err(|e| not(format!("{MANIFEST}: {e}")))?;
        let manifest: Self =
            toml::from_str(&text).map_err(|e| not(format!("{MANIFEST}: {}", e.message())))?;
        if manifest.format != FORMAT {
            let (found, known) = (manifest.format, FORMAT);
            return Err(not(format!(
                "{MANIFEST}: format {found}, this program knows {known}"
            )));
        }
        Ok(manifest)
    }

    /// SHA-256 of the manifest of a folder.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn fingerprint(folder: &Path) -> Result<String, SweepError> {
        Ok(fingerprint(&folder.join(MANIFEST))?)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::leave_one_out;

    pub(crate) fn manifest(n_genes: usize, folds_per_task: usize) -> Manifest {
        let genes: Vec<String> = (0..n_genes).map(|i| format!("gene{i:02}")).collect();
        Manifest {
            format: FORMAT,
            kind: Kind::LeaveOneOut,
            version: "0".into(),
            folds_per_task,
            seconds_per_fold: 1.5,
            cells_sha256: "c".into(),
            voxels_sha256: "v".into(),
            n_voxels: 3,
            start: Start::Cold,
            work: Work::Folds(leave_one_out(&genes).unwrap()),
            genes,
            map: toml::toml! { cells = "a.h5ad" },
        }
    }

    #[test]
    fn a_manifest_comes_back_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let written = manifest(7, 3);
        written.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        assert!(manifest(5, 1).write(folder.path()).is_err());
        let mut runs = manifest(2, 1);
        runs.kind = Kind::Seeds;
        runs.work = Work::Runs(vec![RunSpec {
            name: "seed-1".into(),
            map: toml::toml! { seed = 1 },
        }]);
        let other = tempfile::tempdir().unwrap();
        runs.write(other.path()).unwrap();
        assert_eq!(Manifest::read(other.path()).unwrap(), runs);
    }

    #[test]
    fn tasks_cover_all_folds_once_and_their_ids_differ() {
        let manifest = manifest(7, 3);
        let ranges: Vec<_> = (0..manifest.n_tasks())
            .map(|t| manifest.folds_of(t))
            .collect();
        assert_eq!(ranges, [0..3, 3..6, 6..7]);
        let ids: std::collections::BTreeSet<_> = (0..3).map(|t| manifest.task_id(t)).collect();
        assert_eq!(ids.len(), 3);
        let mut other = manifest.clone();
        other.map.insert("seed".into(), 7.into());
        assert_ne!(other.task_id(0), manifest.task_id(0));
    }

    #[test]
    fn what_is_no_manifest_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(read().contains("sweep.toml"), "{}", read());
        std::fs::write(folder.path().join(MANIFEST), "format = 9").unwrap();
        assert!(read().contains("not a sweep"), "{}", read());
    }
}
