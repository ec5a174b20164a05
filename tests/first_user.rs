//! Files as a new user has them: logarithms, names in another case, antibodies among the genes, cells without a label, voxels without
//! a count. Nothing of that may go wrong in silence, and each message names the way to go on.

use crate::program::require::{self, Need, skip};
use crate::program::{fail, history, run, succeed, summary};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use tangram_core::{Column, SparseRows, Table};
use tangram_store::{AnnDataWriter, ArrayValues, Dataset, Existing, MatrixName, Uns};
use tempfile::TempDir;

/// Largest relative difference of a loss between a mapping of counts and one of counts whose logarithm was undone.
const UNDONE_TOLERANCE: f64 = 1e-3;

const SIZES: &str = "--cells 300 --voxels 120 --spots 40 --genes 160 --panel 80";

/// A file in the making.
struct File {
    obs: Table,
    var: Table,
    matrices: Vec<(MatrixName, SparseRows)>,
    spatial: Option<Array2<f64>>,
    uns: Vec<(String, Uns)>,
}

impl File {
    fn read(path: &Path) -> Self {
        let dataset = Dataset::open(path).unwrap();
        let counts = dataset.matrix(&MatrixName::X).unwrap();
        Self {
            obs: dataset.obs().unwrap(),
            var: dataset.var().unwrap(),
            matrices: vec![(MatrixName::X, counts.read_rows(0..dataset.n_obs()).unwrap())],
            spatial: dataset.spatial().unwrap(),
            uns: vec![],
        }
    }

    fn write(&self, path: &Path) {
        let mut file = AnnDataWriter::create(path, Existing::Refuse, &self.obs, &self.var).unwrap();
        for (name, rows) in &self.matrices {
            let mut matrix = file.sparse(name).unwrap();
            matrix.append(rows).unwrap();
            matrix.finish().unwrap();
        }
        if let Some(spatial) = &self.spatial {
            file.obsm("spatial", spatial.view()).unwrap();
        }
        for (key, value) in &self.uns {
            file.uns(key, value).unwrap();
        }
        file.finish().unwrap();
    }

    fn counts(&mut self) -> &mut SparseRows {
        &mut self.matrices[0].1
    }

    /// As scanpy's tutorials leave it: X is log1p of counts scaled to 10,000, the counts are in a layer.
    fn log_normalised(mut self) -> Self {
        let counts = self.counts().clone();
        let x = self.counts();
        for (i, total) in counts.row_sums().into_iter().enumerate() {
            for v in x.row_values_mut(i) {
                *v = (f64::from(*v) * 1e4 / total).ln_1p() as f32;
            }
        }
        let layer = MatrixName::Layer("counts".to_owned());
        self.matrices.push((layer, counts));
        self
    }

    /// With antibodies after the genes, each with more counts than all genes together.
    fn with_antibodies(mut self) -> Self {
        let (n_genes, n) = (self.var.len(), 3);
        let mut rows = SparseRows::empty(n_genes + n);
        for i in 0..self.counts().n_rows() {
            let (columns, values) = self.counts().row(i);
            let genes = columns.iter().copied().zip(values.iter().copied());
            let antibodies = (0..n as u32).map(|a| (n_genes as u32 + a, (5000 * (i + 1)) as f32));
            let all: Vec<(u32, f32)> = genes.chain(antibodies).collect();
            rows.push_row(all);
        }
        *self.counts() = rows;
        let kind = |j: usize| {
            if j < n_genes {
                "Gene Expression"
            } else {
                "Antibody Capture"
            }
        };
        let mut names = self.var.names.clone();
        names.extend((0..n).map(|a| format!("CD{a}")));
        let kinds: Vec<&str> = (0..names.len()).map(kind).collect();
        self.var = Table::of_names(names);
        self.var.set("feature_types", Column::categories(&kinds));
        self
    }
}

/// A simulated tissue and its mapping, made once.
fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            succeed(folder.path(), &format!("simulate --out tissue {SIZES}"));
            succeed(
                folder.path(),
                "map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --epochs 15 --out clean",
            );
            folder
        })
        .path()
}

fn cells() -> File {
    File::read(&tissue().join("tissue/cells.h5ad"))
}

fn voxels() -> File {
    File::read(&tissue().join("tissue/voxels.h5ad"))
}

