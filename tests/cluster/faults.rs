//! What can happen to the jobs of a sweep: signals, preemption, kills, crashes of nodes, the time limit.

use super::DATA;
use super::records::{
    attempts, done_once_as_alone, jobs_ended, missing, new_sweep, some_fold_is_done, status,
    submissions, submit,
};
use super::sandbox::Sandbox;
use crate::program::succeed;
use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};
use std::sync::Mutex;

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
    // Slurm keeps no word of elements that were cancelled before their turn.
    let cancelled = || status(slurm, "faults")["again"]["gone from the queue, no record"].clone();
    slurm.wait_for("what was cancelled is known to be", || {
        cancelled() == serde_json::json!([16, 17, 18, 19, 20, 21])
    });
    // One of them is held, and told how to go on.
    let third = submissions[0]["arrays"][2]["job"].as_u64().unwrap();
    let element = format!("{third}_1");
    slurm.tool("scontrol", &format!("hold {element}"));
    let held = || status(slurm, "faults")["held"]["23"].clone();
    slurm.wait_for("what is held is known to be", || held()["job"] == *element);
    let told = slurm.tangram("sweep status faults");
    assert!(
        told.contains(&format!("`scontrol release {element}`")) && told.contains("Held"),
        "{told}"
    );
    slurm.tool("scontrol", &format!("release {element}"));
    running(slurm, "faults", &[]);
    slurm.restart_controller(|| {
        let output = slurm.program("sweep status faults").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{output:?}");
        assert!(
            told.contains("Slurm does not answer") && told.contains("state unknown"),
            "{told}"
        );
        assert!(
            !told.contains("not submitted") && !told.contains("resume"),
            "{told}"
        );
    });
}

/// Elements at work or in the queue, and those of new arrays, are never more than the throttle.
fn throttled(slurm: &Sandbox) {
    let before = submissions(slurm, "faults");
    let shown = slurm.tangram("sweep resume faults --profile plain.toml --dry-run");
    let status = status(slurm, "faults");
    if status["running"].as_array().unwrap().is_empty() {
        return;
    }
    let field = |begin: &str| -> Vec<String> {
        let lines = shown.lines().filter_map(|l| l.strip_prefix(begin));
        lines.map(str::to_owned).collect()
    };
    let new: usize = field("#SBATCH --array=")
        .iter()
        .map(|array| array.split_once('%').unwrap().1.parse::<usize>().unwrap())
        .sum();
    let old = before[0]["arrays"].as_array().unwrap();
    let old: u64 = old.iter().map(|a| a["throttle"].as_u64().unwrap()).sum();
    assert_eq!(old, 6);
    // Either there was a part left, or the new ones wait for the old.
    let waits = field("#SBATCH --dependency=afterany:").len() > 1;
    assert!(new < 6 || waits, "{shown}");
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
    throttled(slurm);
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

/// Each fold takes longer than the minute that its job is given: its training goes on, from job to job, where it was.
pub fn limited(slurm: &Sandbox) {
    let folder = slurm.folder();
    let inputs = DATA.replace(" --threads 1", "");
    let new = format!(
        "sweep new kfold --folds 2 --folds-per-task 1 {inputs} --epochs 30 --tolerance 0 --quiet"
    );
    for name in ["limit", "no-limit"] {
        succeed(folder, &format!("{new} --out {name}"));
    }
    succeed(folder, "sweep run no-limit --all --quiet");
    succeed(folder, "sweep collect no-limit --quiet");
    slurm.tangram("sweep submit limit --profile long.toml --time 0:01:00");
    jobs_ended(slurm, "limit");
    let first = &attempts(slurm, "limit")[0];
    let passes: Vec<u64> = first
        .iter()
        .map(|a| a["passes"].as_u64().unwrap())
        .collect();
    assert!(
        first.len() > 1 && passes.iter().any(|p| *p > 0),
        "{first:?}"
    );
    for attempt in first {
        assert_eq!(attempt["who"]["job"]["time"], "0:01:00");
    }
    // Its job comes back by itself, until all is done.
    for file in ["scores.tsv", "predictions.h5ad"] {
        let read = |sweep: &str| fs::read(folder.join(sweep).join(file)).unwrap();
        assert!(read("limit") == read("no-limit"), "{file}");
    }
}

/// A signal in the first moments of a job, before the program or its handler is there: the job comes back by itself.
pub fn signalled_at_once(slurm: &Sandbox) {
    new_sweep(slurm, "early", 4);
    slurm.tangram("sweep submit early --profile plain.toml");
    let jobs = submissions(slurm, "early");
    let array = jobs[0]["arrays"][0]["job"].as_u64().unwrap();
    // Every element in turn, as soon as it is seen to run, and once more when it has come back.
    let seen = Mutex::new(BTreeMap::<String, u32>::new());
    slurm.wait_for("jobs were signalled as they began", || {
        let line = format!("--noheader --jobs={array} --states=RUNNING --array --format=%K");
        let mut seen = seen.lock().unwrap();
        for index in slurm.tool("squeue", &line).split_whitespace() {
            let times = seen.entry(index.to_owned()).or_default();
            *times += 1;
            if *times <= 2 {
                let signal = ["USR2", "TERM"][*times as usize % 2];
                // It may have ended meanwhile.
                slurm.try_tool(
                    "scancel",
                    &format!("--batch --signal={signal} {array}_{index}"),
                );
            }
        }
        let queue = slurm.tool("squeue", &format!("--noheader --jobs={array}"));
        queue.trim().is_empty()
    });
    let signalled = seen.into_inner().unwrap().len();
    assert!(signalled > 0, "no job was met at work");
    // Before bash has read the first line of a script nothing can hear a signal.
    if !missing(&status(slurm, "early")).is_empty() {
        slurm.tangram("sweep resume early --profile plain.toml");
    }
    done_once_as_alone(slurm, "early");
    jobs_ended(slurm, "early");
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
