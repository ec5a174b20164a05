//! The settings of a simulated tissue, and why they can be invalid.

use super::types::CELL_TYPES;
use serde::{Deserialize, Serialize};

/// The settings of a simulated tissue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TissueSettings {
    /// Number of dissociated cells.
    pub n_cells: usize,
    /// Number of voxels, of one cell each.
    pub n_voxels: usize,
    /// Number of spots, of several cells each.
    pub n_spots: usize,
    /// Number of genes measured in cells and spots.
    pub n_genes: usize,
    /// Number of genes measured in voxels, a subset of `n_genes`.
    pub n_panel_genes: usize,
    /// Share of the counts of the dissociated cells that is non-zero, for all genes and for the panel.
    pub density: f64,
    /// Seed of all random numbers; 0 is an ordinary seed.
    pub seed: u64,
}

impl Default for TissueSettings {
    fn default() -> Self {
        Self {
            n_cells: 3_000,
            n_voxels: 1_500,
            n_spots: 300,
            n_genes: 500,
            n_panel_genes: 150,
            density: 0.15,
            seed: 42,
        }
    }
}

/// Why settings are invalid.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TissueError {
    /// A size is 0.
    #[error("{field} is 0; ask for at least 1")]
    Zero {
        /// The setting.
        field: &'static str,
    },
    /// A size is larger than row and column numbers allow.
    #[error("{field} is {asked}; at most {most} are possible")]
    TooMany {
        /// The setting.
        field: &'static str,
        /// Its value.
        asked: usize,
        /// Its largest possible value.
        most: usize,
    },
    /// The panel is larger than the number of genes.
    #[error(
        "n_panel_genes is {n_panel_genes}, more than the {n_genes} genes; lower it or raise n_genes"
    )]
    PanelTooLarge {
        /// Genes of the panel.
        n_panel_genes: usize,
        /// All genes.
        n_genes: usize,
    },
    /// The panel is too small for one marker per type.
    #[error(
        "n_panel_genes is {n_panel_genes}; one marker for each cell type needs at least {needed}"
    )]
    PanelTooSmall {
        /// Genes of the panel.
        n_panel_genes: usize,
        /// Number of cell types.
        needed: usize,
    },
    /// The share of non-zero counts is out of range.
    #[error("density is {density}; it is a share of counts, from 0.01 to 0.9")]
    Density {
        /// The setting.
        density: f64,
    },
}

/// Range of the share of non-zero counts.
const DENSITIES: std::ops::RangeInclusive<f64> = 0.01..=0.9;
/// Maximum number of rows (cells, voxels, spots) and genes: more than any machine can hold, and well below the limits of
/// row and column numbers.
const MOST_ROWS: usize = 1 << 40;
const MOST_GENES: usize = 1_000_000;
impl TissueSettings {
    /// Checks the settings.
    pub(super) fn check(&self) -> Result<(), TissueError> {
        let &TissueSettings {
            n_cells,
            n_voxels,
            n_spots,
            n_genes,
            n_panel_genes,
            density,
            seed: _,
        } = self;
        for (field, asked, most) in [
            ("n_cells", n_cells, MOST_ROWS),
            ("n_voxels", n_voxels, MOST_ROWS),
            ("n_spots", n_spots, MOST_ROWS),
            ("n_genes", n_genes, MOST_GENES),
        ] {
            if asked == 0 {
                return Err(TissueError::Zero { field });
            }
            if asked > most {
                return Err(TissueError::TooMany { field, asked, most });
            }
        }
        if n_panel_genes > n_genes {
            return Err(TissueError::PanelTooLarge {
                n_panel_genes,
                n_genes,
            });
        }
        if n_panel_genes < CELL_TYPES.len() {
            return Err(TissueError::PanelTooSmall {
                n_panel_genes,
                needed: CELL_TYPES.len(),
            });
        }
        if !DENSITIES.contains(&density) {
            return Err(TissueError::Density { density });
        }
        Ok(())
    }
}
