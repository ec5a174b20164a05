//! Slurm's commands, as processes that may not answer.

use super::SlurmError;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How a command ended.
#[derive(Debug)]
pub(super) enum Answer {
    /// It said this, and that all is well.
    Well(String),
    /// It said this, and that something is not.
    Ill(String),
    /// It was ended by a signal, or did not answer in time.
    None(String),
}

/// Variables of a job: a job that is submitted from within another must not take them over.
const OF_A_JOB: [&str; 16] = [
    "SLURM_ARRAY",
    "SLURM_CPU",
    "SLURM_GPU",
    "SLURM_GTIDS",
    "SLURM_JOB",
    "SLURM_LOCALID",
    "SLURM_MEM",
    "SLURM_NNODES",
    "SLURM_NODE",
    "SLURM_NPROCS",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_RESTART_COUNT",
    "SLURM_STEP",
    "SLURM_TASK",
    "SLURM_TRES",
];

/// Variables that win over the directives of a script, except those that say who pays and where.
fn overrides(name: &str) -> bool {
    let kept = [
        "SBATCH_ACCOUNT",
        "SBATCH_PARTITION",
        "SBATCH_QOS",
        "SBATCH_RESERVATION",
        "SBATCH_CONSTRAINT",
    ];
    name.starts_with("SBATCH_") && !kept.contains(&name)
}

/// What a command says that finds no configuration of a cluster, whatever else it says.
const NO_CONFIGURATION: [&str; 2] = [
    "Could not establish a configuration source",
    "Unable to process configuration file",
];

/// Runs a command of Slurm.
///
/// * `input`: its standard input
/// * `patience`: after so long it is ended
///
/// # Errors
/// [`SlurmError::NoTool`] if it is not there, [`SlurmError::NoCluster`] if no cluster is; [`SlurmError::Failed`] if it cannot be run.
pub(super) fn run(
    tool: &Path,
    arguments: &[String],
    input: &str,
    patience: Duration,
) -> Result<Answer, SlurmError> {
    let failed = |reason: String| SlurmError::Failed {
        tool: tool.display().to_string(),
        reason,
    };
    let mut command = Command::new(tool);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // Times and lists in one form, whatever the user likes.
    command
        .env("SLURM_TIME_FORMAT", "standard")
        .env_remove("SQUEUE_FORMAT")
        .env_remove("SQUEUE_FORMAT2");
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if overrides(&text) || OF_A_JOB.iter().any(|begin| text.starts_with(begin)) {
            command.env_remove(&name);
        }
    }
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(SlurmError::NoTool {
                tool: tool.display().to_string(),
            });
        }
        Err(e) => return Err(failed(e.to_string())),
    };
    // Threads, since a command that hangs would block this one; they are not joined.
    let (mut stdin, text) = (child.stdin.take(), input.to_owned());
    thread::spawn(move || stdin.as_mut().map(|s| s.write_all(text.as_bytes())));
    let (told, hear) = mpsc::channel();
    fn read(mut from: impl Read + Send + 'static, which: usize, to: mpsc::Sender<(usize, String)>) {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What was read before an error is worth as much.
            let _ = from.read_to_end(&mut bytes);
            let _ = to.send((which, String::from_utf8_lossy(&bytes).into_owned()));
        });
    }
    if let (Some(out), Some(err)) = (child.stdout.take(), child.stderr.take()) {
        read(out, 0, told.clone());
        read(err, 1, told);
    }
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(|e| failed(e.to_string()))? {
            break status;
        }
        if begun.elapsed() > patience {
            // Gone meanwhile, or a zombie to be reaped: both are well.
            let _ = child.kill();
            let _ = child.wait();
            return Ok(Answer::None(format!(
                "no answer within {} s",
                patience.as_secs_f64()
            )));
        }
        thread::sleep(Duration::from_millis(10));
    };
    let mut texts = [String::new(), String::new()];
    for _ in 0..2 {
        // A grandchild may hold the pipe of a command that has ended.
        if let Ok((which, text)) = hear.recv_timeout(Duration::from_secs(2)) {
            texts[which] = text;
        }
    }
    let [out, errors] = texts;
    if let Some(signal) = status.signal() {
        return Ok(Answer::None(format!("ended by signal {signal}")));
    }
    if !status.success() && NO_CONFIGURATION.iter().any(|said| errors.contains(said)) {
        return Err(SlurmError::NoCluster {
            tool: tool.display().to_string(),
        });
    }
    Ok(if status.success() {
        // sbatch --test-only answers on standard error.
        Answer::Well(if out.trim().is_empty() { errors } else { out })
    } else {
        Answer::Ill(
            format!("{} {}", errors.trim(), out.trim())
                .trim()
                .to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_cluster_is_told_from_a_command_that_fails() {
        let says = |text: &str| {
            let script = format!("echo 'sbatch: error: x' >&2; echo '{text}' >&2; exit 1");
            let arguments = ["-c".to_owned(), script];
            run(Path::new("sh"), &arguments, "", Duration::from_secs(60))
        };
        // As Slurm 22 and 24 say it, without and with a slurm.conf that is missing.
        for text in [
            "sbatch: fatal: Could not establish a configuration source",
            "sbatch: fatal: Unable to process configuration file",
        ] {
            let told = says(text).unwrap_err().to_string();
            assert!(told.starts_with("there is no cluster here: `sh`"), "{told}");
        }
        let other = says("sbatch: error: Batch job submission failed");
        assert!(matches!(other, Ok(Answer::Ill(_))), "{other:?}");
    }
}
