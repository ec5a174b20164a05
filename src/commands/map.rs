//! `tangram map`: learns where every cell sits.

use crate::map_flags::MapFlags;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::not_negative;
use crate::{exit, exit_record, interrupt};
use anyhow::{Error, Result};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::map::{Earlier, Output, is_complete, map};
use tangram_pipeline::ranks::{self, Ranks};
use tangram_pipeline::report::{REPORT_FILE, quoted};
use tangram_pipeline::run_directory::RunFile;
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::wording::{count, thousands};
use tangram_store::memory;
use toml::Table;

const EXAMPLES: &str = "\
Writes into RUN:
  factors.zarr  an AnnData of voxels × training genes, from which any row of the mapping is computed (not with --solver adam)
  mapping.zarr  an AnnData of cells × voxels: probabilities in X, what is known of cells in obs, of voxels in var (--keep)
  history.tsv   the loss and its terms, epoch by epoch
  report.html   maps, scores, settings and warnings in one file for a browser (not with --no-report)
  files.tsv     every file of the run with its size; commands that read the run check it
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
    settings: MapFlags,
    /// The folder to write
    #[arg(long, value_name = "RUN", help_heading = "Output")]
    out: PathBuf,
    /// Replace RUN if an earlier `tangram map` wrote it
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Resume from RUN.checkpoint if it exists; a complete RUN is left unchanged. Safe to add to every job
    #[arg(long, conflicts_with = "force", help_heading = "Output")]
    resume: bool,
    /// Minutes between checkpoints (0: none but on SIGTERM and SIGUSR2)
    #[arg(long, value_name = "MINUTES", default_value_t = 10.0, value_parser = not_negative, help_heading = "Output")]
    checkpoint_minutes: f64,
    /// Do not end with RUN/report.html, the maps and scores of the run in one file
    #[arg(long, help_heading = "Output")]
    no_report: bool,
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
    let earlier = match (args.force, args.resume) {
        (true, _) => Earlier::Replace,
        (_, true) => Earlier::Resume,
        _ => Earlier::Refuse,
    };
    let settings = args.settings.clone().resolved()?;
    use_threads(settings.threads);
    let every = (args.checkpoint_minutes > 0.0)
        .then(|| Duration::from_secs_f64(60.0 * args.checkpoint_minutes));
    let typed = crate::plain::command_line();
    let output = Output {
        run: &args.out,
        earlier,
        checkpoint_every: every,
        report: (!args.no_report).then_some(typed.as_str()),
    };
    let command = args.command(&settings)?;
    let mut ranks = ranks::join(settings.reduce)?;
    let file = ranks::arrange(&mut ranks, settings.grid, &command).and_then(|()| {
        exit_record::of_run(&args.out);
        if earlier == Earlier::Resume && is_complete(&args.out, &ranks)? {
            return Ok(None);
        }
        map(&settings, &output, &mut ranks, &report).map(Some)
    });
    let first = ranks.is_first();
    let told = file
        .map_err(|error| ended(error, &ranks))
        .and_then(|file| match &file {
            Some(Some(file)) => tell_outcome(&args, file, report),
            None if first => Ok(report.say(format_args!("{} is complete", args.out.display()))?),
            _ => Ok(()),
        });
    if let Err(error) = &told {
        exit::say(error);
    }
    // MPI ends in order only if all ranks come here, which they do unless one has aborted.
    ranks.leave();
    if told.is_ok() {
        exit_record::completed();
    }
    told
}

impl MapArgs {
    /// What all ranks must have been started with alike; how a rank does its part is its own matter.
    fn command(&self, settings: &MapSettings) -> Result<String> {
        let mut table = Table::try_from(settings)?;
        for own in ["threads", "gpu-memory", "device-block"] {
            table.remove(own);
        }
        Ok(format!(
            "{} {} {} {} {} {table}",
            env!("CARGO_PKG_VERSION"),
            self.out.display(),
            self.force,
            self.resume,
            self.checkpoint_minutes,
        ))
    }
}

/// Records how this rank ends, and ends the others where they wait for it.
fn ended(error: PipelineError, ranks: &Ranks) -> Error {
    let alone = matches!(error, PipelineError::Alone { .. });
    let error = Error::new(error);
    let code = exit::code(&error);
    let reason = match (code, interrupt::stopped_by()) {
        (exit::STOPPED, Some(signal)) => format!("stopped by {signal}, its state kept"),
        (exit::STOPPED, None) => "stopped as another rank was asked, its state kept".to_owned(),
        _ => format!("{error:#}"),
    };
    exit_record::ended(Some(code), &reason);
    if alone {
        let _ = exit::fail(&error);
        ranks.world().abort(code);
    }
    error
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
    if let Some(n_kept) = record.n_kept {
        report.say(format_args!(
            "the filter keeps {} of {} (f above 0.5)",
            thousands(n_kept),
            count(record.n_cells, "cell"),
        ))?;
    }
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
    let html = args.out.join(REPORT_FILE);
    if html.is_file() {
        report.say(format_args!(
            "wrote {}; open it in a browser",
            html.display()
        ))?;
        let run = quoted(&args.out.to_string_lossy());
        report.next(format_args!("tangram score --mapping {run}"))?;
    }
    report.summary(&MapSummary {
        run: &args.out,
        file,
    })
}
