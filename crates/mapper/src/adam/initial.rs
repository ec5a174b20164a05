//! Initial logits.

use crate::MapError;
use crate::number::Number;
use ndarray::{Array2, s};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Shares;

/// Initial logits M̃, (cells, voxels).
#[derive(Debug, Clone)]
pub enum InitialLogits {
    /// Standard normal, each a function of (seed, cell, voxel) alone.
    Random,
    /// As given.
    Given(Array2<f64>),
}

impl InitialLogits {
    /// Those of a rank's cells and voxels, row after row.
    pub(crate) fn shard<T: Number>(&self, seed: u64, shares: &Shares) -> Result<Vec<T>, MapError> {
        self.check(shares)?;
        Ok(self.rows(seed, shares, 0..shares.cells.len()))
    }

    /// Refuses logits that are not those of all cells and voxels.
    pub(crate) fn check(&self, shares: &Shares) -> Result<(), MapError> {
        let (n_cells, n_voxels) = (shares.cells.whole_len(), shares.voxels.whole_len());
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
        Ok(())
    }

    /// Those of some of a rank's cells, counted from its first.
    pub(crate) fn rows<T: Number>(&self, seed: u64, shares: &Shares, own: Range<usize>) -> Vec<T> {
        let (first, voxels) = (
            shares.cells.range().start + own.start,
            shares.voxels.range(),
        );
        let mut out = vec![T::default(); own.len() * voxels.len()];
        out.par_chunks_mut(voxels.len())
            .enumerate()
            .for_each(|(i, row)| match self {
                Self::Random => normal_row(seed, first + i, voxels.start, row),
                Self::Given(logits) => {
                    let given = logits.slice(s![first + i, voxels.clone()]);
                    row.iter_mut()
                        .zip(given)
                        .for_each(|(x, &g)| *x = T::from_f64(g));
                }
            });
        out
    }
}

/// Beyond every voxel: where the numbers of a filter are.
const BEYOND_VOXELS: usize = 1 << 40;

/// Standard normal logits of a filter, each a function of (seed, cell) alone.
pub(crate) fn filter_logits(seed: u64, cells: Range<usize>) -> Vec<f64> {
    cells
        .map(|cell| {
            let mut logit = [0.0];
            normal_row(seed, cell, BEYOND_VOXELS, &mut logit);
            logit[0]
        })
        .collect()
}

/// Standard normal numbers of one cell, from a voxel on: stream `cell` of the generator of `seed`, two voxels to a counter value (Box and
/// Muller 1958).
fn normal_row<T: Number>(seed: u64, cell: usize, first_voxel: usize, row: &mut [T]) {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(cell as u64);
    // A pair takes two numbers of 64 bits, four words.
    generator.set_word_pos(4 * (first_voxel / 2) as u128);
    let mut pair = || {
        // (0, 1], so that its logarithm is finite, and [0, 1).
        let radius = (-2.0 * (1.0 - unit(generator.next_u64())).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(generator.next_u64())).sin_cos();
        [radius * cos, radius * sin]
    };
    let (odd, rest) = row.split_at_mut(first_voxel % 2);
    if let [x] = odd {
        *x = T::from_f64(pair()[1]);
    }
    for two in rest.chunks_mut(2) {
        for (x, normal) in two.iter_mut().zip(pair()) {
            *x = T::from_f64(normal);
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
    use tangram_comm::Reduce;

    #[test]
    fn logits_are_standard_normal_and_differ_by_seed_and_cell() {
        let whole = Shares::whole(100, 501, 1);
        let rows: Vec<f64> = InitialLogits::Random.shard(0, &whole).unwrap();
        let n = rows.len() as f64;
        let mean = rows.iter().sum::<f64>() / n;
        let variance = rows.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let fourth = rows.iter().map(|x| (x - mean).powi(4)).sum::<f64>() / n;
        // Five standard errors of 50,100 draws.
        assert!(
            mean.abs() < 0.023 && (variance - 1.0).abs() < 0.032 && (fourth - 3.0).abs() < 0.22
        );
        for rank in 0..6 {
            let shape = "2x3x1".parse().unwrap();
            let shares = Shares::at(shape, Reduce::Fast, [100, 501, 1], rank).unwrap();
            let part: Vec<f64> = InitialLogits::Random.shard(0, &shares).unwrap();
            let voxels = shares.voxels.range();
            for (cell, part) in shares.cells.range().zip(part.chunks(voxels.len())) {
                let whole = &rows[cell * 501..][voxels.clone()];
                assert_eq!(part, whole, "rank {rank}, cell {cell}");
            }
        }
        let other: Vec<f64> = InitialLogits::Random.shard(1, &whole).unwrap();
        assert_ne!(other[..501], rows[..501]);
        assert_ne!(rows[..501], rows[501..1002]);
    }
}
