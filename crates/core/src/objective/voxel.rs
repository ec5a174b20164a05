//! The voxel term, `− λ_g2 · mean_j cos(A_j·, G_j·)`: every voxel has the right mix of genes.

use super::cosine::{mean_of_voxels, voxel_norms};
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};

pub(super) const ABOUT: About = About {
    name: "voxel",
    setting: "lambda-g2",
    help: "Weight of every voxel having the right mix of genes",
    default: DefaultWeight::OfGoal,
    needs: Needs::Expression,
    sense: Sense::Maximised,
    exchanges: |shard| {
        vec![
            Exchange::SumOverGenes(2 * shard.n_voxels),
            Exchange::SumOverVoxels(1),
        ]
    },
    shown: Shown::Always,
    matrices: 0,
    prepare: |data, sums| {
        Some(Box::new(VoxelTerm {
            norms: voxel_norms(data.measured, sums),
        }))
    },
};

/// Biancalani et al. 2021, Methods, the voxel and gene term of the loss.
///
/// Slope by A_jk: `− λ_g2/V · (G_jk / (‖A_j·‖‖G_j·‖) − cos_j · A_jk / ‖A_j·‖²)`.
#[derive(Debug)]
struct VoxelTerm {
    /// ‖G_j·‖ over all genes.
    norms: Vec<f64>,
}

impl LossTerm for VoxelTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let (predicted, measured) = (given.predicted, given.measured);
        let (mean, by_voxel) = mean_of_voxels(weight, predicted, measured, &self.norms, exchanges);
        slopes.add_by_voxel(by_voxel.into_iter());
        mean
    }
}
