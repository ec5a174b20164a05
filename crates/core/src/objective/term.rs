//! What a term of the loss is: the seam between the objective and its terms.

use super::cosine::Coefficients;
use super::sums::{Exchange, Exchanges, Sums, VoxelShards};
use super::weights::Convention;
use crate::Neighbours;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis, Zip};
use std::fmt::Debug;

/// A term of the loss on one rank's shard, with all that it keeps from epoch to epoch.
pub trait LossTerm: Debug + Send + Sync {
    /// Value of the term without its weight; adds `weight` times its slope to `slopes`.
    ///
    /// `weight` has the term's sign: it is negative where the value is to be large.
    fn evaluate(
        &self,
        weight: f64,
        given: &Comparison<'_>,
        exchanges: &Exchanges<'_, dyn Sums + '_>,
        slopes: &mut Slopes,
    ) -> f64;
}

/// Name, setting and kind of a term: what command line, files and plans need to know of it.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// In tables and files.
    pub name: &'static str,
    /// λ as a setting, without dashes in front.
    pub setting: &'static str,
    /// What the weight is a weight of, for people: the text of the flag, without its default.
    pub help: &'static str,
    /// λ unless it is given.
    pub default: DefaultWeight,
    /// What the term compares predictions with.
    pub needs: Needs,
    /// Whether the value is to be large or small.
    pub sense: Sense,
    /// What the term exchanges in one evaluation, in this order, on a rank with this shard.
    pub exchanges: fn(&Shard<'_>) -> Vec<Exchange>,
    /// When tables of the training's history have the term's column.
    pub shown: Shown,
    /// (genes, voxels) matrices of double precision that the term holds at most.
    pub matrices: usize,
    /// Prepares the term; `None` if the data do not have what it is about. Ranks call it together.
    pub prepare: fn(&Data<'_>, &dyn Sums) -> Option<Box<dyn LossTerm>>,
}

/// λ of a term that was given none.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultWeight {
    /// This, where the term has what it [needs](About::needs); otherwise 0.
    Is(f64),
    /// What the goal of the mapping decides.
    OfGoal,
}

/// What a term compares predictions with. Without it the term cannot be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Measured expression.
    Expression,
    /// Measured expression and a graph of neighbouring voxels.
    Neighbours,
    /// Types of the cells and a graph of neighbouring voxels.
    Types,
    /// A density prior.
    Prior,
    /// The filter of the published package.
    PackageFilter,
    /// Nothing: the term is about the mapping alone.
    Nothing,
}

impl Needs {
    /// Whether the term compares genes.
    #[must_use]
    pub fn expression(self) -> bool {
        matches!(self, Self::Expression | Self::Neighbours)
    }
}

/// Whether a term's value is to be large or small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sense {
    /// Large: the loss has −λ times the value.
    Maximised,
    /// Small: the loss has +λ times the value.
    Minimised,
}

/// When tables have a term's column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// Always, empty where the term was not computed.
    Always,
    /// Where the term was computed.
    WhenComputed,
}

/// What is measured, of one rank's shard.
#[derive(Debug, Clone, Copy)]
pub struct Data<'a> {
    /// G, (genes, voxels).
    pub measured: ArrayView2<'a, f32>,
    /// d, (voxels), where there is a density prior.
    pub prior: Option<&'a [f64]>,
    /// T: how many cells a filter is to keep, where there is one.
    pub target: Option<f64>,
    /// Which voxels are neighbours, of all voxels, where that is known.
    pub neighbours: Option<&'a Neighbours>,
    /// Number of the cells' types; 0 where they are not known.
    pub n_types: usize,
    /// How the terms are to be understood.
    pub convention: Convention,
}

/// What a mapping predicts beside what is measured, of one rank's shard.
#[derive(Debug, Clone, Copy)]
pub struct Comparison<'a> {
    /// G, (genes, voxels).
    pub measured: ArrayView2<'a, f32>,
    /// A, (genes, voxels).
    pub predicted: ArrayView2<'a, f64>,
    /// C, (types, voxels): how many cells of a type are expected in a voxel.
    pub types: ArrayView2<'a, f64>,
    /// q, (voxels); over all voxels it sums to 1.
    pub density: &'a [f64],
    /// What is summed over the cells alone.
    pub cells: OfCells,
}

/// What a pass sums over all cells beside A and q.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct OfCells {
    /// Σ_i f_i w_i: the number of cells, unless cells are weighted or filtered.
    pub mass: f64,
    /// Σ_i H_i, where the objective asks for it.
    pub entropy: Option<f64>,
    /// Σ_i (f_i − f_i²), where there is a filter.
    pub undecided: Option<f64>,
    /// Σ_ij |M̃_ij| and Σ_ij M̃_ij² of all logits, where the objective asks for one of them.
    pub logits: Option<[f64; 2]>,
}

