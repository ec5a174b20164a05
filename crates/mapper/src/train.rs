//! The training loop of Adam on free logits.

use crate::adam::AdamStep;
use crate::denormals::flush_denormals;
use crate::lanes::Real;
use crate::products::Products;
use crate::state::{AdamState, Learned, Trained};
use crate::{AdamSettings, InitialLogits, MapError, Precision, Problem};
use ndarray::{Array2, Axis};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Instant;
use tangram_comm::{Communicator, Solo};
use tangram_core::{DensityPrior, Loss, Measured, Objective, SparseRows};

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
pub fn train_adam(
    problem: &Problem,
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
pub fn train_adam_shard(
    problem: &Problem,
    settings: &AdamSettings,
    initial: InitialLogits,
    comm: &impl Communicator,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Trained, MapError> {
    settings.check()?;
    let threads = settings.threads;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .start_handler(|_| flush_denormals())
        .build();
    let pool = pool.map_err(|e| MapError::Threads {
        threads,
        cause: e.to_string(),
    })?;
    pool.install(|| match settings.precision {
        Precision::F64 => train::<f64>(problem, settings, &initial, comm, watch, Learned::F64),
        _ => train::<f32>(problem, settings, &initial, comm, watch, Learned::F32),
    })
}

/// The cells of a rank.
fn shard(n_cells: usize, comm: &impl Communicator) -> Range<usize> {
    n_cells * comm.rank() / comm.size()..n_cells * (comm.rank() + 1) / comm.size()
}

fn train<T: Real>(
    problem: &Problem,
    settings: &AdamSettings,
    initial: &InitialLogits,
    comm: &impl Communicator,
    watch: &mut (dyn FnMut(&Epoch) + Send),
    keep: impl Fn(AdamState<T>) -> Learned,
) -> Result<Trained, MapError> {
    let (n_cells, n_voxels, objective) =
        (problem.n_cells(), problem.n_voxels(), &settings.objective);
    let cells = shard(n_cells, comm);
    let logits = initial.rows::<T>(settings.seed, cells.clone(), n_cells, n_voxels)?;
    let measured = Measured::new(problem.voxels().transpose().to_dense());
    let mut state = AdamState::new(logits, n_voxels);
    let mut pass = Pass::<T>::new(problem.cells(), cells, n_voxels, settings.precision);
    let mut history: Vec<Epoch> = Vec::with_capacity(settings.epochs);
    let (start, mut stopped_early) = (Instant::now(), false);

    pass.predict(&mut state);
    for epoch in 1..=settings.epochs {
        comm.sum(pass.predicted.as_slice_mut().expect("standard layout"));
        comm.sum(&mut pass.entropy);
        let entropy = (objective.entropy != 0.0).then_some(pass.entropy[0]);
        let loss = pass.evaluate(&measured, objective, problem.prior(), entropy);
        if !loss.total.is_finite() {
            return Err(MapError::Diverged {
                epoch,
                loss: loss.total,
            });
        }
        history.push(Epoch::new(epoch, &loss, start.elapsed().as_secs_f64()));
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
    fn new(epoch: usize, loss: &Loss, elapsed_s: f64) -> Self {
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
            elapsed_s,
        }
    }
}

/// One pass over the logits: products, softmax and step by super-blocks of cells. Nothing in it grows with cells × voxels.
struct Pass<T> {
    products: Products,
    /// Cells of all ranks.
    n_cells: usize,
    /// A with the density as its last gene, (genes + 1, voxels); after [`evaluate`](Self::evaluate) W, likewise.
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
        let n_cells = cells.n_rows();
        let products = Products::new::<T>(cells, range, n_voxels, precision);
        let (tiles, n_genes) = (products.tiles(), products.n_genes());
        let zeros = |n: usize| vec![T::default(); n];
        Self {
            n_cells,
            predicted: Array2::zeros((n_genes, n_voxels)),
            entropy: [0.0],
            weights: zeros(tiles.len(n_genes)),
            sums: zeros(tiles.len(n_genes)),
            rows: zeros(products.cells_per_block() * tiles.row_stride::<T>()),
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

    /// The loss of what is predicted, and its gradient in place of that.
    fn evaluate(
        &mut self,
        measured: &Measured,
        objective: &Objective,
        prior: Option<&DensityPrior>,
        entropy: Option<f64>,
    ) -> Loss {
        let share = 1.0 / self.n_cells as f64;
        let (expression, mut density) = self
            .predicted
            .view_mut()
            .split_at(Axis(0), self.products.n_genes() - 1);
        // Density of the share of cells, q; and back, from the slope by q to that by P.
        density *= share;
        let slope = density.as_slice_mut().expect("one row in standard layout");
        let loss = measured.evaluate(objective, prior, expression, slope, entropy);
        density *= share;
        loss
    }

    /// One step of Adam down the gradients left by [`evaluate`](Self::evaluate), then A, q and entropy of the new logits:
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
