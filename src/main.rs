//! `tangram`: puts single-cell data onto spatial data and carries annotations into space.
//!
//! The command line only: parse → resolved settings → one call of the library crates → a report to the person.

mod annotations;
mod args;
mod cell_expression;
mod checkpoint;
mod commands;
mod config;
mod device;
mod error;
mod exit;
mod exit_record;
mod expression;
mod factors_file;
mod fold_training;
mod gene_list;
mod gene_transfer;
mod grid_plan;
mod interrupt;
mod job_flags;
mod learned;
mod map_inputs;
mod map_settings;
mod mapping_file;
mod memory;
mod memory_check;
mod progress;
mod ranks;
mod report;
mod run_directory;
mod run_tasks;
mod stored_mapping;
mod sweep_jobs;
mod task_queue;
mod test_pause;
mod values;
mod versions;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match config::arguments(std::env::args_os().collect()) {
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
