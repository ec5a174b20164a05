//! One suite for both formats: what is written reads back equal, and outputs appear whole or not at all.

use ndarray::{Array2, s};
use std::fs;
use std::path::Path;
use std::process::Command;
use tangram_core::{Column, SparseRows, Table};
use tangram_store::{
    AnnDataWriter, Dataset, Existing, MatrixName, StoreError, Uns, fingerprint, read_npy,
    write_aside,
};

const ENDINGS: [&str; 2] = ["h5ad", "zarr"];

fn table(prefix: &str, n: usize) -> Table {
    let mut table = Table::of_names((0..n).map(|i| format!("{prefix}{i}")).collect());
    let codes = (0..n)
        .map(|i| (i % 3 != 2).then_some((i % 3) as u32))
        .collect();
    let categories = vec!["ä".to_owned(), "b".to_owned()];
    table.set(
        "group",
        Column::Categorical {
            codes,
            categories,
            ordered: false,
        },
    );
    table.set(
        "amount",
        Column::Numeric((0..n).map(|i| (i != 1).then_some(i as f64 / 3.0)).collect()),
    );
    table.set(
        "remark",
        Column::Text(
            (0..n)
                .map(|i| {
                    if i == 2 {
                        String::new()
                    } else {
                        format!("r{i} µ")
                    }
                })
                .collect(),
        ),
    );
    table
}

fn dense(n_rows: usize, n_columns: usize) -> Array2<f32> {
    Array2::from_shape_fn((n_rows, n_columns), |(i, j)| {
        if (i * 31 + j * 17) % 7 < 2 {
            (i + j + 1) as f32 / 8.0
        } else {
            0.0
        }
    })
}

/// Writes matrices of a shape in pieces of the given sizes and reads all of it back.
fn check(n_obs: usize, n_vars: usize, rows_at_once: usize, columns_at_once: usize) {
    let folder = tempfile::tempdir().unwrap();
    let (obs, var) = (table("cell", n_obs), table("gene", n_vars));
    let values = dense(n_obs, n_vars);
    let spatial = Array2::from_shape_fn((n_obs, 2), |(i, j)| (i + j) as f64 / 3.0);
    let uns = Uns::Map(
        [
            ("text", Uns::from("a µ")),
            ("number", Uns::from(0.1)),
            ("whole", Uns::from(-3_i64)),
            ("flag", Uns::from(true)),
            ("numbers", Uns::Numbers(vec![0.5, f64::MAX])),
            ("texts", Uns::Texts(vec!["x".to_owned(), String::new()])),
            ("table", Uns::Table(table("epoch", 3))),
            ("empty", Uns::Map([].into())),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into(),
    );
    for ending in ENDINGS {
        let path = folder.path().join(format!("out.{ending}"));
        let mut writer = AnnDataWriter::create(&path, Existing::Refuse, &obs, &var).unwrap();
        for name in [MatrixName::X, MatrixName::Raw] {
            let mut sink = writer.sparse(&name).unwrap();
            for start in (0..n_obs).step_by(rows_at_once) {
                let rows = values.slice(s![start..(start + rows_at_once).min(n_obs), ..]);
                sink.append(&SparseRows::from_dense(rows)).unwrap();
            }
            sink.finish().unwrap();
        }
        let layer = MatrixName::Layer("predicted".to_owned());
        let mut sink = writer.dense(&layer).unwrap();
        for start in (0..n_vars).step_by(columns_at_once) {
            let columns = values.slice(s![.., start..(start + columns_at_once).min(n_vars)]);
            sink.write_columns(start, columns).unwrap();
        }
        sink.finish().unwrap();
        writer.obsm("spatial", spatial.view()).unwrap();
        writer
            .obsm("half", values.slice(s![.., ..n_vars.min(4)]))
            .unwrap();
        writer.varm("weights", values.t()).unwrap();
        writer.uns("everything", &uns).unwrap();
        assert!(!path.exists(), "nothing appears before finish");
        writer.finish().unwrap();
        let left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert!(
            !left
                .iter()
                .any(|name| name.to_string_lossy().contains("partial")),
            "{left:?}"
        );

        let dataset = Dataset::open(&path).unwrap();
        assert_eq!(dataset.obs().unwrap(), obs, "{ending}");
        assert_eq!(dataset.var().unwrap(), var, "{ending}");
        for name in [MatrixName::X, MatrixName::Raw, layer] {
            let matrix = dataset.matrix(&name).unwrap();
            assert_eq!(
                matrix.read_rows(0..n_obs).unwrap().to_dense(),
                values,
                "{ending} {name}"
            );
        }
        assert_eq!(
            dataset.spatial().unwrap(),
            Some(spatial.clone()),
            "{ending}"
        );
        assert_eq!(
            dataset.obsm("half").unwrap(),
            values.slice(s![.., ..n_vars.min(4)]),
            "{ending}"
        );
        assert_eq!(
            dataset.uns_value("everything").unwrap(),
            Some(uns.clone()),
            "{ending}"
        );
        fs::rename(&path, folder.path().join(format!("first.{ending}"))).unwrap();
    }
}

#[test]
fn written_reads_back_equal() {
    check(20, 15, 7, 4);
    check(1, 1, 1, 1);
    check(300, 1300, 64, 500);
    check(3, 40_000, 2, 3_000);
    check(5000, 600, 999, 600);
}

#[test]
fn a_matrix_of_several_shards_reads_back_equal() {
    // 18 million entries are more than one shard of a Zarr array holds; the dense one has 25 chunks.
    let (n_obs, n_vars) = (9000, 2100);
    let values = Array2::from_shape_fn((n_obs, n_vars), |(i, j)| (i * n_vars + j + 1) as f32);
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let write = |name: &str| {
            let path = folder.path().join(format!("{name}.{ending}"));
            let names =
                |prefix: &str, n| Table::of_names((0..n).map(|i| format!("{prefix}{i}")).collect());
            let (obs, var) = (names("c", n_obs), names("g", n_vars));
            let mut writer = AnnDataWriter::create(&path, Existing::Refuse, &obs, &var).unwrap();
            let mut sink = writer.sparse(&MatrixName::X).unwrap();
            for start in (0..n_obs).step_by(1000) {
                sink.append(&SparseRows::from_dense(
                    values.slice(s![start..start + 1000, ..]),
                ))
                .unwrap();
            }
            sink.finish().unwrap();
            let mut sink = writer
                .dense(&MatrixName::Layer("dense".to_owned()))
                .unwrap();
            for start in (0..n_vars).step_by(700) {
                sink.write_columns(start, values.slice(s![.., start..start + 700]))
                    .unwrap();
            }
            sink.finish().unwrap();
            writer.finish().unwrap();
            path
        };
        let path = write("big");
        if ending == "zarr" {
            // Several threads compress the chunks of a shard.
            assert_eq!(
                fingerprint(&path).unwrap(),
                fingerprint(&write("again")).unwrap()
            );
        }
        let dataset = Dataset::open(&path).unwrap();
        for name in dataset.matrix_names().unwrap() {
            let matrix = dataset.matrix(&name).unwrap();
            // Few rows at a time, as a mapping is read.
            for start in (0..n_obs).step_by(600) {
                let rows = matrix.read_rows(start..start + 600).unwrap();
                assert_eq!(
                    rows.to_dense(),
                    values.slice(s![start..start + 600, ..]),
                    "{ending} {name} {start}"
                );
            }
        }
        if ending == "zarr" {
            for at in ["X/data", "X/indices", "layers/dense"] {
                let metadata = fs::read_to_string(path.join(at).join("zarr.json")).unwrap();
                assert!(metadata.contains("sharding_indexed"), "{at}: {metadata}");
            }
        }
    }
}

