//! The two precisions in which a mapping is learned.

use crate::Numbers;
use crate::cpu::dense_product::Matrix;
use crate::cpu::lanes::Real;
use ndarray::Array2;
use tangram_comm::{Communicator, Grid};

/// [`Real`], with what depends on the precision outside the kernels: libtorch's kind, sums over ranks, snapshots.
pub(crate) trait Number: Real {
    /// The kind of libtorch's tensors.
    #[cfg(feature = "torch")]
    const KIND: tch::Kind;

    /// `c = a · b`, or `c += a · b`, on this thread: the same bits whatever works beside it.
    ///
    /// * `size`: rows of a, columns of a, columns of b
    ///
    /// # Safety
    /// The matrices lie inside of what their pointers may reach, and nothing else writes `c` or reads it meanwhile.
    unsafe fn multiply(
        size: [usize; 3],
        a: Matrix<*const Self>,
        b: Matrix<*const Self>,
        added: bool,
        c: Matrix<*mut Self>,
    );

    /// In a snapshot.
    fn numbers(values: Array2<Self>) -> Numbers;

    /// Sums logits over the ranks along the genes while `work` is done.
    fn sum_logits<K: Communicator>(grid: &Grid<K>, values: &mut [Self], work: &mut dyn FnMut());

    /// Sums what the ranks along the cells predict.
    fn sum_predicted<K: Communicator>(grid: &Grid<K>, values: &mut [Self]);
}

/// [`Number::multiply`] by a function of the crate that multiplies.
macro_rules! multiply_by {
    ($product:path) => {
        unsafe fn multiply(
            [rows, inner, columns]: [usize; 3],
            a: Matrix<*const Self>,
            b: Matrix<*const Self>,
            added: bool,
            c: Matrix<*mut Self>,
        ) {
            let kept = if added { 1.0 } else { 0.0 };
            let (a_row, a_column) = (a.row as isize, a.column as isize);
            let (b_row, b_column) = (b.row as isize, b.column as isize);
            let (c_row, c_column) = (c.row as isize, c.column as isize);
            // SAFETY: as the caller promises.
            unsafe {
                $product(
                    rows, inner, columns, 1.0, a.start, a_row, a_column, b.start, b_row, b_column,
                    kept, c.start, c_row, c_column,
                );
            }
        }
    };
}

impl Number for f32 {
    #[cfg(feature = "torch")]
    const KIND: tch::Kind = tch::Kind::Float;

    multiply_by!(matrixmultiply::sgemm);

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
    #[cfg(feature = "torch")]
    const KIND: tch::Kind = tch::Kind::Double;

    multiply_by!(matrixmultiply::dgemm);

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
