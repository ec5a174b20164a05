//! The composition term, `− λ_h · Σ_j d_j Σ_k √(p_jk g_jk)`: every voxel has the right shares of genes.

use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, Data, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use ndarray::{Array2, ArrayView1, ArrayView2, Axis, Zip, s};
use rayon::prelude::*;
use std::ops::Range;

/// ε: share of the tissue's mean composition in p, which keeps the slope bounded where a voxel lacks a gene.
const MEAN_SHARE: f64 = 0.05;
/// Sums of a voxel or of a gene are clamped from below at this.
const SMALLEST: f64 = 1e-9;

pub(super) const ABOUT: About = About {
    name: "composition",
    setting: "lambda-h",
    help: "Weight of every voxel having the right shares of genes (Hellinger affinity), voxels weighted by the density prior",
    default: DefaultWeight::OfGoal,
    needs: Needs::Expression,
    sense: Sense::Maximised,
    exchanges: |shard| {
        vec![
            Exchange::SumOverGenes(shard.n_voxels),
            Exchange::SumOverGenes(2 * shard.n_voxels),
            Exchange::SumOverVoxels(1),
        ]
    },
    shown: Shown::WhenComputed,
    // Shares of G, and the slope.
    matrices: 2,
    prepare: |data, sums| Some(Box::new(CompositionTerm::new(Platform::One, data, sums))),
};

/// The factor of a gene by which cells and voxels are measured differently, `s_k`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Platform {
    /// 1: counts of both sides are comparable.
    One,
    /// The ratio of the gene's means, fitted at every pass: `s_k = mean_j G_jk / mean_j A_jk`.
    Fitted,
}

/// Hellinger affinity of the composition of every voxel, voxels weighted by the density prior d, or alike where there is none.
///
/// `g_jk = G_jk / Σ_l G_jl`, `a_jk = s_k A_jk / T_j` with `T_j = Σ_l s_l A_jl`, and `p = (1 − ε) a + ε m` with m the shares of genes in all of
/// G. With `h = ½ √(g/p)` the slope of the value by A_jk is `d_j (1 − ε) (s_k / T_j) (h_jk − Σ_l a_jl h_jl)`; where s is fitted, less
/// `Σ_i A_ik slope_ik / Σ_i A_ik`.
///
/// It is no term of the package. Compositions tell where a cell belongs whatever a voxel's depth, and the weights keep poor voxels from
/// deciding (docs/modes.md).
#[derive(Debug)]
pub(super) struct CompositionTerm {
    platform: Platform,
    /// g, (genes, voxels).
    shares: Array2<f64>,
    /// m, (genes).
    mean: Vec<f64>,
    /// Σ_j G_jk, (genes).
    totals: Vec<f64>,
    /// d, (voxels).
    weights: Vec<f64>,
}

impl CompositionTerm {
    pub(super) fn new(platform: Platform, data: &Data<'_>, sums: &dyn Sums) -> Self {
        let measured = data.measured.mapv(f64::from);
        let n_voxels = measured.ncols();
        let all = vec![1.0; measured.nrows()];
        let blocks = sums.gene_blocks().into_iter();
        let depths = blocks.map(|genes| by_voxel(measured.view(), &all, genes));
        let depths = sums.over_genes(depths.collect());
        let blocks = sums.voxel_blocks().into_iter();
        let totals = blocks.map(|voxels| by_gene(measured.view(), voxels));
        let totals = sums.over_voxels(totals.collect());
        let blocks = sums.gene_blocks().into_iter();
        let all: Vec<_> = blocks
            .map(|genes| vec![totals[genes].iter().sum()])
            .collect();
        let all = sums.over_genes(all)[0];
        let mut shares = measured;
        for (mut column, depth) in shares.columns_mut().into_iter().zip(&depths) {
            column /= depth.max(SMALLEST);
        }
        let alike = 1.0 / sums.size().0 as f64;
        Self {
            platform,
            shares,
            mean: totals.iter().map(|total| total / all).collect(),
            totals,
            weights: data
                .prior
                .map_or_else(|| vec![alike; n_voxels], <[f64]>::to_vec),
        }
    }
}

