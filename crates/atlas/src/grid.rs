//! The axes of an atlas and volumes on them.

use std::ops::Range;

/// A grid of cubic voxels over (AP, DV, ML): axes grow from anterior to posterior, from dorsal to ventral, and from one side to the
/// other. Voxel `k` of an axis covers `k·voxel_um` to `(k + 1)·voxel_um`, so a position in micrometres counts from the
/// anterior-dorsal corner, whatever the resolution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    /// Voxels along AP, DV and ML.
    pub shape: [usize; 3],
    /// Edge of a voxel, micrometres.
    pub voxel_um: f64,
}

impl Grid {
    /// Number of voxels.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.shape.iter().product()
    }

    /// Lengths of the axes, micrometres.
    #[must_use]
    pub fn extent_um(&self) -> [f64; 3] {
        self.shape.map(|n| n as f64 * self.voxel_um)
    }

    /// Index of a voxel in row-major order.
    #[must_use]
    pub fn index(&self, [ap, dv, ml]: [usize; 3]) -> usize {
        (ap * self.shape[1] + dv) * self.shape[2] + ml
    }

    /// The voxel that covers a point; `None` outside.
    #[must_use]
    pub fn voxel_at(&self, point_um: [f64; 3]) -> Option<[usize; 3]> {
        let mut voxel = [0; 3];
        for axis in 0..3 {
            let at = (point_um[axis] / self.voxel_um).floor();
            if !(at >= 0.0 && at < self.shape[axis] as f64) {
                return None;
            }
            voxel[axis] = at as usize;
        }
        Some(voxel)
    }

    /// The grid of voxels twice as large; an odd last voxel is completed with what is outside.
    #[must_use]
    pub fn coarser(&self) -> Self {
        Self {
            shape: self.shape.map(|n| n.div_ceil(2)),
            voxel_um: self.voxel_um * 2.0,
        }
    }

    /// Voxels of the finer grid that make up one of [`coarser`](Self::coarser).
    fn block(&self, coarse: [usize; 3]) -> [Range<usize>; 3] {
        std::array::from_fn(|axis| {
            let first = coarse[axis] * 2;
            first..(first + 2).min(self.shape[axis])
        })
    }
}

/// Values on a grid, ML fastest.
#[derive(Debug, Clone, PartialEq)]
pub struct Volume<T> {
    /// The grid.
    pub grid: Grid,
    /// One value per voxel.
    pub values: Vec<T>,
}

impl<T: Copy> Volume<T> {
    /// Puts values on a grid.
    ///
    /// # Panics
    /// If their number is not that of the voxels.
    #[must_use]
    pub fn new(grid: Grid, values: Vec<T>) -> Self {
        assert_eq!(grid.n_voxels(), values.len(), "one value per voxel");
        Self { grid, values }
    }

    /// The value at a point; `None` outside.
    #[must_use]
    pub fn at(&self, point_um: [f64; 3]) -> Option<T> {
        self.grid
            .voxel_at(point_um)
            .map(|voxel| self.values[self.grid.index(voxel)])
    }

    /// The same grid with every value replaced.
    #[must_use]
    pub fn map<U>(&self, f: impl Fn(T) -> U) -> Volume<U> {
        Volume {
            grid: self.grid,
            values: self.values.iter().map(|&v| f(v)).collect(),
        }
    }
}

impl<T: Copy + Ord> Volume<T> {
    /// The next coarser level: every voxel takes the value that most of its eight finer voxels have, of equally frequent ones
    /// the smallest.
    #[must_use]
    pub fn majority(&self) -> Self {
        let coarse = self.grid.coarser();
        let mut values = Vec::with_capacity(coarse.n_voxels());
        for ap in 0..coarse.shape[0] {
            for dv in 0..coarse.shape[1] {
                for ml in 0..coarse.shape[2] {
                    values.push(self.most_frequent(self.grid.block([ap, dv, ml])));
                }
            }
        }
        Volume::new(coarse, values)
    }

    fn most_frequent(&self, [aps, dvs, mls]: [Range<usize>; 3]) -> T {
        let mut found = [None; 8];
        let mut n = 0;
        for ap in aps {
            for dv in dvs.clone() {
                for ml in mls.clone() {
                    found[n] = Some(self.values[self.grid.index([ap, dv, ml])]);
                    n += 1;
                }
            }
        }
        let found = &mut found[..n];
        found.sort_unstable();
        let mut best = (0, None);
        for run in found.chunk_by(|a, b| a == b) {
            if run.len() > best.0 {
                best = (run.len(), run[0]);
            }
        }
        best.1.expect("a coarse voxel has at least one finer one")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_and_levels_agree() {
        let grid = Grid {
            shape: [3, 2, 4],
            voxel_um: 50.0,
        };
        let volume = Volume::new(grid, (0..24).collect::<Vec<u16>>());
        assert_eq!(volume.at([149.0, 0.0, 51.0]), Some(17));
        assert_eq!(volume.at([150.0, 0.0, 0.0]), None);
        assert_eq!(volume.at([-0.1, 0.0, 0.0]), None);
        assert_eq!(volume.at([f64::NAN, 0.0, 0.0]), None);
        let coarse = grid.coarser();
        assert_eq!(coarse.shape, [2, 1, 2]);
        assert_eq!(coarse.voxel_um, 100.0);
    }

    #[test]
    fn a_coarse_voxel_takes_the_most_frequent_value() {
        let grid = Grid {
            shape: [2, 2, 3],
            voxel_um: 25.0,
        };
        let values = vec![7, 7, 1, 9, 9, 1, 9, 7, 0, 3, 9, 0];
        let coarse = Volume::new(grid, values).majority();
        assert_eq!(coarse.values, [9, 0], "the second is a tie of 1 and 0");
    }
}
