//! What is known of the cells, carried into space.

use crate::annotations::{self, Carried};
use crate::assigned::{add_most_probable_voxels, places_of};
use crate::carried_uns;
use crate::choices::{ObsColumn, PriorChoice, maybe_text};
use crate::error::{PipelineError, Result};
use crate::expression_files::cells_of_training;
use crate::filter::{self, KEPT};
use crate::gene_list;
use crate::gene_transfer::{GeneValues, Genes};
use crate::listener::Listener;
use crate::match_genes::MatchGenes;
use crate::provenance;
use crate::run_directory::{GeneRecord, Replace, RunDirectory, replaceable};
use crate::settings::MapSettings;
use crate::stored_mapping::StoredMapping;
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_core::{Column, MostProbableVoxel, Table};
use tangram_store::{AnnDataWriter, Dataset, Existing, ExpressionFile, MatrixName, RowNames, Uns};

/// What to carry, and from where.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ProjectSettings {
    /// The directory of the run.
    pub mapping: PathBuf,
    /// The cells' file, if it is not where the run recorded it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cells: Option<PathBuf>,
    /// Columns of the cells' obs: categories one by one, numbers as they are.
    #[serde(serialize_with = "as_texts")]
    pub types: Vec<ObsColumn>,
    /// `all` genes of the cells, or those of a list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genes: Option<PathBuf>,
    /// Arrays of the cells' obsm.
    pub obsm: Vec<String>,
    /// Kinds of features other than genes, such as `Antibody Capture`, by `feature_types` of the cells' var.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modality: Vec<String>,
    /// The name of the type of cells without a label; `None`: they are left out of maps of types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unlabelled: Option<String>,
    /// How the genes of another file of the cells match those of the training, if not as in the training.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub match_genes: Option<MatchGenes>,
    /// The layer to take genes from, values as they are, instead of the counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layer: Option<String>,
    /// A deterministic assignment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assign: Option<Assign>,
    /// Genes that are worked on at a time.
    pub chunk: usize,
}

/// Deterministic assignments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Assign {
    /// Every cell its most probable voxel, as the original package does.
    Cells,
    /// Every voxel its most probable cell, as the paper does.
    Voxels,
}

fn as_texts<S: Serializer>(columns: &[ObsColumn], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(columns.iter().map(ToString::to_string))
}

impl ProjectSettings {
    /// Nothing to carry yet from the cells of a run.
    #[must_use]
    pub fn new(mapping: impl Into<PathBuf>) -> Self {
        Self {
            mapping: mapping.into(),
            cells: None,
            types: Vec::new(),
            genes: None,
            obsm: Vec::new(),
            modality: Vec::new(),
            unlabelled: None,
            match_genes: None,
            layer: None,
            assign: None,
            chunk: Self::CHUNK,
        }
    }

