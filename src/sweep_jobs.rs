//! The missing tasks of a sweep as cluster jobs: arrays of tasks with the same needs, and a job that collects the results.

use crate::job_flags::{Intent, path_text, this_program};
use crate::report::Report;
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::sweep_work::SweepWork;
use tangram_pipeline::wording::count;
use tangram_store::StoreError;
use tangram_sweep::slurm::{
    Job, JobId, JobKind, JobName, LogFile, Memory, Profile, Rehearsal, Scheduler, Sighting, Slurm,
    SlurmError, TimeLimit, Word, chunks, script,
};
use tangram_sweep::{
    Again, Manifest, Outlook, Submission, Submissions, SubmittedArray, SubmittedJob, TaskProgress,
    progress_of, verified_progress_of,
};

/// Slurm's default MaxArraySize, assumed in a dry run without a cluster.
const USUAL_ARRAY_SIZE: usize = 1001;
/// A job that Slurm accepted without an answer appears in the queue within this time.
const APPEARS_SECONDS: f64 = 120.0;

/// A sweep, its tasks and its jobs.
#[derive(Debug)]
pub struct Jobs {
    sweep: PathBuf,
    manifest: Manifest,
    work: SweepWork,
    tasks: Vec<TaskProgress>,
    submissions: Vec<Submission>,
    /// `None` if Slurm did not answer.
    seen: Option<Vec<Sighting>>,
}

/// Whether Slurm's answer is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Required: without it, tasks might be submitted twice.
    Needed,
    /// Optional.
    Hint,
}

