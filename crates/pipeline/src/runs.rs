//! Runs: mappings with settings of their own, as the items of a sweep.

use crate::error::{PipelineError, Result, Within, full_text};
use crate::listener::Listener;
use crate::run_directory::{RUN_FILE, RunDirectory};
use crate::wording::count;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tangram_mapper::MapError;
use tangram_store::{fingerprint, memory};
use tangram_sweep::{
    Cause, Done, Ended, Finished, Input, Item, Manifest, Outcome, Output, Queue, QueueSettings,
    SweepError,
};
use toml::Table;

/// The folder of all runs, in the folder of the sweep.
const RUNS: &str = "runs";

/// A mapping with settings of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Name of its folder.
    pub name: String,
    /// All settings, as `tangram map` has them.
    pub map: Table,
}

/// What a run gave, as the record of its attempt keeps it; the rest is in its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RunResult {
    /// Passes of its training.
    pub passes: usize,
    /// Loss of its mapping.
    pub loss: f64,
    /// SHA-256 of its `run.toml`.
    pub run_sha256: String,
}

impl Run {
    /// The item of this run.
    ///
    /// * `inputs`: files that it reads, besides those of all runs
    #[must_use]
    pub fn item(&self, inputs: BTreeMap<String, Input>) -> Item {
        Item {
            name: self.name.clone(),
            output: Output::Folder {
                path: Path::new(RUNS).join(&self.name),
                complete: RUN_FILE.into(),
            },
            inputs,
            work: self.map.clone(),
        }
    }

    /// Its folder.
    ///
    /// * `sweep`: the folder of the sweep
    #[must_use]
    pub fn place(&self, sweep: &Path) -> PathBuf {
        sweep.join(RUNS).join(&self.name)
    }

    /// Whether it is complete.
    #[must_use]
    pub fn is_complete(&self, sweep: &Path) -> bool {
        RunDirectory::open(&self.place(sweep)).is_ok()
    }
}

