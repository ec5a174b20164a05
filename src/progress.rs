//! Progress: one line that changes on a terminal, a few lines of text elsewhere. No line is longer than 60 columns.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tangram_pipeline::listener::Steps;
use tangram_pipeline::wording::duration;

/// Maximum number of lines where there is no terminal,
const N_LINES: usize = 20;
/// and the time between them.
const APART: Duration = Duration::from_secs(10);
/// Shorter work prints no lines.
const QUICK: Duration = Duration::from_secs(2);

/// The progress of work whose number of steps is known.
#[derive(Debug)]
pub struct Progress {
    bar: Option<ProgressBar>,
    noun: &'static str,
    n_steps: usize,
    begun: Instant,
    end: Mutex<End>,
    /// When the last line was printed.
    last: Mutex<Option<Instant>>,
}

/// Where the work is expected to end.
#[derive(Debug, Clone)]
enum End {
    /// With its last step.
    Last,
    /// Perhaps before it, at an unknown step.
    Unknown,
    /// Within these steps.
    Within(RangeInclusive<usize>),
}

impl Progress {
    /// Starts at step 0 of `n_steps`.
    ///
    /// * `noun`: what a step is, such as `epoch`
    #[must_use]
    pub fn begin(noun: &'static str, n_steps: usize) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let target = ProgressDrawTarget::stderr_with_hz(5);
            let bar = ProgressBar::with_draw_target(Some(n_steps as u64), target);
            let style = ProgressStyle::with_template("{prefix} {pos}/{len} {bar:8} {msg}");
            bar.set_style(style.expect("a valid template").progress_chars("=> "));
            bar.set_prefix(noun);
            bar
        });
        Self {
            bar,
            noun,
            n_steps,
            begun: Instant::now(),
            end: Mutex::new(End::Last),
            last: Mutex::new(None),
        }
    }

    /// Whether a step has a line where there is no terminal: some steps, not too soon after another, and the last one.
    fn is_due(&self, done: usize) -> bool {
        let n = self.n_steps;
        let is_some = done == 1 || done == n || done.is_multiple_of(n.div_ceil(N_LINES - 2).max(1));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let too_soon = last.is_some_and(|last| last.elapsed() < APART) && done < n;
        let due = is_some && !too_soon && self.begun.elapsed() >= QUICK;
        if due {
            *last = Some(Instant::now());
        }
        due
    }

    /// How long the work will still take, in words; empty if that is unknown.
    fn left(&self, done: usize) -> String {
        let step = self.begun.elapsed().as_secs_f64() / done.max(1) as f64;
        let seconds = |last: usize| step * last.saturating_sub(done) as f64;
        match &*self.end.lock().unwrap_or_else(PoisonError::into_inner) {
            End::Unknown => String::new(),
            End::Last => format!("{} left", duration(seconds(self.n_steps))),
            End::Within(steps) => {
                let ends = [*steps.start(), *steps.end()].map(|last| duration(seconds(last)));
                match ends[0] == ends[1] {
                    true => format!("about {} left", ends[0]),
                    false => format!("{} to {} left", ends[0], ends[1]),
                }
            }
        }
    }
}

impl Steps for Progress {
    fn step(&self, done: usize, state: &dyn Fn() -> String) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}{}", state(), self.left(done)));
            bar.set_position(done as u64);
            return;
        }
        let (noun, n) = (self.noun, self.n_steps);
        if self.is_due(done) {
            let line = format!("{noun} {done}/{n}  {}{}", state(), self.left(done));
            // A closed standard error is no reason to fail.
            let _ = writeln!(std::io::stderr(), "{}", line.trim_end());
        }
    }

    fn may_end(&self, at: Option<RangeInclusive<usize>>) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) =
            at.map_or(End::Unknown, End::Within);
    }
}

impl Drop for Progress {
    /// Removes the bar.
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_there_is_no_terminal_quick_steps_have_no_line_each() {
        let mut progress = Progress::begin("fold", 8);
        progress.begun = Instant::now() - Duration::from_secs(3);
        let due: Vec<usize> = (1..=8).filter(|&done| progress.is_due(done)).collect();
        assert_eq!(due, [1, 8]);
    }

    #[test]
    fn time_left_is_a_range_or_nothing_where_work_may_end_early() {
        let mut progress = Progress::begin("epoch", 500);
        progress.begun = Instant::now() - Duration::from_secs(100);
        assert_eq!(progress.left(50), "15 min left");
        progress.may_end(None);
        assert_eq!(progress.left(50), "");
        progress.may_end(Some(60..=70));
        assert_eq!(progress.left(50), "20 s to 40 s left");
        let line = format!("epoch 50/500 {:8} loss -0.12345  {}", "", progress.left(50));
        assert!(line.chars().count() <= 60, "{line}");
        progress.may_end(Some(60..=60));
        assert_eq!(progress.left(50), "about 20 s left");
    }
}
