//! The training loop of Adam on free logits.

use crate::adam::AdamStep;
use crate::lanes::Real;
use crate::products::Products;
use crate::state::{AdamState, Learned, Trained};
use crate::{AdamSettings, InitialLogits, MapError, Precision, Problem};
use ndarray::Array2;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::time::Instant;
use tangram_comm::{Communicator, Solo};
use tangram_core::{Loss, Measured};

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
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
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
    let mut pass = Pass::<T>::new(problem.cells().rows(cells), n_voxels, settings.precision);
    let mut history: Vec<Epoch> = Vec::with_capacity(settings.epochs);
    let (start, mut stopped_early) = (Instant::now(), false);

    pass.predict(&mut state);
    for epoch in 1..=settings.epochs {
        let Predicted {
            expression,
            density,
            entropy,
        } = &mut pass.predicted;
        comm.sum(expression.as_slice_mut().expect("standard layout"));
        comm.sum(density);
        comm.sum(entropy);
        density.iter_mut().for_each(|q| *q /= n_cells as f64);
        let entropy = (objective.entropy != 0.0).then_some(entropy[0]);
        let loss = measured.evaluate(
            objective,
            problem.prior(),
            expression.view_mut(),
            density,
            entropy,
        );
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
            n_cells,
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

/// What the logits predict, and, after [`Measured::evaluate`], the gradients with respect to it.
struct Predicted {
    /// A, (genes, voxels); then W.
    expression: Array2<f64>,
    /// Sum of P over cells, (voxels); then q, then u.
    density: Vec<f64>,
    /// Sum of the rows' entropies, one number.
    entropy: Vec<f64>,
}

/// One pass over the logits: products, softmax and step by super-blocks of cells. Nothing in it grows with cells × voxels.
struct Pass<T> {
    products: Products,
    predicted: Predicted,
    /// W or A, (genes, voxels) in tiles.
    weights: Vec<T>,
    sums: Vec<T>,
    /// u/C, (voxels), padded.
    start: Vec<T>,
    /// A super-block of gradients, then of P.
    rows: Vec<T>,
}

impl<T: Real> Pass<T> {
    fn new(cells: tangram_core::SparseRows, n_voxels: usize, precision: Precision) -> Self {
        let n_genes = cells.n_cols();
        let products = Products::new::<T>(cells, n_voxels, precision);
        let tiles = products.tiles();
        let zeros = |n: usize| vec![T::default(); n];
        Self {
            predicted: Predicted {
                expression: Array2::zeros((n_genes, n_voxels)),
                density: vec![0.0; n_voxels],
                entropy: vec![0.0],
            },
            weights: zeros(tiles.len(n_genes)),
            sums: zeros(tiles.len(n_genes)),
            start: zeros(tiles.padded()),
            rows: zeros(products.cells_per_block() * tiles.row_stride::<T>()),
            products,
        }
    }

    /// A, q and entropy of the logits as they are.
    fn predict(&mut self, state: &mut AdamState<T>) {
        self.sums.fill(T::default());
        let mut density = vec![0.0; self.start.len()];
        let stride = self.products.tiles().row_stride::<T>();
        for block in self.products.blocks() {
            let rows = &mut self.rows[..block.len() * stride];
            state.softmax(block.clone(), stride, rows);
            self.products.take::<T>(&block);
            self.products
                .accumulate(block, rows, &mut self.sums, &mut density);
        }
        self.collect(state, &density);
    }

    /// One step of Adam down the gradients left in `predicted`, then A, q and entropy of the new logits: one pass does both.
    fn step(&mut self, state: &mut AdamState<T>, n_cells: usize, step: AdamStep<T>) {
        let tiles = self.products.tiles();
        tiles.fill(&self.predicted.expression, &mut self.weights);
        let slopes = self
            .predicted
            .density
            .iter()
            .map(|u| T::from_f64(u / n_cells as f64));
        self.start
            .iter_mut()
            .zip(slopes)
            .for_each(|(to, u)| *to = u);
        self.sums.fill(T::default());
        let mut density = vec![0.0; self.start.len()];
        let stride = tiles.row_stride::<T>();
        for block in self.products.blocks() {
            let rows = &mut self.rows[..block.len() * stride];
            self.products
                .gradient(block.clone(), &self.weights, &self.start, rows);
            state.step(block.clone(), stride, rows, step);
            self.products
                .accumulate(block, rows, &mut self.sums, &mut density);
        }
        self.collect(state, &density);
    }

    fn collect(&mut self, state: &AdamState<T>, density: &[f64]) {
        let n_voxels = self.predicted.density.len();
        self.products
            .tiles()
            .to_genes(&self.sums, self.predicted.expression.view_mut());
        self.predicted.density.copy_from_slice(&density[..n_voxels]);
        self.predicted.entropy[0] = state.norms.iter().map(|norm| norm.entropy.to_f64()).sum();
    }
}
