//! Spots taken apart into types as a person does it: with a label image, with a table, without either, and what is refused.

use crate::program::{fail, listing, require, succeed, summary};
use image::{ImageBuffer, Luma};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use tangram_core::{Column, Table};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, Uns};
use tempfile::TempDir;

const INPUTS: &str =
    "--cells tissue/cells.h5ad --voxels tissue/spots.h5ad --annotation obs:cell_type";
/// Cells of the image that lie in no spot.
const OUTSIDE: [[u32; 2]; 2] = [[3, 3], [9, 3]];

/// A simulated tissue, the cells of its spots as a label image and as a table, and the results for both.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let sizes = "--cells 300 --voxels 60 --spots 24 --genes 120 --panel 60 --density 0.3";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            draw(folder.path());
            for (file, out) in [("cells.png", "of_image"), ("cells.csv", "of_table")] {
                let flags = "--spot-diameter 150 --truth obsm:true_prop";
                succeed(
                    folder.path(),
                    &format!("deconvolve {INPUTS} --segmentation {file} {flags} --out {out}"),
                );
            }
            folder
        })
        .path()
}

/// Draws the cells of every spot as squares of 3 × 3 pixels, a pixel a µm, and writes their middles as a table.
fn draw(folder: &Path) {
    let spots = Dataset::open(&folder.join("tissue/spots.h5ad")).unwrap();
    let places = spots.spatial().unwrap().unwrap();
    let mut centres: Vec<[u32; 2]> = OUTSIDE.to_vec();
    for (spot, n) in numbers(&spots, "n_cells").into_iter().enumerate() {
        let [x, y] = [0, 1].map(|axis| places[[spot, axis]].round() as u32);
        centres.extend((0..n as u32).map(|i| [x + 4 * (i % 4) - 6, y + 4 * (i / 4) - 4]));
    }
    let size = |axis: usize| centres.iter().map(|c| c[axis]).max().unwrap() + 40;
    let mut image = ImageBuffer::<Luma<u16>, Vec<u16>>::new(size(0), size(1));
    let mut table = "id,x,y\n".to_owned();
    for (i, [x, y]) in centres.iter().enumerate() {
        let label = 3 * i as u16 + 7;
        for (dx, dy) in (0..9).map(|i| (i % 3, i / 3)) {
            image.put_pixel(x + dx - 1, y + dy - 1, Luma([label]));
        }
        table.push_str(&format!("{label},{x},{y}\n"));
    }
    image.save(folder.join("cells.png")).unwrap();
    fs::write(folder.join("cells.csv"), table).unwrap();
}

fn numbers(file: &Dataset, column: &str) -> Vec<f64> {
    let column = file.obs_column(column).unwrap().as_numbers().unwrap();
    column.into_iter().map(Option::unwrap).collect()
}

fn matrix(file: &Dataset, name: &str) -> Array2<f32> {
    let matrix = file.matrix(&name.parse::<MatrixName>().unwrap()).unwrap();
    matrix.read_rows_any(0..file.n_obs()).unwrap().to_dense()
}

fn open(folder: &Path, name: &str) -> Dataset {
    Dataset::open(&folder.join(name)).unwrap()
}

#[test]
fn a_label_image_and_a_table_of_its_middles_give_the_same() {
    let folder = tissue();
    let [image, table] = ["of_image", "of_table"].map(|out| folder.join(out));
    let [a, b] = [&image, &table].map(|out| open(out, "cells.h5ad"));
    assert_eq!(a.obs().unwrap(), b.obs().unwrap());
    assert_eq!(a.spatial().unwrap(), b.spatial().unwrap());
    let [a, b] = [&image, &table].map(|out| open(out, "proportions.h5ad"));
    assert_eq!(a.obs().unwrap(), b.obs().unwrap());
    assert_eq!(a.matrix_names().unwrap(), b.matrix_names().unwrap());
    for name in [
        "X",
        "layer:mapping",
        "layer:nnls",
        "layer:poisson",
        "layer:cells",
    ] {
        assert_eq!(matrix(&a, name), matrix(&b, name), "{name}");
    }
    for name in ["counts.tsv", "scores.tsv"] {
        let text = |out: &Path| fs::read_to_string(out.join(name)).unwrap();
        assert_eq!(text(&image), text(&table));
    }
}

