//! Outlooks of a task by its attempts and by what Slurm says.

use super::*;
use crate::slurm::{JobId, JobKind, JobName, Profile};
use crate::{Attempt, Beside, Outcome, OwnJob, SubmittedJob, Who};
use std::path::PathBuf;
use tangram_store::Process;

/// A sweep of one task in array 7, element 0, with attempts and what Slurm says of it.
struct Case {
    task: TaskProgress,
    submissions: Vec<Submission>,
    seen: Vec<Sighting>,
    logs: PathBuf,
}

impl Case {
    fn new() -> Self {
        let profile =
            Profile::parse("time = \"0:10:00\"\nmemory = \"1000M\"\nlead = 60", "test").unwrap();
        let mut case = Self {
            task: TaskProgress {
                task: 0,
                standing: Standing::Waiting,
                attempts: vec![],
                lost: false,
            },
            submissions: vec![],
            seen: vec![],
            logs: "/nowhere".into(),
        };
        case.submit(&profile, 7);
        case
    }

    fn submit(&mut self, profile: &Profile, job: u64) {
        let mut submission = Submission::new("test", profile, &self.logs);
        submission.arrays.push(SubmittedArray {
            job: SubmittedJob {
                name: JobName::fresh(&JobKind::Map),
                job: Some(JobId(job)),
            },
            offset: 0,
            indices: vec![0],
            time: profile.time,
            memory: profile.memory,
            throttle: 1,
        });
        self.submissions.push(submission);
    }

