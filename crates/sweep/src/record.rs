//! Records: small files of JSON that appear whole, each made by one process and changed by it alone.

use crate::{SweepError, Who};
use serde::Serialize;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Makes a record; `false` if another process has made it.
///
/// # Errors
/// [`SweepError::Write`].
pub(crate) fn create(path: &Path, record: &impl Serialize, who: &Who) -> Result<bool, SweepError> {
    let aside = write_aside(path, record, who)?;
    // A link is made by one process only.
    let made = fs::hard_link(&aside, path);
    let removed = fs::remove_file(&aside);
    match made {
        Ok(()) => removed
            .map(|()| true)
            .map_err(|e| SweepError::write(&aside, &e)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(SweepError::write(path, &error)),
    }
}

/// Changes a record that this process has made.
///
/// # Errors
/// [`SweepError::Write`]; the record is what it was.
pub(crate) fn replace(path: &Path, record: &impl Serialize, who: &Who) -> Result<(), SweepError> {
    let aside = write_aside(path, record, who)?;
    fs::rename(&aside, path).map_err(|e| SweepError::write(path, &e))
}

fn write_aside(path: &Path, record: &impl Serialize, who: &Who) -> Result<PathBuf, SweepError> {
    // Threads write at once, too.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(
        ".{name}.{}.{}.{turn}.partial",
        who.process.host, who.process.pid
    ));
    let text = serde_json::to_string_pretty(record).expect("a record is plain data");
    let write = || {
        let mut file = fs::File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        // What could not be written whole is of no use; if it cannot be removed either, its name says so.
        let _ = fs::remove_file(&aside);
        SweepError::write(&aside, &e)
    })?;
    Ok(aside)
}