impl Jobs {
    /// Reads the folder of a sweep, and asks Slurm if anything was ever submitted.
    ///
    /// # Errors
    /// If it is no sweep, a record cannot be read, or Slurm is needed and does not answer.
    pub fn read(sweep: &Path, slurm: &Slurm, ask: Ask) -> Result<Self> {
        let sweep = std::path::absolute(sweep).with_context(|| sweep.display().to_string())?;
        let manifest = Manifest::read(&sweep)?;
        // Read before the records, so that a task which ends meanwhile counts as done, not as lost.
        let submissions = Submissions::of(&sweep).all()?;
        let names: Vec<JobName> = submissions
            .iter()
            .flat_map(|s| s.names().cloned())
            .collect();
        let seen = match slurm.sightings(&names) {
            Err(error) if ask == Ask::Needed => return Err(error.into()),
            seen => seen.ok(),
        };
        // Before a submission every shard is verified; a status report does not need it.
        let tasks = match ask {
            Ask::Needed => verified_progress_of(&sweep, &manifest)?,
            Ask::Hint => progress_of(&sweep, &manifest)?,
        };
        let jobs = Self {
            sweep,
            work: SweepWork::of(&manifest)?,
            manifest,
            tasks,
            submissions,
            seen,
        };
        if ask == Ask::Needed {
            jobs.all_appeared()?;
        }
        Ok(jobs)
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tasks.
    pub fn tasks(&self) -> &[TaskProgress] {
        &self.tasks
    }

    /// Earlier submissions.
    pub fn submissions(&self) -> &[Submission] {
        &self.submissions
    }

    /// Jobs that Slurm reports; empty if it does not answer.
    pub fn seen(&self) -> &[Sighting] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// Whether the records are the only source: there is no queue to contradict a task whose record says that it runs.
    pub fn records_are_all(&self) -> bool {
        self.seen.is_none() || self.submissions.is_empty()
    }

    /// The outlook of each task.
    pub fn outlooks(&self) -> Vec<Outlook> {
        let of = |task| Outlook::of(task, &self.submissions, self.seen());
        self.tasks.iter().map(of).collect()
    }

    /// Checks that no job of an interrupted submission may still be about to appear in the queue.
    fn all_appeared(&self) -> Result<(), SlurmError> {
        let open = self
            .submissions
            .iter()
            .filter(|s| s.age() < APPEARS_SECONDS);
        let jobs = open.flat_map(|s| s.arrays.iter().map(|a| &a.job).chain(&s.collector));
        let silent = |job: &&SubmittedJob| {
            job.job.is_none() && !self.seen().iter().any(|s| s.name == job.name)
        };
        // A submission in progress is detected by its lock.
        let complete = |job: &&SubmittedJob| {
            self.submissions
                .iter()
                .any(|s| s.complete && s.names().any(|n| *n == job.name))
        };
        match jobs.filter(silent).find(complete) {
            None => Ok(()),
            Some(job) => Err(SlurmError::Unclear {
                name: job.name.to_string(),
                reason: "an earlier submission had no answer".to_owned(),
            }),
        }
    }

    /// Submits tasks.
    ///
    /// * `tasks`: each with its needs beyond the profile
    ///
    /// # Errors
    /// If another process submits, or Slurm rejects a job; jobs accepted before are recorded.
    pub fn submit(
        &self,
        tasks: &[(usize, Option<&Again>)],
        round: &Round<'_>,
        report: Report,
    ) -> Result<SubmitSummary> {
        let slurm = Slurm::default();
        let mut summary = SubmitSummary {
            tasks: tasks.iter().map(|(task, _)| *task).collect(),
            ..SubmitSummary::default()
        };
        match round.intent {
            Intent::DryRun => {
                let size = slurm.max_array_size().unwrap_or(USUAL_ARRAY_SIZE);
                let rehearsal = Rehearsal::new(size);
                self.hand_in(self.plan(tasks, round, size)?, &rehearsal, &mut |_, _| {
                    Ok(())
                })?;
                for (_, text) in rehearsal.scripts() {
                    report.say(&text)?;
                    summary.scripts.push(text);
                }
            }
            Intent::TestOnly => {
                for planned in self.plan(tasks, round, slurm.max_array_size()?)? {
                    let answer = slurm.test(&script(&planned.job, &planned.profile)?)?;
                    report.say(format_args!("{}: {answer}", planned.job.name))?;
                    summary.answers.push(answer);
                }
            }
            Intent::Submit => {
                let plan = self.plan(tasks, round, slurm.max_array_size()?)?;
                self.submit_plan(plan, round, &slurm, report, &mut summary)?;
            }
        }
        Ok(summary)
    }

    fn submit_plan(
        &self,
        plan: Vec<Planned>,
        round: &Round<'_>,
        slurm: &Slurm,
        report: Report,
        summary: &mut SubmitSummary,
    ) -> Result<()> {
        let mut record = Submission::new(round.profile_name, round.profile);
        record.arrays = plan.iter().filter_map(Planned::array).collect();
        let collector = plan.iter().find(|p| p.job.kind == JobKind::Collect);
        record.collector = collector.map(|p| SubmittedJob {
            name: p.job.name.clone(),
            job: None,
        });
        let folder = self.logs(round)?;
        std::fs::create_dir_all(&folder).map_err(|e| StoreError::Write {
            path: folder,
            reason: e.to_string(),
        })?;
        let mut open = Submissions::of(&self.sweep).begin(&self.submissions, record)?;
        let taken = self.hand_in(plan, slurm, &mut |job, id| {
            open.tell(|s| {
                let arrays = s.arrays.iter_mut().map(|a| &mut a.job);
                let records = arrays.chain(&mut s.collector);
                records
                    .filter(|r| r.name == job.name)
                    .for_each(|r| r.job = Some(id));
            })?;
            summary.jobs.push(id.0);
            match &job.kind {
                JobKind::Array(chunk) => report.say(format_args!(
                    "submitted job {id}: {}, {} at a time",
                    count(chunk.indices.len(), "task"),
                    chunk.throttle
                ))?,
                _ => report.say(format_args!(
                    "submitted job {id}, which collects when they have ended"
                ))?,
            }
            Ok(())
        });
        open.tell(|s| s.complete = true)?;
        taken?;
        self.cancel_collectors(slurm);
        Ok(())
    }

    /// Submits jobs one after the other; each job that depends on others gets their numbers.
    fn hand_in(
        &self,
        plan: Vec<Planned>,
        scheduler: &dyn Scheduler,
        took: &mut dyn FnMut(&Job, JobId) -> Result<()>,
    ) -> Result<()> {
        let mut ids: Vec<JobId> = Vec::new();
        for mut planned in plan {
            let job = &mut planned.job;
            match &job.kind {
                JobKind::Collect => {
                    job.after.clone_from(&ids);
                    job.after.extend(self.alive_arrays());
                }
                _ => job.after = planned.after.map(|i| ids[i]).into_iter().collect(),
            }
            let id = scheduler.submit(&job.name, &script(job, &planned.profile)?)?;
            ids.push(id);
            took(job, id)?;
        }
        Ok(())
    }

    /// The jobs to submit; the last one collects the results.
    fn plan(
        &self,
        tasks: &[(usize, Option<&Again>)],
        round: &Round<'_>,
        max_array_size: usize,
    ) -> Result<Vec<Planned>> {
        let mut groups: BTreeMap<(Option<TimeLimit>, Option<Memory>), Vec<usize>> = BTreeMap::new();
        for (task, again) in tasks {
            let needs = again.map_or((None, None), |a| (a.time, a.memory));
            groups.entry(needs).or_default().push(*task);
        }
        let nodes = tasks
            .iter()
            .filter_map(|(_, again)| again.and_then(|a| a.exclude.clone()));
        let exclude: Vec<Word> = nodes.collect();
        let logs = self.logs(round)?;
        // Groups in a fixed order, each with its share of the throttle.
        let n_tasks: usize = groups.values().map(Vec::len).sum();
        let throttle = round.throttle.get();
        let mut plan: Vec<Planned> = Vec::new();
        for ((time, memory), tasks) in groups {
            let mut profile = round.profile.clone();
            profile.time = time.or(profile.time);
            profile.memory = memory.or(profile.memory);
            let share = (throttle * tasks.len() / n_tasks.max(1)).max(1);
            let first = plan.len();
            for chunk in chunks(&tasks, max_array_size, share)? {
                let after = chunk.after.map(|i| first + i);
                let kind = JobKind::Array(chunk);
                let command = self.run_command(&profile)?;
                let job = self.job(kind, command, &exclude, &logs)?;
                plan.push(Planned {
                    job,
                    after,
                    profile: self.profile_of_task(&profile),
                });
            }
        }
        let profile = round.profile.for_collecting();
        let mut command = profile.launch(&this_program()?);
        command.extend(["sweep", "collect"].map(str::to_owned));
        command.push(path_text(&self.sweep)?);
        plan.push(Planned {
            job: self.job(JobKind::Collect, command, &exclude, &logs)?,
            after: None,
            profile,
        });
        Ok(plan)
    }

    fn logs(&self, round: &Round<'_>) -> Result<PathBuf> {
        match round.logs {
            None => Ok(self.sweep.join(LOGS)),
            Some(logs) => std::path::absolute(logs).with_context(|| logs.display().to_string()),
        }
    }

    fn job(
        &self,
        kind: JobKind,
        command: Vec<String>,
        exclude: &[Word],
        logs: &Path,
    ) -> Result<Job> {
        let name = JobName::fresh(&kind);
        let log = logs.join(name.as_str());
        Ok(Job {
            name,
            kind,
            command,
            after: Vec::new(),
            exclude: exclude.to_vec(),
            log: LogFile::new(&log)?,
            directory: self.sweep.clone(),
        })
    }

    /// The profile of an array element: a fold is trained by one process, a run by the profile's ranks.
    fn profile_of_task(&self, profile: &Profile) -> Profile {
        let mut profile = profile.clone();
        if matches!(self.work, SweepWork::Folds(..)) {
            (profile.ranks, profile.nodes) = (NonZeroUsize::MIN, NonZeroUsize::MIN);
        }
        profile
    }

    /// The command `tangram sweep run`, to which an array element appends its task.
    fn run_command(&self, profile: &Profile) -> Result<Vec<String>> {
        let one = Profile {
            ranks: NonZeroUsize::MIN,
            ..profile.clone()
        };
        let mut command = one.launch(&this_program()?);
        command.extend(["sweep", "run"].map(str::to_owned));
        command.push(path_text(&self.sweep)?);
        match &self.work {
            SweepWork::Folds(..) => command.push(format!("--threads={}", profile.cpus)),
            SweepWork::Runs(_) if profile.ranks.get() > 1 => {
                command.push(format!("--launcher={}", launcher(profile)?))
            }
            SweepWork::Runs(_) => {}
        }
        Ok(command)
    }

    /// Arrays of earlier submissions that are still queued or running.
    fn alive_arrays(&self) -> Vec<JobId> {
        let arrays = self.submissions.iter().flat_map(|s| &s.arrays);
        let alive = |name: &JobName| {
            self.seen()
                .iter()
                .find(|s| s.name == *name && s.state.is_alive())
        };
        arrays
            .filter_map(|a| alive(&a.job.name).map(|s| s.job))
            .collect()
    }

    /// Cancels earlier collecting jobs, which would not wait for the new tasks.
    fn cancel_collectors(&self, scheduler: &dyn Scheduler) {
        let collectors = self.submissions.iter().filter_map(|s| s.collector.as_ref());
        for collector in collectors {
            let alive = |s: &&Sighting| s.name == collector.name && s.state.is_alive();
            if let Some(seen) = self.seen().iter().find(alive) {
                // If one has already started, it finds the sweep incomplete and ends.
                let _ = scheduler.cancel(seen.job);
            }
        }
    }
}

/// The folder of logs within a sweep's folder.
const LOGS: &str = "logs";

/// The value for `tangram sweep run --launcher`.
fn launcher(profile: &Profile) -> Result<String> {
    let refuse = |text: &str| Err(PipelineError::Usage(text.to_owned()).into());
    if profile.container.is_some() {
        return refuse(
            "a sweep over runs of several ranks starts them from within the task, where a container has no launcher: leave `container` out of the profile, or take one rank",
        );
    }
    let mut words = profile.launch("");
    words.pop();
    if words.iter().any(|w| w.contains(char::is_whitespace)) {
        return refuse(
            "launcher-arguments of the profile: blanks within one cannot be passed on to the runs of a sweep",
        );
    }
    Ok(words.join(" "))
}

/// How to submit.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// The profile, with the flags' values.
    pub profile: &'a Profile,
    /// Its name as typed.
    pub profile_name: &'a str,
    /// Maximum number of tasks at a time.
    pub throttle: NonZeroUsize,
    /// What to do with the scripts.
    pub intent: Intent,
    /// The folder of logs, if not within the sweep's folder.
    pub logs: Option<&'a Path>,
}

/// A job to submit.
struct Planned {
    job: Job,
    /// Index of the job that must end first.
    after: Option<usize>,
    profile: Profile,
}

impl Planned {
    fn array(&self) -> Option<SubmittedArray> {
        let JobKind::Array(chunk) = &self.job.kind else {
            return None;
        };
        Some(SubmittedArray {
            job: SubmittedJob {
                name: self.job.name.clone(),
                job: None,
            },
            offset: chunk.offset,
            indices: chunk.indices.clone(),
            time: self.profile.time,
            memory: self.profile.memory,
        })
    }
}

/// What `--json` prints.
#[derive(Debug, Default, Serialize)]
pub struct SubmitSummary {
    /// Submitted tasks.
    pub tasks: Vec<usize>,
    /// Jobs; the last one collects.
    pub jobs: Vec<u64>,
    /// Slurm's estimates of their start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
    /// Scripts of a dry run.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub scripts: Vec<String>,
    /// Tasks that were not submitted, with the reason.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hopeless: Vec<(usize, String)>,
}
