//! Constrained mode as a person uses it: which cells are kept, where it is written, and that everything made of a mapping respects it.

use crate::program::{close, fail, history, run, succeed, summary};
use ndarray::Array2;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tangram_core::{Column, one_hot};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName};
use tempfile::TempDir;

const MAP: &str = "map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --keep all";
/// Single precision, summed in another order.
const ROUNDING: f32 = 1e-4;

/// A simulated tissue, and a constrained mapping of it by each solver.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let sizes = "--cells 300 --voxels 60 --spots 20 --genes 80 --panel 50";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            let mirror = "--mode constrained --target-count 100 --out mirror";
            let adam =
                "--solver adam --epochs 40 --mode constrained --target-count voxels --out adam";
            succeed(folder.path(), &format!("{MAP} {mirror}"));
            succeed(folder.path(), &format!("{MAP} {adam}"));
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

/// f ∘ P of a run.
fn filtered(run: &Path) -> (Vec<f64>, Array2<f32>) {
    let path = run.join("mapping.zarr");
    let f = numbers(&path, "tangram_filter");
    let mut p = matrix(&path);
    for (mut row, &f) in p.rows_mut().into_iter().zip(&f) {
        let sum: f32 = row.sum();
        assert!((sum - 1.0).abs() < 1e-5, "rows of P sum to 1: {sum}");
        row *= f as f32;
    }
    (f, p)
}

#[test]
fn everything_made_of_a_mapping_respects_its_filter() {
    let folder = tissue();
    let types = {
        let cells = Dataset::open(&folder.join("tissue/cells.h5ad")).unwrap();
        one_hot(&cells.obs_column("cell_type").unwrap()).unwrap().1
    };
    for run in ["mirror", "adam"] {
        let (f, p) = filtered(&folder.join(run));
        assert!(f.iter().all(|f| (0.0..=1.0).contains(f)));
        let kept = f.iter().filter(|&&f| f > 0.5).count();
        let record: toml::Table = fs::read_to_string(folder.join(run).join("run.toml"))
            .unwrap()
            .parse()
            .unwrap();
        let recorded = record["record"]["n-kept"].as_integer();
        assert_eq!(recorded, Some(kept as i64));
        assert_eq!(record["map"]["mode"].as_str(), Some("constrained"));

        let project = |flags: &str, out: &str| {
            succeed(
                folder,
                &format!("project --mapping {run} {flags} --out {out}"),
            );
            folder.join(out)
        };
        let out = project(
            "--types obs:cell_type --assign voxels",
            &format!("{run}_types.h5ad"),
        );
        close(&matrix(&out), &p.t().dot(&types), ROUNDING);
        let expected = numbers(&out, "expected_reference_cells");
        let sum: f64 = expected.iter().sum();
        let mass: f64 = f.iter().sum();
        assert!(
            (sum - mass).abs() < 1e-3,
            "a transfer conserves Σ f: {sum} {mass}"
        );
        let likely = numbers(&out, "most_probable_cell_probability");
        for (likely, column) in likely.iter().zip(p.columns()) {
            let most = column.iter().fold(0.0f32, |m, &p| m.max(p));
            assert!((likely - f64::from(most)).abs() < 1e-5);
        }
        let out = project("--assign cells", &format!("{run}_cells.h5ad"));
        let dataset = Dataset::open(&out).unwrap();
        let Column::Text(places) = dataset.obs_column("most_probable_voxel").unwrap() else {
            panic!("names of voxels");
        };
        for (place, f) in places.iter().zip(&f) {
            assert_eq!(place.is_empty(), *f <= 0.5);
        }
        assert_eq!(numbers(&out, "tangram_filter"), f);
        // Genes are weighed likewise: scores of the training genes are those that training found.
        let scores = summary(folder, &format!("score --mapping {run}"));
        let of_run = record["record"]["train-score"]["mean-cosine"].as_float();
        let scored = scores["train"]["mean_cosine"].as_f64();
        let (of_run, scored) = (of_run.unwrap(), scored.unwrap());
        assert!((of_run - scored).abs() < 1e-4, "{run}: {of_run} {scored}");
    }
    let (f, _) = filtered(&folder.join("mirror"));
    let sum: f64 = f.iter().sum();
    assert!((sum - 100.0).abs() < 1e-6, "Σ f = T: {sum}");
}

/// Writes the voxels of a tissue whose type is not one of every second, and says which cells are of the others.
fn without_every_second_type(folder: &Path) -> Vec<bool> {
    let open = |name: &str| Dataset::open(&folder.join(name)).unwrap();
    let (cells, voxels) = (open("rich/cells.h5ad"), open("rich/voxels.h5ad"));
    let types = |dataset: &Dataset| dataset.obs_column("cell_type").unwrap().texts();
    let present: BTreeSet<String> = types(&cells).into_iter().collect();
    let present: BTreeSet<String> = present.into_iter().step_by(2).collect();
    let rows: Vec<usize> = (0..voxels.n_obs())
        .zip(types(&voxels))
        .filter_map(|(j, kind)| present.contains(&kind).then_some(j))
        .collect();
    let counts = voxels.matrix(&MatrixName::X).unwrap();
    let counts = counts.read_rows(0..voxels.n_obs()).unwrap();
    let (obs, var) = (voxels.obs().unwrap().rows(&rows), voxels.var().unwrap());
    let mut file =
        AnnDataWriter::create(&folder.join("present.h5ad"), Existing::Refuse, &obs, &var).unwrap();
    let mut matrix = file.sparse(&MatrixName::X).unwrap();
    matrix.append(&counts.select_rows(&rows)).unwrap();
    matrix.finish().unwrap();
    file.finish().unwrap();
    let belongs = types(&cells).into_iter().map(|t| present.contains(&t));
    belongs.collect()
}

