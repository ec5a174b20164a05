//! Bad input: one clear message, the right exit code, nothing half-written.

use crate::program::require::{Need, skip};
use crate::program::{Expression, fail, listing, names, run, succeed, tangram};
use std::fs;
use std::path::Path;
use std::process::Command;
use tangram_core::{SparseRows, Table};
use tangram_store::{AnnDataWriter, Existing, MatrixName};
use tempfile::{TempDir, tempdir};

/// A folder with inputs that fit each other.
fn good() -> TempDir {
    let folder = tempdir().unwrap();
    Expression::new("cell").write(&folder.path().join("cells.h5ad"));
    let weights = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].map(Some);
    Expression::new("voxel")
        .numbers("n_cells", weights)
        .write(&folder.path().join("voxels.h5ad"));
    folder
}

/// Makes a folder, spoils it, runs a command line and gives its message with the folder's name taken out.
fn message(spoil: impl FnOnce(&Path), arguments: &str, code: i32) -> String {
    let folder = good();
    spoil(folder.path());
    let before = listing(folder.path());
    let error = fail(folder.path(), arguments, code);
    assert_eq!(
        listing(folder.path()),
        before,
        "{arguments} left something behind"
    );
    assert_eq!(error.trim_end().lines().count(), 1, "one message:\n{error}");
    let place = fs::canonicalize(folder.path()).unwrap();
    error
        .replace(place.to_str().unwrap(), "DIR")
        .replace(folder.path().to_str().unwrap(), "DIR")
}

const MAP: &str =
    "map -q --solver adam --cells cells.h5ad --voxels voxels.h5ad --out run --epochs 2";

/// Only libtorch multiplies bf16 on cores.
#[cfg(not(feature = "torch"))]
#[test]
fn bf16_without_libtorch_is_refused() {
    let told = message(|_| (), &format!("{MAP} --precision bf16"), 2);
    assert!(told.contains("bf16") && told.contains("f32"), "{told}");
}

/// A few of the faults; `crates/pipeline/tests/bad_inputs.rs` has all of a mapping's.
#[test]
fn a_fault_of_an_input_has_its_message() {
    let replaced = |name: &'static str, file: Expression| {
        move |folder: &Path| {
            fs::remove_file(folder.join(name)).unwrap();
            file.write(&folder.join(name));
        }
    };
    let mut told = Vec::new();
    let mut tell = |what: &str, spoil: &dyn Fn(&Path), arguments: &str| {
        told.push(format!("{what}\n{}", message(spoil, arguments, 3)));
    };

    tell(
        "missing",
        &|_| (),
        "map -q --cells none.h5ad --voxels voxels.h5ad --out run",
    );
    let other_genes = Expression {
        genes: names("Gene", 4),
        ..Expression::new("voxel")
    };
    tell(
        "no shared genes",
        &replaced("voxels.h5ad", other_genes),
        MAP,
    );
    let not_a_number = Expression::new("cell").value(2, f32::NAN);
    tell("not a number", &replaced("cells.h5ad", not_a_number), MAP);
    let weights = [1.0, -1.0, 1.0, 1.0, 1.0, 1.0].map(Some);
    tell(
        "prior negative",
        &replaced(
            "voxels.h5ad",
            Expression::new("voxel").numbers("n_cells", weights),
        ),
        &format!("{MAP} --prior obs:n_cells"),
    );
    tell(
        "gene not there",
        &|f| fs::write(f.join("genes.txt"), "gene0\ngene7\ngene8\n").unwrap(),
        &format!("{MAP} --genes genes.txt"),
    );
    tell(
        "not an array",
        &|f| fs::write(f.join("m.npy"), "x").unwrap(),
        &format!("{MAP} --init-logits m.npy"),
    );
    tell("not a run", &|_| (), "score --mapping cells.h5ad");
    tell("nothing to inspect", &|_| (), "inspect none.zarr");

    insta::assert_snapshot!("bad_input", told.join("\n"));
}

