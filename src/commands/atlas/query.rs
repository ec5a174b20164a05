//! `tangram atlas query`: what the atlas says about a region of interest of a registered section.

use super::section::{RegisteredSection, percent};
use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::Result;
use clap::{ArgGroup, Args};
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_atlas::{
    Atlas, QueriedVoxels, RegionShare, Roi, Transform, query_voxels, region_shares,
};
use tangram_core::{Column, Table};
use tangram_pipeline::run_directory::{replaceable, write};
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;
use tangram_store::{AnnDataWriter, Existing, MatrixName, Uns, fingerprint, write_aside};

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
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Settings {
    /// The store that `tangram atlas import` wrote
    #[arg(long, value_name = "ATLAS.zarr", help_heading = "Input")]
    atlas: PathBuf,
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
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = super::section::factor, help_heading = "Region of interest")]
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

#[derive(Debug, Serialize)]
struct Region {
    acronym: String,
    n_pixels: usize,
    share: f64,
    mm2: f64,
}

/// Asks the atlas about a region of interest.
///
/// # Errors
/// If an input cannot be read or does not fit, or an output cannot be written.
pub fn run(args: &QueryArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let settings = &args.settings;
    let atlas = Atlas::open(&settings.atlas)?;
    let section = RegisteredSection::open(&settings.section)?;
    let transform = &section.transform;
    let roi = region_of_interest(settings, transform)?;
    let inputs = [settings.atlas.as_path(), section.path.as_path()];
    let place = |out: &Option<PathBuf>| -> Result<Option<(PathBuf, Existing)>> {
        let Some(path) = out else { return Ok(None) };
        let existing = replaceable(path, replace(args.force), &inputs)?;
        Ok(Some((path.clone(), existing)))
    };
    let (voxels_at, regions_at) = (place(&args.out)?, place(&args.regions)?);

    let shares = region_shares(&atlas, transform, &roi)?;
    let regions = regions(&atlas, &shares);
    if let Some((path, existing)) = regions_at {
        write_regions(&path, existing, &atlas, &shares)?;
        report.say(format_args!("wrote {}", path.display()))?;
    }
    for region in regions.iter().take(8) {
        let share = percent(region.share);
        report.say(format_args!(
            "  {}: {share}, {:.3} mm²",
            region.acronym, region.mm2
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
        write_voxels(
            &path,
            existing,
            &atlas,
            &found,
            &provenance(settings, &section)?,
        )?;
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

fn acronym(atlas: &Atlas, share: &RegionShare) -> String {
    match share.structure {
        Some(row) => atlas.tree().structures()[row].acronym.clone(),
        None => "outside".to_owned(),
    }
}

fn regions(atlas: &Atlas, shares: &[RegionShare]) -> Vec<Region> {
    let region = |share: &RegionShare| Region {
        acronym: acronym(atlas, share),
        n_pixels: share.n_pixels,
        share: share.share,
        mm2: share.mm2,
    };
    shares.iter().map(region).collect()
}

fn write_regions(
    path: &Path,
    existing: Existing,
    atlas: &Atlas,
    shares: &[RegionShare],
) -> Result<()> {
    let mut text = "structure\tid\tname\tpixels\tshare\tmm2\n".to_owned();
    for share in shares {
        let (id, name) = match share.structure {
            Some(row) => {
                let structure = &atlas.tree().structures()[row];
                (structure.id, structure.name.as_str())
            }
            None => (0, "outside the brain"),
        };
        let acronym = acronym(atlas, share);
        text.push_str(&format!(
            "{acronym}\t{id}\t{name}\t{}\t{}\t{}\n",
            share.n_pixels, share.share, share.mm2
        ));
    }
    write_aside(path, existing, |partial| write(partial, &text))?;
    Ok(())
}

fn write_voxels(
    path: &Path,
    existing: Existing,
    atlas: &Atlas,
    found: &QueriedVoxels,
    provenance: &Uns,
) -> Result<()> {
    let voxels = &found.voxels;
    let name = |[ap, dv, ml]: [usize; 3]| format!("{ap}_{dv}_{ml}");
    let mut obs = Table::of_names(voxels.iter().map(|v| name(v.voxel)).collect());
    let structures: Vec<&str> = voxels
        .iter()
        .map(|v| atlas.tree().structures()[v.structure].acronym.as_str())
        .collect();
    obs.set("structure", Column::categories(&structures));
    obs.set(
        "n_pixels",
        Column::numbers(voxels.iter().map(|v| v.n_pixels as f64)),
    );
    obs.set("share", Column::numbers(voxels.iter().map(|v| v.share)));
    if voxels.iter().any(|v| v.n_cells.is_some()) {
        obs.set(
            "cells",
            Column::Numeric(voxels.iter().map(|v| v.n_cells).collect()),
        );
    }
    let mut var = Table::of_names(found.genes.clone());
    var.set("coverage", Column::numbers(found.coverage.iter().copied()));
    let mut file = AnnDataWriter::create(path, existing, &obs, &var)?;
    let places = Array2::from_shape_fn((voxels.len(), 3), |(i, axis)| {
        (voxels[i].voxel[axis] as f64 + 0.5) * found.grid.voxel_um
    });
    file.obsm("spatial", places.view())?;
    file.uns("tangram", provenance)?;
    let shape = (voxels.len(), found.genes.len());
    let values = Array2::from_shape_vec(shape, found.expression.clone())?;
    let mut matrix = file.dense(&MatrixName::X)?;
    matrix.write_columns(0, values.view())?;
    matrix.finish()?;
    Ok(file.finish()?)
}

/// What the voxels were made from.
fn provenance(settings: &Settings, section: &RegisteredSection) -> Result<Uns> {
    let text = |(key, value): (String, toml::Value)| match value {
        toml::Value::String(text) => (key, Uns::Text(text)),
        other => (key, Uns::Text(other.to_string())),
    };
    let table = toml::Table::try_from(settings)?;
    Ok(Uns::Map(BTreeMap::from([
        (
            "settings".to_owned(),
            Uns::Map(table.into_iter().map(text).collect()),
        ),
        (
            "atlas_sha256".to_owned(),
            Uns::Text(fingerprint(&settings.atlas)?),
        ),
        (
            "transform_sha256".to_owned(),
            Uns::Text(fingerprint(&section.path)?),
        ),
    ])))
}
