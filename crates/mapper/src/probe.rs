//! A few cells that tell what a direction in (Z, b) does to logits.

use crate::lanes::Real;
use crate::products::{Layout, Products};
use crate::{MapError, Precision};
use ndarray::ArrayView2;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::CellParts;

/// Cells of a probe: enough that its means are good to some percent, few enough that a probe costs next to nothing.
const N_CELLS: usize = 128;

/// What a direction does to the logits of a cell, mean over the probe's cells.
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
    direction: Vec<T>,
    rows: Vec<T>,
}

impl<T: Real> Probe<T> {
    /// Takes the probe's cells that are in `range`, one rank's.
    pub(crate) fn new<C: CellParts>(
        cells: &C,
        range: &Range<usize>,
        n_voxels: usize,
    ) -> Result<Self, MapError> {
        let n_cells = cells.n_cells();
        let n_probes = N_CELLS.min(n_cells);
        let chosen: Vec<usize> = (0..n_probes)
            .map(|i| i * n_cells / n_probes)
            .filter(|cell| range.contains(cell))
            .collect();
        let chosen = cells
            .select(&chosen)
            .map_err(|e| MapError::Cells(e.into()))?;
        // A probe needs no 16-bit numbers: it is no work.
        let precision = if size_of::<T>() == 8 {
            Precision::F64
        } else {
            Precision::F32
        };
        let layout = Layout::new::<T>(chosen.n_rows(), n_voxels, 0.0, precision);
        let products = Products::for_logits::<T>(&chosen, layout);
        let tiles = layout.tiles;
        Ok(Self {
            direction: vec![T::default(); tiles.len(products.n_genes())],
            rows: vec![T::default(); products.n_cells() * tiles.row_stride::<T>()],
            density: chosen.density(),
            products,
        })
    }

    /// Share of the probe's counts that are not zero.
    pub(crate) fn density(&self) -> f64 {
        self.density
    }

    /// What a direction, (genes + 1, voxels), does.
    pub(crate) fn reach(
        &mut self,
        direction: ArrayView2<'_, f64>,
        comm: &impl Communicator,
    ) -> Reach {
        let tiles = self.products.tiles();
        let (stride, n_voxels) = (tiles.row_stride::<T>(), tiles.n_voxels);
        tiles.fill(direction, &mut self.direction);
        for block in self.products.blocks() {
            let rows = &mut self.rows[block.start * stride..block.end * stride];
            self.products.gradient(block, &self.direction, rows);
        }
        let cells: Vec<[f64; 2]> = self
            .rows
            .par_chunks(stride)
            .map(|row| {
                let mean =
                    row[..n_voxels].iter().map(|x| x.to_f64()).sum::<f64>() / n_voxels as f64;
                let (mut squares, mut largest) = (0.0, 0.0f64);
                for x in &row[..n_voxels] {
                    let apart = x.to_f64() - mean;
                    squares += apart * apart;
                    largest = largest.max(apart.abs());
                }
                [(squares / n_voxels as f64).sqrt(), largest]
            })
            .collect();
        let mut sums = [0.0, 0.0, cells.len() as f64];
        for [spread, largest] in cells {
            sums[0] += spread;
            sums[1] += largest;
        }
        comm.sum(&mut sums);
        let [spread, largest, n] = sums;
        Reach {
            spread: spread / n,
            largest: largest / n,
        }
    }
}
