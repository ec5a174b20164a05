//! The sections of a sweep, registered by this process.

use crate::error::{PipelineError, Result, Within};
use crate::listener::Listener;
use crate::registrations::{FINEST_UM, REGIONS, RegistrationSettings, atlas_of, input};
use crate::runs::unchanged;
use crate::sweep_run::{RunSettings, queue_settings};
use crate::wording::count;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;
use tangram_atlas::{Atlas, ProbabilityPyramid, SectionOutcome, SectionState};
use tangram_mapper::MapError;
use tangram_sweep::{Done, Ended, Finished, Manifest, Outcome, Queue};

/// Registers the sections of some tasks, several at a time. One that is refused, or whose file is no mask, is told and is done; one whose mask
/// was changed or cannot be read fails its task when the others of the task are done.
///
/// * `todo`: numbers of the tasks
///
/// # Errors
/// If the atlas is not what it was or the folder cannot be written; [`MapError::Stopped`] if asked to stop. That a task failed is in what is
/// returned.
pub(crate) fn run(
    settings: &RunSettings<'_>,
    manifest: &Manifest,
    shared: &RegistrationSettings,
    todo: &[usize],
    listener: &dyn Listener,
) -> Result<Ended<PipelineError>> {
    if settings.launched {
        let text = "--launcher: a section is registered by this process; leave it out";
        return Err(PipelineError::Usage(text.to_owned()));
    }
    let queue = Queue::new(settings.sweep, manifest, todo, queue_settings(None));
    // Before the atlas is read, which takes its time: whatever happens meanwhile is on record.
    queue.begin_first();
    let at_work = queue.at_work();
    listener.last_words(Some(Box::new(|| at_work.stopped())));
    let pyramid = read(settings.sweep, manifest);
    listener.asks_whether_to_stop(true);
    listener.last_words(None);
    let pyramid = match pyramid {
        Ok(pyramid) => pyramid,
        Err(error) => {
            queue.fail(&error);
            listener.asks_whether_to_stop(false);
            return Err(error);
        }
    };
    let register = |item: usize| one(&pyramid, manifest, shared, (settings.sweep, item), listener);
    // They would take the rest of their task with them: told when all else is done.
    let failed: Mutex<BTreeMap<usize, PipelineError>> = Mutex::default();
    let progress = listener.steps("section", queue.n_waiting());
    let jobs = settings.jobs.unwrap_or(settings.threads).max(1);
    std::thread::scope(|scope| {
        for _ in 0..jobs.min(manifest.n_items()) {
            scope.spawn(|| {
                while !listener.stop_asked()
                    && let Some(item) = queue.next()
                {
                    match register(item) {
                        Ok(done) => {
                            let n_done = queue.finish(item, Finished::Done(done));
                            progress.step(n_done, &String::new);
                        }
                        Err(error) => {
                            let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                            failed.insert(item, error);
                        }
                    }
                    listener.passed(1);
                }
            });
        }
    });
    drop(progress);
    let stopped = listener.stop_asked();
    if !stopped {
        let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
        for (item, error) in failed {
            queue.finish(item, Finished::Failed(error));
        }
    }
    let ended = match stopped {
        false => Ok(queue.ended()),
        true => Err(queue.stop()?),
    };
    listener.asks_whether_to_stop(false);
    ended.or_else(|n_sections| {
        Err(MapError::Stopped { passes: n_sections }).within(|| {
            let kept = count(n_sections, "finished section");
            format!("{kept} of this sweep kept; the same command goes on with the rest")
        })
    })
}

fn read(sweep: &Path, manifest: &Manifest) -> Result<ProbabilityPyramid> {
    unchanged(&manifest.inputs, sweep)?;
    let atlas = Atlas::open(&atlas_of(manifest)?)?;
    Ok(ProbabilityPyramid::of_atlas(&atlas, FINEST_UM)?)
}

fn one(
    pyramid: &ProbabilityPyramid,
    manifest: &Manifest,
    shared: &RegistrationSettings,
    (sweep, item): (&Path, usize),
    listener: &dyn Listener,
) -> Result<Done> {
    let begun = Instant::now();
    let section = &manifest.items[item];
    let named = || format!("section {}", section.name);
    unchanged(&section.inputs, sweep).within(named)?;
    let path = &input(&section.inputs, REGIONS)?.path;
    let outcome = SectionOutcome::of(pyramid, path, &shared.how(), &shared.limits);
    let outcome = outcome.within(named)?;
    if let (SectionState::Refused | SectionState::Failed, Some(reason)) =
        (outcome.state, &outcome.reason)
    {
        let (name, state) = (&section.name, outcome.state.name());
        listener.warn(format_args!("section {name} {state}: {reason}"));
    }
    Ok(Done {
        outcome: Outcome::new(item, begun.elapsed().as_secs_f64(), &outcome)?,
        rows: None,
    })
}
