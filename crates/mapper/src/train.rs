//! The training loop of Adam on free logits.

use crate::adam::AdamStep;
use crate::denormals::flush_denormals;
use crate::lanes::Real;
use crate::products::{Layout, Products};
use crate::state::{AdamState, Learned, Trained};
use crate::{AdamSettings, InitialLogits, MapError, Precision, Problem};
use ndarray::{Array2, Axis};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Instant;
use tangram_comm::{Communicator, Solo};
use tangram_core::{CellParts, DensityPrior, Loss, Measured, Objective, SparseRows};

/// One line of the training history: the loss terms before the step of this epoch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Epoch {
    /// Number of the epoch, from 1.
    pub epoch: usize,
    /// What is minimised.
    pub total: f64,
    /// Mean cosine similarity of the training genes over voxels.
    pub gene: f64,
    /// Mean cosine similarity of the voxels over genes, where λ_g2 is not 0.
    pub voxel: Option<f64>,
    /// Divergence from the density prior in nats, where λ_d is not 0.
    pub density: Option<f64>,
    /// Entropy of P summed over cells in nats, where λ_r is not 0.
    pub entropy: Option<f64>,
    /// Cells that took part: fewer than all in an early pass of the factored solver over a part of them.
    pub n_cells: usize,
    /// Step of the factored solver: how far the gradient by Z and b was followed.
    pub step: Option<f64>,
    /// Spread of the gradient over the voxels, mean over probe cells of its standard deviation (factored solver).
    pub spread: Option<f64>,
    /// Seconds since training began.
    pub elapsed_s: f64,
}

/// Epochs over which [`AdamSettings::tolerance`] looks for progress.
const PLATEAU: usize = 50;

/// Learns the mapping with Adam on free logits: the published package's own solver.
///
/// `watch` is called once per epoch.
///
/// # Errors
/// [`MapError`]: a setting out of range, logits that do not fit, a loss that is no number.
pub fn train_adam<C: CellParts>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    initial: InitialLogits,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Trained, MapError> {
    train_adam_shard(problem, settings, initial, &Solo, watch)
}

/// [`train_adam`] on one of several ranks: each keeps an equal share of consecutive cells, and gets the mapping of these.
///
/// # Errors
/// As [`train_adam`].
pub fn train_adam_shard<C: CellParts>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    initial: InitialLogits,
    comm: &impl Communicator,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Trained, MapError> {
    settings.check()?;
    let pool = workers(settings.threads)?;
    pool.install(|| match settings.precision {
        Precision::F64 => train::<f64, C>(problem, settings, &initial, comm, watch, Learned::F64),
        _ => train::<f32, C>(problem, settings, &initial, comm, watch, Learned::F32),
    })
}

/// The threads of a training.
pub(crate) fn workers(threads: usize) -> Result<ThreadPool, MapError> {
    let pool = ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| flush_denormals())
        .build();
    pool.map_err(|e| MapError::Threads {
        threads,
        cause: e.to_string(),
    })
}

/// The cells of a rank.
pub(crate) fn shard(n_cells: usize, comm: &impl Communicator) -> Range<usize> {
    n_cells * comm.rank() / comm.size()..n_cells * (comm.rank() + 1) / comm.size()
}

fn train<T: Real, C: CellParts>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    initial: &InitialLogits,
    comm: &impl Communicator,
    watch: &mut (dyn FnMut(&Epoch) + Send),
    keep: impl Fn(AdamState<T>) -> Learned,
) -> Result<Trained, MapError> {
    let (n_cells, n_voxels, objective) =
        (problem.n_cells(), problem.n_voxels(), &settings.objective);
    let cells = shard(n_cells, comm);
    let expression = problem.cells().whole().ok_or(MapError::NotInMemory)?;
    let logits = initial.rows::<T>(settings.seed, cells.clone(), n_cells, n_voxels)?;
    let measured = Measured::new(problem.voxels().transpose().to_dense());
    let mut state = AdamState::new(logits, n_voxels);
    let mut pass = Pass::<T>::new(expression, cells, n_voxels, settings.precision);
    let mut history: Vec<Epoch> = Vec::with_capacity(settings.epochs);
    let (start, mut stopped_early) = (Instant::now(), false);

    pass.predict(&mut state);
    for epoch in 1..=settings.epochs {
        comm.sum(pass.predicted.as_slice_mut().expect("standard layout"));
        comm.sum(&mut pass.entropy);
        let entropy = (objective.entropy != 0.0).then_some(pass.entropy[0]);
        let loss = evaluate(
            &measured,
            objective,
            problem.prior(),
            &mut pass.predicted,
            n_cells,
            entropy,
        );
        if !loss.total.is_finite() {
            return Err(MapError::Diverged {
                epoch,
                loss: loss.total,
            });
        }
        history.push(Epoch::new(
            epoch,
            &loss,
            n_cells,
            start.elapsed().as_secs_f64(),
        ));
        watch(&history[epoch - 1]);
        pass.step(
            &mut state,
            AdamStep::new(epoch, settings.learning_rate, objective.entropy),
        );
        if plateau(&history, settings.tolerance) {
            stopped_early = epoch < settings.epochs;
            break;
        }
    }
    Ok(Trained {
        learned: keep(state),
        history,
        stopped_early,
    })
}

