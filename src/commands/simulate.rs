//! `tangram simulate`: a small cortex with known truth, as three AnnData files.

use crate::choices::{one_of, replace};
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, seed};
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_core::{Tissue, TissueSettings};
use tangram_pipeline::choices::MappingFormat;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::named::FORMATS;
use tangram_pipeline::report::quoted;
use tangram_pipeline::run_directory::existing;
use tangram_pipeline::settings::threads;
use tangram_pipeline::simulate::{FOLDER_FILE, write_folder};
use tangram_pipeline::wording::count;

const EXAMPLES: &str = "\
Writes into DIR:
  cells.h5ad        dissociated cells: counts, type, layer, true position
  voxels.h5ad       the tissue at cell resolution, a panel of genes (as MERFISH)
  spots.h5ad        the tissue in spots of several cells, all genes (as Visium), with the true mix of types
  segmentation.csv  the cells in the spots: place, spot and type
  simulate.toml     the settings

Examples:
  tangram simulate --out tissue
  tangram simulate --out large --cells 100000 --voxels 20000 --genes 2000 --panel 300";

/// Flags of `tangram simulate`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct SimulateArgs {
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = "Output")]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram simulate` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Cells in the single-cell file
    #[arg(long, value_name = "N", default_value_t = default().n_cells, value_parser = at_least_one, help_heading = "Sizes")]
    cells: usize,
    /// Voxels, of one cell each, in the spatial file at cell resolution
    #[arg(long, value_name = "N", default_value_t = default().n_voxels, value_parser = at_least_one, help_heading = "Sizes")]
    voxels: usize,
    /// Spots, of several cells each, in the spatial file at spot resolution
    #[arg(long, value_name = "N", default_value_t = default().n_spots, value_parser = at_least_one, help_heading = "Sizes")]
    spots: usize,
    /// Genes
    #[arg(long, value_name = "N", default_value_t = default().n_genes, value_parser = at_least_one, help_heading = "Sizes")]
    genes: usize,
    /// Genes that the file at cell resolution measures
    #[arg(long, value_name = "N", default_value_t = default().n_panel_genes, value_parser = at_least_one, help_heading = "Sizes")]
    panel: usize,
    /// File format; .zarr is read faster when the cells are streamed
    #[arg(long, value_parser = one_of(FORMATS), default_value = "h5ad", help_heading = "Output")]
    format: MappingFormat,
    /// Fraction of the cells' counts that are not zero
    #[arg(long, value_name = "SHARE", default_value_t = default().density, help_heading = "Tissue")]
    density: f64,
    /// Seed of the random numbers; the same seed gives the same tissue
    #[arg(long, value_name = "N", default_value_t = default().seed, value_parser = seed, help_heading = "Tissue")]
    seed: u64,
}

fn default() -> TissueSettings {
    TissueSettings::default()
}

/// Writes the simulated tissue.
///
/// # Errors
/// If the settings contradict each other or the output cannot be written.
pub fn run(args: &SimulateArgs, report: Report) -> Result<()> {
    use_threads(threads(None));
    let tissue = Tissue::new(TissueSettings {
        n_cells: args.cells,
        n_voxels: args.voxels,
        n_spots: args.spots,
        n_genes: args.genes,
        n_panel_genes: args.panel,
        density: args.density,
        seed: args.seed,
    })
    .map_err(PipelineError::from)?;
    let existing = existing(&args.out, replace(args.force), FOLDER_FILE)?;
    let simulated = write_folder(&tissue, &args.out, existing, args.format)?;
    report.say(format_args!("wrote {}:", args.out.display()))?;
    let ending = args.format.ending();
    let n_types = count(tissue.cell_types().len(), "type");
    report.say(format_args!(
        "  cells.{ending}   {} of {n_types}, {}",
        count(args.cells, "cell"),
        count(args.genes, "gene")
    ))?;
    report.say(format_args!(
        "  voxels.{ending}  {}, {}",
        count(args.voxels, "voxel"),
        count(args.panel, "gene")
    ))?;
    report.say(format_args!(
        "  spots.{ending}   {}, {}",
        count(args.spots, "spot"),
        count(args.genes, "gene")
    ))?;
    report.say(format_args!(
        "  segmentation.csv  the cells in the spots, whose diameter is {:.1} µm",
        (10.0 * tissue.spot_diameter_um()).ceil() / 10.0
    ))?;
    let out = quoted(&args.out.to_string_lossy());
    report.next(format_args!(
        "tangram map --cells {out}/cells.{ending} --voxels {out}/voxels.{ending} --out run"
    ))?;
    report.summary(&simulated)
}
