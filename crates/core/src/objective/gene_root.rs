//! The square-root gene term, `− λ_s · mean_k cos(√A_·k, √G_·k)`: every gene has the right pattern, its largest counts counting less.

use super::cosine::{Cosine, gene_norms};
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use ndarray::{Array2, ArrayView1, Axis, Zip, s};
use rayon::prelude::*;

/// A root is clamped from below at this, which bounds the slope where a gene is predicted nowhere.
const SMALLEST_ROOT: f64 = 1e-6;

pub(super) const ABOUT: About = About {
    name: "gene-root",
    setting: "lambda-s",
    help: "Weight of the square root of every gene having the right pattern over the voxels",
    default: DefaultWeight::OfGoal,
    needs: Needs::Expression,
    sense: Sense::Maximised,
    exchanges: |shard| {
        vec![
            Exchange::SumOverVoxels(2 * shard.n_genes),
            Exchange::SumOverGenes(1),
        ]
    },
    shown: Shown::WhenComputed,
    // √G, and the slope.
    matrices: 2,
    prepare: |data, sums| {
        let measured = data.measured.mapv(|g| f64::from(g).sqrt());
        Some(Box::new(GeneRootTerm {
            norms: gene_norms(measured.view(), sums),
            measured,
        }))
    },
};

/// The gene term of counts whose variance does not grow with their mean; transfers stay of A itself.
///
/// Slope by A_jk: half the slope of the cosine by √A_jk, over √A_jk.
#[derive(Debug)]
struct GeneRootTerm {
    /// √G, (genes, voxels).
    measured: Array2<f64>,
    /// Norms of its genes over all voxels.
    norms: Vec<f64>,
}

impl LossTerm for GeneRootTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let (predicted, measured) = (given.predicted, self.measured.view());
        let sums = exchanges.over_voxels(|voxels| {
            let a = predicted.axis_iter(Axis(0)).into_par_iter();
            let g = measured.axis_iter(Axis(0)).into_par_iter();
            let of = |(a, g): (ArrayView1<'_, f64>, ArrayView1<'_, f64>)| {
                let (mut dot, mut square) = (0.0, 0.0);
                for (a, g) in a
                    .slice(s![voxels.clone()])
                    .iter()
                    .zip(g.slice(s![voxels.clone()]))
                {
                    dot += a.sqrt() * g;
                    square += a;
                }
                [dot, square]
            };
            let pairs: Vec<[f64; 2]> = a.zip(g).map(of).collect();
            pairs.concat()
        });
        let n_genes = exchanges.size().1 as f64;
        let pairs = sums.chunks_exact(2).zip(&self.norms);
        let cosines: Vec<Cosine> = pairs
            .map(|(sums, &norm)| Cosine::new(sums[0], sums[1].sqrt(), norm))
            .collect();
        let value = exchanges
            .over_genes(|genes| vec![cosines[genes].iter().map(|c| c.value).sum()])[0]
            / n_genes;
        let mut slope = Array2::zeros(predicted.dim());
        Zip::indexed(slope.rows_mut())
            .and(predicted.rows())
            .and(measured.rows())
            .par_for_each(|k, mut slope, a, g| {
                let by_root = cosines[k].slope(weight / n_genes);
                for ((slope, &a), &g) in slope.iter_mut().zip(a).zip(g) {
                    let root = a.sqrt();
                    let of_root = by_root.measured * g + by_root.predicted * root;
                    *slope = 0.5 * of_root / root.max(SMALLEST_ROOT);
                }
            });
        slopes.add_by_expression(slope);
        value
    }
}
