//! More directives for #SBATCH than a profile has fields for.

use super::word::is_plain;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// `--NAME` or `--NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Directive(String);

impl Display for Directive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Directive> for String {
    fn from(directive: Directive) -> Self {
        directive.0
    }
}

/// Directives by which a script would do something else, or that it sets itself.
const OURS: [&str; 24] = [
    "array",
    "bcast",
    "chdir",
    "dependency",
    "error",
    "export",
    "export-file",
    "help",
    "ignore-pbs",
    "input",
    "job-name",
    "no-requeue",
    "open-mode",
    "output",
    "parsable",
    "quiet",
    "requeue",
    "signal",
    "test-only",
    "usage",
    "version",
    "wait",
    "workdir",
    "wrap",
];

/// Directives with a field of their own.
const FIELDS: [(&str, &str); 15] = [
    ("account", "account"),
    ("constraint", "constraint"),
    ("cpus-per-task", "cpus"),
    ("exclude", "exclude"),
    ("gpus-per-node", "gpus-per-node"),
    ("gres", "gres"),
    ("mail-type", "mail"),
    ("mail-user", "mail"),
    ("mem", "memory"),
    ("nodes", "nodes"),
    ("ntasks", "ranks"),
    ("partition", "partition"),
    ("qos", "qos"),
    ("reservation", "reservation"),
    ("time", "time"),
];

impl TryFrom<String> for Directive {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let Some(option) = text.strip_prefix("--") else {
            return Err(format!("{text:?}: write --NAME or --NAME=VALUE"));
        };
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let letters = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if name.is_empty() || !letters || name.starts_with('-') {
            return Err(format!("{text:?}: write --NAME or --NAME=VALUE"));
        }
        if let Some(c) = value.chars().find(|c| !is_plain(*c)) {
            return Err(format!("{text:?}: {c:?} cannot stand in a value"));
        }
        // Slurm takes the beginning of a name for the whole of it.
        if let Some((_, field)) = FIELDS.iter().find(|(n, _)| n.starts_with(name)) {
            return Err(format!("{text:?}: has a field of its own, `{field}`"));
        }
        if OURS.iter().any(|ours| ours.starts_with(name)) {
            return Err(format!("{text:?}: the scripts need this for themselves"));
        }
        Ok(Self(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_scripts_rest_on_cannot_be_changed() {
        for good in [
            "--exclusive",
            "--mem-per-cpu=2G",
            "--hint=nomultithread",
            "--licenses=a:1",
            "--time-min=1:00:00",
        ] {
            assert!(Directive::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "exclusive",
            "-p gpu",
            "--",
            "--wrap=id",
            "--wra=id",
            "--arr=0-9",
            "--output=/x",
            "--part=x",
            "--comment=a b",
            "--comment=$(id)",
            "--comment=a\n#SBATCH --wrap=id",
            "--comment='a'",
            "--a#b",
            "---x",
            "--export=NONE",
            "--=x",
            "--Wrap=x",
        ] {
            assert!(Directive::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
