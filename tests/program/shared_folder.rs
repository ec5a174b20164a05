//! Folders that several tests share.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, Once, PoisonError};
use tempfile::TempDir;

/// Folders to remove when the process ends: it drops no static.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static REGISTERED: Once = Once::new();

extern "C" fn remove_all() {
    let mut folders = FOLDERS.lock().unwrap_or_else(PoisonError::into_inner);
    for folder in folders.drain(..) {
        let _ = fs::remove_dir_all(folder);
    }
}

/// A folder to be kept in a static.
pub fn shared_folder() -> TempDir {
    // SAFETY: the function may be called at any time, once, and does not unwind.
    REGISTERED.call_once(|| assert_eq!(unsafe { libc::atexit(remove_all) }, 0));
    let folder = tempfile::tempdir().unwrap();
    FOLDERS.lock().unwrap().push(folder.path().to_owned());
    folder
}
