//! The Python that makes and judges files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn interpreter() -> Option<PathBuf> {
    let found = std::env::var_os("TANGRAM_PYTHON")
        .filter(|p| !p.is_empty())
        .map(PathBuf::from);
    if found.is_none() {
        let required = std::env::var("TANGRAM_REQUIRE").unwrap_or_default();
        let why = "TANGRAM_PYTHON names no Python with anndata and scanpy";
        assert!(
            !required.split(',').any(|name| name.trim() == "python"),
            "TANGRAM_REQUIRE names python, but {why}"
        );
        eprintln!("SKIPPED for the lack of python: {why}");
    }
    found
}

/// Runs a script beside this file's folder; `None` without Python.
pub fn run(script: &str, arguments: &[&Path]) -> Option<()> {
    let python = interpreter()?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(script);
    let output = Command::new(python)
        .arg("-W")
        .arg("error::FutureWarning:__main__")
        .arg(&script)
        .args(arguments)
        .output();
    let output = output.expect("the interpreter of TANGRAM_PYTHON runs");
    assert!(
        output.status.success(),
        "{} failed:\n{}{}",
        script.display(),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Some(())
}

/// The folder of `make_files.py`'s files, made once for all tests of this process; `None` without Python.
///
/// It stays in the build folder until the next process makes it anew: a static is not dropped.
pub fn files() -> Option<&'static Path> {
    static MADE: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python_files");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        run("make_files.py", &[&folder]).map(|()| folder)
    });
    made.as_deref()
}
