//! The neighbourhood term, `− λ_nb · mean_k cos((W + I) A_·k, (W + I) G_·k)`: every gene has the right pattern once each voxel is
//! added to its neighbours. W is a sparse graph of the voxels.

use super::cosine::{gene_norms, mean_of_genes};
use super::fetch::Stencil;
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{
    About, Comparison, Data, DefaultWeight, LossTerm, Needs, Sense, Shard, Shown, Slopes,
};
use crate::Neighbours;
use ndarray::Array2;

pub(super) const ABOUT: About = About {
    name: "neighbourhood",
    setting: "lambda-neighbourhood",
    help: "Weight of every gene having the right pattern once each voxel is added to its neighbours (--neighbours)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Neighbours,
    sense: Sense::Maximised,
    exchanges: surroundings_exchanges,
    shown: Shown::WhenComputed,
    // (W + I) G, (W + I) A, and the slope.
    matrices: 3,
    prepare: |data, sums| {
        let graph = data.neighbours?;
        Some(Box::new(SurroundingsTerm::new(graph, data, sums)))
    },
};

/// What a term of [`SurroundingsTerm`] exchanges.
pub(super) fn surroundings_exchanges(shard: &Shard<'_>) -> Vec<Exchange> {
    let Some((graph, shards)) = shard.neighbours else {
        return Vec::new();
    };
    vec![
        Exchange::ToNeighbours(Stencil::n_given(&graph.transposed(), shards) * shard.n_genes),
        Exchange::SumOverVoxels(2 * shard.n_genes),
        Exchange::SumOverGenes(1),
        Exchange::ToNeighbours(Stencil::n_given(graph, shards) * shard.n_genes),
    ]
}

/// The package's main branch, `lambda_neighborhood_g1`, where W is a dense matrix.
///
/// Slope by A: `(W + I)ᵀ` times the slope of the gene term by `(W + I) A`.
#[derive(Debug)]
pub(super) struct SurroundingsTerm {
    /// `x + W x`, and `x + Wᵀ x`.
    around: Stencil,
    back: Stencil,
    /// (W + I) G, (genes, voxels).
    measured: Array2<f64>,
    /// Norms of its genes over all voxels.
    norms: Vec<f64>,
}

impl SurroundingsTerm {
    /// * `graph`: W, of all voxels
    pub(super) fn new(graph: &Neighbours, data: &Data<'_>, sums: &dyn Sums) -> Self {
        let (shards, transposed) = (sums.voxel_shards(), graph.transposed());
        let around = Stencil::new(graph, &transposed, &shards);
        let measured = data.measured.mapv(f64::from);
        let measured = around.apply(measured.view(), |to| sums.swap_voxels(to));
        Self {
            norms: gene_norms(measured.view(), sums),
            measured,
            back: Stencil::new(&transposed, graph, &shards),
            around,
        }
    }
}

impl LossTerm for SurroundingsTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let swap = |to| exchanges.swap_voxels(to);
        let around = self.around.apply(given.predicted, swap);
        let measured = self.measured.view();
        let (mean, by_gene) =
            mean_of_genes(weight, around.view(), measured, &self.norms, exchanges);
        // Slope by (W + I) A.
        let slope = |k: usize| {
            let slope = by_gene[k];
            let pairs = around.row(k).into_iter().zip(measured.row(k));
            pairs.map(move |(a, g)| slope.measured * g + slope.predicted * a)
        };
        slopes.add_by_expression(self.back.apply_to_rows(around.nrows(), slope, swap));
        mean
    }
}
