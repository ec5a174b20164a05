//! Attempts at tasks: which process is at work, how far it is, how it ended. Only the newest attempt at a task counts.
//!
//! An attempt takes the next number of its task by creating its record, which fails if another process has taken that number. No other
//! process writes the record. Before an attempt puts its result in place it looks whether a newer one has begun, and ends if so.

use crate::{Manifest, Outcome, SweepError, Who, record};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const FOLDER: &str = "attempts";

/// An attempt at a task, as its record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// Number of the task, from 0.
    pub task: usize,
    /// Identity of the task ([`Manifest::task_id`]).
    pub task_id: String,
    /// Number of the attempt, from 1.
    pub number: u32,
    /// The process that makes it.
    pub who: Who,
    /// How it stands.
    pub state: State,
    /// Why it ended without a result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The same in words, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When it began, seconds since 1970.
    pub began: f64,
    /// When its record was last written, seconds since 1970.
    pub told: f64,
    /// The most memory its process held, in bytes.
    pub peak_memory_bytes: u64,
    /// Items that are done, those taken over from an earlier attempt included.
    pub items: Vec<Outcome>,
    /// SHA-256 of the shard it put in place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_sha256: Option<String>,
    /// SHA-256 of the rows it kept for the next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_sha256: Option<String>,
}

/// How an attempt stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// At work when its record was last written.
    Running,
    /// Its result is in place.
    Done,
    /// Stopped on request, with its state kept.
    Stopped,
    /// Ended by an error.
    Failed,
}

/// Why an attempt ended without a result; follows the exit codes of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// A signal asked it to.
    Signal,
    /// Not enough memory.
    Memory,
    /// Its output could not be written: a full disk, permissions.
    Output,
    /// An input is missing, damaged or changed.
    Input,
    /// The settings are wrong.
    Usage,
    /// A newer attempt took over.
    Superseded,
    /// Anything else.
    Unexpected,
}

impl Cause {
    /// A short name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Signal => "stopped",
            Self::Memory => "out of memory",
            Self::Output => "could not write",
            Self::Input => "bad input",
            Self::Usage => "wrong settings",
            Self::Superseded => "superseded",
            Self::Unexpected => "unexpected error",
        }
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |d| d.as_secs_f64())
}

/// The attempts of a sweep.
#[derive(Debug, Clone)]
pub struct Attempts {
    folder: PathBuf,
}

impl Attempts {
    /// Those of the sweep in `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.join(FOLDER),
        }
    }

    /// All there are, by task and number.
    ///
    /// # Errors
    /// [`SweepError::Record`] if one cannot be read.
    pub fn all(&self) -> Result<Vec<Attempt>, SweepError> {
        let mut found = Vec::new();
        for (task, number) in self.numbers() {
            found.push(self.read(task, number)?);
        }
        Ok(found)
    }

    /// Those at one task, by number.
    ///
    /// # Errors
    /// [`SweepError::Record`] if one cannot be read.
    pub fn at(&self, task: usize) -> Result<Vec<Attempt>, SweepError> {
        let numbers = self.numbers().into_iter().filter(|(t, _)| *t == task);
        numbers
            .map(|(task, number)| self.read(task, number))
            .collect()
    }

    /// Begins an attempt at a task, which supersedes all before it.
    ///
    /// # Errors
    /// [`SweepError::AtWork`] if a process of this machine is at it; [`SweepError::Write`].
    pub fn claim(&self, task: usize, manifest: &Manifest) -> Result<Claim, SweepError> {
        fs::create_dir_all(&self.folder).map_err(|e| SweepError::write(&self.folder, &e))?;
        let who = Who::here();
        loop {
            let before = self.at(task)?;
            if let Some(last) = before.last()
                && last.state == State::Running
                && last.who.process.is_alive_here()
            {
                return Err(SweepError::AtWork {
                    task,
                    pid: last.who.process.pid,
                    seconds: now() - last.began,
                });
            }
            let number = before.last().map_or(0, |a| a.number) + 1;
            let attempt = Attempt {
                task,
                task_id: manifest.task_id(task),
                number,
                who: who.clone(),
                state: State::Running,
                cause: None,
                message: None,
                began: now(),
                told: now(),
                peak_memory_bytes: 0,
                items: Vec::new(),
                shard_sha256: None,
                kept_sha256: None,
            };
            if !record::create(&self.path(task, number), &attempt, &who)? {
                continue;
            }
            return Ok(Claim {
                attempts: self.clone(),
                attempt,
            });
        }
    }

    /// A folder for what an attempt keeps or has not finished.
    #[must_use]
    pub fn kept(&self, task: usize, number: u32) -> PathBuf {
        self.folder.join(format!("{task:05}.{number}.kept"))
    }

    fn path(&self, task: usize, number: u32) -> PathBuf {
        self.folder.join(format!("{task:05}.{number}.json"))
    }

    fn numbers(&self) -> Vec<(usize, u32)> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                let (task, number) = name.strip_suffix(".json")?.split_once('.')?;
                Some((task.parse().ok()?, number.parse().ok()?))
            })
            .collect();
        found.sort_unstable();
        found
    }

    fn read(&self, task: usize, number: u32) -> Result<Attempt, SweepError> {
        let path = self.path(task, number);
        let wrong = |reason: String| SweepError::Record {
            path: path.clone(),
            reason,
        };
        let text = tangram_store::read_text(&path).map_err(|e| wrong(e.to_string()))?;
        serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))
    }
}

