//! `tangram sweep run`: the tasks of a sweep, in this process.

use crate::interrupt;
use crate::map_process;
use crate::report::Report;
use crate::test_pause;
use crate::threads::use_threads;
use crate::values::{at_least_one, not_negative};
use anyhow::{Context, Result};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tangram_mapper::{Engine, Keeper, MapError, Snapshot, Wish};
use tangram_pipeline::device;
use tangram_pipeline::error::{PipelineError, full_text};
use tangram_pipeline::fold::{FoldTraining, TrainedFold};
use tangram_pipeline::folds::{Fold, FoldSettings, Start};
use tangram_pipeline::inputs::{self, Inputs};
use tangram_pipeline::listener::Listener;
use tangram_pipeline::memory_check::{check_memory, needed};
use tangram_pipeline::ranks;
use tangram_pipeline::runs::{self, Run};
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::settings::threads;
use tangram_pipeline::sweep_work::SweepWork;
use tangram_pipeline::wording::count;
use tangram_store::memory;
use tangram_sweep::{
    Cause, Ended, Finished, Manifest, Queue, QueueSettings, Standing, SweepError,
    verified_progress_of,
};

const LONG_HELP: &str = "\
A task that is done is left as it is, so the same command can be given again after anything: it goes on with what is missing. SIGTERM and SIGUSR2
end it with code 75, the folds that are done kept for the next attempt.

Examples:
  tangram sweep run loo --all
  tangram sweep run loo --task 3          as the elements of a job array do";

/// Flags of `tangram sweep run`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct RunArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Do this task, numbered from 0; may be given several times
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    task: Vec<usize>,
    /// Do all tasks
    #[arg(long)]
    all: bool,
    /// Folds that are trained at the same time, each with its share of the threads [default: as many as threads and memory allow]
    #[arg(long, value_name = "J", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
    /// Minutes after which the folds that are done are kept, in case the process is killed (0: only when it is asked to stop)
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = not_negative)]
    checkpoint_minutes: f64,
    /// What starts each mapping of a sweep over seeds, sections or a list, such as "srun --mpi=pmix" or "mpirun -n 4"
    #[arg(long, value_name = "COMMAND")]
    launcher: Option<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct RunSummary<'a> {
    sweep: &'a Path,
    tasks_asked: usize,
    tasks_done_before: usize,
    tasks_done_now: usize,
    folds_done_now: usize,
}

/// Does tasks.
///
/// # Errors
/// If an input is not what it was, a fold fails, or results cannot be written; [`MapError::Stopped`] if asked to stop.
pub fn run(args: &RunArgs, report: Report) -> Result<()> {
    let manifest = Manifest::read(&args.sweep)?;
    let n_tasks = manifest.n_tasks();
    if let Some(&task) = args.task.iter().find(|t| **t >= n_tasks) {
        let path = args.sweep.clone();
        return Err(SweepError::NoTask {
            path,
            task,
            n_tasks,
        }
        .into());
    }
    let asked = |task: usize| args.all || args.task.contains(&task);
    let progress = verified_progress_of(&args.sweep, &manifest)?;
    let asked: Vec<_> = progress.into_iter().filter(|t| asked(t.task)).collect();
    let todo: Vec<usize> = asked
        .iter()
        .filter(|t| t.standing != Standing::Done)
        .map(|t| t.task)
        .collect();
    let mut summary = RunSummary {
        sweep: &args.sweep,
        tasks_asked: asked.len(),
        tasks_done_before: asked.len() - todo.len(),
        tasks_done_now: 0,
        folds_done_now: 0,
    };
    if todo.is_empty() {
        report.say(format_args!("{} done before", count(asked.len(), "task")))?;
        return report.summary(&summary);
    }
    let ended = match SweepWork::of(&manifest)? {
        SweepWork::Folds(shared, all) => folds(args, &manifest, (&shared, &all), &todo, report)?,
        SweepWork::Runs(_) => {
            runs::unchanged(&manifest.inputs, &args.sweep)?;
            let mut map =
                |out: &Path, run: &Run| map_process::map(out, run, args.launcher.as_deref());
            runs::run(&args.sweep, &manifest, &todo, &mut map, &report)?
        }
    };
    (summary.tasks_done_now, summary.folds_done_now) = (ended.tasks, ended.items);
    report.say(format_args!(
        "{} done, {} in all{}",
        count(ended.tasks, "task"),
        count(ended.items, "fold"),
        match summary.tasks_done_before {
            0 => String::new(),
            n => format!("; {} done before", count(n, "task")),
        },
    ))?;
    report.summary(&summary)?;
    match ended.failure {
        None => Ok(()),
        Some((task, error)) => Err(error).with_context(|| format!("task {task}")),
    }
}

