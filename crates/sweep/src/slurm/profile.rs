//! Profiles: how jobs are submitted on a cluster.

use super::{Directive, Memory, TimeLimit, VariableName, Word};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::num::NonZeroUsize;

/// How jobs are submitted on a cluster; `configs/clusters/cpu.toml` explains every field to its user.
///
/// An absent field leaves the choice to the cluster.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Profile {
    /// The queue.
    pub partition: Option<Word>,
    /// Who pays.
    pub account: Option<Word>,
    /// Quality of service.
    pub qos: Option<Word>,
    /// Nodes set aside.
    pub reservation: Option<Word>,
    /// Features that nodes must have.
    pub constraint: Option<Word>,
    /// Nodes never to be used.
    #[serde(default)]
    pub exclude: Vec<Word>,
    /// Limit of one job.
    pub time: Option<TimeLimit>,
    /// Memory of a node.
    pub memory: Option<Memory>,
    /// Cores of a rank.
    #[serde(default = "one")]
    pub cpus: NonZeroUsize,
    /// Nodes of a job.
    #[serde(default = "one")]
    pub nodes: NonZeroUsize,
    /// Processes of one mapping.
    #[serde(default = "one")]
    pub ranks: NonZeroUsize,
    /// Generic resources of a node, GPUs among them.
    pub gres: Option<Word>,
    /// GPUs of a node, the other way to ask.
    pub gpus_per_node: Option<Word>,
    /// Modules, in the order in which they are loaded.
    #[serde(default)]
    pub modules: Vec<Word>,
    /// Lines of bash that are run as they stand, after the modules.
    #[serde(default)]
    pub setup: Vec<String>,
    /// Environment variables with their literal values.
    #[serde(default)]
    pub environment: BTreeMap<VariableName, String>,
    /// How several ranks are started.
    #[serde(default)]
    pub launcher: Launcher,
    /// More arguments of the launcher.
    #[serde(default)]
    pub launcher_arguments: Vec<String>,
    /// The image to run in.
    pub container: Option<Container>,
    /// Most tasks of a sweep at a time.
    #[serde(default = "default_throttle")]
    pub throttle: NonZeroUsize,
    /// The signal sent to a job before its time limit.
    #[serde(default)]
    pub signal: StopSignal,
    /// How long before, in seconds.
    #[serde(default = "default_lead")]
    pub lead: u64,
    /// How often a job requeues itself at most.
    #[serde(default = "default_restarts")]
    pub restarts: usize,
    /// Share of a sweep's tasks that may fail before it is stopped.
    #[serde(default = "default_failure_budget")]
    pub failure_budget: f64,
    /// Mail about the job.
    pub mail: Option<Mail>,
    /// More directives for #SBATCH.
    #[serde(default)]
    pub directives: Vec<Directive>,
    /// What differs for the job that collects a sweep.
    #[serde(default)]
    pub collect: Collect,
}

/// How the ranks of one mapping are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Launcher {
    /// Not at all: one rank only.
    #[default]
    None,
    /// By `srun --mpi=pmix`.
    SrunPmix,
    /// By the `mpirun` of Open MPI.
    Mpirun,
}

/// The signal that asks a job to stop with its state kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum StopSignal {
    /// SIGUSR2, which MPI and GPU libraries leave alone.
    #[default]
    #[serde(rename = "USR2")]
    Usr2,
    /// No signal: at its limit a job is killed.
    #[serde(rename = "none")]
    None,
}

/// An image and what runs in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Container {
    /// The image: a file, or a name that the command knows.
    pub image: String,
    /// The words before the image, such as `apptainer exec`.
    pub command: Vec<String>,
    /// What to run in it.
    #[serde(default = "default_program")]
    pub program: String,
}

/// Mail about jobs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Mail {
    /// Where to.
    pub user: Word,
    /// When.
    pub events: Vec<MailEvent>,
}

/// When mail is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MailEvent {
    /// It began.
    Begin,
    /// It ended.
    End,
    /// It failed.
    Fail,
    /// It begins again.
    Requeue,
    /// Its time ran out.
    TimeLimit,
}

impl MailEvent {
    /// As Slurm calls it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Begin => "BEGIN",
            Self::End => "END",
            Self::Fail => "FAIL",
            Self::Requeue => "REQUEUE",
            Self::TimeLimit => "TIME_LIMIT",
        }
    }
}

/// What differs for the job that collects a sweep.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Collect {
    /// The queue.
    pub partition: Option<Word>,
    /// Limit of the job.
    pub time: Option<TimeLimit>,
    /// Memory of its node.
    pub memory: Option<Memory>,
    /// Its cores.
    pub cpus: Option<NonZeroUsize>,
}

fn one() -> NonZeroUsize {
    NonZeroUsize::MIN
}