#[test]
fn what_a_run_does_not_fit_is_told() {
    let folder = good();
    let (path, mut told) = (folder.path(), Vec::new());
    succeed(path, MAP);
    let mut tell = |arguments: &str, code| {
        told.push(format!("$ {arguments}\n{}", fail(path, arguments, code)))
    };
    tell(
        "project --mapping run --types obs:cell_type --out out.h5ad",
        3,
    );
    tell("project --mapping run --obsm protein --out out.h5ad", 3);
    tell("project --mapping run --layer spliced --out out.h5ad", 3);
    fs::write(path.join("genes.txt"), "gene1\nGene5\n").unwrap();
    tell("project --mapping run --genes genes.txt --out out.h5ad", 3);
    tell("project --mapping run --genes all --out out.csv", 4);
    tell(
        "project --mapping run --genes all --out cells.h5ad --force",
        2,
    );
    tell(
        "project --mapping run --genes all --assign cells --out out.h5ad",
        2,
    );
    tell(
        "project --mapping run --genes all --cells voxels.h5ad --out out.h5ad",
        3,
    );
    fs::remove_file(path.join("cells.h5ad")).unwrap();
    tell("project --mapping run --genes all --out out.h5ad", 3);
    Expression::new("cell")
        .value(0, 9.0)
        .write(&path.join("cells.h5ad"));
    tell("score --mapping run", 3);
    let place = fs::canonicalize(path).unwrap();
    insta::assert_snapshot!(
        "does_not_fit",
        told.join("\n").replace(place.to_str().unwrap(), "DIR")
    );
    assert!(!path.join("out.h5ad").exists());
}

#[test]
fn an_output_that_cannot_be_written_is_told_before_the_work() {
    for out in ["none/run", "cells.h5ad/run", "/proc/run"] {
        let error = message(
            |_| (),
            &MAP.replace("--out run", &format!("--out {out}")),
            4,
        );
        assert!(
            error.contains(out) && error.contains("cannot write"),
            "{error}"
        );
    }
}

#[test]
fn what_exists_is_replaced_by_force_only_and_only_what_the_program_wrote() {
    let folder = good();
    let path = folder.path();
    succeed(path, MAP);
    let first = fs::read_to_string(path.join("run/history.tsv")).unwrap();
    let error = fail(path, &MAP.replace("epochs 2", "epochs 3"), 4);
    assert!(
        error.contains("run: exists already") && error.contains("--force"),
        "{error}"
    );
    assert_eq!(
        fs::read_to_string(path.join("run/history.tsv")).unwrap(),
        first
    );

    succeed(
        path,
        &format!("{} --force", MAP.replace("epochs 2", "epochs 3")),
    );
    assert_eq!(
        fs::read_to_string(path.join("run/history.tsv"))
            .unwrap()
            .lines()
            .count(),
        4
    );

    // A failure with --force leaves the old run as it was.
    fail(path, &format!("{MAP} --force --prior obs:none"), 3);
    assert_eq!(
        fs::read_to_string(path.join("run/history.tsv"))
            .unwrap()
            .lines()
            .count(),
        4
    );

    fs::create_dir(path.join("thesis")).unwrap();
    fs::write(path.join("thesis/chapter"), "1").unwrap();
    for command in [
        MAP.replace("--out run", "--out thesis --force"),
        "simulate --out thesis --force".to_owned(),
    ] {
        let error = fail(path, &command, 4);
        assert!(error.contains("--force leaves it alone"), "{error}");
    }
    let error = fail(
        path,
        "project --mapping run --genes all --out thesis --force",
        4,
    );
    assert!(error.contains("thesis"), "{error}");
    assert_eq!(
        fs::read_to_string(path.join("thesis/chapter")).unwrap(),
        "1"
    );

    let project = "project --mapping run --genes all --out genes.zarr";
    succeed(path, project);
    fail(path, project, 4);
    succeed(path, &format!("{project} --force"));
    succeed(path, "score --mapping run --out scores.tsv");
    fail(path, "score --mapping run --out scores.tsv", 4);
}