fn tree_of(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_same_content_gives_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let write = |name: &str| {
            let path = folder.path().join(format!("{name}.{ending}"));
            let mut writer =
                AnnDataWriter::create(&path, Existing::Refuse, &table("c", 9), &table("g", 5))
                    .unwrap();
            let mut sink = writer.sparse(&MatrixName::X).unwrap();
            sink.append(&SparseRows::from_dense(dense(9, 5).view()))
                .unwrap();
            sink.finish().unwrap();
            writer.finish().unwrap();
            fingerprint(&path).unwrap()
        };
        let first = write("one");
        // Times in the file, if there were any, have a resolution of a second.
        std::thread::sleep(std::time::Duration::from_millis(1100));
        assert_eq!(first, write("two"), "{ending}");
    }
}

#[test]
fn an_output_is_refused_replaced_or_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (obs, var) = (table("c", 4), table("g", 3));
    for ending in ENDINGS {
        let path = folder.path().join(format!("out.{ending}"));
        let write = |existing, prefix: &str| {
            let writer = AnnDataWriter::create(&path, existing, &table(prefix, 4), &var)?;
            writer.finish()
        };
        write(Existing::Refuse, "old").unwrap();
        assert!(matches!(
            write(Existing::Refuse, "new"),
            Err(StoreError::Exists { .. })
        ));
        drop(AnnDataWriter::create(&path, Existing::Replace, &obs, &var).unwrap());
        assert_eq!(
            Dataset::open(&path).unwrap().obs_names().unwrap()[0],
            "old0"
        );
        write(Existing::Replace, "new").unwrap();
        assert_eq!(
            Dataset::open(&path).unwrap().obs_names().unwrap()[0],
            "new0"
        );
    }
    assert_eq!(tree_of(folder.path()), ["out.h5ad", "out.zarr"]);
    let other = AnnDataWriter::create(&folder.path().join("out.csv"), Existing::Refuse, &obs, &var);
    assert!(matches!(other, Err(StoreError::Ending { .. })));
    let nowhere = AnnDataWriter::create(
        &folder.path().join("no/out.h5ad"),
        Existing::Refuse,
        &obs,
        &var,
    );
    let message = nowhere.unwrap_err().to_string();
    assert!(
        message.contains("out.h5ad: cannot write: the folder")
            && message.contains("does not exist"),
        "{message}"
    );
}

