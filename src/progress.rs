//! Progress: a bar on a terminal, a few lines of text elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};
use tangram_pipeline::listener::Steps;

/// Maximum number of lines where there is no terminal.
const N_LINES: usize = 20;
/// Shorter work prints no lines.
const QUICK: Duration = Duration::from_secs(2);

/// The progress of work whose number of steps is known.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    noun: &'static str,
    n_steps: usize,
    begun: Instant,
}

#[derive(Debug)]
enum Display {
    Bar(ProgressBar),
    Lines,
}

impl Progress {
    /// Starts at step 0 of `n_steps`.
    ///
    /// * `noun`: what a step is, such as `epoch`
    #[must_use]
    pub fn begin(noun: &'static str, n_steps: usize) -> Self {
        let display = match std::io::stderr().is_terminal() {
            false => Display::Lines,
            true => {
                let bar = ProgressBar::with_draw_target(
                    Some(n_steps as u64),
                    ProgressDrawTarget::stderr_with_hz(5),
                );
                let style = "{prefix} {pos}/{len} {bar:30} {msg}{eta} left";
                bar.set_style(
                    ProgressStyle::with_template(style)
                        .expect("a valid template")
                        .progress_chars("=> "),
                );
                bar.set_prefix(noun);
                Display::Bar(bar)
            }
        };
        Self {
            display,
            noun,
            n_steps,
            begun: Instant::now(),
        }
    }
}

impl Steps for Progress {
    fn step(&self, done: usize, state: &dyn Fn() -> String) {
        match &self.display {
            Display::Bar(bar) => {
                bar.set_message(state());
                bar.set_position(done as u64);
            }
            Display::Lines => {
                if self.begun.elapsed() < QUICK {
                    return;
                }
                if done == 1
                    || done == self.n_steps
                    || done.is_multiple_of(self.n_steps.div_ceil(N_LINES - 2).max(1))
                {
                    let elapsed = self.begun.elapsed().as_secs_f64();
                    let left = elapsed / done.max(1) as f64
                        * (self.n_steps - done.min(self.n_steps)) as f64;
                    let (noun, n) = (self.noun, self.n_steps);
                    // A closed standard error is no reason to fail.
                    let _ = writeln!(
                        std::io::stderr(),
                        "{noun} {done}/{n}  {}{left:.0} s left",
                        state()
                    );
                }
            }
        }
    }
}

impl Drop for Progress {
    /// Removes the bar.
    fn drop(&mut self) {
        if let Display::Bar(bar) = &self.display {
            bar.finish_and_clear();
        }
    }
}
