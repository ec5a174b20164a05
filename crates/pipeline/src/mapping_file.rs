//! The mapping as an AnnData file: cells × voxels.

use crate::carried_uns;
use crate::clusters::CellClusters;
use crate::error::{PipelineError, Result};
use crate::filter;
use crate::package;
use crate::run_directory::GeneRecord;
use crate::settings::MapSettings;
use ndarray::{Array2, ArrayView2};
use std::collections::BTreeMap;
use std::path::Path;
use tangram_core::{
    Column, GeneScore, Keep, MappingBlock, MappingRows, PBlock, SparseRows, Table, Term, keep_block,
};
use tangram_mapper::Epoch;
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, StoreError, Uns};

/// The contents of the file besides the probabilities.
#[derive(Debug)]
pub struct Contents<'a> {
    /// The cells' file, for obs and their coordinates, if they have any.
    pub cells: &'a Dataset,
    /// The voxels' file, for var and their coordinates.
    pub voxels: &'a Dataset,
    /// The resolved settings.
    pub settings: &'a MapSettings,
    /// Genes by their part in training.
    pub genes: &'a GeneRecord,
    /// Every epoch.
    pub history: &'a [Epoch],
    /// Scores of the training genes, in their order.
    pub scores: &'a [GeneScore],
    /// Share of the cells in which each training gene is 0.
    pub sparsity: &'a [f64],
    /// How much of every cell a filter keeps, where one was learned.
    pub filter: Option<&'a [f64]>,
    /// The clusters that are its rows, if it is not the cells.
    pub clusters: Option<&'a CellClusters>,
}

/// How much of the mapping was stored.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stored {
    /// Number of probabilities.
    pub n_stored: usize,
    /// Mean over cells of the probability left out.
    pub mean_dropped_mass: f64,
}

/// Writes the file.
///
/// P is read twice: once to compute the mass left out of each cell (obs `dropped_mass`), once to be stored.
///
/// # Errors
/// If the mapping cannot be read or the file not written.
pub fn write<M>(path: &Path, mapping: &M, keep: Keep, contents: &Contents<'_>) -> Result<Stored>
where
    M: MappingRows,
    PipelineError: From<M::Error>,
{
    let (mut n_stored, mut dropped) = (0, Vec::with_capacity(mapping.n_cells()));
    mapping.for_each_block(&mut |block| {
        let (rows, masses) = kept(&block, keep);
        n_stored += rows.nnz();
        dropped.extend(masses);
        Ok(())
    })?;
    let mean_dropped_mass = dropped.iter().sum::<f64>() / dropped.len().max(1) as f64;

    let mut obs = match contents.clusters {
        Some(clusters) => clusters.table(),
        None => contents.cells.obs()?,
    };
    obs.set("dropped_mass", Column::numbers(dropped));
    if let Some(filter) = contents.filter {
        obs.set(filter::COLUMN, Column::numbers(filter.iter().copied()));
    }
    let mut file = AnnDataWriter::create(path, Existing::Refuse, &obs, &contents.voxels.obs()?)?;
    let places = match contents.clusters {
        Some(_) => None,
        None => contents.cells.spatial()?,
    };
    if let Some(places) = places {
        file.obsm("spatial", places.view())?;
    }
    if let Some((places, _)) = contents.voxels.coordinates()? {
        file.varm("spatial", places.view())?;
    }
    if contents.clusters.is_none() {
        carried_uns::write(&mut file, &carried_uns::of(contents.cells)?, &[])?;
    }
    carried_uns::write_of_voxels(&mut file, carried_uns::of(contents.voxels)?)?;
    write_probabilities(&mut file, mapping, keep)?;
    write_training(&mut file, contents)?;
    file.finish()?;
    Ok(Stored {
        n_stored,
        mean_dropped_mass,
    })
}

fn kept(block: &MappingBlock<'_>, keep: Keep) -> (SparseRows, Vec<f64>) {
    match &block.rows {
        PBlock::Dense(rows) => keep_block(*rows, keep),
        PBlock::Sparse(rows) => {
            let dense: Array2<f32> = rows.to_dense();
            keep_block(ArrayView2::from(&dense), keep)
        }
    }
}

fn write_probabilities<M>(file: &mut AnnDataWriter, mapping: &M, keep: Keep) -> Result<()>
where
    M: MappingRows,
    PipelineError: From<M::Error>,
{
    let mut matrix = file.sparse(&MatrixName::X)?;
    // `for_each_block` can return errors of the mapping only, so an error of writing is kept until the pass ends.
    let mut failed: Option<StoreError> = None;
    mapping.for_each_block(&mut |block| {
        if failed.is_none() {
            failed = matrix.append(&kept(&block, keep).0).err();
        }
        Ok(())
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(matrix.finish()?),
    }
}

/// Settings, genes, history and scores.
///
/// # Errors
/// If they cannot be written.
pub fn write_training(file: &mut AnnDataWriter, contents: &Contents<'_>) -> Result<()> {
    let Contents {
        settings,
        genes,
        history,
        scores,
        ..
    } = contents;
    file.uns("training_history", &history_of(history))?;
    let lists = [
        ("training_genes", &genes.training),
        ("held_out_genes", &genes.held_out),
        ("dropped_genes", &genes.dropped),
    ];
    for (key, names) in lists {
        file.uns(key, &Uns::Texts(names.clone()))?;
    }
    let mut table = Table::of_names(genes.training.clone());
    table.set("cosine", Column::numbers(scores.iter().map(|s| s.cosine)));
    table.set(
        "pearson",
        Column::Numeric(scores.iter().map(|s| s.pearson).collect()),
    );
    table.set(
        "sparsity_measured",
        Column::numbers(scores.iter().map(|s| s.sparsity_measured)),
    );
    table.set(
        "sparsity_predicted",
        Column::numbers(scores.iter().map(|s| s.sparsity_predicted)),
    );
    file.uns("training_scores", &Uns::Table(table))?;
    file.uns("settings", &settings_of(settings)?)?;
    package::write(file, contents)?;
    Ok(())
}

/// A list of numbers for every term that was computed.
fn history_of(history: &[Epoch]) -> Uns {
    let mut terms: BTreeMap<String, Uns> = BTreeMap::new();
    let mut term = |name: &str, value: &dyn Fn(&Epoch) -> Option<f64>| {
        let values: Option<Vec<f64>> = history.iter().map(value).collect();
        terms.extend(values.map(|v| (name.to_owned(), Uns::Numbers(v))));
    };
    term("epoch", &|e| Some(e.epoch as f64));
    term("total", &|e| Some(e.total));
    for of in Term::ALL {
        term(of.about().name, &|e| e.terms[of]);
    }
    term("step", &|e| e.step);
    term("spread", &|e| e.spread);
    term("elapsed_s", &|e| Some(e.elapsed_s));
    terms.extend(package::history(history));
    Uns::Map(terms)
}

fn settings_of(settings: &MapSettings) -> Result<Uns> {
    let table = toml::Table::try_from(settings)?;
    let uns = |value: toml::Value| match value {
        toml::Value::Integer(number) => Uns::Integer(number),
        toml::Value::Float(number) => Uns::Number(number),
        toml::Value::Boolean(flag) => Uns::Flag(flag),
        toml::Value::String(text) => Uns::Text(text),
        other => Uns::Text(other.to_string()),
    };
    Ok(Uns::Map(
        table
            .into_iter()
            .map(|(key, value)| (key, uns(value)))
            .collect(),
    ))
}
