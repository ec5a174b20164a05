//! Flags of every command that submits jobs.

use crate::values::at_least_one;
use anyhow::{Context, Result};
use clap::Args;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use tangram_pipeline::submission::path_text;
use tangram_pipeline::sweep_jobs::Intent;
use tangram_sweep::slurm::{LogFile, Memory, Profile, TimeLimit};

const JOB: &str = "The job";

/// Requirements of a job.
#[derive(Debug, Args)]
pub struct JobFlags {
    /// How jobs are submitted on this cluster: cpu, gpu, sandbox, the NAME of a file
    /// ~/.config/tangram/clusters/NAME.toml, or a file that ends in .toml; configs/clusters/cpu.toml explains the fields
    #[arg(long, value_name = "PROFILE", help_heading = JOB)]
    pub profile: String,
    /// MPI ranks of one mapping [default: by the profile]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = JOB)]
    ranks: Option<usize>,
    /// Nodes for them [default: by the profile]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = JOB)]
    nodes: Option<usize>,
    /// Time limit of a job, [DAYS-]HOURS:MINUTES:SECONDS [default: by the profile]
    #[arg(long, value_name = "TIME", help_heading = JOB)]
    time: Option<TimeLimit>,
    /// Memory of a node, such as 16G [default: by the profile]
    #[arg(long, value_name = "SIZE", help_heading = JOB)]
    memory: Option<Memory>,
    /// The folder for the logs of jobs [default: beside what is written]
    #[arg(long, value_name = "DIR", help_heading = JOB)]
    pub logs: Option<PathBuf>,
    /// Print the scripts and submit nothing
    #[arg(long, help_heading = JOB)]
    dry_run: bool,
    /// Ask Slurm when the jobs would start, and submit nothing
    #[arg(long, conflicts_with = "dry_run", help_heading = JOB)]
    test_only: bool,
}

impl JobFlags {
    /// What to do with the scripts.
    pub fn intent(&self) -> Intent {
        match (self.dry_run, self.test_only) {
            (true, _) => Intent::DryRun,
            (_, true) => Intent::TestOnly,
            _ => Intent::Submit,
        }
    }

    /// The profile, with the flags' values in place of its own.
    ///
    /// # Errors
    /// If it cannot be read, or its values contradict each other.
    pub fn profile(&self) -> Result<Profile> {
        let mut profile = Profile::find(&self.profile)?;
        let number = |flag: Option<usize>| flag.and_then(NonZeroUsize::new);
        profile.ranks = number(self.ranks).unwrap_or(profile.ranks);
        profile.nodes = number(self.nodes).unwrap_or(profile.nodes);
        profile.time = self.time.or(profile.time);
        profile.memory = self.memory.or(profile.memory);
        Ok(profile.checked(&self.profile)?)
    }

    /// The log of a job: beside a file or folder, or in the folder of `--logs`, which is created.
    ///
    /// * `beside`: absolute
    ///
    /// # Errors
    /// If Slurm cannot write there.
    pub fn log(&self, beside: &Path) -> Result<LogFile> {
        let Some(folder) = &self.logs else {
            return Ok(LogFile::new(beside)?);
        };
        let folder = std::path::absolute(folder).with_context(|| folder.display().to_string())?;
        let name = beside.file_name().unwrap_or_default();
        let log = LogFile::new(&folder.join(name))?;
        if self.intent() == Intent::Submit {
            // Slurm creates no folders: a job whose log cannot be opened fails without any message.
            std::fs::create_dir_all(&folder).map_err(|e| tangram_store::StoreError::Write {
                path: folder.clone(),
                reason: e.to_string(),
            })?;
        }
        Ok(log)
    }
}

/// The path of this program, which jobs run.
///
/// # Errors
/// If its path is not UTF-8.
pub fn this_program() -> Result<String> {
    let path = std::env::current_exe().context("where this program is")?;
    Ok(path_text(&path)?)
}
