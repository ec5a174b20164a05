//! Sweeps on one machine: what they predict, and that nothing that happens to them changes it.

pub mod register;
mod runs;
mod told;

use crate::program::require::{Need, skip};
use crate::program::{fail, shared_folder, succeed, summary, tangram};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use tangram_core::SparseRows;
use tangram_pipeline::folds::FoldSettings;
use tangram_store::{Dataset, MatrixName};
use tangram_sweep::{Attempts, Manifest, State};
use tempfile::TempDir;

const INPUTS: &str = "--cells ../tissue/cells.h5ad --voxels ../tissue/voxels.h5ad";

/// A simulated tissue with a panel of 40 genes, made once, and an empty folder beside it.
fn folder() -> (PathBuf, TempDir) {
    static TISSUE: OnceLock<TempDir> = OnceLock::new();
    let tissue = TISSUE.get_or_init(|| {
        let folder = shared_folder();
        let sizes = "--cells 400 --voxels 150 --spots 20 --genes 80 --panel 40 --density 0.4";
        succeed(folder.path(), &format!("simulate --out tissue {sizes}"));
        folder
    });
    let own = tempfile::tempdir_in(tissue.path()).unwrap();
    (own.path().to_owned(), own)
}

/// A leave-one-out sweep in `loo`, ten folds a task, of which nothing is done.
fn new_loo(folder: &Path) -> Manifest {
    succeed(
        folder,
        &format!("sweep new loo {INPUTS} --folds-per-task 10 --out loo"),
    );
    Manifest::read(&folder.join("loo")).unwrap()
}

/// What all folds of a sweep share.
fn fold_settings(manifest: &Manifest) -> FoldSettings {
    manifest.settings().unwrap()
}

/// What a collected sweep predicted, and its scores.
fn collected(folder: &Path, sweep: &str) -> (Array2<f32>, String) {
    succeed(folder, &format!("sweep collect {sweep}"));
    let file = Dataset::open(&folder.join(sweep).join("predictions.h5ad")).unwrap();
    let matrix = file.matrix(&MatrixName::X).unwrap();
    let rows: SparseRows = matrix.read_rows_any(0..matrix.shape().0).unwrap();
    let scores = fs::read_to_string(folder.join(sweep).join("scores.tsv")).unwrap();
    (rows.to_dense(), scores)
}

/// What the sweep of [`new_loo`] predicts when nothing happens to it.
fn undisturbed() -> &'static (Array2<f32>, String) {
    static RESULT: OnceLock<(Array2<f32>, String)> = OnceLock::new();
    RESULT.get_or_init(|| {
        let (folder, _keep) = folder();
        new_loo(&folder);
        succeed(&folder, "sweep run loo --all --jobs 1 --threads 1");
        collected(&folder, "loo")
    })
}

fn check_undisturbed(folder: &Path) {
    let (matrix, scores) = collected(folder, "loo");
    let (expected, expected_scores) = undisturbed();
    assert_eq!(matrix, *expected);
    assert_eq!(scores, *expected_scores);
}

/// Begins a command that pauses after every pass, so that it can be met on its way.
fn start(folder: &Path, arguments: &str) -> Child {
    start_with_pauses(folder, arguments, "10")
}

/// The same, with longer pauses.
fn start_slowly(folder: &Path, arguments: &str) -> Child {
    start_with_pauses(folder, arguments, "40")
}

