//! The factored mapping as a person uses it: its files, the commands that read them, cells that were not trained on.

use crate::program::{Expression, close, fail, listing, require, shared_folder, succeed, summary};
use ndarray::Array2;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use tangram_core::Column;
use tangram_store::{Dataset, MatrixName};
use tempfile::TempDir;

/// Single precision, summed in another order.
const ROUNDING: f32 = 2e-4;
/// What is stored leaves out at most 0.001 of a cell's mass.
const DROPPED: f32 = 2e-3;

const INPUTS: &str = "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad";

/// A simulated tissue and a mapping of it by the default solver, made once.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = shared_folder();
            let sizes = "--cells 900 --voxels 110 --spots 40 --genes 150 --panel 90";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            succeed(
                folder.path(),
                &format!("map {INPUTS} --goal package --out run"),
            );
            folder
        })
        .path()
}

fn matrix(path: &Path) -> Array2<f32> {
    let dataset = Dataset::open(path).unwrap();
    let matrix = dataset.matrix(&MatrixName::X).unwrap();
    matrix.read_rows_any(0..dataset.n_obs()).unwrap().to_dense()
}

fn numbers(path: &Path, column: &str) -> Vec<f64> {
    match Dataset::open(path).unwrap().obs_column(column).unwrap() {
        Column::Numeric(values) => values.into_iter().map(Option::unwrap).collect(),
        _ => panic!("{column} holds no numbers"),
    }
}

fn record(folder: &Path, run: &str) -> toml::Value {
    let text = fs::read_to_string(folder.join(run).join("run.toml")).unwrap();
    text.parse::<toml::Table>().unwrap()["record"].clone()
}

#[test]
fn the_mapping_is_what_its_factors_say() {
    let folder = tissue();
    let record = record(folder, "run");
    assert_eq!(record["factors"].as_str(), Some("factors.zarr"));
    assert!(
        record["stopped-early"].as_bool().unwrap(),
        "came to rest by itself"
    );
    let (passes, epochs) = (&record["full-passes"], &record["epochs-run"]);
    assert_eq!(
        passes.as_float().unwrap(),
        epochs.as_integer().unwrap() as f64
    );

    // softmax(S Zᵀ + 1 bᵀ), written down again from the files.
    let file = Dataset::open(&folder.join("run/factors.zarr")).unwrap();
    let z = matrix(&folder.join("run/factors.zarr"));
    let b = numbers(&folder.join("run/factors.zarr"), "tangram_bias");
    let genes = file.var_names().unwrap();
    let cells = Dataset::open(&folder.join("tissue/cells.h5ad")).unwrap();
    let counts = matrix(&folder.join("tissue/cells.h5ad"));
    let totals: Vec<f64> = counts
        .rows()
        .into_iter()
        .map(|r| f64::from(r.sum()))
        .collect();
    let median = record["library-median"].as_float().unwrap();
    let places: Vec<usize> = genes
        .iter()
        .map(|g| {
            cells
                .var_names()
                .unwrap()
                .iter()
                .position(|n| n == g)
                .unwrap()
        })
        .collect();
    let stored = matrix(&folder.join("run/mapping.zarr"));
    for i in (0..counts.nrows()).step_by(37) {
        let logits: Vec<f64> = (0..z.nrows())
            .map(|j| {
                let scale = median / totals[i];
                let gene = |(k, &at): (usize, &usize)| {
                    f64::from(counts[[i, at]]) * scale * f64::from(z[[j, k]])
                };
                b[j] + places.iter().enumerate().map(gene).sum::<f64>()
            })
            .collect();
        let max = logits.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = logits.iter().map(|x| (x - max).exp()).sum();
        for (j, x) in logits.iter().enumerate() {
            let apart = ((x - max).exp() / sum - f64::from(stored[[i, j]])).abs();
            assert!(apart < f64::from(DROPPED), "cell {i} voxel {j}: {apart}");
        }
    }
}

