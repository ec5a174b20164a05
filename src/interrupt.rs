//! Ctrl-C and other requests to stop: nothing half-written stays behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

static OUTPUTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Removes what is being written for `output` (its hidden sibling `.NAME.PID.partial`) if the process is asked to stop.
pub fn clean_up(output: &Path) {
    if let Ok(mut outputs) = OUTPUTS.lock() {
        outputs.push(partial(output));
    }
    // A handler that cannot be set (one is set already) leaves the sibling to the next command's `--force`.
    let _ = ctrlc::set_handler(|| {
        for partial in OUTPUTS
            .lock()
            .into_iter()
            .flat_map(|outputs| outputs.clone())
        {
            remove(&partial);
        }
        // SAFETY: `_exit` ends the process at once and touches no memory of it. `exit` would take libraries down whose
        // threads are still at work.
        unsafe { libc::_exit(i32::from(crate::exit::INTERRUPTED)) }
    });
}

/// The sibling in which `tangram_store` writes `output` until it is complete.
fn partial(output: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(output.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    output.with_file_name(name)
}

fn remove(path: &Path) {
    // The writing threads go on until the process ends: a folder may get a file while it is being emptied.
    for _ in 0..100 {
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        };
        if removed.is_ok() || !path.exists() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_store::{Existing, StoreError, write_aside};

    #[test]
    fn the_sibling_is_the_one_the_store_writes() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run.h5ad");
        let written: Result<PathBuf, StoreError> =
            write_aside(&output, Existing::Refuse, |aside| {
                std::fs::write(aside, "x").unwrap();
                Ok(aside.to_owned())
            });
        assert_eq!(written.unwrap(), partial(&output));
    }
}