fn start_with_pauses(folder: &Path, arguments: &str, milliseconds: &str) -> Child {
    let mut command = tangram();
    command
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .env("TANGRAM_TEST_PAUSE_MS", milliseconds);
    command
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Limit of every wait: generous, since the machine may be busy with other work.
const PATIENCE: Duration = Duration::from_secs(900);

/// Waits until an attempt at the sweep has done so many folds.
fn wait_for_folds(sweep: &Path, n: usize) {
    let begun = Instant::now();
    let most = || {
        let all = Attempts::of(sweep).all().unwrap_or_default();
        all.iter().map(|a| a.items.len()).max().unwrap_or(0)
    };
    while most() < n {
        assert!(begun.elapsed() < PATIENCE, "no fold was done");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(child: &Child, signal: i32) {
    // SAFETY: a signal to a child that has not been waited for touches no memory of this process.
    unsafe { libc::kill(child.id() as libc::pid_t, signal) };
}

#[test]
fn a_fold_predicts_what_a_mapping_without_the_gene_predicts() {
    let (folder, _keep) = folder();
    let manifest = new_loo(&folder);
    let genes = fold_settings(&manifest).genes;
    let (predicted, scores) = undisturbed();
    assert_eq!(scores.lines().count(), 41);
    for (k, gene) in genes.iter().enumerate().step_by(19) {
        fs::write(folder.join("gene.txt"), gene).unwrap();
        succeed(
            &folder,
            &format!("map {INPUTS} --hold-out gene.txt --out run-{k}"),
        );
        succeed(
            &folder,
            &format!("project --mapping run-{k} --genes gene.txt --out gene-{k}.h5ad"),
        );
        let file = Dataset::open(&folder.join(format!("gene-{k}.h5ad"))).unwrap();
        let alone = file
            .matrix(&MatrixName::X)
            .unwrap()
            .read_rows_any(0..150)
            .unwrap();
        assert_eq!(alone.to_dense().column(0), predicted.column(k), "{gene}");
        let scored = summary(&folder, &format!("score --mapping run-{k}"));
        assert!(scored["test"]["n_genes"].as_u64().unwrap() >= 1);
    }
}

#[test]
fn tasks_in_any_order_by_any_number_of_processes_give_the_same() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    succeed(
        &folder,
        "sweep run loo --task 3 --task 1 --jobs 2 --threads 2",
    );
    let mut others = [0, 2].map(|t| start(&folder, &format!("sweep run loo --task {t}")));
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    let again = summary(&folder, "sweep run loo --all");
    assert_eq!(again["tasks_done_before"], 4);
    assert_eq!(again["folds_done_now"], 0);
    check_undisturbed(&folder);
    let files = fs::read_dir(folder.join("loo/attempts")).unwrap().count();
    assert_eq!(files, 4, "one record for every task, nothing left over");
}

#[test]
fn stopped_by_a_signal_it_keeps_its_folds_and_goes_on_to_the_same() {
    for signal_number in [libc::SIGTERM, libc::SIGUSR2] {
        let (folder, _keep) = folder();
        new_loo(&folder);
        let mut child = start(&folder, "sweep run loo --task 1 --jobs 1 --threads 1");
        wait_for_folds(&folder.join("loo"), 1);
        signal(&child, signal_number);
        assert_eq!(child.wait().unwrap().code(), Some(75));
        let attempts = Attempts::of(&folder.join("loo")).at(1).unwrap();
        assert_eq!(attempts[0].state, State::Stopped);
        let kept = attempts[0].items.len();
        assert!(attempts[0].kept_sha256.is_some() && kept > 0);
        let now = summary(&folder, "sweep run loo --task 1");
        assert_eq!(now["folds_done_now"], 10 - kept);
        succeed(&folder, "sweep run loo --all");
        check_undisturbed(&folder);
    }
}

#[test]
fn killed_at_any_moment_it_goes_on_to_the_same() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    for folds in [0, 1, 2] {
        let mut child = start(
            &folder,
            "sweep run loo --all --jobs 2 --threads 2 --checkpoint-minutes 0.001",
        );
        wait_for_folds(&folder.join("loo"), folds);
        child.kill().unwrap();
        child.wait().unwrap();
    }
    succeed(&folder, "sweep run loo --all");
    check_undisturbed(&folder);
    let left: Vec<_> = crate::program::listing(&folder.join("loo/attempts"));
    assert!(
        left.iter()
            .all(|p| p.extension().is_some_and(|e| e == "json")),
        "{left:?}"
    );
}

#[test]
fn a_damaged_shard_is_noticed_and_done_again() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    succeed(&folder, "sweep run loo --all");
    let shard = folder.join("loo/results.zarr/predictions/c/2/0/0");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let told = fail(&folder, "sweep collect loo", 3);
    assert!(told.contains("c/2/0/0: damaged"), "{told}");
    assert!(
        !folder.join("loo/predictions.h5ad").exists() && !folder.join("loo/scores.tsv").exists()
    );
    let mended = summary(&folder, "sweep run loo --all");
    assert_eq!(mended["tasks_done_now"], 1);
    fs::remove_file(&shard).unwrap();
    assert_eq!(summary(&folder, "sweep run loo --all")["tasks_done_now"], 1);
    check_undisturbed(&folder);
}