#[test]
fn later_commands_need_no_stored_probabilities() {
    let folder = tissue();
    succeed(
        folder,
        &format!("map {INPUTS} --goal package --keep none --out factors_only"),
    );
    assert_eq!(
        listing(&folder.join("factors_only")),
        [
            "factors.zarr",
            "files.tsv",
            "history.tsv",
            "report.html",
            "run.toml"
        ]
        .map(|n| folder.join("factors_only").join(n))
    );
    succeed(
        folder,
        "project --mapping factors_only --types obs:cell_type --out types.h5ad",
    );
    // What is carried is the product with the stored probabilities, but for what is left out of them.
    let stored = matrix(&folder.join("run/mapping.zarr"));
    let types = Dataset::open(&folder.join("types.h5ad")).unwrap();
    let cells = Dataset::open(&folder.join("tissue/cells.h5ad")).unwrap();
    let Column::Categorical {
        codes, categories, ..
    } = cells.obs_column("cell_type").unwrap()
    else {
        panic!("types are categories")
    };
    assert_eq!(types.var_names().unwrap(), categories);
    let one_hot = Array2::from_shape_fn((codes.len(), categories.len()), |(i, t)| {
        f32::from(codes[i] == Some(t as u32))
    });
    close(
        &matrix(&folder.join("types.h5ad")),
        &stored.t().dot(&one_hot),
        DROPPED,
    );

    let voxels = Dataset::open(&folder.join("tissue/voxels.h5ad")).unwrap();
    assert_eq!(types.obs_names().unwrap(), voxels.obs_names().unwrap());
    assert_eq!(types.spatial().unwrap(), voxels.spatial().unwrap());
    assert!(
        types.obs_column("tangram_bias").is_err(),
        "not of the voxels"
    );

    let scores = summary(folder, "score --mapping factors_only");
    let trained = record(folder, "factors_only")["train-score"]["mean-cosine"].as_float();
    let found = scores["train"]["mean_cosine"].as_f64().unwrap();
    assert!((found - trained.unwrap()).abs() < 1e-4);
}

#[test]
fn streamed_cells_and_batches_give_the_same_mapping() {
    let folder = tissue();
    succeed(
        folder,
        &format!("map {INPUTS} --goal package --stream on --keep all --out streamed"),
    );
    succeed(
        folder,
        &format!("map {INPUTS} --goal package --keep all --out held"),
    );
    assert!(record(folder, "streamed")["streamed"].as_bool().unwrap());
    assert!(!record(folder, "held")["streamed"].as_bool().unwrap());
    let mapping = |run: &str| matrix(&folder.join(run).join("mapping.zarr"));
    close(&mapping("streamed"), &mapping("held"), 1e-6);

    succeed(
        folder,
        &format!("map {INPUTS} --goal package --stream on --batches 2 --out batches"),
    );
    let history = fs::read_to_string(folder.join("batches/history.tsv")).unwrap();
    let cells: Vec<usize> = history
        .lines()
        .skip(1)
        .map(|line| line.split('\t').nth(6).unwrap().parse().unwrap())
        .collect();
    assert_eq!((cells[0], cells[cells.len() - 1]), (450, 900));
    assert!(cells.is_sorted());
    let loss = |run| {
        record(folder, run)["final-loss"]["total"]
            .as_float()
            .unwrap()
    };
    assert!((loss("batches") - loss("held")).abs() < 2e-3);
}

#[test]
fn the_same_command_gives_the_same_bits_with_any_number_of_threads() {
    let folder = tissue();
    for threads in [1, 2] {
        let arguments =
            format!("map {INPUTS} --epochs 25 --threads {threads} --out threads{threads}");
        succeed(folder, &arguments);
    }
    let z = |threads| matrix(&folder.join(format!("threads{threads}/factors.zarr")));
    assert_eq!(z(1), z(2));
    let history = |threads| -> Vec<String> {
        let path = folder.join(format!("threads{threads}/history.tsv"));
        let text = fs::read_to_string(path).unwrap();
        let without_time = |line: &str| line.rsplit_once('\t').unwrap().0.to_owned();
        text.lines().map(without_time).collect()
    };
    assert_eq!(history(1), history(2));
}

