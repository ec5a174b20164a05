//! How far a sweep is, and what can be done about the rest.

use crate::registrations_collect::SECTIONS_TABLE;
use crate::sweep_jobs::Jobs;
use crate::wording::count;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_store::Process;
use tangram_sweep::slurm::JobState;
use tangram_sweep::{Outlook, alive_arrays};

/// Maximum number of tasks named in a line.
const MOST_NAMED: usize = 5;

/// How far a sweep is.
#[derive(Debug, Clone, Serialize)]
pub struct SweepStatus {
    sweep: PathBuf,
    /// The word for an item.
    #[serde(skip)]
    noun: &'static str,
    collected: bool,
    n_tasks: usize,
    n_folds: usize,
    /// Folds that some attempt has done; those of a process that was killed may have to be done again.
    folds_done: usize,
    done: usize,
    running: Vec<usize>,
    waiting: Vec<usize>,
    /// Those that somebody must release.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    held: BTreeMap<usize, Held>,
    /// Those that were submitted, while Slurm does not answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unknown: Vec<usize>,
    not_begun: Vec<usize>,
    /// To be submitted again, by the cause of their end.
    again: BTreeMap<String, Vec<usize>>,
    /// Processes that ended without recording why, by task.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    lost: BTreeMap<usize, Process>,
    /// What would fail again, with its message.
    failed: BTreeMap<usize, String>,
    /// Jobs that Slurm shows.
    jobs: Vec<u64>,
    /// Why Slurm does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    slurm_is_silent: Option<String>,
    /// Median over the folds that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_per_fold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<f64>,
    /// The failure budget of the last submission; `None`: nothing was submitted.
    #[serde(skip)]
    budget: Option<f64>,
}

/// A task that waits until somebody releases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Held {
    job: String,
    reason: String,
}

impl SweepStatus {
    /// The status of a sweep.
    #[must_use]
    pub fn of(sweep: &Path, jobs: &Jobs) -> Self {
        let (manifest, tasks) = (jobs.manifest(), jobs.tasks());
        let mut status = Self {
            sweep: sweep.to_owned(),
            noun: jobs.work.counted(),
            collected: ["scores.tsv", SECTIONS_TABLE]
                .iter()
                .any(|table| sweep.join(table).is_file()),
            n_tasks: tasks.len(),
            n_folds: manifest.n_items(),
            folds_done: 0,
            done: 0,
            running: vec![],
            waiting: vec![],
            held: BTreeMap::new(),
            unknown: vec![],
            not_begun: vec![],
            again: BTreeMap::new(),
            lost: BTreeMap::new(),
            failed: BTreeMap::new(),
            jobs: vec![],
            slurm_is_silent: jobs.silence().map(ToString::to_string),
            seconds_per_fold: None,
            seconds_left: None,
            budget: jobs.submissions().last().map(|s| s.profile.failure_budget),
        };
        let mut seconds: Vec<f64> = Vec::new();
        for (task, outlook) in tasks.iter().zip(jobs.outlooks()) {
            let number = task.task;
            status.folds_done += match outlook {
                Outlook::Done => manifest.items_of(number).len(),
                _ => task.items_done(),
            };
            seconds.extend(task.seconds_of_items());
            let at_work = matches!(outlook, Outlook::Queued(_) | Outlook::Unknown);
            if let Some(last) = task.attempts.last().filter(|_| task.lost && !at_work) {
                status.lost.insert(number, last.who.process.clone());
            }
            match outlook {
                Outlook::Done => status.done += 1,
                Outlook::Queued(JobState::Running) => status.running.push(number),
                Outlook::Queued(_) => status.waiting.push(number),
                Outlook::Held { job, reason } => {
                    status.held.insert(number, Held { job, reason });
                }
                Outlook::Unknown => status.unknown.push(number),
                Outlook::Fresh => status.not_begun.push(number),
                Outlook::Again(again) => {
                    let tasks = status.again.entry(again.why.to_string()).or_default();
                    tasks.push(number);
                }
                Outlook::Hopeless(why) => {
                    status.failed.insert(number, why);
                }
            }
        }
        let alive = alive_arrays(jobs.submissions(), jobs.seen());
        status.jobs = alive.into_iter().map(|job| job.0).collect();
        seconds.sort_unstable_by(f64::total_cmp);
        status.seconds_per_fold = seconds.get(seconds.len() / 2).copied();
        let left = status.n_folds - status.folds_done.min(status.n_folds);
        let at_once = status.running.len().max(1);
        status.seconds_left = status
            .seconds_per_fold
            .map(|s| s * left as f64 / at_once as f64);
        status
    }

