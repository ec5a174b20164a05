//! `tangram plot`: one figure of a run, of several, of a sweep, of a deconvolution, of a registered section or of a series.

use crate::choices::{one_of, replace};
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_pipeline::PipelineError;
use tangram_pipeline::atlas_series::series_figure;
use tangram_pipeline::choices::ObsColumn;
use tangram_pipeline::deconvolved_cells::cells_figure;
use tangram_pipeline::figures::{Shown, Which, draw_into, format_of, plot};
use tangram_pipeline::named::Choice;
use tangram_pipeline::pictures::{PictureSettings, Source};
use tangram_pipeline::replicates::{compare, runs_of};
use tangram_pipeline::section_report::section_figure;
use tangram_pipeline::settings::threads;
use tangram_pipeline::sweep_figures::{fractions, intervals, progress};

const EXAMPLES: &str = "\
The ending of FILE chooses the format: .svg, .png or .pdf.

Examples:
  tangram plot types --mapping run --out types.png
  tangram plot genes --mapping run --gene Slc17a7 --gene Gad1 --out genes.pdf
  tangram plot scores --mapping run --out scores.svg
  tangram plot modality --mapping run --modality \"Antibody Capture\" --feature CD3 --out cd3.png
  tangram plot agreement run_a run_b run_c --out agreement.png
  tangram plot progress loo --out progress.png
  tangram plot intervals loo --out intervals.png
  tangram plot cells types --out cells.png
  tangram plot section section1 --out section.png
  tangram plot series series1 --out series.png";

/// What is drawn, by what it is drawn from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drawn {
    /// A run.
    Run(Which),
    /// Runs of the same cells and voxels, or a sweep of them.
    Agreement,
    /// A sweep.
    Progress,
    /// A sweep over fractions of the genes.
    Fractions,
    /// A sweep in which every gene was held out.
    Intervals,
    /// A folder that `tangram deconvolve` wrote.
    Cells,
    /// A folder that `tangram atlas register` wrote.
    Section,
    /// A folder that `tangram atlas series` wrote.
    Series,
}

const FIGURES: &[Choice<Drawn>] = &[
    (
        Drawn::Run(Which::Types),
        "types",
        "Expected number of cells of each type in every voxel, each panel on a scale of its own",
    ),
    (
        Drawn::Run(Which::Map),
        "map",
        "The type of the most probable cell of every voxel",
    ),
    (
        Drawn::Run(Which::Genes),
        "genes",
        "Measured above predicted: chosen genes, or the best, the median and the worst that did not train",
    ),
    (
        Drawn::Run(Which::Modality),
        "modality",
        "Features of the cells other than genes, such as proteins (--modality)",
    ),
    (
        Drawn::Run(Which::Scores),
        "scores",
        "Distribution function of the scores, with the mark of 0.4",
    ),
    (
        Drawn::Run(Which::Parts),
        "parts",
        "Histograms of the scores of training genes and of those that did not train",
    ),
    (
        Drawn::Run(Which::Sparsity),
        "sparsity",
        "Scores against the share of voxels without a count, and the area under the curve",
    ),
    (
        Drawn::Run(Which::Baseline),
        "baseline",
        "The score of each gene against that of a prediction that knows no cells",
    ),
    (
        Drawn::Run(Which::Loss),
        "loss",
        "The loss and its terms by epoch",
    ),
    (
        Drawn::Run(Which::Density),
        "density",
        "Expected cells in every voxel, by the prior and by the mapping",
    ),
    (
        Drawn::Run(Which::Entropy),
        "entropy",
        "How widely each cell is spread over the voxels",
    ),
    (
        Drawn::Agreement,
        "agreement",
        "How alike two runs or more of the same cells and voxels are, or those of a sweep of seeds",
    ),
    (
        Drawn::Progress,
        "progress",
        "How far a sweep is and what it costs",
    ),
    (
        Drawn::Fractions,
        "fractions",
        "Scores of the genes held out by the share that trained, of an ablation sweep",
    ),
    (
        Drawn::Intervals,
        "intervals",
        "Where measured values of held-out genes lie for a predicted one, of a collected sweep",
    ),
    (
        Drawn::Cells,
        "cells",
        "Segmented cells in their spots by the types that `tangram deconvolve` gave them",
    ),
    (
        Drawn::Section,
        "section",
        "A registered section under the borders of its atlas",
    ),
    (
        Drawn::Series,
        "series",
        "Depth of the sections of a series, with its line, outliers and refusals",
    ),
];

/// Flags of `tangram plot`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct PlotArgs {
    /// The figure
    #[arg(value_name = "FIGURE", value_parser = one_of(FIGURES))]
    figure: Drawn,
    /// What it is drawn from, a run unless the figure says otherwise; the same as --mapping
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// The folder that `tangram map` wrote
    #[arg(
        long,
        value_name = "RUN",
        conflicts_with = "folders",
        help_heading = "Input"
    )]
    mapping: Option<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    /// Show this gene (`genes`); may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What to show")]
    gene: Vec<String>,
    /// Show this type only (`types`); may be repeated
    #[arg(long = "type", value_name = "NAME", help_heading = "What to show")]
    types_shown: Vec<String>,
    /// The kind of features of `modality`, as `tangram inspect` shows it
    #[arg(long, value_name = "NAME", help_heading = "What to show")]
    modality: Option<String>,
    /// Show this feature only (`modality`); may be repeated
    #[arg(long, value_name = "NAME", help_heading = "What to show")]
    feature: Vec<String>,
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
    /// Draw voxels alone, though their file keeps an image of the tissue
    #[arg(long, help_heading = "What to show")]
    no_image: bool,
}