    fn attempt(mut self, state: State, cause: Option<Cause>, seconds: f64, items: usize) -> Self {
        let array = &self.submissions.last().unwrap().arrays[0];
        let outcome = |item| Outcome::new(item, 1.0, &()).unwrap();
        let message = cause.map(|c| format!("{c:?}"));
        self.task.attempts.push(Attempt {
            task: 0,
            task_id: "x".into(),
            manifest_sha256: String::new(),
            number: self.task.attempts.len() as u32 + 1,
            who: Who {
                process: Process {
                    host: "vn2".into(),
                    pid: 1,
                    ticks: None,
                },
                job: Some(OwnJob {
                    id: "9".into(),
                    element: Some((array.job.job.unwrap().to_string(), "0".into())),
                    restarts: 0,
                    time: None,
                    memory: None,
                }),
            },
            state,
            cause,
            message,
            began: 0.0,
            told: seconds,
            peak_memory_bytes: 0,
            items: (0..items).map(outcome).collect(),
            passes: 0,
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
        Outlook::of(&self.task, &self.submissions, Some(&self.seen))
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
    let mut case = Case::new();
    for round in 8..12 {
        case = case.attempt(Failed, memory, 3.0, 0);
        let Outlook::Again(again) = case.outlook() else {
            assert_eq!(round, 11, "{:?}", case.outlook());
            break;
        };
        let mut profile = case.submissions[0].profile.clone();
        profile.memory = again.memory;
        case.submit(&profile, round);
    }
    assert!(
        matches!(case.outlook(), Outlook::Hopeless(text) if text.contains("1000M, 1500M, 2250M, 3375M")),
    );
}

#[test]
fn the_queue_is_believed_when_it_says_that_a_task_lives() {
    let case = Case::new()
        .attempt(Running, None, 3.0, 0)
        .seen(JobState::Running);
    assert_eq!(case.outlook(), Outlook::Queued(JobState::Running));
    let mut never = Case::new();
    never.submissions.clear();
    assert_eq!(never.outlook(), Outlook::Fresh);
    // Submitted, and not in the queue any more.
    assert_eq!(Case::new().again().why, Why::Gone);
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
    let folder = tempfile::tempdir().unwrap();
    case.logs = folder.path().to_owned();
    let profile = case.submissions[0].profile.clone();
    for job in 8..11 {
        // Not given up while its logs say nothing.
        case.submit(&profile, job);
        case = case.seen(JobState::Failed);
        assert_eq!(case.again().why, Why::NotBegun, "{job}");
    }
    let last = &case.submissions[3];
    let log = last.log_of(&last.arrays[0], 0).unwrap();
    std::fs::write(&log, "module: command not found\n\n").unwrap();
    match case.outlook() {
        Outlook::Hopeless(text) => assert!(
            text.contains("4 times") && text.contains("module: command not found"),
            "{text}"
        ),
        other => panic!("{other:?}"),
    }
    std::fs::write(&log, "").unwrap();
    case.submit(&profile, 11);
    assert!(
        matches!(case.seen(JobState::Failed).outlook(), Outlook::Hopeless(text) if text.contains("or a word"))
    );
}

#[test]
fn when_slurm_is_silent_what_was_submitted_is_not_known() {
    let silent = |case: &Case| Outlook::of(&case.task, &case.submissions, None);
    assert_eq!(silent(&Case::new()), Outlook::Unknown);
    let stopped = Case::new().attempt(Stopped, Some(Cause::Signal), 3.0, 0);
    assert_eq!(silent(&stopped), Outlook::Unknown);
    let running = Case::new().attempt(Running, None, 3.0, 0);
    assert_eq!(silent(&running), Outlook::Queued(JobState::Running));
    let mut never = Case::new();
    never.submissions.clear();
    assert_eq!(silent(&never), Outlook::Fresh);
}

#[test]
fn what_is_held_says_why_and_by_which_name_it_is_released() {
    let mut case = Case::new().seen(JobState::Held);
    case.seen[0].place = "(launch failed requeued held)".to_owned();
    let (job, reason) = ("7_0".to_owned(), "launch failed requeued held".to_owned());
    assert_eq!(case.outlook(), Outlook::Held { job, reason });
}

#[test]
fn a_task_that_requeues_itself_was_given_no_more_time() {
    let signal = Some(Cause::Signal);
    let mut case = Case::new();
    let profile = case.submissions[0].profile.clone();
    // Five times in the same job, without progress: the limit is doubled once.
    for _ in 0..5 {
        case = case.attempt(Stopped, signal, 590.0, 0);
    }
    assert_eq!(case.again().time.unwrap().seconds(), 1200);
    // A limit shorter than Slurm's slack.
    let mut short = Case::new();
    short.submissions.clear();
    let minute = Profile {
        time: Some("0:01:00".parse().unwrap()),
        lead: 20,
        ..profile.clone()
    };
    short.submit(&minute, 7);
    let short = short.attempt(Stopped, signal, 4.0, 0);
    assert_eq!(short.again().time.unwrap().seconds(), 120);
    // Passes of a fold are progress.
    let mut case = Case::new().attempt(Stopped, signal, 590.0, 0);
    case.task.attempts[0].passes = 7;
    assert_eq!(
        (case.again().why, case.again().time),
        (Why::OutOfTime, None)
    );
    // What its own job says counts, whatever its array was submitted with.
    let mut job = case.attempt(Stopped, signal, 1190.0, 0);
    job.task.attempts[1].passes = 7;
    job.task.attempts[1].who.job.as_mut().unwrap().time = Some("0:20:00".parse().unwrap());
    assert_eq!(job.again().time.unwrap().seconds(), 2400);
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

#[test]
fn the_number_of_items_done_never_falls() {
    let one = Case::new().attempt(Stopped, Some(Cause::Signal), 3.0, 3);
    assert_eq!(one.task.items_done(), 3);
    // An attempt that could not go on from the kept state begins anew.
    let two = one.attempt(Running, None, 1.0, 1);
    assert_eq!(two.task.items_done(), 3);
    assert_eq!(two.task.seconds_of_items(), [1.0; 3]);
    assert_eq!(two.attempt(Running, None, 9.0, 4).task.items_done(), 4);
}

#[test]
fn new_arrays_have_what_the_old_ones_leave_of_the_throttle() {
    let mut case = Case::new();
    let array = &mut case.submissions[0].arrays[0];
    (array.indices, array.throttle) = ((0..9).collect(), 4);
    let see = |case: Case, state: JobState, indices: std::ops::Range<usize>| {
        let mut case = case.seen(state);
        case.seen.last_mut().unwrap().indices = indices.collect();
        case
    };
    let beside = |case: &Case, throttle| {
        let Beside { throttle, after } = Beside::of(throttle, &case.submissions, &case.seen);
        (throttle, after.iter().map(|job| job.0).collect::<Vec<_>>())
    };
    assert_eq!(beside(&case, 6), (6, vec![]), "nothing is in the queue");
    let case = see(case, JobState::Failed, 0..5);
    assert_eq!(beside(&case, 6), (6, vec![]), "what failed takes no place");
    let case = see(case, JobState::Running, 5..7);
    assert_eq!(beside(&case, 6), (4, vec![]));
    let case = see(case, JobState::Waiting, 7..9);
    assert_eq!(beside(&case, 6), (2, vec![]), "what waits will run");
    let mut case = see(case, JobState::Waiting, 0..5);
    assert_eq!(beside(&case, 6), (2, vec![]), "its own throttle holds");
    assert_eq!(
        beside(&case, 4),
        (1, vec![7]),
        "nothing is left: wait for it"
    );
    for sighting in [1, 3] {
        case.seen[sighting].name = JobName::fresh(&JobKind::Map);
    }
    assert_eq!(beside(&case, 9), (7, vec![]), "jobs of others do not count");
}
