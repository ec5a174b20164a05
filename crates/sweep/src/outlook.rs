//! What to do next about a task: decided from the records of its attempts, with the states that Slurm reports as hints.

mod ends;
#[cfg(test)]
mod tests;

use crate::slurm::{JobState, Memory, Sighting, TimeLimit, Word};
use crate::{Cause, Standing, State, Submission, SubmittedArray, TaskProgress};
use ends::{End, History};
use std::collections::BTreeSet;
use std::fmt::{self, Display};
use std::io::Read;
use tangram_store::open_file;

/// What to do next about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: it is done.
    Done,
    /// It runs, or waits in the queue.
    Queued(JobState),
    /// It waits in the queue until somebody releases it.
    Held {
        /// The job, as Slurm's commands take it.
        job: String,
        /// Why, in Slurm's words.
        reason: String,
    },
    /// It was submitted, and Slurm does not answer.
    Unknown,
    /// It has not been begun, and is not in the queue.
    Fresh,
    /// Submit it again.
    Again(Again),
    /// Submitted again it would fail again.
    Hopeless(String),
}

/// How to submit a task again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Why it is not done.
    pub why: Why,
    /// A longer time limit, if the last one was too short.
    pub time: Option<TimeLimit>,
    /// More memory, if it had too little.
    pub memory: Option<Memory>,
    /// A node that failed while it ran there.
    pub exclude: Option<Word>,
}

/// Why an attempt was not the last one at its task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Asked to stop, with its state kept.
    Stopped,
    /// Its job made room for a more urgent one.
    Preempted,
    /// Somebody cancelled it.
    Cancelled,
    /// Its node failed.
    NodeFailed,
    /// Its process ended without recording why.
    Killed,
    /// Its time ran out.
    OutOfTime,
    /// Its memory did not suffice.
    OutOfMemory,
    /// It ended with an error, which it recorded.
    Failed(Cause),
    /// Its job ended before the program began.
    NotBegun,
    /// Its job is not in the queue any more, and left no record.
    Gone,
}

impl Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopped => "stopped",
            Self::Preempted => "preempted",
            Self::Cancelled => "cancelled",
            Self::NodeFailed => "node failed",
            Self::Killed => "killed",
            Self::OutOfTime => "out of time",
            Self::OutOfMemory => "out of memory",
            Self::Failed(cause) => cause.name(),
            Self::NotBegun => "job ended without a record",
            Self::Gone => "gone from the queue, no record",
        })
    }
}

/// Times that a task gets more time, or more memory, without progress between.
const MOST_RAISES: usize = 3;
/// Jobs of a task that may end without a record, by what their logs say,
const MOST_WITH_WORDS: usize = 1;
/// and if their logs say nothing: then the cause is hardly the task's.
const MOST_SILENT: usize = 4;
/// Characters of a log that a message repeats.
const MOST_OF_LOG: usize = 200;
/// Factor by which the time limit is raised.
const MORE_TIME: f64 = 2.0;
/// Factor by which the memory is raised.
const MORE_MEMORY: f64 = 1.5;

impl Outlook {
    /// The outlook of a task.
    ///
    /// * `submissions`: all, by number
    /// * `seen`: what Slurm says of them; `None` if it does not answer
    #[must_use]
    pub fn of(task: &TaskProgress, submissions: &[Submission], seen: Option<&[Sighting]>) -> Self {
        if task.standing == Standing::Done {
            return Self::Done;
        }
        let silent = seen.is_none();
        let seen = seen.unwrap_or_default();
        let arrays = submissions
            .iter()
            .flat_map(|s| s.arrays.iter().map(move |a| (s, a)));
        let arrays: Vec<(&Submission, &SubmittedArray)> = arrays
            .filter(|(_, a)| a.index_of(task.task).is_some())
            .collect();
        let alive = arrays
            .iter()
            .filter_map(|(_, a)| a.sighting(task.task, seen));
        if let Some(alive) = alive.into_iter().find(|s| s.state.is_alive()) {
            return match &alive.state {
                JobState::Held => Self::Held {
                    job: arrays
                        .iter()
                        .find_map(|(_, a)| a.element(task.task, alive))
                        .unwrap_or_default(),
                    reason: alive.place.trim_matches(['(', ')']).to_owned(),
                },
                state => Self::Queued(state.clone()),
            };
        }
        let at_work = task.attempts.last().filter(|a| a.state == State::Running);
        let submitted = arrays.iter().any(|(_, a)| a.job.job.is_some());
        if let Some(last) = at_work {
            let process = &last.who.process;
            // Of this machine that is known. Of another the queue tells; without one, the record, which it touches while it is at work.
            let no_queue = silent || last.who.job.is_none();
            let elsewhere = no_queue && !process.is_of_this_machine() && !task.lost;
            if process.is_alive_here() || elsewhere {
                return Self::Queued(JobState::Running);
            }
        }
        if silent && submitted {
            return Self::Unknown;
        }
        let history = History { task, arrays, seen };
        let ends = history.ends();
        let Some(last) = ends.last() else {
            return history.not_begun();
        };
        history.next(last, &ends)
    }
}

