//! Deterministic assignments: one voxel for every cell, or one cell for every voxel.

use crate::MappingRows;

/// The voxel where a cell most probably sits, as the package assigns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MostProbableVoxel {
    /// Index of the voxel.
    pub voxel: usize,
    /// Probability of the cell sitting there.
    pub probability: f32,
}

/// The cell that most probably sits in a voxel, as the paper assigns.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MostProbableCell {
    /// Index of the cell.
    pub cell: usize,
    /// Probability of the cell sitting in this voxel.
    pub probability: f32,
}

impl MostProbableVoxel {
    /// For every cell its most probable voxel; of equal ones the first. `None` for a cell without any entry above 0.
    ///
    /// # Errors
    /// Those of reading the mapping.
    pub fn of_cells<M: MappingRows>(mapping: &M) -> Result<Vec<Option<Self>>, M::Error> {
        let mut best = vec![None; mapping.n_cells()];
        mapping.for_each_block(&mut |block| {
            block.rows.for_each_entry(|i, voxel, probability| {
                let at: &mut Option<Self> = &mut best[block.first_cell + i];
                if probability > at.map_or(0.0, |b| b.probability) {
                    *at = Some(Self { voxel, probability });
                }
            });
            Ok(())
        })?;
        Ok(best)
    }
}

impl MostProbableCell {
    /// For every voxel its most probable cell; of equal ones the first. `None` for a voxel without any entry above 0.
    ///
    /// A cell can be taken by several voxels, and most cells by none.
    ///
    /// # Errors
    /// Those of reading the mapping.
    pub fn of_voxels<M: MappingRows>(mapping: &M) -> Result<Vec<Option<Self>>, M::Error> {
        let mut best = vec![None; mapping.n_voxels()];
        mapping.for_each_block(&mut |block| {
            block.rows.for_each_entry(|i, voxel, probability| {
                let at: &mut Option<Self> = &mut best[voxel];
                if probability > at.map_or(0.0, |b| b.probability) {
                    *at = Some(Self {
                        cell: block.first_cell + i,
                        probability,
                    });
                }
            });
            Ok(())
        })?;
        Ok(best)
    }
}