impl InputArgs {
    /// What to open of a run.
    pub fn of(&self, run: &Path) -> PictureSettings {
        PictureSettings {
            cells: self.cells.clone(),
            voxels: self.voxels.clone(),
            types: self.types.clone(),
            tissue: !self.no_image,
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

impl Drawn {
    /// Its name.
    fn name(self) -> &'static str {
        let choice = FIGURES.iter().find(|(drawn, _, _)| *drawn == self);
        choice.expect("every figure has a name").1
    }

    /// What it is drawn from.
    fn source(self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Agreement => "run or sweep",
            Self::Progress | Self::Fractions | Self::Intervals => "sweep",
            Self::Cells => "deconvolution",
            Self::Section => "registered section",
            Self::Series => "series of sections",
        }
    }
}

impl PlotArgs {
    /// The folders that were named, in either way.
    fn folders(&self) -> Vec<PathBuf> {
        match &self.mapping {
            Some(run) => vec![run.clone()],
            None => self.folders.clone(),
        }
    }

    /// Refuses a flag that says nothing about this figure.
    fn refuse_unused(&self) -> Result<()> {
        let is = |which: Which| self.figure == Drawn::Run(which);
        let of_run = matches!(self.figure, Drawn::Run(_));
        let given = [
            ("--gene", !self.gene.is_empty(), is(Which::Genes)),
            ("--type", !self.types_shown.is_empty(), is(Which::Types)),
            ("--modality", self.modality.is_some(), is(Which::Modality)),
            ("--feature", !self.feature.is_empty(), is(Which::Modality)),
            ("--cells", self.inputs.cells.is_some(), of_run),
            ("--voxels", self.inputs.voxels.is_some(), of_run),
            ("--types", self.inputs.types.is_some(), of_run),
            (
                "--no-image",
                self.inputs.no_image,
                of_run || self.figure == Drawn::Cells,
            ),
        ];
        match given.iter().find(|(_, given, used)| *given && !used) {
            Some((flag, ..)) => bail!(PipelineError::Usage(format!(
                "plot {} does not use {flag}: leave it out",
                self.figure.name()
            ))),
            None => Ok(()),
        }
    }
}

/// Draws a figure.
///
/// # Errors
/// If what it shows is not there, or the file cannot be written.
pub fn run(args: &PlotArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    format_of(&args.out)?;
    args.refuse_unused()?;
    let folders = args.folders();
    let name = args.figure.name();
    let one = || -> Result<&Path> {
        let source = args.figure.source();
        match &folders[..] {
            [one] => Ok(one),
            [] => bail!(PipelineError::Usage(format!(
                "plot {name}: name the folder of the {source} to draw: tangram plot {name} FOLDER --out {}",
                args.out.display()
            ))),
            several => bail!(PipelineError::Usage(format!(
                "plot {name} draws one {source}, and {} folders are named; draw each into a file of its own",
                several.len()
            ))),
        }
    };
    let out = (args.out.as_path(), replace(args.force));
    let figure = match args.figure {
        Drawn::Run(which) => {
            let source = Source::open(&args.inputs.of(one()?))?;
            let shown = Shown {
                genes: args.gene.clone(),
                types: args.types_shown.clone(),
                modality: args.modality.clone(),
                features: args.feature.clone(),
            };
            plot(which, &source, &shown, out, &report)?
        }
        Drawn::Agreement => {
            let runs = runs_of(&folders)?;
            let inputs: Vec<&Path> = runs.iter().map(PathBuf::as_path).collect();
            draw_into(out, &inputs, || compare(&runs)?.figure())?
        }
        Drawn::Progress => {
            let sweep = one()?;
            draw_into(out, &[], || progress(sweep))?
        }
        Drawn::Fractions => {
            let sweep = one()?;
            draw_into(out, &[], || fractions(sweep))?
        }
        Drawn::Intervals => {
            let sweep = one()?;
            draw_into(out, &[], || intervals(sweep))?
        }
        Drawn::Cells => {
            let deconvolution = one()?;
            let tissue = !args.inputs.no_image;
            draw_into(out, &[], || cells_figure(deconvolution, tissue))?
        }
        Drawn::Section => {
            let section = one()?;
            draw_into(out, &[], || section_figure(section))?
        }
        Drawn::Series => {
            let series = one()?;
            draw_into(out, &[], || series_figure(series))?
        }
    };
    let (width, height) = figure.size();
    report.say(format_args!("wrote {}", args.out.display()))?;
    report.summary(&PlotSummary {
        figure: name,
        file: &args.out,
        width,
        height,
    })
}
