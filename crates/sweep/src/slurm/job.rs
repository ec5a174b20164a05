//! A job, before it is a script.

use super::{Chunk, JobId, SlurmError, Word};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};

/// A job to be submitted. Time limit, memory and other requests are in the profile.
#[derive(Debug, Clone)]
pub struct Job {
    /// Its name, by which it is found again.
    pub name: JobName,
    /// What kind of job.
    pub kind: JobKind,
    /// Launcher, program and arguments; of an array without `--task`, which its elements add.
    pub command: Vec<String>,
    /// Jobs that must have ended before, in whatever way.
    pub after: Vec<JobId>,
    /// Nodes not to be used, besides those of the profile.
    pub exclude: Vec<Word>,
    /// Where standard output and standard error go.
    pub log: LogFile,
    /// Where the command runs.
    pub directory: PathBuf,
    /// A file that is there once the command has done its work: a launcher may end with code 0 although no rank began.
    pub result: Option<PathBuf>,
}

/// Kinds of jobs; each has a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobKind {
    /// One mapping.
    Map,
    /// Tasks of a sweep.
    Array(Chunk),
    /// Puts the results of a sweep together.
    Collect,
}

impl JobKind {
    /// Its name in names of jobs and of templates.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Map => "map",
            Self::Array(_) => "array",
            Self::Collect => "collect",
        }
    }
}

/// The name of one submission, which no other has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobName(String);

const PREFIX: &str = "tangram-";

impl JobName {
    /// A new one.
    #[must_use]
    pub fn fresh(kind: &JobKind) -> Self {
        // Its keys come from the system's source of chance.
        let chance = RandomState::new().hash_one(std::process::id());
        Self(format!("{PREFIX}{}-{:012x}", kind.name(), chance >> 16))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for JobName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if plain && text.starts_with(PREFIX) {
            Ok(Self(text))
        } else {
            Err(format!(
                "{text:?} is no name that this program gives to jobs"
            ))
        }
    }
}

impl From<JobName> for String {
    fn from(name: JobName) -> Self {
        name.0
    }
}

/// Beginning of the name of a job's log; Slurm's numbers and `.log` are added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    text: String,
    by_slurm: bool,
}

impl LogFile {
    /// Checks a path for a log.
    ///
    /// # Errors
    /// [`SlurmError::Unrepresentable`] if it is not absolute, or cannot stand in a script.
    pub fn new(path: &Path) -> Result<Self, SlurmError> {
        let unrepresentable = |reason: &str| SlurmError::Unrepresentable {
            what: "log file",
            value: path.display().to_string(),
            reason: format!("{reason}; choose another folder for the logs with --logs"),
        };
        let Some(text) = path.to_str() else {
            return Err(unrepresentable("the path is not UTF-8"));
        };
        if !path.is_absolute() {
            return Err(unrepresentable("the path is not absolute"));
        }
        // % begins a pattern, \ turns patterns off, " ends the value; `packjob` is an old name that sbatch silently replaces.
        let is_strange = |c: char| "%\\\"".contains(c) || c.is_control();
        let replaced = text.to_ascii_lowercase().contains("packjob");
        Ok(Self {
            text: text.to_owned(),
            by_slurm: !replaced && !text.contains(is_strange),
        })
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether Slurm can open it; otherwise the script of the job does.
    #[must_use]
    pub fn is_opened_by_slurm(&self) -> bool {
        self.by_slurm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_another() {
        let names: std::collections::BTreeSet<_> = (0..1000)
            .map(|_| JobName::fresh(&JobKind::Collect))
            .collect();
        assert_eq!(names.len(), 1000);
        let name = names.first().unwrap().clone();
        assert_eq!(name.as_str().len(), "tangram-collect-".len() + 12);
        assert_eq!(JobName::try_from(name.to_string()), Ok(name));
        for bad in ["", "job", "tangram-map-1,x", "tangram-map-$(id)"] {
            assert!(JobName::try_from(bad.to_owned()).is_err());
        }
    }

    #[test]
    fn paths_that_slurm_reads_otherwise_are_left_to_the_script() {
        let by_slurm = |path: &str| LogFile::new(Path::new(path)).map(|l| l.is_opened_by_slurm());
        for good in ["/a/b", "/a b/it's $(id) `id`;#é/x"] {
            assert!(by_slurm(good).unwrap(), "{good}");
        }
        for strange in ["/a%j", "/a\\b", "/a\"b", "/a\nb", "/my-packjobs/x"] {
            assert!(!by_slurm(strange).unwrap(), "{strange}");
        }
        assert!(by_slurm("a/b").is_err());
    }
}
