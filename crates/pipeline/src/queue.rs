//! The folds of some tasks, handed out one by one; a task is written when its last fold is done.

use crate::error::{PipelineError, Result, full_text};
use crate::fold::TrainedFold;
use ndarray::{Array3, s};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tangram_mapper::MapError;
use tangram_store::memory;
use tangram_sweep::{
    Attempts, Cause, Claim, Fold, FoldOutcome, Manifest, Results, State, SweepError,
};

/// What became of the tasks.
#[derive(Debug, Default)]
pub struct Ended {
    /// Tasks whose results are in place now.
    pub tasks: usize,
    /// Folds, or runs, that were trained.
    pub folds: usize,
    /// The first error of a task; the other tasks went on.
    pub failure: Option<PipelineError>,
}

/// Folds that wait, and tasks at work.
#[derive(Debug)]
pub struct Queue<'a> {
    manifest: &'a Manifest,
    folds: &'a [Fold],
    attempts: Attempts,
    results: Option<Results>,
    keep_every: Option<Duration>,
    work: Mutex<AtWork>,
}

#[derive(Debug)]
struct AtWork {
    waiting: VecDeque<usize>,
    begun: BTreeMap<usize, Task>,
    /// Tasks that failed, are another's, or are done.
    closed: BTreeSet<usize>,
    ended: Ended,
}

/// A task at work.
#[derive(Debug)]
struct Task {
    claim: Claim,
    /// (folds, genes held out, voxels), NaN where nothing is predicted yet.
    predicted: Option<Array3<f32>>,
    done: BTreeMap<usize, FoldOutcome>,
    kept: Instant,
}

impl<'a> Queue<'a> {
    /// * `folds`: all of the sweep
    /// * `todo`: the tasks
    /// * `keep_every`: how often the folds that are done are kept
    pub fn new(
        sweep: &Path,
        manifest: &'a Manifest,
        folds: &'a [Fold],
        todo: &[usize],
        keep_every: Option<Duration>,
    ) -> Self {
        Self {
            manifest,
            folds,
            attempts: Attempts::of(sweep),
            results: Results::of(sweep, manifest),
            keep_every,
            work: Mutex::new(AtWork {
                waiting: todo.iter().flat_map(|&t| manifest.folds_of(t)).collect(),
                begun: BTreeMap::new(),
                closed: BTreeSet::new(),
                ended: Ended::default(),
            }),
        }
    }

    /// Number of folds that wait.
    pub fn n_waiting(&self) -> usize {
        self.work().waiting.len()
    }

    /// The next fold, and the places of the genes it holds out; `None` if there is nothing left to begin.
    pub fn next(&self) -> Option<(usize, Vec<usize>)> {
        let mut work = self.work();
        loop {
            let fold = work.waiting.pop_front()?;
            let task = fold / self.manifest.folds_per_task;
            if work.closed.contains(&task) {
                continue;
            }
            let is_begun = work.begun.contains_key(&task);
            if !is_begun {
                match self.begin(task) {
                    Ok(begun) => drop(work.begun.insert(task, begun)),
                    Err(error) => {
                        self.give_up(&mut work, task, error.into());
                        continue;
                    }
                }
                self.complete(&mut work, task);
            }
            match work.begun.get(&task) {
                Some(begun) if !begun.done.contains_key(&fold) => {}
                _ => continue,
            }
            let places = &self.folds[fold].held_out;
            let places = places
                .iter()
                .filter_map(|g| self.manifest.genes.binary_search(g).ok());
            return Some((fold, places.collect()));
        }
    }

    /// Takes what a fold gave; gives the number of folds done by now.
    pub fn finish(&self, fold: usize, trained: Result<TrainedFold>) -> usize {
        let mut work = self.work();
        let task = fold / self.manifest.folds_per_task;
        match trained {
            Ok(trained) => {
                work.ended.folds += 1;
                if let Err(error) = self.take(&mut work, task, trained) {
                    self.give_up(&mut work, task, error.into());
                } else {
                    self.complete(&mut work, task);
                }
            }
            Err(error) if is_stop(&error) => {}
            Err(error) => self.give_up(&mut work, task, error),
        }
        work.ended.folds
    }

    /// Keeps the folds that are done of tasks that are not, for the next attempt; gives their number.
    ///
    /// # Errors
    /// If they cannot be kept.
    pub fn stop(self) -> Result<usize, SweepError> {
        let mut work = self
            .work
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let mut kept = 0;
        for task in work.begun.values_mut() {
            let digest = keep(self.results.as_ref(), task)?;
            kept += task.done.len();
            task.claim.tell(|attempt| {
                attempt.state = State::Stopped;
                attempt.cause = Some(Cause::Signal);
                attempt.kept_sha256 = digest;
            })?;
        }
        Ok(kept)
    }

    /// What became of all tasks.
    pub fn ended(self) -> Ended {
        let work = self.work.into_inner();
        work.unwrap_or_else(PoisonError::into_inner).ended
    }

