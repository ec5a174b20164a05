//! Sweeps as job arrays.

use super::records::{
    ALONE, attempts, collected_as_alone, done_once_as_alone, jobs_ended, missing, new_sweep,
    some_fold_is_done, status, submit,
};
use super::sandbox::Sandbox;
use super::{DATA, SHORT};
use crate::program::require::{Need, skip};
use crate::program::{history, listing, succeed};
use crate::sweep::register::{FIT, tree, write_brain_and_masks};
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

/// The sweep that all others are compared with.
pub fn alone(slurm: &Sandbox) {
    let folder = slurm.folder();
    new_sweep(slurm, ALONE, 1);
    succeed(folder, &format!("sweep run {ALONE} --all --quiet"));
    succeed(folder, &format!("sweep collect {ALONE} --quiet"));
}

/// MaxArraySize is 11: 24 tasks are three arrays. Then a shard is damaged.
pub fn chunked(slurm: &Sandbox) {
    new_sweep(slurm, "plain", 1);
    let shown = slurm.tangram("sweep submit plain --profile slow.toml --dry-run");
    for part in [
        "--array=0-10%",
        "--array=0-1%",
        "task=$((22 + SLURM_ARRAY_TASK_ID))",
        "--dependency=afterany:1:2:3\n",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let throttles = shown
        .lines()
        .filter_map(|l| l.strip_prefix("#SBATCH --array=")?.split_once('%'));
    let throttle: usize = throttles.map(|(_, n)| n.parse::<usize>().unwrap()).sum();
    assert_eq!(throttle, 6, "that of the profile, over all chunks");
    let told = slurm.tangram("sweep submit plain --profile slow.toml --test-only");
    assert!(told.contains("to start at"), "{told}");
    let told = slurm.fails("sweep resume plain", 2);
    assert!(told.contains("sweep submit"), "{told}");

    let submitted = submit(slurm, "sweep submit plain --profile slow.toml");
    assert_eq!(
        submitted["jobs"].as_array().unwrap().len(),
        4,
        "{submitted}"
    );
    let again = submit(slurm, "sweep submit plain --profile slow.toml");
    assert_eq!(
        again["jobs"].as_array().unwrap().len(),
        0,
        "all are in the queue, or done"
    );
    done_once_as_alone(slurm, "plain");
    let all = attempts(slurm, "plain");
    let hosts = all.iter().flatten().map(|a| a["who"]["host"].to_string());
    let hosts: BTreeSet<String> = hosts.collect();
    assert!(hosts.len() > 1, "{hosts:?}");
    jobs_ended(slurm, "plain");
    // One record a task, and the logs of those that are done in one file, beside that of the job that collected.
    let count = |folder: &str| listing(&slurm.folder().join("plain").join(folder)).len();
    assert_eq!((count("attempts"), count("logs")), (24, 2));
    damaged(slurm);
}

/// A damaged shard is noticed by its checksum, and one more job does its task again.
fn damaged(slurm: &Sandbox) {
    let sweep = slurm.folder().join("plain");
    for file in ["scores.tsv", "predictions.h5ad", "report.html"] {
        fs::remove_file(sweep.join(file)).unwrap();
    }
    let shard = sweep.join("results.zarr/predictions/c/5/0/0");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let told = slurm.fails("sweep collect plain", 3);
    assert!(told.contains("c/5/0/0: damaged"), "{told}");
    let resumed = submit(slurm, "sweep resume plain");
    assert_eq!(resumed["tasks"], json!([5]));
    collected_as_alone(slurm, "plain");
    let done: Vec<usize> = attempts(slurm, "plain").iter().map(Vec::len).collect();
    let expected: Vec<usize> = (0..24).map(|task| 1 + usize::from(task == 5)).collect();
    assert_eq!(done, expected, "attempts of every task");
    jobs_ended(slurm, "plain");
}

/// The disk of a sweep is filled, by somebody else, while tasks are at work; when there is space again they are done.
pub fn full_disk(slurm: &Sandbox) {
    let folder = slurm.folder();
    let Some(disk) = slurm.disk() else {
        return skip(
            Need::Disk,
            "none can be mounted here; no job met a full one",
        );
    };
    new_sweep(slurm, "disk/full", 1);
    slurm.tangram("sweep submit disk/full --profile slow.toml");
    slurm.wait_for("a fold is done", || some_fold_is_done(slurm, "disk/full"));
    disk.fill();
    jobs_ended(slurm, "disk/full");
    let met = status(slurm, "disk/full");
    let expected = missing(&met);
    assert!(!expected.is_empty(), "{met}");
    assert!(!folder.join("disk/full/scores.tsv").exists(), "{met}");
    // The logs are on the same disk, and may have had no space for a word of it.
    disk.fill();
    let told = slurm.fails(&format!("sweep run disk/full --task {}", expected[0]), 4);
    assert!(
        told.contains("the disk is full") || told.contains("No space left"),
        "{told}"
    );
    disk.empty();
    let resumed = submit(slurm, "sweep resume disk/full --profile plain.toml");
    assert_eq!(resumed["tasks"], json!(expected));
    done_once_as_alone(slurm, "disk/full");
    jobs_ended(slurm, "disk/full");
}

/// Each run of a sweep over seeds is learned by two ranks on two nodes.
pub fn runs_on_two_nodes(slurm: &Sandbox) {
    let folder = slurm.folder();
    let inputs = DATA.replace(" --threads 1", "");
    let new = format!("sweep new seeds --seeds 1,2 --folds-per-task 1 {inputs} {SHORT} --quiet");
    for profile in ["plain", "mpirun"] {
        succeed(folder, &format!("{new} --out seeds-{profile}"));
        slurm.tangram(&format!(
            "sweep submit seeds-{profile} --profile {profile}.toml --ranks 2 --nodes 2"
        ));
    }
    succeed(folder, &format!("{new} --out seeds-alone"));
    succeed(folder, "sweep run seeds-alone --all --quiet");
    for profile in ["plain", "mpirun"] {
        let sweep = folder.join(format!("seeds-{profile}"));
        slurm.wait_for("seeds are collected", || sweep.join("scores.tsv").is_file());
        for run in listing(&folder.join("seeds-alone/runs")) {
            let on_two = sweep.join("runs").join(run.file_name().unwrap());
            assert_eq!(history(&run), history(&on_two), "{profile}");
            let text = fs::read_to_string(on_two.join("run.toml")).unwrap();
            assert!(text.contains("grid = \""), "{text}");
        }
        jobs_ended(slurm, &format!("seeds-{profile}"));
    }
}

/// Sections as an array: one that fails does not stop the others, and is done when its file is back.
pub fn registrations(slurm: &Sandbox) {
    let folder = slurm.folder().join("histology");
    fs::create_dir(&folder).unwrap();
    write_brain_and_masks(&folder);
    let masks = "s1 s2 stripes torn".split(' ');
    let masks: Vec<String> = masks
        .map(|name| format!("histology/masks/{name}.png"))
        .collect();
    let new = format!(
        "sweep new register --quiet --atlas histology/atlas.zarr --regions {} {FIT}",
        masks.join(" ")
    );
    succeed(slurm.folder(), &format!("{new} --out sections-alone"));
    succeed(slurm.folder(), "sweep run sections-alone --all --quiet");
    succeed(slurm.folder(), "sweep collect sections-alone --quiet");

    succeed(
        slurm.folder(),
        &format!("{new} --sections-per-task 1 --out sections"),
    );
    let mask = folder.join("masks/s2.png");
    let kept = fs::read(&mask).unwrap();
    fs::write(&mask, "changed").unwrap();
    let submitted = submit(slurm, "sweep submit sections --profile plain.toml");
    assert_eq!(submitted["tasks"], json!([0, 1, 2, 3]));
    jobs_ended(slurm, "sections");
    let states = |at: usize| attempts(slurm, "sections")[at][0]["state"].clone();
    assert_eq!([0, 1, 2, 3].map(states), ["done", "failed", "done", "done"]);
    assert!(!slurm.folder().join("sections/sections.zarr").exists());
    fs::write(&mask, kept).unwrap();
    let resumed = submit(slurm, "sweep resume sections");
    assert_eq!(resumed["tasks"], json!([1]));
    jobs_ended(slurm, "sections");
    let read = |name: &str| tree(&slurm.folder().join(name).join("sections.zarr"));
    assert!(read("sections") == read("sections-alone"));
}