#[test]
fn types_of_a_spot_are_as_many_as_its_segmented_cells() {
    let folder = tissue();
    let out = folder.join("of_image");
    let spots = open(folder, "tissue/spots.h5ad");
    let n_cells = numbers(&spots, "n_cells");
    let counted = open(&out, "spots.h5ad");
    assert_eq!(numbers(&counted, "n_segmented"), n_cells);
    assert_eq!(matrix(&counted, "X"), matrix(&spots, "X"));
    assert_eq!(counted.var().unwrap(), spots.var().unwrap());

    let proportions = open(&out, "proportions.h5ad");
    let (shares, cells) = (
        matrix(&proportions, "X"),
        matrix(&proportions, "layer:cells"),
    );
    let expected = matrix(&proportions, "layer:expected_cells");
    for (spot, n) in n_cells.iter().enumerate() {
        assert!((shares.row(spot).sum() - 1.0).abs() < 1e-5);
        assert_eq!(f64::from(cells.row(spot).sum()), *n);
        for (c, e) in cells.row(spot).iter().zip(expected.row(spot)) {
            assert!((c - e).abs() < 1.0, "{c} cells where {e} are expected");
        }
    }
    // The table of cells says the same, and keeps those outside of all spots.
    let table = open(&out, "cells.h5ad").obs().unwrap();
    let total: f64 = n_cells.iter().sum();
    assert_eq!(table.len(), total as usize + OUTSIDE.len());
    let (places, types) = (
        table.column("spot").unwrap().texts(),
        table.column("cell_type").unwrap().texts(),
    );
    let mut given: BTreeMap<(String, String), f32> = BTreeMap::new();
    for (place, of_type) in places.iter().zip(&types) {
        assert_eq!(place.is_empty(), of_type.is_empty());
        *given.entry((place.clone(), of_type.clone())).or_default() += 1.0;
    }
    assert_eq!(given[&(String::new(), String::new())], OUTSIDE.len() as f32);
    let (spots, types) = (spots.obs_names().unwrap(), proportions.var_names().unwrap());
    for (spot, name) in spots.iter().enumerate() {
        for (t, of_type) in types.iter().enumerate() {
            let found = given.get(&(name.clone(), of_type.clone())).copied();
            assert_eq!(found.unwrap_or_default(), cells[[spot, t]]);
        }
    }
    let counts = fs::read_to_string(out.join("counts.tsv")).unwrap();
    assert_eq!(counts.lines().count(), spots.len() + 1);
    for (line, n) in counts.lines().skip(1).zip(&n_cells) {
        let fields: Vec<&str> = line.split('\t').collect();
        assert_eq!((fields[1], fields[2]), (fields[2], n.to_string().as_str()));
        let placed: f64 = fields[4].parse().unwrap();
        assert_eq!(fields[5].is_empty(), placed == *n, "{line}");
    }
    // Σ f is the number of segmented cells.
    let mass: f64 = numbers(&proportions, "expected_reference_cells")
        .iter()
        .sum();
    assert!((mass - total).abs() < 1e-3, "{mass} of {total}");
}

#[test]
fn cells_are_drawn_in_their_spots_by_type() {
    let folder = tissue();
    succeed(folder, "plot cells of_image --out cells.svg");
    let drawn = fs::read_to_string(folder.join("cells.svg")).unwrap();
    let obs = open(folder, "of_image/cells.h5ad").obs().unwrap();
    // A disc for each cell, a circle for each of the 24 spots.
    assert_eq!(drawn.matches("<circle").count(), obs.len() + 24);
    let heading = format!("{} segmented cells in 24 spots, by cell_type", obs.len());
    assert!(drawn.contains(&heading), "{heading}");
    let types = obs.column("cell_type").unwrap().texts();
    let mut n_of: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &types {
        *n_of.entry(name).or_default() += 1;
    }
    for (name, n) in n_of {
        let entry = match name {
            "" => format!("none ({n})"),
            name => format!("{name} ({n})"),
        };
        assert!(drawn.contains(&entry), "{entry}");
    }
    succeed(
        folder,
        &format!("deconvolve {INPUTS} --method nnls --out no_cells"),
    );
    let error = fail(folder, "plot cells no_cells --out no.svg", 3);
    assert!(error.contains("--segmentation"), "{error}");
    let error = fail(folder, "plot cells tissue --out no.svg", 3);
    assert!(error.contains("tangram deconvolve"), "{error}");
    let error = fail(folder, "plot cells of_image --gene A --out no.svg", 2);
    assert!(error.contains("does not use --gene"), "{error}");
    assert!(!folder.join("no.svg").exists());
}

