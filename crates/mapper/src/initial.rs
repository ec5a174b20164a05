//! Where training starts.

use crate::MapError;
use crate::lanes::Real;
use ndarray::Array2;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::ops::Range;

/// Initial logits M̃, (cells, voxels).
#[derive(Debug, Clone)]
pub enum InitialLogits {
    /// Standard normal, each a function of (seed, cell, voxel) alone.
    Random,
    /// As given.
    Given(Array2<f64>),
}

impl InitialLogits {
    /// The rows of `cells`, row after row.
    pub(crate) fn rows<T: Real>(
        &self,
        seed: u64,
        cells: Range<usize>,
        n_cells: usize,
        n_voxels: usize,
    ) -> Result<Vec<T>, MapError> {
        if let Self::Given(logits) = self {
            let (rows, columns) = logits.dim();
            if (rows, columns) != (n_cells, n_voxels) {
                return Err(MapError::Logits {
                    rows,
                    columns,
                    n_cells,
                    n_voxels,
                });
            }
            if let Some(((cell, voxel), _)) = logits.indexed_iter().find(|(_, x)| !x.is_finite()) {
                return Err(MapError::LogitNotFinite { cell, voxel });
            }
        }
        let mut out = vec![T::default(); cells.len() * n_voxels];
        out.par_chunks_mut(n_voxels)
            .enumerate()
            .for_each(|(i, row)| match self {
                Self::Random => normal_row(seed, cells.start + i, row),
                Self::Given(logits) => {
                    let given = logits.row(cells.start + i);
                    row.iter_mut()
                        .zip(given)
                        .for_each(|(x, &g)| *x = T::from_f64(g));
                }
            });
        Ok(out)
    }
}

/// Standard normal numbers of one cell: stream `cell` of the generator of `seed`, two voxels to a counter value (Box and Muller 1958).
fn normal_row<T: Real>(seed: u64, cell: usize, row: &mut [T]) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(cell as u64);
    for pair in row.chunks_mut(2) {
        // (0, 1], so that its logarithm is finite, and [0, 1).
        let radius = (-2.0 * (1.0 - unit(generator.next_u64())).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(generator.next_u64())).sin_cos();
        for (x, direction) in pair.iter_mut().zip([cos, sin]) {
            *x = T::from_f64(radius * direction);
        }
    }
}

/// The upper 53 bits as a number in [0, 1).
fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logits_are_standard_normal_and_differ_by_seed_and_cell() {
        let rows: Vec<f64> = InitialLogits::Random.rows(0, 0..100, 100, 501).unwrap();
        let n = rows.len() as f64;
        let mean = rows.iter().sum::<f64>() / n;
        let variance = rows.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let fourth = rows.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n;
        // Five standard errors of 50,100 draws.
        assert!(
            mean.abs() < 0.023 && (variance - 1.0).abs() < 0.032 && (fourth - 3.0).abs() < 0.22
        );
        let again: Vec<f64> = InitialLogits::Random.rows(0, 40..60, 100, 501).unwrap();
        assert_eq!(again, rows[40 * 501..60 * 501]);
        assert_ne!(rows[..501], rows[501..1002]);
        assert_ne!(
            InitialLogits::Random
                .rows::<f64>(1, 0..1, 100, 501)
                .unwrap(),
            rows[..501]
        );
    }
}