#[test]
fn records_and_the_manifest_are_not_believed_when_they_were_edited() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    succeed(&folder, "sweep run loo --all");
    let sweep = folder.join("loo");
    let commands = [
        "sweep collect loo --out c",
        "sweep run loo --all",
        "sweep status loo",
    ];
    let edited = |path: PathBuf, from: &str, to: &str, told: &str| {
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        for command in commands {
            let error = fail(&folder, command, 3);
            assert!(error.contains(told), "{command}: {error}");
        }
        fs::write(&path, text).unwrap();
    };
    let cosine = "\"cosine\": 0.";
    edited(
        sweep.join("attempts/00002.1.json"),
        cosine,
        "\"cosine\": 0.9",
        "00002.1.json: cannot be read as a record of an attempt (it was changed after it was written); remove it",
    );
    edited(
        sweep.join("sweep.toml"),
        "seed = 42",
        "seed = 43",
        "sweep.toml: changed since `tangram sweep new` wrote it",
    );
    // A record with a valid hash and another cosine: what the shards hold is scored.
    let manifest = Manifest::read(&sweep).unwrap();
    let attempts = Attempts::of(&sweep);
    let mut first = attempts.at(0).unwrap().remove(0);
    fs::remove_file(sweep.join("attempts/00000.1.json")).unwrap();
    for item in &mut first.items {
        item.result["genes"][0]["cosine"] = 0.999.into();
    }
    let mut claim = attempts.claim(0, &manifest).unwrap();
    claim.tell(|attempt| *attempt = first).unwrap();
    drop(claim);
    check_undisturbed(&folder);
}

#[test]
fn a_fold_that_takes_longer_than_its_process_goes_on_where_it_was() {
    for (settings, start) in [
        ("--epochs 60 --tolerance 0", "cold"),
        ("--epochs 60 --tolerance 0", "warm"),
        ("--solver adam --epochs 60", "cold"),
    ] {
        let (folder, _keep) = folder();
        for name in ["alone", "stopped"] {
            succeed(
                &folder,
                &format!(
                    "sweep new kfold --folds 2 --folds-per-task 2 {INPUTS} {settings} --start {start} --out {name}"
                ),
            );
        }
        succeed(&folder, "sweep run alone --all --threads 1");
        let sweep = folder.join("stopped");
        let passes = || -> Vec<usize> {
            let all = Attempts::of(&sweep).all().unwrap();
            all.iter().map(|a| a.passes).collect()
        };
        // Every process is stopped or killed after a few passes, long before a fold is done.
        let mut most = 0;
        for number in 1..=4 {
            let mut child = start_slowly(
                &folder,
                "sweep run stopped --all --threads 1 --checkpoint-minutes 0.0005",
            );
            let begun = Instant::now();
            while passes().get(number - 1).is_none_or(|p| *p <= most) {
                assert!(begun.elapsed() < PATIENCE, "{settings}: {:?}", passes());
                std::thread::sleep(Duration::from_millis(10));
            }
            match number % 2 {
                0 => child.kill().unwrap(),
                _ => signal(&child, libc::SIGUSR2),
            }
            let code = child.wait().unwrap().code();
            assert_eq!(code, (number % 2 == 1).then_some(75));
            most = *passes().last().unwrap();
        }
        let kept = passes();
        assert!(kept.windows(2).all(|p| p[0] < p[1]), "{kept:?}");
        succeed(&folder, "sweep run stopped --all --threads 1");
        assert_eq!(collected(&folder, "stopped"), collected(&folder, "alone"));
        let left: Vec<_> = crate::program::listing(&sweep.join("attempts"));
        assert_eq!(left.len(), 5, "only records: {left:?}");
    }
}

#[test]
fn a_signal_while_inputs_are_read_is_on_record() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    let sweep = folder.join("loo");
    let records = || Attempts::of(&sweep).all().unwrap();
    for number in 1..=6 {
        let mut child = start(&folder, "sweep run loo --task 1 --threads 1");
        let begun = Instant::now();
        while records().len() < number {
            assert!(begun.elapsed() < PATIENCE, "no record");
            std::thread::sleep(Duration::from_millis(1));
        }
        signal(&child, libc::SIGUSR2);
        assert_eq!(child.wait().unwrap().code(), Some(75));
        let last = records().pop().unwrap();
        assert_eq!((last.number, last.state), (number as u32, State::Stopped));
    }
    succeed(&folder, "sweep run loo --all");
    check_undisturbed(&folder);
}

