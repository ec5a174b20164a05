//! `tangram doctor`: checks that this machine, and the ranks that were started, can run a mapping.

use crate::error::CommandError;
use crate::plain::Plain;
use crate::report::Report;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_comm::Communicator;
use tangram_pipeline::doctor::{examine, join};

const EXAMPLES: &str = "\
Examples:
  tangram doctor --scratch /scratch/$USER
  srun --mpi=pmix tangram doctor            do the ranks find each other?";

/// Flags of `tangram doctor`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct DoctorArgs {
    /// A folder in which runs will be written
    #[arg(long, value_name = "DIR", default_value = ".")]
    scratch: PathBuf,
}

/// Runs all checks; the first rank prints the findings.
///
/// # Errors
/// [`CommandError::Unwell`] if a check fails.
pub fn run(args: &DoctorArgs, report: Report) -> Result<()> {
    let (world, ranks) = join();
    let mut findings = vec![ranks];
    findings.extend(examine(&world, &args.scratch));
    // Failed checks of all ranks.
    let mut bad = [findings.iter().filter(|f| !f.good).count() as f64];
    world.sum(&mut bad);
    if world.rank() == 0 {
        for f in &findings {
            let mark = if f.good { "ok " } else { "BAD" };
            report.say(format_args!("{mark}  {:<12} {}", f.what, f.told))?;
        }
        report.summary(&findings)?;
    } else {
        for f in findings.iter().filter(|f| !f.good) {
            let (rank, told) = (world.rank(), Plain(&f.told));
            eprintln!("rank {rank}: BAD  {:<12} {told}", f.what);
        }
    }
    world.leave();
    match bad[0] {
        0.0 => Ok(()),
        n => Err(CommandError::Unwell { n: n as usize }.into()),
    }
}
