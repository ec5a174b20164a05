//! `tangram score`: predicted against measured genes.

use crate::choices::replace;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::{at_least_one, n_threads};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_pipeline::report::quoted;
use tangram_pipeline::run_directory::GeneRecord;
use tangram_pipeline::score::{ScoreSettings, ScoredGene, in_short, score};
use tangram_pipeline::settings::threads;
use tangram_pipeline::wording::count;
use tangram_pipeline::yardstick::ScoresInShort;

const LONG_HELP: &str = "\
A gene's score is the cosine similarity of its predicted and its measured pattern over the voxels, 1 at best; Pearson's
correlation does not reward a gene for being everywhere. Genes that did not train tell how far predictions can be
trusted. Values are normalised as in training, but not transformed.

Compare every score with the line under it: the voxels' totals over all other genes as the prediction, which know no
cells. The column `totals out` is the correlation of predicted and measured values with these totals partialled out of both.

The table (--out) has a row for every gene that both files have:
  gene, cosine, pearson, sparsity_measured, sparsity_predicted (shares of voxels at 0), training (trained, held_out, other)
  totals_cosine, totals_pearson (scores of the totals), partial_pearson (the totals partialled out)

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
    #[arg(long, value_name = "N", value_parser = n_threads, help_heading = "Work")]
    threads: Option<usize>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct Printed<'a> {
    run: &'a Path,
    #[serde(flatten)]
    scores: ScoresInShort,
    /// What the comparison with the totals says.
    sentence: Option<String>,
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
    let scores = in_short(genes);
    for line in scores.table() {
        report.say(line)?;
    }
    let sentence = scores.sentence();
    if let Some(sentence) = &sentence {
        report.say(sentence)?;
    }
    if scores.n_without_pattern > 0 {
        let n = count(scores.n_without_pattern, "gene");
        report.say(format_args!(
            "{n} without any count in the cells or in the voxels not counted"
        ))?;
    }
    if let Some(auc) = scores.test_auc {
        report.explain(format_args!(
            "area under score against sparsity, genes not trained: {auc:.3}"
        ))?;
    }
    if let Some(out) = &args.out {
        report.say(format_args!("wrote {}", out.display()))?;
    }
    let run = quoted(&args.mapping.to_string_lossy());
    let tested = genes.iter().any(|g| g.training != GeneRecord::TRAINED);
    match tested {
        true => report.next(format_args!(
            "tangram plot genes {run} --out genes.png    (the best, the median and the worst gene)"
        ))?,
        false => report.next(format_args!(
            "map again with --hold-out, or tangram sweep new kfold, to have scores of genes that did not train"
        ))?,
    }
    report.summary(&Printed {
        run: &args.mapping,
        scores,
        sentence,
    })
}
