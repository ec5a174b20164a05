//! Tasks at work: what of them is in memory, and what is on the disk.

use super::Done;
use crate::attempt::Witness;
use crate::{Claim, Outcome, Results, SweepError};
use ndarray::Array3;
use std::collections::BTreeMap;
use std::time::Instant;

/// A task at work.
#[derive(Debug)]
pub(super) struct Begun<E> {
    /// `None` while a thread holds them.
    pub(super) files: Option<Files>,
    /// For the thread that holds the files.
    pub(super) left: Vec<Done>,
    pub(super) failure: Option<E>,
    /// Passes of items whose state was kept, by the names of their states.
    pub(super) passes: BTreeMap<String, usize>,
}

/// What of a task is on the disk, or is to go there.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) claim: Claim,
    /// (items, rows, columns), NaN where nothing is known yet.
    pub(super) rows: Option<Array3<f32>>,
    pub(super) done: BTreeMap<usize, Outcome>,
    pub(super) kept: Instant,
}

impl<E> Begun<E> {
    /// Passes of all items whose state was kept.
    pub(super) fn passes(&self) -> usize {
        self.passes.values().sum()
    }
}

/// Attempts of this process.
#[derive(Debug)]
pub struct AtWork(pub(super) Vec<Witness>);

impl AtWork {
    /// Records that they stopped on request, if they are at work still: for a process that a signal ends.
    pub fn stopped(self) {
        self.0.into_iter().for_each(Witness::stopped);
    }
}

impl Files {
    /// Keeps the rows so far; gives their SHA-256.
    pub(super) fn keep(&mut self, results: Option<&Results>) -> Result<Option<String>, SweepError> {
        self.kept = Instant::now();
        match (results, &self.rows) {
            (Some(results), Some(rows)) if !self.done.is_empty() => {
                results.keep(&self.claim, rows.view()).map(Some)
            }
            _ => Ok(None),
        }
    }
}
