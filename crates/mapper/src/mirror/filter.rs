//! The filter of the factored solver, which learns: how much of every cell takes part, `Σ_i f_i = T` at every pass.
//!
//! `f_i = σ(h_i + μ)`, with μ found such that the sum is T. Mirror descent moves h against the slope of the loss by f,
//! `t_i = Σ_j P_ij (S_i·W_j + u_j)`; its unit is the standard deviation of t over the cells, so that no weight is to be chosen.
//! Differs: the package's filter adds terms for the number of cells and for decided ones, whose weights of 1 per cell
//! drown what the data say of a cell, so that it keeps the cells that its random start prefers.

use crate::MapError;
use crate::cost::tally::Tally;
use crate::mode::{Filter, logistic};
use crate::snapshot::{Axes, Numbers, Resumable, Saved, Section};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tangram_comm::Shares;

/// The filter moves after every fifth pass. The slope of the filter needs a third matrix product; an ordinary pass has two.
pub const EVERY: usize = 5;
/// It stays as it began before this pass: P must have found where cells belong.
const FIRST: usize = 10;
/// How far h moves first, in standard deviations of the slope; the n-th move is shorter by the factor `1 + n / SHORTER`.
const STEP: f64 = 0.8;
const SHORTER: f64 = 10.0;
/// A move that changes f by less than this share of T has settled.
const SETTLED: f64 = 0.02;
/// Beyond this a logistic function is 0 or 1 in double precision.
const SATURATED: f64 = 50.0;

/// A filter that learns, of all cells; all ranks have it alike.
#[derive(Debug, Clone)]
pub(crate) struct LearnedFilter {
    target: f64,
    /// h.
    pushes: Vec<f64>,
    /// f.
    kept: Vec<f64>,
    /// h of the best pass.
    best: Vec<f64>,
    /// W and u of the pass before, (genes + 1, voxels), where the next pass weighs cells by them.
    slope: Option<Array2<f64>>,
    /// By how much of T the last move changed f.
    moved: f64,
    /// Moves so far.
    n_moves: usize,
}

impl LearnedFilter {
    pub(crate) fn new(filter: &Filter, n_cells: usize) -> Self {
        let pushes = filter.initial.clone();
        let pushes = pushes.unwrap_or_else(|| vec![0.0; n_cells]);
        Self {
            target: filter.target,
            kept: kept(&pushes, filter.target),
            best: pushes.clone(),
            pushes,
            slope: None,
            moved: f64::INFINITY,
            n_moves: 0,
        }
    }

    /// f of all cells.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> &[f64] {
        &self.kept
    }

    /// f of some cells.
    pub(crate) fn of(&self, cells: Range<usize>) -> &[f64] {
        &self.kept[cells]
    }

    /// Σ f.
    pub(crate) fn mass(&self) -> f64 {
        self.kept.iter().sum()
    }

    /// W and u by which the pass to come weighs the cells.
    pub(crate) fn slope(&self) -> Option<&Array2<f64>> {
        self.slope.as_ref()
    }

    /// Whether the pass after `n_done` others weighs the cells.
    fn weighs_after(&self, n_done: usize) -> bool {
        let some_are_left_out = self.target < self.kept.len() as f64;
        some_are_left_out && n_done >= FIRST && n_done.is_multiple_of(EVERY)
    }

    /// Keeps the slope of a pass if the one to come, after `n_done` passes, weighs the cells by it.
    pub(crate) fn take_slope(&mut self, n_done: usize, slope: &Array2<f64>) {
        self.slope = self.weighs_after(n_done).then(|| slope.clone());
    }

    /// Moves by what a pass has weighed, t of all cells.
    pub(crate) fn learn(&mut self, weighed: &[f64]) {
        let n = weighed.len() as f64;
        let mean = weighed.iter().sum::<f64>() / n;
        let variance = weighed.iter().map(|t| (t - mean).powi(2)).sum::<f64>() / n;
        let unit = variance.sqrt();
        if unit > 0.0 && unit.is_finite() {
            let pushes = self.pushes.iter_mut().zip(weighed);
            let step = STEP / (1.0 + self.n_moves as f64 / SHORTER);
            pushes.for_each(|(push, t)| *push -= step * (t - mean) / unit);
            self.n_moves += 1;
        }
        let now = kept(&self.pushes, self.target);
        let pairs = now.iter().zip(&self.kept);
        self.moved = pairs.map(|(now, before)| (now - before).abs()).sum::<f64>() / self.target;
        self.kept = now;
        self.slope = None;
    }

    /// Whether it no longer moves.
    pub(crate) fn has_settled(&self) -> bool {
        self.target == self.kept.len() as f64 || self.moved < SETTLED
    }

    /// Remembers itself as that of the best pass.
    pub(crate) fn keep_best(&mut self) {
        self.best.clone_from(&self.pushes);
    }

    /// Goes back to the best pass.
    pub(crate) fn back_to_best(&mut self) {
        self.pushes.clone_from(&self.best);
        self.kept = kept(&self.pushes, self.target);
        self.slope = None;
    }

    /// f of the best pass.
    pub(crate) fn into_best(mut self) -> Vec<f64> {
        self.back_to_best();
        self.kept
    }
}

