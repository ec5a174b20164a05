//! A few cells on which the effect of a step in (Z, b) on the logits is measured, and by which it is balanced between voxels.

use crate::cost::tally::Tally;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sharded_logits::{self, AllGenes};
use crate::mirror::balance::{self, Balance, OfVoxels, Pull};
use crate::mirror::linear_fit::LinearFit;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::{MapError, Precision};
use ndarray::{Array2, ArrayView2};
use rayon::prelude::*;
use std::ops::{ControlFlow, Range};
use tangram_comm::Communicator;
use tangram_core::{CellChunks, Objective, SparseRows, Sums, Term};

/// Voxels worked on by one task.
const VOXELS: usize = 1024;

/// What a training asks of its probe.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    /// Whether steps are balanced between the voxels.
    pub(crate) balances: bool,
    /// Whether a temperature or an entropy acts on the logits.
    pub(crate) pulls: bool,
}

impl Asked {
    pub(crate) fn by(objective: &Objective, temperature: bool) -> Self {
        Self {
            // Its slope by A_j is about 1 / |A_j|. That of the composition terms, weighted by density, is about as steep for all voxels.
            balances: objective[Term::Voxel] != 0.0,
            pulls: temperature || objective[Term::Entropy] != 0.0,
        }
    }

    /// Cells of the probe: enough for means to within a few percent, or for a linear fit in their expression, at little cost beside a pass.
    pub(crate) fn most_cells(self) -> usize {
        if self.balances { 256 } else { 128 }
    }

    /// Bytes of the fit for a cell of the probe: its expression, and its row of the fit's matrix.
    pub(crate) fn fitted_bytes(self, n_genes: usize) -> usize {
        if self.balances {
            8 * (n_genes + self.most_cells())
        } else {
            0
        }
    }

    fn needs_logits(self) -> bool {
        self.balances || self.pulls
    }

    /// The probe's cells among all `n_cells`.
    fn places(self, n_cells: usize) -> impl Iterator<Item = usize> + Clone {
        let n_probes = self.most_cells().min(n_cells);
        (0..n_probes).map(move |i| i * n_cells / n_probes)
    }
}

/// Up to 128 or 256 cells, evenly from all of them.
pub(crate) struct Probe<T> {
    asked: Asked,
    products: Products,
    density: f64,
    factors: Aligned<T>,
    sums: AllGenes<T>,
    /// Logits of this rank's cells of the probe, (cells, voxels), rows a stride apart; empty where they are not needed.
    logits: Aligned<T>,
    /// What the slope in work takes from them.
    changes: Aligned<T>,
    fit: Option<LinearFit>,
    /// Index of this rank's first cell among the probe's.
    first: usize,
    /// Cells of every summation block of this rank's cells, counted from `first`.
    blocks: Vec<Range<usize>>,
    /// Cells of all ranks.
    n_probes: usize,
}

/// Declares what a step exchanges: [`Probe::stand_at`], [`Probe::spread`], [`Probe::balance`].
pub(crate) fn declare(tally: &mut Tally<'_>, asked: Asked) {
    let shares = tally.shares();
    let (all, range) = (shares.cells.whole_len(), shares.cells.range());
    let places = asked.places(all);
    let n_probes = places.clone().count();
    let own = places.filter(|cell| range.contains(cell)).count();
    if asked.needs_logits() {
        sharded_logits::declare(tally, own);
    }
    sharded_logits::declare(tally, own);
    tally.over_voxels(own);
    tally.over_voxels(own);
    tally.sum_over_cells(n_probes);
    if asked.balances {
        balance::declare(tally, own, n_probes);
    }
    tally.over_voxels(own);
    tally.max_rows(own);
    tally.sum_over_cells(n_probes);
}