fn map(cells: &str, voxels: &str, out: &str, more: &str) -> String {
    format!("map --cells {cells} --voxels {voxels} --epochs 15 --out {out} {more}")
}

const CELLS: &str = "tissue/cells.h5ad";
const VOXELS: &str = "tissue/voxels.h5ad";

fn assert_has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is not in:\n{text}");
    }
}

/// Standard output and errors of a command that succeeds.
fn all_of(folder: &Path, arguments: &str) -> String {
    let output = run(folder, arguments);
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned());
    assert!(output.status.success(), "tangram {arguments}\n{}", text[1]);
    text.concat()
}

fn last_loss(run: &Path) -> f64 {
    let history = history(run);
    let line = history.last().unwrap().split('\t').nth(1).unwrap();
    line.parse().unwrap()
}

#[test]
fn logarithms_are_refused_with_the_matrix_that_holds_counts() {
    let folder = tissue();
    cells().log_normalised().write(&folder.join("log.h5ad"));
    let told = fail(folder, &map("log.h5ad", VOXELS, "log", ""), 3);
    assert_has(
        &told,
        &[
            "log.h5ad: X holds log1p of counts scaled to 10000 a row",
            "--cells-matrix layer:counts holds them",
            "--values log1p undoes the logarithm",
            "--values as-is",
        ],
    );
    assert!(!folder.join("log").exists());
    let clean = history(&folder.join("clean"));
    succeed(
        folder,
        &map("log.h5ad", VOXELS, "layer", "--cells-matrix layer:counts"),
    );
    assert_eq!(history(&folder.join("layer")), clean);
    succeed(folder, &map("log.h5ad", VOXELS, "undone", "--values log1p"));
    let losses = ["clean", "undone"].map(|run| last_loss(&folder.join(run)));
    assert!(
        (losses[0] - losses[1]).abs() < UNDONE_TOLERANCE * losses[0].abs(),
        "{losses:?}"
    );
    succeed(folder, &map("log.h5ad", VOXELS, "as_is", "--values as-is"));
    assert_ne!(history(&folder.join("as_is")), clean);
    let told = fail(folder, &map(CELLS, VOXELS, "refused1", "--values log1p"), 3);
    assert_has(&told, &["X holds counts", "leave the flag out"]);
    let told = fail(folder, &map(CELLS, "log.h5ad", "refused2", ""), 3);
    assert_has(
        &told,
        &["--voxels-matrix layer:counts", "--values-voxels log1p"],
    );
    let told = fail(
        folder,
        "place --mapping clean --cells log.h5ad --out no.h5ad",
        3,
    );
    assert_has(&told, &["--cells-matrix layer:counts"]);
    succeed(
        folder,
        "place --mapping clean --cells log.h5ad --cells-matrix layer:counts --out placed.h5ad",
    );

    let told = succeed(folder, "inspect log.h5ad");
    assert_has(
        &told,
        &[
            "not whole: log1p of counts scaled to 10000 a row",
            "whole numbers: counts",
        ],
    );
    let told = summary(folder, "inspect log.h5ad");
    assert_eq!(told["matrices"][1]["values"]["whole"], true);
}

#[test]
fn genes_in_another_case_are_not_lost() {
    let folder = tissue();
    let mut upper = voxels();
    upper
        .var
        .names
        .iter_mut()
        .for_each(|n| *n = n.to_uppercase());
    let n = upper.var.len();
    upper.write(&folder.join("upper.h5ad"));
    let told = fail(folder, &map(CELLS, "upper.h5ad", "upper", ""), 3);
    assert_has(
        &told,
        &[
            &format!("{n} if upper and lower case are the same"),
            "--match-genes case",
        ],
    );
    let told = all_of(
        folder,
        &map(CELLS, "upper.h5ad", "upper", "--match-genes case"),
    );
    assert_has(
        &told,
        &[&format!(
            "{n} genes shared, of 160 of the cells and {n} of the voxels"
        )],
    );
    assert_eq!(
        history(&folder.join("upper")),
        history(&folder.join("clean"))
    );
    let scores = ["clean", "upper"].map(|run| summary(folder, &format!("score --mapping {run}")));
    assert_eq!(scores[0]["train"], scores[1]["train"]);

    // New cells whose names are in upper case.
    let mut new = cells();
    new.var.names.iter_mut().for_each(|n| *n = n.to_uppercase());
    new.write(&folder.join("upper_cells.h5ad"));
    let place = "place --mapping clean --cells upper_cells.h5ad --out";
    let told = fail(folder, &format!("{place} no.h5ad"), 3);
    assert_has(&told, &["--match-genes case"]);
    succeed(
        folder,
        &format!("{place} upper_placed.h5ad --match-genes case"),
    );
    let project = "project --mapping clean --types obs:cell_type --cells upper_cells.h5ad --out";
    let told = fail(folder, &format!("{project} no.h5ad"), 3);
    assert_has(&told, &["--match-genes case"]);
    succeed(
        folder,
        &format!("{project} upper_types.h5ad --match-genes case"),
    );
}

