//! Clusters mode as a person uses it: what its rows are, and that everything made of a mapping of clusters is what its cells together are.

use crate::program::{close, fail, history, succeed, summary, tangram};
use ndarray::{Array2, Axis};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tangram_core::{Clusters, Column, SparseRows, Table, library_factors, one_hot, scale_rows};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, Names};
use tempfile::TempDir;

const MAP: &str =
    "map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --keep all --threads 1";
const CLUSTERS: &str = "--mode clusters --cluster obs:cell_type";
/// Single precision, summed in another order.
const ROUNDING: f32 = 1e-4;

/// A simulated tissue, and mappings of its clusters: by each solver, and by each kind of values.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            let sizes = "--cells 300 --voxels 60 --spots 20 --genes 80 --panel 50";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            for (flags, out) in [
                ("", "sums"),
                ("--cluster-values means", "means"),
                ("--goal place", "roots"),
                ("--solver adam --epochs 40", "adam"),
            ] {
                succeed(
                    folder.path(),
                    &format!("{MAP} {CLUSTERS} {flags} --out {out}"),
                );
            }
            folder
        })
        .path()
}

fn matrix(path: &Path) -> Array2<f32> {
    sparse(path).to_dense()
}

fn sparse(path: &Path) -> SparseRows {
    let dataset = Dataset::open(path).unwrap();
    let matrix = dataset.matrix(&MatrixName::X).unwrap();
    matrix.read_rows_any(0..dataset.n_obs()).unwrap()
}

fn column(path: &Path, name: &str) -> Column {
    Dataset::open(path).unwrap().obs_column(name).unwrap()
}

fn numbers(path: &Path, name: &str) -> Vec<f64> {
    let values = column(path, name).as_numbers().unwrap();
    values.into_iter().map(Option::unwrap).collect()
}

/// The clusters of the tissue's cells, and their P, (clusters, voxels).
fn clusters_and_mapping(run: &Path) -> (Clusters, Array2<f32>) {
    let labels = column(&tissue().join("tissue/cells.h5ad"), "cell_type");
    let p = matrix(&run.join("mapping.zarr"));
    for row in p.rows() {
        let sum: f32 = row.sum();
        assert!((sum - 1.0).abs() < 1e-5, "rows of P sum to 1: {sum}");
    }
    (Clusters::of(&labels).unwrap(), p)
}

/// P of the cells, (cells, voxels): that of their clusters, times what a cell counts.
fn of_cells(clusters: &Clusters, p: &Array2<f32>, counts: impl Fn(usize) -> f32) -> Array2<f32> {
    let of_cell = clusters.of_cell().iter().map(|c| c.unwrap() as usize);
    let mut rows = p.select(Axis(0), &of_cell.clone().collect::<Vec<_>>());
    for (mut row, cluster) in rows.rows_mut().into_iter().zip(of_cell) {
        row *= counts(cluster);
    }
    rows
}