    /// Genes at a time unless another number is given.
    pub const CHUNK: usize = 512;
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Projected {
    /// A file of the voxels.
    Voxels {
        /// Its rows.
        n_voxels: usize,
        /// Its columns.
        n_columns: usize,
        /// Whether they are genes.
        of_genes: bool,
        /// Total over the voxels of each column of types and obsm arrays, by their names.
        totals: BTreeMap<String, BTreeMap<String, f64>>,
    },
    /// A file of the cells.
    Cells {
        /// Its rows.
        n_cells: usize,
        /// Cells that are placed: all, unless a filter leaves some out.
        n_placed: usize,
        /// Voxels that are the most probable one of some cell.
        n_voxels_used: usize,
        /// All voxels.
        n_voxels: usize,
    },
}

/// The run, its mapping, and the file of its cells.
struct Source {
    run: RunDirectory,
    mapping: StoredMapping,
    cells: Dataset,
}

impl Source {
    fn provenance(&self, settings: &ProjectSettings) -> Result<Uns> {
        provenance::of(settings, self.cells.path(), &self.run.mapping()?)
    }
}

/// Carries annotations into space and writes them; also gives the settings with the place of the cells' file.
///
/// * `replace`: whether a file in the place of `out` may be replaced
///
/// # Errors
/// If the run or the cells cannot be read or lack what is asked for, or the output cannot be written.
pub fn project(
    settings: &ProjectSettings,
    out: &Path,
    replace: Replace,
    listener: &dyn Listener,
) -> Result<(Projected, ProjectSettings)> {
    let run = RunDirectory::open(&settings.mapping)?;
    let path = run.input(&run.record().cells, settings.cells.as_deref(), "--cells")?;
    let may_replace = replaceable(out, replace, &[&path, run.path()])?;
    let settings = ProjectSettings {
        cells: Some(path.clone()),
        ..settings.clone()
    };
    let source = Source {
        mapping: StoredMapping::open(&run, &path, settings.match_genes.as_ref())?,
        cells: Dataset::open(&path)?,
        run,
    };
    source.mapping.check_cells(&source.cells)?;
    let projected = match settings.assign {
        Some(Assign::Cells) => write_cells(&settings, &source, out, may_replace)?,
        _ => write_voxels(&settings, &source, out, may_replace, listener)?,
    };
    Ok((projected, settings))
}

/// An AnnData of the voxels.
fn write_voxels(
    settings: &ProjectSettings,
    source: &Source,
    out: &Path,
    existing: Existing,
    listener: &dyn Listener,
) -> Result<Projected> {
    let Source {
        run,
        mapping,
        cells,
    } = source;
    let mut obs = mapping.voxel_table()?;
    let expected = mapping.density()?;
    let scale = tissue_scale(run.settings(), &obs, mapping.mass());
    let what = Carried {
        types: &settings.types,
        unlabelled: settings.unlabelled.as_deref(),
        arrays: &settings.obsm,
        modalities: &settings.modality,
        matrix: &run.settings().cells_matrix,
        type_scale: scale.unwrap_or(1.0),
    };
    let annotations = annotations::carry(&what, mapping, cells, listener)?;
    obs.set(REFERENCE_CELLS, Column::numbers(expected.iter().copied()));
    if let Some(scale) = scale {
        obs.set(
            TISSUE_CELLS,
            Column::numbers(expected.iter().map(|n| n * scale)),
        );
    }
    if settings.assign == Some(Assign::Voxels) {
        annotations::add_most_probable(&mut obs, &settings.types, mapping, cells)?;
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
    file.uns("tangram", &source.provenance(settings)?)?;
    let mut entries = mapping.voxel_uns()?;
    for ObsColumn(name) in &settings.types {
        let key = match settings.assign {
            Some(Assign::Voxels) if mapping.clusters().is_none() => {
                format!("most_probable_cell_{name}_colors")
            }
            _ => format!("{name}_colors"),
        };
        if let Some(colors) = carried_uns::colors_of(cells, name)? {
            entries.entry(key).or_insert(colors);
        }
    }
    carried_uns::write(&mut file, &entries, &["tangram"])?;
    match &genes {
        Some((genes, columns)) => {
            for annotation in &annotations {
                file.obsm(&annotation.name, annotation.values.view())?;
                file.uns(
                    &format!("{}_labels", annotation.name),
                    &Uns::Texts(annotation.labels.clone()),
                )?;
            }
            write_genes(&mut file, settings, source, genes, columns, listener)?;
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
    Ok(Projected::Voxels {
        n_voxels: obs.len(),
        n_columns: var.len(),
        of_genes: genes.is_some(),
        totals: annotations
            .iter()
            .map(|a| (a.name.clone(), a.totals()))
            .collect(),
    })
}

/// An AnnData of the cells, each at its most probable voxel.
fn write_cells(
    settings: &ProjectSettings,
    source: &Source,
    out: &Path,
    existing: Existing,
) -> Result<Projected> {
    let asks_for_more = !settings.types.is_empty()
        || !settings.obsm.is_empty()
        || !settings.modality.is_empty()
        || settings.genes.is_some()
        || settings.layer.is_some();
    if asks_for_more {
        let text = "--assign cells writes a file of the cells, which have their types and genes already; \
                    carry those into space by a second `tangram project`";
        return Err(PipelineError::Usage(text.to_owned()));
    }
    let mapping = &source.mapping;
    if let Some(clusters) = mapping.clusters() {
        return Err(PipelineError::Usage(format!(
            "--assign cells: the rows of this mapping are clusters, and all cells of a cluster would get the same voxel; \
             take --types obs:{} for the cells of each cluster in every voxel, or --assign voxels",
            clusters.column()
        )));
    }
    let mut best = MostProbableVoxel::of_cells(mapping)?;
    let voxels = mapping.voxels()?;
    let mut obs = source.cells.obs()?;
    if let Some(kept) = mapping.filter() {
        // A cell that is left out is nowhere.
        let left_out = best.iter_mut().zip(kept).filter(|(_, f)| **f <= KEPT);
        left_out.for_each(|(best, _)| *best = None);
        obs.set(filter::COLUMN, Column::numbers(kept.iter().copied()));
    }
    add_most_probable_voxels(&mut obs, &best, &voxels);

    let mut file = AnnDataWriter::create(out, existing, &obs, &Table::default())?;
    if let Some(places) = mapping.spatial()? {
        file.obsm("spatial", places_of(&best, &places).view())?;
    }
    file.uns("tangram", &source.provenance(settings)?)?;
    carried_uns::write(&mut file, &carried_uns::of(&source.cells)?, &["spatial"])?;
    file.finish()?;
    let mut used: Vec<usize> = best.iter().flatten().map(|b| b.voxel).collect();
    used.sort_unstable();
    used.dedup();
    Ok(Projected::Cells {
        n_cells: best.len(),
        n_placed: best.iter().flatten().count(),
        n_voxels_used: used.len(),
        n_voxels: voxels.len(),
    })
}

/// The column of obs that holds how many cells of the reference are expected in a voxel.
const REFERENCE_CELLS: &str = "expected_reference_cells";
/// The column of obs that holds how many cells of the tissue are expected in a voxel.
const TISSUE_CELLS: &str = "expected_cells";

/// Cells of the tissue per cell of the reference, if the prior of the mapping was a number of cells in every voxel.
///
/// * `n_cells`: of the reference, as many as a filter keeps
fn tissue_scale(settings: &MapSettings, voxels: &Table, n_cells: f64) -> Option<f64> {
    let PriorChoice::Obs(column) = &settings.prior else {
        return None;
    };
    let counts: Option<Vec<f64>> = voxels.column(column)?.as_numbers()?.into_iter().collect();
    let counts = counts?;
    let are_counts = counts.iter().all(|n| n.fract() == 0.0);
    are_counts.then(|| counts.iter().sum::<f64>() / n_cells)
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
    let file = match &settings.layer {
        Some(_) => ExpressionFile::open(cells.path(), &matrix, RowNames::Checked)?,
        None => {
            let (training, how) = (&run.record().genes.training, settings.match_genes.as_ref());
            let names = RowNames::Checked;
            cells_of_training(run.settings(), training, cells.path(), how, names)?.0
        }
    };
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
    listener: &dyn Listener,
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
    let steps = listener.steps("gene", columns.len());
    let mut matrix = out.dense(&MatrixName::X)?;
    genes.transfer(&source.mapping, |first, piece| -> Result<()> {
        matrix.write_columns(first, piece.view())?;
        steps.step(first + piece.ncols(), &String::new);
        Ok(())
    })?;
    drop(steps);
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
