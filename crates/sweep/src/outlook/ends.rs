//! How the attempts at a task ended.

use super::Why;
use crate::slurm::{JobState, Memory, Sighting, TimeLimit, Word};
use crate::{Attempt, Cause, State, Submission, SubmittedArray, TaskProgress};

/// Share of its memory at which a process that is gone was killed for it.
const NEARLY_ALL: f64 = 0.8;
/// Slurm looks at limits twice a minute and may signal a minute early, however short the limit is.
const SLACK_SECONDS: f64 = 90.0;

/// How an attempt ended.
#[derive(Debug, Clone)]
pub(super) struct End<'a> {
    pub why: Why,
    pub attempt: &'a Attempt,
    /// Whether it did items, or passes of their trainings, that no attempt before had done.
    pub progress: bool,
    /// The time limit and the memory that its job asked for.
    pub time: Option<TimeLimit>,
    pub memory: Option<Memory>,
    pub place: Option<Word>,
}

/// A task, the arrays that it was submitted in, and what Slurm says of them.
pub(super) struct History<'a> {
    pub task: &'a TaskProgress,
    pub arrays: Vec<(&'a Submission, &'a SubmittedArray)>,
    pub seen: &'a [Sighting],
}

impl<'a> History<'a> {
    /// How the attempts ended, by number.
    pub(super) fn ends(&self) -> Vec<End<'a>> {
        let mut most = (0, 0);
        let mut ends = Vec::new();
        for attempt in &self.task.attempts {
            let so_far = (attempt.items.len(), attempt.passes);
            let progress = so_far > most;
            most = most.max(so_far);
            let sighting = self.sighting(attempt);
            let place =
                sighting.map_or_else(|| attempt.who.process.host.clone(), |s| s.place.clone());
            if let Some(why) = self.why(attempt, sighting) {
                ends.push(End {
                    why,
                    attempt,
                    progress,
                    time: self.time(attempt),
                    memory: self.memory(attempt),
                    place: Word::try_from(place).ok(),
                });
            }
        }
        ends
    }

    /// The array of an attempt.
    fn array(&self, attempt: &Attempt) -> Option<&(&'a Submission, &'a SubmittedArray)> {
        let (array, _) = attempt.who.job.as_ref()?.element.as_ref()?;
        let id: u64 = array.parse().ok()?;
        self.arrays
            .iter()
            .find(|(_, a)| a.job.job.is_some_and(|job| job.0 == id))
    }

    /// What was seen of the job of an attempt, if no later attempt ran in it.
    fn sighting(&self, attempt: &Attempt) -> Option<&'a Sighting> {
        let (_, array) = self.array(attempt)?;
        let element = |a: &Attempt| a.who.job.as_ref().and_then(|job| job.element.clone());
        let later = self
            .task
            .attempts
            .iter()
            .any(|a| a.number > attempt.number && element(a) == element(attempt));
        if later {
            None
        } else {
            array.sighting(self.task.task, self.seen)
        }
    }

    /// Why an attempt was not the last; `None` if it does not count.
    fn why(&self, attempt: &Attempt, sighting: Option<&Sighting>) -> Option<Why> {
        let by_slurm = sighting.and_then(|s| match s.state {
            JobState::Preempted => Some(Why::Preempted),
            JobState::Cancelled => Some(Why::Cancelled),
            JobState::NodeFailed => Some(Why::NodeFailed),
            JobState::TimedOut => Some(Why::OutOfTime),
            JobState::OutOfMemory => Some(Why::OutOfMemory),
            _ => None,
        });
        let lead = self.array(attempt).map_or(0, |(s, _)| s.profile.lead);
        let ran_out = self.time(attempt).is_some_and(|limit| {
            attempt.told - attempt.began >= limit.seconds() as f64 - lead as f64 - SLACK_SECONDS
        });
        match (attempt.state, attempt.cause) {
            // Its result is gone.
            (State::Done, _) => Some(Why::Killed),
            (_, Some(Cause::Superseded)) => None,
            (State::Failed, Some(Cause::Memory)) => Some(Why::OutOfMemory),
            (State::Failed, Some(Cause::Signal)) | (State::Stopped, _) => match by_slurm {
                Some(why) => Some(why),
                None if ran_out => Some(Why::OutOfTime),
                None => Some(Why::Stopped),
            },
            (State::Failed, cause) => Some(Why::Failed(cause.unwrap_or(Cause::Unexpected))),
            (State::Running, _) => match by_slurm {
                Some(why) => Some(why),
                None if self.nearly_all_memory(attempt) => Some(Why::OutOfMemory),
                None => Some(Why::Killed),
            },
        }
    }

    /// The time limit that the job of an attempt asked for: as its record says, else as its array was submitted.
    fn time(&self, attempt: &Attempt) -> Option<TimeLimit> {
        let own = attempt.who.job.as_ref().and_then(|job| job.time);
        own.or_else(|| self.array(attempt).and_then(|(_, a)| a.time))
    }

    /// The memory that it asked for.
    fn memory(&self, attempt: &Attempt) -> Option<Memory> {
        let own = attempt.who.job.as_ref().and_then(|job| job.memory);
        own.or_else(|| self.array(attempt).and_then(|(_, a)| a.memory))
    }

    fn nearly_all_memory(&self, attempt: &Attempt) -> bool {
        self.memory(attempt).is_some_and(|m| {
            attempt.peak_memory_bytes as f64 >= NEARLY_ALL * m.mebibytes() as f64 * 1_048_576.0
        })
    }
}
