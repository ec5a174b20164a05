//! Damaged inputs, signals, and processes that come in each other's way: no result is lost, torn or mixed.

use crate::program::require::python;
use crate::program::{Expression, fail, listing, run, succeed, tangram};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::{TempDir, tempdir};

const MAP: &str = "map --cells cells.h5ad --voxels voxels.h5ad --out run --epochs 2 --threads 1 --checkpoint-minutes 0";
/// Runs until it is stopped.
const ENDLESS: &str = "map --cells cells.h5ad --voxels voxels.h5ad --out run --solver adam --epochs 100000000 --threads 1 --quiet";

fn good() -> TempDir {
    let folder = tempdir().unwrap();
    Expression::new("cell").write(&folder.path().join("cells.h5ad"));
    Expression::new("voxel").write(&folder.path().join("voxels.h5ad"));
    folder
}

fn shell(folder: &Path, script: &str) {
    let done = Command::new("sh")
        .args(["-c", script])
        .current_dir(folder)
        .status();
    assert!(done.unwrap().success(), "{script}");
}

fn start(folder: &Path, arguments: &str) -> Child {
    tangram()
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
}

/// Waits until something holds, a minute at most.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn errors_of(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), errors)
}

#[test]
fn what_is_no_file_is_refused_at_once() {
    let folder = good();
    let path = folder.path();
    shell(path, "mkfifo pipe; ln -s /dev/zero zero");
    for (name, what) in [("pipe", "a pipe"), ("zero", "a device")] {
        let begun = Instant::now();
        for command in [
            format!("inspect {name}"),
            MAP.replace("cells.h5ad", name),
            format!("{MAP} --genes {name}"),
            format!("{MAP} --solver adam --init-logits {name}"),
        ] {
            let error = fail(path, &command, 3);
            assert!(
                error.contains(name) && error.contains(what),
                "{command}: {error}"
            );
        }
        // What hangs does so for ever; a busy machine takes its time.
        assert!(begun.elapsed() < Duration::from_secs(120));
    }
}

/// A pipe in the place of any file of a run: whoever opens it would wait for ever.
#[test]
fn a_pipe_in_a_run_makes_nobody_wait() {
    let folder = good();
    let path = folder.path();
    succeed(path, &format!("{MAP} --format h5ad --keep all"));
    let files = listing(&path.join("run"));
    assert!(files.len() > 4, "{files:?}");
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        fs::rename(&file, path.join("whole")).unwrap();
        shell(path, &format!("mkfifo 'run/{name}'"));
        let mut child = start(path, "score --quiet --mapping run");
        until(&format!("an end of score with the pipe {name}"), || {
            child.try_wait().unwrap().is_some()
        });
        let (code, errors) = errors_of(child);
        assert!(code == Some(3) && errors.contains(name), "{name}: {errors}");
        fs::rename(path.join("whole"), file).unwrap();
    }
    succeed(path, "score --quiet --mapping run");
    shell(path, "mkfifo .again.lock");
    let error = fail(path, &MAP.replace("--out run", "--out again"), 3);
    assert!(
        error.contains(".again.lock") && error.contains("a pipe"),
        "{error}"
    );
}

/// Where a group cannot be listed, what is opened there by name was not tried before.
#[test]
fn a_group_that_cannot_be_listed_is_refused() {
    let folder = good();
    let path = folder.path();
    let mut bytes = fs::read(path.join("cells.h5ad")).unwrap();
    // The heap with the names in the root: signature, version, size (8 bytes each from here), first free block, place. A free block begins
    // with the place of the next one, which is never 0.
    let heap = bytes.windows(4).position(|at| at == b"HEAP").unwrap();
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
    let next = number(heap + 24) + number(heap + 16);
    bytes[next..next + 8].fill(0);
    fs::write(path.join("cells.h5ad"), bytes).unwrap();
    for command in ["inspect cells.h5ad", MAP] {
        let error = fail(path, command, 3);
        assert!(error.contains("failed while reading the root"), "{error}");
    }
}

