//! `tangram place`: cells that were not in the training.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::n_threads;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::{Keep, Values};
use tangram_pipeline::match_genes::MatchGenes;
use tangram_pipeline::place::{PlaceSettings, place};
use tangram_pipeline::report::quoted;
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::{count, thousands};
use tangram_store::MatrixName;

const LONG_HELP: &str = "\
FILE is an AnnData of the new cells × the voxels of the mapping: probabilities in X; in obs, beside what was known of the cells,
  most_probable_voxel, most_probable_voxel_probability
  unlikeness  the share of training cells that are more usual than this cell, by the distance of its mix of genes to the
              nearest of 256 training cells: 0.5 is ordinary, above 0.99 it is a kind of cell that the training hardly had
obsm/spatial is where the most probable voxel is.

The cells are normalised to the same total as those of the training. They need all genes of the training.

Example:
  tangram place --mapping run --cells new_cells.h5ad --out placed.h5ad";

/// A cell that is more unlike the training than this share of its cells may be misplaced.
const UNLIKE: f64 = 0.99;

/// Flags of `tangram place`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct PlaceArgs {
    #[command(flatten)]
    settings: PlaceFlags,
    /// The file to write, ending in .h5ad or .zarr
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args)]
struct PlaceFlags {
    /// The folder that `tangram map` wrote, with any solver but adam
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The new cells: a file as for `tangram map --cells`
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: PathBuf,
    /// Where their counts are: X, raw or layer:NAME [default: as in the run]
    #[arg(long, value_name = "MATRIX", help_heading = "Input")]
    cells_matrix: Option<MatrixName>,
    /// What their values are: auto refuses logarithms, log1p undoes them, as-is takes them as they are [default: as in the run]
    #[arg(long, value_name = "WHAT", help_heading = "Input")]
    values: Option<Values>,
    /// How their genes match those of the training: exact, case, id, column:NAME or table:FILE [default: as in the run]
    #[arg(long, value_name = "HOW", help_heading = "Input")]
    match_genes: Option<MatchGenes>,
    /// What is stored of every cell's probabilities: all, mass:SHARE or top:N
    #[arg(long, value_name = "WHAT", default_value_t = Keep::Mass(0.999), help_heading = "Output")]
    keep: Keep,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct PlaceSummary<'a> {
    out: &'a Path,
    n_cells: usize,
    n_voxels: usize,
    mean_unlikeness: f64,
    n_unlike: usize,
    settings: &'a PlaceSettings,
}

/// Places cells and writes where.
///
/// # Errors
/// If the run has no factors, the cells lack genes or cannot be read, or the output cannot be written.
pub fn run(args: &PlaceArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let settings = PlaceSettings {
        mapping: args.settings.mapping.clone(),
        cells: args.settings.cells.clone(),
        cells_matrix: args.settings.cells_matrix.clone(),
        values: args.settings.values,
        match_genes: args.settings.match_genes.clone().map(MatchGenes::absolute),
        keep: args.settings.keep,
    };
    let placed = place(&settings, &args.out, replace(args.force), &report)?;
    let unlikeness = &placed.unlikeness;
    let n_cells = unlikeness.len();
    let n_unlike = unlikeness.iter().filter(|&&u| u > UNLIKE).count();
    if n_unlike as f64 > 2.0 * (1.0 - UNLIKE) * n_cells as f64 {
        report.warn(format_args!(
            "{} of {} are unlike the cells of the training (obs `unlikeness` above {UNLIKE}): trust their places less",
            thousands(n_unlike),
            count(n_cells, "cell"),
        ));
    }
    report.say(format_args!(
        "wrote {}: {} on {}",
        args.out.display(),
        count(n_cells, "cell"),
        count(placed.n_voxels, "voxel"),
    ))?;
    report.next(format_args!(
        "tangram inspect {}",
        quoted(&args.out.to_string_lossy())
    ))?;
    report.summary(&PlaceSummary {
        out: &args.out,
        n_cells,
        n_voxels: placed.n_voxels,
        mean_unlikeness: unlikeness.iter().sum::<f64>() / n_cells.max(1) as f64,
        n_unlike,
        settings: &settings,
    })
}
