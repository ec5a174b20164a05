//! The loss of a mapping and its gradient, as functions of the predicted expression A and density q alone.
//!
//! Both solvers share it: whatever makes A and q, this says how good they are and which way to move.
//! Matrices are held by gene, (genes, voxels): each gene's voxels side by side.

use ndarray::{Array2, ArrayView1, ArrayViewMut2, Axis, Zip, s};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Norms are clamped from below at this, as the package does.
const SMALLEST_NORM: f64 = 1e-8;

/// A predicted density is clamped from below at this: no cell in a voxel must cost much, not everything.
/// Differs: the package lets log 0 turn the whole run to NaN.
const SMALLEST_DENSITY: f64 = 1e-30;

/// Weights of the loss terms; a term whose weight is 0 is not computed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// λ_g1 of `− λ_g1 · mean_k cos(A_·k, G_·k)`.
    pub gene: f64,
    /// λ_g2 of `− λ_g2 · mean_j cos(A_j·, G_j·)`.
    pub voxel: f64,
    /// λ_d of `+ λ_d · Σ_j d_j (log d_j − log q_j)`; needs a density prior d.
    pub density: f64,
    /// λ_r of `+ λ_r · H`, `H = − Σ_ij P_ij log P_ij`; positive sharpens.
    pub entropy: f64,
}

/// Values of the loss terms; the parts are without their weights, `None` where the weight is 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// What is minimised: all weighted parts.
    pub total: f64,
    /// Mean over genes of cos(A_·k, G_·k).
    pub gene: Option<f64>,
    /// Mean over voxels of cos(A_j·, G_j·).
    pub voxel: Option<f64>,
    /// Kullback-Leibler divergence of the predicted density q from the prior d, in nats.
    pub density: Option<f64>,
    /// Entropy of P summed over cells, in nats.
    pub entropy: Option<f64>,
}

/// Sums over all voxels and all genes of a mapping of which this process may hold a part.
///
/// A part is cut into blocks; sums of these are what is added up.
pub trait Sums: Sync {
    /// Blocks of the part's voxels, counted from its first.
    fn voxel_blocks(&self) -> Vec<Range<usize>>;

    /// Blocks of the part's genes, counted from its first.
    fn gene_blocks(&self) -> Vec<Range<usize>>;

    /// Sum over all voxels, from one list of sums for every block of voxels.
    fn over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64>;

    /// Sum over all genes, from one list of sums for every block of genes.
    fn over_genes(&self, blocks: Vec<Vec<f64>>) -> Vec<f64>;

    /// Number of all voxels V and of all genes K.
    fn size(&self) -> (usize, usize);
}

/// All voxels and genes in one process.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// V.
    pub n_voxels: usize,
    /// K.
    pub n_genes: usize,
}

impl Sums for Whole {
    fn voxel_blocks(&self) -> Vec<Range<usize>> {
        std::iter::once(0..self.n_voxels).collect()
    }

    fn gene_blocks(&self) -> Vec<Range<usize>> {
        std::iter::once(0..self.n_genes).collect()
    }

    fn over_voxels(&self, mut blocks: Vec<Vec<f64>>) -> Vec<f64> {
        blocks.swap_remove(0)
    }

    fn over_genes(&self, mut blocks: Vec<Vec<f64>>) -> Vec<f64> {
        blocks.swap_remove(0)
    }

    fn size(&self) -> (usize, usize) {
        (self.n_voxels, self.n_genes)
    }
}

/// The measured expression G, or a part of it, with what is needed again and again.
#[derive(Debug, Clone)]
pub struct Measured {
    /// G, (genes, voxels).
    by_gene: Array2<f32>,
    /// Over all voxels.
    gene_norms: Vec<f64>,
    /// Over all genes.
    voxel_norms: Vec<f64>,
}

/// Voxels handled together when sums run over genes: a few cache lines of each gene.
const VOXEL_CHUNK: usize = 512;

