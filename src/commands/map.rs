//! `tangram map`: learns where every cell sits.

use crate::error::{CliError, examples};
use crate::expression::{Counts, ExpressionFile, OfBoth};
use crate::map_settings::MapSettings;
use crate::mapping_file::{self, Contents};
use crate::progress::Progress;
use crate::report::{Report, count, thousands};
use crate::run_directory::{
    FinalLoss, GeneRecord, InputRecord, RUN_FILE, Record, RunFile, existing, write_history,
    write_run_file,
};
use crate::values::PriorChoice;
use crate::versions::Versions;
use crate::{gene_list, interrupt, memory};
use anyhow::{Context, Result, bail};
use clap::Args;
use ndarray::{Array2, ArrayView1};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tangram_core::normalize::transform;
use tangram_core::{
    Column, DensityPrior, GeneChoice, GeneScore, Normalize, PriorError, SharedGenes, SparseRows,
    Summary, Transform, align, drop_zero_genes, library_factors, scale_rows, score_gene, transfer,
};
use tangram_mapper::{Epoch, InitialLogits, Problem, Trained, memory_needed, train_adam};
use tangram_store::{StoreError, fingerprint, read_npy, write_aside};

const EXAMPLES: &str = "\
Writes into RUN:
  mapping.zarr  an AnnData of cells × voxels: probabilities in X, what is known of cells in obs, of voxels in var
  history.tsv   the loss and its terms, epoch by epoch
  run.toml      all settings, hashes of the inputs, versions; `--config RUN/run.toml` repeats the run

Examples:
  tangram map --cells cells.h5ad --voxels voxels.h5ad --out run
  tangram map --cells cells.h5ad --voxels visium_folder --prior obs:n_cells --out run
  tangram map --cells cells.h5ad --voxels voxels.h5ad --hold-out test_genes.txt --epochs 500 --out run";

/// Flags of `tangram map`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct MapArgs {
    #[command(flatten)]
    settings: MapSettings,
    /// The folder to write
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    out: PathBuf,
    /// Replace RUN if an earlier `tangram map` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct MapSummary<'a> {
    run: &'a Path,
    #[serde(flatten)]
    file: &'a RunFile,
}

/// Both files, and the training genes of both.
struct Inputs {
    cells: Side,
    voxels: Side,
    genes: SharedGenes,
    dropped: Vec<String>,
    problem: Problem,
    /// Values to score, if they are not those that are trained on.
    untransformed: Option<(SparseRows, SparseRows)>,
}

/// One of the two files.
struct Side {
    file: ExpressionFile,
    sha256: String,
}

/// Learns a mapping and writes its run directory.
///
/// # Errors
/// If an input does not fit, memory will not suffice, or the output cannot be written.
pub fn run(args: MapArgs, report: Report) -> Result<()> {
    let settings = args.settings.resolved()?;
    super::use_threads(settings.adam().threads);
    let may_replace = existing(&args.out, args.force, RUN_FILE)?;
    interrupt::clean_up(&args.out);
    let file = write_aside(&args.out, may_replace, |directory| -> Result<RunFile> {
        // Made before the work, so that an output that cannot be written is known before, too.
        std::fs::create_dir(directory).map_err(|e| StoreError::Write {
            path: args.out.clone(),
            reason: e.to_string(),
        })?;
        let inputs = read_inputs(&settings, report)?;
        let (trained, seconds) = train(&settings, &inputs, report)?;
        write_run(directory, settings, inputs, &trained, seconds)
    })?;

    let record = &file.record;
    let score = record.train_score.map_or(String::new(), |s| {
        format!(", mean cosine of training genes {:.3}", s.mean_cosine)
    });
    report.say(format_args!(
        "{} in {:.1} s ({:.3} s each), loss {:.5}{score}",
        count(record.epochs_run, "epoch"),
        record.seconds_training,
        record.seconds_per_epoch,
        record.final_loss.total,
    ))?;
    report.say(format_args!(
        "wrote {} ({} probabilities, {:.2} % of the mass left out, peak memory {})",
        args.out.join(&record.mapping).display(),
        thousands(record.n_stored),
        record.mean_dropped_mass * 100.0,
        memory::for_people(record.peak_memory_bytes),
    ))?;
    report.summary(&MapSummary {
        run: &args.out,
        file: &file,
    })
}

