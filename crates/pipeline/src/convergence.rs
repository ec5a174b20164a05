//! When a training will converge, guessed from its losses so far.

use std::ops::RangeInclusive;

/// Passes over which the change of the loss is compared with the tolerance, as the solvers do.
const OVER: usize = 10;
/// Changes that must be known before anything is guessed.
const KNOWN: usize = 15;
/// Latest changes from which a guess is made.
const LATEST: usize = 40;

/// The losses of a training that stops when they hardly change.
#[derive(Debug, Clone)]
pub(crate) struct Convergence {
    tolerance: f64,
    most: usize,
    losses: Vec<f64>,
}

impl Convergence {
    /// * `tolerance`: relative change of the loss over ten passes at which training stops
    /// * `most`: passes after which it stops in any case
    pub(crate) fn new(tolerance: f64, most: usize) -> Self {
        Self {
            tolerance,
            most,
            losses: Vec::new(),
        }
    }

    /// After one more pass: the first and the last pass at which training may converge; `None` if nothing can be said.
    ///
    /// Changes of a loss fall like a power of the number of passes at first and like an exponential at the end; a straight line through
    /// their logarithms, over the passes and over the logarithm of the passes, gives the two ends.
    pub(crate) fn after(&mut self, loss: f64) -> Option<RangeInclusive<usize>> {
        self.losses.push(loss);
        let n = self.losses.len();
        let first = n.saturating_sub(LATEST).max(OVER);
        let changes: Vec<(f64, f64)> = (first..n)
            .filter_map(|t| {
                let (now, before) = (self.losses[t], self.losses[t - OVER]);
                let change = ((now - before) / now).abs();
                (change > 0.0 && change.is_finite()).then(|| ((t + 1) as f64, change.ln()))
            })
            .collect();
        if changes.len() < KNOWN {
            return None;
        }
        let goal = self.tolerance.ln();
        let exponential = crossing(&changes, goal)?;
        let by_log: Vec<(f64, f64)> = changes.iter().map(|&(t, c)| (t.ln(), c)).collect();
        let power = crossing(&by_log, goal)?.exp();
        let pass = |t: f64| (t.ceil().max((n + 1) as f64) as usize).min(self.most);
        let ends = (pass(exponential.min(power)), pass(exponential.max(power)));
        // So far off that it may be anything.
        (ends.0 < self.most).then_some(ends.0..=ends.1)
    }
}

/// Where the least-squares line through the points falls to `goal`; `None` if it does not fall.
fn crossing(points: &[(f64, f64)], goal: f64) -> Option<f64> {
    let n = points.len() as f64;
    let (mean_x, mean_y) = points
        .iter()
        .fold((0.0, 0.0), |(x, y), p| (x + p.0 / n, y + p.1 / n));
    let (mut xy, mut xx) = (0.0, 0.0);
    for (x, y) in points {
        xy += (x - mean_x) * (y - mean_y);
        xx += (x - mean_x) * (x - mean_x);
    }
    let slope = xy / xx;
    (slope < 0.0).then(|| mean_x + (goal - mean_y) / slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pass at which a loss converges, and what was guessed after some passes.
    fn check(loss: impl Fn(f64) -> f64, after: usize) -> (usize, Option<RangeInclusive<usize>>) {
        let tolerance = 5e-4;
        let change = |t: usize| {
            let (now, before) = (loss(t as f64), loss((t - OVER) as f64));
            ((now - before) / now).abs()
        };
        let converged = (OVER + 1..).find(|&t| change(t) < tolerance).unwrap();
        let mut convergence = Convergence::new(tolerance, 500);
        let guessed = (1..=after)
            .map(|t| convergence.after(loss(t as f64)))
            .last();
        (converged, guessed.flatten())
    }

    #[test]
    fn the_pass_of_convergence_lies_within_the_guess() {
        for after in [30, 40] {
            let (converged, guess) = check(|t| -0.7 + 0.4 * (-t / 15.0).exp(), after);
            let guess = guess.unwrap();
            assert!(guess.contains(&converged), "{converged} not in {guess:?}");
            let (converged, guess) = check(|t| -0.7 + 0.3 / (t + 10.0), after);
            let guess = guess.unwrap();
            let near = *guess.start()..=guess.end() + 3;
            assert!(near.contains(&converged), "{converged} not in {guess:?}");
        }
    }

    #[test]
    fn nothing_is_said_too_early_or_of_a_loss_that_does_not_settle() {
        assert_eq!(check(|t| -0.7 + 0.4 * (-t / 15.0).exp(), 20).1, None);
        // Changes that grow.
        let mut faster = Convergence::new(5e-4, 500);
        let last = (1..60)
            .map(|t| faster.after(-(f64::from(t) / 20.0).exp2().exp2()))
            .last();
        assert_eq!(last.flatten(), None);
    }
}
