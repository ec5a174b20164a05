//! `tangram plot`: one figure of a run.

use crate::choices::{one_of, replace};
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_pipeline::choices::ObsColumn;
use tangram_pipeline::figures::{Shown, Which, plot};
use tangram_pipeline::named::Choice;
use tangram_pipeline::pictures::{PictureSettings, Source};
use tangram_pipeline::settings::threads;

const EXAMPLES: &str = "\
The ending of FILE chooses the format: .svg, .png or .pdf.

Examples:
  tangram plot types --mapping run --out types.png
  tangram plot genes --mapping run --gene Slc17a7 --gene Gad1 --out genes.pdf
  tangram plot scores --mapping run --out scores.svg";

const FIGURES: &[Choice<Which>] = &[
    (
        Which::Types,
        "types",
        "Expected number of cells of each type in every voxel, each panel on a scale of its own",
    ),
    (
        Which::Map,
        "map",
        "The type of the most probable cell of every voxel",
    ),
    (
        Which::Genes,
        "genes",
        "Measured above predicted: chosen genes, or the best, the median and the worst that did not train",
    ),
    (
        Which::Scores,
        "scores",
        "Distribution function of the scores, with the mark of 0.4",
    ),
    (
        Which::Parts,
        "parts",
        "Histograms of the scores of training genes and of those that did not train",
    ),
    (
        Which::Sparsity,
        "sparsity",
        "Scores against the share of voxels without a count, and the area under the curve",
    ),
    (
        Which::Baseline,
        "baseline",
        "The score of each gene against that of a prediction that knows no cells",
    ),
    (Which::Loss, "loss", "The loss and its terms by epoch"),
    (
        Which::Density,
        "density",
        "Expected cells in every voxel, by the prior and by the mapping",
    ),
    (
        Which::Entropy,
        "entropy",
        "How widely each cell is spread over the voxels",
    ),
];

/// Flags of `tangram plot`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// The figure
    #[arg(value_name = "FIGURE", value_parser = one_of(FIGURES))]
    figure: Which,
    /// The folder that `tangram map` wrote
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    #[command(flatten)]
    inputs: InputArgs,
    /// Show this gene (`genes`); may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What to show")]
    gene: Vec<String>,
    /// Show this type only (`types`); may be repeated
    #[arg(long = "type", value_name = "NAME", help_heading = "What to show")]
    types_shown: Vec<String>,
    /// The picture to write: .svg, .png or .pdf
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// Where the inputs of a run are, and which column holds the types: also flags of `tangram report`.
#[derive(Debug, Args)]
pub struct InputArgs {
    /// The cells' file, if it is not where it was: the same cells in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: Option<PathBuf>,
    /// The voxels' file, if it is not where it was: the same voxels in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    voxels: Option<PathBuf>,
    /// The obs column that holds the types of the cells [default: the first of a usual name, such as cell_type]
    #[arg(long, value_name = "obs:COLUMN", help_heading = "What to show")]
    types: Option<ObsColumn>,
}

impl InputArgs {
    /// What to open of a run.
    pub fn of(&self, run: &Path) -> PictureSettings {
        PictureSettings {
            cells: self.cells.clone(),
            voxels: self.voxels.clone(),
            types: self.types.clone(),
            ..PictureSettings::new(run)
        }
    }
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct PlotSummary<'a> {
    figure: &'static str,
    file: &'a Path,
    width: u32,
    height: u32,
}

/// Draws a figure of a run.
///
/// # Errors
/// If the run lacks what it shows, or the file cannot be written.
pub fn run(args: &PlotArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    tangram_pipeline::figures::format_of(&args.out)?;
    let source = Source::open(&args.inputs.of(&args.mapping))?;
    let shown = Shown {
        genes: args.gene.clone(),
        types: args.types_shown.clone(),
    };
    let out = (args.out.as_path(), replace(args.force));
    let (width, height) = plot(args.figure, &source, &shown, out, &report)?.size();
    report.say(format_args!("wrote {}", args.out.display()))?;
    report.summary(&PlotSummary {
        figure: args.figure.name(),
        file: &args.out,
        width,
        height,
    })
}
