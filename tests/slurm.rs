//! Jobs on a real Slurm: three virtual nodes on this machine, started and stopped by the test.
//!
//! One test, since all share the cluster: what it does is in the order of `on_a_real_slurm`.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic
#![cfg(feature = "mpi")]

mod program;
mod sandbox;

use program::{fail, succeed};
use sandbox::Sandbox;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

/// What every mapping here has in common.
const DATA: &str =
    "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1 --reduce exact";
const SHORT: &str = "--epochs 30 --tolerance 0 --keep none";
const ADAM: &str = "--solver adam --keep top:3";

#[test]
fn on_a_real_slurm() {
    let Some(slurm) = Sandbox::start() else {
        eprintln!(
            "SKIPPED: tests/slurm.rs starts a Slurm of its own, which only root can; nothing of it was tested"
        );
        return;
    };
    let folder = slurm.folder();
    let sizes = "--cells 700 --voxels 90 --spots 10 --genes 80 --panel 60";
    succeed(folder, &format!("simulate --quiet --out tissue {sizes}"));
    slurm.profile(
        "mpirun",
        "launcher = \"srun-pmix\"",
        "launcher = \"mpirun\"",
    );

    let step = |name: &str, check: &dyn Fn(&Sandbox)| {
        let begun = Instant::now();
        check(&slurm);
        eprintln!("{name}: {:.0} s", begun.elapsed().as_secs_f64());
    };
    step("what would fail is not submitted", &refusals);
    step("mappings on one node and on two", &mappings);
    step("stopped, requeued, resumed", &stopped);
    step("a sweep in chunks", &chunked);
    step("a damaged shard", &damaged);
    step("a full disk", &full_disk);
    // So many that all folds take this machine more than a minute.
    let pace = status(&slurm, "plain-alone")["seconds_per_fold"]
        .as_f64()
        .unwrap()
        / 60.0;
    let passes = (110.0 / 24.0 / pace) as usize;
    eprintln!("{passes} passes a fold");
    sweep(&slurm, "faults", 1, passes);
    step("a sweep that is preempted", &|slurm| {
        preempted(slurm, passes)
    });
    limited(&slurm, passes);
    step("a sweep of mappings on two nodes", &ranks_in_elements);
    step("a sweep and its faults", &faults);
    step("the limit of time", &limit_survived);
}

/// History without the seconds.
fn history(run: &Path) -> Vec<String> {
    let text = fs::read_to_string(run.join("history.tsv")).unwrap();
    let cut = |line: &str| line.rsplit_once('\t').unwrap().0.to_owned();
    text.lines().map(cut).collect()
}

fn refusals(slurm: &Sandbox) {
    let folder = slurm.folder();
    fs::create_dir(folder.join("taken")).unwrap();
    let map = format!("submit map --profile sandbox {DATA}");
    for (rest, code, told) in [
        ("--out taken", 4, "exists already"),
        ("--out no/where", 4, "does not exist"),
        ("--out run --profile nowhere", 2, "no such profile"),
        ("--out run --nodes 2", 2, "nodes"),
        ("--out run --ranks 2 --grid 2x2x1", 2, "4 ranks"),
        ("--out run --prior none --lambda-d 1", 2, "--lambda-d"),
        ("--out run --hold-out no.txt", 3, "no.txt"),
        ("--out run --cells no.h5ad", 3, "no.h5ad"),
    ] {
        // The later flag of two wins.
        let flags = rest.split_whitespace().filter(|w| w.starts_with("--"));
        let line = flags.fold(map.clone(), |line, flag| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let kept = match words.iter().position(|w| *w == flag) {
                Some(at) => [&words[..at], &words[at + 2..]].concat(),
                None => words,
            };
            kept.join(" ")
        });
        let errors = slurm.fails(&format!("{line} {rest}"), code);
        assert!(errors.contains(told), "{rest}: {errors}");
    }
    let shown = slurm.tangram(&format!("{map} {SHORT} --out run --dry-run"));
    assert!(shown.starts_with("#!/bin/bash\n#SBATCH"), "{shown}");
    let told = slurm.tangram(&format!("{map} {SHORT} --out run --test-only"));
    assert!(told.contains("to start at"), "{told}");
    assert_eq!(slurm.queue(), "", "nothing was submitted");
    // Slurm's own words.
    let errors = slurm.fails(&format!("{map} --out run --memory 900G"), 6);
    assert!(errors.contains("refused"), "{errors}");
    // Without Slurm.
    fail(folder, &format!("{map} --out run"), 6);
}

