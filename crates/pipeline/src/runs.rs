//! The tasks of a sweep over settings: each mapping is a run of its own.

use crate::error::{PipelineError, Result, Within};
use crate::listener::Listener;
use crate::queue;
use crate::run_directory::RunDirectory;
use crate::wording::count;
use std::fs;
use std::path::{Path, PathBuf};
use tangram_mapper::MapError;
use tangram_sweep::{Attempts, Cause, Claim, FoldOutcome, Manifest, RunSpec, State, SweepError};

/// Where the runs are, in the folder of the sweep.
pub const RUNS: &str = "runs";
/// Does tasks one after the other.
///
/// * `map`: has one mapping done, given the folder of all runs; a run that is complete is left as it is
///
/// # Errors
/// [`MapError::Stopped`] if asked to stop; if the folder cannot be written. A mapping that fails is in what is returned.
pub fn run(
    sweep: &Path,
    manifest: &Manifest,
    runs: &[RunSpec],
    todo: &[usize],
    map: &mut dyn FnMut(&Path, &RunSpec) -> Result<Ended>,
    listener: &dyn Listener,
) -> Result<queue::Ended> {
    let folder = sweep.join(RUNS);
    fs::create_dir_all(&folder).map_err(|e| SweepError::Write {
        path: folder.clone(),
        reason: e.to_string(),
    })?;
    let attempts = Attempts::of(sweep);
    let mut ended = queue::Ended::default();
    listener.asks_whether_to_stop(true);
    for &task in todo {
        let mut claim = match attempts.claim(task, manifest) {
            Ok(claim) => claim,
            Err(error) => {
                ended.failure.get_or_insert(error.into());
                continue;
            }
        };
        let mut failure = None;
        for fold in manifest.folds_of(task) {
            let spec = &runs[fold];
            listener.say(format_args!("run {}", spec.name))?;
            match map(&folder, spec)? {
                Ended::Done => {
                    let outcome = outcome(&folder.join(&spec.name))?;
                    ended.folds += 1;
                    claim.tell(|a| a.folds.push(FoldOutcome { fold, ..outcome }))?;
                }
                Ended::Failed { code, cause } => {
                    failure = Some((spec, code, cause));
                    break;
                }
            }
        }
        match failure {
            None => {
                finish(&mut claim, State::Done, None, None)?;
                claim.clear();
                ended.tasks += 1;
            }
            Some((_, _, Cause::Signal)) => {
                finish(&mut claim, State::Stopped, Some(Cause::Signal), None)?;
                let n_runs = claim.attempt().folds.len();
                return Err(MapError::Stopped { passes: n_runs })
                    .within(|| format!("task {task}: {} of it done", count(n_runs, "run")));
            }
            Some((spec, code, cause)) => {
                let error = PipelineError::Run {
                    name: spec.name.clone(),
                    code,
                    cause,
                };
                let message = Some(error.to_string());
                finish(&mut claim, State::Failed, Some(cause), message)?;
                ended.failure.get_or_insert(PipelineError::Within {
                    what: format!("task {task}"),
                    source: Box::new(error),
                });
            }
        }
    }
    listener.asks_whether_to_stop(false);
    Ok(ended)
}

fn finish(
    claim: &mut Claim,
    state: State,
    cause: Option<Cause>,
    message: Option<String>,
) -> Result<(), SweepError> {
    claim.tell(|attempt| {
        attempt.state = state;
        attempt.cause = cause;
        attempt.message = message;
    })
}

/// How a mapping ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Its run is complete.
    Done,
    /// By an error, which it has told.
    Failed {
        /// Its exit code.
        code: i32,
        /// What it means.
        cause: Cause,
    },
}

/// What a run says of itself.
fn outcome(out: &Path) -> Result<FoldOutcome> {
    let run = RunDirectory::open(out)?;
    let record = run.record();
    Ok(FoldOutcome {
        fold: 0,
        passes: record.epochs_run,
        loss: record.final_loss.total,
        seconds: record.seconds_training,
        genes: Vec::new(),
    })
}

/// Where a run is.
pub fn place(sweep: &Path, spec: &RunSpec) -> PathBuf {
    sweep.join(RUNS).join(&spec.name)
}

/// Whether a run is complete, with all its files.
pub fn is_complete(sweep: &Path, spec: &RunSpec) -> bool {
    RunDirectory::open(&place(sweep, spec)).is_ok()
}