#[test]
fn cells_of_types_that_the_tissue_lacks_are_left_out() {
    let own = tempfile::tempdir().unwrap();
    let folder = own.path();
    let sizes = "--cells 300 --voxels 250 --spots 20 --genes 1000 --panel 1000";
    succeed(folder, &format!("simulate --out rich {sizes}"));
    let belongs = without_every_second_type(folder);
    let n_belong = belongs.iter().filter(|b| **b).count();
    assert!((75..225).contains(&n_belong), "{n_belong}");
    let map = |out: &str, goal: &str| {
        let map = "map --cells rich/cells.h5ad --voxels present.h5ad --keep top:1 --drop-empty --no-report";
        let output = run(
            folder,
            &format!("{map} --mode constrained --target-count {n_belong} {goal} --out {out}"),
        );
        assert!(output.status.success());
        let f = numbers(&folder.join(out).join("mapping.zarr"), "tangram_filter");
        let kept = f.iter().zip(&belongs).filter(|(f, b)| **f > 0.5 && **b);
        let recall = kept.count() as f64 / n_belong as f64;
        (recall, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (recall, warnings) = map("default", "");
    assert!(recall > 0.9, "{recall}");
    assert!(!warnings.contains("--goal place"), "{warnings}");
    let settings = fs::read_to_string(folder.join("default/run.toml")).unwrap();
    assert!(settings.contains("goal = \"place\""), "{settings}");
    // A factor fitted for every gene takes over what the filter should find, which is said.
    let (by_chance, warnings) = map("fitted", "--goal impute");
    assert!(by_chance < recall - 0.1, "{by_chance} {recall}");
    assert!(warnings.contains("use --goal place"), "{warnings}");
}

#[test]
fn streamed_cells_and_kept_states_give_the_same_filter() {
    let folder = tissue();
    let flags = "--mode constrained --target-count 100";
    succeed(folder, &format!("{MAP} {flags} --stream on --out streamed"));
    let [held, streamed] = ["mirror", "streamed"].map(|run| folder.join(run));
    let loss = |run: &Path| history(run).last().unwrap().clone();
    let total = |line: &str| -> f64 { line.split('\t').nth(1).unwrap().parse().unwrap() };
    assert!((total(&loss(&held)) - total(&loss(&streamed))).abs() < 1e-4);
    // A run without probabilities has the filter beside its factors.
    succeed(
        folder,
        &format!(
            "{} {flags} --out factors",
            MAP.replace("--keep all", "--keep none")
        ),
    );
    succeed(
        folder,
        "project --mapping factors --types obs:cell_type --out a.h5ad",
    );
    succeed(
        folder,
        "project --mapping mirror --types obs:cell_type --out b.h5ad",
    );
    assert_eq!(
        matrix(&folder.join("a.h5ad")),
        matrix(&folder.join("b.h5ad"))
    );
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let folder = tissue();
    for (flags, code, words) in [
        ("--mode constrained", 2, "--target-count"),
        ("--target-count 5", 2, "--mode constrained"),
        ("--mode constrained --target-count 0", 2, "above 0"),
        ("--mode constrained --target-count 301", 3, "has 300"),
        (
            "--mode constrained --target-count obs:nothing",
            3,
            "nothing",
        ),
        (
            "--mode constrained --target-count obs:layer",
            3,
            "no numbers",
        ),
        (
            "--mode constrained --target-count 5 --filter package",
            2,
            "--solver adam",
        ),
        (
            "--mode constrained --target-count 5 --solver adam --filter learned",
            2,
            "--solver mirror",
        ),
        (
            "--mode constrained --target-count 5 --lambda-r 0.1",
            2,
            "--lambda-r",
        ),
        (
            "--mode constrained --target-count 5 --lambda-count 1",
            2,
            "--lambda-count",
        ),
        (
            "--mode constrained --target-count 5 --batches 4",
            2,
            "--batches",
        ),
        (
            "--mode constrained --target-count 5 --temperature auto",
            2,
            "--temperature",
        ),
        (
            "--mode constrained --target-count 5 --init-filter none.npy",
            3,
            "none.npy",
        ),
        ("--lambda-f-reg 2 --solver adam", 2, "--lambda-f-reg"),
    ] {
        let told = fail(folder, &format!("{MAP} {flags} --out refused"), code);
        assert!(told.contains(words), "{flags}: {told}");
        assert!(!folder.join("refused").exists());
    }
}