#[test]
fn a_store_that_contains_itself_is_refused_by_name() {
    let folder = good();
    let path = folder.path();
    succeed(path, &format!("{MAP} --keep all"));
    let store = path.join("run/mapping.zarr");
    symlink(&store, store.join("uns/again")).unwrap();
    let error = fail(path, "inspect run/mapping.zarr", 3);
    assert!(
        error.contains("uns/again") && error.contains("leads back"),
        "{error}"
    );
}

#[test]
fn a_matrix_that_claims_more_than_its_file_holds_is_refused() {
    let folder = tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("mtx")).unwrap();
    let write = |name: &str, text: &str| fs::write(path.join("mtx").join(name), text).unwrap();
    write("barcodes.tsv", "a\nb\n");
    write("features.tsv", "g\tG\n");
    write(
        "matrix.mtx",
        "%%MatrixMarket matrix coordinate integer general\n1 2 18446744073709551615\n1 1 1\n",
    );
    let map = MAP
        .replace("cells.h5ad", "mtx")
        .replace("voxels.h5ad", "mtx");
    let error = fail(path, &map, 3);
    assert!(error.contains("ends after 1 of"), "{error}");
    // Two hundred megabytes of nothing in two hundred kilobytes.
    shell(
        path,
        "rm mtx/barcodes.tsv; head -c 200000000 /dev/zero | tr '\\0' '\\n' | gzip > mtx/barcodes.tsv.gz",
    );
    let error = fail(path, &map, 3);
    assert!(
        error.contains("barcodes.tsv.gz") && error.contains("unpacks to more than"),
        "{error}"
    );
}

#[test]
fn what_a_chunk_of_zarr_claims_is_no_panic() {
    let folder = good();
    let path = folder.path();
    succeed(path, &format!("{MAP} --keep all"));
    let chunk = path.join("run/mapping.zarr/obs/_index/c/0");
    let packed = fs::read(&chunk).unwrap();
    // The lengths of texts, uncompressed, in a frame that zstd stores as it is: the second text claims four gigabytes.
    let metadata = path.join("run/mapping.zarr/obs/_index/zarr.json");
    let mut json: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&metadata).unwrap()).unwrap();
    let codecs = json["codecs"].as_array_mut().unwrap();
    codecs.retain(|codec| codec["name"] != "zstd");
    fs::write(&metadata, json.to_string()).unwrap();
    let mut raw = 6u32.to_le_bytes().to_vec();
    for (length, text) in [
        (5, "cell0"),
        (u32::MAX, "cell1"),
        (5, "cell2"),
        (5, "cell3"),
        (5, "cell4"),
        (5, "cell5"),
    ] {
        raw.extend(length.to_le_bytes());
        raw.extend(text.as_bytes());
    }
    assert_ne!(packed, raw);
    fs::write(&chunk, raw).unwrap();
    let error = fail(path, "inspect run/mapping.zarr", 3);
    assert!(
        error.contains("obs/_index")
            && error.contains("cannot be decoded")
            && !error.contains("panicked"),
        "{error}"
    );
}

