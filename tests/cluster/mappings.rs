//! Single mappings as jobs.

use super::sandbox::Sandbox;
use super::{DATA, SHORT};
use crate::program::{fail, history, succeed};
use std::fs;
use std::path::Path;

/// What would fail is refused before anything is submitted.
pub fn refusals(slurm: &Sandbox) {
    let folder = slurm.folder();
    fs::create_dir(folder.join("taken")).unwrap();
    let map = format!("submit map --profile plain.toml {DATA}");
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
    let queue = slurm.tool("squeue", "--noheader");
    assert_eq!(queue, "", "nothing was submitted");
    // Slurm's own words.
    let errors = slurm.fails(&format!("{map} --out run --memory 900G"), 6);
    assert!(errors.contains("refused"), "{errors}");
    // Without Slurm.
    fail(folder, &format!("{map} --out run"), 6);
}

/// A mapping on one node and on two has the history of one process without Slurm.
pub fn completed(slurm: &Sandbox) {
    let folder = slurm.folder();
    let submit = |profile: &str, flags: &str, out: &str| {
        slurm.submit(&format!(
            "submit map --profile {profile} {flags} {DATA} {SHORT} --out {out}"
        ))
    };
    let one = submit("plain.toml", "", "one");
    let srun = submit("plain.toml", "--ranks 2 --nodes 2", "srun");
    let mpirun = submit("mpirun.toml", "--ranks 2 --nodes 2", "mpirun");
    // A name that Slurm would read otherwise, with a line break.
    let odd = "50%j \"odd\"\nname";
    let line = format!("submit map --profile plain.toml {DATA} {SHORT}");
    let odd_job = slurm.submit_to(&line, Some(Path::new(odd)));
    succeed(folder, &format!("map --quiet {DATA} {SHORT} --out alone"));
    for (job, out) in [
        (one, "one"),
        (srun, "srun"),
        (mpirun, "mpirun"),
        (odd_job, odd),
    ] {
        slurm.finished(job, out);
        assert_eq!(
            history(&folder.join("alone")),
            history(&folder.join(out)),
            "{out}"
        );
    }
    let log = folder.join(format!("{odd}.{odd_job}.log"));
    let log = fs::read_to_string(log).unwrap();
    assert!(log.contains("epochs"), "{log}");
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

/// Stopped on the way a mapping is requeued and ends as one left alone; cancelled it stays so, and goes on when submitted again.
pub fn stopped(slurm: &Sandbox) {
    let folder = slurm.folder();
    let long = "--solver adam --keep top:3 --epochs 120";
    let submit = |flags: &str, out: &str| {
        let line = format!(
            "submit map --profile stop.toml {flags} {DATA} {long} --checkpoint-minutes 0.01 --out {out}"
        );
        slurm.submit(&line)
    };
    // One after the other: each is still under way when it is to be stopped, however slow this machine is.
    let under_way = |flags: &str, out: &str| {
        let job = submit(flags, out);
        slurm.wait_for(&format!("{out} is under way"), || {
            folder.join(format!("{out}.checkpoint")).is_dir()
        });
        job
    };
    // As at the limit of its time: to the batch shell.
    let stopped = |flags: &str, out: &'static str| {
        let job = under_way(flags, out);
        slurm.tool("scancel", &format!("--batch --signal=USR2 {job}"));
        (job, out)
    };
    let jobs = [
        stopped("", "stopped-1"),
        stopped("--ranks 2 --nodes 2", "stopped-2"),
    ];
    let cancelled = under_way("", "cancelled");
    slurm.tool("scancel", &cancelled.to_string());
    succeed(folder, &format!("map --quiet {DATA} {long} --out whole"));
    for (job, out) in jobs {
        slurm.finished(job, out);
        let shown = slurm.tool("scontrol", &format!("show job {job}"));
        assert!(shown.contains("Restarts=1 "), "{shown}");
        assert_eq!(
            history(&folder.join("whole")),
            history(&folder.join(out)),
            "{out}"
        );
    }
    slurm.ended(&[cancelled]);
    let shown = slurm.tool("scontrol", &format!("show job {cancelled}"));
    assert!(
        shown.contains("JobState=CANCELLED") && !folder.join("cancelled").exists(),
        "{shown}"
    );
    slurm.finished(submit("", "cancelled"), "cancelled");
    assert_eq!(
        history(&folder.join("whole")),
        history(&folder.join("cancelled"))
    );
}