impl<T: Number> Probe<T> {
    /// Takes the probe's cells that this rank has.
    pub(crate) fn new<C: CellChunks>(
        cells: &C,
        asked: Asked,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let (n_cells, range) = (ranks.shares.cells.whole_len(), ranks.shares.cells.range());
        let all = asked.places(n_cells);
        let n_probes = all.clone().count();
        let before = |cell: usize| all.clone().filter(|&place| place < cell).count();
        let first = before(range.start);
        let blocks = ranks.shares.cells.blocks().into_iter();
        let blocks = blocks.map(|block| {
            before(range.start + block.start) - first..before(range.start + block.end) - first
        });
        let blocks = blocks.collect();
        let chosen: Vec<usize> = all
            .clone()
            .filter(|cell| range.contains(cell))
            .map(|cell| cell - range.start)
            .collect();
        let chosen = cells
            .select(&chosen)
            .map_err(|e| MapError::Cells(e.into()))?;
        let mut largest = [chosen
            .parts()
            .2
            .iter()
            .copied()
            .fold(0.0f32, f32::max)
            .into()];
        ranks.grid.max_of_all(&mut largest);
        // 16-bit products would save nothing here.
        let precision = if size_of::<T>() == 8 {
            Precision::F64
        } else {
            Precision::F32
        };
        let n_voxels = ranks.shares.voxels.len();
        let layout = Layout::new::<T>(chosen.n_rows(), n_voxels, 0, 0.0, precision);
        let products = Products::for_logits::<T>(&chosen, layout, &ranks.first_genes());
        let tiles = layout.tiles;
        let mut sums = AllGenes::new(layout);
        if ranks.is_exact() {
            sums = sums.exact(largest[0], 0, ranks);
        }
        let rows = products.n_cells() * tiles.row_stride::<T>();
        let fit = asked
            .balances
            .then(|| LinearFit::new(of_all_ranks(&chosen, first, n_probes, ranks), ranks));
        Ok(Self {
            asked,
            factors: zeros(tiles.len(products.n_genes())),
            logits: zeros(if asked.needs_logits() { rows } else { 0 }),
            changes: zeros(rows),
            density: chosen.density(),
            fit,
            products,
            sums,
            first,
            blocks,
            n_probes,
        })
    }

    /// Share of the probe's counts that are not zero.
    pub(crate) fn density(&self) -> f64 {
        self.density
    }

    /// Takes the factors, (genes + 1, voxels), from which the next step goes.
    pub(crate) fn stand_at(
        &mut self,
        factors: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) {
        if self.asked.needs_logits() {
            let mut logits = std::mem::replace(&mut self.logits, zeros(0));
            self.multiply(factors, &mut logits, ranks);
            self.logits = logits;
        }
    }

    /// Takes the slope of the loss, (genes + 1, voxels), down which the next step goes. Gives its spread: the standard deviation over the
    /// voxels of what it takes from a cell's logits, mean over the probe's cells.
    pub(crate) fn spread(
        &mut self,
        slope: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        let mut changes = std::mem::replace(&mut self.changes, zeros(0));
        self.multiply(slope, &mut changes, ranks);
        self.changes = changes;
        let n_voxels = ranks.shares.voxels.whole_len() as f64;
        let mut means = self.over_voxels(&|_, x| x, ranks);
        means.iter_mut().for_each(|mean| *mean /= n_voxels);
        let squares = self.over_voxels(&|i, x| (x - means[i]).powi(2), ranks);
        let deviations = squares.into_iter().map(|s| (s / n_voxels).sqrt()).collect();
        self.mean(deviations, ranks)
    }

    /// How the slope that [`spread`](Self::spread) took, to which `pull` is added, is balanced between the voxels.
    pub(crate) fn balance(
        &mut self,
        pull: Pull<'_>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Balance {
        self.add(pull, ranks);
        let of_voxels = self.of_voxels(ranks);
        let n_voxels = ranks.shares.voxels.whole_len() as f64;
        let means = self.over_voxels(&|_, x| x, ranks);
        let rows = self.changes.par_chunks(self.stride()).zip(&means);
        let mut largest: Vec<f64> = rows
            .map(|(row, mean)| {
                let row = row[..ranks.shares.voxels.len()].iter();
                row.fold(0.0, |m: f64, x| m.max((x.to_f64() - mean / n_voxels).abs()))
            })
            .collect();
        ranks.grid.max_rows(&mut largest);
        Balance {
            of_voxels,
            largest: self.mean(largest, ranks),
        }
    }

