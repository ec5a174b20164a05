//! The Geary term, `− λ_ge · cos over genes of Geary's C`: genes differ from their surroundings as much, one against the other, as measured.

use super::cosine::Cosine;
use super::fetch::Stencil;
use super::sums::{Exchange, Exchanges, Sums};
use super::term::{About, Comparison, Data, DefaultWeight, LossTerm, Needs, Sense, Shown, Slopes};
use ndarray::{Array2, ArrayView2, Zip};
use rayon::prelude::*;
use std::ops::Range;

/// Σ z² of a gene is clamped from below at this.
const SMALLEST: f64 = 1e-16;

pub(super) const ABOUT: About = About {
    name: "geary",
    setting: "lambda-geary",
    help: "Weight of the genes differing from their surroundings as measured, one against the other (Geary's C; --neighbours)",
    default: DefaultWeight::Is(0.0),
    needs: Needs::Neighbours,
    sense: Sense::Maximised,
    exchanges: |shard| {
        let Some((graph, shards)) = shard.neighbours else {
            return Vec::new();
        };
        vec![
            Exchange::ToNeighbours(Stencil::n_given(&graph.transposed(), shards) * shard.n_genes),
            Exchange::ToNeighbours(Stencil::n_given(graph, shards) * shard.n_genes),
            Exchange::SumOverVoxels(3 * shard.n_genes),
            Exchange::SumOverGenes(2),
        ]
    },
    shown: Shown::WhenComputed,
    // W A, Wᵀ A, and the slope.
    matrices: 3,
    prepare: |data, sums| Some(Box::new(GearyTerm::new(data, sums)?)),
};

/// The package's main branch, `lambda_geary`: Geary's `C_k = (V − 1) Σ_ij W_ij (X_ik − X_jk)² / (2 ΣW Σ_i z_ik²)` with `z = X − mean`.
///
/// The package forms V × V × K differences; the sum is `Σ_i X_i (r_i X_i + c_i X_i − (W X)_i − (Wᵀ X)_i)`, with r and c the sums of W's rows and
/// columns.
#[derive(Debug)]
struct GearyTerm {
    /// `x + W x`, and `x + Wᵀ x`.
    around: Stencil,
    back: Stencil,
    /// `r + c` of this shard's voxels.
    degrees: Vec<f64>,
    /// `(V − 1) / (2 ΣW)`.
    factor: f64,
    /// C of G, of this shard's genes.
    measured: Vec<f64>,
    /// Its norm over all genes.
    norm: f64,
}

/// What a gene's C is made of: `Σ W (x − x)²` by half its slope at every voxel, and the sums of x and x².
struct Differences {
    /// `(r + c) x − W x − Wᵀ x`, (genes, voxels).
    slope: Array2<f64>,
}

impl GearyTerm {
    fn new(data: &Data<'_>, sums: &dyn Sums) -> Option<Self> {
        let (graph, shards) = (data.neighbours?, sums.voxel_shards());
        let transposed = graph.transposed();
        let sum_of =
            |graph: &crate::Neighbours, voxel| graph.of(voxel).map(|(_, w)| w).sum::<f64>();
        let own = shards.range();
        let degrees = own.map(|j| sum_of(graph, j) + sum_of(&transposed, j));
        let all: f64 = (0..graph.n_voxels()).map(|j| sum_of(graph, j)).sum();
        let mut term = Self {
            around: Stencil::new(graph, &transposed, &shards),
            back: Stencil::new(&transposed, graph, &shards),
            degrees: degrees.collect(),
            factor: (sums.size().0 as f64 - 1.0) / (2.0 * all),
            measured: Vec::new(),
            norm: 0.0,
        };
        let measured = data.measured.mapv(f64::from);
        let differences = term.differences(measured.view(), |to| sums.swap_voxels(to));
        let blocks = sums.voxel_blocks().into_iter();
        let blocks = blocks.map(|voxels| differences.sums(measured.view(), voxels));
        let found = sums.over_voxels(blocks.collect());
        term.measured = term.by_gene(&found, sums.size().0);
        let blocks = sums.gene_blocks().into_iter();
        let squares = blocks.map(|genes| vec![term.measured[genes].iter().map(|c| c * c).sum()]);
        term.norm = sums.over_genes(squares.collect())[0].sqrt();
        Some(term)
    }

