//! The items of some tasks, handed out one by one; the result of a task is put in place when its last item is done.
//!
//! The lock guards the bookkeeping only, never work on the disk. Whoever begins a task, keeps what it has done or puts its result in
//! place holds the *files* of that task instead: meanwhile other threads get items, and finish those of other tasks; an item of the same
//! task leaves its result to the thread that holds the files, which looks for more before it lets go of them.

mod begun;

pub use begun::AtWork;

use crate::{Attempt, Attempts, Cause, Manifest, Outcome, Results, State, SweepError};
use begun::{Begun, Files};
use ndarray::{Array2, Array3, s};
use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a queue needs from the program that uses it.
#[derive(Debug, Clone, Copy)]
pub struct QueueSettings<E> {
    /// How often the finished items of a task are saved, in case the process is killed.
    pub keep_every: Option<Duration>,
    /// Most memory that this process held so far, in bytes.
    pub peak_memory: fn() -> u64,
    /// How an error is recorded.
    pub cause: fn(&E) -> Cause,
    /// The text of an error, with its causes.
    pub message: fn(&E) -> String,
    /// Whether an error, such as a full disk, ends all work: nothing more is begun.
    pub ends_all: fn(&E) -> bool,
}

/// An item that is done.
#[derive(Debug)]
pub struct Done {
    /// For the record.
    pub outcome: Outcome,
    /// For the sweep's array, if there is one: as many rows as the item has, of all columns.
    pub rows: Option<Array2<f32>>,
}

/// How the work on an item ended.
#[derive(Debug)]
pub enum Finished<E> {
    /// It is done.
    Done(Done),
    /// It was asked to stop and must be done again.
    Stopped,
    /// It failed, and its task with it.
    Failed(E),
}

/// What became of the tasks.
#[derive(Debug)]
pub struct Ended<E> {
    /// Tasks whose results are in place now.
    pub tasks: usize,
    /// Items that were done.
    pub items: usize,
    /// The first error, with its task; the other tasks went on.
    pub failure: Option<(usize, E)>,
}

/// Items that wait, and tasks at work.
#[derive(Debug)]
pub struct Queue<'a, E> {
    manifest: &'a Manifest,
    sweep: PathBuf,
    attempts: Attempts,
    results: Option<Results>,
    settings: QueueSettings<E>,
    book: Mutex<Book<E>>,
    /// Notified when a thread has begun a task.
    begun: Condvar,
}

#[derive(Debug)]
struct Book<E> {
    /// Tasks that are not begun.
    tasks: VecDeque<usize>,
    /// Items of tasks that were begun.
    items: VecDeque<usize>,
    /// Whether a thread is beginning a task.
    beginning: bool,
    begun: BTreeMap<usize, Begun<E>>,
    /// Numbers of the attempts of this process, by task.
    numbers: BTreeMap<usize, u32>,
    ended: Ended<E>,
}

impl<'a, E: From<SweepError>> Queue<'a, E> {
    /// * `sweep`: its folder
    /// * `todo`: the tasks
    pub fn new(
        sweep: &Path,
        manifest: &'a Manifest,
        todo: &[usize],
        settings: QueueSettings<E>,
    ) -> Self {
        Self {
            manifest,
            sweep: sweep.to_owned(),
            attempts: Attempts::of(sweep),
            results: Results::of(sweep, manifest),
            settings,
            book: Mutex::new(Book {
                tasks: todo.iter().copied().collect(),
                items: VecDeque::new(),
                beginning: false,
                begun: BTreeMap::new(),
                numbers: BTreeMap::new(),
                ended: Ended {
                    tasks: 0,
                    items: 0,
                    failure: None,
                },
            }),
            begun: Condvar::new(),
        }
    }

    /// Number of items that wait, those included that an earlier attempt may have done.
    pub fn n_waiting(&self) -> usize {
        let book = self.book();
        let of_tasks = book.tasks.iter().map(|&t| self.manifest.items_of(t).len());
        book.items.len() + of_tasks.sum::<usize>()
    }

