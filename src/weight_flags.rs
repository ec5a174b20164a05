//! The weights of the loss as flags: one for each term in the list of terms.

use crate::values::not_negative;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde::{Deserialize, Serialize};
use tangram_core::{DefaultWeight, GivenWeights, Needs, Term};

/// The weights that were given.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WeightFlags(pub GivenWeights);

/// The flag of a term.
fn flag(term: Term) -> Arg {
    let about = term.about();
    let flag = Arg::new(about.setting)
        .long(about.setting)
        .value_name("WEIGHT")
        .value_parser(not_negative)
        .help_heading(crate::map_flags::OBJECTIVE);
    match (about.default, about.needs) {
        (DefaultWeight::OfGoal, _) => flag.help(format!("{} [default: by --goal]", about.help)),
        (DefaultWeight::Is(weight), Needs::Prior) => flag.help(format!(
            "{} [default: {weight}, or 0 with --prior none]",
            about.help
        )),
        (DefaultWeight::Is(weight), Needs::PackageFilter) => flag.help(format!(
            "{} [default: {weight} with --filter package]",
            about.help
        )),
        (DefaultWeight::Is(weight), _) => flag.help(about.help).default_value(weight.to_string()),
    }
}

impl Args for WeightFlags {
    fn augment_args(command: Command) -> Command {
        command.args(Term::ALL.map(flag))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for WeightFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut weights = Self::default();
        weights.update_from_arg_matches(matches)?;
        Ok(weights)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        for term in Term::ALL {
            let given = matches.try_get_one::<f64>(term.about().setting);
            if let Some(&weight) = given.ok().flatten() {
                self.0 = self.0.with(term, Some(weight));
            }
        }
        Ok(())
    }
}
