//! What is to become of a task: from its records first, with what Slurm says as a hint.

use crate::slurm::{JobState, Memory, Sighting, TimeLimit, Word};
use crate::{ArrayRecord, Attempt, Cause, Standing, State, Submission, TaskProgress};
use std::fmt::{self, Display};

/// What is to become of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing: it is done.
    Done,
    /// It runs, or waits in the queue.
    Queued(JobState),
    /// It has not been begun, and is not in the queue.
    Fresh,
    /// It is to be submitted again.
    Again(Again),
    /// Submitted again it would fail again.
    Hopeless(String),
}

/// How a task is to be submitted again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Again {
    /// Why it is not done.
    pub why: Why,
    /// The limit of its time, if it needs more than it had.
    pub time: Option<TimeLimit>,
    /// Its memory, if it needs more than it had.
    pub memory: Option<Memory>,
    /// A node that failed under it.
    pub exclude: Option<Word>,
}

/// Why an attempt is not the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// Asked to stop, with its state kept.
    Stopped,
    /// It gave its place to another job.
    Preempted,
    /// Somebody cancelled it.
    Cancelled,
    /// Its node failed.
    NodeFailed,
    /// Its process is gone without a word.
    Killed,
    /// Its time ran out.
    OutOfTime,
    /// Its memory did not suffice.
    OutOfMemory,
    /// It said what went wrong.
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

/// More time, or memory, is given so often.
const MOST_RAISES: usize = 3;
/// More time than before.
const MORE_TIME: f64 = 2.0;
/// More memory than before.
const MORE_MEMORY: f64 = 1.5;
/// Share of its memory at which a process that is gone was killed for it.
const NEARLY_ALL: f64 = 0.8;
/// Slurm looks at limits twice a minute and may signal a minute early.
const SLACK_SECONDS: f64 = 90.0;

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
        let arrays: Vec<(&Submission, &ArrayRecord)> = arrays
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

/// How an attempt ended.
#[derive(Debug, Clone)]
struct End<'a> {
    why: Why,
    attempt: &'a Attempt,
    /// Whether it did folds that no attempt before had done.
    progress: bool,
    place: Option<Word>,
}

struct History<'a> {
    task: &'a TaskProgress,
    arrays: Vec<(&'a Submission, &'a ArrayRecord)>,
    seen: &'a [Sighting],
}

