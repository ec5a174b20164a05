//! Logs of jobs: those of tasks that are done are put into few files.

use crate::{Submission, SweepError};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Puts the logs of tasks that are done into one more file, `done-001.log`, each under a line with its name, and removes them. Gives the
/// file and the number of logs; `None` if there were fewer than two.
///
/// * `is_done`: by the number of a task
/// * `settled`: logs that were written to since are left for another time
///
/// # Errors
/// [`SweepError::Write`]; no log is lost.
pub fn gather_logs(
    submissions: &[Submission],
    is_done: &dyn Fn(usize) -> bool,
    settled: Duration,
) -> Result<Option<(PathBuf, usize)>, SweepError> {
    // By folder, then by task.
    let mut logs: BTreeMap<(&Path, usize), Vec<PathBuf>> = BTreeMap::new();
    for submission in submissions {
        for array in &submission.arrays {
            for task in array.indices.iter().map(|index| array.offset + index) {
                let Some(log) = submission.log_of(array, task) else {
                    continue;
                };
                if is_done(task) && is_settled(&log, settled) {
                    let of_task = logs.entry((&submission.logs, task)).or_default();
                    of_task.push(log);
                }
            }
        }
    }
    let n: usize = logs.values().map(Vec::len).sum();
    let Some(((folder, _), _)) = logs.first_key_value() else {
        return Ok(None);
    };
    if n < 2 {
        return Ok(None);
    }
    let (path, mut file) = fresh(folder)?;
    let failed = |e: std::io::Error| SweepError::write(&path, &e);
    for ((_, task), logs) in &logs {
        for log in logs {
            // One that cannot be read stays where it is, and is not removed below.
            let text = fs::read(log).map_err(failed)?;
            let name = log.file_name().unwrap_or_default().to_string_lossy();
            writeln!(file, "=== task {task}: {name}").map_err(failed)?;
            file.write_all(&text).map_err(failed)?;
            if text.last().is_some_and(|&b| b != b'\n') {
                writeln!(file).map_err(failed)?;
            }
        }
    }
    file.sync_all().map_err(failed)?;
    for log in logs.values().flatten() {
        // One that stays does no harm.
        let _ = fs::remove_file(log);
    }
    Ok(Some((path, n)))
}

fn is_settled(log: &Path, settled: Duration) -> bool {
    let Ok(modified) = log.metadata().and_then(|meta| meta.modified()) else {
        return false;
    };
    let age = SystemTime::now().duration_since(modified);
    age.is_ok_and(|age| age >= settled)
}

/// A file that no other process has made.
fn fresh(folder: &Path) -> Result<(PathBuf, File), SweepError> {
    let mut number = 1;
    loop {
        let path = folder.join(format!("done-{number:03}.log"));
        match File::create_new(&path) {
            Ok(file) => return Ok((path, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(SweepError::write(&path, &error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slurm::{JobId, JobKind, JobName, Profile};
    use crate::{SubmittedArray, SubmittedJob};

    #[test]
    fn logs_of_done_tasks_become_one_and_the_others_stay() {
        let folder = tempfile::tempdir().unwrap();
        let profile = Profile::parse("", "test").unwrap();
        let mut submission = Submission::new("test", &profile, folder.path());
        submission.arrays.push(SubmittedArray {
            job: SubmittedJob {
                name: JobName::fresh(&JobKind::Map),
                job: Some(JobId(7)),
            },
            offset: 10,
            indices: vec![0, 1, 2],
            time: None,
            memory: None,
            throttle: 1,
        });
        let log = |task| submission.log_of(&submission.arrays[0], task).unwrap();
        for task in 10..13 {
            fs::write(log(task), format!("of {task}")).unwrap();
        }
        let submissions = [submission.clone()];
        let gather = |settled| gather_logs(&submissions, &|task| task != 11, settled).unwrap();
        assert_eq!(gather(Duration::from_secs(600)), None);
        let (path, n) = gather(Duration::ZERO).unwrap();
        assert_eq!((n, log(11).is_file(), log(12).is_file()), (2, true, false));
        let text = fs::read_to_string(path).unwrap();
        let (first, second) = text.split_once("of 10\n").unwrap();
        assert!(first.starts_with("=== task 10: ") && second.ends_with("of 12\n"));
        assert_eq!(gather(Duration::ZERO), None);
    }
}