#[test]
fn cells_that_were_not_trained_on_are_placed() {
    let folder = tissue();
    let placed = summary(
        folder,
        "place --mapping run --cells tissue/cells.h5ad --keep all --out placed.h5ad",
    );
    assert_eq!(placed["n_cells"], 900);
    assert!(placed["mean_unlikeness"].as_f64().unwrap() < 0.7);
    // Cells of the training are where the mapping has them.
    close(
        &matrix(&folder.join("placed.h5ad")),
        &matrix(&folder.join("run/mapping.zarr")),
        DROPPED,
    );
    // The same genes, but other patterns of them: no cell of the training is like that.
    succeed(
        folder,
        "simulate --seed 9 --cells 60 --voxels 50 --spots 10 --genes 150 --panel 90 --out other",
    );
    let other = summary(
        folder,
        "place --mapping run --cells other/cells.h5ad --out other.zarr",
    );
    let mean = other["mean_unlikeness"].as_f64().unwrap();
    // Of a usual cell it would be 0.5.
    assert!(mean > 0.8, "{mean}");
    let out = Dataset::open(&folder.join("other.zarr")).unwrap();
    assert_eq!((out.n_obs(), out.n_vars()), (60, 110));
    let voxels = Dataset::open(&folder.join("tissue/voxels.h5ad")).unwrap();
    assert_eq!(out.var_names().unwrap(), voxels.obs_names().unwrap());
    assert!(out.spatial().unwrap().is_some());

    // A file that lacks genes of the training.
    Expression::new("cell").write(&folder.join("few_genes.h5ad"));
    let error = fail(
        folder,
        "place --mapping run --cells few_genes.h5ad --out nowhere.h5ad",
        3,
    );
    assert!(
        error.contains("genes that the mapping was trained on"),
        "{error}"
    );
    assert!(!folder.join("nowhere.h5ad").exists());
}

