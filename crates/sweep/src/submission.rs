//! What was submitted to a cluster: a small file for each `submit` or `resume`, so that no task is in the queue twice.
//!
//! A submission takes the next number by creating its file, which fails if another process took it; the names of its jobs are written
//! before Slurm is asked, their numbers after. Only the process that made it writes it.

use crate::attempt::now;
use crate::record::{self, Unread};
use crate::slurm::{JobId, JobName, Memory, Profile, Sighting, TimeLimit};
use crate::{SweepError, Who};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

const FOLDER: &str = "submissions";

/// Seconds after which an unfinished submission of another machine is considered dead.
const LONGEST_SECONDS: f64 = 900.0;

/// Jobs that were submitted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Submission {
    /// Its number, from 1.
    pub number: usize,
    /// The process that made it.
    pub who: Who,
    /// When, seconds since 1970.
    pub began: f64,
    /// Whether all of it has been said to Slurm.
    pub complete: bool,
    /// How the profile was asked for.
    pub profile_name: String,
    /// The profile, with what flags said.
    pub profile: Profile,
    /// The arrays.
    pub arrays: Vec<SubmittedArray>,
    /// The job that collects.
    pub collector: Option<SubmittedJob>,
    /// The folder of the logs.
    pub logs: PathBuf,
}

/// A job that was, or may have been, submitted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SubmittedJob {
    /// Its name.
    pub name: JobName,
    /// Its number, once Slurm has answered.
    pub job: Option<JobId>,
}

/// An array of tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SubmittedArray {
    /// The job.
    #[serde(flatten)]
    pub job: SubmittedJob,
    /// The task of index 0.
    pub offset: usize,
    /// Indices, ascending.
    pub indices: Vec<usize>,
    /// Limit of each element.
    pub time: Option<TimeLimit>,
    /// Memory of a node.
    pub memory: Option<Memory>,
    /// Most elements that run at the same time.
    pub throttle: usize,
}

impl SubmittedArray {
    /// The index of a task, if it is one of this array.
    #[must_use]
    pub fn index_of(&self, task: usize) -> Option<usize> {
        let index = task.checked_sub(self.offset)?;
        self.indices.binary_search(&index).ok().map(|_| index)
    }

    /// An element, as Slurm's commands take it, if it is of this array.
    #[must_use]
    pub fn element(&self, task: usize, seen: &Sighting) -> Option<String> {
        let index = self.index_of(task)?;
        (seen.name == self.job.name).then(|| format!("{}_{index}", seen.job))
    }

    /// Elements that run, or will, as far as Slurm lets them at the same time.
    #[must_use]
    pub fn n_at_once(&self, seen: &[Sighting]) -> usize {
        let of_this = |s: &&Sighting| s.name == self.job.name && s.state.is_alive();
        let alive = seen.iter().filter(of_this).map(|s| s.indices.len());
        alive.sum::<usize>().min(self.throttle)
    }

    /// What was seen of a task of this array.
    #[must_use]
    pub fn sighting<'a>(&self, task: usize, seen: &'a [Sighting]) -> Option<&'a Sighting> {
        let index = self.index_of(task)?;
        let of_this = |s: &&Sighting| s.name == self.job.name && s.indices.contains(&index);
        seen.iter().find(of_this)
    }
}

/// What new arrays may begin beside those of earlier submissions.
#[derive(Debug, PartialEq, Eq)]
pub struct Beside {
    /// Most new tasks at the same time; at least 1.
    pub throttle: usize,
    /// Jobs that must end first, since they have the whole throttle.
    pub after: Vec<JobId>,
}

impl Beside {
    /// Leaves every array that is alive its share of the throttle.
    ///
    /// * `throttle`: most tasks of the sweep that may run at the same time
    #[must_use]
    pub fn of(throttle: usize, submissions: &[Submission], seen: &[Sighting]) -> Self {
        let arrays = submissions.iter().flat_map(|s| &s.arrays);
        let taken: usize = arrays.map(|a| a.n_at_once(seen)).sum();
        match throttle.saturating_sub(taken) {
            0 => Self {
                throttle: 1,
                after: alive_arrays(submissions, seen),
            },
            left => Self {
                throttle: left,
                after: Vec::new(),
            },
        }
    }
}

/// Arrays of earlier submissions that are still queued or running.
#[must_use]
pub fn alive_arrays(submissions: &[Submission], seen: &[Sighting]) -> Vec<JobId> {
    let arrays = submissions.iter().flat_map(|s| &s.arrays);
    let alive = |a: &SubmittedArray| {
        let of_this = |s: &&Sighting| s.name == a.job.name && s.state.is_alive();
        seen.iter().find(of_this).map(|s| s.job)
    };
    arrays.filter_map(alive).collect()
}

impl Submission {
    /// A new submission, still without arrays and collector.
    #[must_use]
    pub fn new(profile_name: &str, profile: &Profile, logs: &Path) -> Self {
        Self {
            number: 0,
            who: Who::here(),
            began: now(),
            complete: false,
            profile_name: profile_name.to_owned(),
            profile: profile.clone(),
            arrays: Vec::new(),
            collector: None,
            logs: logs.to_owned(),
        }
    }

    /// The log of a task of one of its arrays.
    #[must_use]
    pub fn log_of(&self, array: &SubmittedArray, task: usize) -> Option<PathBuf> {
        let (job, index) = (array.job.job?, array.index_of(task)?);
        let name = format!("{}.{job}_{index}.log", array.job.name);
        Some(self.logs.join(name))
    }

    /// Names of all its jobs.
    pub fn names(&self) -> impl Iterator<Item = &JobName> {
        let arrays = self.arrays.iter().map(|a| &a.job);
        arrays.chain(&self.collector).map(|job| &job.name)
    }

