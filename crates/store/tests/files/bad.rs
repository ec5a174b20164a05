//! Inputs that must be refused, each with a message that names what to mend.

use crate::python::files;
use std::thread;
use std::time::{Duration, Instant};
use tangram_core::Table;
use tangram_store::{AnnDataWriter, Dataset, Existing, MatrixName, Names, StoreError};

/// Opens, reads names and the matrix both ways, and gives the message of what failed.
fn message(path: &std::path::Path) -> String {
    let read = || {
        let dataset = Dataset::open(path)?;
        dataset.unique_names(Names::Var)?;
        dataset
            .matrix(&MatrixName::X)?
            .read_rows(0..dataset.n_obs())
    };
    let by_row: Result<_, StoreError> = read();
    let by_row = by_row.expect_err("it must be refused").to_string();
    if let Ok(dataset) = Dataset::open(path)
        && let Ok(matrix) = dataset.matrix(&MatrixName::X)
        && dataset.unique_names(Names::Var).is_ok()
    {
        let by_column = matrix
            .read_columns(&[7, 4])
            .expect_err("it must be refused by columns, too")
            .to_string();
        assert_eq!(by_column, by_row);
        assert!(matrix.read_rows_any(0..dataset.n_obs()).is_ok());
    }
    by_row
}

#[test]
fn each_bad_input_has_its_message() {
    let Some(files) = files() else { return };
    let mut cases = vec![
        (
            "nowhere.h5ad".to_owned(),
            "no such file or folder".to_owned(),
        ),
        (
            "truncated.h5ad".to_owned(),
            "not a complete HDF5 file (it is cut off)".to_owned(),
        ),
        (
            "text.h5ad".to_owned(),
            "not a complete HDF5 file (it does not begin like one)".to_owned(),
        ),
        (
            "empty_folder".to_owned(),
            "a folder of another kind; expected .h5ad".to_owned(),
        ),
        (
            "other.h5".to_owned(),
            "an HDF5 file without `obs` and `var`".to_owned(),
        ),
        (
            "duplicates.h5ad".to_owned(),
            "var has the name `gene_00` 2 times".to_owned(),
        ),
        (
            "unknown_encoding.h5ad".to_owned(),
            "X has encoding `quantum_matrix 0.1.0`".to_owned(),
        ),
    ];
    for (name, value) in [("nan", "NaN"), ("inf", "inf"), ("negative", "-1")] {
        for layout in ["csr", "csc", "dense"] {
            let expected =
                format!("X of `cell_033`, `gene_04` is {value}; expression must be finite");
            cases.push((format!("{name}_{layout}.h5ad"), expected));
        }
    }
    for (name, expected) in cases {
        let message = message(&files.join(&name));
        assert!(
            message.contains(&name) && message.contains(&expected),
            "{name}: {message}"
        );
        assert!(!message.contains('\n'), "{name}: one line");
    }
}

#[test]
fn what_lies_in_another_file_is_not_followed() {
    let Some(files) = files() else { return };
    for (name, field, target) in [
        ("linked.h5ad", "X", "csr_f32.h5ad"),
        ("linked_twice.h5ad", "var", "csr_f32.h5ad"),
        ("beside.h5ad", "X", "beside.raw"),
    ] {
        let read = || {
            let dataset = Dataset::open(&files.join(name))?;
            dataset.unique_names(Names::Var)?;
            dataset
                .matrix(&MatrixName::X)?
                .read_rows(0..dataset.n_obs())
        };
        let error = read().expect_err("it must be refused");
        assert!(
            matches!(error, StoreError::Elsewhere { .. }),
            "{name}: {error}"
        );
        let told = error.to_string();
        assert!(
            told.contains(name) && told.contains(field) && told.contains(target),
            "{told}"
        );
    }
}

#[test]
fn a_missing_column_is_answered_with_those_there_are() {
    let Some(files) = files() else { return };
    let dataset = Dataset::open(&files.join("csr_f32.h5ad")).unwrap();
    let error = dataset.obs_column("celltype").unwrap_err().to_string();
    assert!(
        error.contains("obs has no column `celltype`; it has: kind, ward, score"),
        "{error}"
    );
    let error = dataset.obsm("umap").unwrap_err().to_string();
    assert!(
        error.contains("obsm has no array `umap`; it has: adt, hot, pca, spatial"),
        "{error}"
    );
}

#[test]
fn a_locked_file_is_said_to_be_locked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("open_elsewhere.h5ad");
    let names = Table::of_names(vec!["one".to_owned()]);
    let written = AnnDataWriter::create(&path, Existing::Refuse, &names, &names);
    written.unwrap().finish().unwrap();
    let elsewhere = std::fs::File::options().write(true).open(&path).unwrap();
    elsewhere.lock().unwrap();
    let message = Dataset::open(&path).err().unwrap().to_string();
    assert!(
        message.contains("another program has this file open for writing"),
        "{message}"
    );
    drop(elsewhere);
    // A process that another test is just starting still holds the file, and with it the lock, until it becomes its program.
    let most = Instant::now() + Duration::from_secs(10);
    while let Err(error) = Dataset::open(&path) {
        assert!(Instant::now() < most, "{error}");
        thread::sleep(Duration::from_millis(20));
    }
}
