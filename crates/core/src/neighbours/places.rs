//! Neighbours from the coordinates of the voxels.
//!
//! A voxel with n neighbours gives each of them the weight 1/n. Of voxels at the same distance, the one that comes first is nearer.

use super::Neighbours;
use ndarray::ArrayView2;
use rayon::prelude::*;

/// Neighbours on a lattice are nearer than this, in spacings. The second nearest are 1.41 (square) or 1.73 (hexagonal) spacings away.
const REACH: f64 = 1.2;

/// Why coordinates give no graph of neighbours.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum PlacesError {
    /// Coordinates that are no points of a plane or of space.
    #[error("coordinates of {found} numbers a voxel; 2 or 3 are needed")]
    Columns {
        /// Number of columns.
        found: usize,
    },
    /// A coordinate that is no number.
    #[error("a coordinate of voxel {voxel} (counted from 0) is no number")]
    NotFinite {
        /// The voxel.
        voxel: usize,
    },
    /// More neighbours than there are other voxels.
    #[error("no voxel has {asked} neighbours, since there are {n_voxels} voxels; ask for fewer")]
    TooMany {
        /// Number of neighbours.
        asked: usize,
        /// Number of voxels.
        n_voxels: usize,
    },
    /// Voxels that do not lie at the same distance from each other.
    #[error(
        "the voxels are no lattice: most are {spacing} apart, but voxel {voxel} (counted from 0) {reason}; take nearest:K or radius:R"
    )]
    NoLattice {
        /// Median distance of a voxel from the nearest other.
        spacing: f64,
        /// A voxel that does not fit.
        voxel: usize,
        /// Why not.
        reason: &'static str,
    },
}

/// What is asked of the places.
#[derive(Debug, Clone, Copy)]
enum Ask {
    Lattice,
    Nearest(usize),
    Within(f64),
}

impl Neighbours {
    /// Neighbours on a lattice: of a square one four, of a hexagonal one six, of a cubic one six. Voxels may be missing.
    ///
    /// * `places`: coordinates, (voxels, 2 or 3)
    ///
    /// # Errors
    /// [`PlacesError`]: coordinates that are no numbers, voxels that are no lattice.
    pub fn lattice(places: ArrayView2<'_, f64>) -> Result<Self, PlacesError> {
        Self::of_places(places, Ask::Lattice)
    }

    /// The `k` nearest voxels of every voxel.
    ///
    /// ```
    /// use ndarray::array;
    /// use tangram_core::Neighbours;
    ///
    /// let row = array![[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]];
    /// let graph = Neighbours::nearest(row.view(), 1)?;
    /// assert_eq!(graph.of(2).collect::<Vec<_>>(), [(1, 1.0)]);
    /// # Ok::<(), tangram_core::PlacesError>(())
    /// ```
    ///
    /// * `places`: coordinates, (voxels, 2 or 3)
    ///
    /// # Errors
    /// [`PlacesError`]: coordinates that are no numbers, not more than `k` voxels.
    pub fn nearest(places: ArrayView2<'_, f64>, k: usize) -> Result<Self, PlacesError> {
        Self::of_places(places, Ask::Nearest(k))
    }

    /// The voxels at most `radius` away from every voxel, in units of the coordinates; there may be none.
    ///
    /// * `places`: coordinates, (voxels, 2 or 3)
    ///
    /// # Errors
    /// [`PlacesError`]: coordinates that are no numbers.
    pub fn within(places: ArrayView2<'_, f64>, radius: f64) -> Result<Self, PlacesError> {
        Self::of_places(places, Ask::Within(radius))
    }

    fn of_places(places: ArrayView2<'_, f64>, ask: Ask) -> Result<Self, PlacesError> {
        let mut rows = places.rows().into_iter();
        if let Some(voxel) = rows.position(|place| place.iter().any(|x| !x.is_finite())) {
            return Err(PlacesError::NotFinite { voxel });
        }
        let found = match places.ncols() {
            2 => Places::<2>::new(places).neighbours(ask),
            3 => Places::<3>::new(places).neighbours(ask),
            found => Err(PlacesError::Columns { found }),
        }?;
        let equal = |row: Vec<usize>| {
            let weight = 1.0 / row.len() as f64;
            row.into_iter().map(|l| (l, weight)).collect()
        };
        let rows = found.into_iter().map(equal).collect();
        Ok(Self::new(rows).expect("each neighbour is another voxel, and is found once"))
    }
}

