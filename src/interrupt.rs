//! Signals: Ctrl-C and other requests to stop. No half-written output is left behind.

use crate::exit_record;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, Once};
use tangram_pipeline::leftovers::remove_all;

static OUTPUTS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
static KEEPS: AtomicBool = AtomicBool::new(false);
/// The signal that asked to stop; 0: none.
static STOP: AtomicI32 = AtomicI32::new(0);
static HANDLER: Once = Once::new();

/// If the process is stopped, its half-written `output` (the hidden sibling `.NAME.PID.partial`) is removed.
pub fn clean_up(output: &Path) {
    if let Ok(mut outputs) = OUTPUTS.lock() {
        outputs.push(partial(output));
    }
    handle();
}

/// While `yes`, SIGTERM and SIGUSR2 do not end the process but set [`stop_asked`]; the training polls it, saves its state and stops.
pub fn keeps_state(yes: bool) {
    KEEPS.store(yes, Ordering::SeqCst);
    handle();
}

/// Whether SIGTERM or SIGUSR2 arrived while [`keeps_state`] was set.
#[must_use]
pub fn stop_asked() -> bool {
    STOP.load(Ordering::SeqCst) != 0
}

/// Name of the signal that set [`stop_asked`].
#[must_use]
pub fn stopped_by() -> Option<&'static str> {
    stop_asked().then(|| name(STOP.load(Ordering::SeqCst)))
}

fn name(signal: i32) -> &'static str {
    match signal {
        SIGINT => "SIGINT",
        SIGTERM => "SIGTERM",
        SIGHUP => "SIGHUP",
        SIGUSR2 => "SIGUSR2",
        _ => "a signal",
    }
}

fn handle() {
    HANDLER.call_once(|| {
        // Without a handler, a half-written sibling stays until the next command with `--force`.
        let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2]) else {
            return;
        };
        std::thread::spawn(move || {
            for signal in signals.forever() {
                let keeps = KEEPS.load(Ordering::SeqCst) && [SIGTERM, SIGUSR2].contains(&signal);
                if keeps {
                    STOP.store(signal, Ordering::SeqCst);
                    // Written now, because a launcher that ends all ranks may not wait.
                    exit_record::asked(&format!("asked to stop by {}", name(signal)));
                } else {
                    let code = crate::exit::INTERRUPTED;
                    exit_record::ended(Some(code), &format!("ended by {}", name(signal)));
                    end();
                }
            }
        });
    });
}

/// Removes half-written outputs and ends the process.
fn end() -> ! {
    let outputs = OUTPUTS.lock();
    for partial in outputs.into_iter().flat_map(|outputs| outputs.clone()) {
        remove_all(&partial);
    }
    // SAFETY: `_exit` ends the process at once and touches no memory of it. `exit` would unload libraries whose
    // threads are still running.
    unsafe { libc::_exit(i32::from(crate::exit::INTERRUPTED)) }
}

/// The hidden sibling to which `tangram_store` writes `output` until it is complete.
fn partial(output: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(output.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    output.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tangram_store::{Existing, StoreError, write_aside};

    #[test]
    fn the_sibling_is_the_one_the_store_writes() {
        let folder = tempfile::tempdir().unwrap();
        let output = folder.path().join("run.h5ad");
        let written: Result<PathBuf, StoreError> =
            write_aside(&output, Existing::Refuse, |aside| {
                std::fs::write(aside, "x").unwrap();
                Ok(aside.to_owned())
            });
        assert_eq!(written.unwrap(), partial(&output));
    }
}
