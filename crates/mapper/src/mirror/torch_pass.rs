//! One pass of the factored solver on a device of libtorch.

use crate::engine::TorchEngine;
use crate::evaluate::largest_of_genes;
use crate::mirror::balance::{Balance, Pull};
use crate::mirror::pass::{OfRows, Pass, Rows};
use crate::mirror::polls::Polls;
use crate::mirror::probe::{Asked, Probe};
use crate::mirror::stage_cells::one_of_every;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::torch::clock::timed;
use crate::torch::memory::DeviceMemory;
use crate::torch::products::DeviceProducts;
use crate::torch::softmax::{Softmax, to_device, to_host};
use crate::{Keeper, MapError, MirrorSettings, Mode, PassPlan, Problem};
use ndarray::{Array2, ArrayView2};
use std::ops::ControlFlow;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::{CellChunks, SparseRows, Term};
use tch::{Kind, Tensor};

/// A matrix, (genes + 1, voxels), and the binary exponent of its common scale, as [`Rounding::round`] gives them.
type Scaled<'a> = (&'a Array2<f64>, i32);

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
    /// Weights of this rank's cells; none where all count 1.
    weights: Vec<f64>,
    /// t of the cells so far, where they are weighed.
    weighed: Option<Vec<f64>>,
    /// Cells of this pass that are done.
    n_done: usize,
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

impl<T: Number> DevicePass<T> {
    pub(crate) fn new(
        engine: &TorchEngine,
        (settings, mode): (&MirrorSettings, &Mode),
        rounding: Rounding,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let plan = PassPlan {
            filter: mode.filter().is_some(),
            ..PassPlan::of_device(true, settings.objective, 0, settings.precision)
        };
        let memory = DeviceMemory::agreed(engine, &plan, ranks)?;
        let size = (ranks.shares.genes.len(), ranks.shares.voxels.len());
        let (rows, threads) = (memory.cells_per_block, settings.threads);
        let products = DeviceProducts::new(engine, rounding, threads, rows, size)?;
        Ok(Self {
            memory,
            cells: Cells::Read,
            softmax: Softmax::of(settings.objective[Term::Entropy], ranks),
            logits: products.rows(rows)?,
            p: products.rows(rows)?,
            entropy: Tensor::f_zeros([1], (Kind::Double, engine.device.into()))?,
            weights: Vec::new(),
            weighed: None,
            n_done: 0,
            products,
        })
    }

    /// Takes all cells for the passes to come.
    pub(crate) fn hold_all(&mut self, cells: &impl CellChunks) -> Result<(), MapError> {
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
    /// what it finds of the rows.
    ///
    /// * `all`: all cells
    /// * `factors`, `common`: as [`Rounding::round`] gave them
    /// * `rows`, `slope`: how rows count; W likewise rounded, where cells are to be weighed
    pub(crate) fn predict(
        &mut self,
        all: &impl CellChunks,
        (factors, common): (&mut Array2<f64>, i32),
        (weights, slope): (Option<&[f64]>, Option<Scaled<'_>>),
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<OfRows, MapError> {
        self.products.take_weights(factors.view(), common, ranks)?;
        self.weighed = slope.map(|_| Vec::new());
        let slope = slope.map(|(slope, common)| (slope.view(), common));
        self.products.take_slope(slope, ranks)?;
        self.weights.clear();
        self.weights.extend_from_slice(weights.unwrap_or(&[]));
        self.n_done = 0;
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
                let read = all.for_each_chunk(0..all.n_cells(), &mut |_, chunk| {
                    if added.is_ok() {
                        added = self.bring(chunk, ranks);
                    }
                    Ok(ControlFlow::Continue(()))
                });
                read.map_err(|e| MapError::Cells(e.into()))?;
                added?;
            }
        }
        self.products.finish(factors, ranks)?;
        let own = self.entropy.double_value(&[0]);
        Ok(OfRows {
            entropy: ranks.over_cells(vec![own]),
            weighed: self.weighed.take(),
        })
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
        // The logits are no longer needed: their room takes the slopes.
        if let (Some(weighed), true) = (
            &mut self.weighed,
            self.products.slopes(expression, &logits, ranks)?,
        ) {
            let own = logits
                .f_mul(&p)?
                .f_sum_dim_intlist([-1].as_slice(), true, Kind::Double)?;
            weighed.extend(ranks.rows_over_voxels(vec![to_host(&own)?]));
        }
        let cells = self.n_done..self.n_done + n_rows as usize;
        self.n_done = cells.end;
        if !self.weights.is_empty() {
            let mut p = p.shallow_clone();
            let _ = p.f_mul_(&to_device(&self.weights[cells], &p)?)?;
        }
        self.products.accumulate(expression, &p)
    }
}

fn blocks(cells: &SparseRows, at_most: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let n_cells = cells.n_rows();
    (0..n_cells)
        .step_by(at_most)
        .map(move |first| first..n_cells.min(first + at_most))
}

/// The passes of the factored solver on a device: the cells in work lie there, or are brought.
pub(crate) struct TorchPass<'a, T, C, K> {
    problem: &'a Problem<C>,
    ranks: Ranks<'a, K>,
    seed: u64,
    rounding: Rounding,
    /// Of W.
    slope_rounding: Rounding,
    device: DevicePass<T>,
    probe: Probe<T>,
    /// Cells in work: of this rank, and of all.
    n_cells: [usize; 2],
}