impl Measured {
    /// Takes G, (genes, voxels).
    #[must_use]
    pub fn new(by_gene: Array2<f32>) -> Self {
        let (n_genes, n_voxels) = by_gene.dim();
        Self::part(by_gene, &Whole { n_voxels, n_genes })
    }

    /// Takes a part of G, (genes, voxels).
    #[must_use]
    pub fn part(by_gene: Array2<f32>, sums: &impl Sums) -> Self {
        let by_gene = match by_gene.is_standard_layout() {
            true => by_gene,
            false => by_gene.as_standard_layout().into_owned(),
        };
        let square = |x: f32| f64::from(x) * f64::from(x);
        let squares = |v: ArrayView1<'_, f32>| v.iter().map(|&x| square(x)).sum::<f64>();
        let of_genes = |voxels: Range<usize>| {
            let part = by_gene.slice(s![.., voxels]);
            part.rows().into_iter().map(squares).collect()
        };
        let of_voxels = |genes: Range<usize>| {
            let part = by_gene.slice(s![genes, ..]);
            part.columns().into_iter().map(squares).collect()
        };
        let roots = |squares: Vec<f64>| squares.into_iter().map(f64::sqrt).collect();
        let gene_norms =
            roots(sums.over_voxels(sums.voxel_blocks().into_iter().map(of_genes).collect()));
        let voxel_norms =
            roots(sums.over_genes(sums.gene_blocks().into_iter().map(of_voxels).collect()));
        Self {
            gene_norms,
            voxel_norms,
            by_gene,
        }
    }

