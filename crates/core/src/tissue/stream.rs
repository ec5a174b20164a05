//! Random numbers that depend on (seed, what for, index) only, so that any row can be made alone.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Most cells one spot can have room for in the numbering of streams.
const CELLS_PER_SPOT: usize = 16;

/// One counter-based generator per cell, voxel, spot, gene: ChaCha8 keyed by the seed, one stream each.
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

    /// Where a voxel lies: apart from its cell, so that looking for the nearest voxel is cheap.
    pub(super) fn voxel_place(&self, voxel: usize) -> ChaCha8Rng {
        self.at(2, voxel)
    }

    /// How many cells a spot has.
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

    /// Cells drawn only to see how dense the counts come out.
    pub(super) fn trial(&self, cell: usize) -> ChaCha8Rng {
        self.at(7, cell)
    }
}

/// A number from 0 (included) to 1 (excluded).
pub(super) fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A standard normal number (Box and Muller).
pub(super) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(rng)).cos()
}
