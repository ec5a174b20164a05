//! Exit codes, decided here only.

use crate::config::ConfigError;
use crate::error::CliError;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;
use tangram_atlas::AtlasError;
use tangram_core::{AnnotationError, GeneError, PriorError, TissueError};
use tangram_mapper::MapError;
use tangram_store::StoreError;
use tangram_sweep::SweepError;
use tangram_sweep::slurm::SlurmError;

/// Asked to stop (Ctrl-C), as shells number it.
pub const INTERRUPTED: u8 = 130;

/// What the codes mean, for the help text.
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
  130  stopped by Ctrl-C; nothing half-written stays behind";

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
/// Asked to stop with the state kept: `EX_TEMPFAIL` of sysexits.h, try again.
pub const STOPPED: u8 = 75;

/// Prints why the command stopped and says so by the exit code.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    if is_broken_pipe(error) {
        return ExitCode::SUCCESS;
    }
    // The rank that failed has told.
    if !matches!(error.downcast_ref(), Some(CliError::OtherRank { .. })) {
        // Nobody is left to tell if standard error is closed.
        let _ = writeln!(io::stderr(), "error: {error:#}");
    }
    ExitCode::from(code(error))
}

/// Prints help, a version, or what is wrong with the command line.
#[must_use]
pub fn usage(error: &clap::Error) -> ExitCode {
    // As above; and `tangram --help | head` closes standard output early.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

/// The exit code of an error: the first cause that decides it.
#[must_use]
pub fn code(error: &anyhow::Error) -> u8 {
    for cause in error.chain() {
        if let Some(error) = cause.downcast_ref::<StoreError>() {
            return code_of_store(error);
        }
        if let Some(error) = cause.downcast_ref::<CliError>() {
            return match error {
                CliError::Usage(_) | CliError::Grid(_) | CliError::Launcher(_) => USAGE,
                CliError::OtherRank { code } => *code,
                CliError::NotOurs { .. } | CliError::Checkpoint { .. } => OUTPUT,
                CliError::Memory { .. } | CliError::NoGridFits { .. } => MEMORY,
                CliError::Run { code, .. } => u8::try_from(*code).unwrap_or(UNEXPECTED),
                _ => INPUT,
            };
        }
        if let Some(error) = cause.downcast_ref::<SweepError>() {
            return match error {
                SweepError::Store(error) => code_of_store(error),
                SweepError::Folds(_) | SweepError::NoTask { .. } => USAGE,
                SweepError::Write { .. }
                | SweepError::Superseded { .. }
                | SweepError::AtWork { .. }
                | SweepError::Submitting { .. } => OUTPUT,
                _ => INPUT,
            };
        }
        if let Some(error) = cause.downcast_ref::<MapError>() {
            return match error {
                MapError::Threads { .. } | MapError::Torch(_) => UNEXPECTED,
                MapError::DeviceMemory { .. } | MapError::DeviceFull => MEMORY,
                MapError::Keep(_) => OUTPUT,
                MapError::Stopped { .. } => STOPPED,
                _ => INPUT,
            };
        }
        if let Some(error) = cause.downcast_ref::<AtlasError>() {
            return match error {
                AtlasError::Store(error) => code_of_store(error),
                AtlasError::Rule { .. } => USAGE,
                AtlasError::Refused { .. } => REFUSED,
                _ => INPUT,
            };
        }
        if let Some(error) = cause.downcast_ref::<SlurmError>() {
            return match error {
                SlurmError::UnknownProfile { .. }
                | SlurmError::UnreadableProfile { .. }
                | SlurmError::Profile { .. }
                | SlurmError::Unrepresentable { .. } => USAGE,
                SlurmError::Template(_) => UNEXPECTED,
                _ => SLURM,
            };
        }
        if cause.is::<ConfigError>() || cause.is::<TissueError>() {
            return USAGE;
        }
        if cause.is::<GeneError>() || cause.is::<PriorError>() || cause.is::<AnnotationError>() {
            return INPUT;
        }
    }
    UNEXPECTED
}

fn code_of_store(error: &StoreError) -> u8 {
    match error {
        StoreError::Exists { .. } | StoreError::Ending { .. } | StoreError::Write { .. } => OUTPUT,
        StoreError::Unwritable { .. } => UNEXPECTED,
        _ => INPUT,
    }
}

/// Whether the reader of standard output went away, as `head` does: no reason to complain.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|e| e.downcast_ref::<io::Error>())
        .any(|e| e.kind() == ErrorKind::BrokenPipe)
}
