//! What Slurm's queue and accounting say of jobs: hints, since both forget, and either may be absent.

use super::{JobId, JobName};
use std::fmt::{self, Display};

/// A job, or an element of an array, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The submission.
    pub name: JobName,
    /// The job, of an element its array.
    pub job: JobId,
    /// Indices of the elements, of a job that is no array none.
    pub indices: Vec<usize>,
    /// What it is doing.
    pub state: JobState,
    /// Where, or why it waits.
    pub place: String,
}

/// States of jobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Waits for its turn, or to begin again.
    Waiting,
    /// Waits until somebody releases it.
    Held,
    /// Runs, or is being ended.
    Running,
    /// Ended well.
    Completed,
    /// Ended by its own doing.
    Failed,
    /// Cancelled by somebody.
    Cancelled,
    /// Gave its place to another job.
    Preempted,
    /// Its node failed.
    NodeFailed,
    /// Its time ran out.
    TimedOut,
    /// Took more memory than it asked for.
    OutOfMemory,
    /// Another state, by Slurm's name.
    Other(String),
}

impl JobState {
    /// From Slurm's name of the state.
    #[must_use]
    pub fn of(text: &str) -> Self {
        // "CANCELLED by 1000"
        let word = text
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_end_matches('+');
        match word {
            "PENDING" | "REQUEUED" | "REQUEUE_FED" | "SUSPENDED" => Self::Waiting,
            "REQUEUE_HOLD" | "SPECIAL_EXIT" => Self::Held,
            "RUNNING" | "COMPLETING" | "CONFIGURING" | "STAGE_OUT" | "SIGNALING" | "STOPPED"
            | "RESIZING" => Self::Running,
            "COMPLETED" => Self::Completed,
            "FAILED" | "BOOT_FAIL" | "LAUNCH_FAILED" => Self::Failed,
            "CANCELLED" | "REVOKED" => Self::Cancelled,
            "PREEMPTED" => Self::Preempted,
            "NODE_FAIL" => Self::NodeFailed,
            "TIMEOUT" | "DEADLINE" => Self::TimedOut,
            "OUT_OF_MEMORY" => Self::OutOfMemory,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether it may still do something.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        matches!(self, Self::Waiting | Self::Held | Self::Running)
    }
}

impl Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Held => "held",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Preempted => "preempted",
            Self::NodeFailed => "node failed",
            Self::TimedOut => "out of time",
            Self::OutOfMemory => "out of memory",
            Self::Other(word) => word,
        })
    }
}

/// Fields asked of squeue: name, array's or own job, index, state, place.
pub(super) const QUEUE_FORMAT: &str = "%j|%F|%K|%T|%R";

/// Reads what squeue prints for [`QUEUE_FORMAT`].
pub(super) fn read_queue(text: &str) -> Vec<Sighting> {
    let sighting = |line: &str| {
        let mut fields = line.splitn(5, '|');
        let mut next = || fields.next().map(str::trim);
        let name = JobName::try_from(next()?.to_owned()).ok()?;
        let (job, indices) = (next()?.parse().ok()?, indices(next()?));
        let (state, place) = (JobState::of(next()?), next()?.to_owned());
        // "(JobHeldUser)", "(launch failed requeued held)"
        let held = state == JobState::Waiting && place.to_ascii_lowercase().contains("held");
        Some(Sighting {
            name,
            job,
            indices,
            state: if held { JobState::Held } else { state },
            place,
        })
    };
    text.lines().filter_map(sighting).collect()
}

/// Fields asked of sacct.
pub(super) const ACCOUNTING_FORMAT: &str = "JobName,JobID,State,NodeList";

/// Reads what `sacct --parsable2` prints for [`ACCOUNTING_FORMAT`].
pub(super) fn read_accounting(text: &str) -> Vec<Sighting> {
    let sighting = |line: &str| {
        let fields: Vec<&str> = line.trim().split('|').collect();
        let [name, id, state, place] = fields[..] else {
            return None;
        };
        let (job, index) = id.split_once('_').unwrap_or((id, ""));
        Some(Sighting {
            name: JobName::try_from(name.to_owned()).ok()?,
            job: job.parse().ok()?,
            indices: indices(index.trim_matches(|c| c == '[' || c == ']')),
            state: JobState::of(state),
            place: place.to_owned(),
        })
    };
    text.lines().filter_map(sighting).collect()
}

/// Indices from `3`, `0-4,9`, `0-4%2`; none from `N/A`.
fn indices(text: &str) -> Vec<usize> {
    let text = text.split('%').next().unwrap_or_default();
    let part = |part: &str| -> Option<std::ops::RangeInclusive<usize>> {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.split(',').filter_map(part).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_squeue_are_read() {
        let text = "tangram-array-00ff|12|3|RUNNING|vn1\n\
                    tangram-array-00ff|12|4-6,9%2|PENDING|(JobArrayTaskLimit)\n\
                    tangram-map-01|13|N/A|COMPLETING|a|b\n\
                    someone-else|14|N/A|RUNNING|vn1\n\
                    slurm_load_jobs error\n";
        let seen = read_queue(text);
        assert_eq!(seen.len(), 3);
        assert_eq!(
            (seen[0].job.to_string(), &seen[0].indices[..]),
            ("12".to_owned(), &[3][..])
        );
        assert_eq!(seen[1].indices, [4, 5, 6, 9]);
        assert_eq!(seen[1].state, JobState::Waiting);
        assert_eq!((seen[2].indices.len(), seen[2].place.as_str()), (0, "a|b"));
        assert!(seen[2].state.is_alive());
        let held = "tangram-array-00ff|12|3|PENDING|(JobHeldUser)\n\
                    tangram-array-00ff|12|4|PENDING|(launch failed requeued held)\n\
                    tangram-array-00ff|12|5|REQUEUE_HOLD|(None)\n\
                    tangram-array-00ff|12|6|PENDING|(Priority)\n";
        let states = read_queue(held).into_iter().map(|s| s.state);
        use JobState::{Held, Waiting};
        assert_eq!(states.collect::<Vec<_>>(), [Held, Held, Held, Waiting]);
    }

    #[test]
    fn lines_of_sacct_are_read() {
        let text = "tangram-array-00ff|12_3|CANCELLED by 0|vn1\n\
                    tangram-array-00ff|12_[4-5]|PENDING|None assigned\n\
                    tangram-map-01|13|NODE_FAIL|vn2\nbatch|13.batch|FAILED|vn2\n";
        let seen = read_accounting(text);
        assert_eq!(seen.len(), 3);
        assert_eq!(
            (seen[0].state.clone(), &seen[0].indices[..]),
            (JobState::Cancelled, &[3][..])
        );
        assert_eq!(seen[1].indices, [4, 5]);
        assert_eq!(seen[2].state, JobState::NodeFailed);
    }
}
