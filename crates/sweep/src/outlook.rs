//! What to do next about a task: decided from the records of its attempts, with the states that Slurm reports as hints.

mod ends;
#[cfg(test)]
mod tests;

use crate::slurm::{JobState, Memory, Sighting, TimeLimit, Word};
use crate::{Cause, Standing, State, Submission, SubmittedArray, TaskProgress};
use ends::{End, History};
use std::fmt::{self, Display};

/// What to do next about a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: it is done.
    Done,
    /// It runs, or waits in the queue.
    Queued(JobState),
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
        })
    }
}

/// Times that a task gets more time, or more memory, without progress between.
const MOST_RAISES: usize = 3;
/// Factor by which the time limit is raised.
const MORE_TIME: f64 = 2.0;
/// Factor by which the memory is raised.
const MORE_MEMORY: f64 = 1.5;

impl Outlook {
    /// The outlook of a task.
    ///
    /// * `submissions`: all, by number
    /// * `seen`: what Slurm says of them; may be empty
    #[must_use]
    pub fn of(task: &TaskProgress, submissions: &[Submission], seen: &[Sighting]) -> Self {
        if task.standing == Standing::Done {
            return Self::Done;
        }
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
            return Self::Queued(alive.state.clone());
        }
        // Without Slurm, on this machine.
        let here = task.attempts.last().filter(|a| a.state == State::Running);
        if here.is_some_and(|a| a.who.process.is_alive_here()) {
            return Self::Queued(JobState::Running);
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
        let failed = states
            .iter()
            .filter(|s| {
                matches!(
                    s,
                    JobState::Failed | JobState::TimedOut | JobState::Completed
                )
            })
            .count();
        let again = |why| {
            Outlook::Again(Again {
                why,
                time: None,
                memory: None,
                exclude: None,
            })
        };
        match (failed, states.last()) {
            (2.., _) => Outlook::Hopeless(
                "its job ended twice without a record; the logs of the sweep say why".to_owned(),
            ),
            (1, _) => again(Why::NotBegun),
            (_, Some(JobState::Cancelled)) => again(Why::Cancelled),
            (_, Some(JobState::NodeFailed)) => again(Why::NodeFailed),
            _ => Outlook::Fresh,
        }
    }

    fn next(&self, last: &End<'_>, ends: &[End<'_>]) -> Outlook {
        let had = self.arrays.last();
        let raised = ends
            .iter()
            .filter(|e| e.why == last.why && !e.progress)
            .count();
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
                return Outlook::Hopeless("killed twice without a fold done between".to_owned());
            }
            Why::OutOfTime if last.progress => {}
            Why::OutOfTime | Why::OutOfMemory if raised > MOST_RAISES => {
                return Outlook::Hopeless(format!(
                    "{} {raised} times, with more each time",
                    last.why
                ));
            }
            Why::OutOfTime => {
                again.time = had.and_then(|(_, a)| a.time).map(|t| t.times(MORE_TIME))
            }
            Why::OutOfMemory => {
                again.memory = had
                    .and_then(|(_, a)| a.memory)
                    .map(|m| m.times(MORE_MEMORY))
            }
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
