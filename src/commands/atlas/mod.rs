//! `tangram atlas`: brain sections and the atlas they belong to.

mod demo;
pub mod flags;
mod import;
mod points;
mod query;
mod quicknii;
mod register;
mod segment;
mod series;
mod train;

use crate::report::Report;
use anyhow::Result;
use clap::{Args, Subcommand};

const LONG_HELP: &str = "\
An atlas is imported once, into a store that the other commands read.

Examples:
  tangram atlas demo --out atlas_demo
  tangram atlas import --annotation annotation_25.nrrd --structures structures.csv --out ccf.zarr
  tangram atlas register --atlas ccf.zarr --regions mask.png --pixel-size 20 --out section1
  tangram atlas query --atlas ccf.zarr --section section1 --roi motor.geojson --out voxels.h5ad";

/// Flags of `tangram atlas`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = LONG_HELP)]
pub struct AtlasArgs {
    #[command(subcommand)]
    command: AtlasCommand,
}

/// What to do with an atlas.
#[derive(Debug, Subcommand)]
enum AtlasCommand {
    /// Make an atlas store of an annotation, a structure tree, and what belongs to them
    Import(import::ImportArgs),
    /// Find the place of a section in the atlas by a mask of its regions
    Register(register::RegisterArgs),
    /// Say what the sections of one brain have in common: angles, and a line of depth over their numbers
    Series(series::SeriesArgs),
    /// Ask what lies in a region of interest: structures, and voxels with expression for `tangram map`
    Query(query::QueryArgs),
    /// Register a synthetic section and compare it with the truth
    Demo(demo::DemoArgs),
    /// Train a network that looks at sections, on images made from the atlas
    Train(train::TrainArgs),
    /// Make masks of regions from photographs, by a trained network
    Segment(segment::SegmentArgs),
    /// Carry points between a section and the atlas
    Points(points::PointsArgs),
    /// Read and write anchorings of QuickNII and VisuAlign
    Quicknii(quicknii::QuickniiArgs),
}

/// Does what the command line says.
///
/// # Errors
/// Whatever stops the command.
pub fn run(args: AtlasArgs, report: Report) -> Result<()> {
    match args.command {
        AtlasCommand::Import(args) => import::run(&args, report),
        AtlasCommand::Register(args) => register::run(&args, report),
        AtlasCommand::Series(args) => series::run(&args, report),
        AtlasCommand::Query(args) => query::run(&args, report),
        AtlasCommand::Demo(args) => demo::run(&args, report),
        AtlasCommand::Train(args) => train::run(&args, report),
        AtlasCommand::Segment(args) => segment::run(&args, report),
        AtlasCommand::Points(args) => points::run(&args, report),
        AtlasCommand::Quicknii(args) => quicknii::run(&args, report),
    }
}
