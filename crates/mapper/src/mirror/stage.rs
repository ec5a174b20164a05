//! A stage: passes over the same cells, until loss and density have converged.

use crate::MapError;
use crate::cost::tally::Tally;
use crate::snapshot::{Axes, Numbers, Resumable, Saved, Section};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use tangram_comm::Shares;
use tangram_core::Sums;

/// Passes over which progress is judged.
const WINDOW: usize = 10;
/// The density has converged if its mean relative change is below this many tolerances.
const DENSITY_TOLERANCE: f64 = 20.0;

/// State of a stage.
pub(crate) struct Stage {
    /// One cell in this number takes part.
    pub(crate) part: usize,
    pub(crate) best: Best,
    pub(crate) progress: Progress,
    pub(crate) converged: bool,
}

/// The factors of the least loss so far, (genes + 1, voxels).
pub(crate) struct Best {
    pub(crate) factors: Array2<f64>,
    pub(crate) loss: f64,
    pub(crate) pass: usize,
    /// Pass at which it was last found, or restored.
    pub(crate) last_good: usize,
}

impl Stage {
    /// Before its first pass, which is number `pass` from 0; `size`: (genes + 1, voxels).
    pub(crate) fn new(part: usize, pass: usize, size: (usize, usize)) -> Self {
        Self {
            part,
            best: Best {
                factors: Array2::zeros(size),
                loss: f64::INFINITY,
                pass,
                last_good: pass,
            },
            progress: Progress::default(),
            converged: false,
        }
    }
}

/// The state of a stage that is the same on all ranks.
#[derive(Debug, Serialize, Deserialize)]
struct Common {
    part: usize,
    /// `None`: no loss was finite yet.
    best_loss: Option<f64>,
    best_pass: usize,
    last_good: usize,
    losses: Vec<f64>,
    /// Whether this stage is complete.
    converged: bool,
}

impl Resumable for Stage {
    const NAME: &'static str = "stage";

    fn save(&self, to: &mut Section<'_>) {
        let Self {
            part,
            best,
            progress,
            converged,
        } = self;
        to.common(&Common {
            part: *part,
            best_loss: best.loss.is_finite().then_some(best.loss),
            best_pass: best.pass,
            last_good: best.last_good,
            losses: progress.losses.clone(),
            converged: *converged,
        });
        let factors = Numbers::Double(best.factors.clone());
        to.array("best", Axes::GENES_AND_ONE_BY_VOXELS, factors);
        let size = (progress.densities.len(), best.factors.ncols());
        let densities = Array2::from_shape_vec(size, progress.densities.concat());
        let densities = Numbers::Double(densities.expect("one density per voxel"));
        to.array("densities", Axes::ANY_BY_VOXELS, densities);
    }

    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError> {
        let (n_genes, n_voxels) = (shares.genes.len(), shares.voxels.len());
        let common: Common = from.common()?;
        let densities = from.array("densities", (None, n_voxels))?;
        *self = Self {
            part: common.part,
            best: Best {
                factors: from.array("best", (Some(n_genes + 1), n_voxels))?,
                loss: common.best_loss.unwrap_or(f64::INFINITY),
                pass: common.best_pass,
                last_good: common.last_good,
            },
            progress: Progress {
                losses: common.losses,
                densities: densities.rows().into_iter().map(|r| r.to_vec()).collect(),
            },
            converged: common.converged,
        };
        Ok(())
    }
}

/// Losses and densities of a stage.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    losses: Vec<f64>,
    densities: Vec<Vec<f64>>,
}

impl Progress {
    pub(crate) fn push(&mut self, loss: f64, density: Vec<f64>) {
        self.losses.push(loss);
        self.densities.push(density);
        if self.densities.len() > WINDOW + 1 {
            self.densities.remove(0);
        }
    }

    /// Whether with one more loss the last two changes are of opposite sign.
    pub(crate) fn turns(&self, next: f64) -> bool {
        match self.losses[..] {
            [.., before, last] => (last - before) * (next - last) < 0.0,
            _ => false,
        }
    }

    /// Decrease from the first loss to the last.
    pub(crate) fn descent(&self) -> f64 {
        match (self.losses.first(), self.losses.last()) {
            (Some(first), Some(last)) => (first - last).abs(),
            _ => 0.0,
        }
    }

    /// Whether the last [`WINDOW`] passes changed loss and density less than `tolerance` allows.
    pub(crate) fn has_converged(&self, tolerance: f64, sums: impl Sums) -> bool {
        if tolerance == 0.0 || self.losses.len() <= WINDOW {
            return false;
        }
        let last = &self.losses[self.losses.len() - 1 - WINDOW..];
        let highest = last.iter().copied().fold(f64::MIN, f64::max);
        let lowest = last.iter().copied().fold(f64::MAX, f64::min);
        let (before, now) = (&self.densities[0], &self.densities[WINDOW]);
        let of_block = |voxels: Range<usize>| {
            let pairs = before[voxels.clone()].iter().zip(&now[voxels.clone()]);
            let change: f64 = pairs.map(|(a, b)| (a - b).abs()).sum();
            vec![change, now[voxels].iter().sum()]
        };
        let found = sums.over_voxels(sums.voxel_blocks().into_iter().map(of_block).collect());
        let (change, cells) = (found[0], found[1]);
        highest - lowest < tolerance * lowest.abs().max(self.descent())
            && change < DENSITY_TOLERANCE * tolerance * cells
    }
}

/// Declares what [`Progress::has_converged`] exchanges from pass [`WINDOW`] + 1 on.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    tally.over_voxels(2);
}