#[test]
fn what_does_not_fit_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    for ending in ENDINGS {
        let path = folder.path().join(format!("out.{ending}"));
        let mut writer =
            AnnDataWriter::create(&path, Existing::Refuse, &table("c", 4), &table("g", 3)).unwrap();
        let wrong = |result: Result<(), StoreError>| {
            assert!(matches!(result, Err(StoreError::Unwritable { .. })))
        };
        wrong(writer.obsm("spatial", dense(5, 2).view()));
        wrong(writer.uns("a/b", &Uns::from(1.0)));
        let mut sink = writer.sparse(&MatrixName::X).unwrap();
        wrong(sink.append(&SparseRows::from_dense(dense(2, 4).view())));
        sink.append(&SparseRows::from_dense(dense(2, 3).view()))
            .unwrap();
        wrong(sink.finish());
        let mut sink = writer.dense(&MatrixName::Layer("d".to_owned())).unwrap();
        wrong(sink.write_columns(1, dense(4, 1).view()));
        sink.write_columns(0, dense(4, 2).view()).unwrap();
        wrong(sink.write_columns(2, dense(4, 2).view()));
        wrong(sink.finish());
        wrong(writer.sparse(&MatrixName::X).map(drop));
    }
    assert!(tree_of(folder.path()).is_empty());
}

#[test]
fn folders_appear_whole_or_not_at_all() {
    let parent = tempfile::tempdir().unwrap();
    let run = parent.path().join("run");
    let write = |existing, content: &'static str| {
        write_aside(&run, existing, |aside| {
            fs::create_dir(aside).unwrap();
            fs::write(aside.join("file"), content).unwrap();
            match content {
                "bad" => Err(StoreError::Missing {
                    path: aside.to_owned(),
                }),
                _ => Ok(content.len()),
            }
        })
    };
    assert!(write(Existing::Refuse, "bad").is_err());
    assert!(tree_of(parent.path()).is_empty());
    assert_eq!(write(Existing::Refuse, "first").unwrap(), 5);
    assert!(matches!(
        write(Existing::Refuse, "second"),
        Err(StoreError::Exists { .. })
    ));
    assert!(write(Existing::Replace, "bad").is_err());
    assert_eq!(fs::read_to_string(run.join("file")).unwrap(), "first");
    write(Existing::Replace, "third").unwrap();
    assert_eq!(fs::read_to_string(run.join("file")).unwrap(), "third");
    assert_eq!(tree_of(parent.path()), ["run"]);
}

#[test]
fn fingerprints_follow_contents_and_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for name in ["a", "b", "c"] {
        fs::create_dir_all(at(name).join("inner")).unwrap();
        fs::write(at(name).join("inner/x"), "1").unwrap();
        fs::write(at(name).join("y"), if name == "c" { "3" } else { "2" }).unwrap();
    }
    let print = |name: &str| fingerprint(&at(name)).unwrap();
    assert_eq!(print("a"), print("b"));
    assert_ne!(print("a"), print("c"));
    fs::rename(at("b/y"), at("b/z")).unwrap();
    assert_ne!(print("a"), print("b"));
    // sha256sum of the text "1".
    assert_eq!(
        print("a/inner/x"),
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"
    );
    assert!(matches!(
        fingerprint(&at("d")),
        Err(StoreError::Missing { .. })
    ));
}

#[test]
fn npy_files_of_both_precisions_are_read() {
    use ndarray_npy::WriteNpyExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("logits.npy");
    let values = dense(4, 3);
    let file = || fs::File::create(&path).unwrap();
    values.write_npy(file()).unwrap();
    assert_eq!(read_npy(&path).unwrap(), values.mapv(f64::from));
    values.mapv(f64::from).write_npy(file()).unwrap();
    assert_eq!(read_npy(&path).unwrap(), values.mapv(f64::from));
    values.mapv(|v| v as i32).write_npy(file()).unwrap();
    let message = read_npy(&path).unwrap_err().to_string();
    assert!(
        message.contains("expected a 2-D float64 or float32 array"),
        "{message}"
    );
}

#[test]
fn a_program_started_meanwhile_keeps_no_lock_on_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.h5ad");
    let writer =
        AnnDataWriter::create(&path, Existing::Refuse, &table("c", 9), &table("g", 5)).unwrap();
    // It inherits every descriptor that is open here, that of the file among them.
    let mut other = Command::new("sleep").arg("60").spawn().unwrap();
    writer.finish().unwrap();
    let read = Dataset::open(&path).map(|dataset| dataset.obs().unwrap().len());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(read.unwrap(), 9);
}
