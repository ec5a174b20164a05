//! How a mapping is learned.

use crate::{Engine, MapError, Mode};
use serde::{Deserialize, Serialize};
use tangram_core::{Objective, Term};

/// Numbers in which the mapping is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision throughout.
    F32,
    /// Matrix products of numbers rounded to 10 bits, summed in single precision; all else single precision. On a device only: the
    /// kernels for cores do not round.
    Tf32,
    /// Matrix products of bf16 numbers (7 bits), summed in single precision; all else single precision.
    Bf16,
    /// Matrix products of scaled fp16 numbers (10 bits), summed in single precision; all else single precision. On a device only.
    Fp16,
    /// Double precision throughout: for comparisons, not for speed.
    F64,
}

/// Settings of [`train_adam`](crate::train_adam).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AdamSettings {
    /// Weights of the loss terms.
    pub objective: Objective,
    /// Number of epochs, at least 1.
    pub epochs: usize,
    /// Step size of Adam, in logits per epoch.
    pub learning_rate: f64,
    /// Seed of the initial logits; 0 is a seed like any other.
    pub seed: u64,
    /// Worker threads, at least 1. Their number changes no bit of the result.
    pub threads: usize,
    /// Numbers used.
    pub precision: Precision,
    /// Stop when the best loss of the last 50 epochs is lower than the best before by less than this share of it; 0: never.
    pub tolerance: f64,
    /// What does the work.
    pub engine: Engine,
}

/// Settings of [`train_mirror`](crate::train_mirror).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MirrorSettings {
    /// Weights of the loss terms.
    pub objective: Objective,
    /// Most passes, at least 1.
    pub passes: usize,
    /// κ: standard deviation of a cell's logits over the voxels at convergence; `None` leaves them free.
    pub temperature: Option<f64>,
    /// The first stage samples one cell in this many, each later stage twice as many cells, the last all; 1: all from the start.
    pub batches: usize,
    /// Most passes over samples of the cells; `None`: half of all passes.
    pub batch_passes: Option<usize>,
    /// Seed of the samples.
    pub seed: u64,
    /// Worker threads, at least 1. Their number changes no bit of the result.
    pub threads: usize,
    /// Numbers used.
    pub precision: Precision,
    /// Stop when ten passes changed the loss by less than this share of it, and the density likewise; 0: never.
    pub tolerance: f64,
    /// What does the work.
    pub engine: Engine,
}

/// Why some terms are for Adam alone.
const NO_COUNTERPART: &str = "must be 0: this solver stores no logits, and computes them from the cells' expression alone; \
                              take --solver adam";

impl MirrorSettings {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// [`MapError::Setting`] names the first one.
    pub fn check(&self) -> Result<(), MapError> {
        if self.batches == 0 {
            return refuse("batches", "0".into(), "must be 1 or more");
        }
        if let Some(passes) = self.batch_passes.filter(|&passes| passes >= self.passes) {
            return refuse(
                "passes over batches",
                passes.to_string(),
                "must be fewer than all passes",
            );
        }
        if let Some(kappa) = self.temperature.filter(|k| !(k.is_finite() && *k > 0.0)) {
            return refuse(
                "temperature",
                kappa.to_string(),
                "must be a positive number",
            );
        }
        for term in [Term::Islands, Term::L1, Term::L2] {
            let weight = self.objective[term];
            if weight != 0.0 {
                return refuse(term.about().setting, weight.to_string(), NO_COUNTERPART);
            }
        }
        if self.objective[Term::Density] < 0.0 {
            let weight = self.objective[Term::Density].to_string();
            return refuse("lambda-d", weight, "must be 0 or a positive number");
        }
        check_precision(self.precision, &self.engine)?;
        check(self.passes, self.threads, self.tolerance, &self.objective)
    }

    /// Refuses what the solver has no counterpart for where rows do not all count 1.
    pub(crate) fn check_mode(&self, mode: &Mode) -> Result<(), MapError> {
        let objective = &self.objective;
        let weight = |term: Term| objective[term].to_string();
        match mode {
            Mode::Cells => Ok(()),
            _ if self.batches > 1 => {
                let needs = "must be 1 where rows do not all count 1: every pass needs all of them";
                refuse("batches", self.batches.to_string(), needs)
            }
            _ if objective[Term::Entropy] != 0.0 => {
                let needs = "must be 0 where rows do not all count 1: each row's step is divided by its weight, which the entropy \
                         of a row does not have";
                refuse("lambda-r", weight(Term::Entropy), needs)
            }
            Mode::Constrained(_) if objective[Term::Count] != 0.0 => {
                let needs = "must be 0: this solver's filter keeps the number of cells exactly";
                refuse("lambda-count", weight(Term::Count), needs)
            }
            Mode::Constrained(_) if objective[Term::Undecided] != 0.0 => {
                let needs = "must be 0: this solver's filter decides by the data alone";
                refuse("lambda-f-reg", weight(Term::Undecided), needs)
            }
            _ => Ok(()),
        }
    }
}

fn refuse(setting: &'static str, value: String, needs: &'static str) -> Result<(), MapError> {
    Err(MapError::Setting {
        setting,
        value,
        needs,
    })
}

impl AdamSettings {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// [`MapError::Setting`] names the first one.
    pub fn check(&self) -> Result<(), MapError> {
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse(
                "learning rate",
                self.learning_rate.to_string(),
                "must be a positive number",
            );
        }
        check_precision(self.precision, &self.engine)?;
        check(self.epochs, self.threads, self.tolerance, &self.objective)
    }
}

fn check_precision(precision: Precision, engine: &Engine) -> Result<(), MapError> {
    match (precision, engine) {
        (Precision::Fp16, Engine::Native) => refuse(
            "precision",
            "fp16".into(),
            "is for devices: the kernels for cores do not multiply fp16; take f32 or bf16",
        ),
        (Precision::Bf16, Engine::Native) if !cfg!(feature = "torch") => refuse(
            "precision",
            "bf16".into(),
            "needs libtorch, which multiplies bf16 on cores; this build has none: take f32",
        ),
        _ => Ok(()),
    }
}

/// Checks the settings that both solvers have.
fn check(
    epochs: usize,
    threads: usize,
    tolerance: f64,
    objective: &Objective,
) -> Result<(), MapError> {
    if epochs == 0 {
        return refuse("epochs", "0".into(), "train for at least one epoch");
    }
    if threads == 0 {
        return refuse("threads", "0".into(), "use at least one thread");
    }
    if !(tolerance.is_finite() && tolerance >= 0.0) {
        return refuse(
            "tolerance",
            tolerance.to_string(),
            "must be 0 or a positive number",
        );
    }
    let mut weights = Term::ALL.into_iter().map(|term| (term, objective[term]));
    match weights.find(|(_, weight)| !weight.is_finite()) {
        Some((term, weight)) => refuse(
            term.about().setting,
            weight.to_string(),
            "must be a finite number",
        ),
        None => Ok(()),
    }
}
