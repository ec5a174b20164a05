//! Settings from a TOML file, merged into the command line.
//!
//! A file's `[map] epochs = 500` becomes the argument `--epochs=500` unless the person typed `--epochs`; from there on
//! both are parsed, checked and explained by the same code.

use crate::args::Cli;
use crate::error::ConfigError;
use anyhow::Result;
use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tangram_core::{DefaultWeight, Term};
use toml::{Table, Value};

/// The table of results in a `run.toml`, which holds no settings and is ignored.
const RECORD: &str = "record";
/// The table of the settings of a mapping.
const MAP: &str = "map";

/// The command line with the settings of its `--config` file added.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read or holds something unknown.
pub fn arguments(mut typed: Vec<OsString>) -> Result<Vec<OsString>> {
    // Errors of the command line are reported by the real parser, which also sees the settings.
    let lenient = Cli::command().ignore_errors(true);
    let Ok(matches) = lenient.try_get_matches_from(&typed) else {
        return Ok(typed);
    };
    let Some((name, matches)) = matches.subcommand() else {
        return Ok(typed);
    };
    // `submit map` and `sweep new KIND` use the settings of `map`.
    let (name, matches) = match name {
        "submit" | "sweep" => ("map", innermost(matches)),
        _ => (name, matches),
    };
    let Ok(Some(path)) = matches.try_get_one::<PathBuf>("config") else {
        return Ok(typed);
    };

    let added = settings_of(path, name, matches)?;
    let end = typed.iter().position(|a| a == "--").unwrap_or(typed.len());
    typed.splice(end..end, added);
    Ok(typed)
}

/// Where a faulty value stands, if not on the command line.
///
/// * `typed`, `arguments`: the command line before and after the settings of its file were added
#[must_use]
pub fn origin(error: &clap::Error, typed: &[OsString], arguments: &[OsString]) -> Option<String> {
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = flag.split([' ', '=']).next()?;
    let is_it = |argument: &&OsString| {
        let argument = argument.to_string_lossy();
        argument == name || argument.starts_with(&format!("{name}="))
    };
    if typed.iter().any(|argument| is_it(&argument)) {
        return None;
    }
    arguments.iter().find(is_it)?;
    let config = typed
        .iter()
        .position(|a| a == "--config")
        .map(|i| typed.get(i + 1));
    let config = config
        .flatten()
        .map(|path| path.to_string_lossy().into_owned());
    let joined = || {
        let path = typed
            .iter()
            .find_map(|a| a.to_str()?.strip_prefix("--config="));
        path.map(str::to_owned)
    };
    let (file, key) = (config.or_else(joined)?, name.trim_start_matches('-'));
    Some(format!("`{key}` stands in the settings file {file}"))
}

fn innermost(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
}

fn settings_of(path: &Path, name: &str, typed: &ArgMatches) -> Result<Vec<OsString>> {
    let unreadable = |reason: String| ConfigError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let text = tangram_store::read_text(path).map_err(|e| unreadable(e.to_string()))?;
    let file: Table = text
        .parse()
        .map_err(|e: toml::de::Error| unreadable(e.to_string()))?;
    let mut cli = Cli::command();
    cli.build();

    let mut added = Vec::new();
    for (table, value) in &file {
        if table == RECORD {
            continue;
        }
        let Some(settings) = value.as_table() else {
            return Err(ConfigError::Outside {
                path: path.to_owned(),
                key: table.clone(),
            }
            .into());
        };
        let Some(command) = cli.find_subcommand(table) else {
            let commands = cli.get_subcommands().map(Command::get_name);
            let nearest = nearest(table, commands).to_owned();
            return Err(ConfigError::UnknownTable {
                path: path.to_owned(),
                name: table.clone(),
                nearest,
            }
            .into());
        };
        let is_record = file.contains_key(RECORD) && table == MAP;
        let unnamed = if is_record {
            weights_of_0(settings)
        } else {
            Table::new()
        };
        for (key, value) in settings.iter().chain(&unnamed) {
            let arguments = argument(path, command, key, value)?;
            // `submit map` and `sweep new` lack some flags of `map`.
            let known = flag_id(command, key).is_some_and(|id| typed.try_contains_id(&id).is_ok());
            if table == name && known && !decided(command, key, typed) {
                added.extend(arguments);
            }
        }
    }
    Ok(added)
}