    fn differences(
        &self,
        x: ArrayView2<'_, f64>,
        swap: impl Fn(Vec<Vec<f64>>) -> Vec<Vec<f64>>,
    ) -> Differences {
        // Both stencils add x itself.
        let mut slope = self.around.apply(x, &swap);
        slope += &self.back.apply(x, &swap);
        Zip::from(slope.rows_mut())
            .and(x.rows())
            .par_for_each(|mut sum, x| {
                for ((sum, x), degree) in sum.iter_mut().zip(x).zip(&self.degrees) {
                    *sum = (degree + 2.0) * x - *sum;
                }
            });
        Differences { slope }
    }

    /// C of every gene, from three sums each.
    fn by_gene(&self, sums: &[f64], n_voxels: usize) -> Vec<f64> {
        let of = |sums: &[f64]| self.factor * sums[0] / variance(sums, n_voxels);
        sums.chunks_exact(3).map(of).collect()
    }
}

/// Σ z² of a gene, clamped, from its three sums.
fn variance(sums: &[f64], n_voxels: usize) -> f64 {
    (sums[2] - sums[1] * sums[1] / n_voxels as f64).max(SMALLEST)
}

impl Differences {
    /// Of every gene over some voxels: `Σ W (x − x)²`, Σ x, Σ x².
    fn sums(&self, x: ArrayView2<'_, f64>, voxels: Range<usize>) -> Vec<f64> {
        let genes: Vec<[f64; 3]> = (0..x.nrows())
            .into_par_iter()
            .map(|k| {
                let mut sums = [0.0; 3];
                for j in voxels.clone() {
                    let x = x[[k, j]];
                    sums[0] += x * self.slope[[k, j]];
                    sums[1] += x;
                    sums[2] += x * x;
                }
                sums
            })
            .collect();
        genes.concat()
    }
}

impl LossTerm for GearyTerm {
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64 {
        let (predicted, n_voxels) = (given.predicted, exchanges.size().0);
        let differences = self.differences(predicted, |to| exchanges.swap_voxels(to));
        let sums = exchanges.over_voxels(|voxels| differences.sums(predicted, voxels));
        let of_genes = self.by_gene(&sums, n_voxels);
        let pair = exchanges.over_genes(|genes| {
            let pairs = genes.map(|k| (of_genes[k], self.measured[k]));
            let (mut dot, mut square) = (0.0, 0.0);
            for (predicted, measured) in pairs {
                dot += predicted * measured;
                square += predicted * predicted;
            }
            vec![dot, square]
        });
        let cosine = Cosine::new(pair[0], pair[1].sqrt(), self.norm);
        let by_c = cosine.slope(weight);
        let mut slope = differences.slope;
        Zip::indexed(slope.rows_mut())
            .and(predicted.rows())
            .par_for_each(|k, mut slope, x| {
                let sums = &sums[3 * k..3 * k + 3];
                let variance = variance(sums, n_voxels);
                let mean = sums[1] / n_voxels as f64;
                // Derivative by C of this gene. C is a quotient: `slope` and `x - mean` are half the derivatives of its two parts.
                let by_gene = by_c.measured * self.measured[k] + by_c.predicted * of_genes[k];
                let by_gene = 2.0 * by_gene / variance;
                for (slope, x) in slope.iter_mut().zip(x) {
                    *slope = by_gene * (self.factor * *slope - of_genes[k] * (x - mean));
                }
            });
        slopes.add_by_expression(slope);
        cosine.value
    }
}
