//! Values of neighbouring voxels. Other ranks hold some of them.

use super::sums::VoxelShards;
use crate::Neighbours;
use ndarray::{Array2, ArrayView2, Axis, s};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Genes that are handled together: their values of a voxel lie side by side, so that a neighbour is found once for all of them.
const LANES: usize = 8;

/// `x + W x` on one rank's shard of the voxels: each rank fetches the values of the neighbours that it does not hold, and no others.
#[derive(Debug)]
pub struct Stencil {
    /// Where each own voxel's neighbours begin in the other two, and where the last ones end.
    starts: Vec<usize>,
    /// Own voxels first, counted from the shard's first; then the fetched ones.
    neighbours: Vec<u32>,
    weights: Vec<f64>,
    /// Own voxels that other ranks need, by rank.
    give: Vec<Vec<u32>>,
    n_fetched: usize,
}

/// Own voxels that other ranks need, by rank: those that are neighbours of voxels there.
///
/// * `transposed`: the graph the other way round
fn given(transposed: &Neighbours, shards: &VoxelShards) -> Vec<Vec<u32>> {
    let own = shards.range();
    let mut give = vec![Vec::new(); shards.ranges.len()];
    for voxel in own.clone() {
        for (at, _) in transposed.of(voxel) {
            let holder = shards.holder(at);
            let place = (voxel - own.start) as u32;
            if holder != shards.own && give[holder].last() != Some(&place) {
                give[holder].push(place);
            }
        }
    }
    give
}

impl Stencil {
    /// Takes a graph of all voxels, which all ranks have alike, and the same the other way round.
    #[must_use]
    pub fn new(graph: &Neighbours, transposed: &Neighbours, shards: &VoxelShards) -> Self {
        let own = shards.range();
        // In growing order, hence rank by rank: as they arrive.
        let mut fetched = BTreeMap::new();
        for voxel in own.clone() {
            let others = graph.of(voxel).filter(|(l, _)| !own.contains(l));
            fetched.extend(others.map(|(l, _)| (l, 0)));
        }
        for (place, (_, at)) in fetched.iter_mut().enumerate() {
            *at = own.len() + place;
        }
        let (mut starts, mut neighbours, mut weights) = (vec![0], Vec::new(), Vec::new());
        for voxel in own.clone() {
            for (l, weight) in graph.of(voxel) {
                let at = match own.contains(&l) {
                    true => l - own.start,
                    false => fetched[&l],
                };
                neighbours.push(at as u32);
                weights.push(weight);
            }
            starts.push(neighbours.len());
        }
        Self {
            starts,
            neighbours,
            weights,
            give: given(transposed, shards),
            n_fetched: fetched.len(),
        }
    }

    /// Number of voxels that it gives to other ranks.
    ///
    /// * `transposed`: the graph the other way round
    #[must_use]
    pub fn n_given(transposed: &Neighbours, shards: &VoxelShards) -> usize {
        given(transposed, shards).iter().map(Vec::len).sum()
    }

    /// `x + W x` of every gene; `x`: (genes, voxels).
    ///
    /// One exchange with the ranks that hold neighbours: [`ToNeighbours`](super::Exchange::ToNeighbours) of the genes × the
    /// voxels that they need.
    #[must_use]
    pub fn apply(
        &self,
        x: ArrayView2<'_, f64>,
        swap: impl Fn(Vec<Vec<f64>>) -> Vec<Vec<f64>>,
    ) -> Array2<f64> {
        let row = |k| x.index_axis_move(Axis(0), k).into_iter().copied();
        self.apply_to_rows(x.nrows(), row, swap)
    }

    /// [`apply`](Self::apply) of values that are computed when they are read.
    ///
    /// * `row`: own voxels' values of a gene
    pub(super) fn apply_to_rows<R: Iterator<Item = f64>>(
        &self,
        n_genes: usize,
        row: impl Fn(usize) -> R + Sync,
        swap: impl Fn(Vec<Vec<f64>>) -> Vec<Vec<f64>>,
    ) -> Array2<f64> {
        let fetched = self.fetch(n_genes, &row, swap);
        let n_voxels = self.starts.len() - 1;
        let mut out = Array2::zeros((n_genes, n_voxels));
        let blocks = out.axis_chunks_iter_mut(Axis(0), LANES).into_par_iter();
        let scratch = || vec![[0.0; LANES]; n_voxels + self.n_fetched];
        blocks
            .enumerate()
            .for_each_init(scratch, |values, (block, mut out)| {
                let first = block * LANES;
                for lane in 0..out.nrows() {
                    let all =
                        row(first + lane).chain(fetched.row(first + lane).into_iter().copied());
                    values.iter_mut().zip(all).for_each(|(to, x)| to[lane] = x);
                }
                for j in 0..n_voxels {
                    let sums = self.around(j, values);
                    let mut column = out.column_mut(j);
                    column
                        .iter_mut()
                        .zip(sums)
                        .for_each(|(out, sum)| *out = sum);
                }
            });
        out
    }

    /// `x_j + (W x)_j` of the genes that share a block.
    ///
    /// * `values`: of own voxels and of fetched ones
    fn around(&self, j: usize, values: &[[f64; LANES]]) -> [f64; LANES] {
        let pairs = self.starts[j]..self.starts[j + 1];
        let pairs = self.neighbours[pairs.clone()]
            .iter()
            .zip(&self.weights[pairs]);
        let mut sums = [-0.0; LANES];
        for (&l, w) in pairs {
            let value = &values[l as usize];
            for (sum, x) in sums.iter_mut().zip(value) {
                *sum += w * x;
            }
        }
        std::array::from_fn(|lane| values[j][lane] + sums[lane])
    }

    /// Values of neighbours that other ranks hold, (genes, fetched voxels); gives those that they need.
    fn fetch<R: Iterator<Item = f64>>(
        &self,
        n_genes: usize,
        row: impl Fn(usize) -> R,
        swap: impl Fn(Vec<Vec<f64>>) -> Vec<Vec<f64>>,
    ) -> Array2<f64> {
        let mut to: Vec<Vec<f64>> = vec![Vec::new(); self.give.len()];
        if self.give.iter().any(|places| !places.is_empty()) {
            for k in 0..n_genes {
                let row: Vec<f64> = row(k).collect();
                for (to, places) in to.iter_mut().zip(&self.give) {
                    to.extend(places.iter().map(|&j| row[j as usize]));
                }
            }
        }
        let from = swap(to);
        // From one such matrix a rank.
        let mut fetched = Array2::zeros((n_genes, self.n_fetched));
        let mut first = 0;
        for part in from.iter().filter(|part| !part.is_empty()) {
            let n = part.len() / n_genes;
            for (mut row, part) in fetched.rows_mut().into_iter().zip(part.chunks_exact(n)) {
                let mut places = row.slice_mut(s![first..first + n]);
                places.iter_mut().zip(part).for_each(|(to, &x)| *to = x);
            }
            first += n;
        }
        assert_eq!(first, self.n_fetched, "all neighbours of other ranks");
        fetched
    }
}