fn read_inputs(settings: &MapSettings, report: Report) -> Result<Inputs> {
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
        let mut values = counts.columns.select_columns(&left);
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

fn check_memory(
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

fn train(settings: &MapSettings, inputs: &Inputs, report: Report) -> Result<(Trained, f64)> {
    let Inputs {
        cells,
        voxels,
        problem,
        ..
    } = inputs;
    check_memory(
        settings,
        &cells.file,
        &voxels.file,
        problem.n_genes(),
        problem.cells().nnz(),
    )?;
    let initial = match &settings.init_logits {
        None => InitialLogits::Random,
        Some(path) => {
            InitialLogits::Given(initial_logits(path, problem.n_cells(), problem.n_voxels())?)
        }
    };
    let progress = Progress::begin(report, "epoch", settings.epochs);
    let begun = Instant::now();
    let trained = train_adam(problem, &settings.adam(), initial, &mut |epoch: &Epoch| {
        progress.step(epoch.epoch, || format!("loss {:.5}  ", epoch.total));
    });
    progress.finish();
    let trained = trained.of_both(&settings.cells, &settings.voxels)?;
    if trained.stopped_early() {
        report.say(format_args!(
            "the loss reached its plateau after {}",
            count(trained.history().len(), "epoch")
        ))?;
    }
    Ok((trained, begun.elapsed().as_secs_f64()))
}

fn initial_logits(path: &Path, n_cells: usize, n_voxels: usize) -> Result<Array2<f64>> {
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

/// Writes everything of the run, scoring the training genes by the exact mapping.
fn write_run(
    directory: &Path,
    settings: MapSettings,
    inputs: Inputs,
    trained: &Trained,
    seconds_training: f64,
) -> Result<RunFile> {
    let Inputs {
        cells,
        voxels,
        genes,
        dropped,
        problem,
        untransformed,
    } = inputs;
    let history = trained.history();
    let last = history.last().context("training ran no epoch")?;
    let scores = match &untransformed {
        Some((cells, voxels)) => train_scores(trained, cells, voxels)?,
        None => train_scores(trained, problem.cells(), problem.voxels())?,
    };
    let genes = GeneRecord {
        training: genes.names,
        held_out: genes.held_out.names,
        dropped,
    };
    let mapping = settings.format.file_name().to_owned();
    let contents = Contents {
        cells: cells.file.dataset(),
        voxels: voxels.file.dataset(),
        settings: &settings,
        genes: &genes,
        history,
        scores: &scores,
    };
    let stored = mapping_file::write(&directory.join(&mapping), trained, &contents)?;
    write_history(directory, history)?;
    let record = Record {
        mapping,
        n_cells: problem.n_cells(),
        n_voxels: problem.n_voxels(),
        n_genes: problem.n_genes(),
        n_stored: stored.n_stored,
        mean_dropped_mass: stored.mean_dropped_mass,
        epochs_run: history.len(),
        stopped_early: trained.stopped_early(),
        seconds_per_epoch: median_step(history),
        seconds_training,
        peak_memory_bytes: memory::peak().unwrap_or(0),
        final_loss: FinalLoss {
            total: last.total,
            gene: last.gene,
            voxel: last.voxel,
            density: last.density,
            entropy: last.entropy,
        },
        train_score: Summary::of(&scores).map(Into::into),
        cells: InputRecord {
            path: settings.cells.clone(),
            sha256: cells.sha256,
        },
        voxels: InputRecord {
            path: settings.voxels.clone(),
            sha256: voxels.sha256,
        },
        versions: Versions::current(),
        genes,
    };
    let file = RunFile {
        map: settings,
        record,
    };
    write_run_file(directory, &file)?;
    Ok(file)
}

fn train_scores(
    trained: &Trained,
    cells: &SparseRows,
    voxels: &SparseRows,
) -> Result<Vec<GeneScore>> {
    let predicted = transfer(trained, cells)?;
    let measured = voxels.transpose();
    let mut column = vec![0.0; measured.n_cols()];
    let score = |(k, predicted): (usize, ArrayView1<'_, f32>)| {
        column.fill(0.0);
        let (places, values) = measured.row(k);
        places
            .iter()
            .zip(values)
            .for_each(|(&j, &v)| column[j as usize] = v);
        score_gene(&predicted.to_vec(), &column)
    };
    Ok(predicted
        .columns()
        .into_iter()
        .enumerate()
        .map(score)
        .collect())
}

/// Median seconds from one epoch to the next; the first, which warms up, counts only if there is no other.
fn median_step(history: &[Epoch]) -> f64 {
    let mut steps: Vec<f64> = history
        .windows(2)
        .map(|e| e[1].elapsed_s - e[0].elapsed_s)
        .collect();
    steps.sort_unstable_by(f64::total_cmp);
    steps
        .get(steps.len() / 2)
        .copied()
        .unwrap_or_else(|| history.first().map_or(0.0, |e| e.elapsed_s))
}
