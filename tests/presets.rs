//! The settings files of the paper's cases: each maps a simulated tissue of its kind.

use crate::program::{succeed, summary};
use ndarray::Array2;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tangram_core::{Column, Table};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName};
use tempfile::TempDir;

const PRESETS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/presets");

/// More cells than voxels and spots; spots with a column of cells, as an atlas has it.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let sizes = "--cells 300 --voxels 60 --spots 20 --genes 80 --panel 50";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            let spots = Dataset::open(&folder.path().join("tissue/spots.h5ad")).unwrap();
            let mut obs = Table::of_names(spots.obs_names().unwrap());
            let n_cells = spots.obs_column("n_cells").unwrap().as_numbers().unwrap();
            obs.set("cells", Column::Numeric(n_cells));
            let var = Table::of_names(spots.var_names().unwrap());
            let out = folder.path().join("atlas.h5ad");
            let mut file = AnnDataWriter::create(&out, Existing::Refuse, &obs, &var).unwrap();
            let places: Array2<f64> = spots.spatial().unwrap().unwrap();
            file.obsm("spatial", places.view()).unwrap();
            let counts = spots
                .matrix(&MatrixName::X)
                .unwrap()
                .read_rows(0..20)
                .unwrap();
            // Energies: no counts.
            let energies = counts.to_dense().mapv(|count| 0.37 * count);
            let mut matrix = file.dense(&MatrixName::X).unwrap();
            matrix.write_columns(0, energies.view()).unwrap();
            matrix.finish().unwrap();
            file.finish().unwrap();
            folder
        })
        .path()
}

/// Maps by a preset; its settings and record.
fn mapped(name: &str, voxels: &str) -> Value {
    let files =
        format!("--config {PRESETS}/{name}.toml --cells tissue/cells.h5ad --voxels {voxels}");
    let run = summary(tissue(), &format!("map {files} --threads 1 --out {name}"));
    let map = &run["map"];
    // What all cases share: the paper's terms, its loss as it is.
    for (key, value) in [
        ("lambda-g1", 1.0),
        ("lambda-g2", 1.0),
        ("lambda-d", 1.0),
        ("lambda-r", 0.0),
    ] {
        assert_eq!(map[key], json!(value), "{name}: {key}");
    }
    assert_eq!(map["transform"], json!("none"), "{name}");
    assert_eq!(map["temperature"], json!("off"), "{name}");
    assert_eq!(
        run["record"]["stopped-early"],
        json!(true),
        "{name} converges"
    );
    let cosine = run["record"]["train-score"]["mean-cosine"]
        .as_f64()
        .unwrap();
    assert!(cosine > 0.5, "{name}: {cosine}");
    run
}

#[test]
fn single_cell_methods_keep_as_many_cells_as_voxels() {
    for name in ["merfish", "smfish", "starmap"] {
        let run = mapped(name, "tissue/voxels.h5ad");
        assert_eq!(run["map"]["target-count"], json!("voxels"), "{name}");
        assert_eq!(run["map"]["prior"], json!("uniform"), "{name}");
        assert_eq!(run["map"]["epochs"], json!(1200), "{name}");
        let kept = run["record"]["n-kept"].as_u64().unwrap();
        assert!((1..300).contains(&kept), "{name}: {kept}");
    }
    let run = mapped("share-seq", "tissue/voxels.h5ad");
    assert_eq!(run["record"]["n-kept"], Value::Null);
    assert_eq!(run["map"]["prior"], json!("uniform"));
}

#[test]
fn spots_have_the_density_of_their_cells() {
    let run = mapped("visium", "tissue/spots.h5ad");
    assert_eq!(
        (&run["map"]["prior"], &run["map"]["epochs"]),
        (&json!("obs:n_cells"), &json!(300))
    );
    let run = mapped("visium-deconvolution", "tissue/spots.h5ad");
    assert_eq!(run["map"]["epochs"], json!(6000));
    let spots = Dataset::open(&tissue().join("tissue/spots.h5ad")).unwrap();
    let n_cells = spots.obs_column("n_cells").unwrap().as_numbers().unwrap();
    let segmented: f64 = n_cells.into_iter().map(Option::unwrap).sum();
    succeed(
        tissue(),
        "project --mapping visium-deconvolution --types obs:cell_type --out types.h5ad",
    );
    let types = Dataset::open(&tissue().join("types.h5ad")).unwrap();
    let expected = types.obs_column("expected_reference_cells").unwrap();
    let kept: f64 = expected
        .as_numbers()
        .unwrap()
        .into_iter()
        .map(Option::unwrap)
        .sum();
    assert!(
        (kept - segmented).abs() < 1e-3 * segmented,
        "{kept} of {segmented}"
    );
    let run = mapped("allen", "atlas.h5ad");
    assert_eq!(
        (&run["map"]["prior"], &run["map"]["epochs"]),
        (&json!("obs:cells"), &json!(150))
    );
    assert_eq!(run["map"]["values-voxels"], json!("as-is"));
}

#[test]
fn every_preset_is_run_by_a_test() {
    let here = include_str!("presets.rs");
    let mut n = 0;
    for entry in fs::read_dir(PRESETS).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        assert!(here.contains(&format!("\"{name}\"")), "{name}");
        n += 1;
    }
    assert_eq!(n, 7);
}
