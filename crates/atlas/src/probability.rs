//! Class probabilities of the atlas around a point, and their derivatives by the point.

use crate::{Atlas, AtlasError, BACKGROUND, Grid, NO_CLASS, Volume};
use rayon::prelude::*;

/// Probabilities are stored in steps of 1/255.
const ONE: f32 = 255.0;

/// Smoothed one-hot classes on a grid, the class fastest. Outside the grid is background.
#[derive(Debug, Clone)]
pub struct Probability {
    grid: Grid,
    n_classes: usize,
    values: Vec<u8>,
}

/// The eight voxels around a point with their weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cell {
    /// Index of the first voxel along each axis; −1 begins half outside.
    first: [i64; 3],
    along: [f32; 3],
}

impl Probability {
    /// Smooths classes with the weights ¼, ½, ¼ along each axis.
    ///
    /// * `n_classes`: with the background
    #[must_use]
    pub fn smoothed(classes: &Volume<u8>, n_classes: usize) -> Self {
        let grid = classes.grid;
        let [aps, dvs, mls] = grid.shape;
        let mut values = vec![0; grid.n_voxels() * n_classes];
        let weights = [1_u32, 2, 1];
        values
            .par_chunks_mut(dvs * mls * n_classes)
            .enumerate()
            .for_each(|(ap, plane)| {
                let mut sums = vec![0_u32; n_classes];
                for dv in 0..dvs {
                    for ml in 0..mls {
                        sums.fill(0);
                        for (i, wi) in weights.iter().enumerate() {
                            for (j, wj) in weights.iter().enumerate() {
                                for (k, wk) in weights.iter().enumerate() {
                                    let at = [ap + i, dv + j, ml + k];
                                    let inside =
                                        (0..3).all(|x| (1..=grid.shape[x]).contains(&at[x]));
                                    let class = match inside {
                                        true => classes.values[grid.index(at.map(|x| x - 1))],
                                        false => BACKGROUND,
                                    };
                                    if class != NO_CLASS {
                                        sums[usize::from(class)] += wi * wj * wk;
                                    }
                                }
                            }
                        }
                        let at = (dv * mls + ml) * n_classes;
                        for (value, sum) in plane[at..at + n_classes].iter_mut().zip(&sums) {
                            *value = ((sum * 255 + 32) / 64) as u8;
                        }
                    }
                }
            });
        debug_assert_eq!(values.len(), aps * dvs * mls * n_classes);
        Self {
            grid,
            n_classes,
            values,
        }
    }

    /// The grid.
    #[must_use]
    pub fn grid(&self) -> Grid {
        self.grid
    }

    /// Number of classes, with the background.
    #[must_use]
    pub fn n_classes(&self) -> usize {
        self.n_classes
    }

    pub(crate) fn cell(&self, point_um: [f64; 3]) -> Cell {
        let (mut first, mut along) = ([0; 3], [0.0; 3]);
        for axis in 0..3 {
            // A point far outside is moved to just outside: the values are the same.
            let most = self.grid.shape[axis] as f64 + 1.0;
            let at = (point_um[axis] / self.grid.voxel_um - 0.5).clamp(-2.0, most);
            let floor = at.floor();
            first[axis] = floor as i64;
            along[axis] = (at - floor) as f32;
        }
        Cell { first, along }
    }

    /// The classes of a voxel; `None` outside the grid.
    fn voxel(&self, at: [i64; 3]) -> Option<&[u8]> {
        let mut index = 0;
        for (i, n) in at.into_iter().zip(self.grid.shape) {
            let i = usize::try_from(i).ok().filter(|i| *i < n)?;
            index = index * n + i;
        }
        Some(&self.values[index * self.n_classes..(index + 1) * self.n_classes])
    }

    fn corners(&self, cell: &Cell) -> [Option<&[u8]>; 8] {
        let [a, b, c] = cell.first;
        std::array::from_fn(|i| {
            let i = i as i64;
            self.voxel([a + (i >> 2), b + ((i >> 1) & 1), c + (i & 1)])
        })
    }

    /// Probabilities at a point, trilinear between the voxels' middles.
    pub(crate) fn sample(&self, cell: &Cell, into: &mut [f32]) {
        into.fill(0.0);
        for (i, corner) in self.corners(cell).into_iter().enumerate() {
            let weight = (0..3)
                .map(|axis| match (i >> (2 - axis)) & 1 {
                    1 => cell.along[axis],
                    _ => 1.0 - cell.along[axis],
                })
                .product::<f32>()
                / ONE;
            match corner {
                Some(classes) => {
                    for (sum, &value) in into.iter_mut().zip(classes) {
                        *sum += weight * f32::from(value);
                    }
                }
                None => into[0] += weight * ONE,
            }
        }
    }

