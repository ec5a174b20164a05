//! `tangram map`: learns where every cell sits.

use crate::cell_expression::CellExpression;
use crate::checkpoint::{self, Checkpoints, Identity};
use crate::error::CliError;
use crate::expression::OfBoth;
use crate::learned::Learned;
use crate::map_inputs::{self, Inputs};
use crate::map_settings::{MapSettings, Solver};
use crate::mapping_file::{Contents, Stored};
use crate::memory_check::{Counts, check_memory};
use crate::progress::Progress;
use crate::ranks::{self, Ranks, agreed, or_abort};
use crate::report::{Report, count, thousands};
use crate::run_directory::{
    FinalLoss, GeneRecord, InputRecord, RUN_FILE, Record, RunFile, existing, write_history,
    write_run_file,
};
use crate::values::{Temperature, not_negative};
use crate::versions::Versions;
use crate::{device, exit, exit_record, factors_file, interrupt, memory};
use anyhow::{Context, Result};
use clap::Args;
use ndarray::{Array2, ArrayView1};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tangram_comm::Communicator;
use tangram_core::{CellParts, Familiar, GeneScore, SparseRows, Summary, score_gene};
use tangram_mapper::{
    Epoch, Keeper, Problem, TemperatureScore, best_temperature, score_temperatures,
};
use tangram_store::{Existing, StoreError, write_aside};

const EXAMPLES: &str = "\
Writes into RUN:
  factors.zarr  an AnnData of voxels × training genes, from which any row of the mapping is computed (not with --solver adam)
  mapping.zarr  an AnnData of cells × voxels: probabilities in X, what is known of cells in obs, of voxels in var (--keep)
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
    /// Go on from RUN.checkpoint if it is there; a RUN that is complete is left as it is. Safe to add to every job
    #[arg(long, conflicts_with = "force", help_heading = "Output")]
    resume: bool,
    /// Minutes between checkpoints (0: none but on SIGTERM and SIGUSR2)
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = not_negative, help_heading = "Output")]
    checkpoint_minutes: f64,
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
    let settings = args.settings.clone().resolved()?;
    super::use_threads(settings.threads());
    if args.resume && args.out.join(RUN_FILE).is_file() {
        return Ok(report.say(format_args!("{} is complete", args.out.display()))?);
    }
    let mut ranks = ranks::join(settings.grid, settings.reduce)?;
    let done = if ranks.is_first() {
        first_rank(&args, settings, &mut ranks, report)
    } else {
        other_rank(&args, settings, &mut ranks)
    };
    if let Err(error) = &done {
        let code = exit::code(error);
        let reason = match (code, interrupt::stopped_by()) {
            (exit::STOPPED, Some(signal)) => format!("stopped by {signal}, its state kept"),
            (exit::STOPPED, None) => "stopped as another rank was asked, its state kept".to_owned(),
            _ => format!("{error:#}"),
        };
        exit_record::ended(Some(code), &reason);
    }
    // MPI ends in order only if all ranks come here, which they do unless one has aborted.
    ranks.leave();
    if done.is_ok() {
        exit_record::completed();
    }
    done
}

/// Checks where the run is to go, and puts away what an earlier one left there; one that goes on tells how the last attempt ended.
fn place(args: &MapArgs, report: Report) -> Result<Existing> {
    let may_replace = existing(&args.out, args.force, RUN_FILE)?;
    if args.force {
        checkpoint::remove(&args.out)?;
    }
    if args.resume {
        interrupt::remove_leftovers(&args.out);
    } else if let Some(passes) = checkpoint::latest(&args.out) {
        let path = checkpoint::folder(&args.out);
        return Err(CliError::Checkpoint { path, passes }.into());
    }
    for line in exit_record::told(&exit_record::take(&args.out)) {
        if args.resume {
            report.say(line)?;
        }
    }
    Ok(may_replace)
}

