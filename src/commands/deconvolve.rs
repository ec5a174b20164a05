//! `tangram deconvolve`: takes spots apart into cell types.

use crate::choices::{one_of, replace};
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, n_threads, positive, seed};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::Values;
use tangram_pipeline::choices::{DeviceChoice, Goal, MappingFormat, ObsColumn, Solver};
use tangram_pipeline::deconvolve::{DeconvolveSettings, Deconvolved, deconvolve};
use tangram_pipeline::deconvolve_choices::{
    METHODS, MODES, Method, PLATFORMS, Platform, TYPES_FROM, TruthChoice, TypesFrom, Which,
};
use tangram_pipeline::match_genes::MatchGenes;
use tangram_pipeline::named::{DEVICES, FORMATS, GOALS, SOLVERS};
use tangram_pipeline::settings::{MapSettings, threads};
use tangram_pipeline::wording::count;
use tangram_store::MatrixName;

const INPUT: &str = "Input";
const CELLS: &str = "Cells of the spots";
const METHOD: &str = "Method";
const MAPPING: &str = "The mapping";
const OUTPUT: &str = "Output";

const LONG_HELP: &str = "\
Writes into DIR:
  proportions.h5ad  spots × types: shares in X, those of every method in layers; with numbers of cells known, the layers
                    expected_cells and cells (whole numbers)
  cells.h5ad        the segmented cells: place, spot and type (with --segmentation)
  spots.h5ad        the spots with their number of segmented cells in obs `n_segmented` (with --segmentation)
  counts.tsv        cells counted, expected and placed in every spot, and what does not agree
  scores.tsv        Pearson, RMSE and Jensen-Shannon divergence by method and type (with --truth)
  deconvolve.toml   all settings, hashes of the inputs; `--config DIR/deconvolve.toml` repeats it

Examples:
  tangram deconvolve --cells cells.h5ad --voxels visium --annotation obs:cell_type --segmentation labels.tif --out types
  tangram deconvolve --cells cells.h5ad --voxels spots.h5ad --annotation obs:cell_type --method poisson --out types
  tangram deconvolve --cells cells.h5ad --voxels spots.h5ad --annotation obs:cell_type --counts obs:n_cells --truth obsm:true_prop --out types";

/// Flags of `tangram deconvolve`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct DeconvolveArgs {
    #[command(flatten)]
    flags: DeconvolveFlags,
    /// The folder to write
    #[arg(long, value_name = "DIR", help_heading = OUTPUT)]
    out: PathBuf,
    /// Replace DIR if an earlier `tangram deconvolve` wrote it
    #[arg(long, help_heading = OUTPUT)]
    force: bool,
}

/// What decides the result.
#[derive(Debug, Clone, Args)]
struct DeconvolveFlags {
    /// The single-cell data: .h5ad, AnnData .zarr, 10x .h5, or a folder with matrix.mtx
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    cells: PathBuf,
    /// The spots: as --cells, or a Space Ranger output folder
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    voxels: PathBuf,
    /// The column of the cells' obs that holds their types
    #[arg(long, value_name = "obs:COLUMN", help_heading = INPUT)]
    annotation: ObsColumn,
    /// Where the cells' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    cells_matrix: MatrixName,
    /// Where the spots' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    voxels_matrix: MatrixName,
    /// What the cells' values are: auto refuses logarithms, log1p undoes them, as-is takes them as they are
    #[arg(long, value_name = "WHAT", default_value_t = Values::Auto, help_heading = INPUT)]
    values: Values,
    /// Likewise for spots
    #[arg(long, value_name = "WHAT", default_value_t = Values::Auto, help_heading = INPUT)]
    values_voxels: Values,
    /// Which genes of both files are the same: exact, case, id, column:NAME or table:FILE, as for `tangram map`
    /// [default: exact, unless another way would match many more]
    #[arg(long, value_name = "HOW", help_heading = INPUT)]
    match_genes: Option<MatchGenes>,
    /// Leave spots without a count out instead of stopping
    #[arg(long, help_heading = INPUT)]
    drop_empty: bool,
    /// Use the genes of this list (one name a line) instead of all that both files have
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    genes: Option<PathBuf>,

    /// Segmented cells: a label image (PNG, TIFF, OME-TIFF or .npy; every pixel holds the number of its cell, 0 outside), or a
    /// table of centroids with the columns x, y and perhaps id. Given twice, both are merged: a cell of the second whose centre
    /// lies in one of the first counts once
    #[arg(long, value_name = "FILE", help_heading = CELLS)]
    segmentation: Vec<PathBuf>,
    /// Pixels of the segmentation per unit of obsm/spatial [default: of the image of uns/spatial that has its size, else 1]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = CELLS)]
    segmentation_scale: Option<f64>,
    /// Diameter of a spot in units of obsm/spatial [default: uns/spatial, spot_diameter_fullres]
    #[arg(long, value_name = "D", value_parser = positive, help_heading = CELLS)]
    spot_diameter: Option<f64>,
    /// Of two tables, cells this near are one, in units of obsm/spatial
    #[arg(long, value_name = "D", value_parser = positive, help_heading = CELLS)]
    merge_distance: Option<f64>,
    /// A column of the spots' obs that holds numbers of cells, where there is no segmentation
    #[arg(long, value_name = "obs:COLUMN", conflicts_with = "segmentation", help_heading = CELLS)]
    counts: Option<ObsColumn>,
    /// Where the types of the cells of a spot are taken from
    #[arg(long, value_parser = one_of(TYPES_FROM), default_value = "shares", help_heading = CELLS)]
    types_from: TypesFrom,

