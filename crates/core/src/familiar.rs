//! How unlike the training cells a new cell is: the `unlikeness` of `tangram place`.
//!
//! A mapping gives every cell a row of probabilities. For a cell of a kind that was not in the training that row
//! means little; [`Familiar`] measures this.

use crate::{CellChunks, SparseRows};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;

/// Maximum number of exemplars.
const EXEMPLARS: usize = 256;
/// Maximum number of training cells whose distances to the exemplars are the reference.
const JUDGES: usize = 2000;

/// A reference for new cells: some training cells (exemplars), and the distances of other training cells to them.
///
/// The distance of two cells is `1 − cos` of their `ln(1 + x)` over the training genes: 0 for the same composition, 1 for
/// cells without a common gene.
#[derive(Debug, Clone, PartialEq)]
pub struct Familiar {
    /// (genes, exemplars), each exemplar of unit length.
    exemplars: Array2<f64>,
    /// Distance of each reference cell to its nearest exemplar, ascending. Reference cells are not exemplars.
    distances: Vec<f64>,
}

impl Familiar {
    /// Chooses exemplars and reference cells evenly from all training cells.
    ///
    /// * `cells`: (cells, training genes), normalised, not transformed
    ///
    /// # Errors
    /// `C::Error` if the cells cannot be read.
    pub fn of<C: CellChunks>(cells: &C) -> Result<Self, C::Error> {
        let n_cells = cells.n_cells();
        let chosen = spread(n_cells, EXEMPLARS.min(n_cells.div_ceil(2)), 0);
        let judging = spread(n_cells, JUDGES.min(n_cells), 1)
            .into_iter()
            .filter(|cell| chosen.binary_search(cell).is_err());
        let mut judges = cells.select(&judging.collect::<Vec<_>>())?;
        let mut exemplars = cells.select(&chosen)?;
        to_directions(&mut exemplars);
        to_directions(&mut judges);
        let mut familiar = Self {
            exemplars: exemplars.to_dense().t().mapv(f64::from),
            distances: Vec::new(),
        };
        familiar.distances = familiar.nearest(&judges);
        familiar.distances.sort_unstable_by(f64::total_cmp);
        Ok(familiar)
    }

    /// Restores a reference from its [`exemplars`](Self::exemplars) and [`distances`](Self::distances).
    #[must_use]
    pub fn from_parts(exemplars: Array2<f64>, distances: Vec<f64>) -> Self {
        Self {
            exemplars,
            distances,
        }
    }

    /// The exemplars, (genes, exemplars), each of unit length.
    #[must_use]
    pub fn exemplars(&self) -> ArrayView2<'_, f64> {
        self.exemplars.view()
    }

    /// Distance of each reference cell to its nearest exemplar, ascending.
    #[must_use]
    pub fn distances(&self) -> &[f64] {
        &self.distances
    }

    /// Distance of each cell to its nearest exemplar, 0 to 1.
    ///
    /// * `cells`: (cells, training genes), normalised like the training cells, not transformed
    #[must_use]
    pub fn distance(&self, cells: &SparseRows) -> Vec<f64> {
        let mut cells = cells.clone();
        to_directions(&mut cells);
        self.nearest(&cells)
    }

    /// Share of the reference cells whose distance is below `distance`: near 0 for a typical cell, 1 for a cell unlike
    /// all training cells.
    #[must_use]
    pub fn unlikeness(&self, distance: f64) -> f64 {
        let nearer = self.distances.partition_point(|&d| d < distance);
        nearer as f64 / self.distances.len().max(1) as f64
    }

    fn nearest(&self, directions: &SparseRows) -> Vec<f64> {
        let n = self.exemplars.ncols();
        (0..directions.n_rows())
            .into_par_iter()
            .map_init(
                || vec![0.0; n],
                |cosines, i| {
                    cosines.fill(0.0);
                    let (genes, values) = directions.row(i);
                    for (&k, &value) in genes.iter().zip(values) {
                        let row = self.exemplars.row(k as usize);
                        for (sum, x) in cosines.iter_mut().zip(row) {
                            *sum += f64::from(value) * x;
                        }
                    }
                    1.0 - cosines.iter().copied().fold(0.0, f64::max).min(1.0)
                },
            )
            .collect()
    }
}

/// Chooses one cell from each of `chosen` groups of consecutive cells of about equal size.
///
/// A hash chooses the cell within its group. A fixed stride could coincide with a period in the order of the file.
fn spread(n_cells: usize, chosen: usize, salt: u64) -> Vec<usize> {
    let of_group = |i: usize| {
        let (first, end) = (i * n_cells / chosen, (i + 1) * n_cells / chosen);
        // The finaliser of SplitMix64 (Steele, Lea and Flood 2014).
        let mut x = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ salt;
        x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        first + ((x ^ x >> 31) % (end - first) as u64) as usize
    };
    (0..chosen).map(of_group).collect()
}

/// Replaces each row x by `ln(1 + x)`, scaled to unit length; a row without counts stays 0.
fn to_directions(cells: &mut SparseRows) {
    for i in 0..cells.n_rows() {
        let values = cells.row_values_mut(i);
        values.iter_mut().for_each(|x| *x = x.ln_1p());
        let norm = values
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>()
            .sqrt();
        if norm > 0.0 {
            values
                .iter_mut()
                .for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_of_another_kind_are_unlike_and_training_cells_are_not() {
        let cell = |i: u32, kind: u32| {
            (0..10).map(move |k| (kind * 10 + k, 1.0 + ((i * 7 + k * 3) % 5) as f32))
        };
        let mut training = SparseRows::empty(30);
        (0..1000).for_each(|i| training.push_row(cell(i, i % 2)));
        let familiar = Familiar::of(&training).unwrap();
        let known: Vec<f64> = familiar.distance(&training.rows(100..200));
        let mean = known.iter().map(|&d| familiar.unlikeness(d)).sum::<f64>() / 100.0;
        assert!(mean < 0.6, "{mean}");
        let mut others = SparseRows::empty(30);
        others.push_row(cell(3, 2));
        others.push_row([]);
        for distance in familiar.distance(&others) {
            assert_eq!((distance, familiar.unlikeness(distance)), (1.0, 1.0));
        }
        let again = Familiar::from_parts(
            familiar.exemplars().to_owned(),
            familiar.distances().to_vec(),
        );
        assert_eq!(again, familiar);
    }
}
