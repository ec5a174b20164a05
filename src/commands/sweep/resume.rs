//! `tangram sweep resume`: submits what is missing, each task by the cause of its end.

use crate::job_flags::this_program;
use crate::report::Report;
use crate::values::at_least_one;
use anyhow::Result;
use clap::Args;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::sweep_jobs::{Ask, Intent, Jobs, Missing, SubmitSummary};
use tangram_pipeline::sweep_plan::Round;
use tangram_pipeline::wording::count;
use tangram_sweep::slurm::{Profile, Slurm};

const LONG_HELP: &str = "\
Only what is neither done nor in the queue is submitted, as new arrays:
  preempted, cancelled, stopped        again
  its node failed                      again, on other nodes
  out of time, with progress           again
  out of time, without                 again, with twice the time
  out of memory                        again, with half as much more
  any other error                      again, once: the same error twice ends it

When more tasks than the profile's failure-budget have ended for good, nothing is submitted: mend the cause, then add --retry-failed.

Examples:
  tangram sweep status loo
  tangram sweep resume loo";

/// Flags of `tangram sweep resume`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct ResumeArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Another profile than that of the last submission
    #[arg(long, value_name = "PROFILE")]
    profile: Option<String>,
    /// At most so many tasks at a time [default: by the profile]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    throttle: Option<usize>,
    /// The folder for the logs of jobs [default: DIR/logs]
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// Submit also the tasks that had the same error twice, and do not count failures
    #[arg(long)]
    retry_failed: bool,
    /// Print the scripts and submit nothing
    #[arg(long)]
    dry_run: bool,
    /// Ask Slurm when the jobs would start, and submit nothing
    #[arg(long, conflicts_with = "dry_run")]
    test_only: bool,
}

/// Submits again.
///
/// # Errors
/// If nothing was submitted before, too much failed, another process submits, or Slurm does not answer or refuses.
pub fn run(args: &ResumeArgs, report: Report) -> Result<()> {
    let jobs = Jobs::read(&args.sweep, &Slurm::default(), Ask::Needed)?;
    let (name, profile) = profile(args, &jobs)?;
    let missing = jobs.missing(args.retry_failed, profile.failure_budget);
    for (task, why) in jobs.hopeless() {
        report.warn(format_args!("task {task}: {why}"));
    }
    let Missing {
        tasks,
        hopeless,
        n_done,
        n_queued,
    } = missing?;
    if tasks.is_empty() {
        report.say(format_args!(
            "nothing to submit: {n_done} of {} done, {n_queued} in the queue",
            count(jobs.tasks().len(), "task")
        ))?;
        return report.summary(&SubmitSummary {
            hopeless,
            ..SubmitSummary::default()
        });
    }
    let mut causes: BTreeMap<String, usize> = BTreeMap::new();
    for (_, again) in &tasks {
        let why = again
            .as_ref()
            .map_or("not begun".to_owned(), |a| a.why.to_string());
        *causes.entry(why).or_default() += 1;
    }
    for (why, n) in &causes {
        report.say(format_args!("{} again: {why}", count(*n, "task")))?;
    }
    let round = Round {
        profile: &profile,
        profile_name: &name,
        program: &this_program()?,
        throttle: args
            .throttle
            .and_then(NonZeroUsize::new)
            .unwrap_or(profile.throttle),
        intent: match (args.dry_run, args.test_only) {
            (true, _) => Intent::DryRun,
            (_, true) => Intent::TestOnly,
            _ => Intent::Submit,
        },
        logs: args.logs.as_deref(),
    };
    let mut summary = jobs.submit(&tasks, &round, &report)?;
    summary.hopeless = hopeless;
    report.summary(&summary)
}

/// The profile asked for, or that of the last submission.
fn profile(args: &ResumeArgs, jobs: &Jobs) -> Result<(String, Profile)> {
    match (&args.profile, jobs.submissions().last()) {
        (Some(name), _) => Ok((name.clone(), Profile::find(name)?)),
        (None, Some(last)) => Ok((last.profile_name.clone(), last.profile.clone())),
        (None, None) => {
            let text = format!(
                "{}: nothing of it was submitted before; begin with `tangram sweep submit --profile NAME`, or give --profile here",
                args.sweep.display()
            );
            Err(PipelineError::Usage(text).into())
        }
    }
}