/// Points of N dimensions, with a k-d tree to search them.
struct Places<const N: usize> {
    all: Vec<[f64; N]>,
    /// The middle one of a slice parts the others: smaller coordinates along an axis before it, larger ones after it. Each half is such a
    /// slice again, parted along the next axis.
    tree: Vec<usize>,
}

fn part<const N: usize>(all: &[[f64; N]], tree: &mut [usize], axis: usize) {
    if tree.len() < 2 {
        return;
    }
    let middle = tree.len() / 2;
    tree.select_nth_unstable_by(middle, |&a, &b| all[a][axis].total_cmp(&all[b][axis]));
    let (smaller, larger) = tree.split_at_mut(middle);
    part(all, smaller, (axis + 1) % N);
    part(all, &mut larger[1..], (axis + 1) % N);
}

impl<const N: usize> Places<N> {
    fn new(places: ArrayView2<'_, f64>) -> Self {
        let place = |row: ndarray::ArrayView1<'_, f64>| std::array::from_fn(|axis| row[axis]);
        let all: Vec<[f64; N]> = places.rows().into_iter().map(place).collect();
        let mut tree: Vec<usize> = (0..all.len()).collect();
        part(&all, &mut tree, 0);
        Self { all, tree }
    }

    /// Visits at least all that are not further from `place` than `reach`.
    ///
    /// * `visit`: takes a point and its squared distance, gives the square of the new reach
    fn search(
        &self,
        tree: &[usize],
        axis: usize,
        place: &[f64; N],
        reach: &mut f64,
        visit: &mut impl FnMut(usize, f64) -> f64,
    ) {
        let Some(&middle) = tree.get(tree.len() / 2) else {
            return;
        };
        let pairs = place.iter().zip(&self.all[middle]);
        let distance = pairs.map(|(a, b)| (a - b).powi(2)).sum();
        *reach = visit(middle, distance);
        let (smaller, larger) = (&tree[..tree.len() / 2], &tree[tree.len() / 2 + 1..]);
        let side = place[axis] - self.all[middle][axis];
        let (near, far) = match side < 0.0 {
            true => (smaller, larger),
            false => (larger, smaller),
        };
        let next = (axis + 1) % N;
        self.search(near, next, place, reach, visit);
        if side * side <= *reach {
            self.search(far, next, place, reach, visit);
        }
    }

    fn neighbours(&self, ask: Ask) -> Result<Vec<Vec<usize>>, PlacesError> {
        match ask {
            Ask::Lattice => self.lattice(),
            Ask::Nearest(k) => {
                let of = |nearest: Vec<(f64, usize)>| nearest.into_iter().map(|(_, l)| l).collect();
                Ok(self.nearest(k)?.into_iter().map(of).collect())
            }
            Ask::Within(radius) => Ok(self.within(radius)),
        }
    }

    /// Squared distance and number of the `k` nearest others of every voxel, the nearest first.
    fn nearest(&self, k: usize) -> Result<Vec<Vec<(f64, usize)>>, PlacesError> {
        let n_voxels = self.all.len();
        if k >= n_voxels {
            let asked = k;
            return Err(PlacesError::TooMany { asked, n_voxels });
        }
        let of = |(voxel, place): (usize, &[f64; N])| {
            let mut found: Vec<(f64, usize)> = Vec::with_capacity(k + 1);
            let mut visit = |other: usize, distance: f64| {
                if other != voxel {
                    let before = |&(d, l): &(f64, usize)| (d, l) < (distance, other);
                    found.insert(found.partition_point(before), (distance, other));
                    found.truncate(k);
                }
                match found.len() == k {
                    true => found
                        .last()
                        .map_or(f64::INFINITY, |(furthest, _)| *furthest),
                    false => f64::INFINITY,
                }
            };
            self.search(&self.tree, 0, place, &mut { f64::INFINITY }, &mut visit);
            found
        };
        Ok(self.all.par_iter().enumerate().map(of).collect())
    }

    /// The others at most `radius` away from every voxel.
    fn within(&self, radius: f64) -> Vec<Vec<usize>> {
        let reach = radius * radius;
        let of = |(voxel, place): (usize, &[f64; N])| {
            let mut found = Vec::new();
            let mut visit = |other: usize, distance: f64| {
                if other != voxel && distance <= reach {
                    found.push(other);
                }
                reach
            };
            self.search(&self.tree, 0, place, &mut { reach }, &mut visit);
            found
        };
        self.all.par_iter().enumerate().map(of).collect()
    }

