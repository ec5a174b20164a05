//! Which voxels are neighbours.

mod places;

pub use places::PlacesError;

/// A weighted graph of the voxels, sparse: `W_jl` is the weight of neighbour l at voxel j.
///
/// Rows are voxels; a row holds its neighbours in growing order, without the voxel itself unless it is its own neighbour.
#[derive(Debug, Clone, PartialEq)]
pub struct Neighbours {
    /// Where each row begins in the other two, and where the last ends.
    starts: Vec<usize>,
    neighbours: Vec<u32>,
    weights: Vec<f64>,
}

/// Why something is no graph of voxels.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum NeighboursError {
    /// A neighbour that is no voxel.
    #[error(
        "voxel {voxel} has voxel {neighbour} as a neighbour, but there are {n_voxels} voxels (counted from 0)"
    )]
    NoVoxel {
        /// The voxel.
        voxel: usize,
        /// Its neighbour.
        neighbour: usize,
        /// Number of voxels.
        n_voxels: usize,
    },
    /// A neighbour given twice.
    #[error("voxel {voxel} has voxel {neighbour} as a neighbour twice (counted from 0)")]
    Twice {
        /// The voxel.
        voxel: usize,
        /// Its neighbour.
        neighbour: usize,
    },
    /// A weight that is no number.
    #[error("the weight of neighbour {neighbour} at voxel {voxel} is {weight} (counted from 0)")]
    Weight {
        /// The voxel.
        voxel: usize,
        /// Its neighbour.
        neighbour: usize,
        /// The weight.
        weight: f64,
    },
}

impl Neighbours {
    /// Takes the neighbours of every voxel with their weights, in any order.
    ///
    /// ```
    /// use tangram_core::Neighbours;
    ///
    /// // Three voxels in a row.
    /// let row = Neighbours::new(vec![vec![(1, 1.0)], vec![(0, 0.5), (2, 0.5)], vec![(1, 1.0)]])?;
    /// assert_eq!(row.of(1).collect::<Vec<_>>(), [(0, 0.5), (2, 0.5)]);
    /// # Ok::<(), tangram_core::NeighboursError>(())
    /// ```
    ///
    /// # Errors
    /// [`NeighboursError`]: a neighbour that is no voxel or is given twice, a weight that is not finite.
    pub fn new(rows: Vec<Vec<(usize, f64)>>) -> Result<Self, NeighboursError> {
        let n_voxels = rows.len();
        let mut graph = Self {
            starts: vec![0],
            neighbours: Vec::new(),
            weights: Vec::new(),
        };
        for (voxel, mut row) in rows.into_iter().enumerate() {
            row.sort_unstable_by_key(|(neighbour, _)| *neighbour);
            let mut before = None;
            for (neighbour, weight) in row {
                if neighbour >= n_voxels {
                    return Err(NeighboursError::NoVoxel {
                        voxel,
                        neighbour,
                        n_voxels,
                    });
                }
                if before.replace(neighbour) == Some(neighbour) {
                    return Err(NeighboursError::Twice { voxel, neighbour });
                }
                if !weight.is_finite() {
                    return Err(NeighboursError::Weight {
                        voxel,
                        neighbour,
                        weight,
                    });
                }
                graph.neighbours.push(neighbour as u32);
                graph.weights.push(weight);
            }
            graph.starts.push(graph.neighbours.len());
        }
        Ok(graph)
    }

    /// Number of voxels V.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.starts.len() - 1
    }

    /// Number of pairs of a voxel and its neighbour.
    #[must_use]
    pub fn n_pairs(&self) -> usize {
        self.neighbours.len()
    }

    /// Neighbours of a voxel with their weights, in growing order.
    pub fn of(&self, voxel: usize) -> impl Iterator<Item = (usize, f64)> {
        let row = self.starts[voxel]..self.starts[voxel + 1];
        let weights = self.weights[row.clone()].iter().copied();
        self.neighbours[row]
            .iter()
            .map(|&l| l as usize)
            .zip(weights)
    }

    /// The same neighbours, each with weight 1.
    #[must_use]
    pub fn unweighted(&self) -> Self {
        Self {
            weights: vec![1.0; self.n_pairs()],
            ..self.clone()
        }
    }

    /// Wᵀ: who has a voxel as a neighbour.
    #[must_use]
    pub fn transposed(&self) -> Self {
        let mut starts = vec![0; self.n_voxels() + 1];
        for &neighbour in &self.neighbours {
            starts[neighbour as usize + 1] += 1;
        }
        for voxel in 0..self.n_voxels() {
            starts[voxel + 1] += starts[voxel];
        }
        let mut next = starts.clone();
        let mut neighbours = vec![0; self.n_pairs()];
        let mut weights = vec![0.0; self.n_pairs()];
        for voxel in 0..self.n_voxels() {
            for (neighbour, weight) in self.of(voxel) {
                let place = &mut next[neighbour];
                (neighbours[*place], weights[*place]) = (voxel as u32, weight);
                *place += 1;
            }
        }
        Self {
            starts,
            neighbours,
            weights,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_changes_nothing() {
        let rows = vec![
            vec![(2, 0.5), (1, 0.25)],
            vec![],
            vec![(0, 1.0), (2, 3.0), (3, 2.0)],
            vec![(1, 4.0)],
        ];
        let graph = Neighbours::new(rows).unwrap();
        let transposed = graph.transposed();
        assert_eq!(transposed.of(1).collect::<Vec<_>>(), [(0, 0.25), (3, 4.0)]);
        assert_eq!(transposed.of(2).collect::<Vec<_>>(), [(0, 0.5), (2, 3.0)]);
        assert_eq!(transposed.transposed(), graph);
        assert_eq!((graph.n_voxels(), graph.n_pairs()), (4, 6));
    }

    #[test]
    fn what_is_no_graph_is_refused() {
        let refused = |rows| Neighbours::new(rows).unwrap_err();
        assert!(matches!(
            refused(vec![vec![(1, 1.0)]]),
            NeighboursError::NoVoxel { neighbour: 1, .. }
        ));
        assert!(matches!(
            refused(vec![vec![(0, 1.0), (0, 2.0)]]),
            NeighboursError::Twice { voxel: 0, .. }
        ));
        assert!(matches!(
            refused(vec![vec![(0, f64::NAN)]]),
            NeighboursError::Weight { .. }
        ));
    }
}