#[test]
fn everything_made_of_a_mapping_is_what_its_cells_together_are() {
    let folder = tissue();
    let cells = folder.join("tissue/cells.h5ad");
    let types = one_hot(&column(&cells, "layer")).unwrap().1;
    let mut counts = sparse(&cells);
    let factors = library_factors(&counts.row_sums());
    scale_rows(&mut counts, &factors);
    let genes = counts.to_dense();
    for (run, means) in [
        ("sums", false),
        ("means", true),
        ("roots", false),
        ("adam", false),
    ] {
        let (clusters, p) = clusters_and_mapping(&folder.join(run));
        let counted = of_cells(&clusters, &p, |_| 1.0);
        let values = match means {
            true => of_cells(&clusters, &p, |c| 1.0 / clusters.n_cells()[c] as f32),
            false => counted.clone(),
        };
        let mapping = folder.join(run).join("mapping.zarr");
        let obs = Dataset::open(&mapping).unwrap().obs().unwrap();
        assert_eq!(obs.names, clusters.names(), "the rows are the clusters");
        let n_cells: Vec<usize> = numbers(&mapping, "n_cells")
            .iter()
            .map(|&n| n as usize)
            .collect();
        assert_eq!(n_cells, clusters.n_cells());
        assert!(obs.column("cell_type").is_some() && obs.column("cluster_density").is_some());

        let project = |flags: &str, out: &str| {
            let line = format!("project --mapping {run} {flags} --out {run}_{out}");
            succeed(folder, &line);
            folder.join(format!("{run}_{out}"))
        };
        // Cells are counted as cells, whatever the values of a cluster are.
        let out = project("--types obs:layer --assign voxels", "layers.h5ad");
        close(&matrix(&out), &counted.t().dot(&types), ROUNDING);
        let expected = numbers(&out, "expected_reference_cells");
        let sum: f64 = expected.iter().sum();
        assert!(
            (sum - 300.0).abs() < 1e-3,
            "a transfer conserves cells: {sum}"
        );
        let share = numbers(&out, "most_probable_cluster_share");
        let Column::Categorical { codes, .. } = column(&out, "most_probable_cluster") else {
            panic!("names of clusters");
        };
        let of_clusters = one_hot(&column(&cells, "cell_type")).unwrap().1;
        let in_voxels = counted.t().dot(&of_clusters);
        for ((share, code), row) in share.iter().zip(&codes).zip(in_voxels.rows()) {
            let most = row.iter().fold(0.0f32, |m, &n| m.max(n));
            assert!((share - f64::from(most / row.sum())).abs() < 1e-4);
            assert!((row[code.unwrap() as usize] - most).abs() <= ROUNDING * most);
        }
        // Values are sums or means, as in training.
        close(
            &matrix(&project("--genes all", "genes.h5ad")),
            &values.t().dot(&genes),
            ROUNDING,
        );
        let depths = numbers(&cells, "depth_um");
        let depths = Array2::from_shape_fn((300, 1), |(i, _)| depths[i] as f32);
        close(
            &matrix(&project("--types obs:depth_um", "depth.h5ad")),
            &values.t().dot(&depths),
            ROUNDING,
        );
        // Scores of the training genes are those that training found.
        let record: toml::Table = fs::read_to_string(folder.join(run).join("run.toml"))
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(record["record"]["n-cells"].as_integer(), Some(300));
        let n = record["record"]["n-clusters"].as_integer();
        assert_eq!(n, Some(clusters.len() as i64));
        let scores = summary(folder, &format!("score --mapping {run}"));
        let of_run = record["record"]["train-score"]["mean-cosine"].as_float();
        let scored = scores["train"]["mean_cosine"].as_f64();
        let (of_run, scored) = (of_run.unwrap(), scored.unwrap());
        assert!((of_run - scored).abs() < 1e-4, "{run}: {of_run} {scored}");
        let report = fs::read_to_string(folder.join(run).join("report.html")).unwrap();
        assert!(
            report.contains("mapped as"),
            "{run}: the report names the clusters"
        );
    }
}

#[test]
fn a_run_without_probabilities_reads_its_clusters_from_the_cells() {
    let folder = tissue();
    let factors = MAP.replace("--keep all", "--keep none");
    succeed(folder, &format!("{factors} {CLUSTERS} --out factors"));
    for run in ["factors", "sums"] {
        let line = format!("project --mapping {run} --types obs:layer --out of_{run}.h5ad");
        succeed(folder, &line);
    }
    let of = |run: &str| matrix(&folder.join(format!("of_{run}.h5ad")));
    assert_eq!(of("factors"), of("sums"));
}

/// Writes the cells of the tissue with a column of labels more, and with some rows only.
fn write_cells(path: &Path, labels: &[String], rows: &[usize]) {
    let dataset = Dataset::open(&tissue().join("tissue/cells.h5ad")).unwrap();
    let names = dataset.unique_names(Names::Obs).unwrap();
    let mut obs = Table::of_names(rows.iter().map(|&i| names[i].clone()).collect());
    let of_rows = rows.iter().map(|&i| labels[i].clone()).collect();
    obs.set("label", Column::Text(of_rows));
    obs.set(
        "size",
        Column::numbers(rows.iter().map(|&i| i as f64 + 0.5)),
    );
    let var = Table::of_names(dataset.var_names().unwrap());
    let mut file = AnnDataWriter::create(path, Existing::Replace, &obs, &var).unwrap();
    let mut matrix = file.sparse(&MatrixName::X).unwrap();
    let counts = sparse(&tissue().join("tissue/cells.h5ad"));
    matrix.append(&counts.select_rows(rows)).unwrap();
    matrix.finish().unwrap();
    file.finish().unwrap();
}

