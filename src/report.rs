//! Messages for the user, and a summary for programs.

use crate::plain::Plain;
use crate::progress::Progress;
use crate::{exit_record, interrupt, test_pause};
use anyhow::Result;
use serde::Serialize;
use std::fmt::{Arguments, Display};
use std::io::{self, Write};
use tangram_pipeline::listener::{LastWords, Listener, Silent, Steps};

/// Where messages go: to standard output; with `--json` to standard error, with a summary for programs on standard output.
#[derive(Debug, Clone, Copy)]
pub struct Report {
    detail: Detail,
    json: bool,
}

/// How much to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Errors only.
    Quiet,
    /// The usual messages.
    Normal,
    /// More details.
    Verbose,
}

impl Report {
    /// A report with this much detail.
    ///
    /// * `json`: whether standard output is for a program
    #[must_use]
    pub fn new(detail: Detail, json: bool) -> Self {
        Self { detail, json }
    }

    /// Prints a line.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn say(self, line: impl Display) -> io::Result<()> {
        self.line(Detail::Normal, line)
    }

    /// Names the command that people run next.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn next(self, command: impl Display) -> io::Result<()> {
        self.line(Detail::Normal, format_args!("next: {command}"))
    }

    /// Prints a line of detail.
    ///
    /// # Errors
    /// If standard output is closed.
    pub fn explain(self, line: impl Display) -> io::Result<()> {
        self.line(Detail::Verbose, line)
    }

    /// Prints a warning on standard error.
    pub fn warn(self, line: impl Display) {
        if self.detail > Detail::Quiet {
            // Nobody is left to tell if standard error is closed.
            let _ = writeln!(io::stderr(), "warning: {}", Plain(line));
        }
    }

    /// Prints the summary if `--json` asks for it.
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
            (true, true) => writeln!(io::stderr(), "{}", Plain(line)),
            (true, false) => writeln!(io::stdout(), "{}", Plain(line)),
        }
    }
}

impl Listener for Report {
    fn say(&self, line: Arguments<'_>) -> io::Result<()> {
        self.line(Detail::Normal, line)
    }

    fn explain(&self, line: Arguments<'_>) -> io::Result<()> {
        self.line(Detail::Verbose, line)
    }

    fn warn(&self, line: Arguments<'_>) {
        Report::warn(*self, line);
    }

    fn steps(&self, noun: &'static str, n_steps: usize) -> Box<dyn Steps + '_> {
        match self.detail {
            Detail::Quiet => Box::new(Silent),
            _ => Box::new(Progress::begin(noun, n_steps)),
        }
    }

    fn begins(&self, rank: usize, n_ranks: usize) {
        exit_record::begin(rank, n_ranks);
    }

    fn passed(&self, passes: usize) {
        exit_record::passed(passes);
        test_pause::after_pass();
    }

    fn trained(&self) {
        interrupt::end_if_asked();
    }

    fn stop_asked(&self) -> bool {
        interrupt::stop_asked()
    }

    fn asks_whether_to_stop(&self, yes: bool) {
        interrupt::keeps_state(yes);
    }

    fn last_words(&self, words: Option<LastWords>) {
        interrupt::last_words(words);
    }
}
