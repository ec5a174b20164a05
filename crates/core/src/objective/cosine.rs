//! Cosine similarities and their derivatives.

use super::sums::{Exchanges, Sums};
use ndarray::{ArrayView1, ArrayView2, Axis, s};
use rayon::prelude::*;
use std::ops::Range;

/// Norms are clamped from below at this, as the package does.
const SMALLEST_NORM: f64 = 1e-8;

/// `slope by a = measured · g + predicted · a`: the form of the derivative of any function of the cosine of a and g.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Of g, what is measured.
    pub measured: f64,
    /// Of a, what is predicted.
    pub predicted: f64,
}

impl Coefficients {
    /// No slope.
    pub const FLAT: Self = Self {
        measured: 0.0,
        predicted: 0.0,
    };
}

/// A cosine similarity `⟨a, g⟩ / (‖a‖‖g‖)` with what its derivative needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cosine {
    pub(super) value: f64,
    /// ‖a‖, not clamped.
    predicted_norm: f64,
    /// ‖a‖‖g‖, each clamped.
    norms: f64,
}

impl Cosine {
    pub(super) fn new(dot: f64, predicted_norm: f64, measured_norm: f64) -> Self {
        let norms = predicted_norm.max(SMALLEST_NORM) * measured_norm.max(SMALLEST_NORM);
        Self {
            value: dot / norms,
            predicted_norm,
            norms,
        }
    }

    /// `weight · ∂cos/∂a = weight · (g / (‖a‖‖g‖) − cos · a / ‖a‖²)`.
    pub(super) fn slope(&self, weight: f64) -> Coefficients {
        // A clamped norm is a constant.
        let clamped = self.predicted_norm <= SMALLEST_NORM;
        let shrink = if clamped {
            0.0
        } else {
            self.value / self.predicted_norm.powi(2)
        };
        Coefficients {
            measured: weight / self.norms,
            predicted: -weight * shrink,
        }
    }
}

/// Voxels handled together when sums run over genes: a few cache lines of each gene.
const VOXEL_CHUNK: usize = 512;

