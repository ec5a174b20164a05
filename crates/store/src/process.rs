//! Identifiers of processes that stay unique when a process number is used again.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs;
use std::str::FromStr;

/// A process of some machine. Written `PID-TICKS@HOST`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Process {
    /// Name of the machine.
    pub host: String,
    /// Number of the process there.
    pub pid: u32,
    /// When it began, in clock ticks since the machine was started: process numbers are used again. Known on Linux only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ticks: Option<u64>,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let pid = std::process::id();
        Self {
            host: host(),
            pid,
            ticks: ticks(pid),
        }
    }

    /// Whether it was started on this machine.
    #[must_use]
    pub fn is_of_this_machine(&self) -> bool {
        self.host == host()
    }

    /// Whether it is another process that runs on this machine now.
    #[must_use]
    pub fn is_alive_here(&self) -> bool {
        self.is_of_this_machine()
            && self.pid != std::process::id()
            && self.ticks.is_some()
            && ticks(self.pid) == self.ticks
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.pid, self.ticks.unwrap_or(0), self.host)
    }
}

/// A text that names no process.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no process")]
pub struct ParseProcessError(String);

impl FromStr for Process {
    type Err = ParseProcessError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (numbers, host) = text.split_once('@')?;
            let (pid, ticks) = numbers.split_once('-')?;
            let ticks: u64 = ticks.parse().ok()?;
            Some(Self {
                host: host.to_owned(),
                pid: pid.parse().ok()?,
                ticks: (ticks > 0).then_some(ticks),
            })
        };
        parse().ok_or_else(|| ParseProcessError(text.to_owned()))
    }
}

/// When a process of this machine began (field 22 of proc_pid_stat(5)); `None` if there is none of this number.
fn ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the name of its program, in brackets, with any character in it.
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace();
    // A zombie has ended; its number stays in use until its parent has waited for it.
    if matches!(fields.next(), Some("Z" | "X")) {
        return None;
    }
    fields.nth(18)?.parse().ok()
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
        let (pid, own) = (other.id(), Process::here());
        let process = |ticks: Option<u64>| Process {
            pid,
            ticks,
            ..own.clone()
        };
        let began = ticks(pid);
        let earlier = began.map(|t| t - 1);
        let seen = [began, earlier, None].map(|ticks| process(ticks).is_alive_here());
        other.kill().unwrap();
        // Also before its parent has waited for it.
        std::thread::sleep(std::time::Duration::from_millis(100));
        let zombie = process(began).is_alive_here();
        other.wait().unwrap();
        assert_eq!(seen, [began.is_some(), false, false]);
        assert!(!zombie && !process(began).is_alive_here() && !own.is_alive_here());
    }

    #[test]
    fn a_process_comes_back_from_its_name() {
        let own = Process::here();
        assert_eq!(own.to_string().parse(), Ok(own));
        assert!("7".parse::<Process>().is_err() && "a-1@b".parse::<Process>().is_err());
    }
}