#[test]
fn cells_keep_the_colours_of_their_types() {
    let folder = tissue();
    let own = tempfile::tempdir().unwrap();
    let cells = open(folder, "tissue/cells.h5ad");
    let Column::Categorical { categories, .. } = cells.obs_column("cell_type").unwrap() else {
        panic!("types are categories");
    };
    let colors = (0..categories.len()).map(|k| format!("#{k:02x}4488"));
    let colors: Vec<String> = colors.collect();
    let (obs, var) = (cells.obs().unwrap(), cells.var().unwrap());
    let path = own.path().join("cells.h5ad");
    let mut file = AnnDataWriter::create(&path, Existing::Refuse, &obs, &var).unwrap();
    file.uns("cell_type_colors", &Uns::Texts(colors.clone()))
        .unwrap();
    let counts = cells.matrix(&MatrixName::X).unwrap();
    let mut rows = file.sparse(&MatrixName::X).unwrap();
    rows.append(&counts.read_rows_any(0..cells.n_obs()).unwrap())
        .unwrap();
    rows.finish().unwrap();
    file.finish().unwrap();
    let tissue = folder.join("tissue/spots.h5ad");
    let line = format!(
        "deconvolve --cells cells.h5ad --voxels {} --annotation obs:cell_type --segmentation {} --spot-diameter 150 --method nnls --out types",
        tissue.display(),
        folder.join("cells.csv").display()
    );
    succeed(own.path(), &line);
    let written = open(own.path(), "types/cells.h5ad");
    let kept = written.uns_value("cell_type_colors").unwrap();
    let n_types = open(own.path(), "types/proportions.h5ad").n_vars();
    assert_eq!(n_types, colors.len(), "every type has cells");
    assert_eq!(kept, Some(Uns::Texts(colors.clone())));
    succeed(own.path(), "plot cells types --out cells.svg");
    let drawn = fs::read_to_string(own.path().join("cells.svg")).unwrap();
    assert!(colors.iter().all(|c| drawn.contains(&c.to_uppercase())));
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let folder = tissue();
    let again = |seed: &str, out: &str| {
        let flags = format!("--spot-diameter 150 --truth obsm:true_prop {seed}");
        let line = format!("deconvolve {INPUTS} --segmentation cells.png {flags} --out {out}");
        succeed(folder, &line);
        folder.join(out)
    };
    let (first, again, other) = (
        folder.join("of_image"),
        again("", "again"),
        again("--seed 7", "other"),
    );
    for name in listing(&first) {
        let name = name.file_name().unwrap();
        let bytes = |out: &Path| fs::read(out.join(name)).unwrap();
        assert!(bytes(&first) == bytes(&again), "{}", name.display());
    }
    let types = |out: &Path| open(out, "cells.h5ad").obs().unwrap();
    assert_ne!(types(&first), types(&other));
    // A run repeats itself.
    succeed(
        folder,
        "deconvolve --config of_image/deconvolve.toml --out repeated",
    );
    assert_eq!(types(&first), types(&folder.join("repeated")));
}

