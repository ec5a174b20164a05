//! Every fault of an input has its message, and nothing is left behind.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use ndarray::Array2;
use std::fs;
use std::path::{Path, PathBuf};
use tangram_core::{Column, SparseRows, Table, Term};
use tangram_pipeline::choices::{PriorChoice, Solver, Temperature};
use tangram_pipeline::error::full_text;
use tangram_pipeline::map::{Earlier, Output, map};
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::{PipelineError, Silent, ranks};
use tangram_store::{AnnDataWriter, Existing, MatrixName};
use tangram_sweep::Cause;
use tempfile::TempDir;

/// A file in the making: 6 rows and 4 genes, with a count in every row and gene.
struct Expression {
    obs: Table,
    genes: Vec<String>,
    values: SparseRows,
}

fn names(prefix: &str, n: usize) -> Vec<String> {
    (0..n).map(|i| format!("{prefix}{i}")).collect()
}

impl Expression {
    /// Rows named `PREFIX0` and so on; those of `empty` have no count.
    fn without(prefix: &str, empty: &[u32]) -> Self {
        let mut values = SparseRows::empty(4);
        for i in 0..6u32 {
            let columns = (0..4).filter(|g| i % 4 == *g || *g == 0);
            let columns = columns.filter(|_| !empty.contains(&i));
            values.push_row(columns.map(|g| (g, (i + g + 1) as f32)));
        }
        Self {
            obs: Table::of_names(names(prefix, 6)),
            genes: names("gene", 4),
            values,
        }
    }

    fn new(prefix: &str) -> Self {
        Self::without(prefix, &[])
    }

    /// With a stored value replaced.
    fn value(mut self, value: f32) -> Self {
        self.values.values_mut()[2] = value;
        self
    }

    /// With the column `n_cells` in obs.
    fn n_cells(mut self, column: Column) -> Self {
        self.obs.set("n_cells", column);
        self
    }

    fn write(&self, path: &Path) {
        self.write_at(path, None);
    }

    /// Writes it, with coordinates of the rows.
    fn write_at(&self, path: &Path, places: Option<Array2<f64>>) {
        let var = Table::of_names(self.genes.clone());
        let mut file = AnnDataWriter::create(path, Existing::Replace, &self.obs, &var).unwrap();
        let mut matrix = file.sparse(&MatrixName::X).unwrap();
        matrix.append(&self.values).unwrap();
        matrix.finish().unwrap();
        if let Some(places) = places {
            file.obsm("spatial", places.view()).unwrap();
        }
        file.finish().unwrap();
    }
}

/// A folder with inputs that fit each other.
fn good() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    Expression::new("cell").write(&folder.path().join("cells.h5ad"));
    let weights = (1..=6).map(f64::from);
    let voxels = Expression::new("voxel").n_cells(Column::numbers(weights));
    voxels.write(&folder.path().join("voxels.h5ad"));
    folder
}

/// Everything in a folder, hidden files too.
fn listing(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut found: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    found.sort();
    found
}

/// Adam's settings for two epochs of the inputs in a folder.
fn settings(folder: &Path) -> MapSettings {
    MapSettings {
        solver: Solver::Adam,
        temperature: Some(Temperature::Off),
        epochs: 2,
        threads: 1,
        ..MapSettings::new(folder.join("cells.h5ad"), folder.join("voxels.h5ad"))
    }
}

fn run(settings: &MapSettings, output: &Output<'_>) -> Result<(), PipelineError> {
    let mut ranks = ranks::one(settings.reduce);
    map(settings, output, &mut ranks, &Silent).map(drop)
}

/// The message of a mapping in a spoilt folder, with the folder's name taken out.
fn message(spoil: &dyn Fn(&Path), change: &dyn Fn(&Path, &mut MapSettings)) -> String {
    let folder = good();
    let path = folder.path();
    spoil(path);
    let before = listing(path);
    let mut settings = settings(path);
    change(path, &mut settings);
    let out = path.join("run");
    let error = run(&settings, &Output::new(&out)).unwrap_err();
    assert_eq!(error.cause(), Cause::Input, "{error}");
    assert_eq!(listing(path), before, "{error}: something was left behind");
    full_text(&error).replace(path.to_str().unwrap(), "DIR")
}

type Spoil = Box<dyn Fn(&Path)>;
type Change = Box<dyn Fn(&Path, &mut MapSettings)>;