/// A run and the files that it reads, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct RunOf {
    /// The run.
    pub run: Run,
    /// The files.
    pub files: [(&'static str, PathBuf); 2],
}

/// The items of runs, and the files that all of them read; each file is read once, for its hash.
///
/// # Errors
/// If a file cannot be read.
pub fn items(runs: &[RunOf]) -> Result<(BTreeMap<String, Input>, Vec<Item>)> {
    let mut known: BTreeMap<&Path, Input> = BTreeMap::new();
    for (_, path) in runs.iter().flat_map(|of| &of.files) {
        if !known.contains_key(path.as_path()) {
            known.insert(path, Input::of(path)?);
        }
    }
    let of_all = |file: &&(&str, PathBuf)| runs.iter().all(|other| other.files.contains(file));
    let input =
        |(name, path): &(&str, PathBuf)| (String::from(*name), known[path.as_path()].clone());
    let common = runs
        .first()
        .map(|of| of.files.iter().filter(of_all).map(input).collect());
    let item = |of: &RunOf| {
        let own = of.files.iter().filter(|file| !of_all(file));
        of.run.item(own.map(input).collect())
    };
    Ok((common.unwrap_or_default(), runs.iter().map(item).collect()))
}

/// The runs of a sweep.
pub(crate) fn of(manifest: &Manifest) -> Vec<Run> {
    let run = |item: &Item| Run {
        name: item.name.clone(),
        map: item.work.clone(),
    };
    manifest.items.iter().map(run).collect()
}

/// How a mapping ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mapped {
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

/// Does tasks one after the other.
///
/// * `todo`: their numbers
/// * `map`: has one mapping done, given its folder; a run that is complete is left as it is
///
/// # Errors
/// [`MapError::Stopped`] if asked to stop; if the folder cannot be written. A mapping that fails is in what is returned.
pub fn run(
    sweep: &Path,
    manifest: &Manifest,
    todo: &[usize],
    map: &mut dyn FnMut(&Path, &Run) -> Result<Mapped>,
    listener: &dyn Listener,
) -> Result<Ended<PipelineError>> {
    let runs = of(manifest);
    let folder = sweep.join(RUNS);
    fs::create_dir_all(&folder).map_err(|e| SweepError::Write {
        path: folder,
        reason: e.to_string(),
    })?;
    let settings = QueueSettings {
        keep_every: None,
        peak_memory: || memory::peak().unwrap_or(0),
        cause: PipelineError::cause,
        message: |error| full_text(error),
        // That one run cannot be written says nothing of the others.
        ends_all: |error| matches!(error, PipelineError::Sweep(SweepError::Write { .. })),
    };
    let queue = Queue::new(sweep, manifest, todo, settings);
    // Before the inputs are read, which takes its time.
    queue.begin_first();
    let at_work = queue.at_work();
    listener.last_words(Some(Box::new(|| at_work.stopped())));
    if let Err(error) = unchanged(&manifest.inputs, sweep) {
        queue.fail(&error);
        return Err(error);
    }
    let mut stopped = None;
    listener.asks_whether_to_stop(true);
    listener.last_words(None);
    while let Some(item) = queue.next() {
        let (run, place) = (&runs[item], runs[item].place(sweep));
        listener.say(format_args!("run {}", run.name))?;
        let mapped = match unchanged(&manifest.items[item].inputs, sweep) {
            Ok(()) => map(&place, run)?,
            Err(error) => {
                queue.finish(item, Finished::Failed(error));
                continue;
            }
        };
        let finished = match mapped {
            Mapped::Done => Finished::Done(done(item, &place)?),
            Mapped::Failed {
                cause: Cause::Signal,
                ..
            } => {
                stopped = Some(manifest.task_of(item));
                break;
            }
            Mapped::Failed { code, cause } => {
                let name = run.name.clone();
                Finished::Failed(PipelineError::Run { name, code, cause })
            }
        };
        queue.finish(item, finished);
    }
    listener.asks_whether_to_stop(false);
    let Some(task) = stopped else {
        return Ok(queue.ended());
    };
    let n_runs = queue.stop()?;
    Err(MapError::Stopped { passes: n_runs })
        .within(|| format!("task {task}: {} of it done", count(n_runs, "run")))
}

/// Checks that inputs are what they were when the sweep was made.
///
/// # Errors
/// [`PipelineError::ChangedInput`], or that one cannot be read.
pub fn unchanged(inputs: &BTreeMap<String, Input>, sweep: &Path) -> Result<()> {
    for input in inputs.values() {
        if !input.is_unchanged()? {
            return Err(PipelineError::ChangedInput {
                path: input.path.clone(),
                sweep: sweep.to_owned(),
            });
        }
    }
    Ok(())
}

/// What a run says of itself.
fn done(item: usize, out: &Path) -> Result<Done> {
    let run = RunDirectory::open(out)?;
    let record = run.record();
    let result = RunResult {
        passes: record.epochs_run,
        loss: record.final_loss.total,
        run_sha256: fingerprint(&out.join(RUN_FILE))?,
    };
    Ok(Done {
        outcome: Outcome::new(item, record.seconds_training, &result)?,
        rows: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_all_runs_read_is_an_input_of_the_sweep_and_any_other_of_its_run() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| {
            let path = folder.path().join(name);
            fs::write(&path, name).unwrap();
            path
        };
        let run = |name: &str, voxels: &str| RunOf {
            run: Run {
                name: name.to_owned(),
                map: Table::new(),
            },
            files: [("cells", file("cells")), ("voxels", file(voxels))],
        };
        let (common, items) = items(&[run("a", "one"), run("b", "two")]).unwrap();
        assert_eq!(common.keys().collect::<Vec<_>>(), ["cells"]);
        let own = |item: &Item| item.inputs["voxels"].path.clone();
        assert_eq!(
            items.iter().map(own).collect::<Vec<_>>(),
            ["one", "two"].map(|name| folder.path().join(name))
        );
        assert!(unchanged(&common, folder.path()).is_ok());
        fs::write(folder.path().join("cells"), "other").unwrap();
        let error = unchanged(&common, folder.path()).unwrap_err();
        assert!(matches!(error, PipelineError::ChangedInput { .. }));
        assert!(unchanged(&items[0].inputs, folder.path()).is_ok());
    }
}