    /// Seconds since it began.
    #[must_use]
    pub fn age(&self) -> f64 {
        now() - self.began
    }

    /// Whether its process may still be at it.
    fn is_at_work(&self) -> bool {
        !self.complete
            && match self.who.process.is_of_this_machine() {
                true => {
                    self.who.process.is_alive_here() || self.who.process.pid == std::process::id()
                }
                false => self.age() < LONGEST_SECONDS,
            }
    }
}

/// The submissions of a sweep.
#[derive(Debug, Clone)]
pub struct Submissions {
    folder: PathBuf,
}

impl Submissions {
    /// Those of the sweep in `folder`.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self {
            folder: folder.join(FOLDER),
        }
    }

    /// All there are, by number.
    ///
    /// # Errors
    /// [`SweepError::Submission`] if one cannot be read.
    pub fn all(&self) -> Result<Vec<Submission>, SweepError> {
        let mut all = Vec::new();
        for number in 1.. {
            let path = self.path(number);
            let reason = match record::read(&path) {
                Ok(submission) => {
                    all.push(submission);
                    continue;
                }
                Err(Unread::System(error)) if error.kind() == ErrorKind::NotFound => break,
                Err(Unread::System(error)) => error.to_string(),
                Err(Unread::Broken(reason)) => reason,
            };
            return Err(SweepError::Submission { path, reason });
        }
        Ok(all)
    }

    /// Begins a submission, if no other has begun since `known` were read and none is at work.
    ///
    /// # Errors
    /// [`SweepError::Submitting`], [`SweepError::Write`].
    pub fn begin(
        &self,
        known: &[Submission],
        mut submission: Submission,
    ) -> Result<OpenSubmission, SweepError> {
        let busy = |other: &Submission| SweepError::Submitting {
            path: self.path(other.number),
            host: other.who.process.host.clone(),
            pid: other.who.process.pid,
            seconds: other.age(),
        };
        if let Some(other) = known.iter().find(|s| s.is_at_work()) {
            return Err(busy(other));
        }
        fs::create_dir_all(&self.folder).map_err(|e| SweepError::write(&self.folder, &e))?;
        submission.number = known.len() + 1;
        let path = self.path(submission.number);
        if !record::create(&path, &submission, &submission.who)? {
            let all = self.all()?;
            let other = all.get(submission.number - 1).unwrap_or(&submission);
            return Err(busy(other));
        }
        Ok(OpenSubmission {
            submissions: self.clone(),
            submission,
        })
    }

    fn path(&self, number: usize) -> PathBuf {
        self.folder.join(format!("{number:03}.json"))
    }
}

/// A submission of this process.
#[derive(Debug)]
pub struct OpenSubmission {
    submissions: Submissions,
    submission: Submission,
}

impl OpenSubmission {
    /// As it stands.
    #[must_use]
    pub fn submission(&self) -> &Submission {
        &self.submission
    }

    /// Changes the record.
    ///
    /// # Errors
    /// [`SweepError::Write`]
    pub fn tell(&mut self, change: impl FnOnce(&mut Submission)) -> Result<(), SweepError> {
        change(&mut self.submission);
        let path = self.submissions.path(self.submission.number);
        record::replace(&path, &self.submission, &self.submission.who)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::{JobKind, JobState};

    fn submission() -> Submission {
        let profile = Profile::find("sandbox").unwrap();
        let mut submission = Submission::new("sandbox", &profile, Path::new("/logs"));
        submission.arrays.push(SubmittedArray {
            job: SubmittedJob {
                name: JobName::fresh(&JobKind::Map),
                job: None,
            },
            offset: 11,
            indices: vec![0, 2, 5],
            time: profile.time,
            memory: profile.memory,
            throttle: 2,
        });
        submission
    }

    #[test]
    fn of_many_at_once_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let submissions = Submissions::of(folder.path());
        let begin = || submissions.begin(&[], submission());
        let begun: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(begun.iter().filter(|b| b.is_ok()).count(), 1);
        let refused = begun.into_iter().filter_map(Result::err);
        assert!(
            refused
                .into_iter()
                .all(|e| matches!(e, SweepError::Submitting { .. }))
        );
    }

    #[test]
    fn the_next_begins_when_the_last_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let submissions = Submissions::of(folder.path());
        let mut first = submissions.begin(&[], submission()).unwrap();
        let known = submissions.all().unwrap();
        assert!(submissions.begin(&known, submission()).is_err());
        first.tell(|s| s.complete = true).unwrap();
        let known = submissions.all().unwrap();
        assert_eq!(&known[..], [first.submission().clone()]);
        let second = submissions.begin(&known, submission()).unwrap();
        assert_eq!(second.submission().number, 2);
        // A submission whose process is gone does not block another one.
        let mut dead = submissions.all().unwrap();
        dead[1].who.process.pid = u32::MAX;
        assert!(submissions.begin(&dead, submission()).is_ok());
    }

    #[test]
    fn a_task_is_found_in_its_array() {
        let array = submission().arrays.remove(0);
        assert_eq!(
            [11, 12, 13, 16, 17, 3].map(|t| array.index_of(t)),
            [Some(0), None, Some(2), Some(5), None, None]
        );
        let seen = Sighting {
            name: array.job.name.clone(),
            job: JobId(7),
            indices: vec![2],
            state: JobState::Running,
            place: "vn1".into(),
        };
        let seen = [seen];
        assert_eq!(array.n_at_once(&seen), 1);
        assert!(array.sighting(13, &seen).is_some() && array.sighting(16, &seen).is_none());
    }
}