impl OfCells {
    /// Cells that each count once; their entropy is not computed.
    #[must_use]
    pub const fn of(mass: f64) -> Self {
        Self {
            mass,
            entropy: None,
            undecided: None,
            logits: None,
        }
    }
}

/// Size and kind of a rank's shard: all that the exchanges of a term may depend on.
#[derive(Debug, Clone, Copy)]
pub struct Shard<'a> {
    /// Genes of this rank.
    pub n_genes: usize,
    /// Voxels of this rank.
    pub n_voxels: usize,
    /// Whether there is a density prior.
    pub has_prior: bool,
    /// Which voxels are neighbours, and who has them.
    pub neighbours: Option<(&'a Neighbours, &'a VoxelShards)>,
    /// Number of the cells' types; 0 where they are not known.
    pub n_types: usize,
}

/// The slope of the loss by A and q, as the terms add to it.
///
/// Cosines add coefficients of G and A, so that no (genes, voxels) matrix is needed for them.
#[derive(Debug)]
pub struct Slopes {
    by_gene: Vec<Coefficients>,
    by_voxel: Vec<Coefficients>,
    expression: Option<Array2<f64>>,
    types: Option<Array2<f64>>,
    density: Option<Vec<f64>>,
}

impl Slopes {
    pub(super) fn new(n_genes: usize, n_voxels: usize) -> Self {
        Self {
            by_gene: vec![Coefficients::FLAT; n_genes],
            by_voxel: vec![Coefficients::FLAT; n_voxels],
            expression: None,
            types: None,
            density: None,
        }
    }

    /// Adds `measured_k G_jk + predicted_k A_jk`.
    pub fn add_by_gene(&mut self, coefficients: impl Iterator<Item = Coefficients>) {
        add(&mut self.by_gene, coefficients);
    }

    /// Adds `measured_j G_jk + predicted_j A_jk`.
    pub fn add_by_voxel(&mut self, coefficients: impl Iterator<Item = Coefficients>) {
        add(&mut self.by_voxel, coefficients);
    }

    /// Adds any slope by A, (genes, voxels).
    ///
    /// # Panics
    /// If another term's was of another shape.
    pub fn add_by_expression(&mut self, slope: Array2<f64>) {
        add_matrix(&mut self.expression, slope);
    }

    /// Adds a slope by C, (types, voxels).
    ///
    /// # Panics
    /// If another term's was of another shape.
    pub fn add_by_types(&mut self, slope: Array2<f64>) {
        add_matrix(&mut self.types, slope);
    }

    /// Adds a slope by q, (voxels).
    pub fn add_by_density(&mut self, slope: Vec<f64>) {
        match &mut self.density {
            Some(sum) => sum.iter_mut().zip(slope).for_each(|(sum, x)| *sum += x),
            None => self.density = Some(slope),
        }
    }

    /// Writes W = ∂L/∂A over A, (genes, voxels), likewise of the types after the genes, and u = ∂L/∂q over q.
    pub(super) fn write(
        self,
        measured: ArrayView2<'_, f32>,
        predicted: ArrayViewMut2<'_, f64>,
        density: &mut [f64],
    ) {
        let (mut predicted, mut types) = predicted.split_at(Axis(0), measured.nrows());
        match &self.types {
            Some(slope) => types.assign(slope),
            None => types.fill(0.0),
        }
        let (by_gene, by_voxel) = (&self.by_gene, &self.by_voxel);
        Zip::indexed(predicted.rows_mut())
            .and(measured.rows())
            .par_for_each(|k, mut a, g| {
                let gene = by_gene[k];
                for ((a, &g), voxel) in a.iter_mut().zip(g).zip(by_voxel) {
                    *a = (gene.measured + voxel.measured) * f64::from(g)
                        + (gene.predicted + voxel.predicted) * *a;
                }
            });
        if let Some(slope) = &self.expression {
            Zip::from(&mut predicted)
                .and(slope)
                .par_for_each(|sum, &x| *sum += x);
        }
        match &self.density {
            Some(slope) => density.copy_from_slice(slope),
            None => density.fill(0.0),
        }
    }
}

fn add_matrix(sum: &mut Option<Array2<f64>>, slope: Array2<f64>) {
    match sum {
        Some(sum) => *sum += &slope,
        None => *sum = Some(slope),
    }
}

fn add(sums: &mut [Coefficients], terms: impl Iterator<Item = Coefficients>) {
    for (sum, term) in sums.iter_mut().zip(terms) {
        sum.measured += term.measured;
        sum.predicted += term.predicted;
    }
}
