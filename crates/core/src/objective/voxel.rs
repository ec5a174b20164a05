//! The voxel term, `− λ_g2 · mean_j cos(A_j·, G_j·)`: every voxel has the right mix of genes.

use super::cosine::{total, voxel_cosines, voxel_norms};
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{
    About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes,
};

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
        let n_voxels = exchanges.size().0 as f64;
        let cosines = voxel_cosines(given.predicted, given.measured, &self.norms, exchanges);
        slopes.add_by_voxel(cosines.iter().map(|c| c.slope(weight / n_voxels)));
        exchanges.over_voxels(|voxels| vec![total(&cosines[voxels])])[0] / n_voxels
    }
}