/// Weights that a run had and its record does not name: records of earlier builds have no weight that is 0, although the goal of the run
/// may stand for another one now.
fn weights_of_0(settings: &Table) -> Table {
    let not_0_by_default = |term: &Term| term.about().default != DefaultWeight::Is(0.0);
    let keys = Term::ALL.into_iter().filter(not_0_by_default);
    keys.map(|term| term.about().setting)
        .filter(|key| !settings.contains_key(*key))
        .map(|key| (key.to_owned(), Value::Float(0.0)))
        .collect()
}

/// One setting as arguments.
fn argument(
    path: &Path,
    command: &Command,
    key: &str,
    value: &Value,
) -> Result<Vec<OsString>, ConfigError> {
    let table = || command.get_name().to_owned();
    let flags = || command.get_arguments().filter(|a| !a.is_global_set());
    let Some(flag) = flags().find(|a| a.get_long() == Some(key) && key != "help") else {
        let known = flags()
            .filter_map(clap::Arg::get_long)
            .filter(|k| *k != "help");
        let nearest = nearest(key, known).to_owned();
        return Err(ConfigError::UnknownKey {
            path: path.to_owned(),
            table: table(),
            key: key.to_owned(),
            nearest,
        });
    };
    let wrong = |expected| ConfigError::Value {
        path: path.to_owned(),
        table: table(),
        key: key.to_owned(),
        found: format!("{} {value}", value.type_str()),
        expected,
    };
    let one = |value: &Value| match value {
        Value::String(text) => Ok(format!("--{key}={text}")),
        Value::Integer(number) => Ok(format!("--{key}={number}")),
        Value::Float(number) => Ok(format!("--{key}={number}")),
        _ => Err(wrong("a text or a number")),
    };
    let arguments = match (flag.get_action(), value) {
        (ArgAction::SetTrue, Value::Boolean(true)) => vec![format!("--{key}")],
        (ArgAction::SetTrue, Value::Boolean(false)) => vec![],
        (ArgAction::SetTrue, _) => return Err(wrong("true or false")),
        (ArgAction::Append, Value::Array(values)) => {
            values.iter().map(one).collect::<Result<_, _>>()?
        }
        (_, value) => vec![one(value)?],
    };
    Ok(arguments.into_iter().map(OsString::from).collect())
}

/// The parser's identifier of the flag with this name.
fn flag_id(command: &Command, key: &str) -> Option<String> {
    let flag = command
        .get_arguments()
        .find(|a| a.get_long() == Some(key))?;
    Some(flag.get_id().to_string())
}

/// Whether the person typed this flag, or one that excludes it.
fn decided(command: &Command, key: &str, typed: &ArgMatches) -> bool {
    let by_hand = |arg: &clap::Arg| {
        let id = arg.get_id().as_str();
        // `submit map` lacks some flags of `map`.
        typed.try_contains_id(id).is_ok()
            && typed.value_source(id) == Some(ValueSource::CommandLine)
    };
    let excludes = |a: &clap::Arg, b: &clap::Arg| {
        command
            .get_arg_conflicts_with(a)
            .iter()
            .any(|c| c.get_id() == b.get_id())
    };
    let Some(flag) = command.get_arguments().find(|a| a.get_long() == Some(key)) else {
        return false;
    };
    command
        .get_arguments()
        .filter(|other| by_hand(other))
        .any(|other| {
            other.get_id() == flag.get_id() || excludes(flag, other) || excludes(other, flag)
        })
}

/// The known name most similar to `name`.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> &'a str {
    known
        .filter(|k| *k != "help")
        .map(|k| (strsim::jaro_winkler(name, k), k))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or("", |(_, k)| k)
}