#[test]
fn a_file_that_crashes_the_library_is_refused_by_its_child() {
    let folder = good();
    let path = folder.path();
    let bytes = fs::read(path.join("cells.h5ad")).unwrap();
    let places: Vec<usize> = bytes
        .windows(4)
        .enumerate()
        .filter_map(|(at, four)| (four == b"GCOL").then_some(at))
        .collect();
    assert!(
        !places.is_empty(),
        "the texts of an HDF5 file are in global heaps"
    );
    // Sizes of the objects in the heaps of texts: whatever becomes of reading them, the program ends in order.
    for &place in &places {
        for at in (place + 16..place + 96).step_by(8) {
            let mut damaged = bytes.clone();
            damaged[at..at + 8].copy_from_slice(&0x7fff_ffff_ffff_fff0_u64.to_le_bytes());
            fs::write(path.join("damaged.h5ad"), damaged).unwrap();
            let output = run(path, "inspect damaged.h5ad");
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            assert!(
                code == Some(0) || code == Some(3),
                "{place} {at}: {code:?} {errors}"
            );
        }
    }
    // A text that points to an object that its heap does not have: the library reads beside its table of objects.
    let place = u64::try_from(places[0]).unwrap().to_le_bytes();
    let points =
        |at: &usize| bytes[*at..].starts_with(&place) && bytes[at + 10..].starts_with(&[0; 2]);
    let pointers: Vec<usize> = (4..bytes.len() - 12).filter(points).take(2).collect();
    assert!(!pointers.is_empty(), "texts point into the first heap");
    for at in pointers {
        for object in [100u32, 1_280, 20_000, 100_000] {
            let mut damaged = bytes.clone();
            damaged[at + 8..at + 12].copy_from_slice(&object.to_le_bytes());
            fs::write(path.join("damaged.h5ad"), damaged).unwrap();
            let map =
                "map --cells damaged.h5ad --voxels voxels.h5ad --epochs 2 -q --force --out run";
            let output = run(path, map);
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            let code = output.status.code();
            assert!(
                code == Some(0) || code == Some(3),
                "{at} {object}: {code:?} {errors}"
            );
        }
    }
}

#[test]
fn names_are_shown_and_not_obeyed() {
    let folder = good();
    let path = folder.path();
    let mut cells = Expression::new("cell");
    cells.genes[1] = "\x1b[31mred\x07".to_owned();
    cells.write(&path.join("red.h5ad"));
    let told = succeed(path, "inspect red.h5ad");
    assert!(
        told.contains("\\u{1b}[31mred\\u{7}") && !told.contains('\x1b'),
        "{told}"
    );
    let error = fail(path, "inspect \x1b]0;title\x07", 3);
    assert!(!error.contains('\x1b'), "{error}");
    let error = fail(path, "map --\x1b[1mbold", 2);
    assert!(!error.contains('\x1b'), "{error}");
}

#[test]
fn a_run_that_lost_a_file_says_so_to_all_who_read_it() {
    let folder = good();
    let path = folder.path();
    succeed(path, MAP);
    succeed(path, &format!("{MAP} --resume"));
    let lost = fs::read_to_string(path.join("run/files.tsv")).unwrap();
    let lost = lost
        .lines()
        .find(|line| line.contains("factors.zarr/X"))
        .unwrap();
    let lost = lost.split_once('\t').unwrap().1.to_owned();
    fs::remove_file(path.join("run").join(&lost)).unwrap();
    for command in [
        format!("{MAP} --resume"),
        "score --mapping run".to_owned(),
        "project --mapping run --genes all --out genes.h5ad".to_owned(),
        "place --mapping run --cells cells.h5ad --out placed.h5ad".to_owned(),
    ] {
        let error = fail(path, &command, 3);
        assert!(
            error.contains("not whole") && error.contains(&lost),
            "{command}: {error}"
        );
    }
    succeed(path, &format!("{MAP} --force"));
}

/// Stops an endless mapping after its first passes; a checkpoint is left.
fn stopped(folder: &Path, arguments: &str) {
    let child = start(folder, arguments);
    std::thread::sleep(Duration::from_millis(300));
    until("the run begins", || {
        listing(folder)
            .iter()
            .any(|p| p.to_string_lossy().ends_with(".partial"))
    });
    std::thread::sleep(Duration::from_millis(1500));
    signal(&child, "USR2");
    assert_eq!(errors_of(child).0, Some(75));
}

