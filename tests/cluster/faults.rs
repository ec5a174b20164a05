//! What can happen to the jobs of a sweep: signals, preemption, kills, crashes of nodes, the time limit.

use super::records::{
    attempts, done_once_as_alone, jobs_ended, missing, new_sweep, some_fold_is_done, status,
    submissions, submit,
};
use super::sandbox::Sandbox;
use std::fs;
use std::process::{Command, Stdio};

/// Of two that submit at once, one submits; the controller is restarted while tasks run; part of an array is cancelled.
pub fn submitted(slurm: &Sandbox) {
    new_sweep(slurm, "faults", 1);
    let submit = || {
        slurm
            .program("sweep submit faults --profile faults.toml")
            .stderr(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let both = [submit(), submit()].map(|child| child.wait_with_output().unwrap());
    let said = both.map(|output| {
        (
            output.status.code(),
            String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned(),
        )
    });
    let refused = said
        .iter()
        .filter(|(code, text)| *code == Some(4) && text.contains("began to submit tasks"))
        .count();
    let nothing = said
        .iter()
        .filter(|(code, text)| *code == Some(0) && text.contains("nothing to submit"))
        .count();
    assert_eq!(refused + nothing, 1, "{said:?}");
    let submissions = submissions(slurm, "faults");
    assert_eq!(submissions.len(), 1);
    // Tasks 16 to 21, whose turn has not come.
    let second = submissions[0]["arrays"][1]["job"].as_u64().unwrap();
    slurm.tool("scancel", &format!("{second}_[5-10]"));
    running(slurm, "faults", &[]);
    slurm.restart_controller();
}

/// A process is killed and a node crashes; then what is missing, and nothing else, is submitted again.
pub fn crashed(slurm: &Sandbox) {
    let ended = |task: usize| attempts(slurm, "faults")[task].last().unwrap()["state"] != "running";
    let killed = loop {
        let (task, _) = running(slurm, "faults", &[]);
        for pid in at_work("faults", task) {
            // It may have ended meanwhile.
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).output();
        }
        if !ended(task) {
            break task;
        }
    };
    let known = || missing(&status(slurm, "faults")).contains(&(killed as u64));
    slurm.wait_for("the killed task is known to be", known);
    let crashed = loop {
        let (task, node) = running(slurm, "faults", &[killed]);
        let number = node.trim_start_matches("vn").to_owned();
        slurm.control(&format!("kill-node {number}"));
        let met = !ended(task);
        slurm.control(&format!("start-node {number}"));
        if met {
            break task;
        }
    };
    jobs_ended(slurm, "faults");

    let before = status(slurm, "faults");
    assert!(
        !slurm.folder().join("faults/scores.tsv").exists(),
        "an incomplete sweep is not collected"
    );
    assert!(before["failed"].as_object().unwrap().is_empty(), "{before}");
    let expected = missing(&before);
    let cancelled = expected.iter().filter(|task| (16..22).contains(*task));
    assert!(
        expected.contains(&(killed as u64)) && cancelled.count() > 0,
        "{before}"
    );
    let resumed = submit(slurm, "sweep resume faults --profile plain.toml");
    let tasks = resumed["tasks"].as_array().unwrap().iter();
    let mut tasks: Vec<u64> = tasks.map(|t| t.as_u64().unwrap()).collect();
    tasks.sort_unstable();
    assert_eq!(tasks, expected, "what is missing and nothing else");
    done_once_as_alone(slurm, "faults");
    let all = attempts(slurm, "faults");
    assert!(
        all[killed].len() >= 2 && all[crashed].len() >= 2,
        "{killed}, {crashed}"
    );
    let nothing = submit(slurm, "sweep resume faults");
    assert_eq!(nothing["jobs"].as_array().unwrap().len(), 0);
    jobs_ended(slurm, "faults");
}

/// A more urgent job takes the node: folds that are done are kept, the others are done later.
pub fn preempted(slurm: &Sandbox) {
    // Long tasks: Slurm takes up to a quarter of a minute to see that it must preempt.
    new_sweep(slurm, "spot", 8);
    slurm.tangram("sweep submit spot --profile spot.toml");
    slurm.wait_for("a fold is done", || some_fold_is_done(slurm, "spot"));
    slurm.tool(
        "sbatch",
        "--partition=urgent --nodelist=vn3 --exclusive --time=1 --output=/dev/null --wrap=true",
    );
    done_once_as_alone(slurm, "spot");
    let all = attempts(slurm, "spot");
    let stopped = all.iter().flatten().filter(|a| a["state"] == "stopped");
    assert!(stopped.count() > 0, "{all:?}");
    jobs_ended(slurm, "spot");
}

/// All folds in one task, which takes longer than the minute that its job is given.
pub fn limited(slurm: &Sandbox) {
    new_sweep(slurm, "limit", 24);
    slurm.tangram("sweep submit limit --profile long.toml --time 0:01:00");
    jobs_ended(slurm, "limit");
    let first = &attempts(slurm, "limit")[0];
    assert!(first.iter().any(|a| a["state"] == "stopped"), "{first:?}");
    if !slurm.folder().join("limit/scores.tsv").is_file() {
        // The signal may come a minute early, before there is anything to keep.
        slurm.tangram("sweep resume limit");
    }
    done_once_as_alone(slurm, "limit");
}

/// Processes that do a task of a sweep, as this machine numbers them.
fn at_work(name: &str, task: usize) -> Vec<u32> {
    let of = |entry: fs::DirEntry| -> Option<u32> {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = line
            .split(|b| *b == 0)
            .map(|w| String::from_utf8_lossy(w).into_owned())
            .collect();
        let is_task = words
            .windows(2)
            .any(|w| w[0] == "--task" && w[1] == task.to_string());
        (is_task && words.iter().any(|w| w.ends_with(&format!("/{name}")))).then_some(pid)
    };
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(of)
        .collect()
}

/// Waits for a task that is at work; gives its number and its node.
fn running(slurm: &Sandbox, name: &str, but: &[usize]) -> (usize, String) {
    let found = std::cell::Cell::new(None);
    slurm.wait_for("a task is at work", || {
        let all = attempts(slurm, name);
        let newest = all.iter().filter_map(|attempts| attempts.last());
        let running = newest.filter(|a| a["state"] == "running");
        let mut of = running.map(|a| {
            (
                a["task"].as_u64().unwrap() as usize,
                a["who"]["host"].as_str().unwrap().to_owned(),
            )
        });
        let one = of.find(|(task, _)| !but.contains(task) && !at_work(name, *task).is_empty());
        let is_found = one.is_some();
        found.set(one);
        is_found
    });
    found.take().unwrap()
}