/// The rank that writes, and speaks to the person.
fn first_rank(
    args: &MapArgs,
    settings: MapSettings,
    ranks: &mut Ranks,
    report: Report,
) -> Result<()> {
    let may_replace = agreed(ranks, place(args, report))?;
    interrupt::clean_up(&args.out);
    let mut begun = false;
    let written = write_aside(&args.out, may_replace, |directory| -> Result<RunFile> {
        begun = true;
        // Made before the work, so that an output that cannot be written is known before, too.
        let made = std::fs::create_dir(directory).map_err(|e| StoreError::Write {
            path: args.out.clone(),
            reason: e.to_string(),
        });
        agreed(ranks, made.map_err(Into::into))?;
        exit_record::begin(&args.out, 0, ranks.shape().n_ranks());
        let mut settings = settings;
        let (inputs, outcome) = learn(args, &mut settings, ranks, report)?;
        let written = write_run(directory, settings, inputs, &outcome, ranks);
        or_abort(ranks, written)
    });
    let file = match (begun, written) {
        (true, written) => written?,
        // The others wait to hear whether the folder could be made.
        (false, written) => agreed(ranks, written)?,
    };
    checkpoint::remove(&args.out)?;
    tell_outcome(args, &file, report)
}

/// Any other rank.
fn other_rank(args: &MapArgs, mut settings: MapSettings, ranks: &mut Ranks) -> Result<()> {
    agreed(ranks, Ok(()))?;
    agreed(ranks, Ok(()))?;
    exit_record::begin(&args.out, ranks.world().rank(), ranks.shape().n_ranks());
    let (inputs, outcome) = learn(args, &mut settings, ranks, Report::silent())?;
    if let Learned::Adam(_) = outcome.learned {
        // Probabilities of adam are on all ranks.
        outcome.learned.serve_probabilities(&inputs, ranks);
    }
    Ok(())
}

/// What all ranks do together.
fn learn(
    args: &MapArgs,
    settings: &mut MapSettings,
    ranks: &mut Ranks,
    report: Report,
) -> Result<(Inputs, Outcome)> {
    let device = device::choose(settings, ranks, report)?;
    settings.take_engine(device.engine)?;
    let inputs = map_inputs::read(settings, ranks, report)?;
    let ranks = &*ranks;
    let begun = Instant::now();
    let temperatures = choose_temperature(settings, &inputs, ranks, report)?;
    let (before, bytes_before) = (ranks.time(), exchanged(ranks));
    let learned = train(args, settings, &inputs, ranks, report)?;
    let seconds = begun.elapsed().as_secs_f64();
    let exchange = Exchange {
        seconds: (ranks.time() - before).as_secs_f64(),
        bytes: exchanged(ranks) - bytes_before,
    };
    let predicted = learned.training_genes(&inputs, settings, ranks)?;
    let peaks = ranks.gather(&[memory::peak().unwrap_or(0) as f64]);
    let outcome = Outcome {
        learned,
        device: device.name,
        temperatures,
        seconds,
        exchange,
        predicted,
        peaks: peaks.concat().into_iter().map(|peak| peak as u64).collect(),
    };
    Ok((inputs, outcome))
}

fn tell_outcome(args: &MapArgs, file: &RunFile, report: Report) -> Result<()> {
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
    let peak = memory::for_people(record.peak_memory_bytes);
    if let Some(factors) = &record.factors {
        report.say(format_args!(
            "wrote {} ({} weights, peak memory {peak})",
            args.out.join(factors).display(),
            thousands(record.n_voxels * (record.n_genes + 1)),
        ))?;
    }
    if let Some(mapping) = &record.mapping {
        report.say(format_args!(
            "wrote {} ({} probabilities, {:.2} % of the mass left out, peak memory {peak})",
            args.out.join(mapping).display(),
            thousands(record.n_stored),
            record.mean_dropped_mass * 100.0,
        ))?;
    }
    report.summary(&MapSummary {
        run: &args.out,
        file,
    })
}