    /// How compositions are estimated; with all, X and the types of cells are those of the mapping
    #[arg(long, value_parser = one_of(METHODS), default_value = "all", help_heading = METHOD)]
    method: Method,
    /// Factors of genes in nnls and poisson, for files that were measured differently
    #[arg(long, value_parser = one_of(PLATFORMS), default_value = "fit", help_heading = METHOD)]
    platform: Platform,
    /// True compositions to score against, shares or counts: obsm:NAME of the spots, obs (columns named as the types), or a file:
    /// an AnnData of spots × types, or a table with names of spots first and a column for each type
    #[arg(long, value_name = "WHERE", help_heading = METHOD)]
    truth: Option<TruthChoice>,

    /// Whether all cells take part, or a filter keeps as many as the spots hold [default: constrained if numbers of cells are
    /// known]
    #[arg(long, value_parser = one_of(MODES), help_heading = MAPPING)]
    mode: Option<Which>,
    /// Purpose of the mapping, as for `tangram map`
    #[arg(long, value_parser = one_of(GOALS), default_value = "compose", help_heading = MAPPING)]
    goal: Goal,
    /// Solver
    #[arg(long, value_parser = one_of(SOLVERS), default_value = "mirror", help_heading = MAPPING)]
    solver: Solver,
    /// Maximum number of passes over the data [default: 500, with --solver adam 1000]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = MAPPING)]
    epochs: Option<usize>,
    /// Device
    #[arg(long, value_name = "DEVICE", value_parser = one_of(DEVICES), default_value = "cpu", help_heading = MAPPING)]
    device: DeviceChoice,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = MAPPING)]
    threads: Option<usize>,
    /// Seed of the random numbers: which cell of a spot gets which type
    #[arg(long, value_name = "N", default_value_t = MapSettings::SEED, value_parser = seed, help_heading = CELLS)]
    seed: u64,
    /// File format
    #[arg(long, value_parser = one_of(FORMATS), default_value = "h5ad", help_heading = OUTPUT)]
    format: MappingFormat,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct DeconvolveSummary<'a> {
    out: &'a Path,
    #[serde(flatten)]
    result: &'a Deconvolved,
    settings: &'a DeconvolveSettings,
}

impl DeconvolveFlags {
    fn resolved(self) -> DeconvolveSettings {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        DeconvolveSettings {
            cells: absolute(self.cells),
            voxels: absolute(self.voxels),
            cells_matrix: self.cells_matrix,
            voxels_matrix: self.voxels_matrix,
            annotation: self.annotation,
            values: self.values,
            values_voxels: self.values_voxels,
            match_genes: self.match_genes.map(MatchGenes::absolute),
            drop_empty: self.drop_empty,
            genes: self.genes.map(absolute),
            segmentation: self.segmentation.into_iter().map(absolute).collect(),
            segmentation_scale: self.segmentation_scale,
            spot_diameter: self.spot_diameter,
            merge_distance: self.merge_distance,
            counts: self.counts,
            method: self.method,
            platform: self.platform,
            types_from: self.types_from,
            truth: self.truth.map(|truth| match truth {
                TruthChoice::File(path) => TruthChoice::File(absolute(path)),
                other => other,
            }),
            mode: self.mode,
            goal: self.goal,
            solver: self.solver,
            epochs: self.epochs,
            device: self.device,
            threads: threads(self.threads),
            seed: self.seed,
            format: self.format,
        }
    }
}

/// Takes spots apart and writes the folder.
///
/// # Errors
/// If an input does not fit or cannot be read, the flags contradict each other, or the output cannot be written.
pub fn run(args: DeconvolveArgs, report: Report) -> Result<()> {
    let out = &args.out;
    let settings = args.flags.resolved();
    use_threads(settings.threads);
    let result = deconvolve(&settings, out, replace(args.force), &report)?;
    report.say(format_args!(
        "wrote {}: {} × {}",
        out.display(),
        count(result.n_spots, "spot"),
        count(result.types.len(), "type"),
    ))?;
    let number = |v: Option<f64>| v.map_or("–".to_owned(), |v| format!("{v:.3}"));
    for score in result.scores.iter().filter(|s| s.of_type.is_none()) {
        report.say(format_args!(
            "  {:8} Pearson {}  RMSE {:.3}  Jensen-Shannon {} bits",
            score.method,
            number(score.pearson),
            score.rmse,
            number(score.jensen_shannon),
        ))?;
    }
    report.summary(&DeconvolveSummary {
        out,
        result: &result,
        settings: &settings,
    })
}