#[test]
fn cells_without_a_label_are_as_if_they_were_not_there() {
    let folder = tissue();
    let all: Vec<usize> = (0..300).collect();
    let label = |i: &usize| match i % 5 {
        3 => String::new(),
        k => format!("k{k}"),
    };
    let labels: Vec<String> = all.iter().map(label).collect();
    let labelled: Vec<usize> = all
        .iter()
        .copied()
        .filter(|&i| !labels[i].is_empty())
        .collect();
    write_cells(&folder.join("some.h5ad"), &labels, &all);
    write_cells(&folder.join("labelled.h5ad"), &labels, &labelled);
    let map = |cells: &str| {
        let line = MAP.replace("tissue/cells", cells);
        succeed(
            folder,
            &format!("{line} --mode clusters --cluster obs:label --out of_{cells}"),
        )
    };
    let told = map("some");
    assert!(
        told.contains("left out 60 cells (20.0 %) without a label in obs `label`"),
        "{told}"
    );
    assert!(told.contains("4 clusters of 240 cells onto"), "{told}");
    map("labelled");
    assert_eq!(
        history(&folder.join("of_some")),
        history(&folder.join("of_labelled"))
    );
    for cells in ["some", "labelled"] {
        let line = format!("project --mapping of_{cells} --genes all --out {cells}_genes.h5ad");
        succeed(folder, &line);
    }
    let of = |cells: &str| matrix(&folder.join(format!("{cells}_genes.h5ad")));
    // Normalised by the median of all cells, or of those that are there.
    let (some, labelled) = (of("some"), of("labelled"));
    let ratio = some.sum() / labelled.sum();
    close(&(some / ratio), &labelled, ROUNDING);
}

#[test]
fn clusters_of_one_cell_each_are_the_cells() {
    let folder = tissue();
    let all: Vec<usize> = (0..300).collect();
    let labels: Vec<String> = all.iter().map(|i| format!("c{i:03}")).collect();
    write_cells(&folder.join("single.h5ad"), &labels, &all);
    let map = MAP.replace("tissue/cells", "single");
    succeed(folder, &format!("{map} --out single_cells"));
    let clusters = "--mode clusters --cluster obs:label --out single_clusters";
    succeed(folder, &format!("{map} {clusters}"));
    let [cells, clusters] = ["cells", "clusters"].map(|m| folder.join(format!("single_{m}")));
    close(
        &matrix(&clusters.join("mapping.zarr")),
        &matrix(&cells.join("mapping.zarr")),
        ROUNDING,
    );
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bits() {
    let folder = tissue();
    let line = format!("{MAP} {CLUSTERS} --solver adam --epochs 60 --out");
    succeed(folder, &format!("{line} whole"));
    let every = "--checkpoint-minutes 0.00001";
    let mut child = tangram()
        .current_dir(folder)
        .args(format!("{line} again {every}").split_whitespace())
        .env("TANGRAM_TEST_PAUSE_MS", "50")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    let kept = || fs::read_dir(folder.join("again.checkpoint")).is_ok_and(|d| d.count() > 1);
    while !kept() {
        assert!(begun.elapsed() < Duration::from_secs(600), "no checkpoint");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!folder.join("again").exists());
    // Other clusters are another run.
    let other = line.replace("obs:cell_type", "obs:layer");
    let told = fail(folder, &format!("{other} again --resume"), 3);
    assert!(told.contains("cluster = \"obs:cell_type\""), "{told}");
    succeed(folder, &format!("{line} again --resume"));
    let [whole, again] = ["whole", "again"].map(|run| folder.join(run));
    assert_eq!(history(&whole), history(&again));
    assert_eq!(
        matrix(&whole.join("mapping.zarr")),
        matrix(&again.join("mapping.zarr"))
    );
    succeed(folder, "map --config whole/run.toml --out repeated");
    assert_eq!(history(&whole), history(&folder.join("repeated")));
}

#[test]
fn a_fold_predicts_what_a_mapping_without_its_genes_does() {
    let folder = tissue();
    let inputs = "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1";
    for (flags, name) in [("", "mirror"), ("--solver adam --epochs 20", "adam")] {
        let new = format!("sweep new kfold --folds 5 {inputs} {CLUSTERS} {flags}");
        succeed(folder, &format!("{new} --out {name}_folds"));
        let run = format!("sweep run {name}_folds --all --jobs 1 --threads 1");
        succeed(folder, &run);
        succeed(folder, &format!("sweep collect {name}_folds"));
        let predictions = folder.join(format!("{name}_folds/predictions.h5ad"));
        let names = Dataset::open(&predictions).unwrap().var_names().unwrap();
        let manifest = fs::read_to_string(folder.join(format!("{name}_folds/sweep.toml"))).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        let held_out: Vec<String> = manifest["item"][0]["work"]["held-out"]
            .as_array()
            .unwrap()
            .iter()
            .map(|gene| gene.as_str().unwrap().to_owned())
            .collect();
        fs::write(folder.join("held_out.txt"), held_out.join("\n")).unwrap();
        let hold = format!("--hold-out held_out.txt --out {name}_held");
        succeed(folder, &format!("{MAP} {CLUSTERS} {flags} {hold}"));
        let genes = format!("--genes held_out.txt --out {name}_held.h5ad");
        succeed(folder, &format!("project --mapping {name}_held {genes}"));
        let places: Vec<usize> = held_out
            .iter()
            .map(|gene| names.iter().position(|n| n == gene).unwrap())
            .collect();
        let folds = matrix(&predictions).select(Axis(1), &places);
        close(
            &folds,
            &matrix(&folder.join(format!("{name}_held.h5ad"))),
            ROUNDING,
        );
    }
}

#[test]
fn new_cells_are_placed_with_a_warning() {
    let folder = tissue();
    let place = |run: &str| {
        format!("place --mapping {run} --cells tissue/cells.h5ad --out {run}_placed.h5ad")
    };
    let output = crate::program::run(folder, &place("sums"));
    assert!(output.status.success());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("means of clusters"), "{told}");
    let told = fail(folder, &place("means"), 2);
    assert!(told.contains("--cluster-values sums"), "{told}");
    // What is unlike the training is told by its cells, not by the means of its clusters.
    succeed(folder, &format!("{MAP} --out plain"));
    succeed(folder, &place("plain"));
    let unlike = |run: &str| numbers(&folder.join(format!("{run}_placed.h5ad")), "unlikeness");
    assert_eq!(unlike("sums"), unlike("plain"));
}

