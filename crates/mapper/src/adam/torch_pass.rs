//! Adam on free logits on a device of libtorch: the same one pass per epoch, a block of cells after the other.

use crate::adam::begin::AdamBegin;
use crate::adam::logit_sums;
use crate::adam::pass::Pass;
use crate::adam::row_weights::{FilterStep, RowWeights};
use crate::adam::state::AdamState;
use crate::cpu::adam_row::{BETA_1, BETA_2, EPSILON};
use crate::engine::TorchEngine;
use crate::evaluate::largest_of_genes;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::snapshot::Parts;
use crate::torch::clock::timed;
use crate::torch::fused_adam::{FusedAdam, Stepped};
use crate::torch::memory::DeviceMemory;
use crate::torch::products::DeviceProducts;
use crate::torch::softmax::{Softmax, to_device, to_host};
use crate::{AdamSettings, MapError, Mode, PassPlan};
use ndarray::Array2;
use std::ops::Range;
use tangram_comm::Communicator;
use tangram_core::{OfCells, SparseRows, Term};
use tch::{Kind, Tensor};

/// Logits and both moments on the device, and the buffers of a block in work.
pub(crate) struct DeviceAdam<'a, T> {
    cells: &'a SparseRows,
    products: DeviceProducts<T>,
    softmax: Softmax,
    entropy_weight: f64,
    /// λ_l1 and λ_l2.
    size_weights: [f64; 2],
    adam: FusedAdam,
    blocks: Vec<Block>,
    gradient: Tensor,
    p: Tensor,
    by_logits: Tensor,
    /// Number of the step, for libtorch.
    step: Tensor,
    /// Of the rows so far.
    entropy: Tensor,
    /// What this rank's rows count.
    weights: RowWeights,
    /// A with the types and the density as its last genes, (genes + types + 1, voxels), and after it W.
    pub(crate) predicted: Array2<f64>,
}

/// Consecutive cells; matrices are (cells, voxels).
struct Block {
    cells: Range<usize>,
    /// S, where it stays on the device.
    expression: Option<Tensor>,
    logits: Tensor,
    first_moment: Tensor,
    second_moment: Tensor,
    /// Logarithms of the rows' norms, where the voxels of a row are on several ranks.
    norms: Option<Tensor>,
}

