//! Submissions on paper: what `--dry-run` shows.

use super::{JobId, JobName, Scheduler, Sighting, SlurmError};
use std::sync::Mutex;

/// Takes scripts, submits nothing, and counts jobs from 1.
#[derive(Debug)]
pub struct Rehearsal {
    max_array_size: usize,
    scripts: Mutex<Vec<(JobName, String)>>,
}

impl Rehearsal {
    /// Of a cluster with such a MaxArraySize.
    #[must_use]
    pub fn new(max_array_size: usize) -> Self {
        Self {
            max_array_size,
            scripts: Mutex::new(Vec::new()),
        }
    }

    /// The scripts it was given, in their order.
    #[must_use]
    pub fn scripts(self) -> Vec<(JobName, String)> {
        self.scripts.into_inner().unwrap_or_default()
    }
}

impl Scheduler for Rehearsal {
    fn submit(&self, name: &JobName, script: &str) -> Result<JobId, SlurmError> {
        let mut scripts = self.scripts.lock().expect("nobody panics while holding it");
        scripts.push((name.clone(), script.to_owned()));
        Ok(JobId(scripts.len() as u64))
    }

    fn test(&self, _: &str) -> Result<String, SlurmError> {
        Ok("not submitted".to_owned())
    }

    fn max_array_size(&self) -> Result<usize, SlurmError> {
        Ok(self.max_array_size)
    }

    fn sightings(&self, _: &[JobName]) -> Result<Vec<Sighting>, SlurmError> {
        Ok(Vec::new())
    }

    fn cancel(&self, _: JobId) -> Result<(), SlurmError> {
        Ok(())
    }
}
