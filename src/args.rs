//! The command line as a whole: global flags and the list of commands.

use crate::commands::atlas::AtlasArgs;
use crate::commands::deconvolve::DeconvolveArgs;
use crate::commands::doctor::DoctorArgs;
use crate::commands::inspect::InspectArgs;
use crate::commands::map::MapArgs;
use crate::commands::place::PlaceArgs;
use crate::commands::plan::PlanArgs;
use crate::commands::plot::PlotArgs;
use crate::commands::project::ProjectArgs;
use crate::commands::report::ReportArgs;
use crate::commands::score::ScoreArgs;
use crate::commands::simulate::SimulateArgs;
use crate::commands::submit::SubmitArgs;
use crate::commands::sweep::SweepArgs;
use crate::exit;
use crate::report::{Detail, Report};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;
use tangram_pipeline::versions;

const EXAMPLES: &str = "\
Example, from nothing to a scored map of a simulated tissue:
  tangram simulate --out tissue
  tangram map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --out run
  tangram project --mapping run --types obs:cell_type --out types.h5ad
  tangram score --mapping run --out scores.tsv";

/// Put single-cell RNA data onto spatial data
///
/// Tangram learns, for every cell of a dissociated single-cell data set, the probability that it sits in each voxel
/// (spot, bead, segmented cell) of a spatial data set, by making the mapped cells reproduce the measured genes. Through that
/// mapping anything known of the cells, such as their types or genes that the spatial method did not measure, is
/// carried into space.
#[derive(Debug, Parser)]
#[command(
    name = "tangram",
    version,
    long_version = versions::long(),
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{}", exit::TABLE),
    max_term_width = 100,
)]
pub struct Cli {
    /// Flags that every command has.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags of `map` that `-h` shows: what a mapping cannot do without, and what most people change.
const SHORT_OF_MAP: [&str; 15] = [
    "cells",
    "voxels",
    "cells_matrix",
    "voxels_matrix",
    "values",
    "match_genes",
    "hold_out",
    "goal",
    "prior",
    "device",
    "threads",
    "out",
    "force",
    "resume",
    "help",
];

/// The command line with what its parts do not know: which flags of `map` are for everyone.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("map", |map| {
        map.mut_args(|arg| {
            let everyone = SHORT_OF_MAP.contains(&arg.get_id().as_str());
            arg.hide_short_help(!everyone)
        })
    })
}

/// Parses a command line.
///
/// # Errors
/// What is wrong with it, or the help that it asks for.
pub fn parse(arguments: Vec<OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Flags that every command has.
#[derive(Debug, Args)]
pub struct GlobalArgs {
    /// Read settings from this TOML file; flags on the command line win
    ///
    /// One table per command, keys named like the long flags: `[map]` with `epochs = 500`. The run.toml of an
    /// earlier run is such a file.
    #[arg(
        long,
        global = true,
        value_name = "FILE.toml",
        help_heading = "Everywhere"
    )]
    pub config: Option<PathBuf>,
    /// Print a machine-readable summary (JSON) on standard output; the text for people goes to standard error
    #[arg(long, global = true, help_heading = "Everywhere")]
    pub json: bool,
    /// Print errors only
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Everywhere"
    )]
    pub quiet: bool,
    /// Print more details
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
}

impl GlobalArgs {
    /// The report that these flags ask for.
    #[must_use]
    pub fn report(&self) -> Report {
        let detail = match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        };
        Report::new(detail, self.json)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small cortex with known truth, to try the other commands on
    Simulate(SimulateArgs),
    /// Learn where every cell sits
    Map(Box<MapArgs>),
    /// Place new cells by an existing mapping
    Place(PlaceArgs),
    /// Carry cell types, genes or other annotations of the cells into space
    Project(ProjectArgs),
    /// Take spots apart into cell types, and give segmented cells their types
    Deconvolve(Box<DeconvolveArgs>),
    /// Compare predicted with measured genes
    Score(ScoreArgs),
    /// Draw a figure of a run: maps of types and genes, scores, loss, density
    Plot(PlotArgs),
    /// Write one HTML file about runs: maps, scores, tables, settings
    Report(ReportArgs),
    /// Run many mappings: leave-one-out and other folds, ablations, seeds, sections
    Sweep(Box<SweepArgs>),
    /// Register brain sections to an atlas
    Atlas(Box<AtlasArgs>),
    /// Show what a data file holds
    Inspect(InspectArgs),
    /// Estimate memory, traffic and time of a mapping on a number of ranks, and the best grid
    Plan(PlanArgs),
    /// Submit a command to a Slurm cluster: `submit map` runs `map` as a job
    Submit(SubmitArgs),
    /// Check that this machine, and the ranks that were started, can run a mapping
    Doctor(DoctorArgs),
    /// Print a shell script that completes tangram's commands and flags
    ///
    /// For bash: tangram completions bash > ~/.local/share/bash-completion/completions/tangram
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}