/// An attempt of this process.
#[derive(Debug)]
pub struct Claim {
    attempts: Attempts,
    attempt: Attempt,
}

impl Claim {
    /// As it stands.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// Whether no newer attempt has begun.
    #[must_use]
    pub fn is_newest(&self) -> bool {
        let of_task = |(task, _): &(usize, u32)| *task == self.attempt.task;
        let newest = self.attempts.numbers().into_iter().rfind(of_task);
        newest.is_none_or(|(_, number)| number <= self.attempt.number)
    }

    /// A folder beside the records that is this attempt's own.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.attempts.kept(self.attempt.task, self.attempt.number)
    }

    /// Changes the record: `change` sets what has become of the attempt.
    ///
    /// # Errors
    /// [`SweepError::Write`].
    pub fn tell(&mut self, change: impl FnOnce(&mut Attempt)) -> Result<(), SweepError> {
        change(&mut self.attempt);
        self.attempt.told = now();
        let path = self.attempts.path(self.attempt.task, self.attempt.number);
        record::replace(&path, &self.attempt, &self.attempt.who)
    }

    /// Removes what this and earlier attempts at the task kept or left half-written.
    pub fn clear(&self) {
        let task = self.attempt.task;
        for number in 1..=self.attempt.number {
            // A file that cannot be removed does no harm.
            let _ = fs::remove_dir_all(self.attempts.kept(task, number));
        }
        let begin = format!(".{task:05}.");
        for entry in fs::read_dir(&self.attempts.folder)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().to_string_lossy().starts_with(&begin) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn attempts_are_numbered_and_only_the_newest_counts() {
        let folder = tempfile::tempdir().unwrap();
        let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
        let mut first = attempts.claim(1, &manifest).unwrap();
        assert!(first.is_newest());
        let second = attempts.claim(1, &manifest).unwrap();
        let other = attempts.claim(0, &manifest).unwrap();
        assert!(!first.is_newest() && second.is_newest() && other.is_newest());
        first.tell(|a| a.state = State::Failed).unwrap();
        let all = attempts.all().unwrap();
        let seen: Vec<_> = all.iter().map(|a| (a.task, a.number, a.state)).collect();
        use State::{Failed, Running};
        assert_eq!(seen, [(0, 1, Running), (1, 1, Failed), (1, 2, Running)]);
    }

    #[test]
    fn of_many_claims_at_once_every_one_has_its_own_number() {
        let folder = tempfile::tempdir().unwrap();
        let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
        let claim = || attempts.claim(0, &manifest).map(|c| c.attempt().number);
        let mut numbers: Vec<u32> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(claim)).collect();
            threads
                .into_iter()
                .map(|t| t.join().unwrap().unwrap())
                .collect()
        });
        numbers.sort_unstable();
        assert_eq!(numbers, (1..=8).collect::<Vec<_>>());
    }

    #[test]
    fn a_torn_record_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (attempts, manifest) = (Attempts::of(folder.path()), manifest(4, 2));
        drop(attempts.claim(0, &manifest).unwrap());
        fs::write(attempts.path(0, 1), "{ \"task\": 0").unwrap();
        let error = attempts.all().unwrap_err().to_string();
        assert!(error.contains("00000.1.json"), "{error}");
    }
}