    /// The number of the next item; `None` if there is nothing left to begin.
    pub fn next(&self) -> Option<usize> {
        let mut book = self.book();
        loop {
            if let Some(item) = book.items.pop_front() {
                return Some(item);
            }
            if book.beginning {
                let woken = self.begun.wait(book);
                book = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let task = book.tasks.pop_front()?;
            book = self.begin_task(book, task);
        }
    }

    /// Begins the first task, whose record then tells that this process is at it, before anything that takes long.
    pub fn begin_first(&self) {
        let mut book = self.book();
        if let Some(task) = book.tasks.pop_front() {
            drop(self.begin_task(book, task));
        }
    }

    fn begin_task<'b>(
        &'b self,
        mut book: MutexGuard<'b, Book<E>>,
        task: usize,
    ) -> MutexGuard<'b, Book<E>> {
        book.beginning = true;
        drop(book);
        let begun = self.begin(task);
        book = self.book();
        book.beginning = false;
        self.begun.notify_all();
        match begun {
            Ok(None) => book,
            Ok(Some(files)) => {
                let all = self.manifest.items_of(task);
                book.items
                    .extend(all.filter(|i| !files.done.contains_key(i)));
                let begun = Begun {
                    files: Some(files),
                    left: Vec::new(),
                    failure: None,
                    passes: BTreeMap::new(),
                };
                book.begun.insert(task, begun);
                // Earlier attempts may have done all of it.
                self.work_on(book, task)
            }
            Err(error) => {
                self.give_up(&mut book, task, error.into());
                book
            }
        }
    }

    /// The attempts of this process that are under way.
    pub fn at_work(&self) -> AtWork {
        let book = self.book();
        let files = book.begun.values().filter_map(|b| b.files.as_ref());
        AtWork(files.map(|f| f.claim.witness()).collect())
    }

    /// Where the state of an item's training, or of what a task does first, is kept, and where earlier attempts kept it, the latest first.
    ///
    /// * `task`: one that was begun
    /// * `name`: the number of the item, or a name of what comes first
    pub fn state(&self, task: usize, name: &str) -> (PathBuf, Vec<PathBuf>) {
        let book = self.book();
        let of = |number| {
            self.attempts
                .kept(task, number)
                .join(format!("state-{name}"))
        };
        let number = book.numbers.get(&task).copied().unwrap_or(1);
        (of(number), (1..=number).rev().map(of).collect())
    }

    /// The first task that was begun and is not done.
    pub fn first_begun(&self) -> Option<usize> {
        self.book().begun.keys().next().copied()
    }

    /// Records that the [`state`](Self::state) of that name was kept after `passes` passes.
    pub fn kept(&self, task: usize, name: &str, passes: usize) {
        let mut book = self.book();
        if let Some(begun) = book.begun.get_mut(&task) {
            begun.passes.insert(name.to_owned(), passes);
            drop(self.work_on(book, task));
        }
    }

    /// Keeps the items that are done, of all tasks, before anything else that takes long.
    pub fn keep(&self) {
        let tasks: Vec<usize> = self.book().begun.keys().copied().collect();
        for task in tasks {
            let mut book = self.book();
            let Some(begun) = book.begun.get_mut(&task) else {
                continue;
            };
            let Some(mut files) = begun.files.take() else {
                continue;
            };
            drop(book);
            // Tried again at the end, where an error is told.
            if let Ok(digest) = files.keep(self.results.as_ref()) {
                let _ = files.claim.tell(|attempt| attempt.kept_sha256 = digest);
            }
            book = self.book();
            if let Some(begun) = book.begun.get_mut(&task) {
                begun.files = Some(files);
            }
            drop(self.work_on(book, task));
        }
    }

    /// Ends all tasks that were begun by an error that is of none of them.
    pub fn fail(self, error: &E) {
        let mut begun = std::mem::take(&mut self.book().begun);
        for files in begun.values_mut().filter_map(|b| b.files.as_mut()) {
            self.record_failure(files, error);
        }
    }

    /// Takes what became of an item; gives the number of items done by now.
    pub fn finish(&self, item: usize, finished: Finished<E>) -> usize {
        let task = self.manifest.task_of(item);
        let mut book = self.book();
        match finished {
            Finished::Stopped => {}
            Finished::Done(done) => {
                book.ended.items += 1;
                // A task that has failed meanwhile is done again as a whole.
                if let Some(begun) = book.begun.get_mut(&task) {
                    begun.left.push(done);
                    book = self.work_on(book, task);
                }
            }
            Finished::Failed(error) => {
                let of_other = |i: &usize| self.manifest.task_of(*i) != task;
                book.items.retain(of_other);
                if let Some(begun) = book.begun.get_mut(&task) {
                    begun.failure.get_or_insert(error);
                    book = self.work_on(book, task);
                }
            }
        }
        book.ended.items
    }

    /// Saves the finished items of incomplete tasks for the next attempt; returns their number.
    ///
    /// # Errors
    /// If it cannot be kept.
    pub fn stop(self) -> Result<usize, SweepError> {
        let book = self.book.into_inner();
        let book = book.unwrap_or_else(PoisonError::into_inner);
        let mut kept = 0;
        for begun in book.begun.into_values() {
            let passes = begun.passes();
            let Some(mut files) = begun.files else {
                continue;
            };
            let digest = files.keep(self.results.as_ref())?;
            kept += files.done.len();
            files.claim.tell(|attempt| {
                attempt.state = State::Stopped;
                attempt.cause = Some(Cause::Signal);
                attempt.kept_sha256 = digest;
                attempt.passes = passes;
            })?;
        }
        Ok(kept)
    }

    /// What became of all tasks.
    pub fn ended(self) -> Ended<E> {
        let book = self.book.into_inner();
        book.unwrap_or_else(PoisonError::into_inner).ended
    }

    fn book(&self) -> MutexGuard<'_, Book<E>> {
        // A thread that panicked ends the process: the scope it ran in passes the panic on.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Works on the files of a task, without the lock, until nothing is left for them, unless another thread holds them.
    fn work_on<'b>(
        &'b self,
        mut book: MutexGuard<'b, Book<E>>,
        task: usize,
    ) -> MutexGuard<'b, Book<E>> {
        loop {
            let Some(begun) = book.begun.get_mut(&task) else {
                return book;
            };
            let Some(mut files) = begun.files.take() else {
                return book;
            };
            let (left, failure) = (std::mem::take(&mut begun.left), begun.failure.take());
            for done in &left {
                begun.passes.remove(&done.outcome.item.to_string());
            }
            let passes = begun.passes();
            drop(book);
            let complete = match failure {
                None => self.take(&mut files, left, passes).map_err(E::from),
                Some(error) => Err(error),
            };
            if let Err(error) = &complete {
                self.record_failure(&mut files, error);
            }
            book = self.book();
            match complete {
                Ok(false) => {
                    let Some(begun) = book.begun.get_mut(&task) else {
                        return book;
                    };
                    begun.files = Some(files);
                    let told = begun.passes() == passes;
                    if begun.left.is_empty() && begun.failure.is_none() && told {
                        return book;
                    }
                }
                Ok(true) => {
                    book.begun.remove(&task);
                    book.ended.tasks += 1;
                }
                Err(error) => {
                    book.begun.remove(&task);
                    self.give_up(&mut book, task, error);
                }
            }
        }
    }

    /// Begins a new attempt at a task, with what earlier ones kept; `None` if another process has done it meanwhile.
    fn begin(&self, task: usize) -> Result<Option<Files>, SweepError> {
        let before = self.attempts.at(task)?;
        if before.iter().any(|a| self.is_done(a)) {
            return Ok(None);
        }
        let claim = self.attempts.claim(task, self.manifest)?;
        let range = self.manifest.items_of(task);
        let id = &claim.attempt().task_id;
        let mut done = BTreeMap::new();
        let mut rows = self.results.as_ref().map(|results| {
            let (rows, columns) = results.item_size();
            Array3::from_elem((range.len(), rows, columns), f32::NAN)
        });
        for earlier in before.iter().rev().filter(|a| a.task_id == *id) {
            let outcomes = || earlier.items.iter().map(|o| (o.item, o.clone()));
            match (&self.results, &earlier.kept_sha256) {
                (None, _) => done.extend(outcomes().filter(|(item, _)| {
                    let item = self.manifest.items.get(*item);
                    item.is_some_and(|item| item.is_in_place(&self.sweep))
                })),
                (Some(results), Some(digest)) => {
                    if let Some(kept) = results.take_up(task, earlier.number, digest) {
                        let is_there = |item: usize| !kept[[item - range.start, 0, 0]].is_nan();
                        done.extend(outcomes().filter(|(item, _)| is_there(*item)));
                        rows = Some(kept);
                        break;
                    }
                }
                (Some(_), None) => {}
            }
        }
        self.book().numbers.insert(task, claim.attempt().number);
        Ok(Some(Files {
            claim,
            rows,
            done,
            kept: Instant::now(),
        }))
    }

    /// Whether an attempt has done its task, its result in place.
    fn is_done(&self, attempt: &Attempt) -> bool {
        let task = attempt.task;
        let digest = attempt.shard_sha256.as_deref();
        let shard = self.results.as_ref();
        attempt.state == State::Done
            && attempt.task_id == self.manifest.task_id(task)
            && shard.is_none_or(|r| digest.is_some_and(|d| r.is_whole(task, d)))
            && self.manifest.items[self.manifest.items_of(task)]
                .iter()
                .all(|item| item.is_in_place(&self.sweep))
    }

    /// Takes items that are done; whether the task is complete, its result in place.
    fn take(&self, files: &mut Files, items: Vec<Done>, passes: usize) -> Result<bool, SweepError> {
        let range = self.manifest.items_of(files.claim.attempt().task);
        let is_new = !items.is_empty() || passes != files.claim.attempt().passes;
        for Done { outcome, rows } in items {
            if let (Some(all), Some(rows)) = (&mut files.rows, rows) {
                let place = outcome.item - range.start;
                all.slice_mut(s![place, ..rows.nrows(), ..]).assign(&rows);
            }
            files.done.insert(outcome.item, outcome);
        }
        let peak = (self.settings.peak_memory)();
        let complete = files.done.len() >= range.len();
        let outcomes = files.done.values().cloned().collect();
        if complete {
            let digest = match (&self.results, &files.rows) {
                (Some(results), Some(rows)) => Some(results.commit(&files.claim, rows.view())?),
                _ => None,
            };
            files.claim.tell(|attempt| {
                attempt.state = State::Done;
                attempt.items = outcomes;
                attempt.shard_sha256 = digest;
                attempt.kept_sha256 = None;
                attempt.passes = 0;
                attempt.peak_memory_bytes = peak;
            })?;
            files.claim.clear();
        } else if is_new {
            let every = self.settings.keep_every;
            let digest = match every.is_some_and(|every| files.kept.elapsed() >= every) {
                true => files.keep(self.results.as_ref())?,
                false => files.claim.attempt().kept_sha256.clone(),
            };
            files.claim.tell(|attempt| {
                attempt.items = outcomes;
                attempt.kept_sha256 = digest;
                attempt.passes = passes;
                attempt.peak_memory_bytes = peak;
            })?;
        }
        Ok(complete)
    }

    fn record_failure(&self, files: &mut Files, error: &E) {
        let outcomes = files.done.values().cloned().collect();
        // A full disk may have no space for the record either; the error itself is returned in any case.
        let _ = files.claim.tell(|attempt| {
            attempt.state = State::Failed;
            attempt.items = outcomes;
            attempt.cause = Some((self.settings.cause)(error));
            attempt.message = Some((self.settings.message)(error));
            attempt.peak_memory_bytes = (self.settings.peak_memory)();
        });
    }

    /// Goes on without a task that failed.
    fn give_up(&self, book: &mut Book<E>, task: usize, error: E) {
        book.items.retain(|i| self.manifest.task_of(*i) != task);
        if (self.settings.ends_all)(&error) {
            book.tasks.clear();
            book.items.clear();
        }
        book.ended.failure.get_or_insert((task, error));
    }
}

#[cfg(test)]
mod tests;
