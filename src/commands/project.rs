//! `tangram project`: carries what is known of the cells into space.

use crate::choices::{one_of, replace};
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, n_threads};
use anyhow::Result;
use clap::{ArgGroup, Args};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_pipeline::choices::ObsColumn;
use tangram_pipeline::match_genes::MatchGenes;
use tangram_pipeline::named::ASSIGNMENTS;
use tangram_pipeline::project::{Assign, ProjectSettings, Projected, project};
use tangram_pipeline::report::quoted;
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::{count, thousands};

const WHAT: &str = "What to carry (at least one)";

const LONG_HELP: &str = "\
FILE is an AnnData of the voxels, with their obs, coordinates, images and colours, and `expected_reference_cells` in obs:
how many cells of the single-cell data the mapping puts into each voxel. Its X holds
  the genes, if --genes or --layer is given; types and arrays then go to obsm, their labels to uns (NAME_labels);
  otherwise the types and arrays themselves, one column each, named after their labels (COLUMN:label if several are
  carried).
A value is the sum over cells of probability × value: for a type the expected number of its cells. These are cells of the
single-cell data, of which there may be more or fewer than the tissue has; divide by `expected_reference_cells` for
shares and means. If the mapping's --prior was a column of cell counts, types are scaled to cells of the tissue, and
`expected_cells` in obs holds their total. Genes are normalised as in training, but not transformed.

Where the mapping is of clusters, all cells of a cluster are in space as the cluster is: types are counted by cells, other
values are the sum or the mean over each cluster's cells, as in training.

--assign voxels adds to obs the most probable cell of every voxel (one cell may serve many voxels), or the cluster of which
it has most cells.
--assign cells writes an AnnData of the cells instead: obs tells every cell's most probable voxel (many cells may share
one), obsm/spatial where that voxel is.

Examples:
  tangram project --mapping run --types obs:cell_type --out types.h5ad
  tangram project --mapping run --genes all --types obs:cell_type --out genes.zarr
  tangram project --mapping run --obsm X_protein --out protein.h5ad
  tangram project --mapping run --assign cells --out placed_cells.h5ad";

/// Flags of `tangram project`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
#[command(group = ArgGroup::new("what").args(["types", "genes", "obsm", "modality", "layer", "assign"]).required(true).multiple(true))]
pub struct ProjectArgs {
    #[command(flatten)]
    settings: ProjectFlags,
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
struct ProjectFlags {
    /// The folder that `tangram map` wrote
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The cells' file, if it is not where it was: the same cells in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: Option<PathBuf>,
    /// A column of the cells' obs: categories one by one, numbers as they are (can be repeated)
    #[arg(long, value_name = "obs:COLUMN", help_heading = WHAT)]
    types: Vec<ObsColumn>,
    /// All genes of the cells (all), or those of a list (one name a line)
    #[arg(long, value_name = "all|FILE", help_heading = WHAT)]
    genes: Option<PathBuf>,
    /// An array of the cells' obsm, such as protein (can be repeated)
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    obsm: Vec<String>,
    /// Rows of the cells' matrix that are no genes, by their kind, such as "Antibody Capture" (can be repeated)
    #[arg(long, value_name = "KIND", help_heading = WHAT)]
    modality: Vec<String>,
    /// Make cells without a label in --types a type of this name, instead of leaving them out
    #[arg(long, value_name = "NAME", requires = "types", help_heading = WHAT)]
    unlabelled: Option<String>,
    /// How the genes of --cells match those of the training: exact, case, id, column:NAME or table:FILE [default: as in the run]
    #[arg(long, value_name = "HOW", help_heading = "Input")]
    match_genes: Option<MatchGenes>,
    /// Take genes from this layer, values as they are, instead of the counts
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    layer: Option<String>,
    /// The most probable voxel of every cell (cells), or the most probable cell of every voxel (voxels)
    #[arg(long, value_parser = one_of(ASSIGNMENTS), value_name = "WHOSE", help_heading = WHAT)]
    assign: Option<Assign>,
    /// Genes that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = ProjectSettings::CHUNK, value_parser = at_least_one, help_heading = "Work")]
    chunk: usize,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ProjectSummary<'a> {
    out: &'a Path,
    n_rows: usize,
    n_columns: usize,
    /// Total over voxels of each column of types and obsm arrays.
    totals: BTreeMap<String, BTreeMap<String, f64>>,
    settings: &'a ProjectSettings,
}

impl ProjectFlags {
    fn resolved(self) -> ProjectSettings {
        ProjectSettings {
            mapping: self.mapping,
            cells: self.cells,
            types: self.types,
            genes: self.genes,
            obsm: self.obsm,
            modality: self.modality,
            unlabelled: self.unlabelled,
            match_genes: self.match_genes.map(MatchGenes::absolute),
            layer: self.layer,
            assign: self.assign,
            chunk: self.chunk,
        }
    }
}

/// Carries annotations into space and writes them.
///
/// # Errors
/// If the run or the cells cannot be read or lack what is asked for, or the output cannot be written.
pub fn run(args: ProjectArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let out = &args.out;
    let settings = args.settings.resolved();
    let (projected, settings) = project(&settings, out, replace(args.force), &report)?;
    let of_cells = matches!(projected, Projected::Cells { .. });
    let (n_rows, n_columns, totals) = match projected {
        Projected::Voxels {
            n_voxels,
            n_columns,
            of_genes,
            totals,
        } => {
            let noun = if of_genes { "gene" } else { "column" };
            let (rows, columns) = (count(n_voxels, "voxel"), count(n_columns, noun));
            report.say(format_args!("wrote {}: {rows} × {columns}", out.display()))?;
            (n_voxels, n_columns, totals)
        }
        Projected::Cells {
            n_cells,
            n_placed,
            n_voxels_used,
            n_voxels,
        } => {
            let left_out = match n_cells - n_placed {
                0 => String::new(),
                n => format!("; the filter leaves out {}", count(n, "cell")),
            };
            report.say(format_args!(
                "wrote {}: {} at {} of {}{left_out}",
                out.display(),
                count(n_placed, "cell"),
                thousands(n_voxels_used),
                count(n_voxels, "voxel"),
            ))?;
            (n_cells, 0, BTreeMap::new())
        }
    };
    let run = quoted(&settings.mapping.to_string_lossy());
    if let Some(types) = settings.types.first() {
        report.next(format_args!(
            "tangram plot types {run} --types {} --out types.png",
            quoted(&types.to_string())
        ))?;
    } else if let Some(modality) = settings.modality.first() {
        report.next(format_args!(
            "tangram plot modality {run} --modality {} --out modality.png",
            quoted(modality)
        ))?;
    } else if settings.genes.is_some() {
        report.next(format_args!("tangram plot genes {run} --out genes.png"))?;
    } else if of_cells {
        report.next(format_args!("tangram plot map {run} --out map.png"))?;
    }
    report.summary(&ProjectSummary {
        out,
        n_rows,
        n_columns,
        totals,
        settings: &settings,
    })
}
