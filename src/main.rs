//! `tangram`: puts single-cell data onto spatial data and carries annotations into space.
//!
//! The command line only: parse → resolved settings → one call of the library crates → a report to the person.

mod args;
mod commands;
mod config;
mod exit;
mod exit_record;
mod interrupt;
mod job_flags;
mod map_process;
mod plain;
mod probe;
mod progress;
mod report;
mod sweep_jobs;

use clap::Parser;
use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    // While the process has one thread.
    probe::begin();
    let typed: Vec<OsString> = std::env::args_os().collect();
    interrupt::stand(&typed);
    tangram_store::pass_caught_panics();
    let arguments = match config::arguments(typed) {
        Ok(arguments) => arguments,
        Err(error) => return exit::fail(&error),
    };
    let cli = match args::Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    match commands::run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::fail(&error),
    }
}