    fn work(&self) -> MutexGuard<'_, AtWork> {
        // A thread that panicked ends the process: the scope it ran in passes the panic on.
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new attempt at a task, with what earlier ones kept.
    fn begin(&self, task: usize) -> Result<Task, SweepError> {
        let before = self.attempts.at(task)?;
        let claim = self.attempts.claim(task, self.manifest)?;
        let range = self.manifest.folds_of(task);
        let id = &claim.attempt().task_id;
        let mut done = BTreeMap::new();
        let mut predicted = self.results.as_ref().map(|results| {
            let (genes, voxels) = results.fold_size();
            Array3::from_elem((range.len(), genes, voxels), f32::NAN)
        });
        for earlier in before.iter().rev().filter(|a| a.task_id == *id) {
            let outcomes = || earlier.folds.iter().map(|f| (f.fold, f.clone()));
            match (&self.results, &earlier.kept_sha256) {
                (None, _) => done.extend(outcomes()),
                (Some(results), Some(digest)) => {
                    if let Some(kept) = results.take_up(task, earlier.number, digest) {
                        let is_there = |fold: usize| !kept[[fold - range.start, 0, 0]].is_nan();
                        done.extend(outcomes().filter(|(fold, _)| is_there(*fold)));
                        predicted = Some(kept);
                        break;
                    }
                }
                (Some(_), None) => {}
            }
        }
        Ok(Task {
            claim,
            predicted,
            done,
            kept: Instant::now(),
        })
    }

    fn take(&self, work: &mut AtWork, task: usize, trained: TrainedFold) -> Result<(), SweepError> {
        let TrainedFold { outcome, predicted } = trained;
        let Some(task) = work.begun.get_mut(&task) else {
            return Ok(());
        };
        if let Some(all) = &mut task.predicted {
            let place = outcome.fold - self.manifest.folds_of(task.claim.attempt().task).start;
            all.slice_mut(s![place, ..predicted.nrows(), ..])
                .assign(&predicted);
        }
        task.done.insert(outcome.fold, outcome);
        let due = self
            .keep_every
            .is_some_and(|every| task.kept.elapsed() >= every);
        let digest = match due {
            true => keep(self.results.as_ref(), task)?,
            false => task.claim.attempt().kept_sha256.clone(),
        };
        let folds = task.done.values().cloned().collect();
        task.claim.tell(|attempt| {
            attempt.folds = folds;
            attempt.kept_sha256 = digest;
            attempt.peak_memory_bytes = memory::peak().unwrap_or(0);
        })
    }

    /// Puts the result of a task in place if all its folds are done.
    fn complete(&self, work: &mut AtWork, task: usize) {
        let n_folds = self.manifest.folds_of(task).len();
        if work.begun.get(&task).is_none_or(|t| t.done.len() < n_folds) {
            return;
        }
        let Some(mut begun) = work.begun.remove(&task) else {
            return;
        };
        let committed = match (&self.results, &begun.predicted) {
            (Some(results), Some(values)) => results.commit(&begun.claim, values.view()).map(Some),
            _ => Ok(None),
        };
        let folds = begun.done.values().cloned().collect();
        let told = committed.and_then(|digest| {
            begun.claim.tell(|attempt| {
                attempt.state = State::Done;
                attempt.folds = folds;
                attempt.shard_sha256 = digest;
                attempt.kept_sha256 = None;
                attempt.peak_memory_bytes = memory::peak().unwrap_or(0);
            })
        });
        match told {
            Ok(()) => {
                begun.claim.clear();
                work.closed.insert(task);
                work.ended.tasks += 1;
            }
            Err(error) => {
                work.begun.insert(task, begun);
                self.give_up(work, task, error.into());
            }
        }
    }

    /// Records why a task failed and goes on without it; nothing more is begun if no output can be written.
    fn give_up(&self, work: &mut AtWork, task: usize, error: PipelineError) {
        let cause = error.cause();
        if cause == Cause::Output
            && !matches!(error, PipelineError::Sweep(SweepError::AtWork { .. }))
        {
            work.waiting.clear();
        }
        if let Some(mut begun) = work.begun.remove(&task) {
            // A disk that is full may have no place for the record either; the error itself is told in any case.
            let _ = begun.claim.tell(|attempt| {
                attempt.state = State::Failed;
                attempt.cause = Some(cause);
                attempt.message = Some(full_text(&error));
                attempt.peak_memory_bytes = memory::peak().unwrap_or(0);
            });
        }
        work.closed.insert(task);
        work.ended
            .failure
            .get_or_insert_with(|| PipelineError::Within {
                what: format!("task {task}"),
                source: Box::new(error),
            });
    }
}

/// Keeps what a task has predicted so far.
fn keep(results: Option<&Results>, task: &mut Task) -> Result<Option<String>, SweepError> {
    task.kept = Instant::now();
    match (results, &task.predicted) {
        (Some(results), Some(values)) if !task.done.is_empty() => {
            results.keep(&task.claim, values.view()).map(Some)
        }
        _ => Ok(None),
    }
}

fn is_stop(error: &PipelineError) -> bool {
    matches!(error, PipelineError::Map(MapError::Stopped { .. }))
}
