//! `tangram inspect`: what a data file holds.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_store::Dataset;

const EXAMPLES: &str = "\
Examples:
  tangram inspect cells.h5ad
  tangram inspect --json filtered_feature_bc_matrix.h5";

/// Flags of `tangram inspect`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct InspectArgs {
    /// The data: .h5ad, AnnData .zarr, 10x .h5, a folder with matrix.mtx, or a Space Ranger output folder
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Shows the summary of a file.
///
/// # Errors
/// If the file cannot be read.
pub fn run(args: &InspectArgs, report: Report) -> Result<()> {
    let summary = Dataset::open(&args.file)?.summary()?;
    report.say(summary.to_string().trim_end())?;
    report.summary(&summary)
}