    /// Number of genes, of this part.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.gene_norms.len()
    }

    /// Number of voxels, of this part.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.voxel_norms.len()
    }

    /// [`evaluate_part`](Self::evaluate_part) of all genes and voxels.
    ///
    /// # Panics
    /// If shapes differ from those of G.
    pub fn evaluate(
        &self,
        objective: &Objective,
        prior: Option<&[f64]>,
        predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
        entropy: Option<f64>,
    ) -> Loss {
        let (n_genes, n_voxels) = self.by_gene.dim();
        let whole = Whole { n_voxels, n_genes };
        self.evaluate_part(objective, prior, predicted, density, entropy, &whole)
    }

    /// Loss of the expression A and the density q that a mapping predicts; A is overwritten by W = ∂L/∂A.
    ///
    /// * `prior`: d, (voxels)
    /// * `predicted`: A, (genes, voxels), in standard layout
    /// * `density`: q, (voxels), of all voxels sums to 1; overwritten by u = ∂L/∂q
    /// * `entropy`: Σ_i H_i of all cells, where the objective asks for it
    ///
    /// Gradients (`algorithm`: Biancalani 2021, Methods, differentiated by hand):
    /// `W_jk = − λ_g1/K (G_jk/(‖A_·k‖‖G_·k‖) − cos_k A_jk/‖A_·k‖²) − λ_g2/V (G_jk/(‖A_j·‖‖G_j·‖) − cos_j A_jk/‖A_j·‖²)`,
    /// `u_j = − λ_d d_j/q_j`.
    ///
    /// # Panics
    /// If shapes differ from those of G.
    pub fn evaluate_part(
        &self,
        objective: &Objective,
        prior: Option<&[f64]>,
        mut predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
        entropy: Option<f64>,
        sums: &impl Sums,
    ) -> Loss {
        assert_eq!(
            predicted.dim(),
            self.by_gene.dim(),
            "A and G have the same shape"
        );
        assert_eq!(density.len(), self.n_voxels(), "q has one entry per voxel");
        let (n_voxels, n_genes) = sums.size();
        let by_gene = (objective.gene != 0.0).then(|| self.gene_cosines(&predicted, sums));
        let by_voxel = (objective.voxel != 0.0).then(|| self.voxel_cosines(&predicted, sums));
        let prior = prior.filter(|_| objective.density != 0.0);
        let total = |cosines: &[Cosine]| vec![cosines.iter().map(|c| c.value).sum::<f64>()];
        let over_voxels = |of: &dyn Fn(Range<usize>) -> Vec<f64>| {
            sums.over_voxels(sums.voxel_blocks().into_iter().map(of).collect())[0]
        };
        let mut loss = Loss {
            total: 0.0,
            gene: by_gene.as_ref().map(|c| {
                let blocks = sums.gene_blocks().into_iter().map(|genes| total(&c[genes]));
                sums.over_genes(blocks.collect())[0] / n_genes as f64
            }),
            voxel: by_voxel
                .as_ref()
                .map(|c| over_voxels(&|voxels| total(&c[voxels])) / n_voxels as f64),
            density: prior.map(|d| {
                over_voxels(&|voxels| vec![divergence(&d[voxels.clone()], &density[voxels])])
            }),
            entropy,
        };
        let part = |weight: f64, value: Option<f64>| value.map_or(0.0, |value| weight * value);
        loss.total = part(objective.density, loss.density) + part(objective.entropy, loss.entropy)
            - part(objective.gene, loss.gene)
            - part(objective.voxel, loss.voxel);

        let gene_weight = -objective.gene / n_genes as f64;
        let voxel_weight = -objective.voxel / n_voxels as f64;
        Zip::indexed(predicted.rows_mut())
            .and(self.by_gene.rows())
            .par_for_each(|k, mut a, g| {
                let gene = by_gene
                    .as_ref()
                    .map_or(Slope::FLAT, |c| c[k].slope(gene_weight));
                for (j, (a, &g)) in a.iter_mut().zip(g).enumerate() {
                    let voxel = by_voxel
                        .as_ref()
                        .map_or(Slope::FLAT, |c| c[j].slope(voxel_weight));
                    *a = (gene.measured + voxel.measured) * f64::from(g)
                        + (gene.predicted + voxel.predicted) * *a;
                }
            });
        match prior {
            Some(d) => {
                for (q, d) in density.iter_mut().zip(d) {
                    *q = -objective.density * d / q.max(SMALLEST_DENSITY);
                }
            }
            None => density.fill(0.0),
        }
        loss
    }

    /// cos(A_·k, G_·k) of every gene.
    fn gene_cosines(&self, predicted: &ArrayViewMut2<'_, f64>, sums: &impl Sums) -> Vec<Cosine> {
        let of_block = |voxels: Range<usize>| {
            let (a, g) = (
                predicted.slice(s![.., voxels.clone()]),
                self.by_gene.slice(s![.., voxels]),
            );
            let rows = a.axis_iter(Axis(0)).into_par_iter();
            let pairs: Vec<[f64; 2]> = rows
                .zip(g.axis_iter(Axis(0)).into_par_iter())
                .map(|(a, g)| {
                    let (mut dot, mut square) = (0.0, 0.0);
                    for (&a, &g) in a.iter().zip(g) {
                        dot += a * f64::from(g);
                        square += a * a;
                    }
                    [dot, square]
                })
                .collect();
            pairs.concat()
        };
        let all = sums.over_voxels(sums.voxel_blocks().into_iter().map(of_block).collect());
        cosines(&all, &self.gene_norms)
    }

    /// cos(A_j·, G_j·) of every voxel.
    fn voxel_cosines(&self, predicted: &ArrayViewMut2<'_, f64>, sums: &impl Sums) -> Vec<Cosine> {
        let n_voxels = self.n_voxels();
        let of_block = |genes: Range<usize>| {
            let mut pairs = vec![0.0; 2 * n_voxels];
            let chunks = pairs.par_chunks_mut(2 * VOXEL_CHUNK).enumerate();
            chunks.for_each(|(c, pairs)| {
                let first = c * VOXEL_CHUNK;
                let voxels = first..first + pairs.len() / 2;
                let (a, g) = (
                    predicted.slice(s![genes.clone(), voxels.clone()]),
                    self.by_gene.slice(s![genes.clone(), voxels]),
                );
                for (a, g) in a.rows().into_iter().zip(g.rows()) {
                    for (sum, (a, &g)) in pairs.chunks_exact_mut(2).zip(a.iter().zip(g)) {
                        sum[0] += a * f64::from(g);
                        sum[1] += a * a;
                    }
                }
            });
            pairs
        };
        let all = sums.over_genes(sums.gene_blocks().into_iter().map(of_block).collect());
        cosines(&all, &self.voxel_norms)
    }
}