#[test]
fn a_checkpoint_is_not_gone_on_from_with_other_genes() {
    let folder = good();
    let path = folder.path();
    fs::write(path.join("genes.txt"), "gene0\ngene1\ngene2\n").unwrap();
    let command = format!("{ENDLESS} --genes genes.txt");
    stopped(path, &command);
    assert!(path.join("run.checkpoint").is_dir());
    fs::write(path.join("genes.txt"), "gene0\ngene1\ngene3\n").unwrap();
    let error = fail(path, &format!("{command} --resume"), 3);
    assert!(error.contains("the list of genes has changed"), "{error}");
    fs::write(path.join("genes.txt"), "gene0\ngene1\ngene2\n").unwrap();
    stopped(path, &format!("{command} --resume"));
}

#[test]
fn a_folder_of_somebody_else_is_never_removed() {
    let folder = good();
    let path = folder.path();
    let thesis = path.join("run.checkpoint/thesis.txt");
    fs::create_dir(path.join("run.checkpoint")).unwrap();
    fs::write(&thesis, "three years").unwrap();
    for more in ["", " --force", " --resume"] {
        let error = fail(path, &format!("{MAP}{more}"), 4);
        assert!(error.contains("thesis.txt"), "{error}");
        assert_eq!(fs::read_to_string(&thesis).unwrap(), "three years");
    }
    assert!(!path.join("run").exists());
    fs::write(path.join("list.toml"), "[\"x.checkpoint\"]\nseed = 2\n").unwrap();
    let sweep = "sweep new list list.toml --cells cells.h5ad --voxels voxels.h5ad --out sweep";
    let output = run(path, sweep);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(!path.join("sweep").exists());
}

#[test]
fn what_is_asked_to_stop_before_it_trains_comes_back() {
    let folder = good();
    let path = folder.path();
    for name in ["USR2", "TERM"] {
        for wait in [0, 30, 120, 400] {
            // One that had begun to train kept its state.
            let child = start(path, &format!("{ENDLESS} --resume"));
            let pid = child.id();
            // The handler stands when the process has a second thread.
            until("the handler stands", || {
                fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count) > 1
            });
            std::thread::sleep(Duration::from_millis(wait));
            signal(&child, name);
            let (code, errors) = errors_of(child);
            assert_eq!(code, Some(75), "{name} after {wait} ms: {errors}");
            assert!(!path.join("run").exists());
        }
    }
    let child = start(path, &format!("{ENDLESS} --resume"));
    until("the run begins", || path.join(".run.lock").is_file());
    signal(&child, "INT");
    assert_eq!(errors_of(child).0, Some(130));
}

#[test]
fn of_two_processes_with_one_output_the_second_is_told_at_once() {
    let folder = good();
    let path = folder.path();
    let first = start(path, ENDLESS);
    until("the first holds the lock", || {
        path.join(".run.lock").is_file()
    });
    let error = fail(path, &format!("{ENDLESS} --resume"), 4);
    assert!(
        error.contains(&format!("process {}", first.id())) && error.contains("at work"),
        "{error}"
    );
    signal(&first, "INT");
    assert_eq!(errors_of(first).0, Some(130));
    let left: Vec<_> = listing(path);
    assert_eq!(left.len(), 2, "{left:?}");
    // After a kill nobody removes the lock, and nobody holds it.
    let mut first = start(path, ENDLESS);
    until("the first holds the lock", || {
        path.join(".run.lock").is_file()
    });
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(path.join(".run.lock").is_file());
    succeed(path, &format!("{MAP} --resume"));
    assert!(!path.join(".run.lock").exists());
}