impl History<'_> {
    /// The outlook of a task without an attempt.
    fn not_begun(&self) -> Outlook {
        let ended = self
            .arrays
            .iter()
            .filter_map(|(_, a)| a.sighting(self.task.task, self.seen));
        let states: Vec<&JobState> = ended.map(|s| &s.state).collect();
        let is_silent = |(_, a): &&(&Submission, &SubmittedArray)| {
            a.job.job.is_some() && a.sighting(self.task.task, self.seen).is_none()
        };
        let gone = self.arrays.iter().filter(is_silent).count();
        let failed = states
            .iter()
            .filter(|s| {
                matches!(
                    s,
                    JobState::Failed | JobState::TimedOut | JobState::Completed
                )
            })
            .count();
        let words = self.last_words();
        let most = words.as_ref().map_or(MOST_SILENT, |_| MOST_WITH_WORDS);
        let again = |why| {
            Outlook::Again(Again {
                why,
                time: None,
                memory: None,
                exclude: None,
            })
        };
        match (failed, states.last()) {
            _ if failed + gone > most && (failed > 0 || words.is_none()) => {
                let n = failed + gone;
                Outlook::Hopeless(match words {
                    Some(words) => {
                        format!("its job ended {n} times without a record; the log says: {words}")
                    }
                    None => format!(
                        "its job ended {n} times without a record or a word in its log; `sacct` or whoever runs the cluster may know why"
                    ),
                })
            }
            (1.., _) => again(Why::NotBegun),
            (_, Some(JobState::Cancelled)) => again(Why::Cancelled),
            (_, Some(JobState::NodeFailed)) => again(Why::NodeFailed),
            _ if gone > 0 => again(Why::Gone),
            _ => Outlook::Fresh,
        }
    }

    /// The last line of the latest log that says something, with the name of the log.
    fn last_words(&self) -> Option<String> {
        self.arrays.iter().rev().find_map(|(submission, array)| {
            let log = submission.log_of(array, self.task.task)?;
            let mut text = Vec::new();
            open_file(&log).ok()?.read_to_end(&mut text).ok()?;
            let text = String::from_utf8_lossy(&text);
            let line = text.lines().rfind(|line| !line.trim().is_empty())?;
            let line: String = line.trim().chars().take(MOST_OF_LOG).collect();
            Some(format!("{line} ({})", log.display()))
        })
    }

    fn next(&self, last: &End<'_>, ends: &[End<'_>]) -> Outlook {
        let had = self.arrays.last();
        let alike: Vec<&End<'_>> = ends
            .iter()
            .filter(|e| e.why == last.why && !e.progress)
            .collect();
        let before = ends.len().checked_sub(2).map(|i| &ends[i]);
        let same =
            before.is_some_and(|b| b.why == last.why && b.attempt.message == last.attempt.message);
        let message = || {
            last.attempt
                .message
                .clone()
                .unwrap_or_else(|| last.why.to_string())
        };
        let mut again = Again {
            why: last.why,
            time: None,
            memory: None,
            exclude: None,
        };
        match last.why {
            Why::Failed(_) if same => return Outlook::Hopeless(format!("twice: {}", message())),
            Why::Killed if same && !last.progress => {
                return Outlook::Hopeless("killed twice without progress between".to_owned());
            }
            Why::OutOfTime if last.progress => {}
            // An attempt that was requeued by its own script had what the one before it had: only what was asked for counts.
            Why::OutOfTime => match raised(alike.iter().map(|e| e.time)) {
                Ok(most) => again.time = most.map(|t| t.times(MORE_TIME)),
                Err(had) => return Outlook::Hopeless(given_up(last.why, &had)),
            },
            Why::OutOfMemory => match raised(alike.iter().map(|e| e.memory)) {
                Ok(most) => again.memory = most.map(|m| m.times(MORE_MEMORY)),
                Err(had) => return Outlook::Hopeless(given_up(last.why, &had)),
            },
            Why::NodeFailed => again.exclude.clone_from(&last.place),
            _ => {}
        }
        // What an earlier submission raised stays raised.
        if again.time.is_none() {
            again.time = had.and_then(|(s, a)| a.time.filter(|t| Some(*t) != s.profile.time));
        }
        if again.memory.is_none() {
            again.memory = had.and_then(|(s, a)| a.memory.filter(|m| Some(*m) != s.profile.memory));
        }
        Outlook::Again(again)
    }
}

/// The most that attempts asked for in vain.
///
/// # Errors
/// All that they asked for, if it was raised often enough.
fn raised<T: Ord + Copy + Display>(
    asked: impl Iterator<Item = Option<T>>,
) -> Result<Option<T>, String> {
    let asked: Vec<Option<T>> = asked.collect();
    let different: BTreeSet<T> = asked.iter().copied().flatten().collect();
    let without = asked.iter().filter(|a| a.is_none()).count();
    if different.len() <= MOST_RAISES && without <= MOST_RAISES {
        return Ok(different.last().copied());
    }
    let texts: Vec<String> = different.iter().map(ToString::to_string).collect();
    Err(texts.join(", "))
}

fn given_up(why: Why, had: &str) -> String {
    let field = if why == Why::OutOfTime {
        "time"
    } else {
        "memory"
    };
    match had {
        "" => format!("{why} again and again; the profile asks for none: set `{field}` in it"),
        had => format!(
            "{why} without progress, with each of {had}; give more with `{field}` in the profile"
        ),
    }
}
