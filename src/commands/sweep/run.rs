//! `tangram sweep run`: the tasks of a sweep, in this process.

use crate::map_process;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, n_threads, not_negative};
use anyhow::{Context, Result};
use clap::{ArgGroup, Args};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tangram_pipeline::report::quoted;
use tangram_pipeline::runs::Run;
use tangram_pipeline::settings::threads;
use tangram_pipeline::sweep_run::{RunSettings, run as run_tasks};
use tangram_pipeline::wording::count;

const LONG_HELP: &str = "\
A task that is done is left as it is, so the same command can be given again after anything: it goes on with what is missing. SIGTERM and SIGUSR2
end it with code 75, Ctrl-C with code 130, the folds that are done kept for the next attempt; a second Ctrl-C ends it at once.

Examples:
  tangram sweep run loo --all
  tangram sweep run loo --task 3          as the elements of a job array do";

/// Flags of `tangram sweep run`.
#[derive(Debug, Args)]
#[command(
    after_help = LONG_HELP,
    group = ArgGroup::new("which").required(true).args(["task", "all"])
)]
pub struct RunArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Do this task, numbered from 0; may be given several times
    #[arg(long, value_name = "N")]
    task: Vec<usize>,
    /// Do all tasks
    #[arg(long)]
    all: bool,
    /// Folds that are trained, or sections that are registered, at the same time, each with its share of the threads [default: as many as threads and memory allow]
    #[arg(long, value_name = "J", value_parser = at_least_one)]
    jobs: Option<usize>,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads)]
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
/// If an input is not what it was, a fold fails, or results cannot be written; if asked to stop.
pub fn run(args: &RunArgs, report: Report) -> Result<()> {
    let threads = threads(args.threads);
    use_threads(threads);
    let settings = RunSettings {
        sweep: &args.sweep,
        tasks: (!args.all).then_some(&args.task[..]),
        jobs: args.jobs,
        threads,
        keep_every: (args.checkpoint_minutes > 0.0)
            .then(|| Duration::from_secs_f64(60.0 * args.checkpoint_minutes)),
        launched: args.launcher.is_some(),
    };
    let mut map = |out: &Path, run: &Run| map_process::map(out, run, args.launcher.as_deref());
    let done = run_tasks(&settings, &mut map, &report)?;
    let summary = RunSummary {
        sweep: &args.sweep,
        tasks_asked: done.asked,
        tasks_done_before: done.before,
        tasks_done_now: done.ended.tasks,
        folds_done_now: done.ended.items,
    };
    if done.asked == done.before {
        report.say(format_args!("{} done before", count(done.asked, "task")))?;
        return report.summary(&summary);
    }
    report.say(format_args!(
        "{} done, {} in all{}",
        count(done.ended.tasks, "task"),
        count(done.ended.items, done.noun),
        match done.before {
            0 => String::new(),
            n => format!("; {} done before", count(n, "task")),
        },
    ))?;
    if args.all && done.ended.failure.is_none() {
        let sweep = quoted(&args.sweep.to_string_lossy());
        report.next(format_args!("tangram sweep collect {sweep}"))?;
    }
    report.summary(&summary)?;
    match done.ended.failure {
        None => Ok(()),
        Some((task, error)) => Err(error).with_context(|| format!("task {task}")),
    }
}
