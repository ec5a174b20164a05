//! From a simulated tissue to scores, through the program alone.

use crate::program::{fail, require, run, shared_folder, succeed, summary};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use tangram_core::{Column, SparseRows};
use tangram_store::{Dataset, MatrixName, Uns};
use tempfile::TempDir;

/// Largest difference between transfers by the stored and by the exact mapping, as a share of the column's maximum.
const STORED_TOLERANCE: f32 = 1e-3;
/// Largest difference of probabilities between one thread and two.
const THREADS_TOLERANCE: f32 = 1e-6;

const MAP: &str =
    "map --solver adam --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --epochs 100";

/// A simulated tissue and a mapping of it, made once.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = shared_folder();
            let sizes = "--cells 400 --voxels 150 --spots 60 --genes 200 --panel 100";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            let held_out: Vec<String> = panel(folder.path())
                .into_iter()
                .enumerate()
                .filter(|(i, _)| i % 10 == 0)
                .map(|(_, g)| g)
                .collect();
            fs::write(folder.path().join("held_out.txt"), held_out.join("\n")).unwrap();
            succeed(
                folder.path(),
                &format!("{MAP} --out run --hold-out held_out.txt"),
            );
            folder
        })
        .path()
}

fn panel(folder: &Path) -> Vec<String> {
    Dataset::open(&folder.join("tissue/voxels.h5ad"))
        .unwrap()
        .var_names()
        .unwrap()
}

fn matrix(path: &Path) -> SparseRows {
    let dataset = Dataset::open(path).unwrap();
    dataset
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows(0..dataset.n_obs())
        .unwrap()
}

