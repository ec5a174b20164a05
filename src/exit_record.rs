//! Why each rank of a run that was not completed ended: launchers tell one exit code for all ranks, or that of a rank that another one
//! took with it.
//!
//! Beside the checkpoints, `RUN.checkpoint/exit-rank-00003.json`; a run that is completed leaves none, and one that goes on reports
//! and removes them. A rank that was killed cannot write: that its record is missing tells.

use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use tangram_pipeline::run_directory::checkpoints_of;
use tangram_pipeline::wording::count;

/// How a rank ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ExitRecord {
    rank: usize,
    n_ranks: usize,
    host: String,
    pid: u32,
    /// Its exit code; `None` if it had not ended yet when it wrote this, or panicked.
    code: Option<u8>,
    /// The error, or the signal.
    reason: String,
    /// Passes that were done.
    passes: usize,
    /// Seconds since 1970.
    unix_time: u64,
}

/// This rank, where one is to be written.
struct Own {
    path: PathBuf,
    rank: usize,
    n_ranks: usize,
}

static OWN: Mutex<Option<Own>> = Mutex::new(None);
static PASSES: AtomicUsize = AtomicUsize::new(0);
static HOOK: Once = Once::new();

fn own() -> std::sync::MutexGuard<'static, Option<Own>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From now on this rank, one of several, leaves a record unless [`completed`] is called.
pub fn begin(out: &Path, rank: usize, n_ranks: usize) {
    if n_ranks == 1 {
        return;
    }
    *own() = Some(Own {
        path: checkpoints_of(out).join(format!("exit-rank-{rank:05}.json")),
        rank,
        n_ranks,
    });
    HOOK.call_once(|| {
        // The hook set before ends all ranks.
        let end = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            ended(None, &panic.to_string().replace('\n', " "));
            end(panic);
        }));
    });
}

/// Told how many passes are done.
pub fn passed(passes: usize) {
    PASSES.store(passes, Ordering::Relaxed);
}

/// Records that this rank was asked to stop; what it does then is told by [`ended`], if whoever asked leaves it the time.
pub fn asked(reason: &str) {
    write(None, reason);
}

/// Records why this rank ends. What comes after that, such as the signal by which a launcher ends all, does not count.
///
/// * `code`: its exit code; `None` after a panic
pub fn ended(code: Option<u8>, reason: &str) {
    write(code, reason);
    *own() = None;
}

/// Writes the record, over an earlier one. What goes wrong is not told: there is an end to be told already.
fn write(code: Option<u8>, reason: &str) {
    let own = own();
    let Some(Own {
        path,
        rank,
        n_ranks,
    }) = &*own
    else {
        return;
    };
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let record = ExitRecord {
        rank: *rank,
        n_ranks: *n_ranks,
        host: host.trim().to_owned(),
        pid: std::process::id(),
        code,
        reason: reason.to_owned(),
        passes: PASSES.load(Ordering::Relaxed),
        unix_time: now.map_or(0, |now| now.as_secs()),
    };
    let Ok(text) = serde_json::to_string_pretty(&record) else {
        return;
    };
    let aside = path.with_extension("json.partial");
    let _ = path.parent().map(fs::create_dir_all);
    let _ = fs::write(&aside, text).and_then(|()| fs::rename(&aside, path));
}

/// This rank has done its part: it leaves no record.
pub fn completed() {
    if let Some(own) = own().take() {
        let _ = fs::remove_file(own.path);
    }
}

/// Takes away what an earlier attempt left; gives it in the order of the ranks. No rank may be writing.
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
    // Gone only if nothing else is in it.
    let _ = fs::remove_dir(&folder);
    records.sort_by_key(|record| record.rank);
    records
}

/// What the records say, a line for every reason.
#[must_use]
pub fn told(records: &[ExitRecord]) -> Vec<String> {
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
        let lines = told(&records);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!(
            lines[0],
            "last attempt: rank 0 on node7 (and 1 rank more) ended after 40 passes: SIGTERM, exit code 75"
        );
        assert!(lines[2].contains("rank 1 (and 1 rank more) left no word"));
        assert!(told(&[]).is_empty());
    }
}
