//! `tangram project`: carries what is known of the cells into space.

use crate::report::Report;
use anyhow::Result;
use clap::{ArgGroup, Args, ValueEnum};
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_core::{Column, MostProbableVoxel, Table, density};
use tangram_pipeline::annotations;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::gene_list;
use tangram_pipeline::gene_transfer::{GeneValues, Genes};
use tangram_pipeline::listener::Listener;
use tangram_pipeline::run_directory::{GeneRecord, RunDirectory, replaceable};
use tangram_pipeline::stored_mapping::StoredMapping;
use tangram_pipeline::values::{ObsColumn, at_least_one, threads};
use tangram_pipeline::versions::Versions;
use tangram_pipeline::wording::{count, thousands};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, Uns, fingerprint};
use tangram_store::{ExpressionFile, RowNames};

const WHAT: &str = "What to carry (at least one)";

const LONG_HELP: &str = "\
FILE is an AnnData of the voxels, with their obs and coordinates, and `expected_cells` in obs: how many cells the
mapping puts into each voxel. Its X holds
  the genes, if --genes or --layer is given; types and obsm arrays then go to obsm, their labels to uns (NAME_labels);
  otherwise the types and obsm arrays themselves, one column each, named after their labels (COLUMN:label if several
  are carried).
A value is the sum over cells of probability × value: for a type the expected number of its cells. Divide by
`expected_cells` for shares and means. Genes are normalised as in training, but not transformed.

--assign voxels adds to obs the most probable cell of every voxel (one cell may serve many voxels).
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
#[command(group = ArgGroup::new("what").args(["types", "genes", "obsm", "layer", "assign"]).required(true).multiple(true))]
pub struct ProjectArgs {
    #[command(flatten)]
    settings: ProjectSettings,
    /// The file to write, ending in .h5ad or .zarr
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    out: PathBuf,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// What decides the result.
#[derive(Debug, Clone, Args, Serialize)]
#[serde(rename_all = "kebab-case")]
struct ProjectSettings {
    /// The folder that `tangram map` wrote
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The cells' file, if it is not where it was: the same cells in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<PathBuf>,
    /// A column of the cells' obs: categories one by one, numbers as they are (can be repeated)
    #[arg(long, value_name = "obs:COLUMN", help_heading = WHAT)]
    #[serde(serialize_with = "as_texts")]
    types: Vec<ObsColumn>,
    /// All genes of the cells (all), or those of a list (one name a line)
    #[arg(long, value_name = "all|FILE", help_heading = WHAT)]
    #[serde(skip_serializing_if = "Option::is_none")]
    genes: Option<PathBuf>,
    /// An array of the cells' obsm, such as protein (can be repeated)
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    obsm: Vec<String>,
    /// Take genes from this layer, values as they are, instead of the counts
    #[arg(long, value_name = "NAME", help_heading = WHAT)]
    #[serde(skip_serializing_if = "Option::is_none")]
    layer: Option<String>,
    /// The most probable voxel of every cell (cells), or the most probable cell of every voxel (voxels)
    #[arg(long, value_enum, value_name = "WHOSE", help_heading = WHAT)]
    #[serde(skip_serializing_if = "Option::is_none")]
    assign: Option<Assign>,
    /// Genes that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one, help_heading = "Work")]
    chunk: usize,
}

/// Which deterministic assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Assign {
    /// Every cell its most probable voxel, as the original package does
    Cells,
    /// Every voxel its most probable cell, as the paper does
    Voxels,
}

fn as_texts<S: serde::Serializer>(columns: &[ObsColumn], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter().map(ToString::to_string))
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

/// What is read from.
struct Source {
    run: RunDirectory,
    mapping: StoredMapping,
    cells: Dataset,
}

