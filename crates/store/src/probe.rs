//! Trying a file before it is opened.
//!
//! The HDF5 library crashes on some damaged files and never ends on others; nothing in the process that calls it can prevent that. A
//! program may [begin a probe](crate::begin_probe): another process, which reads each HDF5 file before this one opens it. Without a probe
//! files are opened at once.

use crate::StoreError;
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};

/// Has the HDF5 file at a path, or that of a Space Ranger folder, tried: for the first of several ranks, which then tells the others. Opening
/// it does the same.
///
/// # Errors
/// [`StoreError::Crashes`].
pub fn try_file(path: &Path) -> Result<(), StoreError> {
    let inside = [
        "filtered_feature_bc_matrix.h5",
        "outs/filtered_feature_bc_matrix.h5",
    ];
    let files = inside.iter().map(|name| path.join(name));
    for file in std::iter::once(path.to_owned()).chain(files) {
        if file.is_file() {
            try_first(&file)?;
        }
    }
    Ok(())
}

/// Has another process [`exercise`](crate::exercise::exercise) a file; an error if that one crashed or did not come to an end.
pub(crate) type Probe = Box<dyn Fn(&Path) -> Result<(), StoreError> + Send + Sync>;

static PROBE: OnceLock<Probe> = OnceLock::new();
/// Files that were tried: device, number, length, time of the last change.
static TRIED: Mutex<Option<HashSet<[i64; 5]>>> = Mutex::new(None);

/// Sets the probe of this process; only the first counts.
pub(crate) fn set_probe(probe: Probe) {
    let _ = PROBE.set(probe);
}

/// Has a file tried that this process has not had tried yet, or that has changed since.
pub(crate) fn try_first(path: &Path) -> Result<(), StoreError> {
    let Some(probe) = PROBE.get() else {
        return Ok(());
    };
    let meta = fs::metadata(path).map_err(|e| StoreError::read(path, e))?;
    let file = [
        meta.dev() as i64,
        meta.ino() as i64,
        meta.len() as i64,
        meta.mtime(),
        meta.mtime_nsec(),
    ];
    let mut tried = TRIED.lock().unwrap_or_else(PoisonError::into_inner);
    let tried = tried.get_or_insert_default();
    if !tried.contains(&file) {
        probe(path)?;
        tried.insert(file);
    }
    Ok(())
}
