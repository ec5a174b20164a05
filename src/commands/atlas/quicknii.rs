//! `tangram atlas quicknii`: anchorings of QuickNII and VisuAlign, in and out.

use crate::choices::replace;
use crate::report::Report;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, RegisteredSection, Series, SeriesSections};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::wording::count;
use tangram_store::write_aside;

const LONG_HELP: &str = "\
QuickNII knows planes and affine maps, no warp. `export` therefore loses the warp of a registration, and `import` does not apply
VisuAlign's markers; both say so.

Examples:
  tangram atlas quicknii import --series series.json --atlas ccf.zarr --out sections
  tangram atlas quicknii export --section section1 --section section2 --atlas ccf.zarr --out series.json";

/// Flags of `tangram atlas quicknii`.
#[derive(Debug, Args)]
#[command(subcommand_required = true, arg_required_else_help = true, after_help = LONG_HELP)]
pub struct QuickniiArgs {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Make a transform of every anchored section of a series
    Import(ImportArgs),
    /// Write registered sections as a series
    Export(ExportArgs),
}

#[derive(Debug, Args)]
struct ImportArgs {
    /// The series
    #[arg(long, value_name = "SERIES.json")]
    series: PathBuf,
    /// The atlas that the series is of
    #[arg(long, value_name = "ATLAS.zarr")]
    atlas: PathBuf,
    /// The folder to write: a folder for each section, named after its image, with a transform
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// A folder that `tangram atlas register` wrote (can be repeated)
    #[arg(long, value_name = "DIR", required = true)]
    section: Vec<PathBuf>,
    /// The atlas that they were registered to
    #[arg(long, value_name = "ATLAS.zarr")]
    atlas: PathBuf,
    /// The series to write
    #[arg(long, value_name = "SERIES.json")]
    out: PathBuf,
    /// Replace the series if it exists
    #[arg(long)]
    force: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary<'a> {
    out: &'a Path,
    sections: Vec<String>,
    /// Sections without anchoring.
    not_anchored: Vec<String>,
    /// Sections whose markers were not applied, or whose warp was not written.
    without_warp: Vec<String>,
}

/// Reads or writes a series.
///
/// # Errors
/// If an input cannot be read or does not fit, or the output cannot be written.
pub fn run(args: &QuickniiArgs, report: Report) -> Result<()> {
    match &args.direction {
        Direction::Import(args) => import(args, report),
        Direction::Export(args) => export(args, report),
    }
}

fn import(args: &ImportArgs, report: Report) -> Result<()> {
    let extent = Atlas::open(&args.atlas)?.levels()[0].extent_um();
    let found = SeriesSections::read(&args.series, extent)?;
    found.write(&args.out)?;
    let n = count(found.sections.len(), "section");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if !found.not_anchored.is_empty() {
        let n = count(found.not_anchored.len(), "section");
        report.say(format_args!("{n} without anchoring"))?;
    }
    if !found.without_warp.is_empty() {
        let n = count(found.without_warp.len(), "section");
        report.warn(format_args!(
            "{n} with markers of VisuAlign, which are not applied"
        ));
    }
    report.summary(&Summary {
        out: &args.out,
        sections: found.sections.into_iter().map(|(name, _)| name).collect(),
        not_anchored: found.not_anchored,
        without_warp: found.without_warp,
    })
}

fn export(args: &ExportArgs, report: Report) -> Result<()> {
    let atlas = Atlas::open(&args.atlas)?;
    let open = |path: &PathBuf| RegisteredSection::open(path);
    let opened: Vec<_> = args.section.iter().map(open).collect::<Result<_, _>>()?;
    let inputs: Vec<&Path> = opened.iter().map(|s| s.path.as_path()).collect();
    let existing = replaceable(&args.out, replace(args.force), &inputs)?;
    let images: Vec<String> = opened.iter().map(|s| format!("{}.png", s.name())).collect();
    if let Some(twice) = images
        .iter()
        .enumerate()
        .position(|(i, name)| images[..i].contains(name))
    {
        let text = format!("two sections are called {}; rename a folder", images[twice]);
        return Err(PipelineError::Usage(text).into());
    }
    let named = images.iter().cloned().zip(&opened);
    let transforms: Vec<_> = named.map(|(name, s)| (name, &s.transform)).collect();
    let series = Series::of_transforms("tangram", atlas.levels()[0].extent_um(), &transforms);
    write_aside(&args.out, existing, |partial| {
        write(partial, &format!("{}\n", series.to_json()))
    })?;
    let warped = transforms.iter().filter(|(_, t)| !t.is_affine());
    let without_warp: Vec<String> = warped.map(|(name, _)| name.clone()).collect();
    let n = count(images.len(), "section");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if !without_warp.is_empty() {
        let n = count(without_warp.len(), "section");
        report.warn(format_args!("{n} with a warp, which QuickNII cannot hold"));
    }
    report.summary(&Summary {
        out: &args.out,
        sections: images,
        not_anchored: Vec::new(),
        without_warp,
    })
}