fn mappings(slurm: &Sandbox) {
    let folder = slurm.folder();
    succeed(folder, &format!("map --quiet {DATA} {SHORT} --out alone"));
    let submit = |profile: &str, flags: &str, out: &str| {
        slurm.submit(&format!(
            "submit map --profile {profile} {flags} {DATA} {SHORT} --out {out}"
        ))
    };
    let one = submit("sandbox", "", "one");
    let srun = submit("sandbox", "--ranks 2 --nodes 2", "srun");
    let mpirun = submit("mpirun.toml", "--ranks 2 --nodes 2", "mpirun");
    for (job, out) in [(one, "one"), (srun, "srun"), (mpirun, "mpirun")] {
        slurm.finished(job, out);
        assert_eq!(
            history(&folder.join("alone")),
            history(&folder.join(out)),
            "{out}"
        );
    }
    for job in [srun, mpirun] {
        let shown = slurm.tool("scontrol", &format!("show job {job}"));
        assert!(
            shown.contains("NumNodes=2") && shown.contains("JobState=COMPLETED"),
            "{shown}"
        );
    }
    for out in ["srun", "mpirun"] {
        let text = fs::read_to_string(folder.join(out).join("run.toml")).unwrap();
        assert!(
            text.contains("grid = \""),
            "{out} was learned by several ranks: {text}"
        );
    }
}

fn stopped(slurm: &Sandbox) {
    let folder = slurm.folder();
    // Long enough to be stopped on the way.
    let long = format!("{ADAM} --epochs {}", passes_for(slurm, ADAM, 5.0));
    succeed(folder, &format!("map --quiet {DATA} {long} --out whole"));
    let submit = |flags: &str, out: &str| {
        let line = format!(
            "submit map --profile sandbox {flags} {DATA} {long} --checkpoint-minutes 0.01 --out {out}"
        );
        (slurm.submit(&line), out.to_owned())
    };
    let jobs = [
        submit("", "stopped-1"),
        submit("--ranks 2 --nodes 2", "stopped-2"),
    ];
    let cancelled = submit("", "cancelled");
    for (job, out) in jobs.iter().chain([&cancelled]) {
        slurm.wait_for(&format!("{out} is under way"), || {
            folder.join(format!("{out}.checkpoint")).is_dir()
        });
        match out.as_str() {
            // As at the limit of its time: to the batch shell.
            "cancelled" => slurm.tool("scancel", &job.to_string()),
            _ => slurm.tool("scancel", &format!("--batch --signal=USR2 {job}")),
        };
    }
    for (job, out) in &jobs {
        slurm.finished(*job, out);
        let shown = slurm.tool("scontrol", &format!("show job {job}"));
        assert!(shown.contains("Restarts=1 "), "{shown}");
        assert_eq!(
            history(&folder.join("whole")),
            history(&folder.join(out)),
            "{out}"
        );
    }
    // Cancelled it stays, and submitted again it goes on.
    let (job, out) = cancelled;
    let shown = slurm.tool("scontrol", &format!("show job {job}"));
    assert!(
        shown.contains("JobState=CANCELLED") && !folder.join(&out).exists(),
        "{shown}"
    );
    let (job, out) = submit("", &out);
    slurm.finished(job, &out);
    assert_eq!(history(&folder.join("whole")), history(&folder.join(out)));
}

// --- sweeps ----------------------------------------------------------------------------------------------

/// A sweep of 24 folds.
fn new_sweep(slurm: &Sandbox, name: &str, per_task: usize, epochs: usize) {
    let inputs = DATA.replace(" --threads 1", "");
    let line = format!(
        "sweep new kfold --folds 24 --folds-per-task {per_task} {inputs} --epochs {epochs} --tolerance 0"
    );
    succeed(slurm.folder(), &format!("{line} --quiet --out {name}"));
}

/// The same, and what it gives when this machine does it without Slurm.
fn sweep(slurm: &Sandbox, name: &str, per_task: usize, epochs: usize) {
    let folder = slurm.folder();
    new_sweep(slurm, name, per_task, epochs);
    new_sweep(slurm, &format!("{name}-alone"), per_task, epochs);
    succeed(folder, &format!("sweep run {name}-alone --all --quiet"));
    succeed(folder, &format!("sweep collect {name}-alone --quiet"));
}

