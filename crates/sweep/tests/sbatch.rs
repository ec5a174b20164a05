//! Submission when sbatch does not say, or does not know, whether it submitted.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

mod executable;

use executable::write_script;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;
use tangram_sweep::slurm::{
    JobId, JobKind, JobName, JobState, Patience, Scheduler, Slurm, SlurmError,
};
use tempfile::TempDir;

/// Commands of a cluster: `sbatch` counts its calls, `squeue` shows what stands in `queue`.
fn cluster(sbatch: &str, more: &[(&str, &str)]) -> (TempDir, Slurm) {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, body: &str| {
        let path = folder.path().join(name);
        let here = folder.path().display();
        write_script(&path, &format!("HERE='{here}'\n{body}"));
    };
    let take = "name=$(sed -n 's/^#SBATCH --job-name=//p'); echo x >>\"$HERE/calls\"\n\
                submit() { echo \"$name|77|N/A|PENDING|(Priority)\" >>\"$HERE/queue\"; }";
    write("sbatch", &format!("{take}\n{sbatch}"));
    write("squeue", "cat \"$HERE/queue\" 2>/dev/null; exit 0");
    let disabled = "echo 'Slurm accounting storage is disabled' >&2; exit 1";
    write("sacct", disabled);
    for (name, body) in more {
        write(name, body);
    }
    let slurm = Slurm {
        commands: Some(folder.path().to_owned()),
        patience: Patience {
            answer: Duration::from_secs(2),
            appear: Duration::from_secs(3),
        },
    };
    (folder, slurm)
}

fn submit(slurm: &Slurm, folder: &Path) -> Result<JobId, SlurmError> {
    let name = JobName::fresh(&JobKind::Map);
    let script = format!("#!/bin/bash\n#SBATCH --job-name={name}\ntrue\n");
    let result = slurm.submit(&name, &script);
    let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
    assert_eq!(calls.lines().count(), 1, "once, whatever happens");
    result
}

#[test]
fn a_job_that_was_taken_in_silence_is_found_by_its_name() {
    let silent = [
        "submit; echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1",
        "submit; sleep 30",
        "submit; kill -9 $$",
        "submit; exit 1",
        "submit; echo 'Submitted batch job'",
        "(sleep 1; submit) >/dev/null 2>&1 & echo 'sbatch: error: Unable to contact slurm controller' >&2; exit 1",
    ];
    // At the same time: most of each is waiting.
    thread::scope(|scope| {
        for sbatch in silent {
            scope.spawn(move || {
                let (folder, slurm) = cluster(sbatch, &[]);
                let found = submit(&slurm, folder.path());
                assert_eq!(found.unwrap(), JobId(77), "{sbatch}");
            });
        }
    });
}

#[test]
fn a_job_that_accounting_alone_remembers_is_found() {
    let sbatch =
        "echo \"$name|77|COMPLETED|vn1\" >>\"$HERE/past\"; echo 'Connection refused' >&2; exit 1";
    let (folder, slurm) = cluster(sbatch, &[("sacct", "cat \"$HERE/past\"")]);
    assert_eq!(submit(&slurm, folder.path()).unwrap(), JobId(77));
}

#[test]
fn a_job_that_nobody_saw_is_not_submitted_again() {
    let unclear = |sbatch: &str, more: &[(&str, &str)]| {
        let (folder, slurm) = cluster(sbatch, more);
        let error = submit(&slurm, folder.path()).unwrap_err();
        assert!(matches!(error, SlurmError::Unclear { .. }), "{error}");
        let told = error.to_string();
        assert!(told.contains("squeue --name=tangram-map-"), "{told}");
    };
    let silent: [(&str, &[(&str, &str)]); 4] = [
        ("sleep 30", &[]),
        ("echo 'Socket timed out' >&2; exit 1", &[]),
        ("echo done", &[]),
        ("sleep 30", &[("squeue", "exit 1")]),
    ];
    // At the same time: most of each is waiting.
    thread::scope(|scope| {
        for (sbatch, more) in silent {
            scope.spawn(move || unclear(sbatch, more));
        }
    });
}

#[test]
fn a_refusal_is_told_in_slurms_words() {
    let sbatch = "echo 'sbatch: error: Batch job submission failed: Invalid partition name specified' >&2; exit 1";
    let (folder, slurm) = cluster(sbatch, &[]);
    match submit(&slurm, folder.path()).unwrap_err() {
        SlurmError::Refused { reason, .. } => assert!(reason.contains("Invalid partition")),
        other => panic!("{other}"),
    }
}

#[test]
fn numbers_are_read_with_clusters_and_warnings_around_them() {
    let said = [
        "echo 77",
        "echo '77;cluster2'",
        "echo 'sbatch: warning: can be ignored' >&2; echo 77",
        "printf 'a notice of the site\\n77\\n'",
    ];
    for text in said {
        let (folder, slurm) = cluster(text, &[]);
        assert_eq!(submit(&slurm, folder.path()).unwrap(), JobId(77), "{text}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let slurm = Slurm {
        commands: Some(folder.path().to_owned()),
        ..Slurm::default()
    };
    let error = slurm.max_array_size().unwrap_err().to_string();
    assert!(
        error.contains("scontrol") && error.contains("there is no Slurm here"),
        "{error}"
    );
}

#[test]
fn limits_and_states_are_asked_for() {
    let scontrol =
        "printf 'Configuration data\\nMaxArraySize            = 1001\\nMaxDBDMsgs = 1\\n'";
    let (_folder, slurm) = cluster("echo 1", &[("scontrol", scontrol)]);
    assert_eq!(slurm.max_array_size().unwrap(), 1001);
    let name = JobName::fresh(&JobKind::Map);
    let squeue = format!("echo '{name}|5|2|RUNNING|vn1'");
    let (_folder, slurm) = cluster("echo 1", &[("squeue", &squeue)]);
    let seen = slurm.sightings(&[name]).unwrap();
    assert_eq!((seen.len(), &seen[0].state), (1, &JobState::Running));
    assert!(slurm.sightings(&[]).unwrap().is_empty());
}
