//! Deterministic assignments: the most probable voxel of every cell, or the most probable cell of every voxel.
//!
//! The package takes the first, the paper the second; [`transfer`](fn@crate::transfer) is the probabilistic alternative.

use crate::MappingRows;

/// The most probable voxel of a cell; the assignment of the package.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MostProbableVoxel {
    /// Index of the voxel.
    pub voxel: usize,
    /// Probability of the cell in this voxel.
    pub probability: f32,
}

/// The most probable cell of a voxel; the assignment of the paper.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MostProbableCell {
    /// Index of the cell.
    pub cell: usize,
    /// Probability of the cell in this voxel (an entry of P, not normalised over the cells).
    pub probability: f32,
}

impl MostProbableVoxel {
    /// The most probable voxel of every cell, `argmax_j P_ij`; the first voxel of several equal ones.
    ///
    /// The result has one entry per cell, `None` for a cell without a stored probability above 0.
    ///
    /// # Errors
    /// `M::Error` if the mapping cannot be read.
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
    /// The most probable cell of every voxel, `argmax_i P_ij`; the first cell of several equal ones.
    ///
    /// The result has one entry per voxel, `None` for a voxel without a stored probability above 0. A cell can be
    /// assigned to several voxels; most cells are assigned to none.
    ///
    /// # Errors
    /// `M::Error` if the mapping cannot be read.
    pub fn of_voxels<M: MappingRows>(mapping: &M) -> Result<Vec<Option<Self>>, M::Error> {
        // Where the probability is 0, no cell was found.
        let none = Self {
            cell: 0,
            probability: 0.0,
        };
        let mut best = vec![none; mapping.n_voxels()];
        mapping.for_each_block(&mut |block| {
            let put = |best: &mut Self, i: usize, probability: f32| {
                if probability > best.probability {
                    let cell = block.first_cell + i;
                    *best = Self { cell, probability };
                }
            };
            block.rows.fold_voxels(&mut best, put);
            Ok(())
        })?;
        let found = |best: Self| (best.probability > 0.0).then_some(best);
        Ok(best.into_iter().map(found).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SparseRows;
    use ndarray::{Array2, array};

    type Found = Vec<Option<(usize, f32)>>;

    fn both(p: &Array2<f32>) -> (Found, Found) {
        let sparse = SparseRows::from_dense(p.view());
        let Ok(voxels) = MostProbableVoxel::of_cells(p);
        let Ok(cells) = MostProbableCell::of_voxels(p);
        assert_eq!(MostProbableVoxel::of_cells(&sparse), Ok(voxels.clone()));
        assert_eq!(MostProbableCell::of_voxels(&sparse), Ok(cells.clone()));
        (
            voxels
                .into_iter()
                .map(|a| a.map(|a| (a.voxel, a.probability)))
                .collect(),
            cells
                .into_iter()
                .map(|a| a.map(|a| (a.cell, a.probability)))
                .collect(),
        )
    }

    #[test]
    fn ties_go_to_the_first_and_nothing_to_the_empty() {
        let (voxels, cells) = both(&array![
            [0.25, 0.5, 0.25, 0.0],
            [0.0, 0.5, 0.5, 0.0],
            [0.0, 0.0, 0.0, 0.0]
        ]);
        assert_eq!(voxels, [Some((1, 0.5)), Some((1, 0.5)), None]);
        assert_eq!(
            cells,
            [Some((0, 0.25)), Some((0, 0.5)), Some((1, 0.5)), None]
        );
    }

    #[test]
    fn a_permutation_is_found_from_both_sides() {
        let n = 41;
        let mut p = Array2::from_elem((n, n), 0.5 / (n - 1) as f32);
        let place = |cell: usize| cell * 17 % n;
        for cell in 0..n {
            p[[cell, place(cell)]] = 0.5;
        }
        let (voxels, cells) = both(&p);
        for cell in 0..n {
            assert_eq!(voxels[cell], Some((place(cell), 0.5)));
            assert_eq!(cells[place(cell)], Some((cell, 0.5)));
        }
    }
}
