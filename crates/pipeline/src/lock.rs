//! One process at a time writes an output: a lock, `.NAME.lock` beside it, that names who holds it.
//!
//! File systems of clusters have no locks that all their nodes honour, so the file itself is the lock: it is made by a link, which only
//! one process can make, and taken over from a process that has ended. Whether one on this machine has ended is known; one on another
//! machine is taken to live for as long as it goes on touching its lock.

use crate::error::PipelineError;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tangram_store::{Process, StoreError, Temporary, open_file, read_text};

/// How often a lock is touched,
const TOUCHED: Duration = Duration::from_secs(10);
/// and for how long one of another machine is watched before it is taken over.
const WATCHED: Duration = Duration::from_secs(45);

/// What a lock says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Holder {
    #[serde(flatten)]
    process: Process,
    /// Seconds since 1970.
    unix_time: u64,
    /// `SLURM_JOB_ID`: of a job that was started again, the process before has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    job: Option<String>,
}

/// Holds that no other process writes an output.
#[derive(Debug)]
pub struct Lock {
    /// `None` where no lock can be made; writing the output will tell why.
    _held: Option<Held>,
}

#[derive(Debug)]
struct Held {
    _file: Temporary,
    /// Dropped first, it ends the thread.
    end: Option<Sender<()>>,
    touching: Option<JoinHandle<()>>,
}

impl Lock {
    /// Takes the lock of an output.
    ///
    /// # Errors
    /// [`PipelineError::AtWork`] if another process has it.
    pub fn take(out: &Path) -> Result<Self, PipelineError> {
        Self::take_watching(out, WATCHED)
    }

    fn take_watching(out: &Path, watched: Duration) -> Result<Self, PipelineError> {
        let path = hidden(out, "lock");
        let own = Holder {
            process: Process::here(),
            unix_time: now(),
            job: std::env::var("SLURM_JOB_ID")
                .ok()
                .filter(|job| !job.is_empty()),
        };
        let aside = hidden(out, &format!("lock.{}", own.process));
        let text = serde_json::to_string(&own).expect("a lock is plain data");
        if fs::write(&aside, &text).is_err() {
            return Ok(Self { _held: None });
        }
        let taken = take(&path, &aside, &own, out, watched);
        let _ = fs::remove_file(&aside);
        if !taken? {
            return Ok(Self { _held: None });
        }
        let file = Temporary::new(path.clone());
        let (end, ended) = mpsc::channel();
        let touching = std::thread::spawn(move || {
            while ended.recv_timeout(TOUCHED) == Err(RecvTimeoutError::Timeout) {
                // Only a sign of life; if it cannot be given, others may take the lock over.
                let _ = File::options()
                    .append(true)
                    .open(&path)
                    .and_then(|file| file.set_modified(SystemTime::now()));
            }
        });
        Ok(Self {
            _held: Some(Held {
                _file: file,
                end: Some(end),
                touching: Some(touching),
            }),
        })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.touching.take() {
            let _ = thread.join();
        }
    }
}

/// Links the lock into place, over one whose holder has ended; `false` where links cannot be made.
fn take(
    path: &Path,
    aside: &Path,
    own: &Holder,
    out: &Path,
    watched: Duration,
) -> Result<bool, PipelineError> {
    loop {
        match fs::hard_link(aside, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(_) => return Ok(false),
        }
        let text = match read_text(path) {
            Ok(text) => text,
            // Gone meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => {
                let (path, reason) = (path.to_owned(), error.to_string());
                return Err(StoreError::Read { path, reason }.into());
            }
        };
        // What says nothing is of a process that was killed while it wrote.
        if let Ok(holder) = serde_json::from_str::<Holder>(&text)
            && is_alive(&holder, own, path, watched)
        {
            return Err(at_work(out, path, &holder));
        }
        let stale = aside.with_extension("stale");
        if fs::rename(path, &stale).is_ok() {
            let other = fs::read_to_string(&stale).unwrap_or_default();
            if other != text {
                // Another process was faster, and this is its lock.
                let _ = fs::hard_link(&stale, path);
            }
            let _ = fs::remove_file(&stale);
        }
    }
}

fn is_alive(holder: &Holder, own: &Holder, path: &Path, watched: Duration) -> bool {
    if holder.process.is_of_this_machine() {
        return holder.process.is_alive_here();
    }
    if holder.job.is_some() && holder.job == own.job {
        return false;
    }
    // Opened each time: a network file system asks its server then.
    let touched = || {
        let file = open_file(path).ok()?;
        file.metadata().and_then(|meta| meta.modified()).ok()
    };
    let (before, begun) = (touched(), Instant::now());
    while begun.elapsed() < watched {
        std::thread::sleep(Duration::from_secs(1).min(watched));
        if touched() != before {
            return true;
        }
    }
    false
}

fn at_work(out: &Path, path: &Path, holder: &Holder) -> PipelineError {
    let remedy = match holder.process.is_of_this_machine() {
        true => String::new(),
        false => format!("; if it is gone for sure, remove {}", path.display()),
    };
    let minutes = now().saturating_sub(holder.unix_time) / 60;
    PipelineError::AtWork {
        path: out.to_owned(),
        host: holder.process.host.clone(),
        pid: holder.process.pid,
        since: format!("{minutes} min ago"),
        remedy,
    }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn hidden(out: &Path, ending: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    const SHORT: Duration = Duration::from_millis(1500);

    fn write(out: &Path, process: Process) {
        let holder = Holder {
            process,
            unix_time: now(),
            job: None,
        };
        fs::write(hidden(out, "lock"), serde_json::to_string(&holder).unwrap()).unwrap();
    }

    fn names(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_lock_is_taken_from_the_dead_and_not_from_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let take = || Lock::take_watching(&out, SHORT);

        let lock = take().unwrap();
        assert!(hidden(&out, "lock").is_file() && names(folder.path()) == 1);
        drop(lock);
        assert_eq!(names(folder.path()), 0);

        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let stat = fs::read_to_string(format!("/proc/{}/stat", other.id())).unwrap();
        let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19);
        let alive = Process {
            pid: other.id(),
            ticks: ticks.unwrap().parse().ok(),
            ..Process::here()
        };
        write(&out, alive.clone());
        let error = take().unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", alive.pid)), "{error}");
        other.kill().unwrap();
        other.wait().unwrap();
        drop(take().unwrap());
        assert_eq!(names(folder.path()), 0);

        // Of another machine: alive while it is touched.
        let elsewhere = Process {
            host: "another-machine".to_owned(),
            ..alive
        };
        write(&out, elsewhere.clone());
        drop(take().unwrap());
        write(&out, elsewhere);
        let path = hidden(&out, "lock");
        let touching = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            let file = File::options().append(true).open(path).unwrap();
            file.set_modified(SystemTime::now() + Duration::from_secs(5))
                .unwrap();
        });
        let error = take().unwrap_err().to_string();
        touching.join().unwrap();
        assert!(
            error.contains("another-machine") && error.contains("remove"),
            "{error}"
        );

        // What a process left that was killed while it wrote.
        fs::write(hidden(&out, "lock"), "").unwrap();
        drop(take().unwrap());
    }

    #[test]
    fn where_no_lock_can_be_made_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(&folder.path().join("none/run")).unwrap();
        assert!(lock._held.is_none());
    }
}