/// Cosines from pairs of ⟨a, g⟩ and ‖a‖².
fn cosines(pairs: &[f64], norms: &[f64]) -> Vec<Cosine> {
    let pairs = pairs.chunks_exact(2).zip(norms);
    pairs
        .map(|(sums, &norm)| Cosine::new(sums[0], sums[1].sqrt(), norm))
        .collect()
}

/// `Σ_j d_j (log d_j − log q_j)`; voxels where the prior is 0 do not count.
fn divergence(prior: &[f64], density: &[f64]) -> f64 {
    let pairs = prior.iter().zip(density).filter(|(d, _)| **d > 0.0);
    pairs
        .map(|(d, q)| d * (d.ln() - q.max(SMALLEST_DENSITY).ln()))
        .sum()
}

/// A cosine similarity `⟨a, g⟩ / (‖a‖‖g‖)` with what its derivative needs.
#[derive(Debug, Clone, Copy)]
struct Cosine {
    value: f64,
    /// ‖a‖, not clamped.
    predicted_norm: f64,
    /// ‖a‖‖g‖, each clamped.
    norms: f64,
}

/// `weight · ∂cos/∂a = measured · g + predicted · a`.
#[derive(Debug, Clone, Copy)]
struct Slope {
    measured: f64,
    predicted: f64,
}

impl Slope {
    const FLAT: Self = Self {
        measured: 0.0,
        predicted: 0.0,
    };
}

impl Cosine {
    fn new(dot: f64, predicted_norm: f64, measured_norm: f64) -> Self {
        let norms = predicted_norm.max(SMALLEST_NORM) * measured_norm.max(SMALLEST_NORM);
        Self {
            value: dot / norms,
            predicted_norm,
            norms,
        }
    }