    /// Whether something runs or waits, or may do so.
    #[must_use]
    pub fn is_at_work(&self) -> bool {
        let may_be = [&self.running, &self.waiting, &self.unknown];
        may_be.iter().any(|tasks| !tasks.is_empty())
    }

    /// The status for people.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{}: {} of {} done, {} of {}",
            self.sweep.display(),
            self.done,
            count(self.n_tasks, "task"),
            self.folds_done,
            count(self.n_folds, self.noun),
        )];
        if let Some(reason) = &self.slurm_is_silent {
            lines.push(format!(
                "  Slurm does not answer, so that what waits or runs is not known: {}",
                reason.split_whitespace().collect::<Vec<_>>().join(" ")
            ));
        }
        let mut row = |what: &str, tasks: &[usize]| {
            if !tasks.is_empty() {
                let names = named(tasks);
                lines.push(format!("  {what:<32}{:>6}   {names}", tasks.len()));
            }
        };
        row("running", &self.running);
        row("waiting", &self.waiting);
        let held: Vec<usize> = self.held.keys().copied().collect();
        row("held", &held);
        row("submitted, state unknown", &self.unknown);
        row("not submitted", &self.not_begun);
        for (why, tasks) in &self.again {
            row(why, tasks);
        }
        let failed: Vec<usize> = self.failed.keys().copied().collect();
        row("failed for good", &failed);
        for (task, Held { job, reason }) in self.held.iter().take(MOST_NAMED) {
            lines.push(format!(
                "    task {task} is held ({reason}): `scontrol release {job}` lets it go on"
            ));
        }
        for (task, Process { host, pid, .. }) in self.lost.iter().take(MOST_NAMED) {
            lines.push(format!(
                "    task {task}: its process {pid} on {host} is gone and left no word; what it kept is not lost"
            ));
        }
        for (task, why) in self.failed.iter().take(MOST_NAMED) {
            lines.push(format!("    task {task}: {why}"));
        }
        if let (Some(each), Some(left)) = (self.seconds_per_fold, self.seconds_left)
            && self.done < self.n_tasks
        {
            let when = match self.running.len() {
                0 => "of work left".to_owned(),
                n => format!("left with {} at a time", count(n, "task")),
            };
            lines.push(format!(
                "  {each:.1} s a {}; about {left:.0} s {when}",
                self.noun
            ));
        }
        lines.extend(self.remedy().map(|remedy| format!("  {remedy}")));
        lines
    }

    /// What would be of use now.
    fn remedy(&self) -> Option<String> {
        if self.done == self.n_tasks {
            let what = match self.noun {
                "section" => "the sections",
                _ => "predictions and scores",
            };
            let text = || format!("`tangram sweep collect` gathers {what}");
            return (!self.collected).then(text);
        }
        if self.slurm_is_silent.is_some() {
            return None;
        }
        let missing = self.again.values().map(Vec::len).sum::<usize>() + self.not_begun.len();
        let Some(budget) = self.budget else {
            let text = "`tangram sweep run --all` does what is missing here, `tangram sweep submit` on a cluster";
            return (missing > 0).then(|| text.to_owned());
        };
        let here = match self.is_at_work() || !self.held.is_empty() {
            true => "",
            false => ", `tangram sweep run --all` does it here",
        };
        match (missing, self.failed.len()) {
            (0, 0) => None,
            (_, failed) if missing == 0 || failed as f64 > budget * self.n_tasks as f64 => {
                Some(format!(
                    "when the cause of what failed is mended: `tangram sweep resume --retry-failed` submits it again{here}"
                ))
            }
            _ => Some(format!(
                "`tangram sweep resume` submits what is missing{here}"
            )),
        }
    }
}