/// ‖G_·k‖ over all voxels, of every gene; `measured`: (genes, voxels).
pub(super) fn gene_norms<N>(measured: ArrayView2<'_, N>, sums: &dyn Sums) -> Vec<f64>
where
    N: Into<f64> + Copy,
{
    let of_block = |voxels: Range<usize>| {
        let part = measured.slice(s![.., voxels]);
        part.rows().into_iter().map(squares).collect()
    };
    let blocks = sums.voxel_blocks().into_iter().map(of_block).collect();
    roots(sums.over_voxels(blocks))
}

/// ‖G_j·‖ over all genes, of every voxel.
pub(super) fn voxel_norms(measured: ArrayView2<'_, f32>, sums: &dyn Sums) -> Vec<f64> {
    let of_block = |genes: Range<usize>| {
        let part = measured.slice(s![genes, ..]);
        part.columns().into_iter().map(squares).collect()
    };
    let blocks = sums.gene_blocks().into_iter().map(of_block).collect();
    roots(sums.over_genes(blocks))
}

fn squares<N: Into<f64> + Copy>(values: ArrayView1<'_, N>) -> f64 {
    let square = |&x: &N| {
        let x: f64 = x.into();
        x * x
    };
    values.iter().map(square).sum()
}

fn roots(squares: Vec<f64>) -> Vec<f64> {
    squares.into_iter().map(f64::sqrt).collect()
}

/// cos(A_·k, G_·k) of every gene, from one [sum over voxels](super::Exchange::SumOverVoxels) of two numbers a gene.
///
/// * `predicted`, `measured`: (genes, voxels)
fn gene_cosines<N>(
    predicted: ArrayView2<'_, f64>,
    measured: ArrayView2<'_, N>,
    norms: &[f64],
    exchanges: &Exchanges<'_, dyn Sums + '_>,
) -> Vec<Cosine>
where
    N: Into<f64> + Copy + Sync,
{
    let all = exchanges.over_voxels(|voxels| {
        let a = predicted.slice(s![.., voxels.clone()]);
        let g = measured.slice(s![.., voxels]);
        let rows = a.axis_iter(Axis(0)).into_par_iter();
        let pairs: Vec<[f64; 2]> = rows
            .zip(g.axis_iter(Axis(0)).into_par_iter())
            .map(|(a, g)| {
                let (mut dot, mut square) = (0.0, 0.0);
                for (&a, &g) in a.iter().zip(g) {
                    dot += a * g.into();
                    square += a * a;
                }
                [dot, square]
            })
            .collect();
        pairs.concat()
    });
    cosines(&all, norms)
}

/// cos(A_j·, G_j·) of every voxel, from one [sum over genes](super::Exchange::SumOverGenes) of two numbers a voxel.
///
/// * `predicted`, `measured`: (genes, voxels)
fn voxel_cosines(
    predicted: ArrayView2<'_, f64>,
    measured: ArrayView2<'_, f32>,
    norms: &[f64],
    exchanges: &Exchanges<'_, dyn Sums + '_>,
) -> Vec<Cosine> {
    let n_voxels = predicted.ncols();
    let all = exchanges.over_genes(|genes| {
        let mut pairs = vec![0.0; 2 * n_voxels];
        let chunks = pairs.par_chunks_mut(2 * VOXEL_CHUNK).enumerate();
        chunks.for_each(|(c, pairs)| {
            let first = c * VOXEL_CHUNK;
            let voxels = first..first + pairs.len() / 2;
            let a = predicted.slice(s![genes.clone(), voxels.clone()]);
            let g = measured.slice(s![genes.clone(), voxels]);
            for (a, g) in a.rows().into_iter().zip(g.rows()) {
                for (sum, (a, &g)) in pairs.chunks_exact_mut(2).zip(a.iter().zip(g)) {
                    sum[0] += a * f64::from(g);
                    sum[1] += a * a;
                }
            }
        });
        pairs
    });
    cosines(&all, norms)
}

/// Cosines from pairs of ⟨a, g⟩ and ‖a‖².
fn cosines(pairs: &[f64], measured_norms: &[f64]) -> Vec<Cosine> {
    let pairs = pairs.chunks_exact(2).zip(measured_norms);
    pairs
        .map(|(sums, &norm)| Cosine::new(sums[0], sums[1].sqrt(), norm))
        .collect()
}

/// Mean over all genes of cos(A_·k, G_·k), and for every gene of this rank the slope of `weight` times that by A_·k. It exchanges
/// [two sums a gene](super::Exchange::SumOverVoxels), then [one](super::Exchange::SumOverGenes).
///
/// * `predicted`, `measured`: (genes, voxels)
pub(super) fn mean_of_genes<N>(
    weight: f64,
    predicted: ArrayView2<'_, f64>,
    measured: ArrayView2<'_, N>,
    norms: &[f64],
    exchanges: &Exchanges<'_, dyn Sums + '_>,
) -> (f64, Vec<Coefficients>)
where
    N: Into<f64> + Copy + Sync,
{
    let n_genes = exchanges.size().1 as f64;
    let cosines = gene_cosines(predicted, measured, norms, exchanges);
    let sum = exchanges.over_genes(|genes| vec![total(&cosines[genes])])[0];
    (sum / n_genes, slopes(&cosines, weight / n_genes))
}

/// Mean over all voxels of cos(A_j·, G_j·), and for every voxel of this rank the slope of `weight` times that by A_j·. It exchanges
/// [two sums a voxel](super::Exchange::SumOverGenes), then [one](super::Exchange::SumOverVoxels).
///
/// * `predicted`, `measured`: (genes, voxels)
pub(super) fn mean_of_voxels(
    weight: f64,
    predicted: ArrayView2<'_, f64>,
    measured: ArrayView2<'_, f32>,
    norms: &[f64],
    exchanges: &Exchanges<'_, dyn Sums + '_>,
) -> (f64, Vec<Coefficients>) {
    let n_voxels = exchanges.size().0 as f64;
    let cosines = voxel_cosines(predicted, measured, norms, exchanges);
    let sum = exchanges.over_voxels(|voxels| vec![total(&cosines[voxels])])[0];
    (sum / n_voxels, slopes(&cosines, weight / n_voxels))
}

fn slopes(cosines: &[Cosine], weight: f64) -> Vec<Coefficients> {
    cosines.iter().map(|c| c.slope(weight)).collect()
}

/// Sum of the values.
fn total(cosines: &[Cosine]) -> f64 {
    cosines.iter().map(|c| c.value).sum()
}
