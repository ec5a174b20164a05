//! What the program says of itself.

use crate::program::{fail, succeed};
use std::path::Path;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn help_texts() {
    insta::assert_snapshot!("help", succeed(here(), "--help"));
    for command in [
        "simulate",
        "map",
        "place",
        "project",
        "deconvolve",
        "score",
        "inspect",
        "plot",
        "submit map",
        "sweep submit",
        "sweep status",
        "sweep resume",
    ] {
        insta::assert_snapshot!(
            format!("help_{}", command.replace(' ', "_")),
            succeed(here(), &format!("{command} --help"))
        );
    }
}

#[test]
fn versions_name_the_libraries() {
    let short = succeed(here(), "-V");
    assert_eq!(
        short.trim(),
        format!("tangram {}", env!("CARGO_PKG_VERSION"))
    );
    let long = succeed(here(), "--version");
    let names: Vec<&str> = long
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names, ["tangram", "libtorch", "HDF5", "MPI"]);
    if !cfg!(feature = "torch") {
        assert!(long.contains("libtorch not built in"), "{long}");
        return;
    }
    for number in long
        .lines()
        .skip(1)
        .take(2)
        .map(|line| line.split_whitespace().last().unwrap())
    {
        assert!(number.split('.').count() == 3, "{long}");
    }
    // The bindings are made for one version of libtorch, which scripts/setup.sh fetches.
    let setup = std::fs::read_to_string(here().join("scripts/setup.sh")).unwrap();
    let pinned = setup
        .lines()
        .find_map(|l| l.strip_prefix("TANGRAM_TORCH_VERSION="));
    let (minor, _) = pinned.unwrap().rsplit_once('.').unwrap();
    let linked = long.lines().find_map(|l| l.strip_prefix("libtorch "));
    assert!(
        linked.unwrap().starts_with(&format!("{minor}.")),
        "{long} for {minor}"
    );
}

#[test]
fn completions_know_commands_and_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = succeed(here(), &format!("completions {shell}"));
        for word in ["simulate", "project", "lambda-g1", "hold-out"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn a_command_line_that_is_wrong_is_told_so() {
    let wrong = [
        "map --cells a --voxels b --out run --epochs 0",
        "map --cells a --voxels b --out run --lr 0",
        "map --cells a --voxels b --out run --lambda-g1 -1",
        "map --cells a --voxels b --out run --keep most",
        "map --cells a --voxels b --out run --keep mass:1.5",
        "map --cells a --voxels b --out run --prior obs:",
        "map --cells a --voxels b --out run --transform log",
        "map --cells a --voxels b --out run --prior none --lambda-d 1",
        "map --cells a --voxels b --out run --lambda-g1 0 --lambda-g2 0",
        "map --cells a --voxels b --out run --genes a --hold-out b",
        "map --cells a",
        "project --mapping run --out file.h5ad",
        "project --mapping run --out file.h5ad --types cell_type",
        "simulate --out tissue --cells 0",
        "simulate --out tissue --genes 10 --panel 20",
        "mapp",
        "train",
        "cross_val",
        "map cells.h5ad voxels.h5ad",
        "score run",
        "plot",
        "plot map",
    ];
    let told: Vec<String> = wrong
        .iter()
        .map(|line| format!("$ tangram {line}\n{}", fail(here(), line, 2)))
        .collect();
    insta::assert_snapshot!("usage", told.join("\n"));
}