/// The first of some tasks.
fn named(tasks: &[usize]) -> String {
    let mut names: Vec<String> = tasks
        .iter()
        .take(MOST_NAMED)
        .map(ToString::to_string)
        .collect();
    if tasks.len() > MOST_NAMED {
        names.push("…".to_owned());
    }
    let noun = if tasks.len() == 1 { "task" } else { "tasks" };
    format!("{noun} {}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status() -> SweepStatus {
        SweepStatus {
            sweep: "loo".into(),
            noun: "fold",
            collected: false,
            n_tasks: 20,
            n_folds: 20,
            folds_done: 0,
            done: 0,
            running: vec![],
            waiting: vec![],
            held: BTreeMap::new(),
            unknown: vec![],
            not_begun: vec![],
            again: BTreeMap::new(),
            lost: BTreeMap::new(),
            failed: BTreeMap::new(),
            jobs: vec![],
            slurm_is_silent: None,
            seconds_per_fold: None,
            seconds_left: None,
            budget: Some(0.1),
        }
    }

    #[test]
    fn only_what_would_be_of_use_is_recommended() {
        let with = |change: &dyn Fn(&mut SweepStatus)| {
            let mut status = status();
            change(&mut status);
            status.lines().last().unwrap().trim().to_owned()
        };
        let stopped = || BTreeMap::from([("stopped".to_owned(), vec![3])]);
        let failed = |n: usize| (0..n).map(|t| (t, "no".to_owned())).collect();
        let told = with(&|s| (s.budget, s.not_begun) = (None, vec![1]));
        assert!(
            told.contains("run --all") && told.contains("sweep submit"),
            "{told}"
        );
        let told = with(&|s| (s.again, s.running) = (stopped(), vec![1]));
        assert_eq!(told, "`tangram sweep resume` submits what is missing");
        let told = with(&|s| s.again = stopped());
        assert!(told.ends_with("does it here"), "{told}");
        // Everything runs, waits or is held.
        let told = with(&|s| s.waiting = vec![1, 2]);
        assert!(told.starts_with("waiting"), "{told}");
        let told = with(&|s| {
            let (job, reason) = ("7_1".to_owned(), "JobHeldUser".to_owned());
            s.held = BTreeMap::from([(4, Held { job, reason })]);
        });
        assert_eq!(
            told,
            "task 4 is held (JobHeldUser): `scontrol release 7_1` lets it go on"
        );
        // Too many that failed, or nothing else: `resume` alone would refuse, or find nothing.
        for n in [1, 3] {
            let told = with(&|s| s.failed = failed(n));
            assert!(told.contains("resume --retry-failed"), "{told}");
        }
        let told = with(&|s| (s.failed, s.again) = (failed(1), stopped()));
        assert!(told.starts_with("`tangram sweep resume` submits"), "{told}");
        let told = with(&|s| (s.failed, s.again) = (failed(3), stopped()));
        assert!(told.contains("--retry-failed"), "{told}");
        // Without an answer nothing can be said.
        let silent = with(&|s| {
            s.slurm_is_silent = Some("`squeue` failed".to_owned());
            s.unknown = vec![0, 1];
        });
        assert!(silent.starts_with("submitted, state unknown"), "{silent}");
        let told = with(&|s| s.done = 20);
        assert!(told.contains("sweep collect"), "{told}");
    }
}
