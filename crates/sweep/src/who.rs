//! The processes that work on a sweep, as records name them.

use serde::{Deserialize, Serialize};
use std::fs;

/// A process that makes an attempt or a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Who {
    /// Name of the machine.
    pub host: String,
    /// Number of the process there.
    pub pid: u32,
    /// When it began, in clock ticks since the machine booted (Linux only): the numbers of processes are used again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
    /// The job of the cluster it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<OwnJob>,
}

/// The Slurm job that a process belongs to, as its environment says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnJob {
    /// `SLURM_JOB_ID`.
    pub id: String,
    /// `SLURM_ARRAY_JOB_ID` and `SLURM_ARRAY_TASK_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<(String, String)>,
    /// `SLURM_RESTART_COUNT`: how often it was requeued.
    pub restarts: u32,
}

impl Who {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let element = text("SLURM_ARRAY_JOB_ID").zip(text("SLURM_ARRAY_TASK_ID"));
        let restarts = text("SLURM_RESTART_COUNT").and_then(|n| n.parse().ok());
        let pid = std::process::id();
        Self {
            host: host(),
            pid,
            ticks: ticks(pid),
            job: text("SLURM_JOB_ID").map(|id| OwnJob {
                id,
                element,
                restarts: restarts.unwrap_or(0),
            }),
        }
    }

    /// Whether it is of this machine.
    pub(crate) fn is_here(&self) -> bool {
        self.host == host()
    }

    /// Whether it is another process that runs on this machine now.
    pub(crate) fn is_alive_here(&self) -> bool {
        self.is_here()
            && self.pid != std::process::id()
            && self.ticks.is_some()
            && ticks(self.pid) == self.ticks
    }
}

/// When a process began (field 22 of proc_pid_stat(5)).
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name of its program, in brackets, with any character in it.
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown".to_owned(),
        name => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn another_process_with_the_number_of_one_that_ended_is_not_taken_for_it() {
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let (pid, own) = (other.id(), Who::here());
        let who = |ticks: Option<u64>| Who {
            pid,
            ticks,
            ..own.clone()
        };
        let began = ticks(pid);
        let earlier = began.map(|t| t - 1);
        let seen = [began, earlier, None].map(|ticks| who(ticks).is_alive_here());
        other.kill().unwrap();
        other.wait().unwrap();
        assert_eq!(seen, [began.is_some(), false, false]);
        assert!(!who(began).is_alive_here() && !own.is_alive_here());
    }
}
