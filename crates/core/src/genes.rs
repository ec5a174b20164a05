//! Training genes: which genes both sides share, and which of them are held out.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// One of the two sides of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The dissociated cells.
    Cells,
    /// The places in the tissue.
    Voxels,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cells => "cells",
            Self::Voxels => "voxels",
        })
    }
}

/// What the user says about training genes; the default trains on all shared genes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneChoice {
    /// Train on these genes only; every one must be on both sides. `None`: all shared genes.
    pub list: Option<Vec<String>>,
    /// Genes never trained on, kept for scoring.
    pub held_out: Vec<String>,
}

/// Genes of both sides: gene `k` is column `in_cells[k]` of the cells and `in_voxels[k]` of the voxels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneSet {
    /// Names, sorted.
    pub names: Vec<String>,
    /// Column of each gene in the cells' matrix.
    pub in_cells: Vec<usize>,
    /// Column of each gene in the voxels' matrix.
    pub in_voxels: Vec<usize>,
}

/// Training genes, sorted by name, with the held-out genes beside them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedGenes {
    /// Names of the training genes, sorted.
    pub names: Vec<String>,
    /// Column of each training gene in the cells' matrix.
    pub in_cells: Vec<usize>,
    /// Column of each training gene in the voxels' matrix.
    pub in_voxels: Vec<usize>,
    /// Held-out genes that both sides have: they can be scored.
    pub held_out: GeneSet,
    /// Held-out genes that only one side has: they cannot be scored.
    pub unscored: Vec<String>,
}

/// Why no training genes could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneError {
    /// The two sides have no gene name in common.
    #[error("cells and voxels share no gene: cells have {cells}, voxels have {voxels}{hint}")]
    NoneShared {
        /// Examples from the cells.
        cells: String,
        /// Examples from the voxels.
        voxels: String,
        /// What would make the names match, or nothing.
        hint: String,
    },
    /// Genes of the user's list that one side lacks.
    #[error(
        "{count} of the listed training genes are not in the {side}: {first}; remove them from the list"
    )]
    Missing {
        /// The side without them.
        side: Side,
        /// How many are missing.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// A gene name that stands twice on one side.
    #[error(
        "{count} gene names appear more than once in `var` of the {side}: {first}; make them unique, e.g. with `var_names_make_unique()`"
    )]
    Duplicate {
        /// The side with the duplicates.
        side: Side,
        /// How many names are repeated.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Held-out genes that neither side knows.
    #[error(
        "{count} held-out genes are in neither the cells nor the voxels: {first}; check their spelling"
    )]
    UnknownHeldOut {
        /// How many are unknown.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// Every shared gene is held out, zero everywhere, or off the list.
    #[error(
        "no training gene is left: {held_out} genes are held out and {zero} are zero everywhere in the cells or the voxels"
    )]
    NothingLeft {
        /// Held-out genes.
        held_out: usize,
        /// Genes dropped because they are zero.
        zero: usize,
    },
}

/// The training genes of two lists of gene names, by the user's choice.
///
/// Names match exactly. Training genes are the shared genes (or those of `choice.list`) without the held-out ones.
///
/// # Errors
/// [`GeneError`] if names repeat on one side, nothing is shared, a listed gene is missing, a held-out gene is unknown,
/// or nothing is left to train on.
pub fn align(
    cells: &[String],
    voxels: &[String],
    choice: &GeneChoice,
) -> Result<SharedGenes, GeneError> {
    let _ = (cells, voxels, choice);
    unimplemented!("follows")
}

/// Takes genes that are zero everywhere on either side out of training; returns the rest and the names taken out.
///
/// * `cell_sums`, `voxel_sums`: one sum per gene of the whole file (indexed by `in_cells`, `in_voxels`)
///
/// Held-out genes stay as they are.
///
/// # Errors
/// [`GeneError::NothingLeft`] if no training gene remains.
pub fn drop_zero_genes(
    shared: SharedGenes,
    cell_sums: &[f64],
    voxel_sums: &[f64],
) -> Result<(SharedGenes, Vec<String>), GeneError> {
    let _ = (shared, cell_sums, voxel_sums);
    unimplemented!("follows")
}

/// The first few names, in quotes, and how many more there are.
pub(crate) fn some_of<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(most).map(|n| format!("`{n}`")).collect();
    let more = names.len().saturating_sub(most);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}
