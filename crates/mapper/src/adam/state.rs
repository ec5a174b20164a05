//! The state of Adam, and P read from it.

mod shared;
mod weighted;

use crate::adam::row_weights::RowWeights;
use crate::cpu::adam_row::{AdamStep, RowStep};
use crate::cpu::aligned::zeros;
use crate::cpu::products::Layout;
use crate::cpu::sharded_softmax::ROWS;
use crate::cpu::softmax::{MOST_LANES, RowNorm, Softmax, SoftmaxOf};
use crate::history::Epoch;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::snapshot::{Axes, Resumable, Saved, Section, Snapshot};
use crate::{MapError, Precision};
use ndarray::Array2;
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::{Communicator, Shares};
use tangram_core::{MappingBlock, MappingRows, PBlock};

/// Free logits with Adam's moments, (cells, voxels) each.
#[derive(Debug, Clone)]
pub(crate) struct AdamState<T> {
    pub(crate) n_voxels: usize,
    pub(crate) logits: Vec<T>,
    first_moment: Vec<T>,
    second_moment: Vec<T>,
    pub(crate) norms: Vec<RowNorm<T>>,
    /// What this rank's rows count.
    pub(crate) weights: RowWeights,
}

impl<T: Number> AdamState<T> {
    pub(crate) fn new(logits: Vec<T>, n_voxels: usize, weights: RowWeights) -> Self {
        let zeros = || vec![T::default(); logits.len()];
        let norms = vec![RowNorm::default(); logits.len() / n_voxels];
        Self {
            n_voxels,
            first_moment: zeros(),
            second_moment: zeros(),
            norms,
            logits,
            weights,
        }
    }

    /// The state of a snapshot.
    ///
    /// * `weights`: as at the beginning of the training
    pub(crate) fn resumed(
        snapshot: &Snapshot,
        weights: RowWeights,
        shares: &Shares,
    ) -> Result<Self, MapError> {
        let mut state = Self::new(Vec::new(), shares.voxels.len(), weights);
        snapshot.restore(&mut state, shares)?;
        Ok(state)
    }

    /// Of logits, first and second moments, (cells, voxels) each.
    pub(crate) fn of_matrices(
        [logits, first, second]: [Vec<T>; 3],
        n_voxels: usize,
        weights: RowWeights,
    ) -> Self {
        Self {
            n_voxels,
            norms: vec![RowNorm::default(); logits.len() / n_voxels],
            logits,
            first_moment: first,
            second_moment: second,
            weights,
        }
    }

    /// Logits, first and second moments, (cells, voxels) each.
    pub(crate) fn matrices(&self) -> [&[T]; 3] {
        [&self.logits, &self.first_moment, &self.second_moment]
    }

    /// Computes the norms of all rows.
    pub(crate) fn take_norms(&mut self, ranks: Ranks<'_, impl Communicator>) {
        let (n_cells, n_voxels, most) = (
            ranks.shares.cells.len(),
            ranks.shares.voxels.len(),
            ranks.most(),
        );
        // Density and precision do not matter: there is no product.
        let precision = Precision::F32;
        let layout = Layout::shared::<T>(n_cells, n_voxels, most, 0.0, precision);
        let stride = layout.stride::<T>();
        let mut rows = zeros(layout.cells_per_block * stride);
        for first in (0..n_cells).step_by(layout.cells_per_block) {
            let cells = first..n_cells.min(first + layout.cells_per_block);
            let rows = &mut rows[..cells.len() * stride];
            self.softmax(cells, stride, rows, ranks);
        }
    }

    /// Entropies of the rows of some cells, in nats.
    pub(crate) fn entropies(&self, cells: Range<usize>) -> impl Iterator<Item = f64> {
        self.norms[cells].iter().map(|norm| norm.entropy.to_f64())
    }

