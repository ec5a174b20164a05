//! What rows count in Adam: 1, the weights of clusters, or a filter, which is the package's.

use crate::adam::initial::filter_logits;
use crate::cpu::adam_row::{BETA_1, BETA_2, EPSILON};
use crate::mode::logistic;
use crate::ranks::Ranks;
use crate::snapshot::{Axes, Numbers, Saved, Section};
use crate::{AdamSettings, MapError, Mode};
use ndarray::Array2;
use std::ops::Range;
use tangram_comm::{Communicator, Shares};
use tangram_core::{OfCells, Term};

/// Weights of a rank's rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct RowWeights {
    /// r; none where all count 1.
    weights: Vec<f64>,
    /// Σ r of all rows, without a filter.
    mass: f64,
    filter: Option<PackageFilter>,
}

/// The filter of the published package: a logit for every cell, which Adam moves like all others.
///
/// Biancalani et al. 2021, Methods, equation 2. Cells are kept that its random start prefers, by the default weights of its terms.
#[derive(Debug, Clone)]
struct PackageFilter {
    logits: Vec<f64>,
    first_moment: Vec<f64>,
    second_moment: Vec<f64>,
    target: f64,
    count: f64,
    undecided: f64,
    learning_rate: f64,
}

/// What a step of the filter needs beside the cells: the slope of the loss by Σ f, and the number of the epoch, from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FilterStep {
    pub(crate) by_mass: f64,
    pub(crate) epoch: usize,
}

impl RowWeights {
    /// Those with which a training begins.
    pub(crate) fn begin(mode: &Mode, settings: &AdamSettings, shares: &Shares) -> Self {
        let (own, n_cells) = (shares.cells.range(), shares.cells.whole_len());
        let filter = mode.filter().map(|filter| PackageFilter {
            logits: match &filter.initial {
                Some(initial) => initial[own.clone()].to_vec(),
                None => filter_logits(settings.seed, own.clone()),
            },
            first_moment: vec![0.0; own.len()],
            second_moment: vec![0.0; own.len()],
            target: filter.target,
            count: settings.objective[Term::Count],
            undecided: settings.objective[Term::Undecided],
            learning_rate: settings.learning_rate,
        });
        let weights = match &filter {
            Some(filter) => filter.logits.iter().map(|&x| logistic(x)).collect(),
            None => mode.own_weights(own).unwrap_or(&[]).to_vec(),
        };
        Self {
            weights,
            mass: mode.largest_mass(n_cells),
            filter,
        }
    }

    /// Of some of this rank's rows; `None` where all count 1.
    pub(crate) fn of(&self, cells: Range<usize>) -> Option<&[f64]> {
        (!self.weights.is_empty()).then(|| &self.weights[cells])
    }

    /// f of this rank's cells, where there is a filter.
    pub(crate) fn filter(&self) -> Option<&[f64]> {
        self.filter.is_some().then_some(&self.weights)
    }

    /// Adam's first moment of the filter's logits.
    pub(crate) fn first_moment(&self) -> Option<&[f64]> {
        let filter = self.filter.as_ref();
        filter.map(|filter| &filter.first_moment[..])
    }

    /// Moves the filter of some cells by `t_i = Σ_j P_ij (S_i·W_j + u_j)`.
    ///
    /// `∂L/∂f_i = t_i + ∂L/∂Σf + λ_f (1 − 2 f_i)`.
    pub(crate) fn learn(&mut self, cells: Range<usize>, weighed: &[f64], step: FilterStep) {
        let Some(filter) = &mut self.filter else {
            return;
        };
        let t = step.epoch as i32;
        let (first, second) = (1.0 - BETA_1.powi(t), (1.0 - BETA_2.powi(t)).sqrt());
        let slope = step.by_mass + filter.count_slope(self.mass);
        for (i, weighed) in cells.zip(weighed) {
            let f = &mut self.weights[i];
            let by_f = weighed + slope + filter.undecided * (1.0 - 2.0 * *f);
            let g = by_f * *f * (1.0 - *f);
            let (m, v) = (&mut filter.first_moment[i], &mut filter.second_moment[i]);
            *m = BETA_1 * *m + (1.0 - BETA_1) * g;
            *v = BETA_2 * *v + (1.0 - BETA_2) * g * g;
            let root = v.sqrt() / second + EPSILON;
            filter.logits[i] -= filter.learning_rate / first * *m / root;
            *f = logistic(filter.logits[i]);
        }
    }

    /// What is summed over the cells of all ranks.
    pub(crate) fn sums(&mut self, entropy: f64, ranks: Ranks<'_, impl Communicator>) -> OfCells {
        let mut cells = OfCells {
            entropy: Some(entropy),
            ..OfCells::of(self.mass)
        };
        if self.filter.is_some() {
            let of_block = |block: Range<usize>| {
                let f = &self.weights[block];
                vec![f.iter().sum(), f.iter().map(|f| f - f * f).sum()]
            };
            let blocks = ranks.shares.cells.blocks().into_iter().map(of_block);
            let sums = ranks.grid.over_cells(&ranks.shares.cells, blocks.collect());
            (cells.mass, cells.undecided) = (sums[0], Some(sums[1]));
            self.mass = sums[0];
        }
        cells
    }

    pub(crate) fn save(&self, to: &mut Section<'_>) {
        if let Some(filter) = &self.filter {
            let columns = [&filter.logits, &filter.first_moment, &filter.second_moment];
            let size = (filter.logits.len(), columns.len());
            let values = Array2::from_shape_fn(size, |(i, c)| columns[c][i]);
            to.array("filter", Axes::CELLS, Numbers::Double(values));
        }
    }

    pub(crate) fn restore(&mut self, from: &Saved<'_>) -> Result<(), MapError> {
        if let Some(filter) = &mut self.filter {
            let values = from.array("filter", (Some(filter.logits.len()), 3))?;
            filter.logits = values.column(0).to_vec();
            filter.first_moment = values.column(1).to_vec();
            filter.second_moment = values.column(2).to_vec();
            self.weights = filter.logits.iter().map(|&x| logistic(x)).collect();
        }
        Ok(())
    }
}

impl PackageFilter {
    /// Slope of the count term by Σ f, which is `mass`.
    fn count_slope(&self, mass: f64) -> f64 {
        match mass - self.target {
            0.0 => 0.0,
            excess => self.count * excess.signum(),
        }
    }
}
