//! The sweeps of this program, and which maker each has.

use crate::folds::{Fold, FoldSettings};
use crate::registrations::RegistrationSettings;
use crate::runs::{self, Run};
use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer, value};
use tangram_sweep::{Item, Manifest, SweepError};

/// Name of the cells' file among the inputs of a sweep.
pub const CELLS: &str = "cells";
/// Name of the voxels' file among the inputs of a sweep.
pub const VOXELS: &str = "voxels";

/// The sweeps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SweepKind {
    /// Every gene held out in turn.
    LeaveOneOut,
    /// The genes in as many groups as asked, each held out in turn.
    KFold,
    /// Trainings on fractions of the genes.
    Ablation,
    /// The same mapping from several seeds.
    Seeds,
    /// The same cells onto several sections.
    Sections,
    /// Mappings with settings of their own.
    List,
    /// Sections registered to an atlas.
    Register,
}

impl SweepKind {
    /// Its word in the manifest.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LeaveOneOut => "leave-one-out",
            Self::KFold => "k-fold",
            Self::Ablation => "ablation",
            Self::Seeds => "seeds",
            Self::Sections => "sections",
            Self::List => "list",
            Self::Register => "register",
        }
    }

    /// That of a manifest.
    ///
    /// # Errors
    /// [`SweepError::Work`] if this program does not know it.
    pub fn of(manifest: &Manifest) -> Result<Self, SweepError> {
        let word: value::StrDeserializer<'_, value::Error> =
            manifest.kind.as_str().into_deserializer();
        serde::Deserialize::deserialize(word).map_err(|e| SweepError::Work {
            what: format!("the kind of sweep `{}`", manifest.kind),
            reason: e.to_string(),
        })
    }

    /// Whether every gene is predicted by one fold at most, so that predictions make one matrix.
    #[must_use]
    pub fn predicts(self) -> bool {
        matches!(self, Self::LeaveOneOut | Self::KFold)
    }
}

/// The items of a sweep, as their maker reads them.
#[derive(Debug, Clone, PartialEq)]
pub enum SweepWork {
    /// Folds, trained by this process.
    Folds(FoldSettings, Vec<Fold>),
    /// Runs, each a mapping with settings of its own.
    Runs(Vec<Run>),
    /// Sections, registered by this process.
    Registrations(RegistrationSettings),
}

impl SweepWork {
    /// That of a manifest.
    ///
    /// # Errors
    /// [`SweepError::Work`] if this program does not understand it.
    pub fn of(manifest: &Manifest) -> Result<Self, SweepError> {
        match SweepKind::of(manifest)? {
            SweepKind::LeaveOneOut | SweepKind::KFold | SweepKind::Ablation => {
                Ok(Self::Folds(manifest.settings()?, works(manifest)?))
            }
            SweepKind::Seeds | SweepKind::Sections | SweepKind::List => {
                Ok(Self::Runs(runs::of(manifest)))
            }
            SweepKind::Register => Ok(Self::Registrations(manifest.settings()?)),
        }
    }

    /// The word for one of its items.
    #[must_use]
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Folds(..) => "fold",
            Self::Runs(_) => "run",
            Self::Registrations(_) => "section",
        }
    }

    /// The word by which items are counted, which is that of a fold for runs too.
    #[must_use]
    pub fn counted(&self) -> &'static str {
        match self {
            Self::Folds(..) | Self::Runs(_) => "fold",
            Self::Registrations(_) => "section",
        }
    }

    /// Whether a task is done by one process, whatever ranks a profile names.
    #[must_use]
    pub fn is_of_one_process(&self) -> bool {
        !matches!(self, Self::Runs(_))
    }
}

fn works<T: DeserializeOwned>(manifest: &Manifest) -> Result<Vec<T>, SweepError> {
    manifest.items.iter().map(Item::work).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folds::{self, Start, leave_one_out};
    use std::collections::BTreeMap;

    #[test]
    fn folds_and_runs_come_back_from_a_manifest_and_other_work_is_refused() {
        let genes = ["A", "B"].map(str::to_owned);
        let settings = FoldSettings {
            start: Start::Warm,
            genes: genes.to_vec(),
            map: toml::toml! { seed = 3 },
        };
        let made = leave_one_out(&genes).unwrap();
        let kind = SweepKind::LeaveOneOut;
        let mut manifest = Manifest {
            format: Manifest::FORMAT,
            kind: kind.name().to_owned(),
            version: "0".to_owned(),
            items_per_task: 1,
            seconds_per_item: 1.0,
            array: folds::rows(kind, &made, 7),
            inputs: BTreeMap::new(),
            settings: tangram_sweep::table_of("settings", &settings).unwrap(),
            items: folds::items(kind, &made).unwrap(),
        };
        let there_and_back = |manifest: &Manifest| {
            let folder = tempfile::tempdir().unwrap();
            manifest.write(folder.path()).unwrap();
            SweepWork::of(&Manifest::read(folder.path()).unwrap())
        };
        let read = there_and_back(&manifest).unwrap();
        assert_eq!(read, SweepWork::Folds(settings, made));
        let run = Run {
            name: "seed-1".to_owned(),
            map: toml::toml! { seed = 1 },
        };
        let mut runs = manifest.clone();
        runs.kind = SweepKind::Seeds.name().to_owned();
        runs.array = None;
        runs.items = vec![run.item(BTreeMap::new())];
        assert_eq!(there_and_back(&runs).unwrap(), SweepWork::Runs(vec![run]));
        manifest.kind = "histology".to_owned();
        let error = there_and_back(&manifest).unwrap_err().to_string();
        assert!(error.contains("histology"), "{error}");
        runs.kind = SweepKind::KFold.name().to_owned();
        assert!(there_and_back(&runs).is_err());
    }

    #[test]
    fn kinds_are_read_by_the_names_they_are_written_with() {
        use SweepKind::{Ablation, KFold, LeaveOneOut, List, Register, Sections, Seeds};
        for kind in [
            LeaveOneOut,
            KFold,
            Ablation,
            Seeds,
            Sections,
            List,
            Register,
        ] {
            let word = serde_json::to_string(&kind).unwrap();
            assert_eq!(word, format!("{:?}", kind.name()));
        }
    }
}