impl<'a, T: Number> DeviceAdam<'a, T> {
    pub(crate) fn new(
        engine: &TorchEngine,
        settings: &AdamSettings,
        rounding: Rounding,
        (cells, mode): (&'a SparseRows, &Mode),
        begin: &AdamBegin<'_>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Self, MapError> {
        let shares = ranks.shares;
        let n_types = cells.n_cols() - shares.genes.len();
        let plan = PassPlan::of_device(false, settings.objective, n_types, settings.precision);
        let mut weights = RowWeights::begin(mode, settings, shares);
        let memory = DeviceMemory::agreed(engine, &plan, ranks)?;
        let (n_genes, n_voxels) = (cells.n_cols(), shares.voxels.len());
        let mut products = DeviceProducts::<T>::new(
            engine,
            rounding,
            settings.threads,
            memory.cells_per_block,
            (n_genes, n_voxels),
        )?;
        let resumed = match begin {
            AdamBegin::At(initial) => {
                initial.check(shares)?;
                None
            }
            AdamBegin::Resume(snapshot) => {
                let mut state = AdamState::<T>::resumed(snapshot, weights, shares)?;
                weights = std::mem::take(&mut state.weights);
                Some(state)
            }
        };
        let mut blocks = Vec::new();
        for first in (0..cells.n_rows()).step_by(memory.cells_per_block) {
            let own = first..cells.n_rows().min(first + memory.cells_per_block);
            let rows = own.start * n_voxels..own.end * n_voxels;
            let (logits, moments) = match (begin, &resumed) {
                (AdamBegin::At(initial), _) => {
                    let logits = initial.rows::<T>(settings.seed, shares, own.clone());
                    let zeros = || products.rows(own.len());
                    let moments = [zeros()?, zeros()?];
                    (products.bring_logits(&logits)?, moments)
                }
                (AdamBegin::Resume(_), state) => {
                    let state = state.as_ref().expect("read above");
                    let [logits, first, second] = state.matrices().map(|m| &m[rows.clone()]);
                    let moments = [products.bring(first, 0.0)?, products.bring(second, 0.0)?];
                    (products.bring_logits(logits)?, moments)
                }
            };
            let [first_moment, second_moment] = moments;
            blocks.push(Block {
                expression: match memory.resident {
                    true => Some(products.expression(cells, own.clone())?),
                    false => None,
                },
                cells: own,
                logits,
                first_moment,
                second_moment,
                norms: None,
            });
        }
        let rows = || products.rows(memory.cells_per_block);
        let device = engine.device.into();
        Ok(Self {
            cells,
            softmax: Softmax::of(settings.objective[Term::Entropy], ranks),
            entropy_weight: settings.objective[Term::Entropy],
            size_weights: [Term::L1, Term::L2].map(|term| settings.objective[term]),
            adam: FusedAdam {
                learning_rate: settings.learning_rate,
                beta_1: BETA_1,
                beta_2: BETA_2,
                epsilon: EPSILON,
            },
            blocks,
            gradient: rows()?,
            p: rows()?,
            by_logits: rows()?,
            step: Tensor::f_zeros([1], (Kind::Float, device))?,
            entropy: Tensor::f_zeros([1], (Kind::Double, device))?,
            weights,
            predicted: Array2::zeros((n_genes + 1, n_voxels)),
            products,
        })
    }

    /// A and q of the logits as they are; gives what is summed over the cells.
    pub(crate) fn predict(
        &mut self,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<OfCells, MapError> {
        self.clear()?;
        for b in 0..self.blocks.len() {
            let expression = self.expression(b)?;
            self.add(b, &expression, ranks)?;
        }
        self.finish(ranks)
    }

    /// Step down the gradients in `predicted`, then A and q of the new logits. Gives what is summed over the cells.
    ///
    /// * `common`: the exponent of the gradients' common scale, as [`Rounding::round`] gave it
    pub(crate) fn step(
        &mut self,
        step: FilterStep,
        common: i32,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<OfCells, MapError> {
        let weights = self.predicted.view();
        self.products.take_weights(weights, common, ranks)?;
        self.clear()?;
        let _ = self.step.f_fill_(step.epoch as f64)?;
        for b in 0..self.blocks.len() {
            let expression = self.expression(b)?;
            let by_logits = self.gradient(b, &expression, step, ranks)?;
            self.add_sizes(b, &by_logits)?;
            let block = &self.blocks[b];
            self.adam.step(&Stepped {
                values: &block.logits,
                gradient: &by_logits,
                first_moment: &block.first_moment,
                second_moment: &block.second_moment,
                step: &self.step,
            })?;
            self.add(b, &expression, ranks)?;
        }
        self.finish(ranks)
    }

    /// Logits and moments as the native kernels have them, with nothing known of the rows.
    pub(crate) fn state(&mut self) -> Result<AdamState<T>, MapError> {
        let n_voxels = self.predicted.ncols();
        let mut matrices = [0, 1, 2].map(|_| vec![T::default(); self.cells.n_rows() * n_voxels]);
        for block in &self.blocks {
            let rows = block.cells.start * n_voxels..block.cells.end * n_voxels;
            let from = [&block.logits, &block.first_moment, &block.second_moment];
            for (to, from) in matrices.iter_mut().zip(from) {
                self.products.fetch(from, &mut to[rows.clone()])?;
            }
        }
        Ok(AdamState::of_matrices(
            matrices,
            n_voxels,
            self.weights.clone(),
        ))
    }

    fn clear(&mut self) -> Result<(), MapError> {
        let _ = self.entropy.f_zero_()?;
        self.products.clear()
    }

    /// S of a block.
    fn expression(&mut self, b: usize) -> Result<Tensor, MapError> {
        let block = &self.blocks[b];
        match &block.expression {
            Some(expression) => Ok(expression.shallow_clone()),
            None => self.products.expression(self.cells, block.cells.clone()),
        }
    }

    /// The gradient by a block's logits: `P_ij (g_ij − Σ_l P_il g_il)`, `g_ij = r_i (S_i·W_j + u_j) − λ_r (ln P_ij + 1)`. Where there is a
    /// filter it has made its step on return.
    fn gradient(
        &mut self,
        b: usize,
        expression: &Tensor,
        step: FilterStep,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Tensor, MapError> {
        let block = &self.blocks[b];
        let n_rows = block.cells.len() as i64;
        let [mut g, p, by_logits] =
            [&self.gradient, &self.p, &self.by_logits].map(|t| t.narrow(0, 0, n_rows));
        self.products.logits(expression, &g, ranks)?;
        let logs = match (&block.norms, self.softmax) {
            (Some(norms), _) => Some(block.logits.f_sub(norms)?),
            (None, Softmax::Plain) => None,
            (None, _) => Some(block.logits.f_log_softmax(-1, None)?),
        };
        let _ = match &logs {
            Some(logs) => logs.f_exp_out(&p)?,
            None => block.logits.f_softmax_int_out(&p, -1, None)?,
        };
        self.weigh(b, &mut g, &p, step, ranks)?;
        let block = &self.blocks[b];
        if let (Some(logs), true) = (&logs, self.entropy_weight != 0.0) {
            // The 1 of ln P + 1 is the same for all voxels of a row, and falls out with the row's mean.
            let _ = g.f_sub_(&logs.f_mul_scalar(self.entropy_weight)?)?;
        }
        if block.norms.is_none() {
            let _ = Tensor::f_internal_softmax_backward_data_out(&by_logits, &g, &p, -1, T::KIND)?;
            return Ok(by_logits);
        }
        let own = g
            .f_mul(&p)?
            .f_sum_dim_intlist([-1].as_slice(), true, Kind::Double)?;
        let means = ranks.rows_over_voxels(vec![to_host(&own)?]);
        let _ = g.f_sub_(&to_device(&means, &g)?)?;
        Ok(g.f_mul_out(&by_logits, &p)?)
    }

    /// This rank's logits of a block, without what only fills up its rows.
    fn own_logits(&self, b: usize) -> Result<Tensor, MapError> {
        let n_voxels = self.predicted.ncols() as i64;
        Ok(self.blocks[b].logits.f_narrow(1, 0, n_voxels)?)
    }

    /// Adds `λ_l1 sign M̃_ij + 2 λ_l2 M̃_ij` to the gradient by a block's logits.
    fn add_sizes(&self, b: usize, by_logits: &Tensor) -> Result<(), MapError> {
        let [l1, l2] = self.size_weights;
        let logits = self.own_logits(b)?;
        let mut own = by_logits.f_narrow(1, 0, self.predicted.ncols() as i64)?;
        if l1 != 0.0 {
            let _ = own.f_add_(&logits.f_sign()?.f_mul_scalar(l1)?)?;
        }
        if l2 != 0.0 {
            let _ = own.f_add_(&logits.f_mul_scalar(2.0 * l2)?)?;
        }
        Ok(())
    }

    /// Σ |M̃_ij| and Σ M̃_ij² of all ranks, where a term asks for one of them.
    fn logit_sums(
        &self,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<Option<[f64; 2]>, MapError> {
        if self.size_weights == [0.0; 2] {
            return Ok(None);
        }
        let mut sums = vec![0.0; 2];
        for b in 0..self.blocks.len() {
            let logits = self.own_logits(b)?;
            for (sum, sizes) in sums.iter_mut().zip([logits.f_abs()?, logits.f_square()?]) {
                *sum += sizes.f_sum(Kind::Double)?.double_value(&[]);
            }
        }
        // Exact sums are refused: blocks of cells are of no concern.
        Ok(Some(logit_sums::of_all(vec![sums], ranks)))
    }

    /// Multiplies the gradients of a block's rows by their weights; moves the filter by what it learns from them.
    fn weigh(
        &mut self,
        b: usize,
        g: &mut Tensor,
        p: &Tensor,
        step: FilterStep,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let cells = self.blocks[b].cells.clone();
        let Some(weights) = self.weights.of(cells.clone()).map(<[f64]>::to_vec) else {
            return Ok(());
        };
        if self.weights.filter().is_some() {
            let own = g
                .f_mul(p)?
                .f_sum_dim_intlist([-1].as_slice(), true, Kind::Double)?;
            let weighed = ranks.rows_over_voxels(vec![to_host(&own)?]);
            self.weights.learn(cells, &weighed, step);
        }
        let _ = g.f_mul_(&to_device(&weights, g)?)?;
        Ok(())
    }

    /// Adds what a block predicts.
    fn add(
        &mut self,
        b: usize,
        expression: &Tensor,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Result<(), MapError> {
        let block = &mut self.blocks[b];
        let p = self.p.f_narrow(0, 0, block.cells.len() as i64)?;
        block.norms = self
            .softmax
            .run(&block.logits, &p, &mut self.entropy, ranks)?;
        if let Some(weights) = self.weights.of(block.cells.clone()) {
            let mut p = p.shallow_clone();
            let _ = p.f_mul_(&to_device(weights, &p)?)?;
        }
        self.products.accumulate(expression, &p)
    }

    fn finish(&mut self, ranks: Ranks<'_, impl Communicator>) -> Result<OfCells, MapError> {
        self.products.finish(&mut self.predicted, ranks)?;
        let own = self.entropy.double_value(&[0]);
        let entropy = ranks.over_cells(vec![own]);
        let cells = self.weights.sums(entropy, ranks);
        let logits = self.logit_sums(ranks)?;
        Ok(OfCells { logits, ..cells })
    }
}

/// The passes of Adam on a device.
pub(crate) struct TorchPass<'a, T, K> {
    rounding: Rounding,
    device: DeviceAdam<'a, T>,
    ranks: Ranks<'a, K>,
}

impl<'a, T: Number, K: Communicator> TorchPass<'a, T, K> {
    pub(crate) fn new(
        engine: &TorchEngine,
        cells: (&'a SparseRows, &Mode),
        settings: &AdamSettings,
        begin: &AdamBegin<'_>,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        ranks.refuse_exact()?;
        let precision = settings.precision;
        let largest = match Rounding::asks_for_largest(precision) {
            true => {
                let mut largest = largest_of_genes(cells.0)?;
                ranks.grid.max_over_cells(&mut largest);
                Some(largest)
            }
            false => None,
        };
        let rounding =
            Rounding::of_gradients(precision, &settings.engine, false, largest.as_deref());
        let device = DeviceAdam::new(engine, settings, rounding.clone(), cells, begin, ranks)?;
        Ok(Self {
            rounding,
            device,
            ranks,
        })
    }
}

impl<T: Number, K: Communicator> Pass<T> for TorchPass<'_, T, K> {
    fn predict(&mut self) -> Result<OfCells, MapError> {
        self.device.predict(self.ranks)
    }

    fn predicted(&mut self) -> &mut Array2<f64> {
        &mut self.device.predicted
    }

    fn step(&mut self, step: FilterStep) -> Result<OfCells, MapError> {
        let common = self.rounding.round(&mut self.device.predicted, self.ranks);
        timed(|| self.device.step(step, common, self.ranks))
    }

    fn save(&mut self, parts: Parts) -> Result<Parts, MapError> {
        Ok(parts.with(&self.device.state()?))
    }

    fn into_state(mut self: Box<Self>) -> Result<AdamState<T>, MapError> {
        let mut state = self.device.state()?;
        state.take_norms(self.ranks);
        Ok(state)
    }
}