/// What the first rank had to do with the others while it trained.
struct Exchange {
    seconds: f64,
    bytes: u64,
}

/// Bytes brought to sums over ranks so far.
fn exchanged(ranks: &Ranks) -> u64 {
    ranks.bytes().iter().map(|(_, bytes)| bytes).sum()
}

/// What training gave.
struct Outcome {
    learned: Learned,
    /// Of the first rank, for people.
    device: String,
    /// What temperatures were worth, if one was to be chosen.
    temperatures: Vec<TemperatureScore>,
    seconds: f64,
    exchange: Exchange,
    /// The most memory that each rank has held, where this is the first.
    peaks: Vec<u64>,
    /// The training genes in space, (voxels, genes).
    predicted: Array2<f32>,
}

/// Puts a chosen temperature in the place of `auto`.
fn choose_temperature(
    settings: &mut MapSettings,
    inputs: &Inputs,
    ranks: &Ranks,
    report: Report,
) -> Result<Vec<TemperatureScore>> {
    if settings.temperature != Some(Temperature::Auto) {
        return Ok(Vec::new());
    }
    report.say("choosing the temperature by held-out training genes")?;
    let score = |problem: &Problem<CellExpression>| {
        score_temperatures(problem, &settings.mirror()).of_both(&settings.cells, &settings.voxels)
    };
    let scores = match (ranks.shape().n_ranks(), ranks.is_first()) {
        (1, _) => score(&inputs.problem),
        // The first rank takes few cells, but all voxels and genes: what one rank alone would choose.
        (_, true) => inputs
            .whole(ranks, settings)
            .and_then(|whole| score(&whole)),
        (_, false) => Ok(Vec::new()),
    };
    let scores = agreed(ranks, scores)?;
    // 0 where logits are to be free.
    let mut kappa = vec![best_temperature(&scores).unwrap_or(0.0)];
    ranks.broadcast(&mut kappa);
    let chosen = match kappa[0] {
        0.0 => Temperature::Off,
        kappa => Temperature::Kappa(kappa),
    };
    for score in &scores {
        let temperature = score
            .temperature
            .map_or(Temperature::Off, Temperature::Kappa);
        report.explain(format_args!(
            "temperature {temperature}: mean cosine of held-out training genes {:.4}",
            score.held_out
        ))?;
    }
    report.say(format_args!("temperature {chosen}"))?;
    settings.temperature = Some(chosen);
    Ok(scores)
}

fn train(
    args: &MapArgs,
    settings: &MapSettings,
    inputs: &Inputs,
    ranks: &Ranks,
    report: Report,
) -> Result<Learned> {
    let problem = &inputs.problem;
    let counts = Counts::of(inputs, settings);
    let enough = check_memory(settings, problem.shares(), ranks, counts);
    agreed(ranks, enough.map_err(Into::into))?;
    if problem.cells().whole().is_none() {
        report.say("the cells are read from disk at every pass")?;
    }
    let identity = Identity::new(settings, &inputs.cells.sha256, &inputs.voxels.sha256)?;
    let every = (args.checkpoint_minutes > 0.0)
        .then(|| Duration::from_secs_f64(60.0 * args.checkpoint_minutes));
    let shares = problem.shares();
    let mut checkpoints = Checkpoints::new(&args.out, identity, ranks, shares, every, report);
    let resumed = match args.resume {
        true => checkpoints.resume()?,
        false => None,
    };
    exit_record::passed(resumed.as_ref().map_or(0, |snapshot| snapshot.passes));
    let progress = Progress::begin(report, "epoch", settings.passes());
    let kept = (resumed.as_ref(), &mut checkpoints as &mut dyn Keeper);
    interrupt::keeps_state(true);
    let learned = Learned::train(settings, inputs, ranks, kept, &mut |epoch: &Epoch| {
        exit_record::passed(epoch.epoch);
        progress.step(epoch.epoch, || format!("loss {:.5}  ", epoch.total));
    });
    interrupt::keeps_state(false);
    progress.finish();
    let learned = learned?;
    if learned.stopped_early() {
        report.say(format_args!(
            "the loss came to rest after {}",
            count(learned.history().len(), "epoch")
        ))?;
    } else if settings.solver == Solver::Mirror && settings.mirror().tolerance > 0.0 {
        report.warn(format_args!(
            "the loss was not at rest after {}; more --epochs may lower it",
            count(learned.history().len(), "epoch")
        ));
    }
    Ok(learned)
}

