//! Several processes of one mapping under mpirun, and runs that are stopped, killed and damaged on the way.

use crate::program::{self, fail, history, listing, run, shared_folder, succeed, tangram};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Every axis alone, all together, and an odd number of ranks; the other grids are tested in the mapper, on threads.
const GRIDS: [&str; 5] = ["2x1x1", "1x2x1", "1x1x2", "2x2x2", "3x1x1"];
/// Sums in another order: every axis takes part in one of these.
const ROUNDED: [&str; 2] = ["2x2x2", "3x1x1"];

const MAP: &str = "map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1 --quiet";
/// Of these runs some are stopped on the way, and pause after every pass until then.
const LONG: &str = "--solver adam --epochs 150 --keep top:3";
/// Milliseconds of such a pause: left alone they would take seven seconds or more.
const PAUSE: &str = "50";
/// Limit of every wait: generous, since the machine may be busy with other work.
const PATIENCE: Duration = Duration::from_secs(900);

fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = shared_folder();
            let sizes = "--cells 700 --voxels 90 --spots 10 --genes 80 --panel 60";
            succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
            folder
        })
        .path()
}

fn n_ranks(grid: &str) -> usize {
    grid.split('x')
        .map(|n| n.parse::<usize>().unwrap())
        .product()
}

/// The program on as many ranks as the grid has.
fn mpirun(arguments: &str, grid: &str) -> Command {
    mpirun_on(n_ranks(grid), &format!("{arguments} --grid {grid}"))
}

fn mpirun_on(n_ranks: usize, arguments: &str) -> Command {
    program::mpirun(tissue(), n_ranks, arguments)
}

fn on_ranks(arguments: &str, grid: &str) -> Output {
    well(mpirun(arguments, grid))
}

fn well(mut command: Command) -> Output {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}\n{errors}");
    output
}

/// A run's record.
fn run_file(run: &Path) -> toml::Table {
    let text = fs::read_to_string(run.join("run.toml")).unwrap();
    text.parse().unwrap()
}

fn losses(run: &Path) -> Vec<f64> {
    let loss = |line: &String| line.split('\t').nth(1).unwrap().parse().unwrap();
    history(run).iter().skip(1).map(loss).collect()
}

/// The stored numbers of a run.
fn matrix(run: &Path, name: &str) -> Vec<f32> {
    let dataset = tangram_store::Dataset::open(&run.join(name)).unwrap();
    let matrix = dataset.matrix(&tangram_store::MatrixName::X).unwrap();
    let rows = matrix.read_rows_any(0..dataset.n_obs()).unwrap();
    rows.to_dense().into_raw_vec_and_offset().0
}

fn check_every_grid(flags: &str, stored: &str, rounding: f64) {
    let folder = tissue();
    let name = flags.replace([' ', '-', '.'], "");
    let alone = folder.join(format!("{name}-alone"));
    for (reduce, grids) in [("fast", &ROUNDED[..]), ("exact", &GRIDS)] {
        let line = format!("{MAP} {flags} --reduce {reduce}");
        succeed(folder, &format!("{line} --force --out {}", alone.display()));
        for &grid in grids {
            let out = folder.join(format!("{name}-{reduce}-{grid}"));
            on_ranks(&format!("{line} --out {}", out.display()), grid);
            if reduce == "exact" {
                assert_eq!(history(&alone), history(&out), "{grid}: {flags}");
                assert!(
                    matrix(&alone, stored) == matrix(&out, stored),
                    "{grid}: {flags}"
                );
                continue;
            }
            let (one, many) = (losses(&alone), losses(&out));
            assert_eq!(one.len(), many.len(), "{grid}: {flags}");
            let apart = one.iter().zip(&many).map(|(a, b)| (a - b).abs());
            let apart = apart.fold(0.0, f64::max);
            assert!(apart < rounding, "{grid}: {flags}: {apart}");
        }
    }
}

#[test]
fn mirror_on_every_grid_is_what_one_process_learns() {
    // 30 passes in single precision, sums in another order.
    check_every_grid("--epochs 30 --tolerance 0", "factors.zarr", 2e-4);
}

#[test]
fn adam_on_every_grid_is_what_one_process_learns() {
    check_every_grid("--solver adam --epochs 30 --keep all", "mapping.zarr", 2e-4);
}

#[test]
fn neighbouring_voxels_of_other_ranks_are_compared_too() {
    let flags = "--epochs 10 --lambda-neighbourhood 0.5 --neighbours nearest:4 --reduce exact";
    let folder = tissue();
    succeed(folder, &format!("{MAP} {flags} --out near"));
    on_ranks(&format!("{MAP} {flags} --out near-2x2x1"), "2x2x1");
    let [one, four] = ["near", "near-2x2x1"].map(|run| folder.join(run));
    assert_eq!(history(&one), history(&four));
    assert!(matrix(&one, "factors.zarr") == matrix(&four, "factors.zarr"));
}

