//! `tangram plot` and `tangram report`: what they write, and the report in a browser.

use crate::program::require::{Need, browser_python, skip};
use crate::program::{fail, succeed, summary};
use ndarray::Array2;
use serde_json::json;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use tangram_core::{Column, SparseRows, Table};
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, Uns};

/// A gene and a type whose names are markup that would show itself if it were ever read as such.
const HOSTILE: &str = "<img src=x onerror=\"window.owned=1;document.title='owned'\">&amp;</script>";
const N_VOXELS: usize = 96;
const N_CELLS: usize = 60;
const N_GENES: usize = 12;

/// A folder with cells, voxels on a hexagonal lattice and a run, made once.
struct Made(tempfile::TempDir);

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    write_inputs(folder.path());
    fs::write(folder.path().join("test.txt"), "gene3\ngene7\n").unwrap();
    succeed(
        folder.path(),
        "map --cells cells.h5ad --voxels voxels.h5ad --hold-out test.txt --epochs 30 --out run",
    );
    Made(folder)
});

fn folder() -> &'static Path {
    MADE.0.path()
}

fn genes() -> Vec<String> {
    let mut names: Vec<String> = (0..N_GENES - 1).map(|g| format!("gene{g}")).collect();
    names.push(HOSTILE.to_owned());
    names
}

/// Counts with a pattern: each gene is high in a stripe of the rows.
fn counts(n_rows: usize) -> SparseRows {
    let mut rows = SparseRows::empty(N_GENES);
    for i in 0..n_rows {
        let count = |g: usize| {
            let off = (i * N_GENES / n_rows).abs_diff(g);
            (off < 4).then(|| (g as u32, ((4 - off) * 3 + (i * 7 + g * 3) % 4) as f32))
        };
        rows.push_row((0..N_GENES).filter_map(count));
    }
    rows
}

fn write_inputs(folder: &Path) {
    write_inputs_with(folder, None);
}

/// * `image`: `uns/spatial` of the voxels
fn write_inputs_with(folder: &Path, image: Option<Uns>) {
    let kinds = ["inner", "outer", HOSTILE];
    let mut obs = Table::of_names((0..N_CELLS).map(|i| format!("cell{i}")).collect());
    let kind = |i: usize| kinds[i * kinds.len() / N_CELLS];
    obs.set(
        "cell_type",
        Column::categories(&(0..N_CELLS).map(kind).collect::<Vec<_>>()),
    );
    let var = Table::of_names(genes());
    let mut cells =
        AnnDataWriter::create(&folder.join("cells.h5ad"), Existing::Refuse, &obs, &var).unwrap();
    let mut matrix = cells.sparse(&MatrixName::X).unwrap();
    matrix.append(&counts(N_CELLS)).unwrap();
    matrix.finish().unwrap();
    let colors = ["#112233", "#445566", "#778899"].map(str::to_owned);
    cells
        .uns("cell_type_colors", &Uns::Texts(colors.into()))
        .unwrap();
    cells.finish().unwrap();

    let obs = Table::of_names((0..N_VOXELS).map(|j| format!("<b>voxel</b>{j}")).collect());
    let mut voxels =
        AnnDataWriter::create(&folder.join("voxels.h5ad"), Existing::Refuse, &obs, &var).unwrap();
    let mut matrix = voxels.sparse(&MatrixName::X).unwrap();
    matrix.append(&counts(N_VOXELS)).unwrap();
    matrix.finish().unwrap();
    let places = Array2::from_shape_fn((N_VOXELS, 2), |(j, k)| {
        let (row, column) = (j / 12, j % 12);
        match k {
            0 => 100.0 * (column as f64 + 0.5 * (row % 2) as f64),
            _ => 100.0 * row as f64 * 0.75f64.sqrt(),
        }
    });
    voxels.obsm("spatial", places.view()).unwrap();
    if let Some(image) = &image {
        voxels.uns("spatial", image).unwrap();
    }
    voxels.finish().unwrap();
}

const FIGURES: [&str; 10] = [
    "types", "map", "genes", "scores", "parts", "sparsity", "baseline", "loss", "density",
    "entropy",
];

