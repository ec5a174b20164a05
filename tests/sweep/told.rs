//! What a sweep tells: of scores, of processes that are gone, of time, of clusters that are not there.

use super::{INPUTS, collected, folder, new_loo, signal, start, undisturbed, wait_for_folds};
use crate::program::{fail, succeed, summary, tangram};
use std::fs;
use std::io::Read;
use std::process::Stdio;
use tangram_sweep::{Attempts, State};

/// Columns of `scores.tsv` that compare with the voxels' totals.
const YARDSTICK: [&str; 3] = ["totals_cosine", "totals_pearson", "partial_pearson"];

/// The means of some columns of a table.
fn means(table: &str, names: [&str; 3]) -> Vec<f64> {
    let mut lines = table.lines().map(|l| l.split('\t').collect::<Vec<_>>());
    let head = lines.next().unwrap();
    let rows: Vec<_> = lines.collect();
    let mean = |name: &str| {
        let at = head.iter().position(|c| *c == name).unwrap();
        let values = rows.iter().filter_map(|r| r[at].parse::<f64>().ok());
        let values: Vec<f64> = values.collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    names.into_iter().map(mean).collect()
}

#[test]
fn scores_are_told_beside_what_knows_no_cells() {
    let (folder, _keep) = folder();
    succeed(
        &folder,
        &format!("sweep new kfold --folds 4 {INPUTS} --out cv"),
    );
    succeed(&folder, "sweep run cv --all");
    let said = succeed(&folder, "sweep collect cv");
    let told = summary(&folder, "sweep collect cv --out again");
    let table = fs::read_to_string(folder.join("cv/scores.tsv")).unwrap();
    let means = means(&table, YARDSTICK);
    let number = |value: &serde_json::Value| value.as_f64().unwrap();
    let found = [
        number(&told["totals"]["mean_cosine"]),
        number(&told["totals"]["mean_pearson"]),
        number(&told["mean_partial"]),
    ];
    for (found, mean) in found.iter().zip(&means) {
        assert!((found - mean).abs() < 1e-9, "{found} {mean}");
    }
    let [cosine, pearson, partial] = found;
    for part in [
        format!("voxel totals alone: mean cosine {cosine:.3}, mean Pearson {pearson:.3}"),
        format!("totals taken out: {partial:.3}"),
        told["sentence"].as_str().unwrap().to_owned(),
    ] {
        assert!(said.contains(&part), "`{part}` is not in:\n{said}");
    }
    // The report says the same.
    let html = fs::read_to_string(folder.join("cv/report.html")).unwrap();
    assert!(html.contains(&format!("voxel totals alone {cosine:.3}")));
    assert!(html.contains(told["sentence"].as_str().unwrap()));
    // Of genes that the bands were not made of, at least about as many values lie within them as should: more where a band begins at the
    // many values that are 0.
    succeed(&folder, "plot intervals cv --out intervals.svg");
    let drawn = fs::read_to_string(folder.join("intervals.svg")).unwrap();
    for (part, range) in [("90 %", 80.0..99.0), ("50 %", 40.0..90.0)] {
        let label = format!("{part} of the values (of other genes: ");
        let (_, rest) = drawn.split_once(&label).expect("the legend has both bands");
        let held: f64 = rest.split_once(" %").unwrap().0.parse().unwrap();
        assert!(range.contains(&held), "{part}: {held}");
    }
    assert!(html.contains("Prediction intervals"));

    // An ablation has no predictions to compare: the records of its folds say it.
    succeed(
        &folder,
        &format!("sweep new ablation --fractions 0.5 --repeats 2 {INPUTS} --out ab"),
    );
    succeed(&folder, "sweep run ab --all");
    let told = summary(&folder, "sweep collect ab");
    assert!(told["mean_partial"].is_f64() && told["sentence"].is_string());
}

#[test]
fn intervals_are_refused_where_the_voxels_changed() {
    let (folder, _keep) = folder();
    let voxels = folder.join("voxels.h5ad");
    fs::copy(folder.join("../tissue/voxels.h5ad"), &voxels).unwrap();
    let inputs = "--cells ../tissue/cells.h5ad --voxels voxels.h5ad --epochs 5";
    succeed(
        &folder,
        &format!("sweep new kfold --folds 2 {inputs} --out cv"),
    );
    let error = fail(&folder, "plot intervals cv --out no.svg", 3);
    assert!(error.contains("tangram sweep collect"), "{error}");
    succeed(&folder, "sweep run cv --all");
    succeed(&folder, "sweep collect cv --no-report");
    succeed(&folder, "plot intervals cv --out intervals.svg");
    let mut bytes = fs::read(&voxels).unwrap();
    bytes.push(0);
    fs::write(&voxels, bytes).unwrap();
    let error = fail(&folder, "plot intervals cv --out no.svg", 3);
    assert!(
        error.contains("voxels.h5ad") && error.contains("changed"),
        "{error}"
    );
    assert!(!folder.join("no.svg").exists());
}

#[test]
fn the_report_of_a_run_has_the_yardstick_of_score() {
    let (folder, _keep) = folder();
    succeed(&folder, &format!("map {INPUTS} --epochs 10 --out run"));
    let told = summary(&folder, "score --mapping run");
    let html = fs::read_to_string(folder.join("run/report.html")).unwrap();
    for part in ["train", "test"] {
        let mean = told[part]["totals"]["mean_cosine"].as_f64();
        let Some(mean) = mean else { continue };
        assert!(
            html.contains(&format!("voxel totals alone {mean:.3}")),
            "{part} {mean}"
        );
    }
    assert!(html.contains(told["sentence"].as_str().unwrap()));
}

#[test]
fn ctrl_c_keeps_the_folds_that_are_done_and_says_so() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    let mut child = tangram()
        .current_dir(&folder)
        .args("sweep run loo --task 1 --jobs 1 --threads 1".split(' '))
        .env("TANGRAM_TEST_PAUSE_MS", "10")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    wait_for_folds(&folder.join("loo"), 2);
    signal(&child, libc::SIGINT);
    let mut told = String::new();
    let errors = child.stderr.as_mut().unwrap();
    errors.read_to_string(&mut told).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130), "{told}");
    let attempt = Attempts::of(&folder.join("loo")).at(1).unwrap().remove(0);
    let kept = attempt.items.len();
    assert!(attempt.state == State::Stopped && kept >= 2);
    for part in [
        "stopping; what is done is kept",
        &format!("{kept} finished folds of this sweep kept; the same command goes on"),
    ] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    let now = summary(&folder, "sweep run loo --task 1");
    assert_eq!(now["folds_done_now"], 10 - kept);
    succeed(&folder, "sweep run loo --all");
    assert_eq!(collected(&folder, "loo").0, undisturbed().0);
}

