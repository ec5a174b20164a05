//! What a mapping is for, and the settings that were measured for it.

use super::Temperature;
use serde::{Deserialize, Serialize};
use tangram_core::{Objective, Term};

/// What a mapping is for: measured settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// Genes that the voxels lack: smoother, each voxel's shares of genes count.
    Impute,
    /// Where each cell sits: sharper, each voxel's shares of genes count most.
    Place,
    /// Which types of cells a spot holds: as to place cells.
    Compose,
    /// The loss of the original package.
    Package,
}

/// The settings that a goal decides unless they are given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GoalSettings {
    /// Weights of the terms whose default it decides.
    pub weights: Objective,
    /// Limit of the logits' spread, for mirror.
    pub temperature: Temperature,
}

impl Goal {
    /// Measured over real pairs of data sets: docs/modes.md.
    #[must_use]
    pub fn settings(self) -> GoalSettings {
        let (weights, temperature) = match self {
            Self::Impute => (
                Objective::NONE
                    .with(Term::Gene, 1.0)
                    .with(Term::CompositionScaled, 3.0),
                Temperature::Kappa(1.0),
            ),
            Self::Place | Self::Compose => (
                Objective::NONE
                    .with(Term::GeneRoot, 1.0)
                    .with(Term::Composition, 20.0),
                Temperature::Off,
            ),
            Self::Package => (Objective::NONE.with(Term::Gene, 1.0), Temperature::Off),
        };
        GoalSettings {
            weights,
            temperature,
        }
    }
}