#[test]
fn every_figure_in_every_format() {
    for figure in FIGURES {
        for (ending, magic) in [("svg", "<svg "), ("png", "\u{89}PNG"), ("pdf", "%PDF")] {
            let name = format!("{figure}.{ending}");
            let drawn = summary(
                folder(),
                &format!("plot {figure} --mapping run --out {name}"),
            );
            assert_eq!(drawn["figure"], figure);
            let bytes = fs::read(folder().join(&name)).unwrap();
            let magic: Vec<u8> = magic.chars().map(|c| u32::from(c) as u8).collect();
            assert!(bytes.starts_with(&magic), "{name}");
            if ending == "svg" {
                let text = String::from_utf8(bytes).unwrap();
                assert!(!text.contains("<img"), "{name}");
            }
        }
    }
}

#[test]
fn colours_of_the_file_are_used() {
    succeed(folder(), "plot map --mapping run --out colours.svg");
    let text = fs::read_to_string(folder().join("colours.svg")).unwrap();
    for color in ["#112233", "#445566", "#778899"] {
        assert!(text.contains(color), "{color}");
    }
}

#[test]
fn what_cannot_be_drawn_is_refused_with_its_remedy() {
    let error = fail(folder(), "plot map --mapping run --out map.jpg", 2);
    assert!(error.contains(".svg, .png or .pdf"), "{error}");
    let error = fail(folder(), "plot maps --mapping run --out map.svg", 2);
    assert!(error.contains("a similar value exists: 'map'"), "{error}");
    let error = fail(
        folder(),
        "plot genes --mapping run --gene Nope --out g.svg",
        3,
    );
    assert!(error.contains("Nope"), "{error}");
    let error = fail(
        folder(),
        "plot types --mapping run --type Nope --out g.svg",
        2,
    );
    assert!(error.contains("inner, outer"), "{error}");
    fs::write(folder().join("there.svg"), "mine").unwrap();
    fail(folder(), "plot loss --mapping run --out there.svg", 4);
    assert_eq!(
        fs::read_to_string(folder().join("there.svg")).unwrap(),
        "mine"
    );
    let error = fail(folder(), "report run run", 2);
    assert!(error.contains("--out FILE.html"), "{error}");
    assert!(!folder().join("g.svg").exists() && !folder().join("map.jpg").exists());
}

#[test]
fn a_run_without_coordinates_has_a_report_without_maps() {
    let own = tempfile::tempdir().unwrap();
    for name in ["cells", "voxels"] {
        crate::program::Expression::new(name).write(&own.path().join(format!("{name}.h5ad")));
    }
    succeed(
        own.path(),
        "map --cells cells.h5ad --voxels voxels.h5ad --epochs 5 --out run",
    );
    let error = fail(own.path(), "plot map --mapping run --out map.svg", 3);
    assert!(error.contains("obsm/spatial"), "{error}");
    succeed(own.path(), "report run");
    let html = fs::read_to_string(own.path().join("run.html")).unwrap();
    assert!(html.contains("no usable coordinates"));
    assert!(html.contains("No gene was held out"));
}

#[test]
fn figures_of_several_runs_and_of_sweeps() {
    let own = tempfile::tempdir().unwrap();
    write_inputs(own.path());
    let inputs = "--cells cells.h5ad --voxels voxels.h5ad --epochs 8";
    for command in [
        format!("sweep new seeds --seeds 1,2,3 {inputs} --solver adam --out seeds"),
        "sweep run seeds --all".to_owned(),
        format!("sweep new ablation --fractions 0.4,0.7 --repeats 2 {inputs} --out shares"),
    ] {
        succeed(own.path(), &command);
    }
    let error = fail(own.path(), "plot fractions shares --out f.svg", 3);
    assert!(error.contains("tangram sweep run"), "{error}");
    succeed(own.path(), "sweep run shares --all");
    let text = |command: &str, file: &str| {
        succeed(own.path(), &format!("plot {command} --out {file}"));
        fs::read_to_string(own.path().join(file)).unwrap()
    };
    let of_sweep = text("agreement seeds", "a.svg");
    assert!(of_sweep.contains("seed-1") && of_sweep.contains("mean over 60 cells"));
    let named = text("agreement seeds/runs/seed-1 seeds/runs/seed-2", "b.svg");
    assert!(named.contains("seed-2") && !named.contains("seed-3"));
    let progress = text("progress shares", "p.svg");
    assert!(progress.contains("4 of 4 folds done"), "{progress}");
    let fractions = text("fractions shares", "f.svg");
    assert!(fractions.contains("trainings (4)"), "{fractions}");

    let error = fail(own.path(), "plot intervals shares --out c.svg", 3);
    assert!(error.contains("`loo` or `kfold`"), "{error}");
    let error = fail(own.path(), "plot agreement shares --out c.svg", 3);
    assert!(error.contains("sweep new seeds"), "{error}");
    let error = fail(
        own.path(),
        "plot agreement seeds/runs/seed-1 --out c.svg",
        2,
    );
    assert!(error.contains("two runs or more"), "{error}");
    let other = folder().join("run");
    let command = format!(
        "plot agreement seeds/runs/seed-1 {} --out c.svg",
        other.display()
    );
    succeed(own.path(), &command);
    let error = fail(own.path(), "plot fractions seeds --out d.svg", 3);
    assert!(error.contains("not an ablation"), "{error}");
    let error = fail(own.path(), "plot loss --out d.svg", 2);
    assert!(error.contains("tangram plot loss FOLDER"), "{error}");
    let error = fail(own.path(), "plot modality seeds/runs/seed-1 --out d.svg", 2);
    assert!(error.contains("--modality"), "{error}");
    assert!(!own.path().join("d.svg").exists());
}

