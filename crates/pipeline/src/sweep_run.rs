//! The tasks of a sweep, done by this process.

use crate::device;
use crate::error::{PipelineError, Result, Within, full_text};
use crate::fold::{FoldTraining, TrainedFold};
use crate::fold_state::{StateKeeper, take_up};
use crate::folds::{Fold, FoldSettings, Start};
use crate::inputs::{self, Inputs};
use crate::listener::Listener;
use crate::memory_check::{check_memory, needed};
use crate::ranks;
use crate::registration_run;
use crate::runs::{self, Mapped, Run, unchanged};
use crate::settings::MapSettings;
use crate::sweep_work::SweepWork;
use crate::wording::count;
use std::path::Path;
use std::sync::Once;
use std::time::Duration;
use tangram_mapper::{Engine, MapError};
use tangram_store::memory;
use tangram_sweep::{
    Cause, Ended, Finished, Manifest, Queue, QueueSettings, Standing, SweepError,
    verified_progress_of,
};

/// Name of the state of the mapping of all genes.
const ALL_GENES: &str = "all-genes";

/// Which tasks to do, and how.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings<'a> {
    /// The folder of the sweep.
    pub sweep: &'a Path,
    /// The tasks, by number; `None`: all.
    pub tasks: Option<&'a [usize]>,
    /// Folds that are trained at the same time; `None`: as many as threads and memory allow.
    pub jobs: Option<usize>,
    /// Threads of all together.
    pub threads: usize,
    /// How often what is done is kept, in case the process is killed; `None`: only when asked to stop.
    pub keep_every: Option<Duration>,
    /// Whether something starts the ranks of each mapping, which folds have no use for.
    pub launched: bool,
}

/// What was done.
#[derive(Debug)]
pub struct TasksDone {
    /// The word for an item: `fold`, also for a run, or `section`.
    pub noun: &'static str,
    /// Tasks asked for.
    pub asked: usize,
    /// Those that were done before.
    pub before: usize,
    /// What became of the others.
    pub ended: Ended<PipelineError>,
}

/// Does tasks; one that is done is left as it is.
///
/// * `map`: has one mapping done, given its folder
///
/// # Errors
/// If an input is not what it was or results cannot be written; [`MapError::Stopped`] if asked to stop. That a task failed is in what is
/// returned.
pub fn run(
    settings: &RunSettings<'_>,
    map: &mut dyn FnMut(&Path, &Run) -> Result<Mapped>,
    listener: &dyn Listener,
) -> Result<TasksDone> {
    let RunSettings { sweep, tasks, .. } = *settings;
    let manifest = Manifest::read(sweep)?;
    let n_tasks = manifest.n_tasks();
    let too_large = |task: &&usize| **task >= n_tasks;
    if let Some(&task) = tasks.and_then(|tasks| tasks.iter().find(too_large)) {
        let path = sweep.to_owned();
        return Err(SweepError::NoTask {
            path,
            task,
            n_tasks,
        }
        .into());
    }
    let is_asked = |task: usize| tasks.is_none_or(|tasks| tasks.contains(&task));
    let progress = verified_progress_of(sweep, &manifest)?;
    let asked: Vec<_> = progress.iter().filter(|t| is_asked(t.task)).collect();
    let todo: Vec<usize> = asked
        .iter()
        .filter(|t| t.standing != Standing::Done)
        .map(|t| t.task)
        .collect();
    let work = SweepWork::of(&manifest)?;
    let noun = work.counted();
    let ended = match work {
        _ if todo.is_empty() => Ended {
            tasks: 0,
            items: 0,
            failure: None,
        },
        SweepWork::Folds(shared, all) => {
            folds(settings, &manifest, (&shared, &all), &todo, listener)?
        }
        SweepWork::Runs(_) => runs::run(sweep, &manifest, &todo, map, listener)?,
        SweepWork::Registrations(shared) => {
            registration_run::run(settings, &manifest, &shared, &todo, listener)?
        }
    };
    Ok(TasksDone {
        noun,
        asked: asked.len(),
        before: asked.len() - todo.len(),
        ended,
    })
}

/// Trains folds of the tasks, several at a time.
fn folds(
    settings: &RunSettings<'_>,
    manifest: &Manifest,
    (shared, all): (&FoldSettings, &[Fold]),
    todo: &[usize],
    listener: &dyn Listener,
) -> Result<Ended<PipelineError>> {
    if settings.launched {
        let text = "--launcher: a fold is trained by this process; leave it out, or make the sweep one over seeds, sections or a list";
        return Err(PipelineError::Usage(text.to_owned()));
    }
    let queue = Queue::new(
        settings.sweep,
        manifest,
        todo,
        queue_settings(settings.keep_every),
    );
    // Before the inputs are read, which takes its time: whatever happens meanwhile is on record.
    queue.begin_first();
    let at_work = queue.at_work();
    listener.last_words(Some(Box::new(|| at_work.stopped())));
    let ready = read(settings, manifest, shared, listener);
    listener.asks_whether_to_stop(true);
    listener.last_words(None);
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => {
            queue.fail(&error);
            return Err(error);
        }
    };
    let trained = train(settings, manifest, (shared, all), &ready, &queue, listener);
    let ended = match trained {
        Err(PipelineError::Map(MapError::Stopped { .. })) => None,
        Err(error) => {
            queue.fail(&error);
            listener.asks_whether_to_stop(false);
            return Err(error);
        }
        Ok(()) => Some(()),
    };
    // Asked until all is kept: a second request must not end the process before.
    let ended = match ended {
        Some(()) if !listener.stop_asked() => Ok(queue.ended()),
        _ => Err(queue.stop()?),
    };
    listener.asks_whether_to_stop(false);
    ended.or_else(|n_folds| {
        Err(MapError::Stopped { passes: n_folds }).within(|| {
            let kept = count(n_folds, "finished fold");
            format!("{kept} of this sweep kept; the same command goes on with the rest")
        })
    })
}

