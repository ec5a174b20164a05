//! `tangram place`: cells that were not in the training.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tangram_core::{
    CellParts, Column, Familiar, Keep, MappingRows, MostProbableVoxel, PBlock, keep_block,
};
use tangram_mapper::FactoredMapping;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::factors_file;
use tangram_pipeline::run_directory::{RunDirectory, replaceable};
use tangram_pipeline::stored_mapping::training_cells;
use tangram_pipeline::values::{as_text, at_least_one, threads};
use tangram_pipeline::versions::Versions;
use tangram_pipeline::wording::{count, thousands};
use tangram_store::CellExpression;
use tangram_store::{AnnDataWriter, Dataset, MatrixName, StoreError, Uns, fingerprint};
use tangram_store::{ExpressionFile, RowNames};

const LONG_HELP: &str = "\
FILE is an AnnData of the new cells × the voxels of the mapping: probabilities in X; in obs, beside what was known of the cells,
  most_probable_voxel, most_probable_voxel_probability
  unlikeness  the share of training cells that are more usual than this cell, by the distance of its mix of genes to the
              nearest of 256 training cells: 0.5 is ordinary, above 0.99 it is a kind of cell that the training hardly had
obsm/spatial is where the most probable voxel is.

The cells are normalised to the same total as those of the training. They need all genes of the training.

Example:
  tangram place --mapping run --cells new_cells.h5ad --out placed.h5ad";

/// More unlike than this share of the training cells is worth a warning.
const UNLIKE: f64 = 0.99;

/// Flags of `tangram place`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct PlaceArgs {
    #[command(flatten)]
    settings: PlaceSettings,
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
struct PlaceSettings {
    /// The folder that `tangram map` wrote, with any solver but adam
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The new cells: a file as for `tangram map --cells`
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: PathBuf,
    /// What is stored of every cell's probabilities: all, mass:SHARE or top:N
    #[arg(long, value_name = "WHAT", default_value_t = Keep::Mass(0.999), help_heading = "Output")]
    #[serde(with = "as_text")]
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
    super::use_threads(threads(args.threads));
    let settings = &args.settings;
    let run = RunDirectory::open(&settings.mapping)?;
    if run.record().factors.is_none() {
        let text = format!(
            "{}: was made by --solver adam, which knows only the cells it was trained on; map again with --solver mirror",
            run.path().display()
        );
        return Err(PipelineError::Usage(text).into());
    }
    let may_replace = replaceable(&args.out, args.force, &[&settings.cells, run.path()])?;
    let stored = Dataset::open(&run.mapping()?)?;
    let factors = factors_file::read(&stored)?;
    let familiar = factors_file::read_familiar(&stored)?;
    let file = ExpressionFile::open(
        &settings.cells,
        &run.settings().cells_matrix,
        RowNames::Checked,
    )?;
    let file = Arc::new(file);
    let cells = training_cells(&run, &file)?;
    let unlikeness = unlikeness(&familiar, &CellExpression::Streamed(cells.untransformed()))?;
    let cells = cells.held_if_small()?;
    let mapping = factors.mapping(&cells);

    let best = MostProbableVoxel::of_cells(&mapping)?;
    let voxels = stored.obs_names()?;
    let mut obs = file.dataset().obs()?;
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
    obs.set("unlikeness", Column::numbers(unlikeness.iter().copied()));

    let var = factors_file::voxels(&stored)?;
    let mut out = AnnDataWriter::create(&args.out, may_replace, &obs, &var)?;
    if let Some(places) = stored.spatial()? {
        let mut of_cells = Array2::from_elem((best.len(), places.ncols()), f64::NAN);
        for (mut row, best) in of_cells.rows_mut().into_iter().zip(&best) {
            if let Some(best) = best {
                row.assign(&places.row(best.voxel));
            }
        }
        out.obsm("spatial", of_cells.view())?;
        out.varm("spatial", places.view())?;
    }
    write_probabilities(&mut out, &mapping, settings.keep)?;
    out.uns("tangram", &provenance(settings, &run)?)?;
    out.finish()?;

    let n_unlike = unlikeness.iter().filter(|&&u| u > UNLIKE).count();
    if n_unlike as f64 > 2.0 * (1.0 - UNLIKE) * unlikeness.len() as f64 {
        report.warn(format_args!(
            "{} of {} are unlike the cells of the training (obs `unlikeness` above {UNLIKE}): trust their places less",
            thousands(n_unlike),
            count(unlikeness.len(), "cell"),
        ));
    }
    report.say(format_args!(
        "wrote {}: {} on {}",
        args.out.display(),
        count(best.len(), "cell"),
        count(voxels.len(), "voxel"),
    ))?;
    report.summary(&PlaceSummary {
        out: &args.out,
        n_cells: best.len(),
        n_voxels: voxels.len(),
        mean_unlikeness: unlikeness.iter().sum::<f64>() / unlikeness.len().max(1) as f64,
        n_unlike,
        settings,
    })
}

/// Share of training cells that are more usual than each cell.
fn unlikeness(familiar: &Familiar, cells: &CellExpression) -> Result<Vec<f64>, StoreError> {
    let mut shares = Vec::with_capacity(cells.n_cells());
    cells.for_each_part(0..cells.n_cells(), &mut |_, part| {
        let distances = familiar.distance(part);
        shares.extend(distances.into_iter().map(|d| familiar.unlikeness(d)));
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(shares)
}

fn write_probabilities(
    out: &mut AnnDataWriter,
    mapping: &FactoredMapping<'_, CellExpression>,
    keep: Keep,
) -> Result<()> {
    let mut matrix = out.sparse(&MatrixName::X)?;
    mapping.for_each_block(&mut |block| match block.rows {
        PBlock::Dense(rows) => matrix.append(&keep_block(rows, keep).0),
        PBlock::Sparse(rows) => matrix.append(rows),
    })?;
    Ok(matrix.finish()?)
}

/// What the result was made from.
fn provenance(settings: &PlaceSettings, run: &RunDirectory) -> Result<Uns> {
    let texts = |value: toml::Table| {
        let text = |v: toml::Value| match v {
            toml::Value::String(text) => Uns::Text(text),
            other => Uns::Text(other.to_string()),
        };
        Uns::Map(value.into_iter().map(|(k, v)| (k, text(v))).collect())
    };
    Ok(Uns::Map(BTreeMap::from([
        (
            "settings".to_owned(),
            texts(toml::Table::try_from(settings)?),
        ),
        (
            "versions".to_owned(),
            texts(toml::Table::try_from(Versions::current())?),
        ),
        (
            "cells_sha256".to_owned(),
            Uns::Text(fingerprint(&settings.cells)?),
        ),
        (
            "mapping_sha256".to_owned(),
            Uns::Text(fingerprint(&run.mapping()?)?),
        ),
    ])))
}
