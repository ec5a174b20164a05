//! `tangram sweep`: many trainings, on one machine or as the elements of a job array.

mod collect;
mod new;
mod resume;
mod run;
mod status;
mod submit;

use crate::report::Report;
use anyhow::Result;
use clap::{Args, Subcommand};

const LONG_HELP: &str = "\
A sweep is a folder. `new` writes what is to be done, `run` does it, and `collect` gathers the results. A fold is one training; a task is a
pack of folds that one process does. What is done stays done: `run` can be stopped, killed and repeated at any moment.

Examples:
  tangram sweep new loo --cells cells.h5ad --voxels voxels.h5ad --out loo
  tangram sweep run loo --all            or, on a cluster: tangram sweep submit loo --profile cpu
  tangram sweep collect loo";

/// Flags of `tangram sweep`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = LONG_HELP)]
pub struct SweepArgs {
    #[command(subcommand)]
    command: SweepCommand,
}

/// What to do with a sweep.
#[derive(Debug, Subcommand)]
enum SweepCommand {
    /// Write down what is to be done
    New(Box<new::NewArgs>),
    /// Do it, or one task of it
    Run(run::RunArgs),
    /// Have a Slurm cluster do it
    Submit(submit::SubmitArgs),
    /// Tell what is done, runs, waits, or failed, and why
    Status(status::StatusArgs),
    /// Submit again what is missing, each task by the cause of its end
    Resume(resume::ResumeArgs),
    /// Gather predictions and scores
    Collect(collect::CollectArgs),
}

/// Does what the command line says.
///
/// # Errors
/// Whatever stops the command.
pub fn run(args: SweepArgs, report: Report) -> Result<()> {
    match args.command {
        SweepCommand::New(args) => new::run(*args, report),
        SweepCommand::Run(args) => run::run(&args, report),
        SweepCommand::Submit(args) => submit::run(&args, report),
        SweepCommand::Status(args) => status::run(&args, report),
        SweepCommand::Resume(args) => resume::run(&args, report),
        SweepCommand::Collect(args) => collect::run(&args, report),
    }
}