#[test]
fn a_temperature_is_chosen_by_weighted_clusters() {
    let folder = tissue();
    let told = succeed(
        folder,
        &format!("{MAP} {CLUSTERS} --temperature auto --out auto"),
    );
    assert!(told.contains("choosing the temperature"), "{told}");
}

#[test]
fn what_cannot_be_is_refused_with_the_reason() {
    let folder = tissue();
    let all: Vec<usize> = (0..300).collect();
    write_cells(&folder.join("none.h5ad"), &vec![String::new(); 300], &all);
    for (flags, code, words) in [
        ("--mode clusters", 2, "--cluster obs:"),
        ("--cluster obs:cell_type", 2, "--mode clusters"),
        ("--cluster-values means", 2, "--mode clusters"),
        ("--mode clusters --cluster cell_type", 2, "obs:COLUMN"),
        ("--mode clusters --cluster obs:nothing", 3, "nothing"),
        ("--mode clusters --cluster obs:depth_um", 3, "not whole"),
        (
            "--mode clusters --cluster obs:cell_type --target-count 5",
            2,
            "--mode constrained",
        ),
        (
            "--mode clusters --cluster obs:cell_type --stream on",
            2,
            "--stream on",
        ),
        (
            "--mode clusters --cluster obs:cell_type --batches 4",
            2,
            "--batches",
        ),
        (
            "--mode clusters --cluster obs:cell_type --lambda-r 0.1",
            2,
            "--lambda-r",
        ),
    ] {
        let told = fail(folder, &format!("{MAP} {flags} --out refused"), code);
        assert!(told.contains(words), "{flags}: {told}");
        assert!(!folder.join("refused").exists());
    }
    let none = MAP.replace("tissue/cells", "none");
    let labels = "--mode clusters --cluster obs:label --out refused";
    let told = fail(folder, &format!("{none} {labels}"), 3);
    assert!(told.contains("no cell has a label"), "{told}");
    let assign = "project --mapping sums --assign cells --out refused.h5ad";
    let told = fail(folder, assign, 2);
    assert!(told.contains("--types obs:cell_type"), "{told}");
    assert!(!folder.join("refused.h5ad").exists());
}

/// Exact sums give every grid the bits of one process: the cells are added up before they are shared.
#[cfg(feature = "mpi")]
#[test]
fn every_grid_learns_what_one_process_does() {
    let folder = tissue();
    for (solver, stored) in [
        ("mirror", "factors.zarr"),
        ("adam --epochs 30", "mapping.zarr"),
    ] {
        let line = format!("{MAP} {CLUSTERS} --quiet --solver {solver} --reduce exact");
        let name = &solver[..4];
        succeed(folder, &format!("{line} --out {name}_alone"));
        for grid in ["2x1x1", "1x2x1", "1x1x2"] {
            let out = format!("{name}_{grid}");
            let command = format!("{line} --grid {grid} --out {out}");
            let output = crate::program::mpirun(folder, 2, &command)
                .output()
                .unwrap();
            let told = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{grid}: {told}");
            let [alone, many] = [format!("{name}_alone"), out].map(|run| folder.join(run));
            assert_eq!(history(&alone), history(&many), "{grid}");
            assert_eq!(
                matrix(&alone.join(stored)),
                matrix(&many.join(stored)),
                "{grid}"
            );
        }
    }
}
