//! How the tasks of a sweep stand, by their records alone.

use crate::{Attempt, Attempts, Cause, MANIFEST, Manifest, Results, State, SweepError};
use std::path::Path;

/// How a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Its result is in place.
    Done,
    /// Its newest attempt was at work when its record was last written; whether it still is, the record cannot say.
    Running,
    /// Its newest attempt stopped with its state kept.
    Stopped,
    /// Its newest attempt ended by an error.
    Failed(Cause),
    /// No attempt was made.
    Waiting,
}

/// A task and its attempts.
#[derive(Debug, Clone)]
pub struct TaskProgress {
    /// Number of the task.
    pub task: usize,
    /// How it stands.
    pub standing: Standing,
    /// Attempts so far, by number.
    pub attempts: Vec<Attempt>,
    /// Whether the newest attempt was at work and its process has ended without a word ([`Attempts::is_lost`]).
    pub lost: bool,
}

impl TaskProgress {
    /// The attempt whose result is in place, else the newest.
    #[must_use]
    pub fn decisive(&self) -> Option<&Attempt> {
        let done = self.attempts.iter().find(|a| a.state == State::Done);
        match self.standing {
            Standing::Done => done,
            _ => self.attempts.last(),
        }
    }

    /// Most items that any attempt has done or kept.
    #[must_use]
    pub fn items_done(&self) -> usize {
        let done = self.attempts.iter().map(|a| a.items.len());
        done.max().unwrap_or(0)
    }

    /// Seconds of every item that is done.
    #[must_use]
    pub fn seconds_of_items(&self) -> Vec<f64> {
        let most = self.attempts.iter().max_by_key(|a| a.items.len());
        most.map(|a| a.items.iter().map(|item| item.seconds).collect())
            .unwrap_or_default()
    }
}

/// How all tasks stand.
///
/// # Errors
/// [`SweepError::Record`] if a record cannot be read.
pub fn progress_of(folder: &Path, manifest: &Manifest) -> Result<Vec<TaskProgress>, SweepError> {
    let results = Results::of(folder, manifest);
    let mut tasks: Vec<TaskProgress> = (0..manifest.n_tasks())
        .map(|task| TaskProgress {
            task,
            standing: Standing::Waiting,
            attempts: Vec::new(),
            lost: false,
        })
        .collect();
    let attempts = Attempts::of(folder);
    let digest = manifest.digest();
    for attempt in attempts.all()? {
        if attempt.manifest_sha256 != digest {
            return Err(SweepError::Record {
                path: attempts.path(attempt.task, attempt.number),
                reason: format!("it is of another {MANIFEST} than the one of this folder"),
            });
        }
        // A task that the manifest does not have is of no sweep.
        if let Some(task) = tasks.get_mut(attempt.task) {
            task.attempts.push(attempt);
        }
    }
    for task in &mut tasks {
        let shard = results.as_ref();
        let in_place = shard.is_none_or(|r| r.place(task.task).is_file())
            && manifest.items[manifest.items_of(task.task)]
                .iter()
                .all(|item| item.is_in_place(folder));
        let done = task.attempts.iter().any(|a| a.state == State::Done);
        let Some(newest) = task.attempts.last() else {
            continue;
        };
        task.standing = match newest.state {
            _ if done && in_place => Standing::Done,
            State::Running => Standing::Running,
            State::Stopped => Standing::Stopped,
            State::Failed => Standing::Failed(newest.cause.unwrap_or(Cause::Unexpected)),
            // Its result is gone.
            State::Done => Standing::Waiting,
        };
        task.lost = attempts.is_lost(newest);
    }
    Ok(tasks)
}

/// How all tasks stand; reads every shard, and a task whose shard is damaged counts as not begun.
///
/// # Errors
/// [`SweepError::Record`] if a record cannot be read.
pub fn verified_progress_of(
    folder: &Path,
    manifest: &Manifest,
) -> Result<Vec<TaskProgress>, SweepError> {
    let mut tasks = progress_of(folder, manifest)?;
    if let Some(results) = Results::of(folder, manifest) {
        for task in tasks.iter_mut().filter(|t| t.standing == Standing::Done) {
            let digest = task.decisive().and_then(|a| a.shard_sha256.as_deref());
            if !digest.is_some_and(|digest| results.is_whole(task.task, digest)) {
                task.standing = Standing::Waiting;
            }
        }
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    #[test]
    fn a_task_is_done_only_while_its_shard_is_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(5, 2);
        let results = Results::of(folder.path(), &manifest).unwrap();
        let standing = || -> Vec<Standing> {
            let tasks = progress_of(folder.path(), &manifest).unwrap();
            tasks.iter().map(|t| t.standing).collect()
        };
        assert_eq!(standing(), [Standing::Waiting; 3]);
        let mut claim = Attempts::of(folder.path()).claim(2, &manifest).unwrap();
        assert_eq!(standing()[2], Standing::Running);
        let values = ndarray::Array3::<f32>::zeros((1, 1, 3));
        let digest = results.commit(&claim, values.view()).unwrap();
        let done = claim.tell(|a| {
            a.state = State::Done;
            a.shard_sha256 = Some(digest);
        });
        done.unwrap();
        assert_eq!(standing()[2], Standing::Done);
        let verified = || verified_progress_of(folder.path(), &manifest).unwrap()[2].standing;
        assert_eq!(verified(), Standing::Done);
        std::fs::write(results.place(2), "torn").unwrap();
        assert_eq!(
            (standing()[2], verified()),
            (Standing::Done, Standing::Waiting)
        );
        std::fs::remove_file(results.place(2)).unwrap();
        assert_eq!(standing()[2], Standing::Waiting);
        let mut other = manifest.clone();
        other.seconds_per_item += 1.0;
        let error = progress_of(folder.path(), &other).unwrap_err().to_string();
        assert!(error.contains("another sweep.toml"), "{error}");
        let mut failed = Attempts::of(folder.path()).claim(0, &manifest).unwrap();
        let told = failed.tell(|a| {
            a.state = State::Failed;
            a.cause = Some(Cause::Memory);
        });
        told.unwrap();
        assert_eq!(standing()[0], Standing::Failed(Cause::Memory));
    }
}