/// What all folds share, read once.
struct Ready {
    map: MapSettings,
    engine: Engine,
    inputs: Inputs,
    jobs: usize,
}

fn read(
    settings: &RunSettings<'_>,
    manifest: &Manifest,
    shared: &FoldSettings,
    listener: &dyn Listener,
) -> Result<Ready> {
    let mut map = shared.map_settings(settings.sweep)?;
    map.threads = settings.threads;
    unchanged(&manifest.inputs, settings.sweep)?;
    let mut one = ranks::join(map.reduce)?;
    let engine = device::choose(&map, &one, listener)?.engine;
    let inputs = inputs::read(&map, engine, &mut one, listener)?;
    if inputs.genes.names != shared.genes {
        let path = settings.sweep.to_owned();
        let reason = "its genes are not those that this program finds in the inputs; was it made by another version?".to_owned();
        return Err(SweepError::NotASweep { path, reason }.into());
    }
    let jobs = jobs(settings, &map, engine, &inputs)?;
    Ok(Ready {
        map,
        engine,
        inputs,
        jobs,
    })
}

fn train(
    settings: &RunSettings<'_>,
    manifest: &Manifest,
    (shared, all): (&FoldSettings, &[Fold]),
    ready: &Ready,
    queue: &Queue<'_, PipelineError>,
    listener: &dyn Listener,
) -> Result<()> {
    let every = settings.keep_every;
    let each = (settings.threads / ready.jobs).max(1);
    let mut training = FoldTraining::new(&ready.inputs, &ready.map, ready.engine)?;
    if let (Start::Warm, Some(task)) = (shared.start, queue.first_begun()) {
        listener.say(format_args!(
            "learning the mapping of all genes, from which every fold begins"
        ))?;
        let (folder, earlier) = queue.state(task, ALL_GENES);
        let identity = format!("all genes {}", manifest.digest());
        let resumed = take_up(&earlier, &identity);
        let kept = |passes| queue.kept(task, ALL_GENES, passes);
        resumed.iter().for_each(|snapshot| kept(snapshot.passes));
        let mut keeper = StateKeeper::new(folder, identity, every, listener);
        keeper.kept = &kept;
        training.begin_warm(resumed.as_ref(), &mut keeper)?;
    }
    let progress = listener.steps("fold", queue.n_waiting());
    let passed = |passes| listener.passed(passes);
    let kept_once = Once::new();
    let one = |item: usize| {
        let task = manifest.task_of(item);
        let name = item.to_string();
        let (folder, earlier) = queue.state(task, &name);
        let identity = format!("fold {item} {}", manifest.task_id(task));
        let resumed = take_up(&earlier, &identity);
        let (stopping, kept) = (
            || kept_once.call_once(|| queue.keep()),
            |passes| queue.kept(task, &name, passes),
        );
        resumed.iter().for_each(|snapshot| kept(snapshot.passes));
        let mut keeper = StateKeeper::new(folder, identity, every, listener);
        (keeper.stopping, keeper.kept) = (&stopping, &kept);
        let places = all[item].held_out.iter();
        let places = places.filter_map(|gene| shared.genes.binary_search(gene).ok());
        let places: Vec<usize> = places.collect();
        training.train(&places, each, resumed.as_ref(), &mut keeper, &passed)
    };
    std::thread::scope(|scope| {
        for _ in 0..ready.jobs {
            scope.spawn(|| {
                while let Some(item) = queue.next() {
                    let done = queue.finish(item, finished(item, one(item)));
                    progress.step(done, &String::new);
                }
            });
        }
    });
    Ok(())
}

/// Folds at the same time: one for every thread unless memory is short or there are few.
fn jobs(
    settings: &RunSettings<'_>,
    map: &MapSettings,
    engine: Engine,
    inputs: &Inputs,
) -> Result<usize> {
    let most = settings.jobs.unwrap_or(match engine {
        Engine::Native => map.threads,
        // A device is busy with one.
        Engine::Torch(_) => 1,
    });
    let counts = inputs.counts(map);
    let needed = needed(map, engine, inputs.problem.shares(), counts);
    let fit = match memory::available() {
        Some(available) => (available / needed.max(1)) as usize,
        None => most,
    };
    if fit == 0 {
        let one = ranks::join(map.reduce)?;
        check_memory(map, engine, inputs.problem.shares(), &one, counts)?;
    }
    Ok(most.clamp(1, fit.max(1)))
}

pub(crate) fn queue_settings(keep_every: Option<Duration>) -> QueueSettings<PipelineError> {
    QueueSettings {
        keep_every,
        peak_memory: || memory::peak().unwrap_or(0),
        cause: PipelineError::cause,
        message: |error| full_text(error),
        // What one item cannot write, the others cannot either.
        ends_all: |error| {
            let of_other = matches!(error, PipelineError::Sweep(SweepError::AtWork { .. }));
            error.cause() == Cause::Output && !of_other
        },
    }
}

fn finished(item: usize, trained: Result<TrainedFold>) -> Finished<PipelineError> {
    let done = trained.and_then(|trained| Ok(trained.into_done(item)?));
    match done {
        Ok(done) => Finished::Done(done),
        Err(PipelineError::Map(MapError::Stopped { .. })) => Finished::Stopped,
        Err(error) => Finished::Failed(error),
    }
}