#[test]
fn types_and_logits_of_other_ranks_count_too() {
    let flags = "--solver adam --epochs 10 --keep all --lambda-islands 0.5 --island-types obs:cell_type --neighbours nearest:4 \
                 --lambda-l2 1e-6 --objective paper --reduce exact";
    let folder = tissue();
    succeed(folder, &format!("{MAP} {flags} --out typed"));
    on_ranks(&format!("{MAP} {flags} --out typed-2x2x1"), "2x2x1");
    let [one, four] = ["typed", "typed-2x2x1"].map(|run| folder.join(run));
    assert_eq!(history(&one), history(&four));
    assert!(matrix(&one, "mapping.zarr") == matrix(&four, "mapping.zarr"));
}

#[test]
fn streamed_cells_and_parts_of_them_are_shared_too() {
    let folder = tissue();
    let flags = "--epochs 30 --tolerance 0 --batches 2 --stream on --transform sqrt --reduce exact";
    succeed(folder, &format!("{MAP} {flags} --out streamed"));
    for grid in ["2x1x1", "2x1x2"] {
        on_ranks(&format!("{MAP} {flags} --out streamed-{grid}"), grid);
        let out = folder.join(format!("streamed-{grid}"));
        assert_eq!(history(&folder.join("streamed")), history(&out));
        // Scores of the training genes are of all cells.
        let score = |run: &Path| -> f64 {
            run_file(run)["record"]["train-score"]["mean-cosine"]
                .as_float()
                .unwrap()
        };
        let apart = score(&folder.join("streamed")) - score(&out);
        assert!(apart.abs() < 1e-5, "{apart}");
    }
}

#[test]
fn the_fastest_grid_is_taken_if_none_is_given_and_a_run_names_it() {
    let folder = tissue();
    let map = format!("{MAP} --epochs 12");
    on_ranks(&format!("{map} --out given"), "2x1x1");
    for (name, flag) in [("auto", "--grid auto"), ("default", "")] {
        well(mpirun_on(2, &format!("{map} {flag} --out chosen-{name}")));
        let out = folder.join(format!("chosen-{name}"));
        let file = run_file(&out);
        assert_eq!(file["map"]["grid"].as_str(), Some("2x1x1"));
        assert_eq!(file["record"]["grid"].as_str(), Some("2x1x1"));
        let peaks = file["record"]["peak-memory-by-rank"].as_array().unwrap();
        assert_eq!(peaks.len(), 2);
        assert_eq!(history(&folder.join("given")), history(&out));
    }
    succeed(folder, &format!("{map} --grid auto --out alone"));
    assert!(run_file(&folder.join("alone"))["map"].get("grid").is_none());
}

#[test]
fn several_ranks_choose_the_temperature_that_one_does() {
    let folder = tissue();
    let map = format!("{MAP} --epochs 3 --temperature auto --transform sqrt");
    succeed(folder, &format!("{map} --out warm"));
    let chosen = |out: &str| {
        let file = run_file(&folder.join(out));
        let (map, record) = (&file["map"], &file["record"]);
        (map["temperature"].clone(), record["temperatures"].clone())
    };
    for grid in ["2x1x1", "1x2x1", "1x1x2"] {
        on_ranks(&format!("{map} --out warm-{grid}"), grid);
        assert_eq!(chosen("warm"), chosen(&format!("warm-{grid}")), "{grid}");
    }
}

#[test]
fn what_is_wrong_is_said_once_and_nothing_hangs() {
    let folder = tissue();
    let say = |arguments: &str, grid: &str| {
        let output = mpirun(arguments, grid).output().unwrap();
        assert!(!output.status.success(), "{arguments}");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (errors.matches("error:").count(), errors)
    };
    fs::create_dir(folder.join("taken")).unwrap();
    let (times, errors) = say(&format!("{MAP} --out taken"), "2x1x1");
    assert!(times == 1 && errors.contains("exists already"), "{errors}");
    let cells = "map --cells no.h5ad --voxels tissue/voxels.h5ad --out nothing";
    let (times, errors) = say(cells, "2x1x1");
    assert!(times == 1 && errors.contains("no.h5ad"), "{errors}");
    assert!(!folder.join("nothing").exists());
    // What was wrong from the start leaves no record of an end.
    assert!(!folder.join("taken.checkpoint").exists());

    let told = fail(folder, &format!("{MAP} --out nothing --grid 2x1x1"), 2);
    assert!(told.contains("2 ranks") && told.contains("1 "), "{told}");
    // Plain srun starts processes that do not see each other.
    let alone = tangram()
        .current_dir(folder)
        .args(format!("{MAP} --out nothing").split_whitespace())
        .env("SLURM_STEP_NUM_TASKS", "4")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&alone.stderr);
    assert_eq!(alone.status.code(), Some(2), "{errors}");
    assert!(errors.contains("--mpi=pmix"), "{errors}");
}

