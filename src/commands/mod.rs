//! The commands, one file each: its flags, and what it does with them.

mod atlas;
mod doctor;
mod inspect;
mod map;
mod place;
mod plan;
mod project;
mod score;
mod simulate;
mod submit;
mod sweep;

pub use atlas::AtlasArgs;
pub use doctor::DoctorArgs;
pub use inspect::InspectArgs;
pub use map::MapArgs;
pub use place::PlaceArgs;
pub use plan::PlanArgs;
pub use project::ProjectArgs;
pub use score::ScoreArgs;
pub use simulate::SimulateArgs;
pub use submit::SubmitArgs;
pub use sweep::SweepArgs;

use crate::args::{Cli, Command};
use crate::report::Report;
use anyhow::Result;
use clap::CommandFactory;
use std::io::Write;

/// Does what the command line says.
///
/// # Errors
/// Whatever stops the command; [`crate::exit`] tells the kinds apart.
pub fn run(cli: Cli) -> Result<()> {
    let report = Report::new(&cli.global);
    match cli.command {
        Command::Simulate(args) => simulate::run(&args, report),
        Command::Map(args) => map::run(*args, report),
        Command::Place(args) => place::run(&args, report),
        Command::Project(args) => project::run(args, report),
        Command::Score(args) => score::run(&args, report),
        Command::Sweep(args) => sweep::run(*args, report),
        Command::Atlas(args) => atlas::run(*args, report),
        Command::Inspect(args) => inspect::run(&args, report),
        Command::Plan(args) => plan::run(&args, report),
        Command::Submit(args) => submit::run(args, report),
        Command::Doctor(args) => doctor::run(&args, report),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "tangram", &mut script);
            Ok(std::io::stdout().write_all(&script)?)
        }
    }
}

/// Has the thread pool made with so many threads.
fn use_threads(threads: usize) {
    // The pool can be made once; a second call would come from this process only, with the same number.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| tangram_mapper::flush_denormals())
        .build_global();
}
