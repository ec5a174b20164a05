//! What the pipeline tells whoever called it while it works, and how it learns that it is to stop.

use std::fmt::Arguments;
use std::io;
use std::ops::RangeInclusive;

/// Hears what happens during a long call, and says when it is to end.
///
/// A program that wants to hear nothing passes [`Silent`].
pub trait Listener: Sync {
    /// A line that tells a person how the work goes.
    ///
    /// # Errors
    /// If nobody can hear it any more: the call ends with this error.
    fn say(&self, line: Arguments<'_>) -> io::Result<()>;

    /// A line for those who want to know more.
    ///
    /// # Errors
    /// As [`say`](Self::say).
    fn explain(&self, line: Arguments<'_>) -> io::Result<()>;

    /// Something that may be a mistake of the user.
    fn warn(&self, line: Arguments<'_>);

    /// Work of a known number of steps begins; it ends when the returned value is dropped.
    ///
    /// * `noun`: what a step is, such as `epoch`
    fn steps(&self, noun: &'static str, n_steps: usize) -> Box<dyn Steps + '_>;

    /// This rank of a mapping begins: the place of the output is its own from now on.
    fn begins(&self, _rank: usize, _n_ranks: usize) {}

    /// So many passes of a training are done.
    fn passed(&self, _passes: usize) {}

    /// Whether the work is to stop as soon as it can, with its state kept. Asked after every pass.
    fn stop_asked(&self) -> bool {
        false
    }

    /// A training has come to its end, and what follows is not asked whether to stop. A program that was asked to stop too late for the
    /// training to notice may end here.
    fn trained(&self) {}

    /// From now on [`stop_asked`](Self::stop_asked) is asked regularly (`true`), or no longer (`false`).
    fn asks_whether_to_stop(&self, _yes: bool) {}

    /// What to do if a request to stop ends the process from now on; `None`: nothing.
    fn last_words(&self, _words: Option<LastWords>) {}
}

/// What a process does when it is ended.
pub type LastWords = Box<dyn FnOnce() + Send>;

/// Hears how far some work is.
pub trait Steps: Sync {
    /// `done` steps are done; `state` says how things stand.
    fn step(&self, done: usize, state: &dyn Fn() -> String);

    /// The work may end before its last step: the first and the last step at which it is expected to, or `None` if that is unknown. Where
    /// this is never called, it ends with its last step.
    fn may_end(&self, _at: Option<RangeInclusive<usize>>) {}
}

/// Hears nothing and never asks to stop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Steps for Silent {
    fn step(&self, _: usize, _: &dyn Fn() -> String) {}
}

impl Listener for Silent {
    fn say(&self, _: Arguments<'_>) -> io::Result<()> {
        Ok(())
    }

    fn explain(&self, _: Arguments<'_>) -> io::Result<()> {
        Ok(())
    }

    fn warn(&self, _: Arguments<'_>) {}

    fn steps(&self, _: &'static str, _: usize) -> Box<dyn Steps + '_> {
        Box::new(Self)
    }
}

/// Hears nothing, but asks to stop when another listener does: what ranks other than the first hear.
pub struct Muted<'a>(pub &'a dyn Listener);

impl Listener for Muted<'_> {
    fn say(&self, _: Arguments<'_>) -> io::Result<()> {
        Ok(())
    }

    fn explain(&self, _: Arguments<'_>) -> io::Result<()> {
        Ok(())
    }

    fn warn(&self, _: Arguments<'_>) {}

    fn steps(&self, _: &'static str, _: usize) -> Box<dyn Steps + '_> {
        Box::new(Silent)
    }

    fn begins(&self, rank: usize, n_ranks: usize) {
        self.0.begins(rank, n_ranks);
    }

    fn passed(&self, passes: usize) {
        self.0.passed(passes);
    }

    fn stop_asked(&self) -> bool {
        self.0.stop_asked()
    }

    fn trained(&self) {
        self.0.trained();
    }

    fn asks_whether_to_stop(&self, yes: bool) {
        self.0.asks_whether_to_stop(yes);
    }
}
