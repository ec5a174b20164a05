//! `tangram sweep submit`: the tasks of a sweep as jobs of a cluster.

use crate::job_flags::{JobFlags, this_program};
use crate::report::Report;
use crate::values::at_least_one;
use anyhow::Result;
use clap::Args;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use tangram_pipeline::sweep_jobs::{Ask, Intent, Jobs, SubmitSummary};
use tangram_pipeline::sweep_plan::Round;
use tangram_pipeline::wording::count;
use tangram_sweep::Outlook;
use tangram_sweep::slurm::Slurm;

const LONG_HELP: &str = "\
Submits what has not been begun and is not in the queue, as arrays of at most MaxArraySize tasks, and a job that collects when they have
ended. What was submitted is on record in DIR/submissions, what jobs say in DIR/logs.

Examples:
  tangram sweep submit loo --profile cpu --dry-run
  tangram sweep submit loo --profile my.toml --throttle 20
  tangram sweep status loo";

/// Flags of `tangram sweep submit`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct SubmitArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    #[command(flatten)]
    job: JobFlags,
    /// At most so many tasks at a time [default: by the profile]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    throttle: Option<usize>,
}

/// Submits.
///
/// # Errors
/// If another process submits, or Slurm does not answer or refuses.
pub fn run(args: &SubmitArgs, report: Report) -> Result<()> {
    let profile = args.job.profile()?;
    // A dry run needs no cluster.
    let ask = match args.job.intent() {
        Intent::DryRun => Ask::Hint,
        _ => Ask::Needed,
    };
    let jobs = Jobs::read(&args.sweep, &Slurm::default(), ask)?;
    let outlooks = jobs.outlooks();
    let number = |what: &dyn Fn(&Outlook) -> bool| outlooks.iter().filter(|o| what(o)).count();
    let fresh: Vec<_> = outlooks
        .iter()
        .enumerate()
        .filter(|(_, outlook)| **outlook == Outlook::Fresh)
        .map(|(task, _)| (task, None))
        .collect();
    let queued = number(&|o| {
        matches!(
            o,
            Outlook::Queued(_) | Outlook::Held { .. } | Outlook::Unknown
        )
    });
    let failed = number(&|o| matches!(o, Outlook::Again(_) | Outlook::Hopeless(_)));
    if queued > 0 {
        report.say(format_args!(
            "{} in the queue already",
            count(queued, "task")
        ))?;
    }
    if failed > 0 {
        report.warn(format_args!(
            "{} did not end well before: `tangram sweep resume` submits them again, each as it needs",
            count(failed, "task")
        ));
    }
    if fresh.is_empty() {
        report.say("nothing to submit")?;
        return report.summary(&SubmitSummary::default());
    }
    let round = Round {
        profile: &profile,
        profile_name: &args.job.profile,
        program: &this_program()?,
        throttle: args
            .throttle
            .and_then(NonZeroUsize::new)
            .unwrap_or(profile.throttle),
        intent: args.job.intent(),
        logs: args.job.logs.as_deref(),
    };
    let summary = jobs.submit(&fresh, &round, &report)?;
    report.summary(&summary)
}