    fn slope(&self, weight: f64) -> Slope {
        // A clamped norm is a constant.
        let clamped = self.predicted_norm <= SMALLEST_NORM;
        let shrink = if clamped {
            0.0
        } else {
            self.value / self.predicted_norm.powi(2)
        };
        Slope {
            measured: weight / self.norms,
            predicted: -weight * shrink,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DensityPrior;
    use ndarray::array;

    const STEP: f64 = 1e-6;
    /// Central differences in f64 with this step are good to about step² plus rounding / step.
    const DIFFERENCES: f64 = 1e-8;

    fn loss_at(
        measured: &Measured,
        objective: &Objective,
        prior: &[f64],
        a: &Array2<f64>,
        q: &[f64],
    ) -> f64 {
        measured
            .evaluate(
                objective,
                Some(prior),
                a.clone().view_mut(),
                &mut q.to_vec(),
                Some(0.7),
            )
            .total
    }

    #[test]
    fn gradients_of_every_term_are_its_finite_differences() {
        let g = array![
            [1.0f32, 0.0, 2.0, 0.5],
            [0.0, 3.0, 1.0, 0.0],
            [2.0, 1.0, 0.0, 4.0]
        ];
        let a = array![
            [0.3, 0.2, 1.1, 0.7],
            [0.9, 2.0, 0.4, 0.1],
            [1.5, 0.6, 0.2, 2.2]
        ];
        let q = vec![0.4, 0.3, 0.1, 0.2];
        let prior = DensityPrior::new(vec![1.0, 0.0, 2.0, 3.0]).unwrap();
        let prior = prior.weights();
        let measured = Measured::new(g);
        for weights in [
            [1.0, 0.0, 0.0],
            [0.0, 1.0, 0.0],
            [0.0, 0.0, 1.0],
            [0.7, 1.3, 2.1],
        ] {
            let [gene, voxel, density] = weights;
            let objective = Objective {
                gene,
                voxel,
                density,
                entropy: 0.0,
            };
            let (mut w, mut u) = (a.clone(), q.clone());
            measured.evaluate(&objective, Some(prior), w.view_mut(), &mut u, None);
            let loss = |a: &Array2<f64>, q: &[f64]| loss_at(&measured, &objective, prior, a, q);
            for (at, slope) in w.indexed_iter() {
                let (mut up, mut down) = (a.clone(), a.clone());
                up[at] += STEP;
                down[at] -= STEP;
                let difference = (loss(&up, &q) - loss(&down, &q)) / (2.0 * STEP);
                assert!(
                    (difference - slope).abs() < DIFFERENCES,
                    "{weights:?} A{at:?}: {difference} {slope}"
                );
            }
            for (j, slope) in u.iter().enumerate() {
                let (mut up, mut down) = (q.clone(), q.clone());
                up[j] += STEP;
                down[j] -= STEP;
                let difference = (loss(&a, &up) - loss(&a, &down)) / (2.0 * STEP);
                assert!(
                    (difference - slope).abs() < 1e-4 * DIFFERENCES.max(slope.abs()),
                    "{weights:?} q{j}: {difference} {slope}"
                );
            }
        }
    }

    #[test]
    fn an_empty_voxel_or_gene_costs_but_is_no_nan() {
        let measured = Measured::new(array![[1.0f32, 0.0], [2.0, 0.0]]);
        let objective = Objective {
            gene: 1.0,
            voxel: 1.0,
            density: 1.0,
            entropy: 0.0,
        };
        let prior = DensityPrior::uniform(2).unwrap();
        let prior = prior.weights();
        let (mut a, mut q) = (array![[1.0, 0.0], [0.0, 0.0]], vec![1.0, 0.0]);
        let loss = measured.evaluate(&objective, Some(prior), a.view_mut(), &mut q, None);
        assert!(loss.total.is_finite() && loss.density.unwrap() > 10.0);
        assert!(a.iter().chain(&q).all(|x| x.is_finite()));
    }

    /// Blocks of two voxels and of one gene, added up in one process.
    struct InBlocks;

    impl Sums for InBlocks {
        fn voxel_blocks(&self) -> Vec<Range<usize>> {
            vec![0..2, 2..4]
        }
        fn gene_blocks(&self) -> Vec<Range<usize>> {
            vec![0..1, 1..2, 2..3]
        }
        fn over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
            let add = |a: Vec<f64>, b: Vec<f64>| a.iter().zip(b).map(|(a, b)| a + b).collect();
            blocks.into_iter().reduce(add).unwrap()
        }
        fn over_genes(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
            self.over_voxels(blocks)
        }
        fn size(&self) -> (usize, usize) {
            (4, 3)
        }
    }

    #[test]
    fn sums_in_blocks_are_the_sums_of_the_whole() {
        let g = Array2::from_shape_fn((3, 4), |(k, j)| ((k * 5 + j * 3) % 7) as f32);
        let a = Array2::from_shape_fn((3, 4), |(k, j)| 0.5 + ((k * 2 + j * 11) % 5) as f64);
        let objective = Objective {
            gene: 1.0,
            voxel: 0.5,
            density: 2.0,
            entropy: 0.0,
        };
        let prior = [0.1, 0.2, 0.3, 0.4];
        let (mut whole, mut blocks) = (a.clone(), a);
        let (mut u, mut v) = (vec![0.25; 4], vec![0.25; 4]);
        let one = Measured::new(g.clone());
        let one = one.evaluate(&objective, Some(&prior), whole.view_mut(), &mut u, None);
        let parts = Measured::part(g, &InBlocks);
        let many = parts.evaluate_part(
            &objective,
            Some(&prior),
            blocks.view_mut(),
            &mut v,
            None,
            &InBlocks,
        );
        assert!((one.total - many.total).abs() < 1e-14);
        assert!(
            whole
                .iter()
                .zip(&blocks)
                .all(|(x, y)| (x - y).abs() < 1e-14)
        );
        assert_eq!(u, v);
    }
}