#[test]
fn what_another_process_has_done_meanwhile_is_not_done_again() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    let mut first = start(&folder, "sweep run loo --all --jobs 1 --threads 1");
    wait_for_folds(&folder.join("loo"), 1);
    // It knows of tasks that are not done and meets them done, or at work.
    let mut second = start(&folder, "sweep run loo --all --jobs 1 --threads 1");
    for child in [&mut first, &mut second] {
        let code = child.wait().unwrap().code();
        assert!(code == Some(0) || code == Some(4), "{code:?}");
    }
    succeed(&folder, "sweep run loo --all");
    let all = Attempts::of(&folder.join("loo")).all().unwrap();
    let tasks: Vec<usize> = all.iter().map(|a| a.task).collect();
    assert_eq!(tasks, [0, 1, 2, 3]);
    check_undisturbed(&folder);
}

#[test]
fn what_is_missing_is_told_and_collected_as_nan_only_if_asked() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    succeed(&folder, "sweep run loo --task 0");
    let told = fail(&folder, "sweep collect loo", 3);
    assert!(
        told.contains("3 of 4 tasks are not done (1, 2, 3)"),
        "{told}"
    );
    let some = summary(&folder, "sweep collect loo --allow-missing --out some");
    assert_eq!(some["n_missing"], 30);
    let file = Dataset::open(&folder.join("some/predictions.h5ad")).unwrap();
    let found = file
        .matrix(&MatrixName::X)
        .unwrap()
        .read_rows_any(0..150)
        .unwrap()
        .to_dense();
    let expected = &undisturbed().0;
    assert_eq!(
        found
            .columns()
            .into_iter()
            .take(10)
            .map(|c| c.to_vec())
            .collect::<Vec<_>>(),
        expected
            .columns()
            .into_iter()
            .take(10)
            .map(|c| c.to_vec())
            .collect::<Vec<_>>()
    );
    assert!(
        found
            .columns()
            .into_iter()
            .skip(10)
            .all(|c| c.iter().all(|x| x.is_nan()))
    );
    fail(&folder, "sweep collect loo --allow-missing --out some", 4);
    succeed(
        &folder,
        "sweep collect loo --allow-missing --out some --force",
    );
}

#[test]
fn a_full_disk_ends_it_and_space_lets_it_go_on() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    let program = env!("CARGO_BIN_EXE_tangram");
    // A disk of its own, in a name space of its own, large enough for the manifest and some records.
    let script = format!(
        "mkdir small && mount -t tmpfs -o size=20k,mode=755 small small 2>/dev/null || exit 99
        cp -r loo small/loo || exit 98
        {program} sweep run small/loo --all --jobs 1; code=$?
        [ $code = 4 ] || exit $code
        mount -o remount,size=10m small || exit 97
        {program} sweep run small/loo --all || exit 96
        rm -r loo && cp -r small/loo loo"
    );
    let mut unshare = Command::new("unshare");
    let run = unshare.args(["--mount", "--propagation", "private", "bash", "-c", &script]);
    let output = match run.current_dir(&folder).output() {
        Ok(output) => output,
        Err(error) => return skip(Need::Disk, format_args!("`unshare` cannot be run: {error}")),
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => {}
        Some(1 | 99) if errors.contains("unshare") || output.status.code() == Some(99) => {
            return skip(
                Need::Disk,
                format_args!("none can be mounted here: {errors}"),
            );
        }
        code => panic!("{code:?}: {errors}"),
    }
    assert!(
        errors.contains("the disk is full") || errors.contains("No space left"),
        "{errors}"
    );
    check_undisturbed(&folder);
}

#[test]
fn changed_inputs_and_wrong_numbers_are_refused() {
    let (folder, _keep) = folder();
    for file in ["cells.h5ad", "voxels.h5ad"] {
        fs::copy(folder.join("../tissue").join(file), folder.join(file)).unwrap();
    }
    let inputs = "--cells cells.h5ad --voxels voxels.h5ad";
    succeed(
        &folder,
        &format!("sweep new kfold --folds 3 {inputs} --out cv"),
    );
    let told = fail(&folder, "sweep run cv --task 3", 2);
    assert!(
        told.contains("numbered from 0; there is no task 3"),
        "{told}"
    );
    fail(
        &folder,
        &format!("sweep new kfold --folds 3 {inputs} --out cv"),
        4,
    );
    fail(
        &folder,
        &format!("sweep new kfold --folds 41 {inputs} --out cv41"),
        2,
    );
    fail(
        &folder,
        &format!("sweep new loo --start warm --solver adam {inputs} --out w"),
        2,
    );
    fail(
        &folder,
        &format!("sweep new ablation --fractions 0.5,1 {inputs} --out a"),
        2,
    );
    fs::copy(
        folder.join("../tissue/spots.h5ad"),
        folder.join("voxels.h5ad"),
    )
    .unwrap();
    let told = fail(&folder, "sweep run cv --all", 3);
    assert!(
        told.contains("voxels.h5ad: changed since the sweep"),
        "{told}"
    );
    let told = fail(&folder, "sweep run ../tissue --all", 3);
    assert!(told.contains("not a sweep"), "{told}");
    // A folder of an older version.
    fs::create_dir(folder.join("old")).unwrap();
    fs::write(
        folder.join("old/sweep.toml"),
        "format = 1\nkind = 'k-fold'\nversion = '0.1.0'\n",
    )
    .unwrap();
    for command in ["run old --all", "collect old", "status old"] {
        let told = fail(&folder, &format!("sweep {command}"), 3);
        assert!(
            told.contains("format 1, made by tangram 0.1.0") && told.contains("sweep new"),
            "{told}"
        );
    }
    assert!(
        !folder.join("cv41").exists() && !folder.join("w").exists() && !folder.join("a").exists()
    );
}