/// The sweep that jobs have collected is that of one machine, bit for bit.
fn collected_as_alone(slurm: &Sandbox, name: &str, alone: &str) {
    let folder = slurm.folder();
    slurm.wait_for(&format!("{name} is collected"), || {
        folder.join(name).join("scores.tsv").is_file()
    });
    for file in ["scores.tsv", "predictions.h5ad"] {
        let read = |sweep: &str| fs::read(folder.join(sweep).join(file)).unwrap();
        assert!(read(name) == read(alone), "{name}: {file}");
    }
}

/// The same, and every task was done once.
fn same_as_alone(slurm: &Sandbox, name: &str, alone: &str) {
    collected_as_alone(slurm, name, alone);
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
fn attempts(slurm: &Sandbox, name: &str) -> Vec<Vec<serde_json::Value>> {
    let mut tasks: Vec<Vec<serde_json::Value>> = Vec::new();
    let folder = slurm.folder().join(name).join("attempts");
    // There is none before the first begins.
    let records = folder.is_dir().then(|| program::listing(&folder));
    for path in records.into_iter().flatten() {
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let record: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let task = record["task"].as_u64().unwrap() as usize;
        tasks.resize_with(tasks.len().max(task + 1), Vec::new);
        tasks[task].push(record);
    }
    tasks
}

fn status(slurm: &Sandbox, name: &str) -> serde_json::Value {
    let said = slurm.tangram(&format!("sweep status {name} --json"));
    serde_json::from_str(&said).unwrap()
}

/// Tasks that are neither done nor in the queue.
fn missing(status: &serde_json::Value) -> Vec<u64> {
    let again = status["again"].as_object().unwrap().values();
    let lists = again.chain([&status["not_begun"]]);
    let tasks = lists.flat_map(|tasks| tasks.as_array().unwrap());
    let mut tasks: Vec<u64> = tasks.map(|task| task.as_u64().unwrap()).collect();
    tasks.sort_unstable();
    tasks
}

fn submit_sweep(slurm: &Sandbox, line: &str) -> serde_json::Value {
    serde_json::from_str(&slurm.tangram(&format!("{line} --json"))).unwrap()
}

/// Waits until all jobs of a sweep have ended.
fn jobs_ended(slurm: &Sandbox, name: &str) {
    let mut jobs = Vec::new();
    for path in program::listing(&slurm.folder().join(name).join("submissions")) {
        let record: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let arrays = record["arrays"].as_array().unwrap();
        jobs.extend(
            arrays
                .iter()
                .chain([&record["collector"]])
                .map(|job| job["job"].to_string()),
        );
    }
    let line = format!("--noheader --jobs={}", jobs.join(","));
    slurm.wait_for(&format!("jobs of {name} end"), || {
        slurm.tool("squeue", &line).trim().is_empty()
    });
}

/// MaxArraySize is 11: 24 tasks are three arrays.
fn chunked(slurm: &Sandbox) {
    sweep(slurm, "plain", 1, 60);
    let shown = slurm.tangram("sweep submit plain --profile sandbox --dry-run");
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
    let told = slurm.tangram("sweep submit plain --profile sandbox --test-only");
    assert!(told.contains("to start at"), "{told}");
    let told = slurm.fails("sweep resume plain", 2);
    assert!(told.contains("sweep submit"), "{told}");

    let submitted = submit_sweep(slurm, "sweep submit plain --profile sandbox");
    assert_eq!(
        submitted["jobs"].as_array().unwrap().len(),
        4,
        "{submitted}"
    );
    let again = submit_sweep(slurm, "sweep submit plain --profile sandbox");
    assert_eq!(
        again["jobs"].as_array().unwrap().len(),
        0,
        "all are in the queue, or done"
    );
    same_as_alone(slurm, "plain", "plain-alone");
    let nodes: std::collections::BTreeSet<String> = attempts(slurm, "plain")
        .iter()
        .flatten()
        .map(|a| a["who"]["host"].to_string())
        .collect();
    assert!(nodes.len() > 1, "{nodes:?}");
    jobs_ended(slurm, "plain");
}

/// What a disk has changed is noticed by its checksum, and done again by one more job.
fn damaged(slurm: &Sandbox) {
    let sweep = slurm.folder().join("plain");
    for file in ["scores.tsv", "predictions.h5ad"] {
        fs::remove_file(sweep.join(file)).unwrap();
    }
    let shard = sweep.join("results.zarr/predictions/c/5/0/0");
    let mut bytes = fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&shard, bytes).unwrap();
    let told = slurm.fails("sweep collect plain", 3);
    assert!(told.contains("c/5/0/0: damaged"), "{told}");
    let resumed = submit_sweep(slurm, "sweep resume plain");
    assert_eq!(resumed["tasks"], serde_json::json!([5]));
    collected_as_alone(slurm, "plain", "plain-alone");
    let done: Vec<usize> = attempts(slurm, "plain").iter().map(Vec::len).collect();
    let expected: Vec<usize> = (0..24).map(|task| 1 + usize::from(task == 5)).collect();
    assert_eq!(done, expected, "attempts of every task");
    jobs_ended(slurm, "plain");
}