#[test]
fn scores_are_against_the_truth_and_beside_each_other() {
    let folder = tissue();
    let text = fs::read_to_string(folder.join("of_image/scores.tsv")).unwrap();
    let pooled = |method: &str| -> Vec<f64> {
        let line = text
            .lines()
            .find(|l| l.starts_with(&format!("{method}\t(all)\t")));
        let fields = line.unwrap().split('\t').skip(2);
        fields.map(|v| v.parse().unwrap()).collect()
    };
    for method in ["mapping", "nnls", "poisson"] {
        let [pearson, rmse, divergence] = pooled(method)[..] else {
            panic!("three scores")
        };
        assert!(pearson > 0.6 && rmse < 0.13, "{method} {pearson} {rmse}");
        assert!((0.0..0.5).contains(&divergence), "{method} {divergence}");
    }
    // Against themselves, as a file of each kind.
    let shares = open(folder, "of_image/proportions.h5ad");
    let (spots, types) = (shares.obs_names().unwrap(), shares.var_names().unwrap());
    let values = matrix(&shares, "layer:nnls");
    let mut table = format!("spot\t{}\n", types.join("\t"));
    for (spot, name) in spots.iter().enumerate().rev() {
        // As counts, in another order.
        let row: Vec<String> = values
            .row(spot)
            .iter()
            .map(|v| (3.0 * v).to_string())
            .collect();
        table.push_str(&format!("{name}\t{}\n", row.join("\t")));
    }
    fs::write(folder.join("truth.tsv"), table).unwrap();
    let var = shares.var().unwrap();
    let truth = folder.join("truth.h5ad");
    let mut file =
        AnnDataWriter::create(&truth, Existing::Refuse, &shares.obs().unwrap(), &var).unwrap();
    let mut sink = file.dense(&MatrixName::X).unwrap();
    sink.write_columns(0, values.view()).unwrap();
    sink.finish().unwrap();
    file.finish().unwrap();
    for truth in ["truth.tsv", "truth.h5ad"] {
        let line = format!("deconvolve {INPUTS} --method nnls --truth {truth} --out of_{truth}");
        let told = summary(folder, &line);
        let score = &told["scores"][0];
        assert!(
            score["pearson"].as_f64().unwrap() > 0.999999,
            "{truth} {score}"
        );
        assert!(score["rmse"].as_f64().unwrap() < 1e-6);
        assert!(score["jensen_shannon"].as_f64().unwrap() < 1e-6);
    }
}

