//! Queues on a disk that answers, stops, fails, and does not answer.

use super::*;
use crate::manifest::tests::manifest;
use crate::{Standing, progress_of};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

const WAIT: Duration = Duration::from_secs(300);

fn settings(keep_every: Option<Duration>) -> QueueSettings<SweepError> {
    QueueSettings {
        keep_every,
        peak_memory: || 7,
        cause: |error| match error {
            SweepError::Superseded { .. } => Cause::Superseded,
            _ => Cause::Output,
        },
        message: ToString::to_string,
        ends_all: |error| matches!(error, SweepError::Write { .. }),
    }
}

fn done(item: usize) -> Finished<SweepError> {
    Finished::Done(Done {
        outcome: Outcome::new(item, 0.5, &item).unwrap(),
        rows: Some(Array2::from_elem((1, 3), item as f32)),
    })
}

fn shard(folder: &Path, manifest: &Manifest, task: usize) -> Array3<f32> {
    let attempts = Attempts::of(folder).at(task).unwrap();
    let digest = attempts.iter().find_map(|a| a.shard_sha256.clone());
    let results = Results::of(folder, manifest).unwrap();
    results.read(task, &digest.unwrap()).unwrap()
}

#[test]
fn all_items_are_handed_out_once_in_order_and_tasks_end_with_their_last() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(5, 2);
    let queue = Queue::new(folder.path(), &manifest, &[2, 0], settings(None));
    assert_eq!(queue.n_waiting(), 3);
    let mut order = Vec::new();
    while let Some(item) = queue.next() {
        order.push(item);
        assert_eq!(queue.finish(item, done(item)), order.len());
    }
    assert_eq!(order, [4, 0, 1]);
    let ended = queue.ended();
    assert_eq!((ended.tasks, ended.items), (2, 3));
    assert!(ended.failure.is_none());
    let standing = progress_of(folder.path(), &manifest).unwrap();
    let standing: Vec<_> = standing.iter().map(|t| t.standing).collect();
    assert_eq!(
        standing,
        [Standing::Done, Standing::Waiting, Standing::Done]
    );
    assert_eq!(
        shard(folder.path(), &manifest, 0)
            .into_raw_vec_and_offset()
            .0,
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    );
}

#[test]
fn what_was_kept_at_a_stop_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(4, 4);
    let queue = Queue::new(folder.path(), &manifest, &[0], settings(None));
    for _ in 0..2 {
        let item = queue.next().unwrap();
        queue.finish(item, done(item));
    }
    let item = queue.next().unwrap();
    queue.finish(item, Finished::Stopped);
    assert_eq!(queue.stop().unwrap(), 2);
    let queue = Queue::new(folder.path(), &manifest, &[0], settings(None));
    let mut order = Vec::new();
    while let Some(item) = queue.next() {
        order.push(item);
        queue.finish(item, done(item));
    }
    assert_eq!(order, [2, 3]);
    assert_eq!(queue.ended().tasks, 1);
    let all = shard(folder.path(), &manifest, 0);
    assert_eq!(all.column_mean(), [0.0, 1.0, 2.0, 3.0]);
}

trait ColumnMean {
    fn column_mean(&self) -> Vec<f32>;
}
impl ColumnMean for Array3<f32> {
    fn column_mean(&self) -> Vec<f32> {
        self.outer_iter().map(|item| item.mean().unwrap()).collect()
    }
}

#[test]
fn a_failed_item_ends_its_task_and_no_other_unless_nothing_can_be_written() {
    let manifest = manifest(6, 2);
    let failed = |folder: &tempfile::TempDir, item: usize, error: SweepError| {
        let queue = Queue::new(folder.path(), &manifest, &[0, 1, 2], settings(None));
        let mut order = Vec::new();
        let mut error = Some(error);
        while let Some(next) = queue.next() {
            order.push(next);
            let finished = match next == item {
                true => Finished::Failed(error.take().unwrap()),
                false => done(next),
            };
            queue.finish(next, finished);
        }
        (order, queue.ended())
    };
    let superseded = SweepError::Superseded { task: 1, number: 1 };
    let folder = tempfile::tempdir().unwrap();
    let (order, ended) = failed(&folder, 2, superseded);
    assert_eq!(order, [0, 1, 2, 4, 5]);
    assert_eq!(ended.tasks, 2);
    assert!(matches!(
        ended.failure,
        Some((1, SweepError::Superseded { .. }))
    ));
    let attempt = Attempts::of(folder.path()).at(1).unwrap().remove(0);
    assert_eq!(
        (attempt.state, attempt.cause),
        (State::Failed, Some(Cause::Superseded))
    );
    assert!(attempt.message.unwrap().contains("superseded"));
    let full = SweepError::Write {
        path: "x".into(),
        reason: "the disk is full".into(),
    };
    let (order, _) = failed(&tempfile::tempdir().unwrap(), 0, full);
    assert_eq!(order, [0], "nothing more is begun");
}

