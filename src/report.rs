//! What the person, or the program that called, gets to read.

use crate::args::GlobalArgs;
use anyhow::Result;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, Write};

/// Where reports go: text for people to standard output, or, with `--json`, to standard error beside a summary for
/// programs on standard output.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    detail: Detail,
    json: bool,
}

/// How much to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Only what went wrong.
    Quiet,
    /// What a person wants to know.
    Normal,
    /// Also what explains it.
    Verbose,
}

impl Report {
    /// The report that the global flags ask for.
    #[must_use]
    pub fn new(global: &GlobalArgs) -> Self {
        let detail = match (global.quiet, global.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        };
        Self {
            detail,
            json: global.json,
        }
    }

    /// A report that says nothing but errors.
    #[must_use]
    pub fn silent() -> Self {
        Self {
            detail: Detail::Quiet,
            json: false,
        }
    }

    /// How much to say.
    #[must_use]
    pub fn detail(self) -> Detail {
        self.detail
    }

    /// Says a line.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn say(self, line: impl Display) -> io::Result<()> {
        self.line(Detail::Normal, line)
    }

    /// Says a line to those who want to hear more.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn explain(self, line: impl Display) -> io::Result<()> {
        self.line(Detail::Verbose, line)
    }

    /// Says what may be a mistake, on standard error.
    pub fn warn(self, line: impl Display) {
        if self.detail > Detail::Quiet {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "warning: {line}");
        }
    }

    /// Gives the summary to a program that asked for it.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn summary(self, summary: &impl Serialize) -> Result<()> {
        if self.json {
            writeln!(io::stdout(), "{}", serde_json::to_string_pretty(summary)?)?;
        }
        Ok(())
    }

    fn line(self, detail: Detail, line: impl Display) -> io::Result<()> {
        match (self.detail >= detail, self.json) {
            (false, _) => Ok(()),
            (true, true) => writeln!(io::stderr(), "{line}"),
            (true, false) => writeln!(io::stdout(), "{line}"),
        }
    }
}

/// A count with its noun: `1 gene`, `2 genes`.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    let ending = match n {
        1 => "",
        _ if noun.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {noun}{ending}", thousands(n))
}

/// A whole number with its thousands apart: `58,022`.
#[must_use]
pub fn thousands(n: usize) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time as people say it: `8 s`, `12 min`, `3.5 h`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0} s"),
        s if s < 6000.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        let texts = [0, 12, 999, 1_000, 58_022, 1_000_000].map(thousands);
        assert_eq!(texts, ["0", "12", "999", "1,000", "58,022", "1,000,000"]);
        assert_eq!(count(1, "gene"), "1 gene");
        assert_eq!(
            [8.2, 700.0, 12_600.0].map(duration),
            ["8 s", "12 min", "3.5 h"]
        );
        assert_eq!(count(2, "pass"), "2 passes");
    }
}