/// What `run.toml` says came of the run.
fn record(folder: &Path) -> toml::Value {
    let file: toml::Table = fs::read_to_string(folder.join("run/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    file["record"].clone()
}

fn history(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("history.tsv")).unwrap();
    text.lines()
        .map(|line| line.rsplit_once('\t').unwrap().0.to_owned())
        .collect()
}

#[test]
fn a_mapping_holds_what_is_known_of_cells_and_voxels() {
    let folder = tissue();
    let mapping = Dataset::open(&folder.join("run/mapping.zarr")).unwrap();
    let cells = Dataset::open(&folder.join("tissue/cells.h5ad")).unwrap();
    let voxels = Dataset::open(&folder.join("tissue/voxels.h5ad")).unwrap();
    assert_eq!(mapping.obs_names().unwrap(), cells.obs_names().unwrap());
    assert_eq!(mapping.var().unwrap(), voxels.obs().unwrap());
    assert_eq!(mapping.varm("spatial").unwrap(), voxels.spatial().unwrap());
    assert_eq!(
        mapping.obs_column("cell_type").unwrap(),
        cells.obs_column("cell_type").unwrap()
    );

    let Column::Numeric(dropped) = mapping.obs_column("dropped_mass").unwrap() else {
        panic!("not numbers")
    };
    let stored = matrix(&folder.join("run/mapping.zarr")).row_sums();
    for (dropped, stored) in dropped.iter().zip(stored) {
        let dropped = dropped.unwrap();
        assert!(
            (0.0..=0.001).contains(&dropped) && (dropped + stored - 1.0).abs() < 1e-5,
            "{dropped} {stored}"
        );
    }
    let Some(Uns::Numbers(total)) = mapping.uns_value("training_history/total").unwrap() else {
        panic!("no history")
    };
    assert_eq!(total.len(), 100);
    assert!(total[99] < total[0]);
    let lines = history(&folder.join("run"));
    assert_eq!(lines.len(), 101);
    assert_eq!(
        lines[100]
            .split('\t')
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap(),
        total[99]
    );
    let Some(Uns::Texts(held_out)) = mapping.uns_value("held_out_genes").unwrap() else {
        panic!("no genes")
    };
    assert_eq!(held_out.len(), 10);
}

#[test]
fn types_land_in_their_layers_and_scores_tell_trained_from_held_out_genes() {
    let folder = tissue();
    succeed(
        folder,
        "project --mapping run --types obs:cell_type --out types.h5ad",
    );
    let types = Dataset::open(&folder.join("types.h5ad")).unwrap();
    let voxels = Dataset::open(&folder.join("tissue/voxels.h5ad")).unwrap();
    assert_eq!(types.spatial().unwrap(), voxels.spatial().unwrap());
    let labels = types.var_names().unwrap();
    let Column::Categorical {
        codes, categories, ..
    } = voxels.obs_column("cell_type").unwrap()
    else {
        panic!("no types")
    };
    let carried = matrix(&folder.join("types.h5ad")).to_dense();
    let found = carried
        .rows()
        .into_iter()
        .zip(&codes)
        .filter(|(row, code)| {
            let best = row
                .iter()
                .enumerate()
                .max_by(|a, b| a.1.total_cmp(b.1))
                .unwrap()
                .0;
            code.is_some_and(|c| categories[c as usize] == labels[best])
        });
    // Guessing the commonest type would find about a quarter.
    assert!(found.count() * 2 > codes.len(), "types of voxels found");

    let scores = summary(folder, "score --mapping run --out scores.tsv");
    let n_trained = record(folder)["n-genes"].as_integer().unwrap();
    assert_eq!(scores["train"]["n_genes"], Value::from(n_trained));
    assert_eq!(scores["test"]["n_genes"], Value::from(10));
    let mean = |part: &str| scores[part]["mean_cosine"].as_f64().unwrap();
    assert!(mean("train") > 0.5 && mean("test") > 0.3, "{scores}");
    let text = fs::read_to_string(folder.join("scores.tsv")).unwrap();
    let genes: Vec<&str> = text
        .lines()
        .skip(1)
        .map(|l| l.split('\t').next().unwrap())
        .collect();
    assert_eq!(genes, panel(folder));
    assert_eq!(
        text.lines().filter(|l| l.contains("\theld_out\t")).count(),
        10
    );
    let recorded = record(folder)["train-score"]["mean-cosine"]
        .as_float()
        .unwrap();
    // The run scores by the exact mapping, `score` by the stored one.
    assert!(
        (recorded - mean("train")).abs() < 1e-3,
        "{recorded} {}",
        mean("train")
    );
}

#[test]
fn the_same_command_gives_the_same_bits_and_threads_change_nothing() {
    let folder = tissue();
    for (out, threads) in [("first", 2), ("second", 2), ("single", 1)] {
        succeed(
            folder,
            &format!("{MAP} --keep all --threads {threads} --out {out}"),
        );
    }
    let p = |run: &str| matrix(&folder.join(run).join("mapping.zarr"));
    assert_eq!(p("first"), p("second"));
    assert_eq!(
        history(&folder.join("first")),
        history(&folder.join("second"))
    );
    let difference =
        (p("first").to_dense() - p("single").to_dense()).fold(0f32, |m, d| m.max(d.abs()));
    assert!(difference <= THREADS_TOLERANCE, "{difference}");
    // Another seed is another mapping, and 0 is a seed.
    succeed(folder, &format!("{MAP} --keep all --seed 0 --out zero"));
    succeed(
        folder,
        &format!("{MAP} --keep all --seed 0 --out zero_again"),
    );
    assert_eq!(p("zero"), p("zero_again"));
    assert_ne!(p("zero"), p("first"));
}

#[test]
fn transfers_by_the_stored_mapping_agree_with_exact_ones() {
    let folder = tissue();
    // After few epochs every cell is everywhere: the worst case for leaving probabilities out.
    for epochs in [3, 100] {
        let map = MAP.replace("100", &epochs.to_string());
        succeed(folder, &format!("{map} --format h5ad --out stored{epochs}"));
        succeed(folder, &format!("{map} --keep all --out exact{epochs}"));
        for what in ["--types obs:cell_type", "--genes all"] {
            for run in ["stored", "exact"] {
                succeed(
                    folder,
                    &format!(
                        "project --mapping {run}{epochs} {what} --force --out {run}.h5ad --chunk 64"
                    ),
                );
            }
            let (stored, exact) = (
                matrix(&folder.join("stored.h5ad")),
                matrix(&folder.join("exact.h5ad")),
            );
            let (stored, exact) = (stored.to_dense(), exact.to_dense());
            for (stored, exact) in stored.columns().into_iter().zip(exact.columns()) {
                let most = exact.fold(0f32, |m, v| m.max(*v));
                let difference = (&stored - &exact).fold(0f32, |m, d| m.max(d.abs()));
                assert!(
                    difference <= STORED_TOLERANCE * most,
                    "{what}: {difference} of {most}"
                );
            }
        }
    }
}

#[test]
fn genes_do_not_depend_on_the_chunks_they_are_carried_in() {
    let folder = tissue();
    for chunk in [1000, 7] {
        succeed(
            folder,
            &format!("project --mapping run --genes all --chunk {chunk} --out genes{chunk}.zarr"),
        );
    }
    assert_eq!(
        matrix(&folder.join("genes1000.zarr")),
        matrix(&folder.join("genes7.zarr"))
    );
    let genes = Dataset::open(&folder.join("genes7.zarr")).unwrap();
    let Column::Categorical {
        codes, categories, ..
    } = genes.var().unwrap().column("training").unwrap().clone()
    else {
        panic!("no part in training")
    };
    let count = |part: &str| {
        codes
            .iter()
            .filter(|c| c.is_some_and(|c| categories[c as usize] == part))
            .count()
    };
    let n_trained = record(folder)["n-genes"].as_integer().unwrap() as usize;
    let counts = (count("trained"), count("held_out"), count("other"));
    assert_eq!(counts, (n_trained, 10, 190 - n_trained));
    // A list keeps its order.
    let names = Dataset::open(&folder.join("tissue/cells.h5ad"))
        .unwrap()
        .var_names()
        .unwrap();
    let (a, b) = (names[5].clone(), names[2].clone());
    fs::write(folder.join("some.txt"), format!("{a}\n{b}\n")).unwrap();
    succeed(
        folder,
        "project --mapping run --genes some.txt --types obs:cell_type --out some.h5ad",
    );
    let some = Dataset::open(&folder.join("some.h5ad")).unwrap();
    assert_eq!(some.var_names().unwrap(), [a, b]);
    assert_eq!(some.obsm("cell_type").unwrap().nrows(), 150);
}

#[test]
fn assignments_name_the_most_probable_partner() {
    let folder = tissue();
    succeed(
        folder,
        "project --mapping run --assign cells --out placed.h5ad",
    );
    succeed(
        folder,
        "project --mapping run --assign voxels --types obs:cell_type --out filled.zarr",
    );
    let p = matrix(&folder.join("run/mapping.zarr")).to_dense();
    let mapping = Dataset::open(&folder.join("run/mapping.zarr")).unwrap();
    let best = |line: ndarray::ArrayView1<'_, f32>| {
        line.iter()
            .enumerate()
            .fold(
                (0, 0f32),
                |best, (i, &v)| if v > best.1 { (i, v) } else { best },
            )
            .0
    };
    let text = |file: &str, column: &str| match Dataset::open(&folder.join(file))
        .unwrap()
        .obs_column(column)
        .unwrap()
    {
        Column::Text(texts) => texts,
        Column::Categorical {
            codes, categories, ..
        } => codes
            .iter()
            .map(|c| categories[c.unwrap() as usize].clone())
            .collect(),
        _ => panic!("{column} holds numbers"),
    };
    let voxels = mapping.var_names().unwrap();
    let wanted: Vec<String> = p
        .rows()
        .into_iter()
        .map(|row| voxels[best(row)].clone())
        .collect();
    assert_eq!(text("placed.h5ad", "most_probable_voxel"), wanted);
    let places = Dataset::open(&folder.join("placed.h5ad"))
        .unwrap()
        .spatial()
        .unwrap()
        .unwrap();
    assert_eq!(
        places.row(0),
        mapping
            .varm("spatial")
            .unwrap()
            .unwrap()
            .row(best(p.row(0)))
    );
    let cells = mapping.obs_names().unwrap();
    let wanted: Vec<String> = p
        .columns()
        .into_iter()
        .map(|column| cells[best(column)].clone())
        .collect();
    assert_eq!(text("filled.zarr", "most_probable_cell"), wanted);
}