#[test]
fn without_a_segmentation_there_are_compositions_alone() {
    let folder = tissue();
    let told = succeed(
        folder,
        &format!("deconvolve {INPUTS} --out alone --format zarr"),
    );
    assert!(told.contains("compositions alone"), "{told}");
    let mut names: Vec<String> = listing(&folder.join("alone"))
        .iter()
        .map(|p| p.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    names.sort();
    assert_eq!(names, ["deconvolve.toml", "proportions.zarr"]);
    // Numbers of cells without their places: whole numbers of every type.
    succeed(
        folder,
        &format!("deconvolve {INPUTS} --counts obs:n_cells --out counted"),
    );
    let counted = open(folder, "counted/proportions.h5ad");
    let cells = matrix(&counted, "layer:cells");
    let n_cells = numbers(&counted, "n_cells");
    for (row, n) in cells.rows().into_iter().zip(n_cells) {
        assert_eq!(f64::from(row.sum()), n);
    }
    // As the segmentation has the same counts, the mapping is the same.
    assert_eq!(
        matrix(&counted, "X"),
        matrix(&open(folder, "of_image/proportions.h5ad"), "X")
    );
}

#[test]
fn two_segmentations_count_a_cell_once_and_placed_cells_give_types() {
    let folder = tissue();
    let text = fs::read_to_string(folder.join("cells.csv")).unwrap();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    // All but the first five, a pixel away, and a new one beside the third.
    let mut second = "x\ty\n".to_owned();
    let place = |line: &str| -> Vec<f64> {
        line.split(',')
            .skip(1)
            .map(|v| v.parse().unwrap())
            .collect()
    };
    for line in &lines[5..] {
        let place = place(line);
        second.push_str(&format!("{}\t{}\n", place[0] + 1.0, place[1]));
    }
    let third = place(lines[2]);
    second.push_str(&format!("{}\t{}\n", third[0], third[1] - 30.0));
    fs::write(folder.join("second.tsv"), second).unwrap();
    let two = "--segmentation cells.png --segmentation second.tsv --spot-diameter 150";
    let told = summary(
        folder,
        &format!("deconvolve {INPUTS} {two} --types-from placed --method mapping --out merged"),
    );
    assert_eq!(told["n_merged"].as_u64(), Some(lines.len() as u64 - 5));
    let cells = open(folder, "merged/cells.h5ad").obs().unwrap();
    assert_eq!(cells.len(), lines.len() + 1);
    assert!(cells.names.contains(&format!("2:{}", lines.len() - 4)));
    // No type is made up: a spot gives those of its placed cells.
    let without = cells.column("cell_type").unwrap().missing();
    let inside = cells.column("spot").unwrap().missing();
    let n_without = without
        .iter()
        .zip(&inside)
        .filter(|(t, s)| **t && !**s)
        .count();
    assert_eq!(told["n_without_type"].as_u64(), Some(n_without as u64));
    let n_inside = inside.iter().filter(|outside| !**outside).count() as u64;
    let [placed, beyond] = ["n_placed", "n_placed_beyond"].map(|k| told[k].as_u64().unwrap());
    assert_eq!(placed - beyond + n_without as u64, n_inside);

    let tables =
        "--segmentation cells.csv --segmentation second.tsv --spot-diameter 150 --method nnls";
    let told = fail(
        folder,
        &format!("deconvolve {INPUTS} {tables} --out tables"),
        2,
    );
    assert!(told.contains("--merge-distance"), "{told}");
    let line = format!("deconvolve {INPUTS} {tables} --merge-distance 1.5 --out tables");
    assert_eq!(
        summary(folder, &line)["n_merged"].as_u64(),
        Some(lines.len() as u64 - 5)
    );
}

#[test]
fn what_cannot_be_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    succeed(
        folder,
        "simulate --out tissue --cells 60 --voxels 30 --spots 12 --genes 60 --panel 40",
    );
    draw(folder);
    ImageBuffer::<Luma<u8>, Vec<u8>>::from_pixel(200, 100, Luma([1]))
        .save(folder.join("small.png"))
        .unwrap();
    let mut npy = b"\x93NUMPY\x01\x00".to_vec();
    let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (1, 2), }\n";
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.as_bytes());
    npy.extend([1.0_f64, 0.5].iter().flat_map(|v| v.to_le_bytes()));
    fs::write(folder.join("shares.npy"), npy).unwrap();
    fs::write(folder.join("far.csv"), "x,y\n-900,-900\n").unwrap();
    fs::write(folder.join("text.csv"), "hello\nworld\n").unwrap();
    fs::write(folder.join("truth.tsv"), "spot\tmoon\nspot_0000000\t1\n").unwrap();
    let spots = open(folder, "tissue/spots.h5ad");
    let mut obs = Table::of_names(spots.obs_names().unwrap());
    obs.set("nothing", Column::numbers(vec![0.0; 12]));
    obs.set("halves", Column::numbers(vec![0.5; 12]));
    let placeless = folder.join("placeless.h5ad");
    let mut file =
        AnnDataWriter::create(&placeless, Existing::Refuse, &obs, &spots.var().unwrap()).unwrap();
    let rows = spots
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows(0..12)
        .unwrap();
    let mut sink = file.sparse(&MatrixName::X).unwrap();
    sink.append(&rows).unwrap();
    sink.finish().unwrap();
    file.finish().unwrap();
    drop(spots);

    let before = listing(folder);
    let without = "--cells tissue/cells.h5ad --voxels placeless.h5ad --annotation obs:cell_type";
    let untyped = "--cells tissue/cells.h5ad --voxels tissue/spots.h5ad --annotation";
    for (inputs, flags, code, words) in [
        (
            INPUTS,
            "--spot-diameter 90 --segmentation small.png",
            3,
            "is 200 × 100 pixels",
        ),
        (
            INPUTS,
            "--spot-diameter 90 --segmentation-scale 0.0005 --segmentation shares.npy",
            3,
            "whole numbers",
        ),
        (
            INPUTS,
            "--spot-diameter 90 --segmentation far.csv",
            3,
            "lies in a spot",
        ),
        (
            INPUTS,
            "--spot-diameter 90 --segmentation text.csv",
            3,
            "no columns x and y",
        ),
        (
            INPUTS,
            "--spot-diameter 90 --segmentation none.tif",
            3,
            "none.tif",
        ),
        (INPUTS, "--segmentation cells.png", 3, "--spot-diameter"),
        (
            without,
            "--spot-diameter 90 --segmentation cells.png",
            3,
            "no coordinates",
        ),
        (without, "--counts obs:nothing", 3, "no spot holds a cell"),
        (without, "--counts obs:halves", 3, "0.5"),
        (INPUTS, "--counts obs:layer", 3, "no numbers"),
        (
            INPUTS,
            "--counts obs:n_cells --segmentation cells.png",
            2,
            "--counts",
        ),
        (untyped, "obs:moon", 3, "moon"),
        (untyped, "obs:depth_um", 3, "holds numbers"),
        (
            INPUTS,
            "--mode constrained",
            2,
            "--segmentation or --counts",
        ),
        (
            INPUTS,
            "--method nnls --types-from placed",
            2,
            "--method mapping",
        ),
        (INPUTS, "--method nnls --truth truth.tsv", 3, "moon"),
        (INPUTS, "--method nnls --truth obsm:moon", 3, "moon"),
    ] {
        let told = fail(
            folder,
            &format!("deconvolve {inputs} {flags} --out refused"),
            code,
        );
        assert!(told.contains(words), "{flags}: {told}");
        assert!(
            told.lines().filter(|l| l.starts_with("error")).count() == 1,
            "{told}"
        );
        assert_eq!(listing(folder), before, "{flags}");
    }
    // What is there stays, unless it is asked for and ours.
    let line = format!("deconvolve {INPUTS} --method nnls --out out");
    succeed(folder, &line);
    assert!(fail(folder, &line, 4).contains("exists already"));
    succeed(folder, &format!("{line} --force"));
    fail(
        folder,
        &format!("deconvolve {INPUTS} --method nnls --out tissue --force"),
        4,
    );
    assert!(folder.join("tissue/cells.h5ad").is_file());
}

