//! What `tangram map` reads: both files, their training genes, the prior.

use crate::error::{CliError, examples};
use crate::expression::{Counts, ExpressionFile, OfBoth};
use crate::map_settings::MapSettings;
use crate::report::{Report, count};
use crate::values::PriorChoice;
use crate::{gene_list, memory};
use anyhow::{Result, bail};
use ndarray::Array2;
use std::path::Path;
use tangram_core::normalize::transform;
use tangram_core::{
    Column, DensityPrior, GeneChoice, Normalize, PriorError, SharedGenes, SparseRows, Transform,
    align, drop_zero_genes, library_factors, scale_rows,
};
use tangram_mapper::{Problem, memory_needed};
use tangram_store::{fingerprint, read_npy};

/// Both files, and the training genes of both.
#[derive(Debug)]
pub struct Inputs {
    /// The cells' file.
    pub cells: Side,
    /// The voxels' file.
    pub voxels: Side,
    /// Training and held-out genes.
    pub genes: SharedGenes,
    /// Shared genes that are zero everywhere on one side.
    pub dropped: Vec<String>,
    /// What is trained on.
    pub problem: Problem,
    /// Values to score, if they are not those that are trained on.
    pub untransformed: Option<(SparseRows, SparseRows)>,
}

/// One of the two files.
#[derive(Debug)]
pub struct Side {
    /// Its matrix and names.
    pub file: ExpressionFile,
    /// SHA-256 of its contents.
    pub sha256: String,
}

/// Reads both files, aligns their genes and says what there is.
///
/// # Errors
/// If a file does not fit, or memory will not suffice.
pub fn read(settings: &MapSettings, report: Report) -> Result<Inputs> {
    let cells = ExpressionFile::open(&settings.cells, &settings.cells_matrix)?;
    let voxels = ExpressionFile::open(&settings.voxels, &settings.voxels_matrix)?;
    let choice = GeneChoice {
        list: settings.genes.as_deref().map(gene_list::read).transpose()?,
        held_out: settings
            .hold_out
            .as_deref()
            .map(gene_list::read)
            .transpose()?
            .unwrap_or_default(),
    };
    let shared =
        align(cells.genes(), voxels.genes(), &choice).of_both(&settings.cells, &settings.voxels)?;
    check_memory(settings, &cells, &voxels, shared.names.len(), 0)?;

    let cell_counts = cells.read(&shared.in_cells)?;
    let voxel_counts = voxels.read(&shared.in_voxels)?;
    refuse_zero_voxels(&voxels, &voxel_counts.row_totals)?;
    let all_names = shared.names.clone();
    let (genes, dropped) =
        drop_zero_genes(shared, &cell_counts.column_sums, &voxel_counts.column_sums)
            .of_both(&settings.cells, &settings.voxels)?;
    let left = places(&genes.names, &all_names);
    let normalized = |counts: Counts, normalize| {
        let mut values = if left.len() == counts.columns.n_cols() {
            counts.columns
        } else {
            counts.columns.select_columns(&left)
        };
        if normalize == Normalize::Library {
            scale_rows(&mut values, &library_factors(&counts.row_totals));
        }
        values
    };
    let prior = prior(settings, &voxels, &voxel_counts.row_totals)?;
    let mut cell_values = normalized(cell_counts, settings.normalize);
    let mut voxel_values = normalized(voxel_counts, settings.normalize_voxels);
    let untransformed = (settings.transform != Transform::None)
        .then(|| (cell_values.clone(), voxel_values.clone()));
    transform(&mut cell_values, settings.transform);
    transform(&mut voxel_values, settings.transform);
    let inputs = Inputs {
        cells: Side {
            file: cells,
            sha256: fingerprint(&settings.cells)?,
        },
        voxels: Side {
            file: voxels,
            sha256: fingerprint(&settings.voxels)?,
        },
        genes,
        dropped,
        problem: Problem::new(cell_values, voxel_values, prior)?,
        untransformed,
    };
    tell_inputs(&inputs, report)?;
    Ok(inputs)
}

/// Where each of `names` stands in `all`; both sorted, the first a part of the second.
fn places(names: &[String], all: &[String]) -> Vec<usize> {
    let mut place = 0;
    let next = |name: &String| {
        place += all[place..]
            .iter()
            .position(|n| n == name)
            .expect("a name that was left over");
        place
    };
    names.iter().map(next).collect()
}