/// Carries annotations into space and writes them.
///
/// # Errors
/// If the run or the cells cannot be read or lack what is asked for, or the output cannot be written.
pub fn run(mut args: ProjectArgs, report: Report) -> Result<()> {
    super::use_threads(threads(args.threads));
    let settings = &mut args.settings;
    let run = RunDirectory::open(&settings.mapping)?;
    let path = run.input(&run.record().cells, settings.cells.as_deref(), "--cells")?;
    let may_replace = replaceable(&args.out, args.force, &[&path, run.path()])?;
    settings.cells = Some(path.clone());
    let source = Source {
        mapping: StoredMapping::open(&run, &path)?,
        cells: Dataset::open(&path)?,
        run,
    };
    source.mapping.check_cells(&source.cells)?;
    let out = &args.out;
    match settings.assign {
        Some(Assign::Cells) => write_cells(settings, &source, out, may_replace, report),
        _ => write_voxels(settings, &source, out, may_replace, report),
    }
}

/// An AnnData of the voxels.
fn write_voxels(
    settings: &ProjectSettings,
    source: &Source,
    out: &Path,
    existing: Existing,
    report: Report,
) -> Result<()> {
    let Source {
        run,
        mapping,
        cells,
    } = source;
    let annotations = annotations::carry(&settings.types, &settings.obsm, mapping, cells)?;
    let mut obs = mapping.voxel_table()?;
    obs.set("expected_cells", Column::numbers(density(mapping)?));
    if settings.assign == Some(Assign::Voxels) {
        annotations::add_most_probable_cells(&mut obs, &settings.types, mapping, cells)?;
    }

    let genes = chosen_genes(settings, run, cells)?;
    let var = match &genes {
        Some((file, columns)) => genes_table(file, columns, &run.record().genes),
        None => annotations::labels_table(&annotations),
    };
    let mut file = AnnDataWriter::create(out, existing, &obs, &var)?;
    if let Some(places) = mapping.spatial()? {
        file.obsm("spatial", places.view())?;
    }
    file.uns("tangram", &provenance(settings, source)?)?;
    match &genes {
        Some((genes, columns)) => {
            for annotation in &annotations {
                file.obsm(&annotation.name, annotation.values.view())?;
                file.uns(
                    &format!("{}_labels", annotation.name),
                    &Uns::Texts(annotation.labels.clone()),
                )?;
            }
            write_genes(&mut file, settings, source, genes, columns, report)?;
        }
        None if !annotations.is_empty() => {
            let mut matrix = file.dense(&MatrixName::X)?;
            let mut first = 0;
            for annotation in &annotations {
                matrix.write_columns(first, annotation.values.view())?;
                first += annotation.labels.len();
            }
            matrix.finish()?;
        }
        None => {}
    }
    file.finish()?;
    let (rows, columns) = (
        count(obs.len(), "voxel"),
        count(var.len(), if genes.is_some() { "gene" } else { "column" }),
    );
    report.say(format_args!("wrote {}: {rows} × {columns}", out.display()))?;
    report.summary(&ProjectSummary {
        out,
        n_rows: obs.len(),
        n_columns: var.len(),
        totals: annotations
            .iter()
            .map(|a| (a.name.clone(), a.totals()))
            .collect(),
        settings,
    })
}

/// An AnnData of the cells, each at its most probable voxel.
fn write_cells(
    settings: &ProjectSettings,
    source: &Source,
    out: &Path,
    existing: Existing,
    report: Report,
) -> Result<()> {
    let asks_for_more = !settings.types.is_empty()
        || !settings.obsm.is_empty()
        || settings.genes.is_some()
        || settings.layer.is_some();
    if asks_for_more {
        let text = "--assign cells writes a file of the cells, which have their types and genes already; \
                    carry those into space by a second `tangram project`";
        return Err(PipelineError::Usage(text.to_owned()).into());
    }
    let mapping = &source.mapping;
    let best = MostProbableVoxel::of_cells(mapping)?;
    let voxels = mapping.voxels()?;
    let mut obs = source.cells.obs()?;
    let name =
        |b: &Option<MostProbableVoxel>| b.map(|b| voxels[b.voxel].clone()).unwrap_or_default();
    obs.set(
        "most_probable_voxel",
        Column::Text(best.iter().map(name).collect()),
    );
    let probability = |b: &Option<MostProbableVoxel>| b.map(|b| f64::from(b.probability));
    obs.set(
        "most_probable_voxel_probability",
        Column::Numeric(best.iter().map(probability).collect()),
    );

    let mut file = AnnDataWriter::create(out, existing, &obs, &Table::default())?;
    if let Some(places) = mapping.spatial()? {
        let mut of_cells = Array2::from_elem((best.len(), places.ncols()), f64::NAN);
        for (mut row, best) in of_cells.rows_mut().into_iter().zip(&best) {
            if let Some(best) = best {
                row.assign(&places.row(best.voxel));
            }
        }
        file.obsm("spatial", of_cells.view())?;
    }
    file.uns("tangram", &provenance(settings, source)?)?;
    file.finish()?;
    let mut used: Vec<usize> = best.iter().flatten().map(|b| b.voxel).collect();
    used.sort_unstable();
    used.dedup();
    report.say(format_args!(
        "wrote {}: {} at {} of {}",
        out.display(),
        count(best.len(), "cell"),
        thousands(used.len()),
        count(voxels.len(), "voxel"),
    ))?;
    report.summary(&ProjectSummary {
        out,
        n_rows: best.len(),
        n_columns: 0,
        totals: BTreeMap::new(),
        settings,
    })
}