impl<'a, T: Number, C: CellChunks, K: Communicator> TorchPass<'a, T, C, K> {
    pub(crate) fn new(
        engine: &TorchEngine,
        problem: &'a Problem<C>,
        settings: &MirrorSettings,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        ranks.refuse_exact()?;
        let asked = Asked::by(&settings.objective, settings.temperature.is_some());
        let largest = match Rounding::asks_for_largest(settings.precision) {
            true => {
                let mut largest = largest_of_genes(problem.cells())?;
                ranks.grid.max_over_cells(&mut largest);
                Some(largest)
            }
            false => None,
        };
        let rounding = Rounding::new(
            settings.precision,
            &settings.engine,
            false,
            largest.as_deref(),
        );
        let slope_rounding = Rounding::of_gradients(
            settings.precision,
            &settings.engine,
            false,
            largest.as_deref(),
        );
        Ok(Self {
            problem,
            ranks,
            seed: settings.seed,
            slope_rounding,
            probe: Probe::new(problem.cells(), asked, ranks)?,
            device: DevicePass::new(engine, (settings, problem.mode()), rounding.clone(), ranks)?,
            rounding,
            n_cells: [0; 2],
        })
    }
}

impl<T: Number, C: CellChunks, K: Communicator> Pass for TorchPass<'_, T, C, K> {
    fn take_cells(&mut self, every: usize) -> Result<usize, MapError> {
        let (cells, range) = (self.problem.cells(), self.ranks.shares.cells.range());
        let own = match every {
            1 => {
                self.device.hold_all(cells)?;
                range.len()
            }
            _ => {
                let chosen = one_of_every(every, self.seed, self.problem.n_cells(), range);
                let sample = cells.select(&chosen);
                self.device
                    .hold(sample.map_err(|e| MapError::Cells(e.into()))?)?;
                chosen.len()
            }
        };
        self.n_cells = [own, self.ranks.count_cells(own)];
        Ok(self.n_cells[1])
    }

    fn predict(
        &mut self,
        factors: &mut Array2<f64>,
        rows: Rows<'_>,
        keeper: &mut dyn Keeper,
    ) -> Result<Option<OfRows>, MapError> {
        let ranks = self.ranks;
        // A pass on a device is short: ranks ask each other only when it is over.
        let polls = Polls::new(keeper, self.n_cells, ranks);
        let common = self.rounding.round(factors, ranks);
        let cells = self.problem.cells();
        let slope = rows.slope.map(|slope| {
            let mut slope = slope.to_owned();
            let common = self.slope_rounding.round(&mut slope, ranks);
            (slope, common)
        });
        let slope = slope.as_ref().map(|(slope, common)| (slope, *common));
        let device = &mut self.device;
        let found =
            timed(|| device.predict(cells, (factors, common), (rows.weights, slope), ranks))?;
        Ok(polls.end(ranks).is_continue().then_some(found))
    }

    fn as_multiplied(&self, factors: Array2<f64>) -> Array2<f64> {
        self.rounding.as_multiplied(factors, self.ranks)
    }

    fn stand_at(&mut self, factors: ArrayView2<'_, f64>) {
        self.probe.stand_at(factors, self.ranks);
    }

    fn spread(&mut self, slope: ArrayView2<'_, f64>) -> f64 {
        self.probe.spread(slope, self.ranks)
    }

    fn balance(&mut self, pull: Pull<'_>) -> Balance {
        self.probe.balance(pull, self.ranks)
    }
}