// --- stopped on the way ----------------------------------------------------------------------------------

fn step_folders(out: &Path) -> Vec<PathBuf> {
    let folder = out.with_file_name(format!("{}.checkpoint", out.file_name().unwrap().display()));
    let steps = if folder.is_dir() {
        listing(&folder)
    } else {
        vec![]
    };
    let whole = |step: &PathBuf| step.join("checkpoint.json").is_file();
    steps.into_iter().filter(whole).collect()
}

/// Waits until the run has written a checkpoint after those of before.
fn wait_for_checkpoint_after(out: &Path, before: &[PathBuf]) {
    let begun = Instant::now();
    while step_folders(out).last() <= before.last() {
        assert!(begun.elapsed() < PATIENCE, "no checkpoint");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(sent.unwrap().success());
}

/// Processes whose parent is `pid`.
fn children(pid: u32) -> Vec<u32> {
    let of = |entry: fs::DirEntry| -> Option<u32> {
        let child: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let parent = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        (parent.trim().parse() == Ok(pid)).then_some(child)
    };
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries.filter_map(of).collect()
}

/// The same run left alone.
fn undisturbed() -> &'static Path {
    static OUT: OnceLock<PathBuf> = OnceLock::new();
    OUT.get_or_init(|| {
        on_ranks(&format!("{MAP} {LONG} --out undisturbed"), "2x1x1");
        tissue().join("undisturbed")
    })
}

/// Begins a run that pauses after every pass.
fn begin(line: &str, grid: &str) -> Child {
    mpirun(line, grid)
        .env("TANGRAM_TEST_PAUSE_MS", PAUSE)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_rank_that_is_killed_leaves_a_run_that_goes_on() {
    let folder = tissue();
    for victim in 0..2 {
        let out = folder.join(format!("killed-{victim}"));
        let line = format!(
            "{MAP} {LONG} --resume --checkpoint-minutes 0.0005 --out {}",
            out.display()
        );
        for _ in 0..2 {
            let before = step_folders(&out);
            let mut running = begin(&line, "2x1x1");
            wait_for_checkpoint_after(&out, &before);
            signal(children(running.id())[victim], "-9");
            assert!(!running.wait().unwrap().success());
        }
        on_ranks(&line, "2x1x1");
        assert_eq!(history(undisturbed()), history(&out));
        assert!(matrix(undisturbed(), "mapping.zarr") == matrix(&out, "mapping.zarr"));
        assert!(
            step_folders(&out).is_empty(),
            "a run that is complete needs none"
        );
        let left = listing(folder).into_iter().filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(&format!(".killed-{victim}."))
        });
        assert_eq!(left.count(), 0, "nothing half-written stays");
        // Once more: it is complete.
        on_ranks(&line, "2x1x1");
    }
}

/// How each rank of a run ended, by rank.
fn exit_records(out: &Path) -> Vec<serde_json::Value> {
    let folder = out.with_file_name(format!("{}.checkpoint", out.file_name().unwrap().display()));
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    let paths = listing(&folder).into_iter();
    let ours = paths.filter(|path| name(path).starts_with("exit-rank-"));
    let read = |path: PathBuf| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    ours.map(read).collect()
}

#[test]
fn ranks_of_a_run_that_is_not_completed_leave_word_of_their_end() {
    let folder = tissue();
    let begun = |name: &str| {
        let out = folder.join(name);
        let line = format!(
            "{MAP} {LONG} --resume --checkpoint-minutes 0.0005 --out {}",
            out.display()
        );
        let running = begin(&line, "2x1x1");
        wait_for_checkpoint_after(&out, &[]);
        (out, line, running)
    };
    let told = |line: &str| {
        let output = on_ranks(&line.replace("--quiet", ""), "2x1x1");
        String::from_utf8(output.stdout).unwrap()
    };
    // All are asked to stop.
    let (out, line, mut running) = begun("ended");
    for rank in children(running.id()) {
        signal(rank, "-TERM");
    }
    running.wait().unwrap();
    let records = exit_records(&out);
    assert_eq!(records.len(), 2);
    for (rank, record) in records.iter().enumerate() {
        assert_eq!(record["rank"].as_u64(), Some(rank as u64));
        assert_eq!(record["code"].as_u64(), Some(75), "{record}");
        assert!(
            record["reason"].as_str().unwrap().contains("SIGTERM"),
            "{record}"
        );
        assert!(record["passes"].as_u64().unwrap() > 0, "{record}");
        assert!(!record["host"].as_str().unwrap().is_empty(), "{record}");
    }
    let text = told(&line);
    assert_eq!(text.matches("last attempt:").count(), 1, "{text}");
    assert!(
        text.contains("(and 1 rank more)") && text.contains("SIGTERM"),
        "{text}"
    );
    assert!(!out.with_file_name("ended.checkpoint").exists());

    // One is killed: the launcher ends the other, which can still tell.
    let (out, line, mut running) = begun("killed-alone");
    signal(children(running.id())[0], "-9");
    running.wait().unwrap();
    let records = exit_records(&out);
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["rank"].as_u64(), Some(1));
    let text = told(&line);
    assert!(text.contains("rank 0 left no word of its end"), "{text}");
    assert!(!out.with_file_name("killed-alone.checkpoint").exists());
}

