//! Errors that no library knows: of commands and of settings files.

use std::path::PathBuf;

/// Why a command stops.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// `tangram doctor` found faults.
    #[error("{n} of the findings above must be mended before a mapping can run")]
    Unwell {
        /// How many.
        n: usize,
    },
}

/// What is wrong with a settings file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is not TOML.
    #[error("{path}: {reason}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A table named after no command.
    #[error("{path}: [{name}] is no command of tangram; did you mean [{nearest}]?")]
    UnknownTable {
        /// The file.
        path: PathBuf,
        /// The table's name.
        name: String,
        /// The command whose name is nearest.
        nearest: String,
    },
    /// A key outside the commands' tables.
    #[error("{path}: `{key}` stands outside the tables; put it under its command, such as [map]")]
    Outside {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
    },
    /// A key named after no flag.
    #[error("{path}: `{key}` is no setting of [{table}]; did you mean `{nearest}`?")]
    UnknownKey {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The setting whose name is nearest.
        nearest: String,
    },
    /// A value of a kind that no flag takes.
    #[error("{path}: `{key}` of [{table}] is {found}; expected {expected}")]
    Value {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// The key.
        key: String,
        /// The type and value found.
        found: String,
        /// The type expected.
        expected: &'static str,
    },
}
