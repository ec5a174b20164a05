//! One pass of the factored solver on a device of libtorch.

use crate::device_memory::DeviceMemory;
use crate::device_products::DeviceProducts;
use crate::device_softmax::Softmax;
use crate::engine::TorchEngine;
use crate::lanes::Real;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::{MapError, MirrorSettings, PassPlan};
use ndarray::Array2;
use std::ops::ControlFlow;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::{CellParts, SparseRows};
use tch::{Kind, Tensor};

/// The buffers of a pass, on the device. Nothing in it grows with cells × voxels.
pub(crate) struct DevicePass<T> {
    products: DeviceProducts<T>,
    memory: DeviceMemory,
    cells: Cells,
    softmax: Softmax,
    logits: Tensor,
    p: Tensor,
    /// Of the rows so far.
    entropy: Tensor,
}

/// The cells of the passes at a time.
enum Cells {
    /// On the device, block after block, (cells, genes).
    Kept(Vec<Tensor>),
    /// In the machine's memory, brought to the device at every pass.
    Brought(SparseRows),
    /// All, read at every pass.
    Read,
}

impl<T: Real> DevicePass<T> {
    pub(crate) fn new(
        engine: &TorchEngine,
        settings: &MirrorSettings,
        rounding: Rounding,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let plan = PassPlan::of_device(true, settings.objective, settings.precision);
        let memory = DeviceMemory::agreed(engine, &plan, ranks)?;
        let size = (ranks.shares.genes.len(), ranks.shares.voxels.len());
        let (rows, threads) = (memory.cells_per_block, settings.threads);
        let products = DeviceProducts::new(engine, rounding, threads, rows, size)?;
        Ok(Self {
            memory,
            cells: Cells::Read,
            softmax: Softmax::of(settings.objective.entropy, ranks),
            logits: products.rows(rows)?,
            p: products.rows(rows)?,
            entropy: Tensor::f_zeros([1], (Kind::Double, engine.device.into()))?,
            products,
        })
    }

    /// Takes all cells for the passes to come.
    pub(crate) fn hold_all(&mut self, cells: &impl CellParts) -> Result<(), MapError> {
        self.cells = match cells.whole() {
            Some(cells) if self.memory.resident => self.keep(cells)?,
            _ => Cells::Read,
        };
        Ok(())
    }

    /// Takes some cells.
    pub(crate) fn hold(&mut self, cells: SparseRows) -> Result<(), MapError> {
        self.cells = match self.memory.resident {
            true => self.keep(&cells)?,
            false => Cells::Brought(cells),
        };
        Ok(())
    }

    fn keep(&mut self, cells: &SparseRows) -> Result<Cells, MapError> {
        // Room for these is that of those before them.
        self.cells = Cells::Read;
        let blocks = blocks(cells, self.memory.cells_per_block);
        let kept = blocks.map(|block| self.products.expression(cells, block));
        kept.collect::<Result<_, _>>().map(Cells::Kept)
    }

    /// What the factors predict, in their place, (genes + 1, voxels): A, and the expected cells of every voxel as the last row. Gives
    /// the entropy, which is 0 where nobody asks for it.
    ///
    /// * `all`: all cells
    /// * `factors`, `common`: as [`Rounding::round`] gave them
    pub(crate) fn predict(
        &mut self,
        all: &impl CellParts,
        (factors, common): (&mut Array2<f64>, i32),
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<f64, MapError> {
        self.products.take_weights(factors.view(), common, ranks)?;
        self.products.clear()?;
        let _ = self.entropy.f_zero_()?;
        match std::mem::replace(&mut self.cells, Cells::Read) {
            Cells::Kept(kept) => {
                kept.iter().try_for_each(|block| self.add(block, ranks))?;
                self.cells = Cells::Kept(kept);
            }
            Cells::Brought(cells) => {
                self.bring(&cells, ranks)?;
                self.cells = Cells::Brought(cells);
            }
            Cells::Read => {
                let mut added = Ok(());
                let read = all.for_each_part(0..all.n_cells(), &mut |_, part| {
                    if added.is_ok() {
                        added = self.bring(part, ranks);
                    }
                    Ok(ControlFlow::Continue(()))
                });
                read.map_err(|e| MapError::Cells(e.into()))?;
                added?;
            }
        }
        self.products.finish(factors, ranks)?;
        let own = self.entropy.double_value(&[0]);
        Ok(ranks.over_cells(vec![own]))
    }

    /// Brings cells to the device, and adds what they predict.
    fn bring(
        &mut self,
        cells: &SparseRows,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        for block in blocks(cells, self.memory.cells_per_block) {
            let block = self.products.expression(cells, block)?;
            self.add(&block, ranks)?;
        }
        Ok(())
    }

    /// Adds what a block predicts.
    fn add(
        &mut self,
        expression: &Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let n_rows = expression.size()[0];
        let logits = self.logits.f_narrow(0, 0, n_rows)?;
        let p = self.p.f_narrow(0, 0, n_rows)?;
        self.products.logits(expression, &logits, ranks)?;
        self.products.hide_fillers(&logits)?;
        self.softmax.run(&logits, &p, &mut self.entropy, ranks)?;
        self.products.accumulate(expression, &p)
    }
}

fn blocks(cells: &SparseRows, at_most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let n_cells = cells.n_rows();
    (0..n_cells)
        .step_by(at_most)
        .map(move |first| first..n_cells.min(first + at_most))
}
