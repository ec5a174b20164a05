//! Cells that were not in the training, put where a mapping says.

use crate::assigned::{add_most_probable_voxels, places_of};
use crate::carried_uns;
use crate::choices::{ClusterValues, Mode, as_text, maybe_text};
use crate::error::{PipelineError, Result};
use crate::expression_files::{OF_CELLS, cells_of_training, check_values};
use crate::factors_file;
use crate::listener::Listener;
use crate::match_genes::MatchGenes;
use crate::provenance;
use crate::run_directory::{Replace, RunDirectory, replaceable};
use crate::settings::MapSettings;
use crate::stored_mapping::training_cells;
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tangram_core::{
    CellChunks, Column, Familiar, Keep, MappingRows, MostProbableVoxel, PBlock, Values, keep_block,
};
use tangram_mapper::FactoredMapping;
use tangram_store::{AnnDataWriter, CellExpression, Dataset, MatrixName, RowNames, StoreError};

/// Which cells, by which mapping.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlaceSettings {
    /// The directory of a run of the mirror solver.
    pub mapping: PathBuf,
    /// The file of the new cells.
    pub cells: PathBuf,
    /// Where their counts are, if not where those of the training cells were.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub cells_matrix: Option<MatrixName>,
    /// What their values are, if not what those of the training cells were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub values: Option<Values>,
    /// How their genes match those of the training, if not as in the training.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub match_genes: Option<MatchGenes>,
    /// What is stored of every cell's probabilities.
    #[serde(with = "as_text")]
    pub keep: Keep,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Placed {
    /// Number of voxels.
    pub n_voxels: usize,
    /// For every cell the share of training cells that are more usual: 0.5 is ordinary.
    pub unlikeness: Vec<f64>,
}

/// Places cells and writes where.
///
/// # Errors
/// If the run has no factors, the cells lack genes or cannot be read, or the output cannot be written.
pub fn place(
    settings: &PlaceSettings,
    out: &Path,
    replace: Replace,
    listener: &dyn Listener,
) -> Result<Placed> {
    let run = RunDirectory::open(&settings.mapping)?;
    if run.record().factors.is_none() {
        let text = format!(
            "{}: was made by --solver adam, which knows only the cells it was trained on; map again with --solver mirror",
            run.path().display()
        );
        return Err(PipelineError::Usage(text));
    }
    tell_mode(&run, listener)?;
    let may_replace = replaceable(out, replace, &[&settings.cells, run.path()])?;
    let stored = Dataset::open(&run.mapping()?)?;
    let factors = factors_file::read(&stored)?;
    let familiar = factors_file::read_familiar(&stored)?;
    let trained = run.settings();
    let as_placed = MapSettings {
        cells_matrix: settings
            .cells_matrix
            .clone()
            .unwrap_or(trained.cells_matrix.clone()),
        values: settings.values.unwrap_or(trained.values),
        ..trained.clone()
    };
    let training = &run.record().genes.training;
    let how = settings.match_genes.as_ref();
    let (file, matched) = cells_of_training(
        &as_placed,
        training,
        &settings.cells,
        how,
        RowNames::Checked,
    )?;
    matched.tell(listener)?;
    check_values(&file, as_placed.values, OF_CELLS, listener)?;
    let file = Arc::new(file);
    let cells = training_cells(&run, &file)?;
    let unlikeness = unlikeness(&familiar, &CellExpression::Streamed(cells.untransformed()))?;
    let cells = cells.held_if_small()?;
    let mapping = factors.mapping(&cells);

    let best = MostProbableVoxel::of_cells(&mapping)?;
    let voxels = stored.obs_names()?;
    let mut obs = file.dataset().obs()?;
    add_most_probable_voxels(&mut obs, &best, &voxels);
    obs.set("unlikeness", Column::numbers(unlikeness.iter().copied()));

    let var = factors_file::voxels(&stored)?;
    let mut written = AnnDataWriter::create(out, may_replace, &obs, &var)?;
    if let Some(places) = stored.spatial()? {
        written.obsm("spatial", places_of(&best, &places).view())?;
        written.varm("spatial", places.view())?;
    }
    write_probabilities(&mut written, &mapping, settings.keep)?;
    let provenance = provenance::of(settings, &settings.cells, &run.mapping()?)?;
    written.uns("tangram", &provenance)?;
    carried_uns::write(
        &mut written,
        &carried_uns::of(file.dataset())?,
        &["spatial"],
    )?;
    written.finish()?;
    Ok(Placed {
        n_voxels: voxels.len(),
        unlikeness,
    })
}

/// What the mode of a mapping means for cells that were not in its training.
fn tell_mode(run: &RunDirectory, listener: &dyn Listener) -> Result<()> {
    let settings = run.settings();
    match (settings.mode, settings.cluster_values) {
        (Mode::Cells, _) => {}
        (Mode::Constrained, _) => listener.warn(format_args!(
            "the mapping has a filter, which knows only the cells of its training: every new cell is placed, also one that does not \
             belong to the tissue, and counts in full"
        )),
        (Mode::Clusters, Some(ClusterValues::Means)) => {
            return Err(PipelineError::Usage(format!(
                "{}: its clusters count as one each (--cluster-values means), so that it does not tell what a single cell counts; \
                 map again with --cluster-values sums or --mode cells",
                run.path().display()
            )));
        }
        (Mode::Clusters, _) => listener.warn(format_args!(
            "the mapping was learned from means of clusters: single cells have more noise, and cells of one cluster may get different \
             places that nothing supports"
        )),
    }
    Ok(())
}

/// Share of training cells that are more usual than each cell.
fn unlikeness(familiar: &Familiar, cells: &CellExpression) -> Result<Vec<f64>, StoreError> {
    let mut shares = Vec::with_capacity(cells.n_cells());
    cells.for_each_chunk(0..cells.n_cells(), &mut |_, chunk| {
        let distances = familiar.distance(chunk);
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
