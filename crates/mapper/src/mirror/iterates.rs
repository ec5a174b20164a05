//! The step rule of the factored solver: mirror descent without a schedule.

use crate::MapError;
use crate::snapshot::{Axes, Numbers, Resumable, Saved, Section};
use ndarray::{Array2, ArrayView2, Zip};
use tangram_comm::Shares;

/// Share of the average in the point where the gradient is taken.
const AVERAGE_SHARE: f64 = 0.98;

/// Factors that move, and their average, (genes + 1, voxels) each: Z, and b as the last row.
///
/// After Defazio et al. 2024 ("The road less scheduled"): the gradient is taken at `y = 0.02 z + 0.98 x`, `z` follows it,
/// `x` is the average of all `z` so far, the t-th with weight t. The average converges like a decaying step would, with no
/// need to know how many passes there will be. Averaging factors averages logits: the form softmax(S Zᵀ + 1 bᵀ) is kept.
#[derive(Debug, Clone)]
pub(crate) struct Iterates {
    moving: Array2<f64>,
    average: Array2<f64>,
    steps: f64,
    total_weight: f64,
}

impl Iterates {
    pub(crate) fn new(start: Array2<f64>) -> Self {
        Self {
            average: start.clone(),
            moving: start,
            steps: 0.0,
            total_weight: 0.0,
        }
    }

    /// Writes the point where the gradient is to be taken.
    pub(crate) fn point(&self, into: &mut Array2<f64>) {
        Zip::from(into)
            .and(&self.moving)
            .and(&self.average)
            .par_for_each(|y, &z, &x| *y = (1.0 - AVERAGE_SHARE) * z + AVERAGE_SHARE * x);
    }

    /// Adds `weight` times the point.
    pub(crate) fn add_point(&self, to: &mut Array2<f64>, weight: f64) {
        Zip::from(to)
            .and(&self.moving)
            .and(&self.average)
            .par_for_each(|to, &z, &x| {
                *to += weight * ((1.0 - AVERAGE_SHARE) * z + AVERAGE_SHARE * x);
            });
    }

    /// Follows `slope` down by `step`.
    pub(crate) fn follow(&mut self, slope: &Array2<f64>, step: f64) {
        self.steps += 1.0;
        self.total_weight += self.steps;
        let share = self.steps / self.total_weight;
        Zip::from(&mut self.moving)
            .and(&mut self.average)
            .and(slope)
            .par_for_each(|z, x, &slope| {
                *z -= step * slope;
                *x += share * (*z - *x);
            });
    }

    /// Starts anew from the average.
    pub(crate) fn restart(&mut self) {
        self.moving.assign(&self.average);
        (self.steps, self.total_weight) = (0.0, 0.0);
    }

    /// Starts anew from `start`.
    pub(crate) fn restart_at(&mut self, start: ArrayView2<'_, f64>) {
        self.average.assign(&start);
        self.restart();
    }
}

impl Resumable for Iterates {
    const NAME: &'static str = "iterates";

    fn save(&self, to: &mut Section<'_>) {
        to.common(&[self.steps, self.total_weight]);
        for (name, values) in [("moving", &self.moving), ("average", &self.average)] {
            let values = Numbers::Double(values.clone());
            to.array(name, Axes::GENES_AND_ONE_BY_VOXELS, values);
        }
    }

    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError> {
        let size = (Some(shares.genes.len() + 1), shares.voxels.len());
        [self.steps, self.total_weight] = from.common()?;
        self.moving = from.array("moving", size)?;
        self.average = from.array("average", size)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_is_descended_with_no_schedule() {
        // f(z) = Σ c (z − 1)²/2 with curvatures from 0.1 to 1.9: a step of 1 is nearly the largest that is stable.
        let curvature = |k: usize| 0.1 + 0.2 * k as f64;
        let mut iterates = Iterates::new(Array2::zeros((10, 1)));
        let mut point = Array2::zeros((10, 1));
        for _ in 0..200 {
            iterates.point(&mut point);
            let mut slope = point.clone();
            slope
                .indexed_iter_mut()
                .for_each(|((k, _), z)| *z = curvature(k) * (*z - 1.0));
            iterates.follow(&slope, 1.0);
        }
        iterates.point(&mut point);
        assert!(point.iter().all(|z| (z - 1.0).abs() < 1e-2), "{point}");
        iterates.restart();
        iterates.point(&mut point);
        assert!((point[[0, 0]] - iterates.average[[0, 0]]).abs() < 1e-12);
    }
}
