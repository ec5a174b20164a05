//! A few cells on which the effect of a step in (Z, b) on the logits is measured.

use crate::cost::tally::Tally;
use crate::cpu::aligned::{Aligned, zeros};
use crate::cpu::products::{Layout, Products};
use crate::cpu::sharded_logits::{self, AllGenes};
use crate::number::Number;
use crate::ranks::Ranks;
use crate::{MapError, Precision};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::ControlFlow;
use tangram_comm::Communicator;
use tangram_core::{CellChunks, Sums};

/// Cells of a probe: enough for means to within a few percent, at little cost beside a pass.
const N_CELLS: usize = 128;

/// The probe's cells among all `n_cells`.
fn places(n_cells: usize) -> impl Iterator<Item = usize> + Clone {
    let n_probes = N_CELLS.min(n_cells);
    (0..n_probes).map(move |i| i * n_cells / n_probes)
}

/// Effect of a direction on the logits of a cell, mean over the probe's cells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// Standard deviation over the voxels.
    pub(crate) spread: f64,
    /// Largest change, from the mean over the voxels.
    pub(crate) largest: f64,
}

/// Up to 128 cells, evenly from all of them.
pub(crate) struct Probe<T> {
    products: Products,
    density: f64,
    direction: Aligned<T>,
    rows: Aligned<T>,
    logits: AllGenes<T>,
    /// Index of this rank's first cell among the probe's.
    first: usize,
    /// Cells of all ranks.
    n_probes: usize,
}

/// Declares what [`Probe::reach`] exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>) {
    let (all, range) = (
        tally.shares().cells.whole_len(),
        tally.shares().cells.range(),
    );
    let n_probes = N_CELLS.min(all);
    let own = places(all).filter(|cell| range.contains(cell)).count();
    sharded_logits::declare(tally, own);
    tally.over_voxels(own);
    tally.over_voxels(own);
    tally.max_rows(own);
    tally.sum_over_cells(2 * n_probes);
}

impl<T: Number> Probe<T> {
    /// Takes the probe's cells that this rank has.
    pub(crate) fn new<C: CellChunks>(
        cells: &C,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let (n_cells, range) = (ranks.shares.cells.whole_len(), ranks.shares.cells.range());
        let n_probes = N_CELLS.min(n_cells);
        let all = places(n_cells);
        let first = all.clone().filter(|&cell| cell < range.start).count();
        let chosen: Vec<usize> = all
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
        let mut logits = AllGenes::new(layout);
        if ranks.is_exact() {
            logits = logits.exact(largest[0], 0, ranks);
        }
        Ok(Self {
            direction: zeros(tiles.len(products.n_genes())),
            rows: zeros(products.n_cells() * tiles.row_stride::<T>()),
            density: chosen.density(),
            products,
            logits,
            first,
            n_probes,
        })
    }

    /// Share of the probe's counts that are not zero.
    pub(crate) fn density(&self) -> f64 {
        self.density
    }

    /// Effect of a direction, (genes + 1, voxels).
    pub(crate) fn reach(
        &mut self,
        direction: ArrayView2<'_, f64>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Reach {
        self.changes(direction, ranks);
        let stride = self.products.tiles().row_stride::<T>();
        let (rows, n_voxels) = (&self.rows, ranks.shares.voxels.whole_len() as f64);
        let over_voxels = |of: &(dyn Fn(usize, &T) -> f64 + Sync)| {
            let blocks = ranks.voxel_blocks().into_iter().map(|voxels| {
                let rows = rows.par_chunks(stride).enumerate();
                rows.map(|(i, row)| row[voxels.clone()].iter().map(|x| of(i, x)).sum())
                    .collect()
            });
            ranks.over_voxels(blocks.collect())
        };
        let mut means = over_voxels(&|_, x| x.to_f64());
        means.iter_mut().for_each(|mean| *mean /= n_voxels);
        let squares = over_voxels(&|i, x| (x.to_f64() - means[i]).powi(2));
        let mut largest: Vec<f64> = rows
            .par_chunks(stride)
            .zip(&means)
            .map(|(row, mean)| {
                let row = row[..ranks.shares.voxels.len()].iter();
                row.fold(0.0f64, |m, x| m.max((x.to_f64() - mean).abs()))
            })
            .collect();
        ranks.grid.max_rows(&mut largest);
        // Each cell has its place, so that sums run over all cells in the same order for any number of ranks.
        let mut cells = vec![0.0; 2 * self.n_probes];
        for (i, (squares, largest)) in squares.into_iter().zip(largest).enumerate() {
            let cell = self.first + i;
            cells[2 * cell] = (squares / n_voxels).sqrt();
            cells[2 * cell + 1] = largest;
        }
        ranks.grid.sum_over_cells(&mut cells);
        let mean =
            |which: usize| cells.iter().skip(which).step_by(2).sum::<f64>() / self.n_probes as f64;
        Reach {
            spread: mean(0),
            largest: mean(1),
        }
    }

    /// How the logits of the probe's cells change: into `rows`.
    fn changes(&mut self, direction: ArrayView2<'_, f64>, ranks: Ranks<'_, impl Communicator>) {
        let tiles = self.products.tiles();
        let stride = tiles.row_stride::<T>();
        let rows = &mut self.rows;
        self.logits
            .take_weights(direction, &mut self.direction, ranks);
        let done = self.logits.for_each_block(
            &mut self.products,
            &self.direction,
            ranks,
            &mut |_, block, found| {
                rows[block.start * stride..block.end * stride].copy_from_slice(found);
                ControlFlow::Continue(())
            },
        );
        debug_assert!(done.is_continue(), "it never breaks");
    }
}