fn default_throttle() -> NonZeroUsize {
    NonZeroUsize::MIN.saturating_add(63)
}

fn default_lead() -> u64 {
    120
}

fn default_restarts() -> usize {
    100
}

fn default_failure_budget() -> f64 {
    0.1
}

fn default_program() -> String {
    "tangram".to_owned()
}

/// Slurm keeps the lead in 16 bits.
const LONGEST_LEAD: u64 = 65_535;

impl Profile {
    /// The profile of the job that collects a sweep: one process, no GPUs, and what `[collect]` says.
    #[must_use]
    pub fn for_collecting(&self) -> Self {
        let own = &self.collect;
        Self {
            partition: own.partition.clone().or_else(|| self.partition.clone()),
            // Another partition has other nodes.
            constraint: match own.partition {
                Some(_) => None,
                None => self.constraint.clone(),
            },
            time: own.time.or(self.time),
            memory: own.memory.or(self.memory),
            cpus: own.cpus.unwrap_or(self.cpus),
            nodes: one(),
            ranks: one(),
            gres: None,
            gpus_per_node: None,
            ..self.clone()
        }
    }

    /// The words before the program's own arguments: launcher, container, program.
    ///
    /// * `program`: the program outside of containers
    #[must_use]
    pub fn launch(&self, program: &str) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        let ranks = self.ranks.to_string();
        match self.launcher {
            _ if self.ranks == one() => {}
            Launcher::None => {}
            Launcher::SrunPmix => {
                // srun takes the cores of a rank from sbatch no more (since Slurm 22.05). A rank that is killed ends the others after the
                // wait, in which ranks that were asked to stop leave on their own with their own exit code.
                let cpus = format!("--cpus-per-task={}", self.cpus);
                words.extend(
                    [
                        "srun",
                        "--mpi=pmix",
                        "--export=ALL",
                        "--kill-on-bad-exit=0",
                        "--wait=30",
                    ]
                    .map(str::to_owned),
                );
                words.extend([format!("--ntasks={ranks}"), cpus]);
            }
            // Open MPI would bind a rank to one core, all its threads with it.
            Launcher::Mpirun => {
                words.extend(["mpirun", "-n", &ranks, "--bind-to", "none"].map(str::to_owned))
            }
        }
        if !words.is_empty() {
            words.extend(self.launcher_arguments.iter().cloned());
        }
        match &self.container {
            Some(container) => {
                words.extend(container.command.iter().cloned());
                words.extend([container.image.clone(), container.program.clone()]);
            }
            None => words.push(program.to_owned()),
        }
        words
    }

    /// What does not fit together: the field, and why.
    pub(super) fn contradiction(&self) -> Option<(&'static str, String)> {
        let with_nul = |texts: &[String]| texts.iter().any(|t| t.contains('\0'));
        let container = self.container.as_ref();
        let limit = self.time.map_or(u64::MAX, TimeLimit::seconds);
        if self.ranks > one() && self.launcher == Launcher::None {
            let text = format!(
                "{} ranks need a launcher: \"srun-pmix\" or \"mpirun\"",
                self.ranks
            );
            return Some(("launcher", text));
        }
        if self.ranks < self.nodes {
            let text = format!(
                "{} nodes for {} ranks: a rank is on one node",
                self.nodes, self.ranks
            );
            return Some(("nodes", text));
        }
        if self.gres.is_some() && self.gpus_per_node.is_some() {
            return Some((
                "gres",
                "ask for GPUs here or by gpus-per-node, not by both".to_owned(),
            ));
        }
        if self.signal == StopSignal::Usr2 && (self.lead > LONGEST_LEAD || self.lead >= limit) {
            let text = format!("must be less than `time` and at most {LONGEST_LEAD} seconds");
            return Some(("lead", text));
        }
        if !(0.0..=1.0).contains(&self.failure_budget) {
            return Some(("failure-budget", "is a share, from 0 to 1".to_owned()));
        }
        if self.mail.as_ref().is_some_and(|m| m.events.is_empty()) {
            return Some((
                "mail",
                "names no events: begin, end, fail, requeue, time-limit".to_owned(),
            ));
        }
        if container
            .is_some_and(|c| c.command.is_empty() || c.image.is_empty() || c.program.is_empty())
        {
            let text = "needs an image, the command before it (such as [\"apptainer\", \"exec\"]) and a program";
            return Some(("container", text.to_owned()));
        }
        let words = container.map_or(&[][..], |c| &c.command);
        let values: Vec<String> = self.environment.values().cloned().collect();
        let all = [
            ("environment", &values[..]),
            ("setup", &self.setup),
            ("launcher-arguments", &self.launcher_arguments),
            ("container", words),
        ];
        let nul = all.iter().find(|(_, texts)| with_nul(texts));
        nul.map(|(field, _)| (*field, "a value holds a NUL character".to_owned()))
    }
}