impl<'a> History<'a> {
    /// How the attempts ended, by number.
    fn ends(&self) -> Vec<End<'a>> {
        let mut most = 0;
        let mut ends = Vec::new();
        for attempt in &self.task.attempts {
            let progress = attempt.folds.len() > most;
            most = most.max(attempt.folds.len());
            let sighting = self.sighting(attempt);
            let place =
                sighting.map_or_else(|| attempt.who.process.host.clone(), |s| s.place.clone());
            if let Some(why) = self.why(attempt, sighting) {
                ends.push(End {
                    why,
                    attempt,
                    progress,
                    place: Word::try_from(place).ok(),
                });
            }
        }
        ends
    }

    /// The array of an attempt.
    fn array(&self, attempt: &Attempt) -> Option<&(&'a Submission, &'a ArrayRecord)> {
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

    /// Why an attempt is not the last; `None` if it does not count.
    fn why(&self, attempt: &Attempt, sighting: Option<&Sighting>) -> Option<Why> {
        let by_slurm = sighting.and_then(|s| match s.state {
            JobState::Preempted => Some(Why::Preempted),
            JobState::Cancelled => Some(Why::Cancelled),
            JobState::NodeFailed => Some(Why::NodeFailed),
            JobState::TimedOut => Some(Why::OutOfTime),
            JobState::OutOfMemory => Some(Why::OutOfMemory),
            _ => None,
        });
        let limit = self
            .array(attempt)
            .and_then(|(s, a)| Some((a.time?.seconds(), s.profile.lead)));
        let ran_out = limit.is_some_and(|(limit, lead)| {
            attempt.told - attempt.began
                >= limit as f64 - lead as f64 - SLACK_SECONDS.min(limit as f64 / 4.0)
        });
        match (attempt.state, attempt.cause) {
            // Its shard is gone: to be done again for that.
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

    fn nearly_all_memory(&self, attempt: &Attempt) -> bool {
        let memory = self.array(attempt).and_then(|(_, a)| a.memory);
        memory.is_some_and(|m| {
            attempt.peak_memory_bytes as f64 >= NEARLY_ALL * m.mebibytes() as f64 * 1_048_576.0
        })
    }

    /// Of a task that no attempt was made at.
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
        // What an earlier round gave stays given.
        if again.time.is_none() {
            again.time = had.and_then(|(s, a)| a.time.filter(|t| Some(*t) != s.profile.time));
        }
        if again.memory.is_none() {
            again.memory = had.and_then(|(s, a)| a.memory.filter(|m| Some(*m) != s.profile.memory));
        }
        Outlook::Again(again)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::{JobId, JobName, Kind, Profile};
    use crate::{FoldOutcome, JobRecord, SlurmJob, Who};
    use tangram_store::Process;

    /// A sweep of one task in array 7, element 0, with attempts and what Slurm says of it.
    struct Case {
        task: TaskProgress,
        submissions: Vec<Submission>,
        seen: Vec<Sighting>,
    }

    impl Case {
        fn new() -> Self {
            let profile =
                Profile::parse("time = \"0:10:00\"\nmemory = \"1000M\"\nlead = 60", "test")
                    .unwrap();
            let mut case = Self {
                task: TaskProgress {
                    task: 0,
                    standing: Standing::Waiting,
                    attempts: vec![],
                },
                submissions: vec![],
                seen: vec![],
            };
            case.submit(&profile, 7);
            case
        }

        fn submit(&mut self, profile: &Profile, job: u64) {
            let mut submission = Submission::new("test", profile);
            submission.arrays.push(ArrayRecord {
                job: JobRecord {
                    name: JobName::fresh(&Kind::Map),
                    job: Some(JobId(job)),
                },
                offset: 0,
                indices: vec![0],
                time: profile.time,
                memory: profile.memory,
            });
            self.submissions.push(submission);
        }

        fn attempt(
            mut self,
            state: State,
            cause: Option<Cause>,
            seconds: f64,
            folds: usize,
        ) -> Self {
            let array = &self.submissions.last().unwrap().arrays[0];
            let outcome = |fold| FoldOutcome {
                fold,
                passes: 1,
                loss: 0.0,
                seconds: 1.0,
                genes: vec![],
            };
            let message = cause.map(|c| format!("{c:?}"));
            self.task.attempts.push(Attempt {
                task: 0,
                task_id: "x".into(),
                number: self.task.attempts.len() as u32 + 1,
                who: Who {
                    process: Process {
                        host: "vn2".into(),
                        pid: 1,
                        ticks: None,
                    },
                    job: Some(SlurmJob {
                        id: "9".into(),
                        element: Some((array.job.job.unwrap().to_string(), "0".into())),
                        restarts: 0,
                    }),
                },
                state,
                cause,
                message,
                began: 0.0,
                told: seconds,
                peak_memory_bytes: 0,
                folds: (0..folds).map(outcome).collect(),
                shard_sha256: None,
                kept_sha256: None,
            });
            self
        }

        fn seen(mut self, state: JobState) -> Self {
            let array = &self.submissions.last().unwrap().arrays[0];
            self.seen.push(Sighting {
                name: array.job.name.clone(),
                job: array.job.job.unwrap(),
                indices: vec![0],
                state,
                place: "vn3".into(),
            });
            self
        }

        fn outlook(&self) -> Outlook {
            Outlook::of(&self.task, &self.submissions, &self.seen)
        }

        fn again(&self) -> Again {
            match self.outlook() {
                Outlook::Again(again) => again,
                other => panic!("{other:?}"),
            }
        }
    }

    use State::{Failed, Running, Stopped};

    #[test]
    fn what_is_not_the_tasks_fault_is_done_again_as_it_was() {
        let signal = Some(Cause::Signal);
        for (case, why) in [
            (Case::new().attempt(Stopped, signal, 30.0, 0), Why::Stopped),
            (
                Case::new()
                    .attempt(Stopped, signal, 30.0, 0)
                    .seen(JobState::Preempted),
                Why::Preempted,
            ),
            (
                Case::new()
                    .attempt(Stopped, signal, 30.0, 0)
                    .seen(JobState::Cancelled),
                Why::Cancelled,
            ),
            (Case::new().seen(JobState::Cancelled), Why::Cancelled),
            (Case::new().attempt(Running, None, 30.0, 0), Why::Killed),
            (
                Case::new().attempt(Failed, Some(Cause::Output), 30.0, 0),
                Why::Failed(Cause::Output),
            ),
            // With progress.
            (
                Case::new().attempt(Stopped, signal, 590.0, 2),
                Why::OutOfTime,
            ),
        ] {
            let again = case.again();
            assert_eq!(
                again,
                Again {
                    why,
                    time: None,
                    memory: None,
                    exclude: None
                }
            );
        }
        let failed = Case::new()
            .attempt(Running, None, 3.0, 0)
            .seen(JobState::NodeFailed)
            .again();
        assert_eq!(
            (failed.why, failed.exclude.unwrap().as_str()),
            (Why::NodeFailed, "vn3")
        );
    }

    #[test]
    fn what_did_not_suffice_is_raised_and_stays_so() {
        let signal = Some(Cause::Signal);
        let again = Case::new().attempt(Stopped, signal, 590.0, 0).again();
        assert_eq!(again.time.unwrap().seconds(), 1200);
        let again = Case::new()
            .attempt(Running, None, 3.0, 0)
            .seen(JobState::TimedOut)
            .again();
        assert_eq!(again.time.unwrap().seconds(), 1200);
        let mut case = Case::new().attempt(Failed, Some(Cause::Memory), 3.0, 0);
        let again = case.again();
        assert_eq!(again.memory.unwrap().mebibytes(), 1500);
        // A process that is gone, with nearly all the memory it had.
        case.task.attempts[0].state = Running;
        case.task.attempts[0].cause = None;
        case.task.attempts[0].peak_memory_bytes = 900 << 20;
        assert_eq!(case.again().why, Why::OutOfMemory);
        // In the next round it is preempted: what was given stays.
        let profile = case.submissions[0].profile.clone();
        case.submit(&profile, 8);
        case.submissions[1].arrays[0].memory = again.memory;
        let case = case.attempt(Stopped, signal, 3.0, 0);
        assert_eq!(case.again().memory, again.memory);
    }

    #[test]
    fn the_same_error_twice_is_the_end_of_it() {
        let twice = |state, cause| {
            Case::new()
                .attempt(state, cause, 3.0, 0)
                .attempt(state, cause, 3.0, 0)
                .outlook()
        };
        assert!(
            matches!(twice(Failed, Some(Cause::Input)), Outlook::Hopeless(text) if text.contains("Input"))
        );
        assert!(matches!(twice(Running, None), Outlook::Hopeless(_)));
        assert!(matches!(
            twice(Stopped, Some(Cause::Signal)),
            Outlook::Again(_)
        ));
        // Another error, or progress between, is not the same.
        let other = Case::new()
            .attempt(Failed, Some(Cause::Input), 3.0, 0)
            .attempt(Failed, Some(Cause::Output), 3.0, 0);
        assert!(matches!(other.outlook(), Outlook::Again(_)));
        let on = Case::new()
            .attempt(Running, None, 3.0, 0)
            .attempt(Running, None, 3.0, 1);
        assert!(matches!(on.outlook(), Outlook::Again(_)));
        let memory = Some(Cause::Memory);
        let case = (0..5).fold(Case::new(), |case, _| case.attempt(Failed, memory, 3.0, 0));
        assert!(matches!(case.outlook(), Outlook::Hopeless(_)));
    }

    #[test]
    fn the_queue_is_believed_when_it_says_that_a_task_lives() {
        let case = Case::new()
            .attempt(Running, None, 3.0, 0)
            .seen(JobState::Running);
        assert_eq!(case.outlook(), Outlook::Queued(JobState::Running));
        assert_eq!(Case::new().outlook(), Outlook::Fresh);
        assert_eq!(
            Case::new().seen(JobState::Waiting).outlook(),
            Outlook::Queued(JobState::Waiting)
        );
        let mut done = Case::new().seen(JobState::Running);
        done.task.standing = Standing::Done;
        assert_eq!(done.outlook(), Outlook::Done);
        // An element whose job ended before the program wrote a record.
        let mut case = Case::new().seen(JobState::Failed);
        assert_eq!(case.again().why, Why::NotBegun);
        let profile = case.submissions[0].profile.clone();
        case.submit(&profile, 8);
        assert!(matches!(
            case.seen(JobState::Failed).outlook(),
            Outlook::Hopeless(_)
        ));
    }

    #[test]
    fn a_requeued_element_is_judged_by_its_last_attempt_alone() {
        // Twice preempted and requeued by Slurm, then its node failed: the sighting is of the last.
        let case = Case::new()
            .attempt(Stopped, Some(Cause::Signal), 3.0, 0)
            .attempt(Running, None, 3.0, 0)
            .seen(JobState::NodeFailed);
        assert_eq!(case.again().why, Why::NodeFailed);
    }
}