/// The disk of a sweep is filled, by somebody else, while tasks are at work; when there is space again they are done.
fn full_disk(slurm: &Sandbox) {
    let folder = slurm.folder();
    let Some(disk) = slurm.disk() else {
        eprintln!("SKIPPED: a small disk cannot be mounted here; no job met a full one");
        return;
    };
    new_sweep(slurm, "disk/full", 1, 60);
    slurm.tangram("sweep submit disk/full --profile sandbox");
    slurm.wait_for("a fold is done", || {
        let all = attempts(slurm, "disk/full");
        all.iter()
            .flatten()
            .any(|a| !a["folds"].as_array().unwrap().is_empty())
    });
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
    let resumed = submit_sweep(slurm, "sweep resume disk/full");
    assert_eq!(resumed["tasks"], serde_json::json!(expected));
    same_as_alone(slurm, "disk/full", "plain-alone");
    jobs_ended(slurm, "disk/full");
}

/// Each run of a sweep over seeds is learned by two ranks on two nodes.
fn ranks_in_elements(slurm: &Sandbox) {
    let folder = slurm.folder();
    let inputs = DATA.replace(" --threads 1", "");
    let new = format!("sweep new seeds --seeds 1,2 --folds-per-task 1 {inputs} {SHORT} --quiet");
    for name in ["seeds-alone", "seeds-sandbox", "seeds-mpirun.toml"] {
        succeed(folder, &format!("{new} --out {name}"));
    }
    succeed(folder, "sweep run seeds-alone --all --quiet");
    for profile in ["sandbox", "mpirun.toml"] {
        slurm.tangram(&format!(
            "sweep submit seeds-{profile} --profile {profile} --ranks 2 --nodes 2"
        ));
    }
    for profile in ["sandbox", "mpirun.toml"] {
        let sweep = folder.join(format!("seeds-{profile}"));
        slurm.wait_for("seeds are collected", || sweep.join("scores.tsv").is_file());
        for run in program::listing(&folder.join("seeds-alone/runs")) {
            let on_two = sweep.join("runs").join(run.file_name().unwrap());
            assert_eq!(history(&run), history(&on_two), "{profile}");
            let text = fs::read_to_string(on_two.join("run.toml")).unwrap();
            assert!(text.contains("grid = \""), "{text}");
        }
    }
    for profile in ["sandbox", "mpirun.toml"] {
        jobs_ended(slurm, &format!("seeds-{profile}"));
    }
}

/// A more urgent job takes all nodes: folds that are done are kept, the others are done later.
fn preempted(slurm: &Sandbox, passes: usize) {
    // Long tasks: Slurm takes up to a quarter of a minute to see that it must preempt.
    new_sweep(slurm, "spot", 8, passes);
    slurm.profile("spot", "partition = \"batch\"", "partition = \"spot\"");
    slurm.tangram("sweep submit spot --profile spot.toml");
    let begun = |attempts: Vec<Vec<serde_json::Value>>| {
        attempts
            .iter()
            .flatten()
            .any(|a| !a["folds"].as_array().unwrap().is_empty())
    };
    slurm.wait_for("a fold is done", || begun(attempts(slurm, "spot")));
    slurm.tool(
        "sbatch",
        "--partition=urgent --nodes=3 --exclusive --time=1 --output=/dev/null --wrap=true",
    );
    same_as_alone(slurm, "spot", "faults-alone");
    let all = attempts(slurm, "spot");
    let stopped = all
        .iter()
        .flatten()
        .filter(|a| a["state"] == "stopped")
        .count();
    assert!(stopped > 0, "{all:?}");
    jobs_ended(slurm, "spot");
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

/// Where the newest attempt at the first task is.
fn newest_host(slurm: &Sandbox, name: &str) -> String {
    let all = attempts(slurm, name);
    let newest = all.first().and_then(|attempts| attempts.last());
    let host = newest.and_then(|a| a["who"]["host"].as_str());
    host.unwrap_or_default().to_owned()
}

/// A task that is at work now, and where.
fn running(slurm: &Sandbox, name: &str, but: &[usize], spared: &str) -> (usize, String) {
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
        found.set(of.find(|(task, host)| {
            host != spared && !but.contains(task) && !at_work(name, *task).is_empty()
        }));
        let value = found.take();
        found.set(value.clone());
        value.is_some()
    });
    found.take().unwrap()
}