#[test]
fn the_temperature_smooths_and_auto_chooses_one() {
    let folder = tissue();
    let entropy = |arguments: &str, out: &str| -> f64 {
        succeed(
            folder,
            &format!("map {INPUTS} {arguments} --keep all --out {out}"),
        );
        let p = matrix(&folder.join(out).join("mapping.zarr"));
        p.iter()
            .filter(|&&p| p > 0.0)
            .map(|&p| -f64::from(p) * f64::from(p).ln())
            .sum()
    };
    let free = entropy("--temperature off", "free");
    let smooth = entropy("--temperature 1", "smooth");
    assert!(smooth > 1.5 * free, "{smooth} {free}");
    entropy("--temperature auto", "auto");
    let scores = record(folder, "auto")["temperatures"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(scores.len(), 6);
    let run: toml::Table = fs::read_to_string(folder.join("auto/run.toml"))
        .unwrap()
        .parse()
        .unwrap();
    let chosen = run["map"]["temperature"].as_str().unwrap().to_owned();
    let best = |s: &toml::Value| s["held_out"].as_float().unwrap();
    let top = scores.iter().map(best).fold(f64::MIN, f64::max);
    let of_chosen = scores.iter().find(|s| match s.get("temperature") {
        Some(kappa) => kappa.as_float().unwrap().to_string() == chosen,
        None => chosen == "off",
    });
    assert!(best(of_chosen.unwrap()) >= top - 1e-3, "{chosen}");
}

#[test]
fn goals_set_what_is_not_given() {
    let folder = tissue();
    let settings = |arguments: &str| {
        let out = tempfile::tempdir_in(folder).unwrap();
        let run = out.path().join("run");
        let run = run.display();
        summary(
            folder,
            &format!("map {INPUTS} --epochs 2 {arguments} --out {run}"),
        )["map"]
            .clone()
    };
    // What a goal stands for is what docs/modes.md measures. A weight of 0 is recorded where another goal has the term.
    let set = |arguments: &str, wanted: [(&str, Value); 6]| {
        let found = settings(arguments);
        for (key, value) in wanted {
            assert_eq!(found[key], value, "{arguments}: {key}");
        }
    };
    let none = || Value::from(0.0);
    let impute = |goal: &str| {
        [
            ("goal", goal.into()),
            ("lambda-g1", 1.0.into()),
            ("lambda-g2", 0.0.into()),
            ("lambda-h-scaled", 3.0.into()),
            ("lambda-h", none()),
            ("temperature", "1".into()),
        ]
    };
    set("", impute("impute"));
    set("--goal impute", impute("impute"));
    for goal in ["place", "compose"] {
        set(
            &format!("--goal {goal}"),
            [
                ("goal", goal.into()),
                ("lambda-g1", 0.0.into()),
                ("lambda-s", 1.0.into()),
                ("lambda-h", 20.0.into()),
                ("lambda-h-scaled", none()),
                ("temperature", "off".into()),
            ],
        );
    }
    let package = |h: Value| {
        [
            ("goal", "package".into()),
            ("lambda-g1", 1.0.into()),
            ("lambda-g2", 0.0.into()),
            ("lambda-h", h),
            ("lambda-s", none()),
            ("transform", "none".into()),
        ]
    };
    set("--goal package", package(none()));
    set("--goal package --lambda-h 2", package(2.0.into()));
    set("--solver adam", package(none()));
}

#[test]
fn what_has_no_counterpart_is_refused_with_the_reason() {
    let folder = tissue();
    for (arguments, code, wanted) in [
        ("--init-logits logits.npy", 2, "--solver adam"),
        ("--lr 0.2", 2, "the mirror solver finds its own steps"),
        ("--solver adam --temperature 2", 2, "--temperature"),
        ("--solver adam --batches 4", 2, "--batches"),
        ("--solver adam --stream on", 2, "--stream"),
        ("--solver adam --keep none", 2, "--keep none"),
        ("--temperature 0", 2, "give off, auto or a number above 0"),
    ] {
        let error = fail(
            folder,
            &format!("map {INPUTS} {arguments} --out refused"),
            code,
        );
        assert!(error.contains(wanted), "{arguments}: {error}");
    }
    succeed(
        folder,
        &format!("map --solver adam {INPUTS} --epochs 2 --out adam_run"),
    );
    let error = fail(
        folder,
        "place --mapping adam_run --cells tissue/cells.h5ad --out refused",
        2,
    );
    assert!(error.contains("--solver mirror"), "{error}");
    assert!(!folder.join("refused").exists());
}

#[test]
fn other_cells_are_no_cells_of_the_mapping() {
    let folder = tissue();
    let error = fail(
        folder,
        "project --mapping run --cells tissue/spots.h5ad --types obs:cell_type --out elsewhere.h5ad",
        3,
    );
    assert!(
        error.contains("its cells are not those of the mapping (40 instead of 900)"),
        "{error}"
    );
    let damaged = folder.join("damaged");
    succeed(
        folder,
        &format!("map {INPUTS} --epochs 2 --format h5ad --out damaged"),
    );
    fs::write(damaged.join("factors.h5ad"), b"no HDF5").unwrap();
    let error = fail(
        folder,
        "project --mapping damaged --types obs:cell_type --out elsewhere.h5ad",
        3,
    );
    assert!(error.contains("factors.h5ad"), "{error}");
    assert!(!folder.join("elsewhere.h5ad").exists());
}

#[test]
fn python_reads_the_factors() {
    let Some(python) = require::python() else {
        return;
    };
    let folder = tissue();
    succeed(
        folder,
        "place --mapping run --cells tissue/cells.h5ad --out python_placed.h5ad",
    );
    let judge = "
import anndata, numpy, scipy.special
factors = anndata.read_zarr('run/factors.zarr')
cells, voxels = anndata.read_h5ad('tissue/cells.h5ad'), anndata.read_h5ad('tissue/voxels.h5ad')
placed = anndata.read_h5ad('python_placed.h5ad')
assert list(factors.obs_names) == list(voxels.obs_names)
assert list(factors.var_names) == list(factors.uns['training_genes'])
total = numpy.asarray(cells.X.sum(axis=1)).ravel()
S = cells[:, factors.var_names].X.toarray() * (numpy.median(total) / total)[:, None]
P = scipy.special.softmax(S @ numpy.asarray(factors.X).T + factors.obs['tangram_bias'].to_numpy(), axis=1)
assert numpy.abs(P - placed.X.toarray()).max() < 2e-3
assert list(placed.obs['most_probable_voxel']) == list(voxels.obs_names[P.argmax(axis=1)])
assert factors.varm['training_cells'].shape[0] == factors.n_vars
print('as they should be')
";
    let mut command = Command::new(python);
    let output = command
        .args(["-c", judge])
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    close(
        &matrix(&folder.join("python_placed.h5ad")),
        &matrix(&folder.join("run/mapping.zarr")),
        ROUNDING,
    );
}
