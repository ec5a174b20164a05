//! `tangram atlas points`: points of a section in the atlas, or of the atlas in a section.

use super::section::RegisteredSection;
use crate::choices::replace;
use crate::report::Report;
use anyhow::{Result, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_atlas::{Atlas, PointTable};
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::wording::count;
use tangram_store::{Dataset, write_aside};

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
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::section::factor, help_heading = "Input")]
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
    let section = RegisteredSection::open(&args.section)?;
    let existing = replaceable(
        &args.out,
        replace(args.force),
        &[&args.points, &section.path],
    )?;
    let (text, n_points, n_in_brain) = match args.to {
        Towards::Atlas => to_atlas(args, &section)?,
        Towards::Section => to_section(args, &section)?,
    };
    write_aside(&args.out, existing, |partial| write(partial, &text))?;
    let n = count(n_points, "point");
    report.say(format_args!("wrote {}: {n}", args.out.display()))?;
    if let Some(n) = n_in_brain {
        let n = count(n, "point");
        report.say(format_args!("{n} in a structure of the atlas"))?;
    }
    report.summary(&Summary {
        out: &args.out,
        n_points,
        n_in_brain,
    })
}

/// The table, the number of points, and how many are in the brain.
type Carried = (String, usize, Option<usize>);

fn to_atlas(args: &PointsArgs, section: &RegisteredSection) -> Result<Carried> {
    let points = section_points(&args.points)?;
    let transform = &section.transform;
    let atlas = args.atlas.as_deref().map(Atlas::open).transpose()?;
    let level = |atlas: &Atlas| atlas.level_of(transform.parameters().pixel_um);
    let labels = atlas.as_ref().map(|a| a.labels(level(a))).transpose()?;
    let mut text = "name\tap_um\tdv_um\tml_um".to_owned();
    text.push_str(if atlas.is_some() {
        "\tstructure\n"
    } else {
        "\n"
    });
    let mut n_in_brain = 0;
    for (name, point) in points.names.iter().zip(&points.points) {
        let [ap, dv, ml] = transform.to_atlas([point[0] * args.scale, point[1] * args.scale]);
        text.push_str(&format!("{name}\t{ap:.2}\t{dv:.2}\t{ml:.2}"));
        if let (Some(atlas), Some(labels)) = (&atlas, &labels) {
            let row = usize::from(labels.at([ap, dv, ml]).unwrap_or(0)).checked_sub(1);
            n_in_brain += usize::from(row.is_some());
            let structure = row.map(|row| atlas.tree().structures()[row].acronym.as_str());
            text.push_str(&format!("\t{}", structure.unwrap_or("outside")));
        }
        text.push('\n');
    }
    let n_in_brain = atlas.is_some().then_some(n_in_brain);
    Ok((text, points.names.len(), n_in_brain))
}

fn to_section(args: &PointsArgs, section: &RegisteredSection) -> Result<Carried> {
    let points = PointTable::read(&args.points, &["ap_um", "dv_um", "ml_um"])?;
    let mut text = "name\tx\ty\toff_um\n".to_owned();
    for (name, point) in points.names.iter().zip(&points.points) {
        let ([x, y], off) = section.transform.to_section([point[0], point[1], point[2]]);
        let [x, y] = [x, y].map(|v| v / args.scale);
        text.push_str(&format!("{name}\t{x:.4}\t{y:.4}\t{off:.2}\n"));
    }
    Ok((text, points.names.len(), None))
}

/// Points of a table or of an AnnData.
fn section_points(path: &Path) -> Result<PointTable> {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    if !matches!(ending, "h5ad" | "zarr") {
        return Ok(PointTable::read(path, &["x", "y"])?);
    }
    let data = Dataset::open(path)?;
    let missing = || tangram_store::StoreError::MissingField {
        path: path.to_owned(),
        parent: "obsm".to_owned(),
        what: "array",
        name: "spatial".to_owned(),
        found: "no coordinates".to_owned(),
    };
    let spatial = data.spatial()?.ok_or_else(missing)?;
    ensure!(spatial.ncols() >= 2, missing());
    Ok(PointTable {
        names: data.obs_names()?,
        points: spatial.rows().into_iter().map(|row| row.to_vec()).collect(),
    })
}
