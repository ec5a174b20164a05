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
use std::time::{Duration, Instant};

/// What every mapping here has in common.
const DATA: &str =
    "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1 --reduce exact";
const SHORT: &str = "--epochs 30 --tolerance 0 --keep none";
/// Long enough to be stopped on the way.
const LONG: &str = "--solver adam --epochs 1500 --keep top:3";

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
        (
            "--out run --ranks 2 --temperature auto",
            2,
            "--temperature auto",
        ),
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
    succeed(folder, &format!("map --quiet {DATA} {LONG} --out whole"));
    let submit = |flags: &str, out: &str| {
        let line = format!(
            "submit map --profile sandbox {flags} {DATA} {LONG} --checkpoint-minutes 0.01 --out {out}"
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
    std::thread::sleep(Duration::from_millis(100));
}