fn tell_inputs(inputs: &Inputs, report: Report) -> Result<()> {
    let Inputs {
        genes,
        dropped,
        voxels,
        problem,
        ..
    } = inputs;
    report.say(format_args!(
        "{} onto {} by {}",
        count(problem.n_cells(), "cell"),
        count(problem.n_voxels(), "voxel"),
        count(problem.n_genes(), "gene"),
    ))?;
    if !dropped.is_empty() {
        let names = || dropped.iter().map(String::as_str);
        report.say(format_args!(
            "left out {} without any count in the cells or in the voxels: {}",
            count(dropped.len(), "shared gene"),
            examples(names()),
        ))?;
        report.explain(format_args!(
            "all of them: {}",
            names().collect::<Vec<_>>().join(", ")
        ))?;
    }
    if !genes.unscored.is_empty() {
        let names = examples(genes.unscored.iter().map(String::as_str));
        report.warn(format_args!(
            "held-out genes that only one of the files has cannot be scored: {names}"
        ));
    }
    let silent: Vec<&str> = (0..problem.n_voxels())
        .filter(|&j| problem.voxels().row(j).0.is_empty())
        .map(|j| voxels.file.names()[j].as_str())
        .collect();
    if !silent.is_empty() {
        let (n, names) = (count(silent.len(), "voxel"), examples(silent));
        report.warn(format_args!(
            "{n} without any count in the training genes, known by density only: {names}"
        ));
    }
    Ok(())
}

fn refuse_zero_voxels(voxels: &ExpressionFile, totals: &[f64]) -> Result<(), CliError> {
    let zero: Vec<&str> = totals
        .iter()
        .zip(voxels.names())
        .filter(|(t, _)| **t == 0.0)
        .map(|(_, n)| n.as_str())
        .collect();
    if zero.is_empty() {
        return Ok(());
    }
    Err(CliError::ZeroVoxels {
        path: voxels.dataset().path().to_owned(),
        n_zero: zero.len(),
        n_voxels: totals.len(),
        examples: examples(zero),
    })
}

fn prior(
    settings: &MapSettings,
    voxels: &ExpressionFile,
    totals: &[f64],
) -> Result<Option<DensityPrior>> {
    let prior = match &settings.prior {
        PriorChoice::None => return Ok(None),
        PriorChoice::Uniform => DensityPrior::uniform(totals.len())?,
        PriorChoice::Rna => DensityPrior::rna_counts(totals)?,
        PriorChoice::Obs(column) => {
            let wrong = |reason: String| CliError::Prior {
                path: voxels.dataset().path().to_owned(),
                column: column.clone(),
                reason,
            };
            let Column::Numeric(values) = voxels.dataset().obs_column(column)? else {
                bail!(wrong(
                    "it holds no numbers; give a column of cell counts or other weights".to_owned()
                ));
            };
            if let Some(j) = values.iter().position(Option::is_none) {
                let name = &voxels.names()[j];
                bail!(wrong(format!(
                    "voxel {name} has no value; fill it in, for instance with 0"
                )));
            }
            DensityPrior::new(values.into_iter().flatten().collect()).map_err(
                |error| match error {
                    PriorError::Negative { voxel, value }
                    | PriorError::NotFinite { voxel, value } => {
                        let name = &voxels.names()[voxel];
                        wrong(format!(
                            "voxel {name} has {value}; weights must be finite and 0 or more"
                        ))
                    }
                    other => wrong(other.to_string()),
                },
            )?
        }
    };
    Ok(Some(prior))
}

/// Whether memory will suffice, asked before anything large is read and again when the counts are known.
///
/// # Errors
/// [`CliError::Memory`] if not.
pub fn check_memory(
    settings: &MapSettings,
    cells: &ExpressionFile,
    voxels: &ExpressionFile,
    n_genes: usize,
    n_entries: usize,
) -> Result<(), CliError> {
    let (n_cells, n_voxels) = (cells.names().len(), voxels.names().len());
    let needed = memory_needed(n_cells, n_voxels, n_genes, n_entries, &settings.adam());
    match memory::available() {
        Some(available) if needed > available => Err(CliError::Memory {
            n_cells,
            n_voxels,
            needed: memory::for_people(needed),
            available: memory::for_people(available),
        }),
        _ => Ok(()),
    }
}

/// Initial logits of the right shape.
///
/// # Errors
/// If the file is no such array.
pub fn initial_logits(path: &Path, n_cells: usize, n_voxels: usize) -> Result<Array2<f64>> {
    let logits = read_npy(path)?;
    let (found_cells, found_voxels) = logits.dim();
    if (found_cells, found_voxels) == (n_cells, n_voxels) {
        return Ok(logits);
    }
    bail!(CliError::InitialLogits {
        path: path.to_owned(),
        found_cells,
        found_voxels,
        n_cells,
        n_voxels
    })
}
