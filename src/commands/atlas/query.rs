//! `tangram atlas query`: what the atlas says about a region of interest of a registered section.

use super::flags::AtlasFlag;
use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::n_threads;
use anyhow::Result;
use clap::{ArgGroup, Args};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tangram_atlas::{
    Atlas, Region, RegisteredSection, Roi, Transform, provenance, query_voxels, region_shares,
    region_table,
};
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;
use tangram_store::{Existing, write_aside};
use toml::Table;

const LONG_HELP: &str = "\
Coordinates of a region of interest are pixels of the registered mask; --roi-scale converts others, such as those of the full
image. Without --roi and --roi-mask the whole section is asked about.

VOXELS is an AnnData (.h5ad or .zarr) that `tangram map` takes as --voxels: one row for each voxel of the expression grid that the
region goes through, X the expression energy of the genes, obs its structure (most of its pixels), `n_pixels`, `share` (of the
voxel's cross-section that is in the region and in the brain) and, with --cells, `cells`: how many are expected in that part of a
slab as thick as the voxel, for --prior obs:cells. obsm/spatial are the voxels' middles (AP, DV, ML in µm). Voxels in which a gene was not
measured are left out, and said to be; a gene's share of measured voxels is `coverage` in var.

REGIONS is a table of the structures with their pixels, shares and areas.

Example:
  tangram atlas query --atlas ccf.zarr --section section1 --roi motor.geojson --cells all --out voxels.h5ad
      --regions regions.tsv
  tangram map --cells cells.h5ad --voxels voxels.h5ad --prior obs:cells --out run";

/// Flags of `tangram atlas query`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
#[command(group = ArgGroup::new("outputs").args(["out", "regions"]).required(true).multiple(true))]
pub struct QueryArgs {
    #[command(flatten)]
    settings: Settings,
    /// The voxels' file to write, ending in .h5ad or .zarr
    #[arg(long, value_name = "VOXELS", help_heading = "Output")]
    out: Option<PathBuf>,
    /// The table of structures to write
    #[arg(long, value_name = "REGIONS.tsv", help_heading = "Output")]
    regions: Option<PathBuf>,
    /// Replace outputs that exist
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    #[command(flatten)]
    #[serde(flatten)]
    atlas: AtlasFlag,
    /// The folder that `tangram atlas register` wrote, or a transform's file
    #[arg(long, value_name = "DIR", help_heading = "Input")]
    section: PathBuf,
    /// The region of interest as polygons
    #[arg(
        long,
        value_name = "FILE.geojson",
        conflicts_with = "roi_mask",
        help_heading = "Region of interest"
    )]
    #[serde(skip_serializing_if = "Option::is_none")]
    roi: Option<PathBuf>,
    /// Pixels of the registered mask per unit of the polygons' coordinates
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::flags::factor, help_heading = "Region of interest")]
    roi_scale: f64,
    /// The region of interest as an image of the mask's size, 0 outside
    #[arg(long, value_name = "FILE.png", help_heading = "Region of interest")]
    #[serde(skip_serializing_if = "Option::is_none")]
    roi_mask: Option<PathBuf>,
    /// Genes of the atlas, with commas between [default: all]
    #[arg(
        long,
        value_name = "GENES",
        value_delimiter = ',',
        help_heading = "Voxels"
    )]
    genes: Vec<String>,
    /// The kind of cells whose density in the atlas gives the expected number of cells
    #[arg(long, value_name = "KIND", help_heading = "Voxels")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<String>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Summary<'a> {
    settings: &'a Settings,
    regions: Vec<Region>,
    n_voxels: Option<usize>,
    n_unmeasured: Option<usize>,
    coverage: BTreeMap<String, f64>,
}

/// Asks the atlas about a region of interest.
///
/// # Errors
/// If an input cannot be read or does not fit, or an output cannot be written.
pub fn run(args: &QueryArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let settings = &args.settings;
    let path = &settings.atlas.atlas;
    let atlas = Atlas::open(path)?;
    let section = RegisteredSection::open(&settings.section)?;
    let transform = &section.transform;
    let roi = region_of_interest(settings, transform)?;
    let inputs = [path.as_path(), section.path.as_path()];
    let place = |out: &Option<PathBuf>| -> Result<Option<(PathBuf, Existing)>> {
        let Some(path) = out else { return Ok(None) };
        let existing = replaceable(path, replace(args.force), &inputs)?;
        Ok(Some((path.clone(), existing)))
    };
    let (voxels_at, regions_at) = (place(&args.out)?, place(&args.regions)?);

    let shares = region_shares(&atlas, transform, &roi)?;
    let regions: Vec<Region> = shares.iter().map(|s| Region::of(s, &atlas)).collect();
    if let Some((path, existing)) = regions_at {
        let table = region_table(&shares, &atlas);
        write_aside(&path, existing, |partial| write(partial, &table))?;
        report.say(format_args!("wrote {}", path.display()))?;
    }
    for region in regions.iter().take(8) {
        report.say(format_args!(
            "  {}: {:.1} %, {:.3} mm²",
            region.acronym,
            region.share * 100.0,
            region.mm2
        ))?;
    }
    let mut summary = Summary {
        settings,
        regions,
        n_voxels: None,
        n_unmeasured: None,
        coverage: BTreeMap::new(),
    };
    if let Some((path, existing)) = voxels_at {
        let cells = settings.cells.as_deref();
        let found = query_voxels(&atlas, transform, &roi, &settings.genes, cells)?;
        let made_from = provenance(Table::try_from(settings)?, atlas.path(), &section)?;
        found.write(&path, existing, &atlas, &made_from)?;
        report.say(format_args!(
            "wrote {}: {}, {}",
            path.display(),
            count(found.voxels.len(), "voxel"),
            count(found.genes.len(), "gene")
        ))?;
        if found.n_unmeasured > 0 {
            let n = count(found.n_unmeasured, "voxel");
            report.say(format_args!(
                "left out {n} in which a gene was not measured"
            ))?;
        }
        summary.n_voxels = Some(found.voxels.len());
        summary.n_unmeasured = Some(found.n_unmeasured);
        summary.coverage = found.genes.iter().cloned().zip(found.coverage).collect();
    }
    report.summary(&summary)
}

fn region_of_interest(settings: &Settings, transform: &Transform) -> Result<Roi> {
    let size = transform.parameters().image;
    Ok(match (&settings.roi, &settings.roi_mask) {
        (Some(path), _) => Roi::read_geojson(path, size, settings.roi_scale)?,
        (_, Some(path)) => Roi::read_mask(path, size)?,
        _ => Roi::whole(size),
    })
}
