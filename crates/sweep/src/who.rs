//! The processes that work on a sweep, as records name them.

use crate::slurm::{Memory, TimeLimit};
use serde::{Deserialize, Serialize};
use tangram_store::Process;

/// A process that makes an attempt or a submission.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Who {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// The job of the cluster it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<OwnJob>,
}

/// A Slurm job, as its environment says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnJob {
    /// `SLURM_JOB_ID`.
    pub id: String,
    /// `SLURM_ARRAY_JOB_ID` and `SLURM_ARRAY_TASK_ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element: Option<(String, String)>,
    /// `SLURM_RESTART_COUNT`: how often it was requeued.
    pub restarts: u32,
    /// The time limit that the job asked for, as its script says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeLimit>,
    /// The memory that it asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
}

/// Variables by which the scripts of jobs tell the program what they asked for.
const ASKED_TIME: &str = "TANGRAM_JOB_TIME";
const ASKED_MEMORY: &str = "TANGRAM_JOB_MEMORY";

impl Who {
    /// This process.
    #[must_use]
    pub fn here() -> Self {
        let text = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let element = text("SLURM_ARRAY_JOB_ID").zip(text("SLURM_ARRAY_TASK_ID"));
        let restarts = text("SLURM_RESTART_COUNT").and_then(|n| n.parse().ok());
        Self {
            process: Process::here(),
            job: text("SLURM_JOB_ID").map(|id| OwnJob {
                id,
                element,
                restarts: restarts.unwrap_or(0),
                time: text(ASKED_TIME).and_then(|t| t.try_into().ok()),
                memory: text(ASKED_MEMORY).and_then(|m| m.try_into().ok()),
            }),
        }
    }

    /// Whether this process has ended for sure, since it was of an earlier round of the job that another belongs to.
    pub(crate) fn is_before(&self, other: &Self) -> bool {
        match (&self.job, &other.job) {
            (Some(own), Some(other)) => {
                let job = |j: &OwnJob| match &j.element {
                    Some((array, index)) => format!("{array}_{index}"),
                    None => j.id.clone(),
                };
                job(own) == job(other) && own.restarts < other.restarts
            }
            _ => false,
        }
    }
}
