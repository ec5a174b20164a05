//! The gene term, `− λ_g1 · mean_k cos(A_·k, G_·k)`: every gene has the right pattern over the voxels.

use super::cosine::{gene_norms, mean_of_genes};
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "gene",
    setting: "lambda-g1",
    help: "Weight of every gene having the right pattern over the voxels",
    default: DefaultWeight::OfGoal,
    needs: Needs::Expression,
    sense: Sense::Maximised,
    exchanges: |shard| {
        vec![
            Exchange::SumOverVoxels(2 * shard.n_genes),
            Exchange::SumOverGenes(1),
        ]
    },
    shown: Shown::Always,
    matrices: 0,
    prepare: |data, sums| {
        Some(Box::new(GeneTerm {
            norms: gene_norms(data.measured, sums),
        }))
    },
};

/// Biancalani et al. 2021, Methods, the gene and voxel term of the loss.
///
/// Slope by A_jk: `− λ_g1/K · (G_jk / (‖A_·k‖‖G_·k‖) − cos_k · A_jk / ‖A_·k‖²)`.
#[derive(Debug)]
struct GeneTerm {
    /// ‖G_·k‖ over all voxels.
    norms: Vec<f64>,
}

impl LossTerm for GeneTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let (predicted, measured) = (given.predicted, given.measured);
        let (mean, by_gene) = mean_of_genes(weight, predicted, measured, &self.norms, exchanges);
        slopes.add_by_gene(by_gene.into_iter());
        mean
    }
}
