//! Whoever takes jobs.

use super::queue::{ACCOUNTING_FORMAT, QUEUE_FORMAT, read_accounting, read_queue};
use super::tool::{self, Answer};
use super::{JobId, JobName, Sighting, SlurmError};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Accepts jobs and reports their states.
pub trait Scheduler {
    /// Submits a script, once.
    ///
    /// # Errors
    /// [`SlurmError::Refused`] if the job was refused; [`SlurmError::Unclear`] if it is unknown whether it was accepted.
    fn submit(&self, name: &JobName, script: &str) -> Result<JobId, SlurmError>;

    /// When a script would start; nothing is submitted.
    ///
    /// # Errors
    /// [`SlurmError::Failed`] if it never would.
    fn test(&self, script: &str) -> Result<String, SlurmError>;

    /// One more than the largest index of an array.
    ///
    /// # Errors
    /// If it does not say.
    fn max_array_size(&self) -> Result<usize, SlurmError>;

    /// States of submitted jobs, as hints.
    ///
    /// # Errors
    /// If neither the queue nor the accounting answers.
    fn sightings(&self, names: &[JobName]) -> Result<Vec<Sighting>, SlurmError>;

    /// Cancels a job, or all elements of an array.
    ///
    /// # Errors
    /// If it refuses.
    fn cancel(&self, job: JobId) -> Result<(), SlurmError>;
}

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a command to answer.
    pub answer: Duration,
    /// For a job to appear in the queue whose submission was not confirmed.
    pub appear: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // sbatch itself tries again for a while when the controller is busy.
            answer: Duration::from_secs(120),
            appear: Duration::from_secs(40),
        }
    }
}

/// Slurm, by the commands that users have.
#[derive(Debug, Clone, Default)]
pub struct Slurm {
    /// The folder of its commands; without one they are looked for on the PATH.
    pub commands: Option<PathBuf>,
    /// How long to wait for it.
    pub patience: Patience,
}

/// What sbatch says when the controller did not answer: the job may have been taken all the same.
const NO_ANSWER: [&str; 6] = [
    "timed out",
    "Unable to contact",
    "Zero Bytes were transmitted",
    "Connection",
    "communication",
    "Communication",
];

/// What sbatch says before the controller's refusal.
const REFUSED: &str = "Batch job submission failed";

impl Slurm {
    fn ask(&self, tool: &str, arguments: &[&str], input: &str) -> Result<String, SlurmError> {
        let arguments: Vec<String> = arguments.iter().map(|&a| a.to_owned()).collect();
        match self.run(tool, &arguments, input)? {
            Answer::Well(text) => Ok(text),
            Answer::Ill(reason) | Answer::None(reason) => Err(SlurmError::Failed {
                tool: tool.to_owned(),
                reason,
            }),
        }
    }

    fn run(&self, tool: &str, arguments: &[String], input: &str) -> Result<Answer, SlurmError> {
        let folder = self.commands.as_deref();
        let path = folder.map_or_else(|| PathBuf::from(tool), |f| f.join(tool));
        tool::run(&path, arguments, input, self.patience.answer)
    }

    /// The job of a submission, if queue or accounting show it.
    fn find(&self, name: &JobName) -> Option<JobId> {
        let sightings = self.sightings(std::slice::from_ref(name)).ok()?;
        sightings.first().map(|s| s.job)
    }

    /// Looks for a job until it appears, as long as patience lasts.
    fn wait_for(&self, name: &JobName) -> Option<JobId> {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(500);
        loop {
            match self.find(name) {
                Some(job) => return Some(job),
                None if begun.elapsed() >= self.patience.appear => return None,
                None => thread::sleep(pause),
            }
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
}

impl Scheduler for Slurm {
    fn submit(&self, name: &JobName, script: &str) -> Result<JobId, SlurmError> {
        let arguments = ["--parsable".to_owned()];
        let reason = match self.run("sbatch", &arguments, script)? {
            Answer::Well(text) => {
                // JOB, or JOB;CLUSTER; warnings may stand before it.
                let last = text.trim().lines().last().unwrap_or_default();
                if let Ok(job) = last.split(';').next().unwrap_or_default().trim().parse() {
                    return Ok(job);
                }
                format!("sbatch said {text:?}")
            }
            Answer::Ill(reason) => {
                let unanswered = NO_ANSWER.iter().any(|text| reason.contains(text));
                if !unanswered && (reason.contains(REFUSED) || reason.contains("sbatch: error")) {
                    let name = name.to_string();
                    return Err(SlurmError::Refused { name, reason });
                }
                reason
            }
            Answer::None(reason) => reason,
        };
        // Submitted a second time, it might run twice.
        self.wait_for(name).ok_or_else(|| SlurmError::Unclear {
            name: name.to_string(),
            reason,
        })
    }

    fn test(&self, script: &str) -> Result<String, SlurmError> {
        let text = self.ask("sbatch", &["--test-only"], script)?;
        let lines = text
            .lines()
            .map(|l| l.trim().trim_start_matches("sbatch: "));
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }

    fn max_array_size(&self) -> Result<usize, SlurmError> {
        let text = self.ask("scontrol", &["show", "config"], "")?;
        let size = text.lines().find_map(|line| {
            let (key, value) = line.split_once('=')?;
            (key.trim() == "MaxArraySize").then(|| value.trim().parse().ok())?
        });
        size.ok_or_else(|| SlurmError::Failed {
            tool: "scontrol show config".to_owned(),
            reason: "it does not say MaxArraySize".to_owned(),
        })
    }

    fn sightings(&self, names: &[JobName]) -> Result<Vec<Sighting>, SlurmError> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<&str> = names.iter().map(JobName::as_str).collect();
        let name = format!("--name={}", names.join(","));
        let format = format!("--format={QUEUE_FORMAT}");
        let queue = self.ask(
            "squeue",
            &["--noheader", "--array", "--states=all", &name, &format],
            "",
        );
        let mut sightings = match queue {
            Ok(text) => read_queue(&text),
            // Without jobs in it, the queue is no less of an answer.
            Err(error) => return Err(error),
        };
        // Many clusters have no accounting, or none for users: then there is only the queue.
        let format = format!("--format={ACCOUNTING_FORMAT}");
        let since = "--starttime=now-30days";
        let accounting = self.ask(
            "sacct",
            &[
                "--noheader",
                "--parsable2",
                "--allocations",
                "--array",
                since,
                &name,
                &format,
            ],
            "",
        );
        for seen in accounting
            .map(|text| read_accounting(&text))
            .unwrap_or_default()
        {
            let known = sightings
                .iter()
                .any(|s| s.job == seen.job && seen.indices.iter().all(|i| s.indices.contains(i)));
            if !known {
                sightings.push(seen);
            }
        }
        Ok(sightings)
    }

    fn cancel(&self, job: JobId) -> Result<(), SlurmError> {
        self.ask("scancel", &[&job.to_string()], "").map(drop)
    }
}
