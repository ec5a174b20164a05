//! `tangram sweep status`: how far a sweep is.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;
use tangram_pipeline::sweep_jobs::{Ask, Jobs};
use tangram_pipeline::sweep_status::SweepStatus;
use tangram_sweep::slurm::{Patience, Slurm};

const LONG_HELP: &str = "\
What is done, the folder of the sweep says; of what runs or waits Slurm's queue tells more, where there is one. Seconds left are an estimate from the
folds that are done and the tasks that run now.

Examples:
  tangram sweep status loo
  tangram sweep status loo --watch";

/// Interval of `--watch`.
const EVERY: Duration = Duration::from_secs(5);

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
        let status = SweepStatus::of(&args.sweep, &jobs);
        for line in status.lines() {
            report.say(line)?;
        }
        if !args.watch || !status.is_at_work() {
            return report.summary(&status);
        }
        std::thread::sleep(EVERY);
        report.say("")?;
    }
}
