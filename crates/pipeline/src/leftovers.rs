//! Half-written siblings of an output that a killed process left behind.

use std::path::Path;

/// Removes the half-written siblings that killed processes left beside an output; no other process may be writing it.
pub fn remove(output: &Path) {
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let (begin, parent) = (format!(".{name}."), output.parent());
    let parent = parent.filter(|p| !p.as_os_str().is_empty());
    let entries = std::fs::read_dir(parent.unwrap_or(Path::new(".")));
    for entry in entries.into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let pid = found
            .strip_prefix(&begin)
            .and_then(|rest| rest.strip_suffix(".partial"));
        if pid.is_some_and(|pid| pid.bytes().all(|b| b.is_ascii_digit())) {
            remove_all(&entry.path());
        }
    }
}

/// Removes a file or a folder, into which other threads may still be writing.
pub fn remove_all(path: &Path) {
    // Threads may still be writing: a folder can get a new file while it is being emptied, so we try again.
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