/// Whether the last [`PLATEAU`] epochs brought less than `tolerance` of the loss.
fn plateau(history: &[Epoch], tolerance: f64) -> bool {
    if tolerance == 0.0 || history.len() <= PLATEAU {
        return false;
    }
    let best = |epochs: &[Epoch]| epochs.iter().map(|e| e.total).fold(f64::INFINITY, f64::min);
    let (before, last) = history.split_at(history.len() - PLATEAU);
    best(before) - best(last) < tolerance * best(before).abs()
}

impl Epoch {
    pub(crate) fn new(epoch: usize, loss: &Loss, n_cells: usize, elapsed_s: f64) -> Self {
        let Loss {
            total,
            gene,
            voxel,
            density,
            entropy,
        } = *loss;
        Self {
            epoch,
            total,
            gene: gene.unwrap_or(0.0),
            voxel,
            density,
            entropy,
            n_cells,
            step: None,
            spread: None,
            elapsed_s,
        }
    }
}

/// The loss of what is predicted, and its gradient in place of that.
///
/// * `predicted`: A, (genes + 1, voxels), whose last row is the sum of P over `n_cells` cells; on return W, and by the
///   last row the slope of the loss by every cell's probability, u_j / C
pub(crate) fn evaluate(
    measured: &Measured,
    objective: &Objective,
    prior: Option<&DensityPrior>,
    predicted: &mut Array2<f64>,
    n_cells: usize,
    entropy: Option<f64>,
) -> Loss {
    let share = 1.0 / n_cells as f64;
    let n_genes = predicted.nrows() - 1;
    let (expression, mut density) = predicted.view_mut().split_at(Axis(0), n_genes);
    // Density of the share of cells, q; and back, from the slope by q to that by P.
    density *= share;
    let slope = density.as_slice_mut().expect("one row in standard layout");
    let loss = measured.evaluate(objective, prior, expression, slope, entropy);
    density *= share;
    loss
}

/// One pass over the logits: products, softmax and step by super-blocks of cells. Nothing in it grows with cells × voxels.
struct Pass<T> {
    products: Products,
    /// A with the density as its last gene, (genes + 1, voxels); after [`evaluate`] W, likewise.
    predicted: Array2<f64>,
    /// Sum of the rows' entropies, one number.
    entropy: [f64; 1],
    /// W, (genes + 1, voxels) in tiles.
    weights: Vec<T>,
    /// A, likewise.
    sums: Vec<T>,
    /// A super-block of gradients, then of P.
    rows: Vec<T>,
}

impl<T: Real> Pass<T> {
    /// A pass over the cells of `range`, (cells, genes).
    fn new(cells: &SparseRows, range: Range<usize>, n_voxels: usize, precision: Precision) -> Self {
        let layout = Layout::new::<T>(range.len(), n_voxels, cells.density(), precision);
        let products = Products::new::<T>(cells, range, layout);
        let (tiles, n_genes) = (layout.tiles, products.n_genes());
        let zeros = |n: usize| vec![T::default(); n];
        Self {
            predicted: Array2::zeros((n_genes, n_voxels)),
            entropy: [0.0],
            weights: zeros(tiles.len(n_genes)),
            sums: zeros(tiles.len(n_genes)),
            rows: zeros(layout.cells_per_block * layout.stride::<T>()),
            products,
        }
    }

    /// A, q and entropy of the logits as they are.
    fn predict(&mut self, state: &mut AdamState<T>) {
        self.sums.fill(T::default());
        let stride = self.products.tiles().row_stride::<T>();
        for block in self.products.blocks() {
            let rows = &mut self.rows[..block.len() * stride];
            state.softmax(block.clone(), stride, rows);
            self.products.take::<T>(&block);
            self.products.accumulate(block, rows, &mut self.sums);
        }
        self.collect(state);
    }

    /// One step of Adam down the gradients left by [`evaluate`], then A, q and entropy of the new logits:
    /// one pass does both.
    fn step(&mut self, state: &mut AdamState<T>, step: AdamStep<T>) {
        let tiles = self.products.tiles();
        tiles.fill(self.predicted.view(), &mut self.weights);
        self.sums.fill(T::default());
        let stride = tiles.row_stride::<T>();
        for block in self.products.blocks() {
            let rows = &mut self.rows[..block.len() * stride];
            self.products.gradient(block.clone(), &self.weights, rows);
            state.step(block.clone(), stride, rows, step);
            self.products.accumulate(block, rows, &mut self.sums);
        }
        self.collect(state);
    }

    fn collect(&mut self, state: &AdamState<T>) {
        let tiles = self.products.tiles();
        tiles.copy_by_gene(&self.sums, self.predicted.view_mut());
        self.entropy[0] = state.norms.iter().map(|norm| norm.entropy.to_f64()).sum();
    }
}