#[test]
fn genes_are_matched_by_identifier_column_and_table() {
    let folder = tissue();
    let mut ids = voxels();
    let symbols = ids.var.names.clone();
    let id = |i: usize| format!("ENSMUSG{i:011}");
    ids.var = Table::of_names(
        (0..symbols.len())
            .map(|i| format!("{}.{}", id(i), i % 9))
            .collect(),
    );
    ids.var.set("symbol", Column::Text(symbols.clone()));
    ids.write(&folder.join("ids.h5ad"));
    let told = fail(folder, &map(CELLS, "ids.h5ad", "refused3", ""), 3);
    assert_has(&told, &["--match-genes column:symbol"]);
    let clean = history(&folder.join("clean"));
    succeed(
        folder,
        &map(
            CELLS,
            "ids.h5ad",
            "by_column",
            "--match-genes column:symbol",
        ),
    );
    assert_eq!(history(&folder.join("by_column")), clean);
    let lines: Vec<String> = symbols
        .iter()
        .zip(&ids.var.names)
        .map(|(symbol, id)| format!("{id}\t{symbol}"))
        .collect();
    std::fs::write(folder.join("names.tsv"), lines.join("\n")).unwrap();
    succeed(
        folder,
        &map(
            CELLS,
            "ids.h5ad",
            "by_table",
            "--match-genes table:names.tsv",
        ),
    );
    assert_eq!(history(&folder.join("by_table")), clean);
    let mut known = cells();
    let place = |name: &String| symbols.iter().position(|s| s == name);
    let column = known
        .var
        .names
        .iter()
        .map(|name| place(name).map_or_else(String::new, id));
    let column = column.collect();
    known.var.set("gene_ids", Column::Text(column));
    known.write(&folder.join("known.h5ad"));
    succeed(
        folder,
        &map("known.h5ad", "ids.h5ad", "by_id", "--match-genes id"),
    );
    assert_eq!(history(&folder.join("by_id")), clean);
    // A list may name genes as either file does.
    std::fs::write(folder.join("held.txt"), format!("{}\n", ids.var.names[3])).unwrap();
    succeed(
        folder,
        &map(
            CELLS,
            "ids.h5ad",
            "held",
            "--match-genes column:symbol --hold-out held.txt",
        ),
    );
    let run = std::fs::read_to_string(folder.join("held/run.toml")).unwrap();
    assert_has(&run, &[&format!("held-out = [\"{}\"]", symbols[3])]);
}

#[test]
fn antibodies_are_no_genes_but_can_be_carried() {
    let folder = tissue();
    cells().with_antibodies().write(&folder.join("adt.h5ad"));
    let told = all_of(folder, &map("adt.h5ad", VOXELS, "adt", ""));
    assert_has(&told, &["3 Antibody Capture", "--modality"]);
    assert_eq!(history(&folder.join("adt")), history(&folder.join("clean")));
    crate::program::tangram()
        .current_dir(folder)
        .args(["project", "--mapping", "adt", "--out", "adt_in_space.h5ad"])
        .args(["--modality", "Antibody Capture"])
        .status()
        .unwrap();
    let carried = Dataset::open(&folder.join("adt_in_space.h5ad")).unwrap();
    assert_eq!(carried.var_names().unwrap(), ["CD0", "CD1", "CD2"]);
    let total: f64 = carried
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows(0..carried.n_obs())
        .unwrap()
        .row_sums()
        .iter()
        .sum();
    let wanted: f64 = (1..=300).map(|i| 3.0 * 5000.0 * f64::from(i)).sum();
    assert!(
        (total / wanted - 1.0).abs() < 1e-4,
        "{total} is not {wanted}"
    );
    let drawn = crate::program::tangram()
        .current_dir(folder)
        .args(["plot", "modality", "adt", "--out", "adt.svg"])
        .args(["--modality", "Antibody Capture", "--feature", "CD1"])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&drawn.stderr);
    match drawn.status.success() {
        true => {
            let picture = std::fs::read_to_string(folder.join("adt.svg")).unwrap();
            assert!(picture.contains("CD1") && !picture.contains("CD2"));
        }
        // Voxels without coordinates have no map.
        false => assert!(told.contains("obsm/spatial"), "{told}"),
    }
    succeed(
        folder,
        "project --mapping adt --genes all --out adt_genes.h5ad",
    );
    assert_eq!(
        Dataset::open(&folder.join("adt_genes.h5ad"))
            .unwrap()
            .n_vars(),
        160
    );
}