/// An image of the tissue whose pixels are an eighth of the coordinates, as scanpy keeps it.
fn tissue_image() -> Uns {
    let (height, width) = (90usize, 150usize);
    let values = (0..height * width * 3).map(|k| (k / 3 % width) as f32 / width as f32);
    let image = Uns::Array {
        shape: vec![height, width, 3],
        values: tangram_store::ArrayValues::F32(values.collect()),
    };
    let map = |entries: Vec<(&str, Uns)>| {
        let named = entries.into_iter().map(|(name, v)| (name.to_owned(), v));
        Uns::Map(named.collect())
    };
    let factors = map(vec![
        ("tissue_hires_scalef", Uns::Number(0.125)),
        ("spot_diameter_fullres", Uns::Number(55.0)),
    ]);
    let section = map(vec![
        ("images", map(vec![("hires", image)])),
        ("scalefactors", factors),
    ]);
    map(vec![("section", section)])
}

#[test]
fn spots_lie_over_the_image_of_the_tissue_as_circles() {
    let own = tempfile::tempdir().unwrap();
    write_inputs_with(own.path(), Some(tissue_image()));
    succeed(
        own.path(),
        "map --cells cells.h5ad --voxels voxels.h5ad --epochs 5 --no-report --out run",
    );
    let text = |flag: &str, file: &str| {
        succeed(own.path(), &format!("plot map run {flag} --out {file}"));
        fs::read_to_string(own.path().join(file)).unwrap()
    };
    let over = text("", "over.svg");
    assert!(over.contains("<use href=\"#below\"") && over.contains("<circle"));
    let alone = text("--no-image", "alone.svg");
    assert!(!alone.contains("#below") && alone.contains("<polygon"));

    let page = |flag: &str, file: &str| {
        succeed(own.path(), &format!("report run {flag} --out {file}"));
        fs::read_to_string(own.path().join(file)).unwrap()
    };
    assert!(page("", "over.html").contains("\"tissue\":{\"png\""));
    assert!(page("--no-image", "alone.html").contains("\"tissue\":null"));
    if let Some(python) = browser() {
        let file = own.path().join("expected.json");
        // 150 × 90 pixels of 8 units.
        fs::write(&file, json!({"tissue": [1200.0, 720.0]}).to_string()).unwrap();
        let shots = std::env::var_os("TANGRAM_SCREENSHOTS").map_or_else(
            || own.path().join("shots"),
            |f| PathBuf::from(f).join("tissue"),
        );
        drive(&python, &own.path().join("over.html"), &file, &shots);
    }
}

/// A Python that can drive a browser; `None`, which is said, where there is no browser.
fn browser() -> Option<OsString> {
    let python = browser_python()?;
    let names = [
        "chromium-headless-shell",
        "chromium",
        "chromium-browser",
        "google-chrome",
    ];
    let there = |name: &&str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|folder| folder.join(name).is_file())
    };
    if std::env::var_os("TANGRAM_CHROMIUM").is_none() && !names.iter().any(there) {
        skip(Need::Browser, "there is no Chromium on the PATH");
        return None;
    }
    Some(python)
}

/// Drives a report in the browser.
///
/// * `expected`: a file with what is in it
/// * `shots`: where the screenshots go
fn drive(python: &OsStr, page: &Path, expected: &Path, shots: &Path) {
    let driven = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/drive_report.py"))
        .args([page, expected, shots])
        .output()
        .unwrap();
    assert!(
        driven.status.success(),
        "{}{}",
        String::from_utf8_lossy(&driven.stdout),
        String::from_utf8_lossy(&driven.stderr)
    );
}

