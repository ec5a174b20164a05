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
        "map --cells a --voxels b --out run --goal package --lambda-g1 0",
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

/// The command that an output ends by naming, without the program's name and what stands behind it for people.
fn next(output: &str) -> String {
    let line = output.lines().last().unwrap();
    let command = line.strip_prefix("next: tangram ");
    let command = command.unwrap_or_else(|| panic!("no next command in:\n{output}"));
    command.split("    (").next().unwrap().to_owned()
}

#[test]
fn commands_name_the_next_one_and_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let small = "--cells 200 --voxels 60 --spots 20 --genes 80 --panel 40";
    let simulated = succeed(here, &format!("simulate --out tissue {small}"));
    let mapped = succeed(here, &format!("{} --epochs 5", next(&simulated)));
    succeed(here, &next(&mapped));
    let projected = succeed(
        here,
        "project --mapping run --types obs:cell_type --out types.h5ad",
    );
    succeed(here, &next(&projected));
    assert!(here.join("types.png").is_file());
    let genes = succeed(here, "project --mapping run --genes all --out genes.h5ad");
    succeed(here, &next(&genes));
    let inspected = succeed(here, "inspect tissue/cells.h5ad");
    assert!(
        inspected.contains("next: tangram map --cells"),
        "{inspected}"
    );

    let inputs = "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad";
    let planned = succeed(
        here,
        &format!("sweep new kfold --folds 2 {inputs} --epochs 5 --out folds"),
    );
    let done = succeed(here, &next(&planned));
    let collected = succeed(here, &next(&done));
    succeed(here, &next(&collected));
}

#[test]
fn what_is_mistyped_leads_somewhere() {
    for (typed, wanted) in [
        ("train", "'map'"),
        ("project_genes", "'project'"),
        ("LOO", "'sweep'"),
        ("mapp", "'map'"),
        (
            "map cells.h5ad voxels.h5ad",
            "--cells CELLS --voxels VOXELS",
        ),
        ("score run", "tangram score --mapping RUN"),
        ("map --voxel v.h5ad", "'--voxels'"),
    ] {
        let told = fail(here(), typed, 2);
        assert!(told.contains(wanted), "tangram {typed}: {told}");
    }
    // Without arguments, what there is.
    let told = fail(here(), "", 2);
    assert!(
        told.contains("Commands:") && told.contains("  map "),
        "{told}"
    );
}