    fn lattice(&self) -> Result<Vec<Vec<usize>>, PlacesError> {
        let nearest = self.nearest(1)?;
        let nearest: Vec<f64> = nearest.iter().map(|found| found[0].0.sqrt()).collect();
        let mut sorted = nearest.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let spacing = sorted[sorted.len() / 2];
        let refuse = |voxel, reason| PlacesError::NoLattice {
            spacing,
            voxel,
            reason,
        };
        let too_near = |&distance: &f64| distance * REACH < spacing || distance == 0.0;
        if let Some(voxel) = nearest.iter().position(too_near) {
            return Err(refuse(voxel, "is nearer to another"));
        }
        let found = self.within(REACH * spacing);
        let most = if N == 2 { 6 } else { 12 };
        if let Some(voxel) = found.iter().position(|row| row.len() > most) {
            return Err(refuse(voxel, "has more neighbours than a lattice has"));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn square(side: usize) -> Array2<f64> {
        Array2::from_shape_fn((side * side, 2), |(j, axis)| match axis {
            0 => (j % side) as f64 * 55.0,
            _ => (j / side) as f64 * 55.0,
        })
    }

    fn of(graph: &Neighbours, voxel: usize) -> Vec<usize> {
        graph.of(voxel).map(|(l, _)| l).collect()
    }

    #[test]
    fn a_square_lattice_has_four_neighbours_and_a_hexagonal_one_six() {
        let graph = Neighbours::lattice(square(5).view()).unwrap();
        assert_eq!(of(&graph, 12), [7, 11, 13, 17]);
        assert_eq!(of(&graph, 0), [1, 5]);
        assert!(graph.of(12).all(|(_, weight)| weight == 0.25));
        // Every second row is shifted by half; pixels are whole numbers.
        let hexagons = Array2::from_shape_fn((25, 2), |(j, axis)| {
            let (x, y) = (j % 5, j / 5);
            match axis {
                0 => (x as f64 * 100.0 + (y % 2) as f64 * 50.0).round(),
                _ => (y as f64 * 100.0 * 0.75f64.sqrt()).round(),
            }
        });
        let graph = Neighbours::lattice(hexagons.view()).unwrap();
        assert_eq!(of(&graph, 12), [6, 7, 11, 13, 16, 17]);
    }

    #[test]
    fn scattered_voxels_are_no_lattice() {
        let scattered = Array2::from_shape_fn((40, 2), |(j, axis)| {
            ((j * 37 + axis * 11) % 41) as f64 * 1.7 + ((j * j) % 13) as f64
        });
        let refused = Neighbours::lattice(scattered.view()).unwrap_err();
        assert!(matches!(refused, PlacesError::NoLattice { .. }));
    }

    #[test]
    fn the_nearest_are_those_of_a_search_through_all() {
        let places = Array2::from_shape_fn((60, 3), |(j, axis)| {
            ((j * (7 + axis) + axis * 5) % 23) as f64
        });
        let distance = |j: usize, l: usize| {
            let pairs = places.row(j).to_vec().into_iter().zip(places.row(l));
            pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>()
        };
        let graph = Neighbours::nearest(places.view(), 4).unwrap();
        let within = Neighbours::within(places.view(), 6.0).unwrap();
        for j in 0..60 {
            let mut others: Vec<usize> = (0..60).filter(|&l| l != j).collect();
            let near = others.clone().into_iter();
            let near: Vec<usize> = near.filter(|&l| distance(j, l) <= 36.0).collect();
            assert_eq!(of(&within, j), near);
            others.sort_by(|&a, &b| distance(j, a).total_cmp(&distance(j, b)).then(a.cmp(&b)));
            others.truncate(4);
            others.sort_unstable();
            assert_eq!(of(&graph, j), others, "voxel {j}");
        }
    }

    #[test]
    fn coordinates_that_give_no_neighbours_are_refused() {
        let two = square(2);
        let asked = PlacesError::TooMany {
            asked: 4,
            n_voxels: 4,
        };
        assert_eq!(Neighbours::nearest(two.view(), 4), Err(asked));
        let line = two.slice(ndarray::s![.., ..1]);
        assert_eq!(
            Neighbours::within(line, 1.0),
            Err(PlacesError::Columns { found: 1 })
        );
        let mut lost = two.clone();
        lost[[3, 1]] = f64::NAN;
        let refused = Neighbours::within(lost.view(), 1.0);
        assert_eq!(refused, Err(PlacesError::NotFinite { voxel: 3 }));
    }
}
