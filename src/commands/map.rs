//! `tangram map`: learns where every cell sits.

use crate::expression::OfBoth;
use crate::map_inputs::{self, Inputs, check_memory, initial_logits};
use crate::map_settings::MapSettings;
use crate::mapping_file::{self, Contents};
use crate::progress::Progress;
use crate::report::{Report, count, thousands};
use crate::run_directory::{
    FinalLoss, GeneRecord, InputRecord, RUN_FILE, Record, RunFile, existing, write_history,
    write_run_file,
};
use crate::versions::Versions;
use crate::{interrupt, memory};
use anyhow::{Context, Result};
use clap::Args;
use ndarray::ArrayView1;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tangram_core::{GeneScore, SparseRows, Summary, score_gene, transfer};
use tangram_mapper::{Epoch, InitialLogits, Trained, train_adam};
use tangram_store::{StoreError, write_aside};

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
        let inputs = map_inputs::read(&settings, report)?;
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
