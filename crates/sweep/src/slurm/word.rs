//! Texts that can be written into a script without quoting.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};

/// A text that Slurm and bash take for one word and nothing else: a partition, an account, a feature, a node, a module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Word(String);

impl Word {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Word> for String {
    fn from(word: Word) -> Self {
        word.0
    }
}

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Slurm reads blanks, quotes, backslashes and # in a directive in its own way.
        match text.chars().find(|c| !is_plain(*c)) {
            Some(c) => Err(format!(
                "{c:?} cannot stand here; letters, digits and {PUNCTUATION} can"
            )),
            None if text.is_empty() => Err("is empty; leave the field out".to_owned()),
            None if text.starts_with('-') => Err("a value cannot begin with -".to_owned()),
            None => Ok(Self(text)),
        }
    }
}

/// Allowed besides letters and digits: the characters of lists, features, versions and sizes.
const PUNCTUATION: &str = "_ . , : = / + @ ~ - * & | ( ) [ ]";

/// Whether a character means nothing to Slurm's reader of directives.
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || (c != ' ' && PUNCTUATION.contains(c))
}

/// Name of an environment variable that a profile may set.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VariableName(String);

impl VariableName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<VariableName> for String {
    fn from(name: VariableName) -> Self {
        name.0
    }
}

/// Variables that make bash run something, or that bash does not allow to be set.
const OF_BASH: [&str; 12] = [
    "BASH_ENV",
    "ENV",
    "BASHOPTS",
    "SHELLOPTS",
    "IFS",
    "PS4",
    "PROMPT_COMMAND",
    "EUID",
    "UID",
    "PPID",
    "BASH_VERSINFO",
    "BASH_XTRACEFD",
];

impl TryFrom<String> for VariableName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let mut chars = name.chars();
        let first = chars
            .next()
            .is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        if !first || !chars.all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!(
                "{name:?} is no name of a variable: letters, digits and _, not a digit first"
            ));
        }
        if OF_BASH.contains(&name.as_str()) {
            return Err(format!(
                "{name} means something to bash itself; what is to be run belongs into `setup`"
            ));
        }
        if ["SLURM_", "SBATCH_"].iter().any(|p| name.starts_with(p)) {
            return Err(format!("{name} is for Slurm to set"));
        }
        Ok(Self(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_one_word_to_slurm_and_to_bash() {
        for good in ["gpu", "a&b|c", "gpu:h100:1", "[rack1*2]", "vn[1-3],x"] {
            assert!(Word::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-w",
            "--wrap=id",
            "a b",
            "a\nb",
            "a#b",
            "a'b",
            "a\"b",
            "$(id)",
            "`id`",
            "a\\b",
            "%j",
            "é",
            "a;b",
            "a\tb",
            "a>b",
            "a!b",
        ] {
            assert!(Word::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }

    #[test]
    fn variables_that_run_something_are_refused() {
        for good in ["PATH", "_x1", "OMPI_MCA_btl"] {
            assert!(VariableName::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "1a",
            "a b",
            "a=b",
            "BASH_ENV",
            "SLURM_JOB_ID",
            "x;id",
            "a\nb",
            "é",
        ] {
            assert!(VariableName::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
