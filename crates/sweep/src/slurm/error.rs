//! What can be wrong between a sweep and Slurm.

use std::path::PathBuf;

/// Why a job was not written or not submitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// No profile of that name.
    #[error(
        "--profile {name}: no such profile; there are {known}, and files NAME.toml in {folder}; or give the path of a file that ends in .toml"
    )]
    UnknownProfile {
        /// What was asked for.
        name: String,
        /// The ones that come with the program.
        known: String,
        /// Where a user's own are looked for.
        folder: PathBuf,
    },
    /// A profile that cannot be read.
    #[error("{path}: {reason}")]
    UnreadableProfile {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A profile with something wrong in it.
    #[error("{path}: {field}: {reason}")]
    Profile {
        /// The file, or the name of a profile that comes with the program.
        path: String,
        /// The field, or the line if the file cannot be understood.
        field: String,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A value that would mean something else in a script.
    #[error("{what} {value:?}: {reason}")]
    Unrepresentable {
        /// What it is.
        what: &'static str,
        /// The value.
        value: String,
        /// Why not, and the remedy.
        reason: String,
    },
    /// A template that does not fit its job: a defect.
    #[error("job template: {0}")]
    Template(String),
    /// One of Slurm's commands is not there.
    #[error(
        "there is no Slurm here: `{tool}` is not on the PATH. Submit from a login node of the cluster (perhaps after `module load slurm`); \
         --dry-run prints the scripts; `tangram map` and `tangram sweep run DIR --all` work without a cluster"
    )]
    NoTool {
        /// The command.
        tool: String,
    },
    /// Its commands are there, but no cluster.
    #[error(
        "there is no cluster here: `{tool}` is installed, but finds no configuration of one. Submit from a login node of the cluster; \
         --dry-run prints the scripts; `tangram map` and `tangram sweep run DIR --all` work without a cluster"
    )]
    NoCluster {
        /// The command.
        tool: String,
    },
    /// One of Slurm's commands failed.
    #[error("`{tool}` failed: {reason}")]
    Failed {
        /// The command.
        tool: String,
        /// What it says.
        reason: String,
    },
    /// Slurm refused a job; nothing was submitted.
    #[error("Slurm refused the job {name}: {reason}")]
    Refused {
        /// Name of the job.
        name: String,
        /// What Slurm says.
        reason: String,
    },
    /// It is unknown whether the job was submitted.
    #[error(
        "Slurm did not say whether it took the job {name} ({reason}), and the queue does not show it; before submitting again, look with \
         `squeue --name={name}` whether it has appeared"
    )]
    Unclear {
        /// Name of the job.
        name: String,
        /// What happened.
        reason: String,
    },
    /// Arrays are turned off.
    #[error("this cluster has no job arrays (MaxArraySize is {size})")]
    NoArrays {
        /// What Slurm says.
        size: usize,
    },
}