#[test]
fn asked_to_stop_a_run_keeps_its_state_and_goes_on_on_any_grid() {
    let folder = tissue();
    for (solver, stored) in [
        (LONG, "mapping.zarr"),
        ("--epochs 150 --tolerance 0 --keep none", "factors.zarr"),
    ] {
        let line = format!("{MAP} {solver} --reduce exact --checkpoint-minutes 0.001");
        let name = stored.trim_end_matches(".zarr");
        let whole = folder.join(format!("whole-{name}"));
        succeed(folder, &format!("{line} --out {}", whole.display()));
        let out = folder.join(format!("stopped-{name}"));
        let line = format!("{line} --out {}", out.display());
        let mut alone = tangram();
        alone.current_dir(folder).args(line.split_whitespace());
        alone.env("TANGRAM_TEST_PAUSE_MS", PAUSE);
        let mut running = alone.stderr(Stdio::null()).spawn().unwrap();
        wait_for_checkpoint_after(&out, &[]);
        signal(running.id(), "-TERM");
        assert_eq!(running.wait().unwrap().code(), Some(75));
        assert!(!out.exists() && !step_folders(&out).is_empty());

        let told = fail(folder, &line, 4);
        assert!(told.contains("--resume"), "{told}");
        let told = fail(folder, &format!("{line} --resume --lambda-g1 2"), 3);
        assert!(told.contains("lambda-g1"), "{told}");
        // On another grid, stopped again, and on a third.
        let line = format!("{line} --resume");
        let before = step_folders(&out);
        let mut running = begin(&line, "1x2x1");
        wait_for_checkpoint_after(&out, &before);
        for rank in children(running.id()) {
            signal(rank, "-USR2");
        }
        running.wait().unwrap();
        // No grid is given: another is chosen.
        well(mpirun_on(2, &line));
        assert_eq!(history(&whole), history(&out));
        assert!(matrix(&whole, stored) == matrix(&out, stored));
    }
}

/// The largest file of a folder and the folders in it.
fn largest_file(folder: &Path) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let files = entries.map(|path| match path.is_dir() {
        true => largest_file(&path),
        false => path,
    });
    let size = |path: &PathBuf| fs::metadata(path).unwrap().len();
    files.max_by_key(size).unwrap()
}

#[test]
fn a_damaged_checkpoint_is_noticed_and_the_one_before_it_used() {
    let folder = tissue();
    let damages: [fn(&Path); 3] = [
        |step| {
            let chunk = largest_file(&step.join("rank-1.zarr"));
            let bytes = fs::read(&chunk).unwrap();
            fs::write(&chunk, &bytes[..bytes.len() / 2]).unwrap();
        },
        |step| fs::remove_dir_all(step.join("rank-0.zarr")).unwrap(),
        |step| {
            let path = step.join("checkpoint.json");
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, &text[..text.len() / 2]).unwrap();
        },
    ];
    for (i, damage) in damages.into_iter().enumerate() {
        let out = folder.join(format!("damaged-{i}"));
        let line = format!(
            "{MAP} {LONG} --checkpoint-minutes 0.0005 --out {}",
            out.display()
        );
        let mut running = begin(&line, "2x1x1");
        wait_for_checkpoint_after(&out, &[]);
        wait_for_checkpoint_after(&out, &step_folders(&out));
        for rank in children(running.id()) {
            signal(rank, "-TERM");
        }
        running.wait().unwrap();
        let steps = step_folders(&out);
        assert_eq!(steps.len(), 2);
        damage(&steps[1]);
        let output = on_ranks(&format!("{line} --resume").replace("--quiet", ""), "2x1x1");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.contains("damaged"), "{told}");
        assert_eq!(history(undisturbed()), history(&out));
    }
    // Nothing whole is left: a run begins anew.
    let out = folder.join("torn");
    let step = folder.join("torn.checkpoint/00000003");
    fs::create_dir_all(&step).unwrap();
    fs::write(step.join("checkpoint.json"), "{").unwrap();
    let output = run(
        folder,
        &format!("{MAP} --epochs 3 --resume --out {}", out.display()),
    );
    assert!(output.status.success());
}
