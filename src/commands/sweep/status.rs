//! `tangram sweep status`: how far a sweep is.

use crate::report::Report;
use crate::sweep_jobs::{Ask, Jobs};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tangram_pipeline::wording::count;
use tangram_sweep::slurm::{JobState, Patience, Slurm};
use tangram_sweep::{Outlook, State, SubmittedArray};

const LONG_HELP: &str = "\
What is done, the folder of the sweep says; of what runs or waits Slurm's queue tells more, where there is one. Seconds left are an estimate from the
folds that are done and the tasks that run now.

Examples:
  tangram sweep status loo
  tangram sweep status loo --watch";

/// Interval of `--watch`.
const EVERY: Duration = Duration::from_secs(5);
/// Maximum number of tasks named in a line.
const MOST_NAMED: usize = 5;

/// Flags of `tangram sweep status`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct StatusArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Look again every five seconds until nothing runs or waits any more
    #[arg(long)]
    watch: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct StatusSummary<'a> {
    sweep: &'a Path,
    collected: bool,
    n_tasks: usize,
    n_folds: usize,
    folds_done: usize,
    done: usize,
    running: Vec<usize>,
    waiting: Vec<usize>,
    not_begun: Vec<usize>,
    /// To be submitted again, by the cause of their end.
    again: BTreeMap<String, Vec<usize>>,
    /// What would fail again, with its message.
    failed: BTreeMap<usize, String>,
    /// Jobs that Slurm shows.
    jobs: Vec<u64>,
    /// Median over the folds that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_fold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
}

/// Shows how far a sweep is.
///
/// # Errors
/// If the folder is no sweep, or a record cannot be read.
pub fn run(args: &StatusArgs, report: Report) -> Result<()> {
    // Slurm's answer is optional here, so it must come quickly.
    let slurm = Slurm {
        patience: Patience {
            answer: Duration::from_secs(15),
            ..Patience::default()
        },
        ..Slurm::default()
    };
    loop {
        let jobs = Jobs::read(&args.sweep, &slurm, Ask::Hint)?;
        let summary = summary(&args.sweep, &jobs);
        for line in lines(&summary) {
            report.say(line)?;
        }
        let at_work = !summary.running.is_empty() || !summary.waiting.is_empty();
        if !args.watch || !at_work {
            return report.summary(&summary);
        }
        std::thread::sleep(EVERY);
        report.say("")?;
    }
}

fn summary<'a>(sweep: &'a Path, jobs: &Jobs) -> StatusSummary<'a> {
    let (manifest, tasks) = (jobs.manifest(), jobs.tasks());
    let outlooks = jobs.outlooks();
    let mut summary = StatusSummary {
        sweep,
        collected: sweep.join("scores.tsv").is_file(),
        n_tasks: tasks.len(),
        n_folds: manifest.n_items(),
        folds_done: 0,
        done: 0,
        running: vec![],
        waiting: vec![],
        not_begun: vec![],
        again: BTreeMap::new(),
        failed: BTreeMap::new(),
        jobs: vec![],
        seconds_per_fold: None,
        seconds_left: None,
    };
    let mut seconds: Vec<f64> = Vec::new();
    for (task, outlook) in tasks.iter().zip(outlooks) {
        summary.folds_done += match outlook {
            Outlook::Done => manifest.items_of(task.task).len(),
            _ => task.attempts.last().map_or(0, |a| a.items.len()),
        };
        seconds.extend(task.seconds_of_items());
        match outlook {
            Outlook::Done => summary.done += 1,
            Outlook::Queued(JobState::Running) => summary.running.push(task.task),
            Outlook::Queued(_) => summary.waiting.push(task.task),
            Outlook::Fresh => summary.not_begun.push(task.task),
            Outlook::Again(again) => {
                // Without a queue, its record is the only source.
                let running = task
                    .attempts
                    .last()
                    .is_some_and(|a| a.state == State::Running);
                if running && jobs.records_are_all() {
                    summary.running.push(task.task);
                } else {
                    let tasks = summary.again.entry(again.why.to_string()).or_default();
                    tasks.push(task.task);
                }
            }
            Outlook::Hopeless(why) => drop(summary.failed.insert(task.task, why)),
        }
    }
    let arrays = jobs.submissions().iter().flat_map(|s| &s.arrays);
    let alive = |a: &SubmittedArray| {
        jobs.seen()
            .iter()
            .find(|s| s.name == a.job.name && s.state.is_alive())
            .map(|s| s.job.0)
    };
    summary.jobs = arrays.filter_map(alive).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    summary.seconds_per_fold = seconds.get(seconds.len() / 2).copied();
    let left = summary.n_folds - summary.folds_done.min(summary.n_folds);
    let at_once = summary.running.len().max(1);
    summary.seconds_left = summary
        .seconds_per_fold
        .map(|s| s * left as f64 / at_once as f64);
    summary
}

fn lines(summary: &StatusSummary<'_>) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} of {} done, {} of {}",
        summary.sweep.display(),
        summary.done,
        count(summary.n_tasks, "task"),
        summary.folds_done,
        count(summary.n_folds, "fold"),
    )];
    let mut row = |what: &str, tasks: &[usize]| {
        if !tasks.is_empty() {
            lines.push(format!(
                "  {:<32}{:>6}   {}",
                what,
                tasks.len(),
                named(tasks)
            ));
        }
    };
    row("running", &summary.running);
    row("waiting", &summary.waiting);
    row("not submitted", &summary.not_begun);
    for (why, tasks) in &summary.again {
        row(why, tasks);
    }
    let failed: Vec<usize> = summary.failed.keys().copied().collect();
    row("failed for good", &failed);
    for (task, why) in summary.failed.iter().take(MOST_NAMED) {
        lines.push(format!("    task {task}: {why}"));
    }
    if let (Some(each), Some(left)) = (summary.seconds_per_fold, summary.seconds_left)
        && summary.done < summary.n_tasks
    {
        let when = match summary.running.len() {
            0 => "of work left".to_owned(),
            n => format!("left with {} at a time", count(n, "task")),
        };
        lines.push(format!("  {each:.1} s a fold; about {left:.0} s {when}"));
    }
    let ended = summary.again.values().map(Vec::len).sum::<usize>() + summary.not_begun.len();
    if ended > 0 && summary.done < summary.n_tasks {
        lines.push("  `tangram sweep resume` submits what is missing, `tangram sweep run --all` does it here".to_owned());
    } else if summary.done == summary.n_tasks && !summary.collected {
        lines.push("  `tangram sweep collect` gathers predictions and scores".to_owned());
    }
    lines
}

/// The first of some tasks.
fn named(tasks: &[usize]) -> String {
    let mut names: Vec<String> = tasks
        .iter()
        .take(MOST_NAMED)
        .map(ToString::to_string)
        .collect();
    if tasks.len() > MOST_NAMED {
        names.push("…".to_owned());
    }
    let noun = if tasks.len() == 1 { "task" } else { "tasks" };
    format!("{noun} {}", names.join(", "))
}