#[test]
fn a_process_that_is_gone_is_not_told_to_run() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    let mut child = start(&folder, "sweep run loo --task 2 --jobs 1 --threads 1");
    wait_for_folds(&folder.join("loo"), 1);
    assert_eq!(summary(&folder, "sweep status loo")["running"][0], 2);
    let pid = child.id();
    child.kill().unwrap();
    child.wait().unwrap();
    // It ends by itself.
    let said = succeed(&folder, "sweep status loo --watch");
    assert!(
        said.contains(&format!("task 2: its process {pid} on ")) && !said.contains("  running"),
        "{said}"
    );
    let told = summary(&folder, "sweep status loo");
    assert_eq!(told["running"].as_array().unwrap().len(), 0);
    assert_eq!(told["again"]["killed"][0], 2);
    assert_eq!(told["lost"]["2"]["pid"], pid);
}

#[test]
fn a_time_that_is_not_known_is_not_told() {
    let (folder, _keep) = folder();
    let new = "sweep new loo --folds-per-task 10";
    let said = succeed(&folder, &format!("{new} {INPUTS} --out loo"));
    assert!(
        said.contains("unknown until one is done") && !said.contains("in all"),
        "{said}"
    );
    let told = summary(&folder, &format!("{new} {INPUTS} --out second"));
    assert!(told["seconds_per_fold"].is_null());
    let told = fail(&folder, "sweep run loo", 2);
    assert!(told.contains("--task <N>|--all"), "{told}");
    let told = fail(&folder, "sweep run loo --task 1 --all", 2);
    assert!(told.contains("cannot be used with"), "{told}");
}

#[test]
fn without_a_cluster_one_sentence_says_so() {
    let (folder, _keep) = folder();
    new_loo(&folder);
    for command in [
        "sweep submit loo --profile cpu".to_owned(),
        format!("submit map --profile cpu {INPUTS} --out run"),
    ] {
        let output = tangram()
            .current_dir(&folder)
            .args(command.split(' '))
            .env("PATH", "/nowhere")
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(6), "{told}");
        assert!(
            told.starts_with("error: there is no Slurm here") && told.lines().count() == 1,
            "{told}"
        );
        assert!(told.contains("--dry-run"), "{told}");
    }
    let submissions = folder.join("loo/submissions");
    assert!(!submissions.exists() || fs::read_dir(submissions).unwrap().count() == 0);
}

#[test]
fn the_job_of_a_mapping_can_do_without_a_report() {
    let (folder, _keep) = folder();
    let script = |more: &str| {
        let line = format!("submit map --profile cpu {INPUTS} --out run --dry-run {more}");
        succeed(&folder, &line)
    };
    assert!(script("--no-report").contains("--no-report"));
    assert!(!script("").contains("--no-report"));
    assert!(!folder.join("run").exists());
}
