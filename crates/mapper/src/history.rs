//! The history of a training: one line for every epoch, or pass.

use crate::MapError;
use crate::snapshot::{Resumable, Saved, Section};
use serde::{Deserialize, Serialize};
use tangram_comm::Shares;
use tangram_core::{Loss, Term, TermValues};

/// One line of the training history: the loss terms before the step of this epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// What is minimised.
    pub total: f64,
    /// Values of the terms, without their weights; that of the gene term is 0 where it is not computed.
    pub terms: TermValues,
    /// Cells that took part: fewer than all in early passes of the factored solver over a sample.
    pub n_cells: usize,
    /// Step of the factored solver: how far the gradient by Z and b was followed.
    pub step: Option<f64>,
    /// Spread of the gradient over the voxels, mean over probe cells of its standard deviation (factored solver).
    pub spread: Option<f64>,
    /// Seconds since training began.
    pub elapsed_s: f64,
}

impl Epoch {
    pub(crate) fn new(epoch: usize, loss: &Loss, n_cells: usize, elapsed_s: f64) -> Self {
        let Loss { total, mut terms } = *loss;
        if terms[Term::Gene].is_none() {
            terms.set(Term::Gene, 0.0);
        }
        Self {
            epoch,
            total,
            terms,
            n_cells,
            step: None,
            spread: None,
            elapsed_s,
        }
    }
}

impl Resumable for Vec<Epoch> {
    const NAME: &'static str = "history";

    fn save(&self, to: &mut Section<'_>) {
        to.common(self);
    }

    fn restore(&mut self, from: &Saved<'_>, _: &Shares) -> Result<(), MapError> {
        *self = from.common()?;
        Ok(())
    }
}
