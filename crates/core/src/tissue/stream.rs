//! Random numbers that depend only on (seed, purpose, index), so that any row can be generated on its own.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Random streams reserved per spot; at least the maximum number of its cells.
const CELLS_PER_SPOT: usize = 16;

/// Counter-based random generators (ChaCha8 keyed by the seed), one stream per cell, voxel, spot and gene.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    seeded: ChaCha8Rng,
}

impl Stream {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seeded: ChaCha8Rng::seed_from_u64(seed),
        }
    }

    fn at(&self, purpose: u64, index: usize) -> ChaCha8Rng {
        let mut rng = self.seeded.clone();
        rng.set_stream(purpose << 56 | index as u64);
        rng
    }

    pub(super) fn cell(&self, cell: usize) -> ChaCha8Rng {
        self.at(0, cell)
    }

    pub(super) fn voxel(&self, voxel: usize) -> ChaCha8Rng {
        self.at(1, voxel)
    }

    /// For the place of a voxel; separate from its cell, so that finding the nearest voxel needs only places.
    pub(super) fn voxel_place(&self, voxel: usize) -> ChaCha8Rng {
        self.at(2, voxel)
    }

    /// For the number of cells of a spot.
    pub(super) fn spot(&self, spot: usize) -> ChaCha8Rng {
        self.at(3, spot)
    }

    pub(super) fn spot_cell(&self, spot: usize, cell: usize) -> ChaCha8Rng {
        debug_assert!(cell < CELLS_PER_SPOT);
        self.at(4, spot * CELLS_PER_SPOT + cell)
    }

    pub(super) fn gene(&self, gene: usize) -> ChaCha8Rng {
        self.at(5, gene)
    }

    pub(super) fn niches(&self, cell_type: usize) -> ChaCha8Rng {
        self.at(6, cell_type)
    }

    /// For trial cells, from which the level of expression is set.
    pub(super) fn trial(&self, cell: usize) -> ChaCha8Rng {
        self.at(7, cell)
    }
}

/// A uniform number in [0, 1).
pub(super) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number, by the method of Box and Muller.
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}
