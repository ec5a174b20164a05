//! A mapping of a sweep as a process of its own: `tangram map`, under a launcher if it needs several ranks.

use crate::exit;
use crate::interrupt;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;
use tangram_pipeline::error::{PipelineError, Result, Within};
use tangram_pipeline::runs::{Mapped, Run};
use tangram_store::StoreError;
use toml::Table;

/// Interval between checks whether a mapping has ended.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a mapping in a process of its own, from its checkpoint if there is one. A complete run is left unchanged.
///
/// * `out`: the folder of the run
/// * `launcher`: the command that starts the ranks of the mapping; `None`: one process
///
/// # Errors
/// If it cannot be started.
pub fn map(out: &Path, run: &Run, launcher: Option<&str>) -> Result<Mapped> {
    let settings = out.with_file_name(format!(".{}.{}.toml", run.name, std::process::id()));
    let mut file = Table::new();
    file.insert("map".to_owned(), run.map.clone().into());
    let written = fs::write(&settings, toml::to_string(&file)?);
    written.map_err(|e| StoreError::Write {
        path: settings.clone(),
        reason: e.to_string(),
    })?;
    let program = std::env::current_exe().within(|| "where this program is".to_owned())?;
    let words: Vec<&str> = launcher
        .map(|l| l.split_whitespace().collect())
        .unwrap_or_default();
    let mut command = match words.split_first() {
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
        None => Command::new(program),
    };
    command
        .args(["map", "--quiet", "--no-report", "--resume", "--config"])
        .arg(&settings)
        .arg("--out")
        .arg(out);
    let child = command.spawn().map_err(|e| {
        let what = launcher.unwrap_or("tangram map");
        PipelineError::Usage(format!("--launcher: `{what}` cannot be started: {e}"))
    });
    let status = child.map(wait);
    let removed = fs::remove_file(&settings);
    let status = status?.within(|| "waiting for a mapping".to_owned())?;
    removed.within(|| "the settings of a run".to_owned())?;
    // After a signal, the exit code as shells define it.
    let code = status.code().unwrap_or_else(|| 128 + signal(status));
    Ok(match code {
        0 => Mapped::Done,
        code => Mapped::Failed {
            code,
            cause: exit::cause(code),
        },
    })
}

fn signal(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.signal().unwrap_or(0)
}

/// Waits for a mapping; passes on a request to stop.
fn wait(mut child: Child) -> io::Result<ExitStatus> {
    let mut told = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt::stop_asked() && !told {
            told = true;
            if let Ok(pid) = libc::pid_t::try_from(child.id()) {
                // SAFETY: a signal to a child that has not been waited for touches no memory of this process.
                unsafe { libc::kill(pid, libc::SIGUSR2) };
            }
        }
        std::thread::sleep(LOOK);
    }
}