#[test]
fn a_numeric_column_is_carried_as_it_is() {
    let folder = tissue();
    let cells = Dataset::open(&folder.join("tissue/cells.h5ad")).unwrap();
    let Some((name, Column::Numeric(values))) = cells
        .obs()
        .unwrap()
        .columns
        .into_iter()
        .find(|(_, c)| matches!(c, Column::Numeric(_)))
    else {
        panic!("no numbers")
    };
    succeed(
        folder,
        &format!("project --mapping run --types obs:{name} --types obs:cell_type --out both.h5ad"),
    );
    let both = Dataset::open(&folder.join("both.h5ad")).unwrap();
    assert_eq!(both.var_names().unwrap()[0], format!("{name}:{name}"));
    assert!(both.var_names().unwrap()[1].starts_with("cell_type:"));
    let p = matrix(&folder.join("run/mapping.zarr")).to_dense();
    let carried = matrix_any(&both);
    for j in 0..both.n_obs() {
        let wanted: f64 = (0..p.nrows())
            .map(|i| f64::from(p[[i, j]]) * values[i].unwrap())
            .sum();
        assert!(
            (f64::from(carried[[j, 0]]) - wanted).abs() <= 1e-4 * wanted.abs().max(1.0),
            "voxel {j}"
        );
    }
}