    /// P of a block of cells, rows `stride` apart; keeps the rows' norms.
    pub(crate) fn softmax(
        &mut self,
        block: Range<usize>,
        stride: usize,
        rows: &mut [T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        if ranks.shares.voxels.n_blocks() > 1 {
            return self.shared_softmax(block, stride, rows, ranks);
        }
        let arch = Arch::new();
        let entries = block.start * self.n_voxels..block.end * self.n_voxels;
        let logits = self.logits[entries].par_chunks(self.n_voxels);
        let norms = self.norms[block].par_iter_mut();
        rows.par_chunks_mut(stride)
            .zip(logits)
            .zip(norms)
            .with_min_len(ROWS)
            .for_each(|((probabilities, logits), norm)| {
                *norm = arch.dispatch(Softmax {
                    logits,
                    probabilities,
                })
            });
    }

    /// One step of Adam on a block of cells, then P of the new logits.
    ///
    /// * `gradient`: rows `stride` apart: on entry `S_i·W_j + u_j/C`, on return P
    pub(crate) fn step(
        &mut self,
        block: Range<usize>,
        stride: usize,
        gradient: &mut [T],
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        if ranks.shares.voxels.n_blocks() > 1 {
            return self.shared_step(block, stride, gradient, step, ranks);
        }
        let arch = Arch::new();
        self.step_rows(block, (stride, gradient), step, |_, row| {
            (arch.dispatch(row), ())
        });
    }

    /// Steps every row of a block whose voxels are all here, and gives what `work` gives beside the norm of the new row.
    ///
    /// * `work`: gets the row's place in the block
    fn step_rows<R: Send>(
        &mut self,
        block: Range<usize>,
        (stride, gradient): (usize, &mut [T]),
        step: AdamStep<T>,
        work: impl Fn(usize, RowStep<'_, T>) -> (RowNorm<T>, R) + Sync,
    ) -> Vec<R> {
        let n_voxels = self.n_voxels;
        let entries = block.start * n_voxels..block.end * n_voxels;
        let logits = self.logits[entries.clone()].par_chunks_mut(n_voxels);
        let first = self.first_moment[entries.clone()].par_chunks_mut(n_voxels);
        let second = self.second_moment[entries].par_chunks_mut(n_voxels);
        let norms = self.norms[block].par_iter_mut();
        let rows = gradient
            .par_chunks_mut(stride)
            .zip(logits)
            .zip(first.zip(second))
            .zip(norms)
            .enumerate();
        rows.with_min_len(ROWS)
            .map_init(
                || zeros(stride),
                |room, (i, (((gradient, logits), (first_moment, second_moment)), norm))| {
                    let row = RowStep {
                        logits,
                        first_moment,
                        second_moment,
                        gradient,
                        room,
                        norm: *norm,
                        step,
                    };
                    let (new, found) = work(i, row);
                    *norm = new;
                    found
                },
            )
            .collect()
    }
}

impl<T: Number> Resumable for AdamState<T> {
    const NAME: &'static str = "adam";

    fn save(&self, to: &mut Section<'_>) {
        let size = (self.norms.len(), self.n_voxels);
        let names = ["logits", "first_moment", "second_moment"];
        for (name, values) in names.into_iter().zip(self.matrices()) {
            let values = Array2::from_shape_vec(size, values.to_vec()).expect("whole rows");
            to.array(name, Axes::CELLS_BY_VOXELS, T::numbers(values));
        }
        self.weights.save(to);
    }

    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError> {
        let n_voxels = shares.voxels.len();
        let array = |name| -> Result<Vec<T>, MapError> {
            let values = from.array(name, (Some(shares.cells.len()), n_voxels))?;
            Ok(values.iter().map(|&x| T::from_f64(x)).collect())
        };
        let matrices = [
            array("logits")?,
            array("first_moment")?,
            array("second_moment")?,
        ];
        let mut weights = std::mem::take(&mut self.weights);
        weights.restore(from)?;
        *self = Self::of_matrices(matrices, n_voxels, weights);
        Ok(())
    }
}

impl<T: Number> AdamState<T> {
    /// P of some cells, (cells, voxels).
    fn probabilities<N: Send + Default + Copy>(
        &self,
        cells: Range<usize>,
        number: impl Fn(T) -> N + Sync,
    ) -> Array2<N> {
        let (arch, n_voxels) = (Arch::new(), self.n_voxels);
        let mut out = vec![N::default(); cells.len() * n_voxels];
        let logits = self.logits[cells.start * n_voxels..cells.end * n_voxels].par_chunks(n_voxels);
        let norms = self.norms[cells.clone()].par_iter();
        out.par_chunks_mut(n_voxels)
            .zip(logits.zip(norms))
            .for_each_init(
                || zeros(n_voxels.next_multiple_of(MOST_LANES)),
                |probabilities, (out, (logits, &norm))| {
                    arch.dispatch(SoftmaxOf {
                        logits,
                        norm,
                        probabilities,
                    });
                    out.iter_mut()
                        .zip(probabilities.iter())
                        .for_each(|(to, &p)| *to = number(p));
                },
            );
        Array2::from_shape_vec((cells.len(), n_voxels), out).expect("whole rows")
    }
}

/// A mapping learned by Adam: logits in the precision they were learned in, P computed as it is read.
#[derive(Debug, Clone)]
pub struct Trained {
    pub(crate) learned: Learned,
    pub(crate) history: Vec<Epoch>,
    pub(crate) stopped_early: bool,
}

#[derive(Debug, Clone)]
pub(crate) enum Learned {
    F32(AdamState<f32>),
    F64(AdamState<f64>),
}

impl Learned {
    /// One of the (cells, voxels) matrices, for some cells, in double precision.
    fn matrix(
        &self,
        cells: Range<usize>,
        single: impl Fn(&AdamState<f32>) -> &Vec<f32>,
        double: impl Fn(&AdamState<f64>) -> &Vec<f64>,
    ) -> Array2<f64> {
        let (n_voxels, n_cells) = (self.n_voxels(), cells.len());
        let range = cells.start * n_voxels..cells.end * n_voxels;
        let values = match self {
            Self::F32(state) => single(state)[range].iter().map(|&x| f64::from(x)).collect(),
            Self::F64(state) => double(state)[range].to_vec(),
        };
        Array2::from_shape_vec((n_cells, n_voxels), values).expect("whole rows")
    }

    fn n_voxels(&self) -> usize {
        match self {
            Self::F32(state) => state.n_voxels,
            Self::F64(state) => state.n_voxels,
        }
    }

    fn n_cells(&self) -> usize {
        match self {
            Self::F32(state) => state.norms.len(),
            Self::F64(state) => state.norms.len(),
        }
    }
}

impl Trained {
    /// The loss terms of every epoch, each before its step.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// Whether training ended on a plateau of the loss, before its last epoch.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        self.stopped_early
    }

    /// f of this rank's cells, where a filter was learned.
    #[must_use]
    pub fn filter(&self) -> Option<&[f64]> {
        match &self.learned {
            Learned::F32(state) => state.weights.filter(),
            Learned::F64(state) => state.weights.filter(),
        }
    }

    /// Adam's first moment of the filter's logits, likewise.
    #[must_use]
    pub fn filter_first_moment(&self) -> Option<&[f64]> {
        match &self.learned {
            Learned::F32(state) => state.weights.first_moment(),
            Learned::F64(state) => state.weights.first_moment(),
        }
    }

    /// Logits M̃ of some cells, (cells, voxels).
    #[must_use]
    pub fn logits(&self, cells: Range<usize>) -> Array2<f64> {
        self.learned.matrix(cells, |s| &s.logits, |s| &s.logits)
    }

    /// Adam's first moment of some cells, (cells, voxels): after one epoch, 1 − β₁ = 0.1 times the gradient.
    #[must_use]
    pub fn first_moment(&self, cells: Range<usize>) -> Array2<f64> {
        self.learned
            .matrix(cells, |s| &s.first_moment, |s| &s.first_moment)
    }

    /// Probabilities P of some cells, (cells, voxels), in the precision of the logits.
    #[must_use]
    pub fn probabilities(&self, cells: Range<usize>) -> Array2<f64> {
        match &self.learned {
            Learned::F32(state) => state.probabilities(cells, f64::from),
            Learned::F64(state) => state.probabilities(cells, |p| p),
        }
    }

    fn rows(&self, cells: Range<usize>) -> Array2<f32> {
        match &self.learned {
            Learned::F32(state) => state.probabilities(cells, |p| p),
            Learned::F64(state) => state.probabilities(cells, |p| p as f32),
        }
    }
}

/// Cells of a block read from a mapping.
const BLOCK: usize = 256;

impl MappingRows for Trained {
    type Error = std::convert::Infallible;

    fn n_cells(&self) -> usize {
        self.learned.n_cells()
    }

    fn n_voxels(&self) -> usize {
        self.learned.n_voxels()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Self::Error>,
    ) -> Result<(), Self::Error> {
        for first_cell in (0..self.n_cells()).step_by(BLOCK) {
            let rows = self.rows(first_cell..self.n_cells().min(first_cell + BLOCK));
            visit(MappingBlock {
                first_cell,
                rows: PBlock::Dense(rows.view()),
            })?;
        }
        Ok(())
    }
}
