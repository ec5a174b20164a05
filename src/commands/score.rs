//! `tangram score`: predicted against measured genes.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::Summary;
use tangram_pipeline::score::{ScoreSettings, ScoreSummary, ScoredGene, score};
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;

const LONG_HELP: &str = "\
A gene's score is the cosine similarity of its predicted and its measured pattern over the voxels, 1 at best; Pearson's
correlation does not reward a gene for being everywhere. Genes that did not train tell how far predictions can be
trusted. Values are normalised as in training, but not transformed.

The table (--out) has a row for every gene that both files have:
  gene, cosine, pearson, sparsity_measured, sparsity_predicted (shares of voxels at 0), training (trained, held_out, other)

Examples:
  tangram score --mapping run --out scores.tsv
  tangram score --mapping run --json";

/// Flags of `tangram score`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct ScoreArgs {
    /// The folder that `tangram map` wrote
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The cells' file, if it is not where it was: the same cells in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: Option<PathBuf>,
    /// The voxels' file, if it is not where it was: the same voxels in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    voxels: Option<PathBuf>,
    /// Write the table of all genes here, and FILE.toml with what it was made from beside it
    #[arg(long, value_name = "FILE.tsv", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Genes that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one, help_heading = "Work")]
    chunk: usize,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    run: &'a Path,
    #[serde(flatten)]
    summary: ScoreSummary,
}

/// Scores every gene that both files have.
///
/// # Errors
/// If the run or its inputs cannot be read, or the table cannot be written.
pub fn run(args: &ScoreArgs, report: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let settings = ScoreSettings {
        mapping: args.mapping.clone(),
        cells: args.cells.clone(),
        voxels: args.voxels.clone(),
        chunk: args.chunk,
    };
    let table = args.out.as_deref().map(|out| (out, replace(args.force)));
    let genes = score(&settings, table, &report)?;
    tell(args, &genes, report)
}

fn tell(args: &ScoreArgs, genes: &[ScoredGene], report: Report) -> Result<()> {
    let run = &args.mapping;
    let summary = ScoreSummary::of(genes);
    report.say("                 genes   mean cosine   5 %    25 %   50 %   75 %   95 %   above 0.4   mean Pearson")?;
    for (name, part) in [("trained", summary.train), ("not trained", summary.test)] {
        match part {
            Some(part) => report.say(line(name, &part))?,
            None => report.say(format_args!("{name:<12} {:>9}", 0))?,
        }
    }
    if summary.n_without_pattern > 0 {
        let n = count(summary.n_without_pattern, "gene");
        report.say(format_args!(
            "{n} without any count in the cells or in the voxels not counted"
        ))?;
    }
    if let Some(auc) = summary.test_auc {
        report.explain(format_args!(
            "area under score against sparsity, genes not trained: {auc:.3}"
        ))?;
    }
    if let Some(out) = &args.out {
        report.say(format_args!("wrote {}", out.display()))?;
    }
    report.summary(&Printed { run, summary })
}

fn line(name: &str, part: &Summary) -> String {
    let quantiles: Vec<String> = part.quantiles.iter().map(|q| format!("{q:.3}")).collect();
    let pearson = part
        .mean_pearson
        .map_or("–".to_owned(), |p| format!("{p:.3}"));
    format!(
        "{name:<12} {:>9}   {:>11.3}   {}   {:>8.1} %   {pearson:>12}",
        part.n_genes,
        part.mean_cosine,
        quantiles.join("  "),
        part.share_above * 100.0,
    )
}