#[test]
fn an_array_of_obsm_is_carried_with_its_labels() {
    let folder = tissue();
    // Spots in the place of cells: they have such an array, and a list of its labels in uns.
    succeed(
        folder,
        "map --cells tissue/spots.h5ad --voxels tissue/voxels.h5ad --epochs 20 --out spots_run",
    );
    succeed(
        folder,
        "project --mapping spots_run --obsm true_prop --out shares.h5ad",
    );
    let shares = Dataset::open(&folder.join("shares.h5ad")).unwrap();
    let spots = Dataset::open(&folder.join("tissue/spots.h5ad")).unwrap();
    let labels = spots.uns_value("true_prop_labels").unwrap();
    assert_eq!(labels, Some(Uns::Texts(shares.var_names().unwrap())));
    // The shares of every spot sum to 1, so those of a voxel to the cells expected there.
    let Column::Numeric(expected) = shares.obs_column("expected_reference_cells").unwrap() else {
        panic!("not numbers")
    };
    for (row, expected) in matrix_any(&shares).rows().into_iter().zip(expected) {
        assert!((f64::from(row.sum()) - expected.unwrap()).abs() < 1e-5);
    }
}

fn matrix_any(dataset: &Dataset) -> ndarray::Array2<f32> {
    dataset
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows_any(0..dataset.n_obs())
        .unwrap()
        .to_dense()
}

