//! The objective, prepared for the data of one mapping.

use super::sums::{Exchanges, Sums, Whole};
use super::term::{Comparison, Data, LossTerm, OfCells, Sense, Shard, Slopes};
use super::{Exchange, Objective, Term, TermValues};
use crate::Neighbours;
use ndarray::{Array2, ArrayViewMut2, s};

/// What a mapping's loss is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// What is minimised: all terms by their weights.
    pub total: f64,
    /// Values of the terms without their weights.
    pub terms: TermValues,
}

/// What is known beside G.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// d of the shard's voxels, where there is a density prior.
    pub prior: Option<&'a [f64]>,
    /// T: how many cells a filter is to keep, where there is one.
    pub target: Option<f64>,
    /// Which voxels are neighbours, of all voxels, where that is known.
    pub neighbours: Option<&'a Neighbours>,
    /// Number of the cells' types; 0 where they are not known.
    pub n_types: usize,
}

/// The terms of an objective, prepared for what is measured on one rank's shard.
#[derive(Debug)]
pub struct LossFunction {
    /// G, (genes, voxels).
    measured: Array2<f32>,
    n_types: usize,
    terms: Vec<Prepared>,
}

#[derive(Debug)]
struct Prepared {
    term: Term,
    /// With the term's sign.
    weight: f64,
    /// What it exchanges in one evaluation.
    declared: Vec<Exchange>,
    prepared: Box<dyn LossTerm>,
}

impl LossFunction {
    /// Takes all of G, (genes, voxels), and the density prior d, (voxels).
    #[must_use]
    pub fn new(objective: &Objective, measured: Array2<f32>, prior: Option<&[f64]>) -> Self {
        let (n_genes, n_voxels) = measured.dim();
        let known = Known {
            prior,
            ..Known::default()
        };
        Self::of_shard(objective, measured, known, &Whole { n_voxels, n_genes })
    }

    /// Takes one rank's shard of them. Ranks call it together.
    #[must_use]
    pub fn of_shard(
        objective: &Objective,
        measured: Array2<f32>,
        known: Known<'_>,
        sums: &dyn Sums,
    ) -> Self {
        let measured = match measured.is_standard_layout() {
            true => measured,
            false => measured.as_standard_layout().into_owned(),
        };
        let Known {
            prior,
            target,
            neighbours,
            n_types,
        } = known;
        let data = Data {
            measured: measured.view(),
            prior,
            target,
            neighbours,
            n_types,
            convention: objective.convention(),
        };
        let shards = sums.voxel_shards();
        let (n_genes, n_voxels) = measured.dim();
        let shard = Shard {
            n_genes,
            n_voxels,
            has_prior: prior.is_some(),
            neighbours: neighbours.map(|graph| (graph, &shards)),
            n_types,
        };
        let prepare = |(term, weight): (Term, f64)| {
            let about = term.about();
            let weight = weight * objective.convention().factor(term, sums.size());
            Some(Prepared {
                term,
                weight: match about.sense {
                    Sense::Maximised => -weight,
                    Sense::Minimised => weight,
                },
                declared: (about.exchanges)(&shard),
                prepared: (about.prepare)(&data, sums)?,
            })
        };
        Self {
            terms: objective.terms().filter_map(prepare).collect(),
            measured,
            n_types,
        }
    }

    /// Number of the cells' types, whose rows follow those of the genes.
    #[must_use]
    pub fn n_types(&self) -> usize {
        self.n_types
    }

    /// Number of genes of this shard.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.measured.nrows()
    }

    /// Number of voxels of this shard.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.measured.ncols()
    }

    /// [`evaluate_shard`](Self::evaluate_shard) of all genes and voxels.
    ///
    /// * `mass`: Σ_i f_i w_i, the number of cells where each counts once
    /// * `entropy`: Σ_i H_i of all cells, where the objective asks for it
    ///
    /// # Panics
    /// If shapes differ from those of G.
    pub fn evaluate(
        &self,
        predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
        mass: f64,
        entropy: Option<f64>,
    ) -> Loss {
        let (n_genes, n_voxels) = self.measured.dim();
        let whole = Whole { n_voxels, n_genes };
        let cells = OfCells {
            entropy,
            ..OfCells::of(mass)
        };
        self.evaluate_shard(predicted, density, cells, &whole)
    }

    /// Loss of the expression A and the density q that a mapping predicts; A is overwritten by W = ∂L/∂A, q by u = ∂L/∂q.
    ///
    /// * `predicted`: A, (genes, voxels), and after it C, (types, voxels), in standard layout
    /// * `density`: q, (voxels), of all voxels sums to 1
    ///
    /// # Panics
    /// If shapes differ from those of G.
    pub fn evaluate_shard(
        &self,
        predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
        cells: OfCells,
        sums: &dyn Sums,
    ) -> Loss {
        let (n_genes, n_voxels) = self.measured.dim();
        let size = (n_genes + self.n_types, n_voxels);
        assert_eq!(predicted.dim(), size, "A is shaped like G");
        assert_eq!(density.len(), n_voxels, "q has one entry per voxel");
        let given = Comparison {
            measured: self.measured.view(),
            predicted: predicted.slice(s![..n_genes, ..]),
            types: predicted.slice(s![n_genes.., ..]),
            density,
            cells,
        };
        let mut slopes = Slopes::new(n_genes, n_voxels);
        let mut terms = TermValues::default();
        let mut weighted = Vec::with_capacity(self.terms.len());
        for Prepared {
            term,
            weight,
            declared,
            prepared,
        } in &self.terms
        {
            let exchanges = Exchanges::new(sums, declared.clone());
            let value = prepared.evaluate(*weight, &given, &exchanges, &mut slopes);
            exchanges.end();
            terms.set(*term, value);
            weighted.push((term.about().sense, weight * value));
        }
        slopes.write(self.measured.view(), predicted, density);
        // What is minimised first: the order in which the loss was always added up, to the bit.
        weighted.sort_by_key(|(sense, _)| *sense == Sense::Maximised);
        Loss {
            total: weighted.iter().fold(0.0, |total, (_, part)| total + part),
            terms,
        }
    }
}

impl Objective {
    /// What the terms exchange in one evaluation, on a rank with this shard.
    #[must_use]
    pub fn exchanges(&self, shard: &Shard<'_>) -> Vec<Exchange> {
        let of = |(term, _): (Term, f64)| (term.about().exchanges)(shard);
        self.terms().flat_map(of).collect()
    }

    /// (genes, voxels) matrices of double precision that the terms hold at most.
    #[must_use]
    pub fn matrices(&self) -> usize {
        self.terms().map(|(term, _)| term.about().matrices).sum()
    }
}
