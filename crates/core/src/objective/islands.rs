//! The islands term, `+ λ_ct · mean_jt max(C_jt − Σ_l N_jl C_lt, 0)`: a voxel has no more cells of a type than its neighbours
//! together have. N is 1 for neighbours.

use super::fetch::Stencil;
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, Data, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use ndarray::{ArrayView1, Axis, Zip, s};
use rayon::prelude::*;

pub(super) const ABOUT: About = About {
    name: "islands",
    setting: "lambda-islands",
    help: "Weight of no voxel having more cells of a type than its neighbours together (adam only; --island-types, --neighbours)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Types,
    sense: Sense::Minimised,
    exchanges: |shard| {
        let Some((graph, shards)) = shard.neighbours.filter(|_| shard.n_types > 0) else {
            return Vec::new();
        };
        vec![
            Exchange::ToNeighbours(Stencil::n_given(&graph.transposed(), shards) * shard.n_types),
            Exchange::SumOverVoxels(1),
            Exchange::ToNeighbours(Stencil::n_given(graph, shards) * shard.n_types),
        ]
    },
    shown: Shown::WhenComputed,
    // Of types, which are fewer than genes: C and its neighbours' sums, and the slope.
    matrices: 2,
    prepare: |data, sums| Some(Box::new(IslandsTerm::new(data, sums)?)),
};

/// The package's main branch, `lambda_ct_islands`: with `C = Pᵀ T`, T the cells' types as ones and zeros, the mean over voxels and types of
/// what a voxel has above the sum of its neighbours.
///
/// Slope by C: `λ_ct / (V n_types) · (m − Nᵀ m)`, where m is 1 at voxels and types with an excess, otherwise 0.
#[derive(Debug)]
struct IslandsTerm {
    /// `x + N x`, and `x + Nᵀ x`.
    around: Stencil,
    back: Stencil,
}

impl IslandsTerm {
    fn new(data: &Data<'_>, sums: &dyn Sums) -> Option<Self> {
        let graph = data.neighbours.filter(|_| data.n_types > 0)?.unweighted();
        let (shards, transposed) = (sums.voxel_shards(), graph.transposed());
        Some(Self {
            around: Stencil::new(&graph, &transposed, &shards),
            back: Stencil::new(&transposed, &graph, &shards),
        })
    }
}

impl LossTerm for IslandsTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let swap = |to| exchanges.swap_voxels(to);
        let types = given.types;
        // C − N C, in place of C + N C.
        let mut excess = self.around.apply(types, swap);
        Zip::from(&mut excess)
            .and(types)
            .par_for_each(|x, &c| *x = 2.0 * c - *x);
        let sum = exchanges.over_voxels(|voxels| {
            let of_type = |row: ArrayView1<'_, f64>| {
                let own = row.slice(s![voxels.clone()]);
                own.iter().map(|x| x.max(0.0)).sum::<f64>()
            };
            let rows = excess.axis_iter(Axis(0)).into_par_iter();
            let of_types: Vec<f64> = rows.map(of_type).collect();
            vec![of_types.iter().sum()]
        })[0];
        let n = (exchanges.size().0 * types.nrows()) as f64;
        let each = weight / n;
        excess.par_mapv_inplace(|x| if x > 0.0 { each } else { 0.0 });
        let mut slope = self.back.apply(excess.view(), swap);
        // m − Nᵀ m, likewise.
        Zip::from(&mut slope)
            .and(&excess)
            .par_for_each(|x, &m| *x = 2.0 * m - *x);
        slopes.add_by_types(slope);
        sum / n
    }
}
