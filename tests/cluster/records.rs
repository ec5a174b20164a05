//! Sweeps of these tests, and what their records say.

use super::DATA;
use super::sandbox::Sandbox;
use crate::program::{listing, succeed};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// The sweep that this machine does without Slurm; every other one must predict the same.
pub const ALONE: &str = "alone-24";
/// Passes of every fold.
const PASSES: usize = 60;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// A sweep of 24 folds.
pub fn new_sweep(slurm: &Sandbox, name: &str, folds_per_task: usize) {
    let inputs = DATA.replace(" --threads 1", "");
    let line = format!(
        "sweep new kfold --folds 24 --folds-per-task {folds_per_task} {inputs} --epochs {PASSES} --tolerance 0"
    );
    succeed(slurm.folder(), &format!("{line} --quiet --out {name}"));
}

/// Waits until a sweep is collected: its files are those of [`ALONE`], bit for bit.
pub fn collected_as_alone(slurm: &Sandbox, name: &str) {
    let folder = slurm.folder();
    slurm.wait_for(&format!("{name} is collected"), || {
        folder.join(name).join("scores.tsv").is_file()
    });
    for file in ["scores.tsv", "predictions.h5ad"] {
        let read = |sweep: &str| fs::read(folder.join(sweep).join(file)).unwrap();
        assert!(read(name) == read(ALONE), "{name}: {file}");
    }
}

/// The same, and every task was done once.
pub fn done_once_as_alone(slurm: &Sandbox, name: &str) {
    collected_as_alone(slurm, name);
    for (task, attempts) in attempts(slurm, name).into_iter().enumerate() {
        let done = attempts.iter().filter(|a| a["state"] == "done").count();
        assert_eq!(done, 1, "{name}: task {task}");
    }
    let status = status(slurm, name);
    assert_eq!(
        (&status["done"], &status["folds_done"]),
        (&status["n_tasks"], &status["n_folds"])
    );
}

/// The records of attempts, by task.
pub fn attempts(slurm: &Sandbox, name: &str) -> Vec<Vec<Value>> {
    let mut tasks: Vec<Vec<Value>> = Vec::new();
    let folder = slurm.folder().join(name).join("attempts");
    // There is none before the first begins.
    let records = folder.is_dir().then(|| listing(&folder));
    for path in records.into_iter().flatten() {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let record = json(&path);
        let task = record["task"].as_u64().unwrap() as usize;
        tasks.resize_with(tasks.len().max(task + 1), Vec::new);
        tasks[task].push(record);
    }
    tasks
}

/// Whether a fold of a sweep is done, of whatever task.
pub fn some_fold_is_done(slurm: &Sandbox, name: &str) -> bool {
    let all = attempts(slurm, name);
    let mut folds = all.iter().flatten().map(|a| a["items"].as_array().unwrap());
    folds.any(|folds| !folds.is_empty())
}

/// What `tangram sweep status` says.
pub fn status(slurm: &Sandbox, name: &str) -> Value {
    let said = slurm.tangram(&format!("sweep status {name} --json"));
    serde_json::from_str(&said).unwrap()
}

/// Tasks that are neither done nor in the queue.
pub fn missing(status: &Value) -> Vec<u64> {
    let again = status["again"].as_object().unwrap().values();
    let lists = again.chain([&status["not_begun"]]);
    let tasks = lists.flat_map(|tasks| tasks.as_array().unwrap());
    let mut tasks: Vec<u64> = tasks.map(|task| task.as_u64().unwrap()).collect();
    tasks.sort_unstable();
    tasks
}

/// `tangram sweep submit` or `resume`; gives its summary.
pub fn submit(slurm: &Sandbox, line: &str) -> Value {
    serde_json::from_str(&slurm.tangram(&format!("{line} --json"))).unwrap()
}

/// The records of submissions.
pub fn submissions(slurm: &Sandbox, name: &str) -> Vec<Value> {
    let folder = slurm.folder().join(name).join("submissions");
    listing(&folder).iter().map(|path| json(path)).collect()
}

/// Waits until all jobs of a sweep have ended.
pub fn jobs_ended(slurm: &Sandbox, name: &str) {
    let mut jobs = Vec::new();
    for record in submissions(slurm, name) {
        let arrays = record["arrays"].as_array().unwrap();
        let all = arrays.iter().chain([&record["collector"]]);
        jobs.extend(all.map(|job| job["job"].as_u64().unwrap()));
    }
    slurm.ended(&jobs);
}