    /// Balances the changes, where that is asked for.
    fn of_voxels(&mut self, ranks: Ranks<'_, impl Communicator>) -> Option<OfVoxels> {
        let fit = self.fit.take()?;
        let mut means = self.means_over_p(ranks);
        self.gather(&mut means, ranks);
        let fitted = fit.solve(&means);
        self.fit = Some(fit);
        let own = fitted.values[self.first..][..self.products.n_cells()].to_vec();
        self.for_each_row(ranks, |i, row, _| {
            row.iter_mut()
                .for_each(|x| *x = T::from_f64(x.to_f64() - own[i]));
        });
        let shares = balance::shares(&self.squares(ranks), self.n_probes, ranks);
        self.for_each_row(ranks, |_, row, _| {
            let pairs = row.iter_mut().zip(&shares);
            pairs.for_each(|(x, share)| *x = T::from_f64(x.to_f64() * share));
        });
        Some(OfVoxels {
            centre: fitted.by_gene,
            shares,
        })
    }

    /// Adds to the changes what `pull` takes from the logits.
    fn add(&mut self, pull: Pull<'_>, ranks: Ranks<'_, impl Communicator>) {
        if pull.is_none() {
            return;
        }
        self.for_each_row(ranks, |_, row, logits| {
            for ((x, logit), rest) in row.iter_mut().zip(logits).zip(pull.rest) {
                let pulled = pull.weight * logit.to_f64() - pull.to_rest * rest;
                *x = T::from_f64(x.to_f64() + pulled);
            }
        });
    }

    /// `Σ_j P_ij x_ij` of the changes x of this rank's cells of the probe.
    fn means_over_p(&self, ranks: Ranks<'_, impl Communicator>) -> Vec<f64> {
        let (stride, n_voxels) = (self.stride(), ranks.shares.voxels.len());
        let rows = || self.logits.par_chunks(stride);
        let mut highest: Vec<f64> = rows()
            .map(|row| {
                let row = row[..n_voxels].iter();
                row.fold(f64::NEG_INFINITY, |m, x| m.max(x.to_f64()))
            })
            .collect();
        ranks.grid.max_rows(&mut highest);
        let of_block = |voxels: Range<usize>| -> Vec<f64> {
            let rows = rows().zip(self.changes.par_chunks(stride)).zip(&highest);
            let sums = rows.map(|((logits, changes), highest)| {
                let pairs = logits[voxels.clone()].iter().zip(&changes[voxels.clone()]);
                pairs.fold([0.0, 0.0], |[all, of_x], (logit, x)| {
                    let p = (logit.to_f64() - highest).exp();
                    [all + p, of_x + p * x.to_f64()]
                })
            });
            sums.collect::<Vec<_>>().concat()
        };
        let sums = ranks.over_voxels(ranks.voxel_blocks().into_iter().map(of_block).collect());
        sums.chunks_exact(2).map(|s| s[1] / s[0]).collect()
    }

    /// Σ over the probe's cells of the squares of the changes, of every voxel of this rank.
    fn squares(&self, ranks: Ranks<'_, impl Communicator>) -> Vec<f64> {
        let (stride, n_voxels) = (self.stride(), ranks.shares.voxels.len());
        let changes = &self.changes[..];
        let of_block = |cells: &Range<usize>| {
            let mut sums = vec![0.0; n_voxels];
            let parts = sums.par_chunks_mut(VOXELS).enumerate();
            parts.for_each(|(part, sums)| {
                for row in cells.clone() {
                    let row = &changes[row * stride + part * VOXELS..][..sums.len()];
                    let pairs = sums.iter_mut().zip(row);
                    pairs.for_each(|(sum, x)| *sum += x.to_f64().powi(2));
                }
            });
            sums
        };
        let blocks = self.blocks.iter().map(of_block).collect();
        ranks.grid.over_cells(&ranks.shares.cells, blocks)
    }