#[test]
fn what_is_known_of_voxels_comes_back_as_it_was() {
    let folder = tissue();
    let mut known = voxels();
    let n = known.obs.len();
    known.obs.set(
        "flag",
        Column::Flag((0..n).map(|j| Some(j % 3 == 0)).collect()),
    );
    known.obs.set(
        "whole",
        Column::Integer((0..n).map(|j| Some(j as i64 - 5)).collect()),
    );
    known.obs.set(
        "some",
        Column::Integer((0..n).map(|j| (j % 4 > 0).then_some(j as i64)).collect()),
    );
    known.obs.set(
        "stage",
        Column::Categorical {
            codes: (0..n).map(|j| Some((j % 3) as u32)).collect(),
            categories: ["late", "early", "middle"].map(str::to_owned).to_vec(),
            ordered: true,
        },
    );
    let colors = Uns::Texts(
        ["#111111", "#222222", "#333333"]
            .map(str::to_owned)
            .to_vec(),
    );
    known.uns.push(("stage_colors".to_owned(), colors.clone()));
    let image = Uns::Array {
        shape: vec![4, 5, 3],
        values: ArrayValues::U8((0..60).collect()),
    };
    let map_of = |entries: Vec<(&str, Uns)>| {
        Uns::Map(
            entries
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<BTreeMap<_, _>>(),
        )
    };
    let spatial = map_of(vec![(
        "slide",
        map_of(vec![
            ("images", map_of(vec![("hires", image)])),
            (
                "scalefactors",
                map_of(vec![("tissue_hires_scalef", Uns::Number(0.25))]),
            ),
        ]),
    )]);
    known.uns.push(("spatial".to_owned(), spatial.clone()));
    // Coordinates where other programs put them.
    known.obs.remove("x_um");
    known.obs.remove("y_um");
    let places = known.spatial.take().unwrap();
    for (axis, name) in ["x_centroid", "y_centroid"].into_iter().enumerate() {
        known
            .obs
            .set(name, Column::numbers(places.column(axis).to_vec()));
    }
    known.write(&folder.join("known_voxels.h5ad"));
    for solver in ["mirror", "adam"] {
        let out = format!("carried_{solver}");
        let told = all_of(
            folder,
            &map(
                CELLS,
                "known_voxels.h5ad",
                &out,
                &format!("--solver {solver}"),
            ),
        );
        assert_has(&told, &["obs columns `x_centroid` and `y_centroid`"]);
        succeed(
            folder,
            &format!("project --mapping {out} --types obs:cell_type --out {out}.h5ad"),
        );
        let file = Dataset::open(&folder.join(format!("{out}.h5ad"))).unwrap();
        for name in ["flag", "whole", "some", "stage"] {
            assert_eq!(
                &file.obs_column(name).unwrap(),
                known.obs.column(name).unwrap(),
                "{name}"
            );
        }
        assert_eq!(file.spatial().unwrap().unwrap(), places);
        assert_eq!(
            file.uns_value("stage_colors").unwrap(),
            Some(colors.clone())
        );
        assert_eq!(file.uns_value("spatial").unwrap(), Some(spatial.clone()));
    }
}