/// Writes everything of the run, scoring the training genes by the exact mapping.
fn write_run(
    directory: &Path,
    settings: MapSettings,
    inputs: Inputs,
    outcome: &Outcome,
    ranks: &Ranks,
) -> Result<RunFile> {
    let learned = &outcome.learned;
    let Inputs {
        cells,
        voxels,
        problem,
        ..
    } = &inputs;
    let history = learned.history();
    let last = learned.chosen().context("training ran no epoch")?;
    let scores = train_scores(&outcome.predicted, &*inputs.measured(ranks, &settings)?);
    let genes = GeneRecord {
        training: inputs.genes.names.clone(),
        held_out: inputs.genes.held_out.names.clone(),
        dropped: inputs.dropped.clone(),
    };
    let contents = Contents {
        cells: cells.file.dataset(),
        voxels: voxels.file.dataset(),
        settings: &settings,
        genes: &genes,
        history,
        scores: &scores,
    };
    let factors = match learned {
        Learned::Mirror { factors, .. } => {
            let name = settings.format.factors_name().to_owned();
            let familiar = Familiar::of(&*inputs.carried(ranks))?;
            let path = directory.join(&name);
            factors_file::write(&path, factors, &familiar, &contents)?;
            Some(name)
        }
        Learned::Adam(_) => None,
    };
    let (mapping, stored) = match settings.kept(problem.n_cells(), problem.n_voxels()) {
        Some(keep) => {
            let name = settings.format.file_name().to_owned();
            let path = directory.join(&name);
            let stored =
                learned.write_probabilities(&path, &inputs, &settings, ranks, keep, &contents)?;
            (Some(name), stored)
        }
        None => {
            learned.release(&inputs, ranks);
            (None, Stored::default())
        }
    };
    write_history(directory, history)?;
    let passes: usize = history.iter().map(|e| e.n_cells).sum();
    let shared = ranks.shape().n_ranks() > 1;
    let record = Record {
        factors,
        mapping,
        streamed: problem.cells().whole().is_none(),
        cell_names_sha256: cells.file.names_sha256().to_owned(),
        library_median: inputs.library_median,
        n_cells: problem.n_cells(),
        n_voxels: problem.n_voxels(),
        n_genes: problem.n_genes(),
        n_stored: stored.n_stored,
        mean_dropped_mass: stored.mean_dropped_mass,
        epochs_run: history.len(),
        full_passes: passes as f64 / problem.n_cells() as f64,
        stopped_early: learned.stopped_early(),
        device: outcome.device.clone(),
        products: device::products(&settings),
        seconds_per_epoch: median_step(history),
        seconds_training: outcome.seconds,
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
            sha256: cells.sha256.clone(),
        },
        voxels: InputRecord {
            path: settings.voxels.clone(),
            sha256: voxels.sha256.clone(),
        },
        temperatures: outcome.temperatures.clone(),
        grid: shared.then(|| ranks.shape().to_string()),
        seconds_exchanging: shared.then_some(outcome.exchange.seconds),
        bytes_exchanged: shared.then_some(outcome.exchange.bytes),
        peak_memory_by_rank: match shared {
            true => outcome.peaks.clone(),
            false => Vec::new(),
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

/// Scores of predicted genes, (voxels, genes), against measured ones.
fn train_scores(predicted: &Array2<f32>, voxels: &SparseRows) -> Vec<GeneScore> {
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
    predicted
        .columns()
        .into_iter()
        .enumerate()
        .map(score)
        .collect()
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