    /// Derivative by the point (AP, DV, ML; per micrometre) of a weighted sum of the probabilities there.
    pub(crate) fn slope(&self, cell: &Cell, weights: &[f32]) -> [f64; 3] {
        let sums = self.corners(cell).map(|corner| match corner {
            Some(classes) => {
                let products = classes.iter().zip(weights);
                products.map(|(&v, w)| f32::from(v) * w).sum::<f32>() / ONE
            }
            None => weights[0],
        });
        let [x, y, z] = cell.along;
        let mix = |a: f32, b: f32, w: f32| a + (b - a) * w;
        // Differences along one axis, interpolated along the other two.
        let by_ap = {
            let d: [f32; 4] = std::array::from_fn(|i| sums[i + 4] - sums[i]);
            mix(mix(d[0], d[1], z), mix(d[2], d[3], z), y)
        };
        let by_dv = {
            let d = [0, 1, 4, 5].map(|i| sums[i + 2] - sums[i]);
            mix(mix(d[0], d[1], z), mix(d[2], d[3], z), x)
        };
        let by_ml = {
            let d = [0, 2, 4, 6].map(|i| sums[i + 1] - sums[i]);
            mix(mix(d[0], d[1], y), mix(d[2], d[3], y), x)
        };
        [by_ap, by_dv, by_ml].map(|d| f64::from(d) / self.grid.voxel_um)
    }
}

/// Probabilities of an atlas on the levels that a registration goes through, and the classes on the coarsest.
#[derive(Debug)]
pub struct ProbabilityPyramid {
    /// From the coarsest to the finest.
    pub levels: Vec<Probability>,
    /// Classes of the finest of these levels.
    pub classes: Volume<u8>,
    /// Names of the classes, background first.
    pub names: Vec<String>,
}

impl ProbabilityPyramid {
    /// Reads the classes of an atlas and smooths them.
    ///
    /// * `finest_um`: edge of a voxel of the finest level wanted
    ///
    /// # Errors
    /// [`AtlasError`] if they cannot be read.
    pub fn of_atlas(atlas: &Atlas, finest_um: f64) -> Result<Self, AtlasError> {
        let finest = atlas.level_of(finest_um);
        let names = atlas.rule().names();
        let mut levels = Vec::new();
        for level in (finest..atlas.levels().len()).rev() {
            levels.push(Probability::smoothed(&atlas.classes(level)?, names.len()));
        }
        Ok(Self {
            levels,
            classes: atlas.classes(finest)?,
            names,
        })
    }

    /// Smooths classes and their coarser levels.
    ///
    /// * `n_levels`: with the finest
    #[must_use]
    pub fn of_classes(classes: Volume<u8>, names: Vec<String>, n_levels: usize) -> Self {
        let mut volumes = vec![classes.clone()];
        for _ in 1..n_levels {
            let next = volumes.last().expect("it begins with one").majority();
            volumes.push(next);
        }
        let smoothed = |classes: &Volume<u8>| Probability::smoothed(classes, names.len());
        Self {
            levels: volumes.iter().rev().map(smoothed).collect(),
            classes,
            names,
        }
    }

    /// Lengths of the atlas's axes.
    #[must_use]
    pub fn extent_um(&self) -> [f64; 3] {
        self.classes.grid.extent_um()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn volume() -> Volume<u8> {
        let grid = Grid {
            shape: [5, 6, 7],
            voxel_um: 100.0,
        };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let values = (0..grid.n_voxels())
            .map(|_| rng.random_range(0..4_u8))
            .collect();
        Volume::new(grid, values)
    }

    #[test]
    fn probabilities_sum_to_one_everywhere() {
        let probability = Probability::smoothed(&volume(), 4);
        let mut found = [0.0; 4];
        for point in [
            [250.0, 300.0, 350.0],
            [-500.0, 0.0, 20.0],
            [490.0, 0.0, 699.0],
        ] {
            probability.sample(&probability.cell(point), &mut found);
            let sum: f32 = found.iter().sum();
            // Each class is rounded to 1/255.
            assert!((sum - 1.0).abs() < 4.0 / 255.0, "{point:?}: {sum}");
        }
        probability.sample(&probability.cell([1e9, 0.0, 0.0]), &mut found);
        assert_eq!(found, [1.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn no_class_is_nothing() {
        let volume = volume().map(|_| NO_CLASS);
        let probability = Probability::smoothed(&volume, 4);
        let mut found = [0.0; 4];
        probability.sample(&probability.cell([250.0, 300.0, 350.0]), &mut found);
        assert_eq!(found, [0.0; 4]);
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        let probability = Probability::smoothed(&volume(), 4);
        let weights = [0.3_f32, -1.0, 0.7, 2.0];
        let value = |point: [f64; 3]| -> f64 {
            let mut found = [0.0; 4];
            probability.sample(&probability.cell(point), &mut found);
            found
                .iter()
                .zip(weights)
                .map(|(f, w)| f64::from(f * w))
                .sum()
        };
        for point in [
            [231.0, 322.0, 413.0],
            [12.0, 590.0, 333.0],
            [-20.0, 123.0, 710.0],
        ] {
            let slope = probability.slope(&probability.cell(point), &weights);
            for axis in 0..3 {
                let shifted = |by: f64| {
                    let mut point = point;
                    point[axis] += by;
                    value(point)
                };
                let numeric = (shifted(2.0) - shifted(-2.0)) / 4.0;
                assert!(
                    (numeric - slope[axis]).abs() < 1e-5,
                    "{point:?} axis {axis}"
                );
            }
        }
    }
}
