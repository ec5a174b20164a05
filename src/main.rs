//! `tangram`: maps single-cell data onto spatial data and transfers annotations into space.
//!
//! The command line only: parse → resolved settings → one call of the library crates → a report to the person.

mod args;
mod choices;
mod commands;
mod config;
mod error;
mod exit;
mod exit_record;
mod hints;
mod interrupt;
mod job_flags;
mod map_flags;
mod map_process;
mod plain;
mod progress;
mod report;
mod test_pause;
mod threads;
mod values;
mod weight_flags;

use anyhow::Result;
use args::{Cli, Command};
use clap::CommandFactory;
use report::{Detail, Report};
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    // While the process has one thread.
    tangram_store::begin_probe();
    let typed: Vec<OsString> = std::env::args_os().collect();
    interrupt::stand(&typed);
    tangram_store::pass_caught_panics();
    let arguments = match config::arguments(typed.clone()) {
        Ok(arguments) => arguments,
        Err(error) => return exit::fail(&error),
    };
    let cli = match args::parse(arguments.clone()) {
        Ok(cli) => cli,
        Err(error) => {
            let error = hints::add(error, &arguments);
            let code = exit::usage(&error);
            if let Some(origin) = config::origin(&error, &typed, &arguments) {
                Report::new(Detail::Normal, false).warn(origin);
            }
            return code;
        }
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(&error),
    }
}

/// Does what the command line says.
fn run(cli: Cli) -> Result<()> {
    let report = cli.global.report();
    if let Some(warning) = test_pause::set_by_environment()? {
        report.warn(warning);
    }
    match cli.command {
        Command::Simulate(args) => commands::simulate::run(&args, report),
        Command::Map(args) => commands::map::run(*args, report),
        Command::Place(args) => commands::place::run(&args, report),
        Command::Project(args) => commands::project::run(args, report),
        Command::Deconvolve(args) => commands::deconvolve::run(*args, report),
        Command::Score(args) => commands::score::run(&args, report),
        Command::Plot(args) => commands::plot::run(&args, report),
        Command::Report(args) => commands::report::run(&args, report),
        Command::Sweep(args) => commands::sweep::run(*args, report),
        Command::Atlas(args) => commands::atlas::run(*args, report),
        Command::Inspect(args) => commands::inspect::run(&args, report),
        Command::Plan(args) => commands::plan::run(&args, report),
        Command::Submit(args) => commands::submit::run(args, report),
        Command::Doctor(args) => commands::doctor::run(&args, report),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tangram", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
    }
}