#[test]
fn an_output_folder_that_is_gone_is_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = manifest(2, 2);
    manifest.array = None;
    for item in &mut manifest.items {
        item.output = crate::Output::Folder {
            path: PathBuf::from(&item.name),
            complete: "whole".into(),
        };
    }
    let write = |item: usize| {
        let out = folder.path().join(&manifest.items[item].name);
        std::fs::create_dir_all(&out).unwrap();
        std::fs::write(out.join("whole"), "").unwrap();
    };
    let pass = || {
        let queue = Queue::new(folder.path(), &manifest, &[0], settings(None));
        let mut order = Vec::new();
        while let Some(item) = queue.next() {
            order.push(item);
            write(item);
            let outcome = Outcome::new(item, 0.5, &item).unwrap();
            let rows = None;
            queue.finish(item, Finished::Done(Done { outcome, rows }));
        }
        order
    };
    assert_eq!(pass(), [0, 1]);
    std::fs::remove_dir_all(folder.path().join("item01")).unwrap();
    assert_eq!(
        progress_of(folder.path(), &manifest).unwrap()[0].standing,
        Standing::Waiting
    );
    assert_eq!(pass(), [1]);
}

/// A disk that does not answer: the file in which a task keeps its rows is a pipe that nobody reads.
#[test]
fn a_slow_disk_keeps_no_other_item_waiting() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(6, 3);
    let kept = folder
        .path()
        .join("attempts/00000.1.kept/predictions/c/0/0");
    std::fs::create_dir_all(&kept).unwrap();
    let pipe = kept.join("0");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let keep_always = settings(Some(Duration::ZERO));
    let queue = Queue::new(folder.path(), &manifest, &[0, 1], keep_always);
    thread::scope(|scope| {
        let items: Vec<usize> = (0..3).map(|_| queue.next().unwrap()).collect();
        assert_eq!(items, [0, 1, 2]);
        let (queue, (told, heard)) = (&queue, channel());
        scope.spawn(move || queue.finish(0, done(0)));
        let others = scope.spawn(move || {
            while queue.book().begun[&0].files.is_some() {
                thread::yield_now();
            }
            // Of the same task: left to the thread that waits for the disk.
            queue.finish(1, done(1));
            // Of another one: begun, done, kept, put in place.
            while let Some(item) = queue.next() {
                queue.finish(item, done(item));
            }
            told.send(()).unwrap();
        });
        let answered = heard.recv_timeout(WAIT);
        let waiting = queue.book().begun[&0].files.is_none();
        // Lets the first thread go, whatever has happened.
        let read = std::fs::File::open(&pipe);
        std::fs::remove_file(&pipe).unwrap();
        drop(read);
        others.join().unwrap();
        assert!(answered.is_ok() && waiting);
    });
    let standing = progress_of(folder.path(), &manifest).unwrap();
    assert_eq!(standing[1].standing, Standing::Done);
    assert!(matches!(standing[0].standing, Standing::Failed(_)));
}

#[test]
fn what_another_process_has_done_since_is_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(4, 2);
    let queue = || Queue::new(folder.path(), &manifest, &[0, 1], settings(None));
    let (first, second) = (queue(), queue());
    for queue in [first, second] {
        while let Some(item) = queue.next() {
            queue.finish(item, done(item));
        }
    }
    let all = Attempts::of(folder.path()).all().unwrap();
    assert_eq!(all.len(), 2, "one attempt at each task");
}

#[test]
fn a_task_is_on_record_before_its_items_are_handed_out() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = manifest(4, 2);
    let record = |task: usize| Attempts::of(folder.path()).at(task).unwrap().pop().unwrap();
    let queue = Queue::new(folder.path(), &manifest, &[1, 0], settings(None));
    queue.begin_first();
    assert_eq!(record(1).state, State::Running);
    assert!(Attempts::of(folder.path()).at(0).unwrap().is_empty());
    // Passes of a training are on record, too, and go when its item is done.
    let item = queue.next().unwrap();
    queue.kept(1, &item.to_string(), 17);
    assert_eq!(record(1).passes, 17);
    queue.finish(item, done(item));
    assert_eq!((record(1).passes, record(1).items.len()), (0, 1));
    // What is of no task ends those that were begun.
    let error = SweepError::write(Path::new("x"), &std::io::Error::other("no"));
    queue.fail(&error);
    let (told, expected) = (record(1), error.to_string());
    assert_eq!((told.state, told.message), (State::Failed, Some(expected)));
    // Another ends by a signal while it reads.
    let queue = Queue::new(folder.path(), &manifest, &[0], settings(None));
    queue.begin_first();
    queue.at_work().stopped();
    assert_eq!(record(0).state, State::Stopped);
}
