//! What `tangram map` reads: both files, their training genes, the prior.

use crate::cell_expression::{CellExpression, StreamedCells};
use crate::error::{CliError, examples};
use crate::expression::{ExpressionFile, OfBoth};
use crate::map_settings::{MapSettings, Solver, Stream};
use crate::report::{Report, count};
use crate::values::PriorChoice;
use crate::{gene_list, memory};
use anyhow::{Result, bail};
use ndarray::Array2;
use std::path::Path;
use std::sync::Arc;
use tangram_core::normalize::transform;
use tangram_core::{
    Column, DensityPrior, GeneChoice, Normalize, PriorError, SharedGenes, SparseRows, Transform,
    align, drop_zero_genes, library_factors, median_positive, scale_rows,
};
use tangram_mapper::{Problem, memory_needed, mirror_memory_needed};
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
    pub problem: Problem<CellExpression>,
    /// Values to score, if they are not those that are trained on.
    pub untransformed: Option<(CellExpression, SparseRows)>,
    /// Median total of the cells, where they were brought to it.
    pub library_median: Option<f64>,
}

/// One of the two files.
#[derive(Debug)]
pub struct Side {
    /// Its matrix and names.
    pub file: Arc<ExpressionFile>,
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
    let cells = Arc::new(cells);
    let voxels = Arc::new(voxels);
    let streamed = streams(settings, &cells, &voxels, shared.names.len());
    check_memory(
        settings,
        &cells,
        &voxels,
        shared.names.len(),
        (!streamed).then_some(0),
    )?;

    let voxel_counts = voxels.read(&shared.in_voxels)?;
    refuse_zero_voxels(&voxels, &voxel_counts.row_totals)?;
    // Streamed cells are read for their sums now, and at every pass.
    let (held, totals, sums) = if streamed {
        let (totals, sums) = cells.sums()?;
        (None, totals, sums)
    } else {
        let counts = cells.read(&shared.in_cells)?;
        (Some(counts.columns), counts.row_totals, counts.column_sums)
    };
    let all_names = shared.names.clone();
    let (genes, dropped) = drop_zero_genes(shared, &sums, &voxel_counts.column_sums)
        .of_both(&settings.cells, &settings.voxels)?;
    let left = places(&genes.names, &all_names);
    let normalized = |columns: SparseRows, factors: Option<&[f64]>| {
        let mut values = if left.len() == columns.n_cols() {
            columns
        } else {
            columns.select_columns(&left)
        };
        if let Some(factors) = factors {
            scale_rows(&mut values, factors);
        }
        values
    };
    let factors = |normalize, totals: &[f64]| match normalize {
        Normalize::Library => Some(library_factors(totals)),
        Normalize::None => None,
    };
    let prior = prior(settings, &voxels, &voxel_counts.row_totals)?;
    let voxel_factors = factors(settings.normalize_voxels, &voxel_counts.row_totals);
    let mut voxel_values = normalized(voxel_counts.columns, voxel_factors.as_deref());
    let cell_factors = factors(settings.normalize, &totals);
    let library_median = cell_factors.as_ref().and_then(|_| median_positive(&totals));
    let how = settings.transform();
    let (cell_values, plain_cells) = match held {
        Some(columns) => {
            let mut values = normalized(columns, cell_factors.as_deref());
            let plain = (how != Transform::None).then(|| values.clone());
            transform(&mut values, how);
            (
                CellExpression::Memory(values),
                plain.map(CellExpression::Memory),
            )
        }
        None => {
            let columns = genes.in_cells.clone();
            let values = StreamedCells::new(Arc::clone(&cells), columns, cell_factors, how);
            let plain = (how != Transform::None).then(|| values.untransformed());
            (
                CellExpression::Streamed(values),
                plain.map(CellExpression::Streamed),
            )
        }
    };
    let untransformed = plain_cells.map(|cells| (cells, voxel_values.clone()));
    transform(&mut voxel_values, how);
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
        library_median,
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

/// Whether the cells are read at every pass.
fn streams(
    settings: &MapSettings,
    cells: &ExpressionFile,
    voxels: &ExpressionFile,
    n_genes: usize,
) -> bool {
    match (settings.solver, settings.stream) {
        (Solver::Adam, _) | (_, Stream::Off) => false,
        (_, Stream::On) => true,
        (_, Stream::Auto) => {
            let entries = cells.most_entries(n_genes) as usize;
            let needed = needed(settings, cells, voxels, n_genes, Some(entries));
            memory::available().is_some_and(|free| needed > free / 2)
        }
    }
}

/// Bytes that the solver will need; `n_entries`: counts of the cells that are held, `None` if they are read at every pass.
fn needed(
    settings: &MapSettings,
    cells: &ExpressionFile,
    voxels: &ExpressionFile,
    n_genes: usize,
    n_entries: Option<usize>,
) -> u64 {
    let size = (cells.names().len(), voxels.names().len(), n_genes);
    match settings.solver {
        Solver::Adam => memory_needed(
            size.0,
            size.1,
            size.2,
            n_entries.unwrap_or(0),
            &settings.adam(),
        ),
        Solver::Mirror => {
            mirror_memory_needed(size.0, size.1, size.2, n_entries, settings.precision.into())
        }
    }
}

/// Whether memory will suffice, asked before anything large is read and again when the counts are known.
///
/// * `n_entries`: counts of the cells that are held, `None` if they are read at every pass
///
/// # Errors
/// [`CliError::Memory`] if not.
pub fn check_memory(
    settings: &MapSettings,
    cells: &ExpressionFile,
    voxels: &ExpressionFile,
    n_genes: usize,
    n_entries: Option<usize>,
) -> Result<(), CliError> {
    let needed = needed(settings, cells, voxels, n_genes, n_entries);
    match memory::available() {
        Some(available) if needed > available => Err(CliError::Memory {
            n_cells: cells.names().len(),
            n_voxels: voxels.names().len(),
            needed: memory::for_people(needed),
            available: memory::for_people(available),
            remedy: match settings.solver {
                Solver::Adam => "take --solver mirror, which needs no cells × voxels state",
                Solver::Mirror => "take fewer genes or voxels, or a machine with more memory",
            },
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