#[test]
fn the_summary_for_programs_has_what_the_run_recorded() {
    let folder = tissue();
    let run = summary(
        folder,
        &format!("{MAP} --epochs 5 --out summary").replace("--epochs 100 ", ""),
    );
    let record: toml::Table = fs::read_to_string(folder.join("summary/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let told: Value = serde_json::to_value(&record).unwrap();
    assert_eq!(run["record"]["cells"], told["record"]["cells"]);
    assert_eq!(run["map"], told["map"]);
    assert_eq!(run["record"]["cells"]["sha256"].as_str().unwrap().len(), 64);
}

/// Every term of the loss has a flag, and its weight is in the record, in a settings file and, where it was computed, in the history.
#[test]
fn neighbouring_voxels_are_compared_where_a_weight_asks_for_it() {
    let folder = tissue();
    let map = "map --cells tissue/cells.h5ad --voxels tissue/spots.h5ad --epochs 5";
    let weight = "--lambda-neighbourhood 0.5";
    let run = summary(
        folder,
        &format!("{map} {weight} --neighbours nearest:4 --out near"),
    );
    assert_eq!(run["map"]["lambda-neighbourhood"], 0.5);
    assert_eq!(run["map"]["neighbours"], "nearest:4");
    let near = history(&folder.join("near"));
    assert!(near[0].contains("neighbourhood"), "{}", near[0]);
    succeed(folder, "map --config near/run.toml --out again");
    assert_eq!(near, history(&folder.join("again")));
    // It is no other loss than one that a program asks for: without the term the history differs.
    let plain = summary(folder, &format!("{map} --out plain"));
    assert!(plain["map"].get("lambda-neighbourhood").is_none());
    assert!(!history(&folder.join("plain"))[0].contains("neighbourhood"));

    let told = fail(folder, &format!("{map} {weight} --out refused-near"), 2);
    assert!(told.contains("--neighbours"), "{told}");
    let told = fail(
        folder,
        &format!("{map} {weight} --neighbours nearest:60 --out refused-near"),
        3,
    );
    assert!(
        told.contains("spots.h5ad") && told.contains("60 voxels"),
        "{told}"
    );
}

#[test]
fn adam_moves_cells_by_their_types_and_keeps_logits_small_where_weights_ask_for_it() {
    let folder = tissue();
    let map = "map --cells tissue/cells.h5ad --voxels tissue/spots.h5ad --epochs 8 --threads 1";
    let near = "--neighbours nearest:4";
    let islands = format!("--lambda-islands 0.5 --island-types obs:cell_type {near}");
    let sizes = "--lambda-l1 1e-5 --lambda-l2 1e-6";
    let run = summary(
        folder,
        &format!("{map} --solver adam {islands} {sizes} --out types"),
    );
    assert_eq!(run["map"]["island-types"], "obs:cell_type");
    let types = history(&folder.join("types"));
    for term in ["islands", "l1", "l2"] {
        let named = types[0].split('\t').any(|column| column == term);
        assert!(named, "{term}: {}", types[0]);
    }
    succeed(folder, "map --config types/run.toml --out types-again");
    assert_eq!(types, history(&folder.join("types-again")));
    // Of clusters that are the types, each has one; of others, shares of them.
    let clusters = "--solver adam --mode clusters --cluster obs:cell_type";
    succeed(
        folder,
        &format!("{map} {clusters} {islands} --out of-clusters"),
    );

    let refused = |flags: &str, code, what: &[&str]| {
        let told = fail(folder, &format!("{map} {flags} --out refused-adam"), code);
        for what in what {
            assert!(told.contains(what), "{flags}: {told}");
        }
    };
    refused(&islands, 2, &["--lambda-islands", "--solver adam"]);
    refused("--lambda-l1 1", 2, &["--lambda-l1", "holds no logits"]);
    refused("--lambda-l2 1", 2, &["--lambda-l2", "--solver adam"]);
    let adam = "--solver adam --lambda-islands 0.5";
    refused(&format!("{adam} {near}"), 2, &["--island-types obs:COLUMN"]);
    let of_numbers = format!("{adam} {near} --island-types obs:library_factor");
    refused(&of_numbers, 3, &["cells.h5ad", "`library_factor`"]);
    let idle = succeed_told(
        folder,
        &format!("{map} --island-types obs:cell_type --out idle"),
    );
    assert!(
        idle.contains("--island-types obs:cell_type has no effect"),
        "{idle}"
    );
}

/// What a command that succeeds says.
fn succeed_told(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{told}");
    told
}

#[test]
fn the_papers_objective_is_another_loss_with_its_own_defaults() {
    let folder = tissue();
    let map = "map --cells tissue/cells.h5ad --voxels tissue/spots.h5ad --epochs 30 --threads 1";
    let last = |run: &str| -> Vec<f64> {
        let history = history(&folder.join(run));
        let last = history.last().unwrap().split('\t');
        last.filter_map(|x| x.parse().ok()).collect()
    };
    for solver in ["mirror", "adam"] {
        let out = format!("paper-{solver}");
        let run = summary(
            folder,
            &format!("{map} --solver {solver} --objective paper --out {out}"),
        );
        let settings = &run["map"];
        assert_eq!(settings["objective"], "paper");
        for weight in ["lambda-g1", "lambda-g2", "lambda-d"] {
            assert_eq!(settings[weight], 1.0, "{weight}");
        }
        assert_eq!(settings["goal"], "package");
        succeed(
            folder,
            &format!("map --config {out}/run.toml --out {out}-again"),
        );
        assert_eq!(last(&out), last(&format!("{out}-again")));
        // Sums of cosines: a loss far below the means'.
        let total = last(&out)[1];
        assert!(total < -20.0, "{solver}: {total}");
    }
    let plain = summary(folder, &format!("{map} --goal package --out means"));
    assert!(plain["map"].get("objective").is_none());
    let told = fail(
        folder,
        &format!("{map} --objective paper --goal place --out refused-paper"),
        2,
    );
    assert!(told.contains("--objective package"), "{told}");
}

#[test]
fn python_opens_every_file() {
    let Some(python) = require::python() else {
        return;
    };
    let folder = tissue();
    for (what, out) in [
        ("--types obs:cell_type", "python_types.h5ad"),
        ("--genes all --types obs:cell_type", "python_genes.zarr"),
        ("--assign voxels", "python_voxels.h5ad"),
        ("--assign cells", "python_cells.zarr"),
    ] {
        succeed(folder, &format!("project --mapping run {what} --out {out}"));
    }
    succeed(
        folder,
        &format!(
            "{MAP} --format h5ad --keep top:20 --transform log1p --lambda-g2 0.5 --out python_run"
        ),
    );
    let judge = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/read_outputs.py");
    let output = Command::new(python)
        .arg(judge)
        .current_dir(folder)
        .output()
        .unwrap();
    let (told, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "{told}\n{errors}");
    println!("{told}");
}