#[test]
fn k_fold_predicts_every_gene_once_and_an_ablation_scores_many_times() {
    let (folder, _keep) = folder();
    succeed(
        &folder,
        &format!("sweep new kfold --folds 5 {INPUTS} --folds-per-task 2 --out cv"),
    );
    succeed(&folder, "sweep run cv --all");
    let (matrix, scores) = collected(&folder, "cv");
    assert_eq!(matrix.dim(), (150, 40));
    assert!(matrix.iter().all(|x| x.is_finite()));
    let mut genes: Vec<&str> = scores
        .lines()
        .skip(1)
        .map(|l| l.split('\t').nth(1).unwrap())
        .collect();
    genes.sort_unstable();
    let manifest = Manifest::read(&folder.join("cv")).unwrap();
    assert_eq!(genes, fold_settings(&manifest).genes);

    let fractions = "--fractions 0.25,0.5 --repeats 2";
    succeed(
        &folder,
        &format!("sweep new ablation {fractions} {INPUTS} --folds-per-task 4 --out ab"),
    );
    succeed(&folder, "sweep run ab --all");
    let told = summary(&folder, "sweep collect ab");
    assert!(told["predictions"].is_null() && !folder.join("ab/predictions.h5ad").exists());
    let scores = fs::read_to_string(folder.join("ab/scores.tsv")).unwrap();
    let mut lines: BTreeMap<&str, usize> = BTreeMap::new();
    for line in scores.lines().skip(1) {
        *lines.entry(line.split('\t').nth(1).unwrap()).or_default() += 1;
    }
    assert_eq!(
        lines,
        BTreeMap::from([("0.25-1", 30), ("0.25-2", 30), ("0.5-1", 20), ("0.5-2", 20)])
    );
}

#[test]
fn warm_folds_agree_with_cold_ones() {
    let (folder, _keep) = folder();
    succeed(
        &folder,
        &format!("sweep new loo {INPUTS} --start warm --out loo"),
    );
    succeed(&folder, "sweep run loo --all");
    let (warm, _) = collected(&folder, "loo");
    for (w, c) in warm.columns().into_iter().zip(undisturbed().0.columns()) {
        let r = correlation(&w.to_vec(), &c.to_vec());
        assert!(r > WARM_AGREEMENT, "{r}");
    }
}

/// Least correlation of a gene predicted from a warm and from a cold start, both stopped by the same tolerance.
const WARM_AGREEMENT: f64 = 0.99;

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |x: &[f32]| x.iter().map(|&v| f64::from(v)).sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a) - ma, f64::from(b) - mb);
        (ab, aa, bb) = (ab + a * b, aa + a * a, bb + b * b);
    }
    ab / (aa * bb).sqrt()
}

#[test]
fn settings_of_map_come_from_a_file() {
    let (folder, _keep) = folder();
    let text = "[map]\ncells = '../tissue/cells.h5ad'\nvoxels = '../tissue/spots.h5ad'\nlambda-g2 = 3\nout = 'run'\n";
    fs::write(folder.join("my.toml"), text).unwrap();
    let voxels = "--voxels ../tissue/voxels.h5ad";
    succeed(
        &folder,
        &format!("sweep new kfold --config my.toml {voxels} --folds 2 --out cv"),
    );
    let map = fold_settings(&Manifest::read(&folder.join("cv")).unwrap()).map;
    assert_eq!(map["lambda-g2"].as_float(), Some(3.0));
    assert!(
        map["voxels"].as_str().unwrap().ends_with("voxels.h5ad"),
        "flags win"
    );
}