/// Declares what a pass that weighs cells exchanges to gather what it has weighed.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    tally.sum_over_cells(tally.shares().cells.whole_len());
}

/// `f_i = σ(h_i + μ)` with `Σ f = T`; all 1 if T is the number of cells.
fn kept(pushes: &[f64], target: f64) -> Vec<f64> {
    if target >= pushes.len() as f64 {
        return vec![1.0; pushes.len()];
    }
    let (least, most) = pushes
        .iter()
        .fold((f64::MAX, f64::MIN), |(l, m), &h| (l.min(h), m.max(h)));
    let (mut low, mut high) = (-most - SATURATED, -least + SATURATED);
    let mut shift = (target / (pushes.len() as f64 - target)).ln() - pushes[0];
    loop {
        if !(low < shift && shift < high) {
            shift = 0.5 * (low + high);
        }
        let (mut sum, mut slope) = (0.0, 0.0);
        for &h in pushes {
            let f = logistic(h + shift);
            sum += f;
            slope += f * (1.0 - f);
        }
        match sum > target {
            true => high = shift,
            false => low = shift,
        }
        // Newton's step, within what is known to hold the root.
        let next = shift + (target - sum) / slope;
        let ends = (next - shift).abs() <= 1e-14 * (1.0 + shift.abs())
            || high - low <= 1e-14 * (1.0 + high.abs());
        if ends {
            break;
        }
        shift = next;
    }
    pushes.iter().map(|&h| logistic(h + shift)).collect()
}

#[derive(Debug, Serialize, Deserialize)]
struct Common {
    /// `None`: it has not moved yet.
    moved: Option<f64>,
    n_moves: usize,
    /// Whether a slope is kept for the next pass.
    weighs: bool,
}

impl Resumable for LearnedFilter {
    const NAME: &'static str = "filter";

    fn save(&self, to: &mut Section<'_>) {
        to.common(&Common {
            moved: self.moved.is_finite().then_some(self.moved),
            n_moves: self.n_moves,
            weighs: self.slope.is_some(),
        });
        for (name, values) in [("pushes", &self.pushes), ("best", &self.best)] {
            let column = Array2::from_shape_vec((values.len(), 1), values.clone());
            let column = Numbers::Double(column.expect("one column"));
            to.array(name, Axes::ALIKE, column);
        }
        if let Some(slope) = &self.slope {
            let slope = Numbers::Double(slope.clone());
            to.array("slope", Axes::GENES_AND_ONE_BY_VOXELS, slope);
        }
    }

    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError> {
        let common: Common = from.common()?;
        let n_cells = Some(self.pushes.len());
        let column = |name| -> Result<Vec<f64>, MapError> {
            Ok(from.array(name, (n_cells, 1))?.into_raw_vec_and_offset().0)
        };
        self.pushes = column("pushes")?;
        self.best = column("best")?;
        self.kept = kept(&self.pushes, self.target);
        self.moved = common.moved.unwrap_or(f64::INFINITY);
        self.n_moves = common.n_moves;
        let size = (Some(shares.genes.len() + 1), shares.voxels.len());
        self.slope = match common.weighs {
            true => Some(from.array("slope", size)?),
            false => None,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn f_is_a_share_and_sums_to_the_target(
            pushes in proptest::collection::vec(-300.0f64..300.0, 1..80),
            share in 0.001f64..1.0,
        ) {
            let target = share * pushes.len() as f64;
            let f = kept(&pushes, target);
            prop_assert!(f.iter().all(|f| (0.0..=1.0).contains(f)));
            let sum: f64 = f.iter().sum();
            prop_assert!((sum - target).abs() < 1e-9 * target, "{} {}", sum, target);
            for (a, b) in pushes.iter().zip(&pushes[1..]).zip(f.iter().zip(&f[1..])).filter_map(
                |((a, b), f)| (a < b).then_some(f)) {
                prop_assert!(a <= b);
            }
        }
    }

    #[test]
    fn all_cells_or_one_are_kept() {
        assert_eq!(kept(&[3.0, -2.0], 2.0), [1.0, 1.0]);
        assert_eq!(kept(&[7.0], 1.0), [1.0]);
        let one = kept(&[0.0, 100.0, -5.0], 1.0);
        assert!((one[1] - 1.0).abs() < 1e-9 && one[0] < 1e-9);
        // A tie is shared.
        let halves = kept(&[4.0, 4.0], 1.0);
        assert!(halves.iter().all(|f| (f - 0.5).abs() < 1e-12));
    }

    #[test]
    fn cells_that_lower_the_loss_are_kept() {
        let mut filter = LearnedFilter::new(&Filter::new(2.0), 4);
        for _ in 0..30 {
            filter.learn(&[-1.0, 1.0, -1.1, 0.9]);
        }
        let f = filter.kept();
        assert!(f[0] > 0.99 && f[2] > 0.99 && f[1] < 0.01 && f[3] < 0.01);
        assert!(filter.has_settled());
        // Equal slopes say nothing.
        let before = filter.kept().to_vec();
        filter.learn(&[0.5; 4]);
        assert_eq!(filter.kept(), before);
    }
}
