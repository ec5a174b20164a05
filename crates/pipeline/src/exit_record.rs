//! Records of why the ranks of an incomplete run ended. A launcher reports one exit code for all ranks, often that of a rank which another
//! one ended.
//!
//! They are files beside the checkpoints, `RUN.checkpoint/exit-rank-00003.json`. A completed run leaves none; a resumed run reports and
//! removes them. A killed rank writes none, and the report says which are missing.

use crate::run_directory::checkpoints_of;
use crate::wording::count;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// How a rank ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExitRecord {
    /// The rank.
    pub rank: usize,
    /// Of how many.
    pub n_ranks: usize,
    /// Its node.
    pub host: String,
    /// Its process.
    pub pid: u32,
    /// Its exit code; `None` if it had not ended yet when it wrote this, or panicked.
    pub code: Option<u8>,
    /// The error, or the signal.
    pub reason: String,
    /// Passes that were done.
    pub passes: usize,
    /// Seconds since 1970.
    pub unix_time: u64,
}

impl ExitRecord {
    /// A record of this process, now.
    #[must_use]
    pub fn now(rank: usize, n_ranks: usize, code: Option<u8>, reason: &str, passes: usize) -> Self {
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            rank,
            n_ranks,
            host: host.trim().to_owned(),
            pid: std::process::id(),
            code,
            reason: reason.to_owned(),
            passes,
            unix_time: now.map_or(0, |now| now.as_secs()),
        }
    }

    /// Writes the record, replacing an earlier one. A failure is ignored: the process already reports why it ends.
    pub fn write(&self, out: &Path) {
        let path = place(out, self.rank);
        let Ok(text) = serde_json::to_string_pretty(self) else {
            return;
        };
        let aside = path.with_extension("json.partial");
        let _ = path.parent().map(fs::create_dir_all);
        let _ = fs::write(&aside, text).and_then(|()| fs::rename(&aside, path));
    }
}

/// Where a rank of a run writes its record.
#[must_use]
pub fn place(out: &Path, rank: usize) -> PathBuf {
    checkpoints_of(out).join(format!("exit-rank-{rank:05}.json"))
}

/// Reads and removes the records of an earlier attempt, in the order of the ranks. No rank may be writing.
pub fn take(out: &Path) -> Vec<ExitRecord> {
    let folder = checkpoints_of(out);
    let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let ours = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with("exit-rank-"))
    };
    let mut records = Vec::new();
    for path in paths.filter(ours) {
        let text = fs::read_to_string(&path).unwrap_or_default();
        records.extend(serde_json::from_str::<ExitRecord>(&text));
        let _ = fs::remove_file(&path);
    }
    // Fails, as it should, if the folder holds anything else.
    let _ = fs::remove_dir(&folder);
    records.sort_by_key(|record| record.rank);
    records
}

/// A line of text for every reason in the records.
#[must_use]
pub fn report(records: &[ExitRecord]) -> Vec<String> {
    let others = |n: usize| match n {
        0 => String::new(),
        n => format!(" (and {} more)", count(n, "rank")),
    };
    let mut lines: Vec<String> = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let like = |other: &&ExitRecord| other.reason == record.reason;
        if records[..i].iter().any(|other| like(&other)) {
            continue;
        }
        let n = records[i + 1..].iter().filter(like).count();
        let code = record.code.map(|code| format!(", exit code {code}"));
        lines.push(format!(
            "last attempt: rank {} on {}{} ended after {}: {}{}",
            record.rank,
            record.host,
            others(n),
            count(record.passes, "pass"),
            record.reason,
            code.unwrap_or_default()
        ));
    }
    let n_ranks = records.first().map_or(0, |record| record.n_ranks);
    let has = |rank: &usize| records.iter().any(|record| record.rank == *rank);
    let missing: Vec<usize> = (0..n_ranks).filter(|rank| !has(rank)).collect();
    if let [first, more @ ..] = &missing[..] {
        lines.push(format!(
            "last attempt: rank {first}{} left no word of its end: it was killed, or its machine failed",
            others(more.len())
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_that_ended_alike_share_a_line_and_silent_ones_are_named() {
        let record = |rank: usize, reason: &str| ExitRecord {
            rank,
            n_ranks: 5,
            host: "node7".to_owned(),
            pid: 1,
            code: Some(75),
            reason: reason.to_owned(),
            passes: 40,
            unix_time: 0,
        };
        let records = [
            record(0, "SIGTERM"),
            record(2, "no room"),
            record(3, "SIGTERM"),
        ];
        let lines = report(&records);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[0],
            "last attempt: rank 0 on node7 (and 1 rank more) ended after 40 passes: SIGTERM, exit code 75"
        );
        assert!(lines[2].contains("rank 1 (and 1 rank more) left no word"));
        assert!(report(&[]).is_empty());
    }
}
