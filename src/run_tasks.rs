//! The tasks of a sweep over settings: each mapping is a `tangram map` of its own, under a launcher if it takes several processes.

use crate::error::CliError;
use crate::interrupt;
use crate::report::{Report, count};
use crate::run_directory::RUN_FILE;
use crate::task_queue::{Ended, cause_of_code};
use anyhow::{Context, Result};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use tangram_mapper::MapError;
use tangram_store::StoreError;
use tangram_sweep::{Attempts, Cause, Claim, FoldOutcome, Manifest, RunSpec, State, SweepError};
use toml::Table;

/// Where the runs are, in the folder of the sweep.
pub const RUNS: &str = "runs";
/// How often it is looked whether a mapping has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Does tasks one after the other.
///
/// * `launcher`: what starts a mapping; without, it is one process
///
/// # Errors
/// [`MapError::Stopped`] if asked to stop; if the folder cannot be written. A mapping that fails is in what is returned.
pub fn run(
    sweep: &Path,
    manifest: &Manifest,
    runs: &[RunSpec],
    todo: &[usize],
    launcher: Option<&str>,
    report: Report,
) -> Result<Ended> {
    let folder = sweep.join(RUNS);
    fs::create_dir_all(&folder).map_err(|e| SweepError::Write {
        path: folder.clone(),
        reason: e.to_string(),
    })?;
    let attempts = Attempts::of(sweep);
    let mut ended = Ended::default();
    interrupt::keeps_state(true);
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
            report.say(format_args!("run {}", spec.name))?;
            match map(&folder, spec, launcher)? {
                Mapped::Done(outcome) => {
                    ended.folds += 1;
                    claim.tell(|a| a.folds.push(FoldOutcome { fold, ..outcome }))?;
                }
                Mapped::Ended(code) => {
                    failure = Some((spec, code));
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
            Some((_, code)) if cause_of_code(code) == Cause::Signal => {
                finish(&mut claim, State::Stopped, Some(Cause::Signal), None)?;
                let n_runs = claim.attempt().folds.len();
                return Err(MapError::Stopped { passes: n_runs })
                    .with_context(|| format!("task {task}: {} of it done", count(n_runs, "run")));
            }
            Some((spec, code)) => {
                let error = CliError::Run {
                    name: spec.name.clone(),
                    code,
                };
                let message = Some(error.to_string());
                finish(
                    &mut claim,
                    State::Failed,
                    Some(cause_of_code(code)),
                    message,
                )?;
                ended
                    .failure
                    .get_or_insert(anyhow::Error::new(error).context(format!("task {task}")));
            }
        }
    }
    interrupt::keeps_state(false);
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
enum Mapped {
    Done(FoldOutcome),
    Ended(i32),
}

/// Maps, going on from a checkpoint if there is one; a run that is there already is not mapped again.
fn map(folder: &Path, spec: &RunSpec, launcher: Option<&str>) -> Result<Mapped> {
    let out = folder.join(&spec.name);
    let settings = folder.join(format!(".{}.{}.toml", spec.name, std::process::id()));
    let mut file = Table::new();
    file.insert("map".to_owned(), spec.map.clone().into());
    let written = fs::write(&settings, toml::to_string(&file)?);
    written.map_err(|e| StoreError::Write {
        path: settings.clone(),
        reason: e.to_string(),
    })?;
    let program = std::env::current_exe().context("where this program is")?;
    let words: Vec<&str> = launcher
        .map(|l| l.split_whitespace().collect())
        .unwrap_or_default();
    let mut command = match words.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args(["map", "--quiet", "--resume", "--config"])
        .arg(&settings)
        .arg("--out")
        .arg(&out);
    let child = command.spawn().map_err(|e| {
        let what = launcher.unwrap_or("tangram map");
        CliError::Usage(format!("--launcher: `{what}` cannot be started: {e}"))
    });
    let status = child.map(wait);
    let removed = fs::remove_file(&settings);
    let status = status?.context("waiting for a mapping")?;
    removed.context("the settings of a run")?;
    match status.code() {
        Some(0) => Ok(Mapped::Done(outcome(&out)?)),
        Some(code) => Ok(Mapped::Ended(code)),
        // Ended by a signal; as shells number it.
        None => Ok(Mapped::Ended(128 + signal(status))),
    }
}

fn signal(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.signal().unwrap_or(0)
}

/// Waits for a mapping; if this process is asked to stop, so is the mapping.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::stop_asked() && !told {
            told = true;
            if let Ok(pid) = libc::pid_t::try_from(child.id()) {
                // SAFETY: a signal to a child that has not been waited for touches no memory of this process.
                unsafe { libc::kill(pid, libc::SIGUSR2) };
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// What a run says of itself.
fn outcome(out: &Path) -> Result<FoldOutcome> {
    let run = crate::run_directory::RunDirectory::open(out)?;
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

/// Whether a run is complete.
pub fn is_complete(sweep: &Path, spec: &RunSpec) -> bool {
    place(sweep, spec).join(RUN_FILE).is_file()
}
