//! The two precisions in which a mapping is learned.

use crate::Numbers;
use crate::cpu::lanes::Real;
use ndarray::Array2;
use tangram_comm::{Communicator, Grid};

/// [`Real`], with what depends on the precision outside the kernels: libtorch's kind, sums over ranks, snapshots.
pub(crate) trait Number: Real {
    /// The kind of libtorch's tensors.
    const KIND: tch::Kind;

    /// In a snapshot.
    fn numbers(values: Array2<Self>) -> Numbers;

    /// Sums logits over the ranks along the genes while `work` is done.
    fn sum_logits<K: Communicator>(grid: &Grid<K>, values: &mut [Self], work: &mut dyn FnMut());

    /// Sums what the ranks along the cells predict.
    fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]);
}

impl Number for f32 {
    const KIND: tch::Kind = tch::Kind::Float;

    fn numbers(values: Array2<Self>) -> Numbers {
        Numbers::Single(values)
    }

    fn sum_logits<K: Communicator>(grid: &Grid<K>, values: &mut [Self], work: &mut dyn FnMut()) {
        grid.sum_logits_single(values, work);
    }

    fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]) {
        grid.sum_predicted_single(values);
    }
}

impl Number for f64 {
    const KIND: tch::Kind = tch::Kind::Double;

    fn numbers(values: Array2<Self>) -> Numbers {
        Numbers::Double(values)
    }

    fn sum_logits<K: Communicator>(grid: &Grid<K>, values: &mut [Self], work: &mut dyn FnMut()) {
        grid.sum_logits(values, work);
    }

    fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]) {
        grid.sum_predicted(values);
    }
}
