//! `tangram submit`: submits a command as a cluster job.

use crate::job_flags::{JobFlags, this_program};
use crate::map_flags::MapFlags;
use crate::report::Report;
use crate::values::not_negative;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::PathBuf;
use tangram_pipeline::choices::GridChoice;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::run_directory::RUN_FILE;
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::submission::{self, path_text};
use tangram_pipeline::sweep_jobs::Intent;
use tangram_sweep::slurm::{Job, JobKind, JobName, Profile, Scheduler, Slurm, script};

const EXAMPLES: &str = "\
The job runs `tangram map … --resume`: when its time is nearly up, or it is preempted, it keeps its state and goes on in the queue.

Examples:
  tangram submit map --profile cpu --cells cells.h5ad --voxels voxels.h5ad --out run --dry-run
  tangram submit map --profile my.toml --ranks 8 --nodes 2 --time 2:00:00 --cells cells.zarr --voxels voxels.h5ad --out run";

/// Flags of `tangram submit`.
#[derive(Debug, Args)]
pub struct SubmitArgs {
    #[command(subcommand)]
    what: SubmitCommand,
}

/// What can be submitted.
#[derive(Debug, Subcommand)]
enum SubmitCommand {
    /// Learn where every cell sits, as a job on one node or many
    Map(Box<SubmitMapArgs>),
}

/// Flags of `tangram submit map`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct SubmitMapArgs {
    #[command(flatten)]
    job: JobFlags,
    #[command(flatten)]
    settings: MapFlags,
    /// The folder to write
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    out: PathBuf,
    /// Minutes between checkpoints (0: none but when the job is asked to stop)
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = not_negative, help_heading = "Output")]
    checkpoint_minutes: f64,
    /// Do not end with report.html, the run in one file for a browser
    #[arg(long, help_heading = "Output")]
    no_report: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct SubmitSummary<'a> {
    name: &'a JobName,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<String>,
    log: String,
    script: &'a str,
}

/// Submits.
///
/// # Errors
/// If the command would fail at once, or Slurm rejects the job.
pub fn run(args: SubmitArgs, report: Report) -> Result<()> {
    match args.what {
        SubmitCommand::Map(args) => submit_map(&args, report),
    }
}

fn submit_map(args: &SubmitMapArgs, report: Report) -> Result<()> {
    let profile = args.job.profile()?;
    let settings = settings(args, &profile)?;
    let out = std::path::absolute(&args.out).with_context(|| args.out.display().to_string())?;
    submission::check(&settings, &out)?;

    let kind = JobKind::Map;
    let mut command = profile.launch(&this_program()?);
    command.push("map".to_owned());
    command.extend(submission::flags(&settings)?);
    command.push(format!("--out={}", path_text(&out)?));
    command.push(format!("--checkpoint-minutes={}", args.checkpoint_minutes));
    command.push("--resume".to_owned());
    if args.no_report {
        command.push("--no-report".to_owned());
    }
    let job = Job {
        name: JobName::fresh(&kind),
        kind,
        command,
        after: Vec::new(),
        exclude: Vec::new(),
        log: args.job.log(&out)?,
        directory: std::env::current_dir().context("the current folder")?,
        result: Some(out.join(RUN_FILE)),
    };
    let text = script(&job, &profile)?;
    let job_log = job.log.clone();
    let slurm = Slurm::default();
    let log_of = |job: &str| format!("{}.{job}.log", job_log.as_str());
    let mut summary = SubmitSummary {
        name: &job.name,
        job: None,
        answer: None,
        log: log_of("%j"),
        script: &text,
    };
    match args.job.intent() {
        Intent::DryRun => report.say(text.trim_end())?,
        Intent::TestOnly => {
            let answer = slurm.test(&text)?;
            report.say(&answer)?;
            summary.answer = Some(answer);
        }
        Intent::Submit => {
            let id = slurm.submit(&job.name, &text)?;
            summary.job = Some(id.0);
            summary.log = log_of(&id.to_string());
            report.say(format_args!(
                "submitted job {id} ({}), its log: {}",
                job.name, summary.log
            ))?;
        }
    }
    report.summary(&summary)
}

/// The settings of the mapping, for the ranks of the profile.
fn settings(args: &SubmitMapArgs, profile: &Profile) -> Result<MapSettings> {
    let mut settings = args.settings.clone();
    // The default would be the cores of the submitting machine.
    settings.threads.get_or_insert(profile.cpus.get());
    let n_ranks = profile.ranks.get();
    if n_ranks > 1 {
        // Chosen by the planner when the job runs and the sizes are known.
        settings.grid.get_or_insert(GridChoice::Auto);
    }
    let settings = settings.resolved()?;
    if let Some(GridChoice::Shape(grid)) = settings.grid
        && grid.n_ranks() != n_ranks
    {
        let text = format!(
            "--grid {grid} is for {} ranks, the job has {n_ranks}: give --ranks {}, or leave the grid out",
            grid.n_ranks(),
            grid.n_ranks()
        );
        return Err(PipelineError::Usage(text).into());
    }
    Ok(settings)
}
