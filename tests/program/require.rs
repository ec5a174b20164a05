//! What some tests need of the machine, and when they may be skipped without it.
//!
//! `TANGRAM_REQUIRE=slurm,python,disk,browser` names what must be there: a test that would be skipped for the lack of it fails instead.
//! `scripts/test.sh` sets it to everything that it could provide.

use std::fmt::{self, Display};

/// Names the things that must be there, separated by commas.
const VARIABLE: &str = "TANGRAM_REQUIRE";

/// Something that a machine may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A Slurm cluster, started by the test; only root can.
    Slurm,
    /// A Python with anndata and scanpy, named by `TANGRAM_PYTHON`.
    Python,
    /// A small disk, mounted by the test.
    Disk,
    /// A headless Chromium, and a Python with playwright, named by `TANGRAM_BROWSER_PYTHON`.
    Browser,
}

impl Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Slurm => "slurm",
            Self::Python => "python",
            Self::Disk => "disk",
            Self::Browser => "browser",
        })
    }
}

/// What [`VARIABLE`] names; those of the crates' own tests included.
const KNOWN: [&str; 5] = ["slurm", "python", "disk", "shellcheck", "browser"];

fn required() -> Vec<String> {
    let list = std::env::var(VARIABLE).unwrap_or_default();
    let names = list.split(',').map(str::trim).filter(|n| !n.is_empty());
    names.map(str::to_owned).collect()
}

/// Says that a test is skipped, which fails where the need is required.
#[track_caller]
pub fn skip(need: Need, why: impl Display) {
    assert!(
        !required().contains(&need.to_string()),
        "{VARIABLE} names {need}, but {why}"
    );
    eprintln!("SKIPPED for the lack of {need}: {why}");
}

/// The interpreter for tests that read files as other tools do.
#[track_caller]
pub fn python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("TANGRAM_PYTHON").filter(|p| !p.is_empty());
    if python.is_none() {
        skip(
            Need::Python,
            "TANGRAM_PYTHON names no interpreter (scripts/python-env.sh tests makes one)",
        );
    }
    python
}

/// The interpreter for tests that drive a browser.
#[track_caller]
pub fn browser_python() -> Option<std::ffi::OsString> {
    let python = std::env::var_os("TANGRAM_BROWSER_PYTHON").filter(|p| !p.is_empty());
    if python.is_none() {
        skip(
            Need::Browser,
            "TANGRAM_BROWSER_PYTHON names no interpreter (scripts/python-env.sh browser makes one)",
        );
    }
    python
}

#[test]
fn only_known_things_are_required() {
    for name in required() {
        assert!(
            KNOWN.contains(&name.as_str()),
            "{VARIABLE}: `{name}` is none of {KNOWN:?}"
        );
    }
}