/// The file and the columns of the genes asked for.
fn chosen_genes(
    settings: &ProjectSettings,
    run: &RunDirectory,
    cells: &Dataset,
) -> Result<Option<(ExpressionFile, Vec<usize>)>> {
    if settings.genes.is_none() && settings.layer.is_none() {
        return Ok(None);
    }
    let matrix = match &settings.layer {
        Some(layer) => MatrixName::Layer(layer.clone()),
        None => run.settings().cells_matrix.clone(),
    };
    let file = ExpressionFile::open(cells.path(), &matrix, RowNames::Checked)?;
    let columns = match &settings.genes {
        Some(list) if list.as_os_str() != "all" => file.columns_of(&gene_list::read(list)?)?,
        _ => (0..file.genes().len()).collect(),
    };
    Ok(Some((file, columns)))
}

fn write_genes(
    out: &mut AnnDataWriter,
    settings: &ProjectSettings,
    source: &Source,
    file: &ExpressionFile,
    columns: &[usize],
    report: Report,
) -> Result<()> {
    let values = match settings.layer {
        Some(_) => GeneValues::AsTheyAre,
        None => GeneValues::Scaled(file.factors(source.run.settings().normalize)?),
    };
    let genes = Genes {
        file,
        columns,
        values,
        chunk: settings.chunk,
    };
    let progress = report.steps("gene", columns.len());
    let mut matrix = out.dense(&MatrixName::X)?;
    genes.transfer(&source.mapping, |first, piece| -> Result<()> {
        matrix.write_columns(first, piece.view())?;
        progress.step(first + piece.ncols(), &String::new);
        Ok(())
    })?;
    drop(progress);
    Ok(matrix.finish()?)
}

/// var of carried genes: whether they trained the mapping.
fn genes_table(file: &ExpressionFile, columns: &[usize], record: &GeneRecord) -> Table {
    let names: Vec<String> = columns.iter().map(|&c| file.genes()[c].clone()).collect();
    let part: Vec<&str> = names.iter().map(|name| record.part_of(name)).collect();
    let column = Column::categories(&part);
    let mut table = Table::of_names(names);
    table.set("training", column);
    table
}

/// What the result was made from: settings, versions, hashes.
fn provenance(settings: &ProjectSettings, source: &Source) -> Result<Uns> {
    let texts = |value: toml::Table| {
        let text = |v: toml::Value| match v {
            toml::Value::String(text) => Uns::Text(text),
            other => Uns::Text(other.to_string()),
        };
        Uns::Map(value.into_iter().map(|(k, v)| (k, text(v))).collect())
    };
    let hash = |path: &Path| fingerprint(path).map(Uns::Text);
    Ok(Uns::Map(BTreeMap::from([
        (
            "settings".to_owned(),
            texts(toml::Table::try_from(settings)?),
        ),
        (
            "versions".to_owned(),
            texts(toml::Table::try_from(Versions::current())?),
        ),
        ("cells_sha256".to_owned(), hash(source.cells.path())?),
        ("mapping_sha256".to_owned(), hash(&source.run.mapping()?)?),
    ])))
}