/// The report of the run, made once: its file.
fn report() -> PathBuf {
    static REPORT: LazyLock<PathBuf> = LazyLock::new(|| {
        succeed(folder(), "report run --out report.html");
        folder().join("report.html")
    });
    REPORT.clone()
}

#[test]
fn the_report_is_reproducible_and_its_names_are_no_markup() {
    let html = fs::read_to_string(report()).unwrap();
    assert!(!html.contains("<img src=x") && !html.contains("<b>voxel"));
    fs::rename(report(), folder().join("first.html")).unwrap();
    succeed(folder(), "report run --out report.html");
    assert!(html == fs::read_to_string(report()).unwrap());
}

/// Predicted or measured values of columns of a file.
fn columns(file: &Path, names: &[&str]) -> Vec<Vec<f32>> {
    let dataset = Dataset::open(file).unwrap();
    let all = dataset.var_names().unwrap();
    let rows = dataset
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows_any(0..dataset.n_obs())
        .unwrap()
        .to_dense();
    let at = |name: &&str| all.iter().position(|n| n == name).unwrap();
    names
        .iter()
        .map(|name| rows.column(at(name)).to_vec())
        .collect()
}

#[test]
fn the_report_works_in_a_browser() {
    let Some(python) = browser() else {
        return;
    };
    succeed(folder(), "report run --out driven.html");
    succeed(
        folder(),
        "project --mapping run --genes all --out genes.h5ad",
    );
    succeed(
        folder(),
        "project --mapping run --types obs:cell_type --out types.h5ad",
    );
    let names = ["gene2", "gene7", HOSTILE];
    let predicted = columns(&folder().join("genes.h5ad"), &names);
    let measured = columns(&folder().join("voxels.h5ad"), &names);
    let genes: Vec<_> = names
        .iter()
        .zip(predicted.iter().zip(&measured))
        .map(|(name, (p, m))| json!({"name": name, "predicted": p, "measured": m}))
        .collect();
    let voxels: Vec<String> = (0..N_VOXELS).map(|j| format!("<b>voxel</b>{j}")).collect();
    let kind = columns(&folder().join("types.h5ad"), &["outer"]);
    let expected = json!({
        "hostile": HOSTILE,
        "genes": genes,
        "n_genes": N_GENES,
        "voxels": voxels,
        "hover": 41,
        "type": {"name": "outer", "values": kind[0]},
    });
    let file = folder().join("expected.json");
    fs::write(&file, expected.to_string()).unwrap();
    let shots = std::env::var_os("TANGRAM_SCREENSHOTS")
        .map_or_else(|| folder().join("shots"), PathBuf::from);
    drive(&python, &folder().join("driven.html"), &file, &shots);
    for width in [1280, 400] {
        assert!(shots.join(format!("report_{width}.png")).is_file());
    }
}

#[test]
fn a_sweep_ends_with_a_report_of_the_genes_held_out() {
    let sweep = "sweep new kfold --folds 3";
    succeed(
        folder(),
        &format!("{sweep} --cells cells.h5ad --voxels voxels.h5ad --epochs 10 --out folds"),
    );
    succeed(folder(), "sweep run folds --all");
    succeed(folder(), "sweep collect folds");
    let html = fs::read_to_string(folder().join("folds/report.html")).unwrap();
    assert!(html.contains("genes held out, each once") && !html.contains("<img src=x"));
    succeed(folder(), "sweep collect folds --no-report --out plain");
    assert!(!folder().join("plain/report.html").exists());
    succeed(folder(), "sweep collect folds --out again");
    assert!(html == fs::read_to_string(folder().join("again/report.html")).unwrap());
}

#[test]
fn the_python_front_calls_the_program() {
    let Some(python) = crate::program::require::python() else {
        return;
    };
    let own = tempfile::tempdir().unwrap();
    succeed(
        own.path(),
        "simulate --cells 120 --voxels 60 --spots 10 --genes 60 --panel 30 --out tissue",
    );
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let called = Command::new(python)
        .arg(root.join("tests/test_front.py"))
        .arg(own.path().join("tissue"))
        .env("PYTHONPATH", root.join("src"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("TANGRAM_PROGRAM", env!("CARGO_BIN_EXE_tangram"))
        .output()
        .unwrap();
    assert!(
        called.status.success(),
        "{}{}",
        String::from_utf8_lossy(&called.stdout),
        String::from_utf8_lossy(&called.stderr)
    );
}
