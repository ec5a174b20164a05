//! Ctrl-C and other requests to stop: nothing half-written stays behind, and what can go on says so by exit code 75.

use crate::{exit, exit_record};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::iterator::Signals;
use std::ffi::OsString;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, Ordering};
use std::sync::{Mutex, PoisonError};
use tangram_pipeline::listener::LastWords;

/// What SIGTERM and SIGUSR2 do; one of the constants below.
static MODE: AtomicU8 = AtomicU8::new(ENDS);
/// They end the process, which has to begin anew.
const ENDS: u8 = 0;
/// They end the process; the same command goes on from what is on disk.
const GOES_ON: u8 = 1;
/// They are reported by [`stop_asked`]: what is at work keeps its state and stops.
const KEEPS: u8 = 2;
/// Whether Ctrl-C, too, asks instead of ending the process, once: where it would lose work that can be kept.
static CTRL_C_ASKS: AtomicBool = AtomicBool::new(false);
/// The signal that asked to stop, 0 if none did.
static STOP: AtomicI32 = AtomicI32::new(0);
/// Whether the process is giving up what it writes, and about to end.
static ENDING: AtomicBool = AtomicBool::new(false);
/// What is done before a signal ends the process.
static LAST_WORDS: Mutex<Option<LastWords>> = Mutex::new(None);

/// Handles signals from now on: called in `main` before anything that takes time, so that no moment is without.
///
/// * `arguments`: of the process; a mapping and the tasks of a sweep go on from what is on disk
pub fn stand(arguments: &[OsString]) {
    let command = command(arguments);
    if goes_on(&command) {
        MODE.store(GOES_ON, Ordering::SeqCst);
    }
    CTRL_C_ASKS.store(command == SWEEP_RUN, Ordering::SeqCst);
    // A handler that cannot be set leaves what is half-written to the next command that writes the same output.
    let Ok(mut signals) = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR2]) else {
        return;
    };
    std::thread::spawn(move || signals.forever().for_each(handle));
}

/// The command that does the tasks of a sweep.
const SWEEP_RUN: [&str; 2] = ["sweep", "run"];

/// The first two words of a command line that are no flags.
fn command(arguments: &[OsString]) -> Vec<&str> {
    let words = arguments.iter().skip(1).filter_map(|a| a.to_str());
    words
        .filter(|word| !word.starts_with('-'))
        .take(2)
        .collect()
}

/// Whether a command is one that goes on when it is given again.
fn goes_on(command: &[&str]) -> bool {
    command.first() == Some(&"map") || command == SWEEP_RUN
}

fn handle(signal: i32) {
    let asks = [SIGTERM, SIGUSR2].contains(&signal);
    // The second time, whoever typed it has no patience left.
    let typed = signal == SIGINT && CTRL_C_ASKS.load(Ordering::SeqCst) && !stop_asked();
    match MODE.load(Ordering::SeqCst) {
        KEEPS if asks || typed => {
            STOP.store(signal, Ordering::SeqCst);
            if typed {
                // Nobody is left to tell if standard error is closed.
                let _ = writeln!(
                    std::io::stderr(),
                    "stopping; what is done is kept (Ctrl-C again ends at once)"
                );
            }
            // Launchers that end all ranks may not wait for more.
            exit_record::asked(&format!("asked to stop by {}", name(signal)));
        }
        GOES_ON if asks => end(signal, exit::STOPPED),
        _ => end(signal, exit::INTERRUPTED),
    }
}

/// While `yes`, SIGTERM and SIGUSR2, and in a sweep the first Ctrl-C, do not end the process but set [`stop_asked`]; the training polls it,
/// saves its state and stops.
pub fn keeps_state(yes: bool) {
    MODE.store(if yes { KEEPS } else { GOES_ON }, Ordering::SeqCst);
}

/// Sets what is done before a signal ends the process.
pub fn last_words(words: Option<LastWords>) {
    *LAST_WORDS.lock().unwrap_or_else(PoisonError::into_inner) = words;
}

/// Ends the process if it was asked to stop too late for the work that keeps its state.
pub fn end_if_asked() {
    if stop_asked() {
        let code = match stopped_by_ctrl_c() {
            true => exit::INTERRUPTED,
            false => exit::STOPPED,
        };
        end(STOP.load(Ordering::SeqCst), code);
    }
}

/// Whether a request to stop arrived while [`keeps_state`] was set.
#[must_use]
pub fn stop_asked() -> bool {
    STOP.load(Ordering::SeqCst) != 0
}

/// Whether Ctrl-C was what set [`stop_asked`].
#[must_use]
pub fn stopped_by_ctrl_c() -> bool {
    STOP.load(Ordering::SeqCst) == SIGINT
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

/// Gives up what is half-written and ends the process.
fn end(signal: i32, code: u8) -> ! {
    ENDING.store(true, Ordering::SeqCst);
    exit_record::ended(Some(code), &format!("ended by {}", name(signal)));
    // Not held meanwhile: the words may take their time, and whoever sets others must not wait for the end.
    let words = LAST_WORDS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    if let Some(words) = words {
        words();
    }
    // Kept until the process ends, so that nothing of it gets its final name.
    let _given_up = tangram_store::give_up();
    // SAFETY: `_exit` ends the process at once and touches no memory of it. `exit` would take libraries down whose
    // threads are still at work.
    unsafe { libc::_exit(i32::from(code)) }
}

/// Does not return if the process is being ended by a signal: what fails meanwhile, such as writing into a folder that is gone, is not to
/// be told.
pub fn wait_if_ending() {
    while ENDING.load(Ordering::SeqCst) {
        std::thread::park();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_goes_on_when_given_again_says_so() {
        let goes = |line: &str| {
            goes_on(&command(
                &line.split(' ').map(OsString::from).collect::<Vec<_>>(),
            ))
        };
        assert!(goes("tangram map --cells a") && goes("tangram --quiet sweep run s --all"));
        assert!(!goes("tangram project --mapping map") && !goes("tangram sweep status run"));
    }
}
