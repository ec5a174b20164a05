//! Values of neighbouring voxels. Other ranks hold some of them.

use super::sums::VoxelShards;
use crate::Neighbours;
use ndarray::{Array2, ArrayView2, Axis, Zip};
use std::collections::BTreeMap;

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
        let (n_genes, n_voxels) = x.dim();
        let to = self.give.iter().map(|places| {
            let rows = x.rows().into_iter();
            rows.flat_map(|row| places.iter().map(move |&j| row[j as usize]))
                .collect()
        });
        let from = swap(to.collect());
        // (genes, fetched voxels), from one such matrix a rank.
        let mut fetched = Array2::zeros((n_genes, self.n_fetched));
        let mut first = 0;
        for part in from.iter().filter(|part| !part.is_empty()) {
            let n = part.len() / n_genes;
            for (mut row, part) in fetched.rows_mut().into_iter().zip(part.chunks_exact(n)) {
                let mut places = row.slice_mut(ndarray::s![first..first + n]);
                places.iter_mut().zip(part).for_each(|(to, &x)| *to = x);
            }
            first += n;
        }
        assert_eq!(first, self.n_fetched, "all neighbours of other ranks");
        let mut out = Array2::zeros((n_genes, n_voxels));
        Zip::from(out.axis_iter_mut(Axis(0)))
            .and(x.axis_iter(Axis(0)))
            .and(fetched.axis_iter(Axis(0)))
            .par_for_each(|mut out, x, fetched| {
                for (j, out) in out.iter_mut().enumerate() {
                    let row = self.starts[j]..self.starts[j + 1];
                    let pairs = self.neighbours[row.clone()].iter().zip(&self.weights[row]);
                    let value = |l: usize| match l < n_voxels {
                        true => x[l],
                        false => fetched[l - n_voxels],
                    };
                    *out = x[j] + pairs.map(|(&l, w)| w * value(l as usize)).sum::<f64>();
                }
            });
        out
    }
}
