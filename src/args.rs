//! The command line as a whole: global flags and the list of commands.

use crate::commands::{
    AtlasArgs, DoctorArgs, InspectArgs, MapArgs, PlaceArgs, PlanArgs, ProjectArgs, ScoreArgs,
    SimulateArgs, SubmitArgs, SweepArgs,
};
use crate::{exit, versions};
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

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
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
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
    /// Say only what went wrong
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Everywhere"
    )]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a small cortex with known truth, to try the other commands on
    Simulate(SimulateArgs),
    /// Learn where every cell sits
    Map(Box<MapArgs>),
    /// Put cells that were not in the training where a mapping says
    Place(PlaceArgs),
    /// Carry cell types, genes or other annotations of the cells into space
    Project(ProjectArgs),
    /// Compare predicted with measured genes
    Score(ScoreArgs),
    /// Do many mappings: leave-one-out and other folds, ablations, seeds, sections
    Sweep(Box<SweepArgs>),
    /// Put brain sections into an atlas: import it, register sections
    Atlas(Box<AtlasArgs>),
    /// Show what a data file holds
    Inspect(InspectArgs),
    /// Tell the memory, traffic and time of a mapping on so many ranks, and the best way to share it
    Plan(PlanArgs),
    /// Have a Slurm cluster do it: `submit map` is `map` as a job
    Submit(SubmitArgs),
    /// Look whether this machine, and the ranks that were started, can do what a mapping needs
    Doctor(DoctorArgs),
    /// Print the script that lets a shell complete tangram's commands and flags
    ///
    /// For bash: tangram completions bash > ~/.local/share/bash-completion/completions/tangram
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}