/// Sum over some voxels of every gene.
fn by_gene(values: ArrayView2<'_, f64>, voxels: Range<usize>) -> Vec<f64> {
    let rows = values.axis_iter(Axis(0)).into_par_iter();
    rows.map(|row| row.slice(s![voxels.clone()]).sum())
        .collect()
}

/// Sum over some genes, each by its factor, of every voxel.
fn by_voxel(values: ArrayView2<'_, f64>, factors: &[f64], genes: Range<usize>) -> Vec<f64> {
    let mut sums = vec![0.0; values.ncols()];
    for (row, factor) in values
        .slice(s![genes.clone(), ..])
        .rows()
        .into_iter()
        .zip(&factors[genes])
    {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, x)| *sum += factor * x);
    }
    sums
}

impl LossTerm for CompositionTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let predicted = given.predicted;
        let totals = match self.platform {
            Platform::Fitted => exchanges.over_voxels(|voxels| by_gene(predicted, voxels)),
            Platform::One => Vec::new(),
        };
        let factor = |k: usize| match self.platform {
            Platform::Fitted => self.totals[k] / totals[k].max(SMALLEST),
            Platform::One => 1.0,
        };
        let factors: Vec<f64> = (0..predicted.nrows()).map(factor).collect();
        let mut depths = exchanges.over_genes(|genes| by_voxel(predicted, &factors, genes));
        depths
            .iter_mut()
            .for_each(|depth| *depth = depth.max(SMALLEST));
        // a and h of a voxel's gene.
        let share = |k: usize, j: usize| factors[k] * predicted[[k, j]] / depths[j];
        let mixed = |k: usize, a: f64| (1.0 - MEAN_SHARE) * a + MEAN_SHARE * self.mean[k];
        let mut slope = Array2::zeros(predicted.dim());
        Zip::indexed(slope.rows_mut()).par_for_each(|k, mut row| {
            for (j, h) in row.iter_mut().enumerate() {
                *h = 0.5 * (self.shares[[k, j]] / mixed(k, share(k, j))).sqrt();
            }
        });
        // By voxel: Σ_k a h, and the affinity Σ_k √(p g).
        let pairs = exchanges.over_genes(|genes| {
            let mut pairs = vec![0.0; 2 * depths.len()];
            for k in genes {
                for (j, pair) in pairs.chunks_exact_mut(2).enumerate() {
                    let a = share(k, j);
                    pair[0] += a * slope[[k, j]];
                    pair[1] += (mixed(k, a) * self.shares[[k, j]]).sqrt();
                }
            }
            pairs
        });
        let value = exchanges.over_voxels(|voxels| {
            let affinities = voxels.map(|j| self.weights[j] * pairs[2 * j + 1]);
            vec![affinities.sum::<f64>()]
        })[0];
        Zip::indexed(slope.rows_mut()).par_for_each(|k, mut row| {
            let of_gene = weight * (1.0 - MEAN_SHARE) * factors[k];
            for (j, h) in row.iter_mut().enumerate() {
                *h = of_gene * self.weights[j] / depths[j] * (*h - pairs[2 * j]);
            }
        });
        if self.platform == Platform::Fitted {
            let moved = exchanges.over_voxels(|voxels| {
                let pairs = slope.axis_iter(Axis(0)).into_par_iter();
                let pairs = pairs.zip(predicted.axis_iter(Axis(0)).into_par_iter());
                let of = |(w, a): (ArrayView1<'_, f64>, ArrayView1<'_, f64>)| {
                    let own = s![voxels.clone()];
                    w.slice(own).dot(&a.slice(own))
                };
                pairs.map(of).collect()
            });
            Zip::indexed(slope.rows_mut()).par_for_each(|k, mut row| {
                // A clamped total is a constant.
                if totals[k] > SMALLEST {
                    row -= moved[k] / totals[k];
                }
            });
        }
        slopes.add_by_expression(slope);
        value
    }
}
