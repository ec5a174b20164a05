//! Attempts at tasks: which process is at work, how far it is, how it ended. Only the newest attempt at a task counts.
//!
//! An attempt takes the next number of its task by creating its record, which fails if another process has taken that number. No other
//! process writes the record. Before an attempt puts its result in place it looks whether a newer one has begun, and ends if so.

use crate::record::{self, Unread};
use crate::{Manifest, Outcome, SweepError, Who};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tangram_store::{Process, open_file};

const FOLDER: &str = "attempts";
/// How often the record of an attempt at work is touched,
const TOUCHED: Duration = Duration::from_secs(10);
/// and for how long one of another machine is watched before the task is taken over.
const WATCHED: Duration = Duration::from_secs(45);

/// An attempt at a task, as its record says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Attempt {
    /// Number of the task, from 0.
    pub task: usize,
    /// Identity of the task ([`Manifest::task_id`]).
    pub task_id: String,
    /// SHA-256 of the manifest it follows ([`Manifest::digest`]).
    pub manifest_sha256: String,
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
    /// Passes of the trainings of other items, after which their state was kept.
    pub passes: usize,
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
    /// [`SweepError::AtWork`] if another process is at it, as far as can be known; [`SweepError::Write`].
    pub fn claim(&self, task: usize, manifest: &Manifest) -> Result<Claim, SweepError> {
        self.claim_watching(task, manifest, WATCHED)
    }

    fn claim_watching(
        &self,
        task: usize,
        manifest: &Manifest,
        watched: Duration,
    ) -> Result<Claim, SweepError> {
        fs::create_dir_all(&self.folder).map_err(|e| SweepError::write(&self.folder, &e))?;
        let who = Who::here();
        loop {
            let before = self.at(task)?;
            if let Some(last) = before.last()
                && last.state == State::Running
                && self.is_alive(last, &who, watched)
            {
                return Err(SweepError::AtWork {
                    task,
                    host: last.who.process.host.clone(),
                    pid: last.who.process.pid,
                    seconds: now() - last.began,
                });
            }
            let number = before.last().map_or(0, |a| a.number) + 1;
            let attempt = Attempt {
                task,
                task_id: manifest.task_id(task),
                manifest_sha256: manifest.digest(),
                number,
                who: who.clone(),
                state: State::Running,
                cause: None,
                message: None,
                began: now(),
                told: now(),
                peak_memory_bytes: 0,
                items: Vec::new(),
                passes: 0,
                shard_sha256: None,
                kept_sha256: None,
            };
            if !record::create(&self.path(task, number), &attempt, &who)? {
                continue;
            }
            let alive = Alive::begin(self.path(task, number));
            return Ok(Claim {
                attempts: self.clone(),
                attempt,
                _alive: alive,
            });
        }
    }

    /// Whether the process of an attempt is at work still. Of this machine that is known; on another it is while it touches its record.
    fn is_alive(&self, attempt: &Attempt, own: &Who, watched: Duration) -> bool {
        let process = &attempt.who.process;
        if process.is_of_this_machine() {
            return process.is_alive_here();
        }
        if attempt.who.is_before(own) || self.is_silent(attempt, own, watched) {
            return false;
        }
        let path = self.path(attempt.task, attempt.number);
        let touched = || modified(&path);
        let Some(before) = touched() else {
            return false;
        };
        let begun = Instant::now();
        while begun.elapsed() < watched {
            std::thread::sleep(Duration::from_secs(1).min(watched));
            if touched() != Some(before) {
                return true;
            }
        }
        false
    }

    /// Whether the record of an attempt at work was not touched for so long, by the clock of the file system, which all machines share;
    /// `false` if that cannot be told.
    fn is_silent(&self, attempt: &Attempt, own: &Who, watched: Duration) -> bool {
        let touched = modified(&self.path(attempt.task, attempt.number));
        let aside = self.folder.join(format!(".clock.{}", own.process));
        let clock = fs::write(&aside, "").ok().and_then(|()| modified(&aside));
        let _ = fs::remove_file(&aside);
        let silent = clock.zip(touched);
        let silent = silent.and_then(|(now, touched)| now.duration_since(touched).ok());
        silent.is_some_and(|silent| silent > watched)
    }

    /// Whether an attempt that was at work has ended without a word: its process, if of this machine, is gone; of another, it gave no sign
    /// of life for as long as others wait before they take its task over.
    #[must_use]
    pub fn is_lost(&self, attempt: &Attempt) -> bool {
        let process = &attempt.who.process;
        attempt.state == State::Running
            && match process.is_of_this_machine() {
                true => *process != Process::here() && !process.is_alive_here(),
                false => self.is_silent(attempt, &Who::here(), WATCHED),
            }
    }

    /// A folder for what an attempt keeps or has not finished.
    #[must_use]
    pub fn kept(&self, task: usize, number: u32) -> PathBuf {
        self.folder.join(format!("{task:05}.{number}.kept"))
    }

    pub(crate) fn path(&self, task: usize, number: u32) -> PathBuf {
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
        record::read(&path).map_err(|unread| SweepError::Record {
            path,
            reason: match unread {
                Unread::System(error) => error.to_string(),
                Unread::Broken(reason) => reason,
            },
        })
    }
}

/// When a file was written or touched last; opened each time, since a network file system asks its server then.
fn modified(path: &Path) -> Option<SystemTime> {
    open_file(path).ok()?.metadata().ok()?.modified().ok()
}

/// Touches the record of an attempt until it is dropped, as a sign of life for other machines.
#[derive(Debug)]
struct Alive {
    /// Dropped first, it ends the thread.
    end: Option<Sender<()>>,
    touching: Option<JoinHandle<()>>,
}

impl Alive {
    fn begin(record: PathBuf) -> Self {
        let (end, ended) = mpsc::channel();
        let touching = std::thread::spawn(move || {
            while ended.recv_timeout(TOUCHED) == Err(RecvTimeoutError::Timeout) {
                // If it cannot be given, others may take the task over, which this process then notices.
                let file = fs::File::options().append(true).open(&record);
                let _ = file.and_then(|file| file.set_modified(SystemTime::now()));
            }
        });
        Self {
            end: Some(end),
            touching: Some(touching),
        }
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.touching.take() {
            let _ = thread.join();
        }
    }
}

/// An attempt of this process, for whoever records how it ended when the process is ended by a signal.
#[derive(Debug)]
pub struct Witness {
    attempts: Attempts,
    task: usize,
    number: u32,
}

impl Witness {
    /// Records that the attempt stopped on request, if it is at work still.
    pub(crate) fn stopped(self) {
        let Ok(mut attempt) = self.attempts.read(self.task, self.number) else {
            return;
        };
        if attempt.state == State::Running {
            attempt.state = State::Stopped;
            attempt.cause = Some(Cause::Signal);
            attempt.told = now();
            let path = self.attempts.path(self.task, self.number);
            // Nothing better can be done by a process that ends.
            let _ = record::replace(&path, &attempt, &attempt.who);
        }
    }
}

/// An attempt of this process.
#[derive(Debug)]
pub struct Claim {
    attempts: Attempts,
    attempt: Attempt,
    _alive: Alive,
}

impl Claim {
    /// As it stands.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        &self.attempt
    }

    /// For whoever records how it ended when the process is ended by a signal.
    #[must_use]
    pub fn witness(&self) -> Witness {
        Witness {
            attempts: self.attempts.clone(),
            task: self.attempt.task,
            number: self.attempt.number,
        }
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
mod tests;
