//! `tangram atlas quicknii`: anchorings of QuickNII and markers of VisuAlign, in and out.

use crate::choices::replace;
use crate::report::Report;
use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, MarkerUse, RegisteredSection, Series, SeriesSections};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::wording::count;
use tangram_store::write_aside;

const LONG_HELP: &str = "\
QuickNII knows planes and affine maps; VisuAlign's markers warp a section on top. `import` applies them as VisuAlign does: a Delaunay
triangulation of the markers and of four fixed corners, a tenth of the image beyond its own, affine in each triangle. Markers that fold
the image are refused. `export` writes the markers of an imported section back; the warp of a registration is lost, which it says.

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
    /// What to do with VisuAlign's markers
    #[arg(long, value_enum, default_value_t = MarkersFlag::Apply, value_name = "USE")]
    markers: MarkersFlag,
}

/// See [`MarkerUse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MarkersFlag {
    /// Warp the sections by them
    Apply,
    /// Take the anchorings alone
    Ignore,
}

impl From<MarkersFlag> for MarkerUse {
    fn from(flag: MarkersFlag) -> Self {
        match flag {
            MarkersFlag::Apply => Self::Apply,
            MarkersFlag::Ignore => Self::Ignore,
        }
    }
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
    /// Markers that were applied or written.
    n_markers: usize,
    /// Sections whose markers were not applied as asked, or whose warp was not written.
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
    let found = SeriesSections::read(&args.series, extent, args.markers.into())?;
    found.write(&args.out)?;
    let n = count(found.sections.len(), "section");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if !found.not_anchored.is_empty() {
        let n = count(found.not_anchored.len(), "section");
        report.say(format_args!("{n} without anchoring"))?;
    }
    let n_markers = found.n_markers();
    if n_markers > 0 {
        let n = count(n_markers, "marker");
        report.say(format_args!("{n} of VisuAlign applied"))?;
    }
    if !found.without_markers.is_empty() {
        let n = count(found.without_markers.len(), "section");
        report.say(format_args!("{n} with markers, left out as asked"))?;
    }
    for (section, marker) in &found.beyond_the_image {
        report.warn(format_args!(
            "{section}: marker {marker} is moved beyond the image; VisuAlign applies such markers too. If it is a slip, mend it there"
        ));
    }
    report.summary(&Summary {
        out: &args.out,
        sections: found.sections.into_iter().map(|(name, _)| name).collect(),
        not_anchored: found.not_anchored,
        n_markers,
        without_warp: found.without_markers,
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
    let warped = transforms.iter().filter(|(_, t)| t.has_flow());
    let without_warp: Vec<String> = warped.map(|(name, _)| name.clone()).collect();
    let markers = transforms.iter().map(|(_, t)| t.parameters().markers.len());
    let n_markers = markers.sum();
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
        n_markers,
        without_warp,
    })
}
