//! How far the factored solver steps.

use crate::MapError;
use crate::snapshot::{Resumable, Saved, Section};
use tangram_comm::Shares;

/// A step changes a cell's logits by at most this, mean over the probe's cells.
const FARTHEST: f64 = 1.5;
/// The same for the first step of a training, or of a stage, that begins near its end.
const NEAR: f64 = 0.5;
/// Factors on the reach of a step: the first after a pass with the least loss so far, the second after any other.
const GROW: f64 = 1.05;
const SHRINK: f64 = 0.95;
/// A step covers at most this share of the distance to the point that the temperature pulls towards.
const LARGEST_PULL: f64 = 0.1;

/// How far a step may change a logit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    reach: f64,
}

impl Pace {
    /// From any start.
    pub(crate) fn far() -> Self {
        Self { reach: FARTHEST }
    }

    /// From a start near the end.
    pub(crate) fn near() -> Self {
        Self { reach: NEAR }
    }

    /// After a pass whose step was too long.
    pub(crate) fn halve(&mut self) {
        self.reach *= 0.5;
    }

    /// After any other pass.
    pub(crate) fn follow(&mut self, worse: bool) {
        let turn = if worse { SHRINK } else { GROW };
        self.reach = (self.reach * turn).min(FARTHEST);
    }

    /// Length of a step down a direction.
    ///
    /// * `largest`: how far a step of length 1 changes a logit
    /// * `pull`: weight of a temperature's pull
    pub(crate) fn step(self, largest: f64, pull: f64) -> f64 {
        // A direction that changes no logit, such as with one voxel, needs no step.
        let step = if largest > 0.0 {
            self.reach / largest
        } else {
            0.0
        };
        match pull > 0.0 {
            true => step.min(LARGEST_PULL * self.reach / FARTHEST / pull),
            false => step,
        }
    }
}

impl Resumable for Pace {
    const NAME: &'static str = "pace";

    fn save(&self, to: &mut Section<'_>) {
        to.common(&self.reach);
    }

    fn restore(&mut self, from: &Saved<'_>, _: &Shares) -> Result<(), MapError> {
        self.reach = from.common()?;
        Ok(())
    }
}