    /// Does something with every row of the changes, and the logits of the same cell.
    fn for_each_row(
        &mut self,
        ranks: Ranks<'_, impl Communicator>,
        of: impl Fn(usize, &mut [T], &[T]) + Sync,
    ) {
        let (stride, n_voxels) = (self.stride(), ranks.shares.voxels.len());
        let logits = self.logits.par_chunks(stride);
        let rows = self.changes.par_chunks_mut(stride).zip(logits);
        rows.enumerate().for_each(|(i, (row, logits))| {
            of(i, &mut row[..n_voxels], &logits[..n_voxels]);
        });
    }

    /// Sums over all voxels of a function of the changes, for every row of this rank.
    fn over_voxels(
        &self,
        of: &(dyn Fn(usize, f64) -> f64 + Sync),
        ranks: Ranks<'_, impl Communicator>,
    ) -> Vec<f64> {
        let of_block = |voxels: Range<usize>| {
            let rows = self.changes.par_chunks(self.stride()).enumerate();
            rows.map(|(i, row)| row[voxels.clone()].iter().map(|x| of(i, x.to_f64())).sum())
                .collect()
        };
        ranks.over_voxels(ranks.voxel_blocks().into_iter().map(of_block).collect())
    }

    /// Puts numbers of this rank's cells of the probe among those of all. Each has its place, so that sums run over all cells in the same
    /// order for any number of ranks.
    fn gather(&self, numbers: &mut Vec<f64>, ranks: Ranks<'_, impl Communicator>) {
        let mut all = vec![0.0; self.n_probes];
        all[self.first..][..numbers.len()].copy_from_slice(numbers);
        ranks.grid.sum_over_cells(&mut all);
        *numbers = all;
    }

    /// Mean over the probe's cells, of numbers of those of this rank.
    fn mean(&self, mut numbers: Vec<f64>, ranks: Ranks<'_, impl Communicator>) -> f64 {
        self.gather(&mut numbers, ranks);
        numbers.iter().sum::<f64>() / self.n_probes as f64
    }

    fn stride(&self) -> usize {
        self.products.tiles().row_stride::<T>()
    }

    /// `S Xᵀ + 1 xᵀ` of this rank's cells of the probe and factors or a slope (X, x), (genes + 1, voxels).
    fn multiply(
        &mut self,
        factors: ArrayView2<'_, f64>,
        into: &mut [T],
        ranks: Ranks<'_, impl Communicator>,
    ) {
        let stride = self.stride();
        self.sums.take_weights(factors, &mut self.factors, ranks);
        let done = self.sums.for_each_block(
            &mut self.products,
            &self.factors,
            ranks,
            &mut |_, block, found| {
                into[block.start * stride..block.end * stride].copy_from_slice(found);
                ControlFlow::Continue(())
            },
        );
        debug_assert!(done.is_continue(), "it never breaks");
    }
}

/// The probe's cells of all ranks, (cells, genes of this rank).
fn of_all_ranks(
    own: &SparseRows,
    first: usize,
    n_probes: usize,
    ranks: Ranks<'_, impl Communicator>,
) -> Array2<f64> {
    let mut all = Array2::zeros((n_probes, own.n_cols()));
    for i in 0..own.n_rows() {
        let (genes, values) = own.row(i);
        for (&k, &value) in genes.iter().zip(values) {
            all[[first + i, k as usize]] = f64::from(value);
        }
    }
    let values = all.as_slice_mut().expect("standard layout");
    ranks.grid.sum_over_cells(values);
    all
}