#[test]
fn cells_without_a_label_are_told_and_can_be_a_type() {
    let folder = tissue();
    let mut some = cells();
    let Some(Column::Categorical {
        codes,
        categories,
        ordered,
    }) = some.obs.column("cell_type").cloned()
    else {
        panic!("types are categories")
    };
    let codes: Vec<Option<u32>> = codes
        .into_iter()
        .enumerate()
        .map(|(i, c)| c.filter(|_| i % 4 > 0))
        .collect();
    let kinds = Column::Categorical {
        codes,
        categories: categories.clone(),
        ordered,
    };
    some.obs.set("cell_type", kinds);
    some.write(&folder.join("some.h5ad"));
    succeed(folder, &map("some.h5ad", VOXELS, "some", ""));
    let project = "project --mapping some --types obs:cell_type --out";
    let told = all_of(folder, &format!("{project} some_types.h5ad"));
    assert_has(
        &told,
        &[
            "75 cells (25.0 %) without a label in obs `cell_type`",
            "--unlabelled",
        ],
    );
    succeed(
        folder,
        &format!("{project} all_types.h5ad --unlabelled unknown"),
    );
    let types = Dataset::open(&folder.join("all_types.h5ad")).unwrap();
    assert_eq!(types.var_names().unwrap().last().unwrap(), "unknown");
    let sums = types
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows(0..types.n_obs())
        .unwrap()
        .column_sums();
    assert!((sums.last().unwrap() - 75.0).abs() < 1e-2, "{sums:?}");
}

#[test]
fn expected_cells_are_of_the_tissue_where_they_were_counted() {
    let folder = tissue();
    let mut counted = voxels();
    let n = counted.obs.len();
    counted.obs.set(
        "cells_seen",
        Column::Integer((0..n).map(|j| Some(1 + j as i64 % 4)).collect()),
    );
    counted.write(&folder.join("counted.h5ad"));
    succeed(
        folder,
        &map(CELLS, "counted.h5ad", "counted", "--prior obs:cells_seen"),
    );
    let project = |run: &str| {
        let arguments =
            format!("project --mapping {run} --types obs:cell_type --out of_{run}.h5ad");
        succeed(folder, &arguments);
        let file = Dataset::open(&folder.join(format!("of_{run}.h5ad"))).unwrap();
        let rows = file
            .matrix(&MatrixName::X)
            .unwrap()
            .read_rows(0..file.n_obs())
            .unwrap();
        (file, rows.row_sums())
    };
    let numbers = |file: &Dataset, name: &str| -> Vec<f64> {
        let column = file.obs_column(name).unwrap().as_numbers().unwrap();
        column.into_iter().flatten().collect()
    };
    let close = |found: &[f64], wanted: &[f64]| {
        let near = |(f, w): (&f64, &f64)| (f - w).abs() < 1e-4 * w.abs().max(1.0);
        assert!(found.iter().zip(wanted).all(near), "{found:?}\n{wanted:?}");
    };
    let (file, totals) = project("counted");
    let seen: f64 = (0..n).map(|j| 1.0 + (j % 4) as f64).sum();
    close(&totals, &numbers(&file, "expected_cells"));
    assert!((totals.iter().sum::<f64>() - seen).abs() < 1e-2 * seen);
    assert!(
        (numbers(&file, "expected_reference_cells")
            .iter()
            .sum::<f64>()
            - 300.0)
            .abs()
            < 1e-2
    );
    let (file, totals) = project("clean");
    close(&totals, &numbers(&file, "expected_reference_cells"));
    assert!(file.obs_column("expected_cells").is_err());
}

#[test]
fn voxels_without_a_count_can_be_left_out() {
    let folder = tissue();
    let mut empty = voxels();
    let n_genes = empty.var.len();
    let mut rows = SparseRows::empty(n_genes);
    for j in 0..empty.obs.len() {
        let (columns, values) = empty.counts().row(j);
        let kept = columns
            .iter()
            .copied()
            .zip(values.iter().copied())
            .filter(|_| j % 30 > 0);
        let kept: Vec<(u32, f32)> = kept.collect();
        rows.push_row(kept);
    }
    *empty.counts() = rows;
    let names: Vec<String> = (0..120)
        .step_by(30)
        .map(|j| empty.obs.names[j].clone())
        .collect();
    empty.write(&folder.join("empty.h5ad"));
    let told = fail(folder, &map(CELLS, "empty.h5ad", "empty", ""), 3);
    assert_has(
        &told,
        &["4 of 120 voxels have no count", &names[0], "--drop-empty"],
    );
    let told = all_of(folder, &map(CELLS, "empty.h5ad", "empty", "--drop-empty"));
    assert_has(&told, &["left out 4 voxels", &names[0]]);
    let record = std::fs::read_to_string(folder.join("empty/run.toml")).unwrap();
    assert_has(&record, &["dropped-voxels", &names[3], "n-voxels = 116"]);
    succeed(
        folder,
        "project --mapping empty --types obs:cell_type --out empty_types.h5ad",
    );
    let types = Dataset::open(&folder.join("empty_types.h5ad")).unwrap();
    assert_eq!(
        (types.n_obs(), types.spatial().unwrap().unwrap().nrows()),
        (116, 116)
    );
    succeed(folder, "score --mapping empty");
}