/// What is wrong, how it comes about, and the settings that meet it.
type Fault = (&'static str, Spoil, Change);

fn nothing() -> Spoil {
    Box::new(|_| ())
}

fn unchanged() -> Change {
    Box::new(|_, _| ())
}

/// A file in the place of another.
fn put(name: &'static str, file: Expression) -> Spoil {
    Box::new(move |folder| file.write(&folder.join(name)))
}

/// A text file.
fn text(name: &'static str, text: &'static str) -> Spoil {
    Box::new(move |folder| fs::write(folder.join(name), text).unwrap())
}

fn prior() -> Change {
    Box::new(|_, settings| settings.prior = PriorChoice::Obs("n_cells".to_owned()))
}

fn genes() -> Change {
    Box::new(|folder, settings| settings.genes = Some(folder.join("genes.txt")))
}

fn hold_out() -> Change {
    Box::new(|folder, settings| settings.hold_out = Some(folder.join("genes.txt")))
}

/// Cuts the second half of the cells' file off.
fn truncate(folder: &Path) {
    let path = folder.join("cells.h5ad");
    let bytes = fs::read(&path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// The cells as Zarr, whose X says that it is in an encoding of the future.
fn unknown_encoding(folder: &Path) {
    Expression::new("cell").write(&folder.join("cells.zarr"));
    // Consolidated metadata, if any, stand in the root.
    for file in ["cells.zarr/X/zarr.json", "cells.zarr/zarr.json"] {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        let text = text.replace("csr_matrix", "hypersparse_matrix");
        fs::write(folder.join(file), text).unwrap();
    }
}

fn faults_of_files() -> Vec<Fault> {
    let cell = || Expression::new("cell");
    let voxel = || Expression::new("voxel");
    let mut cells_of_one_name = cell();
    cells_of_one_name.obs.names[1] = cells_of_one_name.obs.names[0].clone();
    let mut genes_of_one_name = voxel();
    genes_of_one_name.genes[1] = genes_of_one_name.genes[0].clone();
    let other_genes = Expression {
        genes: names("Gene", 4),
        ..voxel()
    };
    let cells = |name: &'static str| -> Change {
        Box::new(move |folder, settings| settings.cells = folder.join(name))
    };
    let layer: Change = Box::new(|_, settings| {
        settings.cells_matrix = MatrixName::Layer("counts".to_owned());
    });
    let value = |value| put("cells.h5ad", cell().value(value));
    let voxels = |file| put("voxels.h5ad", file);
    vec![
        ("missing", nothing(), cells("none.h5ad")),
        ("truncated", Box::new(truncate), unchanged()),
        (
            "not HDF5",
            text("voxels.h5ad", "gene\tcount\n"),
            unchanged(),
        ),
        (
            "unknown encoding",
            Box::new(unknown_encoding),
            cells("cells.zarr"),
        ),
        ("no such matrix", nothing(), layer),
        ("no shared genes", voxels(other_genes), unchanged()),
        (
            "cells of one name",
            put("cells.h5ad", cells_of_one_name),
            unchanged(),
        ),
        ("genes of one name", voxels(genes_of_one_name), unchanged()),
        ("not a number", value(f32::NAN), unchanged()),
        ("infinite", value(f32::INFINITY), unchanged()),
        ("negative", value(-1.0), unchanged()),
        (
            "empty voxel",
            voxels(Expression::without("voxel", &[2])),
            unchanged(),
        ),
    ]
}

fn faults_of_priors() -> Vec<Fault> {
    let column = |column| put("voxels.h5ad", Expression::new("voxel").n_cells(column));
    let no_such: Change = Box::new(|_, settings| {
        settings.prior = PriorChoice::Obs("n_nuclei".to_owned());
    });
    let missing = Column::Numeric((0..6).map(|i| (i != 1).then_some(1.0)).collect());
    let negative = Column::numbers([1.0, -1.0, 1.0, 1.0, 1.0, 1.0]);
    vec![
        ("no such prior", nothing(), no_such),
        (
            "prior of text",
            column(Column::categories(&["a"; 6])),
            prior(),
        ),
        ("prior missing", column(missing), prior()),
        ("prior negative", column(negative), prior()),
        ("prior of zeros", column(Column::numbers([0.0; 6])), prior()),
    ]
}

fn faults_of_lists() -> Vec<Fault> {
    let list = |names| text("genes.txt", names);
    let logits: Change = Box::new(|folder, settings| {
        settings.init_logits = Some(folder.join("m.npy"));
    });
    vec![
        ("gene not there", list("gene0\ngene7\ngene8\n"), genes()),
        ("gene listed twice", list("gene0\ngene0\n"), genes()),
        ("empty list", list("# nothing\n"), genes()),
        ("no list", nothing(), genes()),
        (
            "all held out",
            list("gene0\ngene1\ngene2\ngene3\n"),
            hold_out(),
        ),
        ("unknown held out", list("gene9\n"), hold_out()),
        ("not an array", text("m.npy", "x"), logits),
    ]
}

fn faults_of_coordinates() -> Vec<Fault> {
    fn with(places: impl Fn(usize) -> f64 + 'static) -> Spoil {
        Box::new(move |folder| {
            let voxels = Expression::new("voxel");
            let places = Array2::from_shape_fn((6, 2), |(j, _)| places(j));
            voxels.write_at(&folder.join("voxels.h5ad"), Some(places));
        })
    }
    let near = |choice: &'static str| -> Change {
        Box::new(move |_, settings| {
            settings.objective = settings.objective.with(Term::Neighbourhood, 1.0);
            settings.neighbours = Some(choice.parse().unwrap());
        })
    };
    vec![
        ("no coordinates", nothing(), near("lattice")),
        ("no lattice", with(|j| (j * j) as f64), near("lattice")),
        (
            "a coordinate is missing",
            with(|j| if j == 2 { f64::NAN } else { j as f64 }),
            near("nearest:2"),
        ),
        ("too few", with(|j| j as f64), near("nearest:6")),
    ]
}

#[test]
fn every_fault_of_an_input_has_its_message() {
    let faults = [
        faults_of_files(),
        faults_of_priors(),
        faults_of_coordinates(),
        faults_of_lists(),
    ];
    let messages: Vec<String> = faults
        .into_iter()
        .flatten()
        .map(|(what, spoil, change)| format!("{what}\n{}\n", message(&spoil, &change)))
        .collect();
    insta::assert_snapshot!("bad_inputs", messages.join("\n"));
}

#[test]
fn a_run_that_exists_stays_unless_it_is_to_be_replaced() {
    let folder = good();
    let out = folder.path().join("run");
    let settings = settings(folder.path());
    run(&settings, &Output::new(&out)).unwrap();
    let history = || fs::read_to_string(out.join("history.tsv")).unwrap();
    let first = history();
    let error = run(&settings, &Output::new(&out)).unwrap_err();
    assert_eq!(error.cause(), Cause::Output);
    assert!(error.to_string().contains("run: exists already"), "{error}");
    assert_eq!(history(), first);
    let replaced = Output {
        earlier: Earlier::Replace,
        ..Output::new(&out)
    };
    let longer = MapSettings {
        epochs: 3,
        ..settings
    };
    run(&longer, &replaced).unwrap();
    assert_eq!(history().lines().count(), 4);
}

#[test]
fn a_folder_that_another_program_wrote_is_never_replaced() {
    let folder = good();
    let out = folder.path().join("thesis");
    fs::create_dir(&out).unwrap();
    fs::write(out.join("chapter"), "1").unwrap();
    let replace = Output {
        earlier: Earlier::Replace,
        ..Output::new(&out)
    };
    let error = run(&settings(folder.path()), &replace).unwrap_err();
    assert!(matches!(error, PipelineError::NotOurs { .. }), "{error}");
    assert_eq!(fs::read_to_string(out.join("chapter")).unwrap(), "1");
}

#[test]
fn a_listener_that_asks_to_stop_ends_the_training_with_its_state_kept() {
    struct Stops;
    impl tangram_pipeline::Listener for Stops {
        fn say(&self, _: std::fmt::Arguments<'_>) -> std::io::Result<()> {
            Ok(())
        }
        fn explain(&self, _: std::fmt::Arguments<'_>) -> std::io::Result<()> {
            Ok(())
        }
        fn warn(&self, _: std::fmt::Arguments<'_>) {}
        fn steps(&self, _: &'static str, _: usize) -> Box<dyn tangram_pipeline::Steps + '_> {
            Box::new(Silent)
        }
        fn stop_asked(&self) -> bool {
            true
        }
    }
    let folder = good();
    let (out, settings) = (folder.path().join("run"), settings(folder.path()));
    let mut ranks = ranks::one(settings.reduce);
    let error = map(&settings, &Output::new(&out), &mut ranks, &Stops).unwrap_err();
    assert_eq!(error.cause(), Cause::Signal, "{error}");
    let again = run(&settings, &Output::new(&out)).unwrap_err();
    assert!(matches!(again, PipelineError::Checkpoint { .. }), "{again}");
    let resumed = Output {
        earlier: Earlier::Resume,
        ..Output::new(&out)
    };
    run(&settings, &resumed).unwrap();
    assert!(out.join("run.toml").is_file());
    assert!(!folder.path().join("run.checkpoint").exists());
}
