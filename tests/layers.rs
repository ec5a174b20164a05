//! The layers of the house: who may depend on whom, held by reading the Cargo.toml files.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use toml::{Table, Value};

/// The crates from the top down; a crate depends on crates below it only.
const LAYERS: [&str; 10] = [
    "tangram",
    "tangram-pipeline",
    "tangram-report",
    "tangram-sweep",
    "tangram-networks",
    "tangram-atlas",
    "tangram-mapper",
    "tangram-store",
    "tangram-comm",
    "tangram-core",
];

/// Libraries that meet the rest of the program in one crate only, by the name of the package.
const HOMES: [(&str, &str); 14] = [
    ("safetensors", "tangram-networks"),
    ("hdf5-metno", "tangram-store"),
    ("zarrs", "tangram-store"),
    ("png", "tangram-store"),
    ("tiff", "tangram-store"),
    ("mpi", "tangram-comm"),
    ("image", "tangram-atlas"),
    ("tera", "tangram-sweep"),
    ("plotters", "tangram-report"),
    ("plotly", "tangram-report"),
    ("resvg", "tangram-report"),
    ("svg2pdf", "tangram-report"),
    ("clap", "tangram"),
    ("anyhow", "tangram"),
];

/// Dependencies of every crate of the workspace, by package name; those of tests are free.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates"))
        .unwrap()
        .map(|e| e.unwrap().path());
    let manifests = crates
        .chain([root.to_owned()])
        .map(|folder| folder.join("Cargo.toml"))
        .filter(|m| m.is_file());
    manifests
        .map(|manifest| {
            let manifest: Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
            let name = manifest["package"]["name"].as_str().unwrap().to_owned();
            (
                name,
                tables(&manifest).into_iter().flat_map(packages).collect(),
            )
        })
        .collect()
}

/// The tables of dependencies of a manifest, those for some platforms included.
fn tables(manifest: &Table) -> Vec<&Table> {
    let targets = manifest.get("target").and_then(Value::as_table);
    let of_targets = targets
        .into_iter()
        .flat_map(|t| t.values().filter_map(Value::as_table));
    std::iter::once(manifest)
        .chain(of_targets)
        .flat_map(|t| {
            ["dependencies", "build-dependencies"]
                .into_iter()
                .filter_map(|key| t.get(key)?.as_table())
        })
        .collect()
}

fn packages(table: &Table) -> Vec<String> {
    let package = |(key, value): (&String, &Value)| match value.get("package") {
        Some(Value::String(package)) => package.clone(),
        _ => key.clone(),
    };
    table.iter().map(package).collect()
}

#[test]
fn arrows_point_down_only() {
    let all = dependencies();
    let known: BTreeSet<&str> = LAYERS.into();
    assert_eq!(
        all.keys().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "a new crate needs its layer here"
    );
    for (name, dependencies) in &all {
        let layer = |name: &str| LAYERS.iter().position(|l| *l == name);
        for below in dependencies.iter().filter(|d| layer(d).is_some()) {
            assert!(
                layer(below) > layer(name),
                "{name} depends on {below}, which is not below it"
            );
        }
    }
}

#[test]
fn pictures_know_no_data_files() {
    let report = &dependencies()["tangram-report"];
    let layers: Vec<&String> = report
        .iter()
        .filter(|d| LAYERS.contains(&d.as_str()))
        .collect();
    assert_eq!(layers, ["tangram-core"]);
}

#[test]
fn every_outside_library_has_one_home() {
    for (library, home) in HOMES {
        let all = dependencies();
        let users: Vec<&String> = all
            .iter()
            .filter(|(_, d)| d.contains(library))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(users, [home], "{library} belongs to {home} alone");
    }
}

#[test]
fn libtorch_has_two_homes() {
    let all = dependencies();
    let users = all.iter().filter(|(_, d)| d.contains("tch"));
    let users: Vec<&String> = users.map(|(name, _)| name).collect();
    assert_eq!(users, ["tangram-mapper", "tangram-networks"]);
}

#[test]
fn the_core_knows_no_files_and_no_tensors() {
    let core = &dependencies()["tangram-core"];
    let allowed: BTreeSet<String> = [
        "ndarray",
        "rand",
        "rand_chacha",
        "rand_distr",
        "rayon",
        "serde",
        "thiserror",
    ]
    .map(str::to_owned)
    .into();
    assert!(
        core.is_subset(&allowed),
        "tangram-core got {:?}",
        core.difference(&allowed).collect::<Vec<_>>()
    );
}
