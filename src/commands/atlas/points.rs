//! `tangram atlas points`: points of a section in the atlas, or of the atlas in a section.

use crate::choices::replace;
use crate::report::Report;
use anyhow::Result;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, RegisteredSection, atlas_points, section_points, to_atlas, to_section};
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::wording::count;
use tangram_store::write_aside;

const LONG_HELP: &str = "\
POINTS is a table (CSV, or TSV by its ending) with the columns x and y, pixels of the registered mask, or for --to section the
columns ap_um, dv_um and ml_um; a column `name` is kept. Or it is an AnnData (.h5ad, .zarr), whose obsm/spatial is taken.
--scale converts coordinates of the section that are not pixels of the mask.

TABLE.tsv gets a line a point: its name, ap_um, dv_um, ml_um and, with --atlas, the acronym of the structure there (`outside` the
brain); or for --to section x, y and off_um, how far the point is from the section's plane (positive towards posterior).

Examples:
  tangram atlas points --section section1 --points cells.h5ad --scale 0.05 --atlas ccf.zarr --out cells_in_ccf.tsv
  tangram atlas points --section section1 --points landmarks.csv --to section --out landmarks_in_section.tsv";

/// Flags of `tangram atlas points`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct PointsArgs {
    /// The folder that `tangram atlas register` wrote, or a transform's file
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    section: PathBuf,
    /// The points
    #[arg(long, value_name = "POINTS", help_heading = "Input")]
    points: PathBuf,
    /// Pixels of the registered mask per unit of the section's coordinates
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::flags::factor, help_heading = "Input")]
    scale: f64,
    /// The store that `tangram atlas import` wrote, to name structures
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Input")]
    atlas: Option<PathBuf>,
    /// Where the points go
    #[arg(long, value_enum, default_value_t = Towards::Atlas, value_name = "WHERE", help_heading = "Output")]
    to: Towards,
    /// The table to write
    #[arg(long, value_name = "TABLE.tsv", help_heading = "Output")]
    out: PathBuf,
    /// Replace the table if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
}

/// Direction of a transform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Towards {
    /// From the section to the atlas
    Atlas,
    /// From the atlas to the section
    Section,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary<'a> {
    out: &'a Path,
    n_points: usize,
    /// Points in a structure of the atlas, if one was given.
    n_in_brain: Option<usize>,
}

/// Carries points.
///
/// # Errors
/// If an input cannot be read or lacks columns, or the table cannot be written.
pub fn run(args: &PointsArgs, report: Report) -> Result<()> {
    let RegisteredSection { path, transform } = RegisteredSection::open(&args.section)?;
    let existing = replaceable(&args.out, replace(args.force), &[&args.points, &path])?;
    let carried = match args.to {
        Towards::Atlas => {
            let points = section_points(&args.points)?;
            let atlas = args.atlas.as_deref().map(Atlas::open).transpose()?;
            to_atlas(&points, &transform, args.scale, atlas.as_ref())?
        }
        Towards::Section => to_section(&atlas_points(&args.points)?, &transform, args.scale),
    };
    write_aside(&args.out, existing, |partial| {
        write(partial, &carried.table)
    })?;
    let n = count(carried.n_points, "point");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if let Some(n) = carried.n_in_brain {
        let n = count(n, "point");
        report.say(format_args!("{n} in a structure of the atlas"))?;
    }
    report.summary(&Summary {
        out: &args.out,
        n_points: carried.n_points,
        n_in_brain: carried.n_in_brain,
    })
}
