//! Exit codes: this file alone decides them.

use crate::error::{CommandError, ConfigError};
use crate::plain::Plain;
use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use tangram_atlas::AtlasError;
use tangram_pipeline::error::{PipelineError, cause_of};
use tangram_sweep::Cause;
use tangram_sweep::slurm::SlurmError;

/// Ended by Ctrl-C, with the code that shells give it.
pub const INTERRUPTED: u8 = 130;

/// The codes and their meanings, for the help text.
pub const TABLE: &str = "\
Exit codes:
  0    done
  1    something unexpected: a defect of the program, please report it
  2    the command line or the settings file is wrong
  3    an input is missing, damaged or does not fit
  4    the output exists already, or cannot be written (permissions, full disk)
  5    not enough memory
  6    Slurm is not there, did not answer, or did not take a job
  7    a registration was refused: the fit is too poor to be a result
  75   stopped by SIGTERM or SIGUSR2 with its state kept: the same command with --resume goes on
  130  stopped by Ctrl-C; nothing half-written stays behind, and `sweep run` keeps the folds that are done";

const UNEXPECTED: u8 = 1;
/// See [`TABLE`].
pub const USAGE: u8 = 2;
/// See [`TABLE`].
pub const INPUT: u8 = 3;
/// See [`TABLE`].
pub const OUTPUT: u8 = 4;
/// See [`TABLE`].
pub const MEMORY: u8 = 5;
/// See [`TABLE`].
pub const SLURM: u8 = 6;
/// See [`TABLE`].
pub const REFUSED: u8 = 7;
/// Stopped by a signal, the state kept: `EX_TEMPFAIL` of sysexits.h, try again.
pub const STOPPED: u8 = 75;

/// Prints the error of a command, unless [`say`] has, and returns its exit code.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    say(error);
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    ExitCode::from(match code(error) {
        STOPPED if crate::interrupt::stopped_by_ctrl_c() => INTERRUPTED,
        code => code,
    })
}

/// Prints the error that this process ends with, the first time that it is called.
///
/// One of several ranks calls it before it leaves the others: a launcher kills the remaining ranks as soon as one has
/// ended with an error, and with them what they have not printed.
pub fn say(error: &anyhow::Error) {
    static SAID: AtomicBool = AtomicBool::new(false);
    // What fails because the process is ending is no failure.
    crate::interrupt::wait_if_ending();
    // The rank that failed prints its error.
    let of_other_rank = matches!(pipeline(error), Some(PipelineError::OtherRank { .. }));
    if of_other_rank || is_broken_pipe(error) || SAID.swap(true, Ordering::Relaxed) {
        return;
    }
    // Nobody is left to tell if standard error is closed.
    let _ = writeln!(io::stderr(), "error: {}", Plain(format_args!("{error:#}")));
}

/// Prints help, a version, or an error of the command line.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // As above; and `tangram --help | head` closes standard output early.
    let text = error.render().to_string();
    let plain = Plain(&text).to_string();
    let _ = match plain == text {
        // With its colours.
        true => error.print(),
        false => writeln!(io::stderr(), "{plain}"),
    };
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// The exit code of an error.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    // A mapping of a sweep was a process of its own, with an exit code of its own.
    if let Some(PipelineError::Run { code, .. }) = pipeline(error) {
        return u8::try_from(*code).unwrap_or(UNEXPECTED);
    }
    if let Some(PipelineError::Slurm(error)) = pipeline(error) {
        return of_slurm(error);
    }
    error.chain().find_map(code_of).unwrap_or(UNEXPECTED)
}

/// The error of the pipeline that a command ended with.
fn pipeline(error: &anyhow::Error) -> Option<&PipelineError> {
    let error: Option<&PipelineError> = error.downcast_ref();
    error.map(PipelineError::innermost)
}

/// The exit code of one error in a chain of causes, if it is of a known type.
fn code_of(error: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(error) = error.downcast_ref() {
        return Some(of_slurm(error));
    }
    if let Some(PipelineError::Atlas(AtlasError::Refused { .. })) = error.downcast_ref() {
        return Some(REFUSED);
    }
    let cause = if error.is::<ConfigError>() {
        Cause::Usage
    } else if error.is::<CommandError>() {
        Cause::Input
    } else if let Some(error) = error.downcast_ref() {
        match error {
            AtlasError::Refused { .. } => return Some(REFUSED),
            AtlasError::Rule { .. } => Cause::Usage,
            AtlasError::Store(error) => cause_of(error)?,
            _ => Cause::Input,
        }
    } else {
        cause_of(error)?
    };
    Some(match cause {
        Cause::Usage => USAGE,
        Cause::Input => INPUT,
        Cause::Output | Cause::Superseded => OUTPUT,
        Cause::Memory => MEMORY,
        Cause::Signal => STOPPED,
        Cause::Unexpected => UNEXPECTED,
    })
}

fn of_slurm(error: &SlurmError) -> u8 {
    match error {
        SlurmError::UnknownProfile { .. }
        | SlurmError::UnreadableProfile { .. }
        | SlurmError::Profile { .. }
        | SlurmError::Unrepresentable { .. } => USAGE,
        SlurmError::Template(_) => UNEXPECTED,
        _ => SLURM,
    }
}

/// The cause behind the exit code of another process of this program.
#[must_use]
pub fn cause(code: i32) -> Cause {
    match u8::try_from(code) {
        Ok(USAGE) => Cause::Usage,
        Ok(INPUT) => Cause::Input,
        Ok(OUTPUT) => Cause::Output,
        Ok(MEMORY) => Cause::Memory,
        Ok(STOPPED | INTERRUPTED) => Cause::Signal,
        _ => Cause::Unexpected,
    }
}

/// Whether standard output was closed by its reader, as by `head`: not an error.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let unheard = match pipeline(error) {
        Some(PipelineError::System(error)) => Some(error),
        _ => None,
    };
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .chain(unheard)
        .any(|e| e.kind() == ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;
    use tangram_mapper::MapError;
    use tangram_store::StoreError;

    #[test]
    fn errors_of_every_layer_have_their_code() {
        let missing = || StoreError::Missing {
            path: "cells.h5ad".into(),
        };
        let stopped = || MapError::Stopped { passes: 1 };
        let run = PipelineError::Run {
            name: "a".to_owned(),
            code: 137,
            cause: Cause::Unexpected,
        };
        let codes = [
            Err::<(), _>(missing()).context("task 1"),
            Err(stopped()).context("3 finished folds of this sweep kept"),
            Err(PipelineError::from(stopped()).into()),
            Err(PipelineError::Usage("no".to_owned()).into()),
            Err(run.into()),
            Err(CommandError::Unwell { n: 1 }.into()),
            Err(anyhow::anyhow!("a defect")),
        ]
        .map(|result: Result<(), anyhow::Error>| code(&result.unwrap_err()));
        assert_eq!(
            codes,
            [INPUT, STOPPED, STOPPED, USAGE, 137, INPUT, UNEXPECTED]
        );
    }
}