#[test]
fn functions_of_tangram_sc_read_the_mapping() {
    let folder = tissue();
    let Some(python) = require::python() else {
        return;
    };
    let has_package = Command::new(&python)
        .args([
            "-c",
            "import importlib.metadata as m; m.version('tangram-sc')",
        ])
        .output()
        .unwrap();
    if !has_package.status.success() {
        skip(
            Need::Python,
            "TANGRAM_PYTHON lacks tangram-sc; scripts/python-env.sh tests makes one with it",
        );
        return;
    }
    succeed(
        folder,
        "project --mapping clean --types obs:cell_type --out clean_types.h5ad",
    );
    let output = Command::new(&python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tangram_sc.py"))
        .current_dir(folder)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
}

#[test]
fn annotations_may_change_after_the_mapping_and_the_refusal_says_how() {
    let folder = tissue();
    cells().write(&folder.join("changing.h5ad"));
    succeed(folder, &map("changing.h5ad", VOXELS, "changing", ""));
    let mut changed = cells();
    let n = changed.obs.len();
    changed.obs.set(
        "cluster",
        Column::Integer((0..n).map(|i| Some(i as i64 % 5)).collect()),
    );
    std::fs::remove_file(folder.join("changing.h5ad")).unwrap();
    changed.write(&folder.join("changing.h5ad"));
    let project = "project --mapping changing --types obs:cluster --out changing_types.h5ad";
    let told = fail(folder, project, 3);
    assert_has(&told, &["only annotations changed, go on with --cells"]);
    succeed(folder, &format!("{project} --cells changing.h5ad"));

    let mut fewer = cells();
    let trained = voxels().var.names;
    let is_kept = |&k: &usize| !trained[..30].contains(&fewer.var.names[k]);
    let some: Vec<usize> = (0..fewer.var.len()).filter(is_kept).collect();
    let rows = fewer.counts().select_columns(&some);
    *fewer.counts() = rows;
    fewer.var = fewer.var.rows(&some);
    fewer.write(&folder.join("fewer.h5ad"));
    let told = fail(
        folder,
        "place --mapping clean --cells fewer.h5ad --out no.h5ad",
        3,
    );
    assert_has(
        &told,
        &["genes that the mapping was trained on", "map --genes"],
    );
    assert!(!told.contains("off the list"), "{told}");
}

#[test]
fn faults_of_settings_files_and_links_are_named() {
    let folder = tissue();
    std::fs::write(folder.join("set.toml"), "[map]\nepochs = \"many\"\n").unwrap();
    let told = fail(
        folder,
        &format!("map --cells {CELLS} --voxels {VOXELS} --out refused4 --config set.toml"),
        2,
    );
    assert_has(
        &told,
        &["many", "`epochs` stands in the settings file set.toml"],
    );
    let told = fail(
        folder,
        &map(CELLS, VOXELS, "refused5", "--threads 99999999"),
        2,
    );
    assert_has(&told, &["--threads", "from 1 to 4096"]);
    std::os::unix::fs::symlink("loop.h5ad", folder.join("loop.h5ad")).unwrap();
    let told = fail(folder, "inspect loop.h5ad", 3);
    assert_has(&told, &["a link that leads back to itself"]);
    std::os::unix::fs::symlink("gone.h5ad", folder.join("dangling.h5ad")).unwrap();
    let told = fail(folder, &map("dangling.h5ad", VOXELS, "refused6", ""), 3);
    assert_has(&told, &["is a link to gone.h5ad, which is not there"]);
    let mut none = cells();
    none.obs = Table::default();
    *none.counts() = SparseRows::empty(none.var.len());
    none.write(&folder.join("none.h5ad"));
    let told = fail(folder, &map("none.h5ad", VOXELS, "refused7", ""), 3);
    assert_eq!(told.matches("holds no cells").count(), 1, "{told}");
    let told = fail(folder, &map(CELLS, VOXELS, "refused8", "--grid 4x1x1"), 2);
    assert_eq!(told.matches("needs 4 ranks").count(), 1, "{told}");
}

#[test]
fn more_threads_than_help_change_nothing() {
    let folder = tissue();
    let begun = std::time::Instant::now();
    succeed(folder, &map(CELLS, VOXELS, "threads", "--threads 1000"));
    assert_eq!(
        history(&folder.join("threads")),
        history(&folder.join("clean"))
    );
    // A thousand threads took an hour.
    assert!(begun.elapsed() < std::time::Duration::from_secs(300));
}

#[test]
fn short_help_is_short() {
    let short = succeed(tissue(), "map -h");
    let flags = short
        .lines()
        .filter(|line| line.trim_start().starts_with('-'))
        .count();
    assert!(flags <= 20, "{flags} flags:\n{short}");
    let long = succeed(tissue(), "map --help");
    for flag in ["--batches", "--tolerance", "--reduce", "--lambda-g1"] {
        assert!(!short.contains(flag) && long.contains(flag), "{flag}");
    }
}

#[test]
fn scores_stand_beside_what_knows_no_cells() {
    let folder = tissue();
    let told = succeed(folder, "score --mapping clean --out clean_scores.tsv");
    assert_has(&told, &["totals only", "totals out", "voxel totals"]);
    let table = std::fs::read_to_string(folder.join("clean_scores.tsv")).unwrap();
    assert_has(&table, &["totals_cosine\ttotals_pearson\tpartial_pearson"]);
    let told = summary(folder, "score --mapping clean");
    assert!(told["train"]["totals"]["mean_cosine"].as_f64().unwrap() > 0.0);
    assert!(told["train"]["mean_partial"].as_f64().is_some() && told["sentence"].is_string());
}

#[test]
fn what_may_be_a_mistake_is_warned_of() {
    let folder = tissue();
    let quick = "--epochs 2 --force --out doubt";
    let told = all_of(
        folder,
        &format!("map --cells {VOXELS} --voxels {VOXELS} {quick}"),
    );
    assert_has(&told, &["--cells and --voxels are the same file"]);
    std::fs::copy(folder.join(VOXELS), folder.join("again.h5ad")).unwrap();
    let told = all_of(
        folder,
        &format!("map --cells again.h5ad --voxels {VOXELS} {quick}"),
    );
    assert_has(&told, &["the same names in the same order"]);
    let mut plain = cells();
    plain.obs = Table::of_names(plain.obs.names.clone());
    plain.write(&folder.join("plain.h5ad"));
    let told = all_of(
        folder,
        &format!("map --cells {VOXELS} --voxels plain.h5ad {quick} --drop-empty"),
    );
    assert_has(&told, &["are --cells and --voxels swapped?"]);
    let told = all_of(
        folder,
        &format!("map --cells {CELLS} --voxels {VOXELS} {quick} --gpu-memory 3"),
    );
    assert_has(&told, &["--gpu-memory", "no device"]);

    let mut few = voxels();
    let genes: Vec<usize> = (0..8).collect();
    let all = few.counts().clone();
    few.matrices = vec![(MatrixName::X, all.select_columns(&genes))];
    few.var = Table::of_names(few.var.names[..8].to_vec());
    few.write(&folder.join("few.h5ad"));
    let told = all_of(
        folder,
        &format!("map --cells {CELLS} --voxels few.h5ad {quick} --drop-empty"),
    );
    assert_has(&told, &["genes to train on"]);
    let mut one = cells();
    one.obs = Table::of_names(vec![one.obs.names[0].clone()]);
    let row = one.counts().rows(0..1);
    *one.counts() = row;
    one.write(&folder.join("one.h5ad"));
    let told = all_of(
        folder,
        &format!("map --cells one.h5ad --voxels {VOXELS} {quick}"),
    );
    assert_has(&told, &["only 1 cell"]);
    let mut large = cells();
    large.counts().values_mut()[0] = 1e38;
    large.write(&folder.join("large.h5ad"));
    let told = all_of(
        folder,
        &format!("map --cells large.h5ad --voxels {VOXELS} {quick}"),
    );
    assert_has(&told, &["values up to 1", "too large for single precision"]);
}
