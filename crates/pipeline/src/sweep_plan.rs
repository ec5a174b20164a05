//! Which jobs the missing tasks of a sweep become: arrays of tasks with the same needs, and a job that collects the results.

use crate::error::{PipelineError, Result, Within};
use crate::submission::path_text;
use crate::sweep_jobs::{Intent, Jobs};
use crate::sweep_work::SweepWork;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tangram_sweep::slurm::{
    Chunk, Job, JobKind, JobName, LogFile, Memory, Profile, TimeLimit, Word, chunks, share_throttle,
};
use tangram_sweep::{Again, Beside, SubmittedArray, SubmittedJob};

impl Jobs {
    /// The jobs to submit; the last one collects the results.
    pub(crate) fn plan(
        &self,
        tasks: &[(usize, Option<Again>)],
        round: &Round<'_>,
        max_array_size: usize,
    ) -> Result<Vec<Planned>> {
        let mut groups: BTreeMap<(Option<TimeLimit>, Option<Memory>), Vec<usize>> = BTreeMap::new();
        for (task, again) in tasks {
            let needs = again.as_ref().map_or((None, None), |a| (a.time, a.memory));
            groups.entry(needs).or_default().push(*task);
        }
        let nodes = tasks
            .iter()
            .filter_map(|(_, again)| again.as_ref().and_then(|a| a.exclude.clone()));
        let exclude: Vec<Word> = nodes.collect();
        let logs = self.logs(round)?;
        let beside = Beside::of(round.throttle.get(), self.submissions(), self.seen());
        // Groups in a fixed order.
        let mut all: Vec<(Profile, Chunk)> = Vec::new();
        for ((time, memory), tasks) in groups {
            let mut profile = round.profile.clone();
            profile.time = time.or(profile.time);
            profile.memory = memory.or(profile.memory);
            let chunks = chunks(&tasks, max_array_size)?;
            all.extend(chunks.into_iter().map(|chunk| (profile.clone(), chunk)));
        }
        share_throttle(
            beside.throttle,
            &mut all.iter_mut().map(|(_, c)| c).collect::<Vec<_>>(),
        );
        let mut plan: Vec<Planned> = Vec::new();
        for (profile, chunk) in all {
            let after = chunk.after;
            let command = self.run_command(&profile, round.program)?;
            let mut job = self.job(JobKind::Array(chunk), command, &exclude, &logs)?;
            job.after.clone_from(&beside.after);
            plan.push(Planned {
                job,
                after,
                profile: self.profile_of_task(&profile),
            });
        }
        let profile = round.profile.for_collecting();
        let mut command = profile.launch(round.program);
        command.extend(["sweep", "collect"].map(str::to_owned));
        command.push(path_text(&self.sweep)?);
        plan.push(Planned {
            job: self.job(JobKind::Collect, command, &exclude, &logs)?,
            after: None,
            profile,
        });
        Ok(plan)
    }

    pub(crate) fn logs(&self, round: &Round<'_>) -> Result<PathBuf> {
        match round.logs {
            None => Ok(self.sweep.join(LOGS)),
            Some(logs) => std::path::absolute(logs).within(|| logs.display().to_string()),
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
            result: None,
        })
    }

    /// The profile of an array element: folds and sections are the work of one process, a run that of the profile's ranks.
    fn profile_of_task(&self, profile: &Profile) -> Profile {
        let mut profile = profile.clone();
        if self.work.is_of_one_process() {
            (profile.ranks, profile.nodes) = (NonZeroUsize::MIN, NonZeroUsize::MIN);
        }
        profile
    }

    /// The command `tangram sweep run`, to which an array element appends its task.
    fn run_command(&self, profile: &Profile, program: &str) -> Result<Vec<String>> {
        let one = Profile {
            ranks: NonZeroUsize::MIN,
            ..profile.clone()
        };
        let mut command = one.launch(program);
        command.extend(["sweep", "run"].map(str::to_owned));
        command.push(path_text(&self.sweep)?);
        match &self.work {
            SweepWork::Folds(..) | SweepWork::Registrations(_) => {
                command.push(format!("--threads={}", profile.cpus));
            }
            SweepWork::Runs(_) if profile.ranks.get() > 1 => {
                command.push(format!("--launcher={}", launcher(profile)?))
            }
            SweepWork::Runs(_) => {}
        }
        Ok(command)
    }
}

/// The folder of logs within a sweep's folder.
const LOGS: &str = "logs";

/// The value for `tangram sweep run --launcher`.
fn launcher(profile: &Profile) -> Result<String> {
    let refuse = |text: &str| Err(PipelineError::Usage(text.to_owned()));
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
    /// The program that jobs run.
    pub program: &'a str,
    /// Maximum number of tasks at a time.
    pub throttle: NonZeroUsize,
    /// What to do with the scripts.
    pub intent: Intent,
    /// The folder of logs, if not within the sweep's folder.
    pub logs: Option<&'a Path>,
}

/// A job to submit.
pub(crate) struct Planned {
    pub(crate) job: Job,
    /// Index of the job that must end first.
    pub(crate) after: Option<usize>,
    pub(crate) profile: Profile,
}

impl Planned {
    pub(crate) fn array(&self) -> Option<SubmittedArray> {
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
            throttle: chunk.throttle,
        })
    }
}
