//! Parsers of choices by name, with a help text for each name.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use tangram_pipeline::named::Choice;
use tangram_pipeline::run_directory::Replace;

/// A parser that accepts the names of the choices.
pub fn one_of<T: Copy + Send + Sync>(
    choices: &'static [Choice<T>],
) -> impl TypedValueParser<Value = T> {
    let names = choices
        .iter()
        .map(|(_, name, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(names).map(|typed| {
        let choice = choices.iter().find(|(_, name, _)| *name == typed);
        choice.expect("the parser takes no other name").0
    })
}

/// What `--force` allows.
#[must_use]
pub fn replace(force: bool) -> Replace {
    match force {
        true => Replace::IfOurs,
        false => Replace::Never,
    }
}