/// Trains folds of the tasks, several at a time.
fn folds(
    args: &RunArgs,
    manifest: &Manifest,
    (shared, all): (&FoldSettings, &[Fold]),
    todo: &[usize],
    report: Report,
) -> Result<Ended<PipelineError>> {
    if args.launcher.is_some() {
        let text = "--launcher: a fold is trained by this process; leave it out, or make the sweep one over seeds, sections or a list";
        return Err(PipelineError::Usage(text.to_owned()).into());
    }
    let mut settings: MapSettings = shared.map.clone().try_into().with_context(|| {
        let path = args.sweep.join(tangram_sweep::MANIFEST);
        format!("{}: [settings.map]", path.display())
    })?;
    settings.threads = threads(args.threads);
    use_threads(settings.threads);
    runs::unchanged(&manifest.inputs, &args.sweep)?;
    let mut one = ranks::join(None, settings.reduce, "")?;
    let engine = device::choose(&settings, &one, &report)?.engine;
    let inputs = inputs::read(&settings, engine, &mut one, &report)?;
    if inputs.genes.names != shared.genes {
        let path = args.sweep.clone();
        let reason = "its genes are not those that this program finds in the inputs; was it made by another version?".to_owned();
        return Err(SweepError::NotASweep { path, reason }.into());
    }
    let jobs = jobs(args, &settings, engine, &inputs)?;
    let each = (settings.threads / jobs).max(1);
    interrupt::keeps_state(true);
    let mut training = FoldTraining::new(&inputs, &settings, engine);
    if shared.start == Start::Warm {
        report.say("learning the mapping of all genes, from which every fold begins")?;
        training.begin_warm(&mut UntilAsked)?;
    }
    let every = (args.checkpoint_minutes > 0.0)
        .then(|| Duration::from_secs_f64(60.0 * args.checkpoint_minutes));
    let queue = Queue::new(&args.sweep, manifest, todo, queue_settings(every));
    let progress = report.steps("fold", queue.n_waiting());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(item) = queue.next() {
                    let places = all[item].held_out.iter();
                    let places = places.filter_map(|gene| shared.genes.binary_search(gene).ok());
                    let trained = training.train(
                        &places.collect::<Vec<_>>(),
                        each,
                        &mut UntilAsked,
                        &test_pause::after_pass,
                    );
                    let done = queue.finish(item, finished(item, trained));
                    progress.step(done, &String::new);
                }
            });
        }
    });
    drop(progress);
    interrupt::keeps_state(false);
    if interrupt::stop_asked() {
        let folds = queue.stop()?;
        return Err(PipelineError::Map(MapError::Stopped { passes: folds }))
            .with_context(|| format!("{} of this sweep kept", count(folds, "finished fold")));
    }
    Ok(queue.ended())
}

/// Folds at the same time: one for every thread unless memory is short or there are few.
fn jobs(args: &RunArgs, settings: &MapSettings, engine: Engine, inputs: &Inputs) -> Result<usize> {
    let most = args.jobs.unwrap_or(match engine {
        Engine::Native => settings.threads,
        // A device is busy with one.
        Engine::Torch(_) => 1,
    });
    let counts = inputs.counts(settings);
    let needed = needed(settings, engine, inputs.problem.shares(), counts);
    let fit = match memory::available() {
        Some(available) => (available / needed.max(1)) as usize,
        None => most,
    };
    if fit == 0 {
        let one = ranks::join(None, settings.reduce, "")?;
        check_memory(settings, engine, inputs.problem.shares(), &one, counts)?;
    }
    Ok(most.clamp(1, fit.max(1)))
}

fn queue_settings(keep_every: Option<Duration>) -> QueueSettings<PipelineError> {
    QueueSettings {
        keep_every,
        peak_memory: || memory::peak().unwrap_or(0),
        cause: PipelineError::cause,
        message: |error| full_text(error),
        // What one fold cannot write, the others cannot either.
        ends_all: |error| {
            let of_other = matches!(error, PipelineError::Sweep(SweepError::AtWork { .. }));
            error.cause() == Cause::Output && !of_other
        },
    }
}

fn finished(item: usize, trained: Result<TrainedFold, PipelineError>) -> Finished<PipelineError> {
    let done = trained.and_then(|trained| Ok(trained.into_done(item)?));
    match done {
        Ok(done) => Finished::Done(done),
        Err(PipelineError::Map(MapError::Stopped { .. })) => Finished::Stopped,
        Err(error) => Finished::Failed(error),
    }
}

/// Lets a training go on until the process is asked to stop; keeps nothing of it.
#[derive(Debug)]
struct UntilAsked;

impl Keeper for UntilAsked {
    fn wish(&mut self) -> Wish {
        match interrupt::stop_asked() {
            true => Wish::SaveAndStop,
            false => Wish::GoOn,
        }
    }

    fn save(&mut self, _: &Snapshot) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
}
