//! `tangram sweep collect`: predictions and scores of all folds in one place.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_core::Summary;
use tangram_pipeline::choices::MappingFormat;
use tangram_pipeline::registrations_collect::CollectedSections;
use tangram_pipeline::report::quoted;
use tangram_pipeline::sweep_collect::{CollectSettings, collect};
use tangram_pipeline::sweep_work::SweepKind;
use tangram_pipeline::wording::count;
use tangram_pipeline::yardstick::PartSummary;
use tangram_store::Existing;

const LONG_HELP: &str = "\
Writes into DIR (or --out):
  predictions.h5ad  an AnnData of voxels × genes held out (leave-one-out, k-fold): every gene as predicted by the fold that did without it
  scores.tsv        a line for every fold and gene held out: cosine, Pearson, sparsity, and the same of the voxels' totals, which know no
                    cells (see `tangram score --help`); for sweeps over runs, a line for every run
  report.html       maps and scores of the genes held out in one file for a browser (leave-one-out, k-fold; not with --no-report)
For a sweep of registrations:
  sections.zarr     transform, quality and labels of every section; `--section DIR/sections.zarr/NAME` names one to other commands
  sections.tsv      a line for every section: registered, refused or failed, its place, the reason

The same folds give the same files, whatever machines did them, in whatever order, after however many attempts.

Examples:
  tangram sweep collect loo
  tangram sweep collect loo --allow-missing --out so_far";

/// Flags of `tangram sweep collect`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct CollectArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Collect what there is; genes that are missing are NaN in the predictions and left out of the scores, sections are `missing`
    #[arg(long)]
    allow_missing: bool,
    /// The folder to write into [default: DIR]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Format of the predictions
    #[arg(long, value_enum, default_value_t = Format::H5ad, help_heading = "Output")]
    format: Format,
    /// Replace what an earlier collection wrote
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Do not end with report.html, the predictions and scores in one file for a browser
    #[arg(long, help_heading = "Output")]
    no_report: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One HDF5 file.
    H5ad,
    /// A folder of compressed chunks.
    Zarr,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct CollectSummary<'a> {
    sweep: &'a Path,
    n_folds: usize,
    n_missing: usize,
    predictions: Option<&'a Path>,
    scores: &'a Path,
    held_out: Option<Summary>,
    /// What the totals of the voxels alone would score for the same genes.
    totals: Option<Summary>,
    /// Mean correlation with these totals partialled out.
    mean_partial: Option<f64>,
    /// What the comparison says.
    sentence: Option<String>,
    auc: Option<f64>,
    /// Sections of a sweep of registrations.
    #[serde(skip_serializing_if = "Option::is_none")]
    sections: Option<SectionsSummary<'a>>,
}

/// The sections of a sweep of registrations.
#[derive(Debug, Serialize)]
struct SectionsSummary<'a> {
    store: &'a Path,
    n_registered: usize,
    /// Reasons by name.
    refused: BTreeMap<String, String>,
    failed: BTreeMap<String, String>,
    missing: &'a [String],
}

/// Collects.
///
/// # Errors
/// If tasks are missing or damaged, or the outputs are there already.
pub fn run(args: &CollectArgs, report: Report) -> Result<()> {
    let settings = CollectSettings {
        sweep: &args.sweep,
        out: args.out.as_ref().unwrap_or(&args.sweep),
        allow_missing: args.allow_missing,
        format: match args.format {
            Format::H5ad => MappingFormat::H5ad,
            Format::Zarr => MappingFormat::Zarr,
        },
        existing: match args.force {
            true => Existing::Replace,
            false => Existing::Refuse,
        },
        report: !args.no_report,
    };
    let collected = collect(&settings, &report)?;
    if let Some(s) = &collected.held_out {
        report.say(format_args!("{}: {}", count(s.n_genes, "gene"), means(s)))?;
    }
    let yardstick = collected.yardstick;
    let beside = yardstick.and_then(|scores| scores.test);
    if let Some(PartSummary {
        totals,
        mean_partial,
        ..
    }) = &beside
    {
        report.say(format_args!(
            "  voxel totals alone: {}; totals taken out: {}",
            means(totals),
            or_dash(*mean_partial)
        ))?;
    }
    let sentence = yardstick.and_then(|scores| scores.sentence());
    if let Some(sentence) = &sentence {
        report.say(sentence)?;
    }
    if let Some(sections) = &collected.sections {
        tell_sections(sections, collected.n_items, report)?;
    }
    let sweep = quoted(&args.sweep.to_string_lossy());
    match (collected.kind, &collected.predictions) {
        (SweepKind::Ablation, _) => report.next(format_args!(
            "tangram plot fractions {sweep} --out fractions.png"
        ))?,
        (SweepKind::Seeds, _) if collected.n_items - collected.n_missing > 1 => report.next(
            format_args!("tangram plot agreement {sweep} --out agreement.png"),
        )?,
        (_, Some(predictions)) => report.next(format_args!(
            "tangram inspect {}",
            quoted(&predictions.to_string_lossy())
        ))?,
        _ => {}
    }
    report.summary(&CollectSummary {
        sweep: &args.sweep,
        n_folds: collected.n_items,
        n_missing: collected.n_missing,
        predictions: collected.predictions.as_deref(),
        scores: &collected.scores,
        held_out: collected.held_out,
        totals: beside.map(|part| part.totals),
        mean_partial: beside.and_then(|part| part.mean_partial),
        sentence,
        auc: collected.auc,
        sections: collected.sections.as_ref().map(SectionsSummary::of),
    })
}

impl<'a> SectionsSummary<'a> {
    fn of(sections: &'a CollectedSections) -> Self {
        Self {
            store: &sections.store,
            n_registered: sections.n_registered,
            refused: sections.refused.iter().cloned().collect(),
            failed: sections.failed.iter().cloned().collect(),
            missing: &sections.missing,
        }
    }
}

/// How many sections have a place, and which have none.
fn tell_sections(sections: &CollectedSections, n: usize, report: Report) -> Result<()> {
    report.say(format_args!(
        "{} of {} registered, {} refused, {} failed, {} missing",
        sections.n_registered,
        count(n, "section"),
        sections.refused.len(),
        sections.failed.len(),
        sections.missing.len()
    ))?;
    let without = sections.refused.iter().chain(&sections.failed);
    for (name, reason) in without {
        report.warn(format_args!("section {name}: {reason}"));
    }
    Ok(())
}

/// The means of some scores, for people.
fn means(s: &Summary) -> String {
    format!(
        "mean cosine {:.3}, mean Pearson {}, {:.1} % above 0.4",
        s.mean_cosine,
        or_dash(s.mean_pearson),
        100.0 * s.share_above
    )
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |v| format!("{v:.3}"))
}