/// Two submit at once; the controller is restarted, a process is killed, a node crashes, half of an array is cancelled; no accounting.
fn faults(slurm: &Sandbox) {
    let submit = || {
        slurm
            .program("sweep submit faults --profile sandbox")
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
    assert_eq!(
        program::listing(&slurm.folder().join("faults/submissions")).len(),
        1
    );

    running(slurm, "faults", &[], "");
    slurm.control("stop-controller");
    slurm.control("start-controller");
    let (killed, _) = running(slurm, "faults", &[], "");
    for pid in at_work("faults", killed) {
        let sent = Command::new("kill").args(["-9", &pid.to_string()]).status();
        assert!(sent.unwrap().success());
    }
    slurm.wait_for("the killed task is known to be", || {
        missing(&status(slurm, "faults")).contains(&(killed as u64))
    });
    // Not under the task that is to reach its limit.
    let spared = newest_host(slurm, "limit");
    let (crashed, node) = running(slurm, "faults", &[killed], &spared);
    let number = node.trim_start_matches("vn").to_owned();
    slurm.control(&format!("kill-node {number}"));
    let submission: serde_json::Value = serde_json::from_slice(
        &fs::read(slurm.folder().join("faults/submissions/001.json")).unwrap(),
    )
    .unwrap();
    let second = submission["arrays"][1]["job"].as_u64().unwrap();
    slurm.tool("scancel", &format!("{second}_[5-10]"));
    slurm.control(&format!("start-node {number}"));
    jobs_ended(slurm, "faults");

    let before = status(slurm, "faults");
    assert!(
        !slurm.folder().join("faults/scores.tsv").exists(),
        "an incomplete sweep is not collected"
    );
    assert!(before["failed"].as_object().unwrap().is_empty(), "{before}");
    let expected = missing(&before);
    assert!(
        expected.contains(&(killed as u64)) && expected.len() > 6,
        "{before}"
    );
    let resumed = submit_sweep(slurm, "sweep resume faults");
    let mut tasks: Vec<u64> = resumed["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|t| t.as_u64().unwrap())
        .collect();
    tasks.sort_unstable();
    assert_eq!(tasks, expected, "what is missing and nothing else");
    same_as_alone(slurm, "faults", "faults-alone");
    let all = attempts(slurm, "faults");
    assert!(
        all[killed].len() >= 2 && all[crashed].len() >= 2,
        "{killed}, {crashed}"
    );
    let nothing = submit_sweep(slurm, "sweep resume faults");
    assert_eq!(nothing["jobs"].as_array().unwrap().len(), 0);
    jobs_ended(slurm, "faults");
}

/// Passes of a training that take about so long.
fn passes_for(slurm: &Sandbox, flags: &str, seconds: f64) -> usize {
    let line =
        format!("map --quiet {DATA} {flags} --epochs 200 --tolerance 0 --out pace --force --json");
    let run: serde_json::Value = serde_json::from_str(&succeed(slurm.folder(), &line)).unwrap();
    (seconds * 200.0 / run["record"]["seconds-training"].as_f64().unwrap()) as usize
}

/// All folds of the sweep of faults in one task, longer than the minute that its job is given.
fn limited(slurm: &Sandbox, passes: usize) {
    new_sweep(slurm, "limit", 24, passes);
    slurm.tangram("sweep submit limit --profile sandbox --time 0:01:00");
}

fn limit_survived(slurm: &Sandbox) {
    jobs_ended(slurm, "limit");
    let first = &attempts(slurm, "limit")[0];
    assert!(first.iter().any(|a| a["state"] == "stopped"), "{first:?}");
    if !slurm.folder().join("limit/scores.tsv").is_file() {
        // The signal may come a minute early, before there is anything to keep.
        slurm.tangram("sweep resume limit");
    }
    same_as_alone(slurm, "limit", "faults-alone");
}
