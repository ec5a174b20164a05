//! The Moran term, `− λ_mo · mean_k cos(I(A)_·k, I(G)_·k)`: every gene is like its surroundings where it is measured to be.

use super::cosine::{gene_norms, mean_of_genes};
use super::fetch::Stencil;
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, Data, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip, s};
use rayon::prelude::*;
use std::ops::Range;

pub(super) const ABOUT: About = About {
    name: "moran",
    setting: "lambda-moran",
    help: "Weight of every gene being like its surroundings where it is measured to be (local Moran's I; --neighbours)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Neighbours,
    sense: Sense::Maximised,
    exchanges: |shard| {
        let Some((graph, shards)) = shard.neighbours else {
            return Vec::new();
        };
        vec![
            Exchange::SumOverVoxels(shard.n_genes),
            Exchange::ToNeighbours(Stencil::n_given(&graph.transposed(), shards) * shard.n_genes),
            Exchange::SumOverVoxels(2 * shard.n_genes),
            Exchange::SumOverGenes(1),
            Exchange::ToNeighbours(Stencil::n_given(graph, shards) * shard.n_genes),
            Exchange::SumOverVoxels(shard.n_genes),
        ]
    },
    shown: Shown::WhenComputed,
    // I of G; z, W z, I of A, and the slope.
    matrices: 5,
    prepare: |data, sums| Some(Box::new(MoranTerm::new(data, sums)?)),
};

/// The package's main branch, `lambda_moran`: local Moran's `I_·k = V z_·k ∘ (W z_·k) / Σ_j z_jk²` with `z = X − mean_j X`.
///
/// The factor of a gene is one of its column, which its cosine does not see: the term compares `y = z ∘ W z`. With c the slope by y, that by
/// z is `c ∘ W z + Wᵀ (c ∘ z)`, and that by A the same less its mean over the voxels.
#[derive(Debug)]
struct MoranTerm {
    /// `x + W x`, and `x + Wᵀ x`.
    around: Stencil,
    back: Stencil,
    /// y of G, (genes, voxels).
    measured: Array2<f64>,
    /// Norms of its genes over all voxels.
    norms: Vec<f64>,
}

impl MoranTerm {
    fn new(data: &Data<'_>, sums: &dyn Sums) -> Option<Self> {
        let (graph, shards) = (data.neighbours?, sums.voxel_shards());
        let transposed = graph.transposed();
        let around = Stencil::new(graph, &transposed, &shards);
        let mut z = data.measured.mapv(f64::from);
        let blocks = sums.voxel_blocks().into_iter();
        let totals = sums.over_voxels(blocks.map(|voxels| of_genes(z.view(), voxels)).collect());
        centre(&mut z, &totals, sums.size().0);
        let mut measured = around.apply(z.view(), |to| sums.swap_voxels(to));
        measured -= &z;
        measured *= &z;
        Some(Self {
            norms: gene_norms(measured.view(), sums),
            measured,
            back: Stencil::new(&transposed, graph, &shards),
            around,
        })
    }
}

/// Sum of every gene over some voxels.
fn of_genes(values: ArrayView2<'_, f64>, voxels: Range<usize>) -> Vec<f64> {
    let rows = values.axis_iter(Axis(0)).into_par_iter();
    rows.map(|row| row.slice(s![voxels.clone()]).sum())
        .collect()
}

/// Subtracts every gene's mean over all voxels.
fn centre(values: &mut Array2<f64>, totals: &[f64], n_voxels: usize) {
    let n_voxels = n_voxels as f64;
    Zip::from(values.rows_mut())
        .and(&ArrayView1::from(totals))
        .par_for_each(|mut row, total| row -= total / n_voxels);
}

impl LossTerm for MoranTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let n_voxels = exchanges.size().0;
        let swap = |to| exchanges.swap_voxels(to);
        let mut z = given.predicted.to_owned();
        let totals = exchanges.over_voxels(|voxels| of_genes(z.view(), voxels));
        centre(&mut z, &totals, n_voxels);
        let mut around = self.around.apply(z.view(), swap);
        around -= &z;
        let mut local = &z * &around;
        let measured = self.measured.view();
        let (value, by_gene) =
            mean_of_genes(weight, local.view(), measured, &self.norms, exchanges);
        // From y to the slope by it, in place.
        Zip::indexed(local.rows_mut())
            .and(measured.rows())
            .par_for_each(|k, mut y, g| {
                let slope = by_gene[k];
                let pairs = y.iter_mut().zip(g);
                pairs.for_each(|(y, g)| *y = slope.measured * g + slope.predicted * *y);
            });
        let mut slope = &local * &around;
        local *= &z;
        slope += &self.back.apply(local.view(), swap);
        slope -= &local;
        let totals = exchanges.over_voxels(|voxels| of_genes(slope.view(), voxels));
        centre(&mut slope, &totals, n_voxels);
        slopes.add_by_expression(slope);
        value
    }
}
