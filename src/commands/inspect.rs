//! `tangram inspect`: what a data file holds.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use std::path::PathBuf;
use tangram_pipeline::report::quoted;
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
    // What the program wrote is no input of a mapping.
    if !summary.uns.iter().any(|name| name == "tangram") {
        let file = quoted(&args.file.to_string_lossy());
        match summary.obsm.iter().any(|array| array.name == "spatial") {
            true => report.next(format_args!(
                "tangram map --cells CELLS --voxels {file} --out run    (CELLS: the file of the cells)"
            ))?,
            false => report.next(format_args!(
                "tangram map --cells {file} --voxels VOXELS --out run    (VOXELS: the file of the voxels)"
            ))?,
        }
    }
    report.summary(&summary)
}
