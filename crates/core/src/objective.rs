//! The loss of a mapping and its gradient, as functions of the predicted expression A and density q alone.
//!
//! Both solvers share it: whatever makes A and q, this says how good they are and which way to move.
//! Matrices are held by gene, (genes, voxels): each gene's voxels side by side.

use crate::DensityPrior;
use ndarray::{Array2, ArrayViewMut2, Axis, Zip};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

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

/// The measured expression G with what of it is needed again and again.
#[derive(Debug, Clone)]
pub struct Measured {
    /// G, (genes, voxels).
    by_gene: Array2<f32>,
    gene_norms: Vec<f64>,
    voxel_norms: Vec<f64>,
}

/// Voxels handled together when sums run over genes: a few cache lines of each gene.
const VOXEL_CHUNK: usize = 512;

impl Measured {
    /// Takes G, (genes, voxels).
    #[must_use]
    pub fn new(by_gene: Array2<f32>) -> Self {
        let square = |x: f32| f64::from(x) * f64::from(x);
        let norm =
            |v: ndarray::ArrayView1<'_, f32>| v.iter().map(|&x| square(x)).sum::<f64>().sqrt();
        let gene_norms = by_gene.rows().into_iter().map(norm).collect();
        let voxel_norms = by_gene.columns().into_iter().map(norm).collect();
        Self {
            by_gene: match by_gene.is_standard_layout() {
                true => by_gene,
                false => by_gene.as_standard_layout().into_owned(),
            },
            gene_norms,
            voxel_norms,
        }
    }

    /// Number of genes K.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.gene_norms.len()
    }

    /// Number of voxels V.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.voxel_norms.len()
    }

    /// Loss of the expression A and the density q that a mapping predicts; A is overwritten by W = ∂L/∂A.
    ///
    /// * `predicted`: A, (genes, voxels), in standard layout
    /// * `density`: q, (voxels), sums to 1; overwritten by u = ∂L/∂q
    /// * `entropy`: Σ_i H_i, where the objective asks for it
    ///
    /// Gradients (`algorithm`: Biancalani 2021, Methods, differentiated by hand):
    /// `W_jk = − λ_g1/K (G_jk/(‖A_·k‖‖G_·k‖) − cos_k A_jk/‖A_·k‖²) − λ_g2/V (G_jk/(‖A_j·‖‖G_j·‖) − cos_j A_jk/‖A_j·‖²)`,
    /// `u_j = − λ_d d_j/q_j`.
    ///
    /// # Panics
    /// If shapes differ from those of G.
    pub fn evaluate(
        &self,
        objective: &Objective,
        prior: Option<&DensityPrior>,
        mut predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
        entropy: Option<f64>,
    ) -> Loss {
        assert_eq!(
            predicted.dim(),
            self.by_gene.dim(),
            "A and G have the same shape"
        );
        assert_eq!(density.len(), self.n_voxels(), "q has one entry per voxel");
        let by_gene = (objective.gene != 0.0).then(|| self.gene_cosines(&predicted));
        let by_voxel = (objective.voxel != 0.0).then(|| self.voxel_cosines(&predicted));
        let mean = |c: &Vec<Cosine>| c.iter().map(|c| c.value).sum::<f64>() / c.len() as f64;
        let mut loss = Loss {
            total: 0.0,
            gene: by_gene.as_ref().map(mean),
            voxel: by_voxel.as_ref().map(mean),
            density: prior
                .filter(|_| objective.density != 0.0)
                .map(|d| divergence(d, density)),
            entropy,
        };
        let part = |weight: f64, value: Option<f64>| value.map_or(0.0, |value| weight * value);
        loss.total = part(objective.density, loss.density) + part(objective.entropy, loss.entropy)
            - part(objective.gene, loss.gene)
            - part(objective.voxel, loss.voxel);

        let gene_weight = -objective.gene / self.n_genes() as f64;
        let voxel_weight = -objective.voxel / self.n_voxels() as f64;
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
        match prior.filter(|_| objective.density != 0.0) {
            Some(d) => {
                for (q, d) in density.iter_mut().zip(d.weights()) {
                    *q = -objective.density * d / q.max(SMALLEST_DENSITY);
                }
            }
            None => density.fill(0.0),
        }
        loss
    }

    /// cos(A_·k, G_·k) of every gene.
    fn gene_cosines(&self, predicted: &ArrayViewMut2<'_, f64>) -> Vec<Cosine> {
        let rows = predicted.axis_iter(Axis(0)).into_par_iter();
        rows.zip(self.by_gene.axis_iter(Axis(0)).into_par_iter())
            .zip(&self.gene_norms)
            .map(|((a, g), &norm)| {
                let (mut dot, mut square) = (0.0, 0.0);
                for (&a, &g) in a.iter().zip(g) {
                    dot += a * f64::from(g);
                    square += a * a;
                }
                Cosine::new(dot, square.sqrt(), norm)
            })
            .collect()
    }

    /// cos(A_j·, G_j·) of every voxel.
    fn voxel_cosines(&self, predicted: &ArrayViewMut2<'_, f64>) -> Vec<Cosine> {
        let chunks = self.voxel_norms.par_chunks(VOXEL_CHUNK).enumerate();
        let cosines = chunks.map(|(c, norms)| {
            let first = c * VOXEL_CHUNK;
            let mut sums = vec![(0.0, 0.0); norms.len()];
            for (a, g) in predicted.rows().into_iter().zip(self.by_gene.rows()) {
                let a = a.slice_move(ndarray::s![first..first + norms.len()]);
                let g = g.slice_move(ndarray::s![first..first + norms.len()]);
                for (sum, (&a, &g)) in sums.iter_mut().zip(a.iter().zip(g)) {
                    sum.0 += a * f64::from(g);
                    sum.1 += a * a;
                }
            }
            let pairs = sums.into_iter().zip(norms);
            pairs
                .map(|((dot, square), &norm)| Cosine::new(dot, square.sqrt(), norm))
                .collect::<Vec<_>>()
        });
        chunks_in_order(cosines)
    }
}

fn chunks_in_order(chunks: impl ParallelIterator<Item = Vec<Cosine>>) -> Vec<Cosine> {
    chunks.collect::<Vec<_>>().concat()
}

/// `Σ_j d_j (log d_j − log q_j)`; voxels where the prior is 0 do not count.
fn divergence(prior: &DensityPrior, density: &[f64]) -> f64 {
    let pairs = prior
        .weights()
        .iter()
        .zip(density)
        .filter(|(d, _)| **d > 0.0);
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
    use ndarray::array;

    const STEP: f64 = 1e-6;
    /// Central differences in f64 with this step are good to about step² plus rounding / step.
    const DIFFERENCES: f64 = 1e-8;

    fn loss_at(
        measured: &Measured,
        objective: &Objective,
        prior: &DensityPrior,
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
            measured.evaluate(&objective, Some(&prior), w.view_mut(), &mut u, None);
            let loss = |a: &Array2<f64>, q: &[f64]| loss_at(&measured, &objective, &prior, a, q);
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
        let (mut a, mut q) = (array![[1.0, 0.0], [0.0, 0.0]], vec![1.0, 0.0]);
        let loss = measured.evaluate(&objective, Some(&prior), a.view_mut(), &mut q, None);
        assert!(loss.total.is_finite() && loss.density.unwrap() > 10.0);
        assert!(a.iter().chain(&q).all(|x| x.is_finite()));
    }
}
