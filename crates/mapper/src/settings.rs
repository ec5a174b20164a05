//! How a mapping is learned.

use crate::MapError;
use serde::{Deserialize, Serialize};
use tangram_core::Objective;

/// Numbers in which the mapping is learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision throughout.
    F32,
    /// Matrix products of bf16 numbers, summed in single precision; all else single precision.
    Bf16,
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
    /// Stop when the best loss of the last 50 epochs improves on the best before them by less than this part of it; 0: never.
    pub tolerance: f64,
}

impl AdamSettings {
    /// Refuses values outside their range.
    ///
    /// # Errors
    /// [`MapError::Setting`] names the first one.
    pub fn check(&self) -> Result<(), MapError> {
        let refuse = |setting, value: String, needs| {
            Err(MapError::Setting {
                setting,
                value,
                needs,
            })
        };
        if self.epochs == 0 {
            return refuse("epochs", "0".into(), "train for at least one epoch");
        }
        if self.threads == 0 {
            return refuse("threads", "0".into(), "use at least one thread");
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return refuse(
                "learning rate",
                self.learning_rate.to_string(),
                "must be a positive number",
            );
        }
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            return refuse(
                "tolerance",
                self.tolerance.to_string(),
                "must be 0 or a positive number",
            );
        }
        let Objective {
            gene,
            voxel,
            density,
            entropy,
        } = self.objective;
        let named = [
            ("lambda-g1", gene),
            ("lambda-g2", voxel),
            ("lambda-d", density),
            ("lambda-r", entropy),
        ];
        match named.iter().find(|(_, weight)| !weight.is_finite()) {
            Some((setting, weight)) => {
                refuse(setting, weight.to_string(), "must be a finite number")
            }
            None => Ok(()),
        }
    }
}