#[test]
fn what_a_killed_process_left_behind_goes_when_a_complete_run_is_resumed() {
    let folder = good();
    let path = folder.path();
    succeed(path, MAP);
    let whole = listing(path);
    let step = path.join("run.checkpoint/00000002");
    fs::create_dir_all(&step).unwrap();
    fs::write(step.join("checkpoint.json"), "{}").unwrap();
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let partial = path.join(format!(".run.{}-1@{}.partial", u32::MAX, host.trim()));
    fs::create_dir(partial).unwrap();
    let told = succeed(path, &format!("{MAP} --resume"));
    assert!(told.contains("is complete"), "{told}");
    assert_eq!(listing(path), whole);
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_that_were_started_differently_end_and_say_so() {
    let folder = good();
    let path = folder.path();
    let mut others = Expression::new("cell");
    others.genes[3] = "another".to_owned();
    others.write(&path.join("others.h5ad"));
    let b = path.join("b");
    fs::create_dir(&b).unwrap();
    others.write(&b.join("cells.h5ad"));
    fs::copy(path.join("voxels.h5ad"), b.join("voxels.h5ad")).unwrap();
    // The same sizes, names and number of counts; one number differs.
    let c = path.join("c");
    fs::create_dir(&c).unwrap();
    let one_more = Expression::new("cell").value(0, 9.0);
    one_more.write(&c.join("cells.h5ad"));
    fs::copy(path.join("voxels.h5ad"), c.join("voxels.h5ad")).unwrap();
    let program = env!("CARGO_BIN_EXE_tangram");
    let map = format!("{program} {MAP}");
    const INPUTS: &str = "--cells cells.h5ad --voxels voxels.h5ad";
    // Paths that every process takes to its own folder.
    const OWN: &str = "--cells /proc/self/cwd/cells.h5ad --voxels /proc/self/cwd/voxels.h5ad";
    for (other, what) in [
        (format!("{map} --seed 7"), "settings"),
        (map.replace("--epochs 2", "--epochs 3"), "settings"),
        (map.replace("cells.h5ad", "others.h5ad"), "settings"),
        (format!("{map} --grid 1x2x1"), "settings"),
        // The same command in another folder, with another file under the same name.
        (
            format!("-wdir {}/b {map}", path.display()).replace(INPUTS, OWN),
            "inputs",
        ),
        (
            format!("-wdir {}/c {map}", path.display()).replace(INPUTS, OWN),
            "inputs",
        ),
    ] {
        let first = match what {
            "inputs" => format!("-wdir {} {map}", path.display()).replace(INPUTS, OWN),
            _ => map.clone(),
        };
        let script = format!(
            "exec timeout 100 mpirun --allow-run-as-root --oversubscribe --bind-to none -n 1 {first} : -n 1 {other}"
        );
        let output = Command::new("sh")
            .args(["-c", &script])
            .current_dir(path)
            .env("OMPI_ALLOW_RUN_AS_ROOT", "1")
            .env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")
            .env("OMPI_MCA_btl_vader_single_copy_mechanism", "none")
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{other}: {errors}");
        assert!(
            errors.contains(&format!("different {what}")),
            "{other}: {errors}"
        );
        assert!(!path.join("run").exists());
    }
}

/// Runs a script that breaks things; `None` without what it needs.
fn script(name: &str, arguments: &[&str]) -> Option<String> {
    let python = python()?;
    let output = Command::new(python)
        .arg(
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("scripts")
                .join(name),
        )
        .args(["--tangram", env!("CARGO_BIN_EXE_tangram")])
        .args(arguments)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{name}: {told}{errors}");
    println!("{told}");
    Some(told)
}

#[test]
fn damaged_files_of_every_kind_are_told_and_nothing_crashes() {
    if let Some(told) = script("fuzz.py", &["--files", "40", "--seed", "7", "--jobs", "2"]) {
        assert!(told.contains("all         40       0"), "{told}");
    }
}

#[test]
fn signals_at_random_moments_change_no_result() {
    if let Some(told) = script("faults.py", &["signals", "--times", "8", "--sweeps", "1"]) {
        assert!(told.lines().last().unwrap().ends_with("9      0"), "{told}");
    }
}

#[test]
fn damaged_checkpoints_change_no_result() {
    if let Some(told) = script("faults.py", &["checkpoints", "--times", "12"]) {
        assert!(
            told.lines().last().unwrap().ends_with("12      0"),
            "{told}"
        );
    }
}