#[test]
fn the_files_open_in_scanpy() {
    let Some(python) = require::python() else {
        return;
    };
    let script = r#"
import warnings; warnings.simplefilter("error")
for quiet in (FutureWarning, DeprecationWarning, PendingDeprecationWarning):
    warnings.simplefilter("ignore", quiet)
import numpy as np, scanpy as sc
cells = sc.read_h5ad("of_image/cells.h5ad")
spots = sc.read_h5ad("of_image/spots.h5ad")
shares = sc.read_h5ad("of_image/proportions.h5ad")
assert cells.obs["cell_type"].dtype == "category" and cells.obs["spot"].dtype == "category"
assert cells.obsm["spatial"].shape == (cells.n_obs, 2)
assert cells.obs["spot"].isna().sum() == 2
inside = cells[~cells.obs["spot"].isna()]
apart = inside.obsm["spatial"] - spots[inside.obs["spot"].astype(str)].obsm["spatial"]
assert (np.hypot(*apart.T) < 75).all(), "a cell lies in its spot"
counts = inside.obs.groupby(["spot", "cell_type"], observed=False).size().unstack()
counts = counts.reindex(index=shares.obs_names, columns=shares.var_names, fill_value=0)
assert (counts.values == shares.layers["cells"]).all()
assert (spots.obs["n_segmented"] == spots.obs["n_cells"]).all()
assert np.allclose(shares.X.sum(axis=1), 1) and set(shares.layers) >= {"mapping", "nnls", "poisson"}
assert shares.uns["tangram"]["settings"]["annotation"] == "obs:cell_type"
"#;
    let output = Command::new(python)
        .args(["-c", script])
        .current_dir(tissue())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn the_commands_of_the_guide_run() {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/deconvolution.md");
    let text = fs::read_to_string(guide).unwrap();
    let blocks: Vec<&str> = text
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 4, "the guide has commands");
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tangram")).parent().unwrap();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(program.to_owned()).chain(std::env::split_paths(&paths));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &blocks.concat()])
        .env("PATH", std::env::join_paths(paths).unwrap())
        .current_dir(folder.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    for file in [
        "types/cells.h5ad",
        "types/scores.tsv",
        "again/proportions.h5ad",
    ] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
}
