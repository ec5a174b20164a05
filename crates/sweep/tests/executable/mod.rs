//! Commands of a cluster as scripts.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Writes a script that can be run.
///
/// Another process makes it executable. A child that another test starts meanwhile inherits the files that this process is writing, and a file
/// that is open for writing cannot be run.
pub fn write_script(path: &Path, body: &str) {
    let text = path.with_extension("txt");
    fs::write(&text, format!("#!/bin/bash\n{body}\n")).unwrap();
    let install = Command::new("install")
        .args(["-m", "755"])
        .arg(&text)
        .arg(path)
        .status();
    assert!(install.unwrap().success());
}
