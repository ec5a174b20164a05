//! `tangram report`: one HTML file about runs.

use crate::choices::replace;
use crate::commands::plot::InputArgs;
use crate::plain::command_line;
use crate::report::Report;
use crate::threads::use_threads;
use crate::values::at_least_one;
use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_pipeline::report::{ReportSettings, beside, report};
use tangram_pipeline::settings::threads;
use tangram_pipeline::{PipelineError, gene_list};

const EXAMPLES: &str = "\
The report is one file that needs no network: maps of types and genes to search, zoom and point at, tables that sort,
figures of scores, loss and density, warnings, and the settings. Open it in any browser.

Examples:
  tangram report run                                writes run.html beside run
  tangram report run --types obs:subclass --genes genes.txt --out report.html
  tangram report run_a run_b --out both.html        several runs of the same inputs, side by side";

/// Flags of `tangram report`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReportArgs {
    /// Folders that `tangram map` wrote
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    #[command(flatten)]
    inputs: InputArgs,
    /// Show the genes of this list, one a line, in space [default: a choice over the range of scores]
    #[arg(long, value_name = "FILE", help_heading = "What to show")]
    genes: Option<PathBuf>,
    /// How many genes to choose
    #[arg(long, value_name = "N", default_value_t = ReportSettings::N_GENES, value_parser = at_least_one, conflicts_with = "genes", help_heading = "What to show")]
    n_genes: usize,
    /// The file to write [default: RUN.html, beside a single run]
    #[arg(long, value_name = "FILE.html", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ReportSummary<'a> {
    file: &'a Path,
    bytes: usize,
}

/// Writes the report of runs.
///
/// # Errors
/// If a run or its inputs cannot be read, or the file cannot be written.
pub fn run(args: &ReportArgs, messages: Report) -> Result<()> {
    use_threads(threads(args.threads));
    let out = match (&args.out, &args.runs[..]) {
        (Some(out), _) => out.clone(),
        (None, [run]) => beside(run),
        (None, _) => bail!(PipelineError::Usage(
            "a report of several runs needs a name: add --out FILE.html".to_owned()
        )),
    };
    let settings = ReportSettings {
        runs: args.runs.iter().map(|run| args.inputs.of(run)).collect(),
        genes: match &args.genes {
            Some(list) => gene_list::read(list)?,
            None => Vec::new(),
        },
        n_genes: args.n_genes,
        command: command_line(),
    };
    let bytes = report(&settings, (&out, replace(args.force)), &messages)?;
    messages.say(format_args!(
        "wrote {} ({:.1} MB); open it in a browser",
        out.display(),
        bytes as f64 / 1e6
    ))?;
    messages.summary(&ReportSummary { file: &out, bytes })
}
