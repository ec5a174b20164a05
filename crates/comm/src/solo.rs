//! [`Solo`]: the communicator of a single process.

use crate::Communicator;

/// A single rank. Its collectives return its own values.
#[derive(Debug, Clone, Copy, Default)]
pub struct Solo;

impl Communicator for Solo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn sum(&self, _values: &mut [f64]) {}

    fn sum_single(&self, _values: &mut [f32], work: &mut dyn FnMut()) {
        work();
    }

    fn max(&self, _values: &mut [f64]) {}

    fn gather(&self, mine: &[f64]) -> Vec<Vec<f64>> {
        vec![mine.to_vec()]
    }

    fn broadcast(&self, _values: &mut Vec<f64>) {}

    fn swap(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        to
    }

    fn split(&self, _color: usize) -> Self {
        Self
    }
}
