//! `tangram atlas quicknii`: anchorings of QuickNII and VisuAlign, in and out.

use super::section::RegisteredSection;
use crate::choices::replace;
use crate::report::Report;
use anyhow::Result;
use clap::{Args, Subcommand};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::outputs::TRANSFORM_FILE;
use tangram_atlas::{Atlas, AtlasError, Series};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::wording::count;
use tangram_store::{Existing, StoreError, write_aside};

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
    let series = Series::read(&args.series)?;
    let extent = Atlas::open(&args.atlas)?.levels()[0].extent_um();
    let mut summary = Summary {
        out: &args.out,
        sections: Vec::new(),
        not_anchored: Vec::new(),
        without_warp: Vec::new(),
    };
    let mut transforms = Vec::new();
    for slice in &series.slices {
        let name = stem(&slice.filename);
        if slice.anchoring.is_none() {
            summary.not_anchored.push(name);
            continue;
        }
        let wrong = |reason: String| AtlasError::File {
            path: args.series.clone(),
            reason: format!("{}: {reason}", slice.filename),
        };
        let transform = series.transform(slice, extent).map_err(wrong)?;
        if summary.sections.contains(&name) {
            return Err(wrong("another section has the same name".to_owned()).into());
        }
        if slice.n_markers() > 0 {
            summary.without_warp.push(name.clone());
        }
        transforms.push((name.clone(), transform.to_json()));
        summary.sections.push(name);
    }
    write_aside(&args.out, Existing::Refuse, |folder| -> Result<()> {
        let make = |path: &Path| {
            std::fs::create_dir(path).map_err(|e| StoreError::Write {
                path: args.out.clone(),
                reason: e.to_string(),
            })
        };
        make(folder)?;
        for (name, transform) in &transforms {
            make(&folder.join(name))?;
            write(&folder.join(name).join(TRANSFORM_FILE), transform)?;
        }
        Ok(())
    })?;
    let n = count(summary.sections.len(), "section");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if !summary.not_anchored.is_empty() {
        let n = count(summary.not_anchored.len(), "section");
        report.say(format_args!("{n} without anchoring"))?;
    }
    if !summary.without_warp.is_empty() {
        let n = count(summary.without_warp.len(), "section");
        report.warn(format_args!(
            "{n} with markers of VisuAlign, which are not applied"
        ));
    }
    report.summary(&summary)
}

fn export(args: &ExportArgs, report: Report) -> Result<()> {
    let atlas = Atlas::open(&args.atlas)?;
    let mut sections = Vec::new();
    for path in &args.section {
        let section = RegisteredSection::open(path)?;
        // The name of the folder, or of the folder that the file is in.
        let folder = if path.is_dir() {
            Some(path.as_path())
        } else {
            path.parent()
        };
        let name = folder.and_then(Path::file_name).unwrap_or_default();
        sections.push((format!("{}.png", name.to_string_lossy()), section));
    }
    let inputs: Vec<&Path> = sections.iter().map(|(_, s)| s.path.as_path()).collect();
    let existing = replaceable(&args.out, replace(args.force), &inputs)?;
    if let Some((name, _)) = sections.iter().enumerate().find_map(|(i, (name, s))| {
        sections[..i]
            .iter()
            .any(|(other, _)| other == name)
            .then_some((name, s))
    }) {
        let text = format!("two sections are called {name}; rename a folder");
        return Err(PipelineError::Usage(text).into());
    }
    let transforms: Vec<_> = sections
        .iter()
        .map(|(name, section)| (name.clone(), &section.transform))
        .collect();
    let series = Series::of_transforms("tangram", atlas.levels()[0].extent_um(), &transforms);
    write_aside(&args.out, existing, |partial| {
        write(partial, &format!("{}\n", series.to_json()))
    })?;
    let warped = |(name, section): &(String, RegisteredSection)| {
        (!section.transform.is_affine()).then(|| name.clone())
    };
    let without_warp: Vec<String> = sections.iter().filter_map(warped).collect();
    let n = count(sections.len(), "section");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if !without_warp.is_empty() {
        let n = count(without_warp.len(), "section");
        report.warn(format_args!("{n} with a warp, which QuickNII cannot hold"));
    }
    report.summary(&Summary {
        out: &args.out,
        sections: sections.into_iter().map(|(name, _)| name).collect(),
        not_anchored: Vec::new(),
        without_warp,
    })
}

/// The name of an image without its folder and ending.
fn stem(filename: &str) -> String {
    let name = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    if stem.is_empty() {
        "section".to_owned()
    } else {
        stem.to_owned()
    }
}