#[test]
fn memory_that_will_not_suffice_is_told_before_the_work() {
    let folder = tempdir().unwrap();
    for (name, prefix) in [("cells.h5ad", "cell"), ("voxels.h5ad", "voxel")] {
        wide(&folder.path().join(name), prefix, 40_000);
    }
    // The shell's limit stands for a machine of this size: 12 GB, where 40,000 × 40,000 needs 19 GB.
    let script = format!(
        "ulimit -v 12000000; exec {} map --solver adam --cells cells.h5ad --voxels voxels.h5ad --out run",
        env!("CARGO_BIN_EXE_tangram")
    );
    let output = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{error}");
    assert!(
        error.contains("mapping 40000 cells onto 40000 voxels needs about 1")
            && error.contains("GiB"),
        "{error}"
    );
    assert_eq!(listing(folder.path()).len(), 2);
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing() {
    let folder = good();
    let small = folder.path().join("small");
    fs::create_dir(&small).unwrap();
    let simulate = format!(
        "{} simulate --out small/tissue",
        env!("CARGO_BIN_EXE_tangram")
    );
    let script = format!(
        "mount -t tmpfs -o size=300k none small || exit 99; {simulate}; code=$?; ls -A small; exit $code"
    );
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", &script])
        .current_dir(folder.path())
        .output();
    let output = match output {
        Ok(output) => output,
        Err(error) => return skip(Need::Disk, format_args!("`unshare` cannot be run: {error}")),
    };
    if output.status.code() == Some(99)
        || output.status.code() == Some(1)
            && output.stdout.is_empty()
            && !String::from_utf8_lossy(&output.stderr).contains("error:")
    {
        let errors = String::from_utf8_lossy(&output.stderr);
        return skip(
            Need::Disk,
            format_args!("none can be mounted here: {errors}"),
        );
    }
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{error}");
    assert!(
        error.contains("No space left") || error.contains("full"),
        "{error}"
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "",
        "left on the disk"
    );
}

#[test]
fn ctrl_c_leaves_nothing_half_written() {
    let folder = good();
    let before = listing(folder.path());
    let arguments = "map --cells cells.h5ad --voxels voxels.h5ad --out run --epochs 1000000000";
    let mut child = tangram()
        .current_dir(folder.path())
        .args(arguments.split(' '))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let begun = std::time::Instant::now();
    // Generous: the machine may be busy with other work.
    while listing(folder.path()) == before && begun.elapsed().as_secs() < 900 {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    assert_ne!(listing(folder.path()), before, "the run never began");
    Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(listing(folder.path()), before);
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = good();
    let script = format!(
        "{{ {} inspect cells.h5ad; echo $? >&2; }} | true",
        env!("CARGO_BIN_EXE_tangram")
    );
    let output = Command::new("sh")
        .current_dir(folder.path())
        .args(["-c", &script])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap().trim(), "0");
}

#[test]
fn quiet_says_nothing_and_json_is_all_there_is() {
    let folder = good();
    let quiet = run(folder.path(), MAP);
    assert!(quiet.status.success() && quiet.stdout.is_empty() && quiet.stderr.is_empty());
    let json = run(folder.path(), "inspect cells.h5ad --json");
    let summary: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&summary["n_obs"], &summary["n_vars"]),
        (&6.into(), &4.into())
    );
}

/// Many rows of one gene.
fn wide(path: &Path, prefix: &str, n: usize) {
    let mut values = SparseRows::empty(1);
    (0..n).for_each(|_| values.push_row([(0, 1.0)]));
    let (obs, var) = (
        Table::of_names(names(prefix, n)),
        Table::of_names(names("gene", 1)),
    );
    let mut file = AnnDataWriter::create(path, Existing::Refuse, &obs, &var).unwrap();
    let mut matrix = file.sparse(&MatrixName::X).unwrap();
    matrix.append(&values).unwrap();
    matrix.finish().unwrap();
    file.finish().unwrap();
}
