//! The missing tasks of a sweep as cluster jobs: arrays of tasks with the same needs, and a job that collects the results.

use crate::error::{PipelineError, Result, Within};
use crate::listener::Listener;
use crate::sweep_plan::{Planned, Round};
use crate::sweep_work::SweepWork;
use crate::wording::count;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_store::StoreError;
use tangram_sweep::slurm::{
    Job, JobId, JobKind, JobName, Rehearsal, Scheduler, Sighting, Slurm, SlurmError, script,
};
use tangram_sweep::{
    Again, Manifest, Outlook, Submission, Submissions, SubmittedJob, TaskProgress, alive_arrays,
    progress_of, verified_progress_of,
};

/// Slurm's default MaxArraySize, assumed in a dry run without a cluster.
const USUAL_ARRAY_SIZE: usize = 1001;
/// A job that Slurm accepted without an answer appears in the queue within this time.
const APPEARS_SECONDS: f64 = 120.0;

/// A sweep, its tasks and its jobs.
#[derive(Debug)]
pub struct Jobs {
    pub(crate) sweep: PathBuf,
    manifest: Manifest,
    pub(crate) work: SweepWork,
    tasks: Vec<TaskProgress>,
    submissions: Vec<Submission>,
    /// Why not, if Slurm did not answer.
    seen: Result<Vec<Sighting>, SlurmError>,
}

/// What to do with the scripts of jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// Submit them.
    Submit,
    /// Print them.
    DryRun,
    /// Ask Slurm when the jobs would start.
    TestOnly,
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
        let sweep = std::path::absolute(sweep).within(|| sweep.display().to_string())?;
        let manifest = Manifest::read(&sweep)?;
        // Read before the records, so that a task which ends meanwhile counts as done, not as lost.
        let submissions = Submissions::of(&sweep).all()?;
        let names: Vec<JobName> = submissions
            .iter()
            .flat_map(|s| s.names().cloned())
            .collect();
        let seen = match slurm.sightings(&names) {
            Err(error) if ask == Ask::Needed => return Err(error.into()),
            seen => seen,
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
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The tasks.
    #[must_use]
    pub fn tasks(&self) -> &[TaskProgress] {
        &self.tasks
    }

    /// Earlier submissions.
    #[must_use]
    pub fn submissions(&self) -> &[Submission] {
        &self.submissions
    }

    /// Jobs that Slurm reports; empty if it does not answer.
    #[must_use]
    pub fn seen(&self) -> &[Sighting] {
        self.seen.as_deref().unwrap_or_default()
    }

    /// Why Slurm does not answer, if it does not and something was submitted.
    #[must_use]
    pub fn silence(&self) -> Option<&SlurmError> {
        self.seen.as_ref().err()
    }

    /// The outlook of each task.
    #[must_use]
    pub fn outlooks(&self) -> Vec<Outlook> {
        let seen = self.seen.as_deref().ok();
        let of = |task| Outlook::of(task, &self.submissions, seen);
        self.tasks.iter().map(of).collect()
    }

    /// Tasks that failed for good, with the reason.
    #[must_use]
    pub fn hopeless(&self) -> Vec<(usize, String)> {
        let outlooks = self.outlooks().into_iter().enumerate();
        let failed = outlooks.filter_map(|(task, outlook)| match outlook {
            Outlook::Hopeless(why) => Some((task, why)),
            _ => None,
        });
        failed.collect()
    }

    /// What is missing: tasks that were never begun, and those to do again, with what each needs. What failed for good is in `hopeless`.
    ///
    /// * `retry_failed`: also what failed for good
    /// * `budget`: share of the tasks that may have failed for good
    ///
    /// # Errors
    /// [`PipelineError::Hopeless`] if more have.
    pub fn missing(&self, retry_failed: bool, budget: f64) -> Result<Missing> {
        let outlooks = self.outlooks();
        let n_tasks = outlooks.len();
        let mut missing = Missing::default();
        for (task, outlook) in outlooks.into_iter().enumerate() {
            match outlook {
                Outlook::Done => missing.n_done += 1,
                Outlook::Fresh => missing.tasks.push((task, None)),
                Outlook::Again(again) => missing.tasks.push((task, Some(again))),
                Outlook::Queued(_) | Outlook::Held { .. } | Outlook::Unknown => {
                    missing.n_queued += 1;
                }
                Outlook::Hopeless(why) => {
                    missing.hopeless.push((task, why));
                    if retry_failed {
                        missing.tasks.push((task, None));
                    }
                }
            }
        }
        let n_failed = missing.hopeless.len();
        if n_failed as f64 > budget * n_tasks as f64 && !retry_failed {
            return Err(PipelineError::Hopeless {
                sweep: self.sweep.clone(),
                n_failed,
                n_tasks,
                budget,
            });
        }
        Ok(missing)
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
        tasks: &[(usize, Option<Again>)],
        round: &Round<'_>,
        listener: &dyn Listener,
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
                    listener.say(format_args!("{text}"))?;
                    summary.scripts.push(text);
                }
            }
            Intent::TestOnly => {
                for planned in self.plan(tasks, round, slurm.max_array_size()?)? {
                    let answer = slurm.test(&script(&planned.job, &planned.profile)?)?;
                    listener.say(format_args!("{}: {answer}", planned.job.name))?;
                    summary.answers.push(answer);
                }
            }
            Intent::Submit => {
                let plan = self.plan(tasks, round, slurm.max_array_size()?)?;
                self.submit_plan(plan, round, &slurm, listener, &mut summary)?;
            }
        }
        Ok(summary)
    }

    fn submit_plan(
        &self,
        plan: Vec<Planned>,
        round: &Round<'_>,
        slurm: &Slurm,
        listener: &dyn Listener,
        summary: &mut SubmitSummary,
    ) -> Result<()> {
        let folder = self.logs(round)?;
        let mut record = Submission::new(round.profile_name, round.profile, &folder);
        record.arrays = plan.iter().filter_map(Planned::array).collect();
        let collector = plan.iter().find(|p| p.job.kind == JobKind::Collect);
        record.collector = collector.map(|p| SubmittedJob {
            name: p.job.name.clone(),
            job: None,
        });
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
                JobKind::Array(chunk) => listener.say(format_args!(
                    "submitted job {id}: {}, {} at a time",
                    count(chunk.indices.len(), "task"),
                    chunk.throttle
                ))?,
                _ => listener.say(format_args!(
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
                    job.after
                        .extend(alive_arrays(&self.submissions, self.seen()));
                }
                _ => job.after.extend(planned.after.map(|i| ids[i])),
            }
            let id = scheduler.submit(&job.name, &script(job, &planned.profile)?)?;
            ids.push(id);
            took(job, id)?;
        }
        Ok(())
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

/// Tasks that are neither done nor in the queue.
#[derive(Debug, Default)]
pub struct Missing {
    /// Their numbers; with what it needs a task that was begun before.
    pub tasks: Vec<(usize, Option<Again>)>,
    /// Those that failed for good, with the reason.
    pub hopeless: Vec<(usize, String)>,
    /// Tasks that are done.
    pub n_done: usize,
    /// Tasks in the queue, as far as is known.
    pub n_queued: usize,
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
