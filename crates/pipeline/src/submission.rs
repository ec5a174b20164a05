//! A mapping as a job: what can be checked before it is submitted, and its command line.

use crate::error::{PipelineError, Result};
use crate::settings::MapSettings;
use std::path::{Path, PathBuf};
use tangram_store::{Dataset, StoreError};
use toml::{Table, Value};

/// Checks inputs and output now; a job would report the errors only when it starts.
///
/// # Errors
/// If an input is missing or cannot be opened, or the output exists or has no folder to be in.
pub fn check(settings: &MapSettings, out: &Path) -> Result<()> {
    let path = out.to_owned();
    if out.symlink_metadata().is_ok() {
        return Err(StoreError::Exists { path }.into());
    }
    let folder = out.parent();
    if !folder.is_some_and(Path::is_dir) {
        let folder = folder.unwrap_or(out).display();
        let reason = format!("the folder {folder} does not exist");
        return Err(StoreError::Write { path, reason }.into());
    }
    for path in [&settings.cells, &settings.voxels] {
        Dataset::open(path)?;
    }
    match lists(settings).find(|path| !path.is_file()) {
        Some(path) => Err(StoreError::Missing { path: path.clone() }.into()),
        None => Ok(()),
    }
}

/// Files besides cells and voxels.
fn lists(settings: &MapSettings) -> impl Iterator<Item = &PathBuf> {
    let files = [
        &settings.genes,
        &settings.hold_out,
        &settings.init_logits,
        &settings.init_filter,
    ];
    files.into_iter().flatten()
}

/// Settings as the flags of `tangram map`; keys are named like the flags.
///
/// # Errors
/// [`PipelineError::Usage`] if a path is not UTF-8.
pub fn flags(settings: &MapSettings) -> Result<Vec<String>> {
    for path in [&settings.cells, &settings.voxels]
        .into_iter()
        .chain(lists(settings))
    {
        path_text(path)?;
    }
    let table = Table::try_from(settings)?;
    let flag = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("--{key}={text}"),
        // Settings leave out what is off.
        Value::Boolean(_) => format!("--{key}"),
        other => format!("--{key}={other}"),
    };
    Ok(table.iter().map(flag).collect())
}

/// A path as text.
///
/// # Errors
/// [`PipelineError::Usage`] if it is not UTF-8.
pub fn path_text(path: &Path) -> Result<String> {
    let text = path.to_str().map(str::to_owned);
    text.ok_or_else(|| {
        PipelineError::Usage(format!(
            "{}: the path is not UTF-8, which scripts of jobs must be; rename it",
            path.display()
        ))
    })
}
