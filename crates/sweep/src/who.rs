//! The processes that work on a sweep, as records name them.

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
}

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
            }),
        }
    }
}
