//! The training loop of Adam on free logits.

use crate::adam::AdamStep;
use crate::all_genes::AllGenes;
use crate::denormals::flush_denormals;
use crate::epochs::Epochs;
use crate::lanes::Real;
use crate::predicted::Predicted;
use crate::products::{Layout, Products};
use crate::ranks::Ranks;
use crate::snapshot::{Keeper, NoKeeper, Snapshot, keep};
use crate::state::{AdamState, Learned, Trained};
use crate::{AdamSettings, InitialLogits, MapError, Precision, Problem};
use ndarray::{Array2, Axis};
use rayon::{ThreadPool, ThreadPoolBuilder};
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::time::Instant;
use tangram_comm::{Communicator, Grid, GridShape, Reduce, Solo};
use tangram_core::{CellParts, Loss, Measured, Objective, SparseRows, Sums};

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
    let begin = AdamBegin::At(initial);
    train_adam_part(problem, settings, begin, &one_rank(), &mut NoKeeper, watch)
}

/// [`train_adam`] on one of several ranks, with its part of the problem; each gets the mapping of its cells and voxels.
///
/// `keeper` is asked after every epoch whether the state is to be kept.
///
/// # Errors
/// As [`train_adam`]; [`MapError::Keep`] and [`MapError::Stopped`] by the keeper, [`MapError::Snapshot`] if that to go on from is
/// of another training.
pub fn train_adam_part<C: CellParts>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    begin: AdamBegin<'_>,
    grid: &Grid<impl Communicator>,
    keeper: &mut dyn Keeper,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Trained, MapError> {
    settings.check()?;
    let pool = workers(settings.threads)?;
    pool.install(|| match settings.precision {
        Precision::F64 => {
            train::<f64, C>(problem, settings, &begin, grid, keeper, watch, Learned::F64)
        }
        _ => train::<f32, C>(problem, settings, &begin, grid, keeper, watch, Learned::F32),
    })
}

/// Where a training by Adam begins.
#[derive(Debug)]
pub enum AdamBegin<'a> {
    /// At these logits, of all cells and voxels.
    At(InitialLogits),
    /// Where another training was.
    Resume(&'a Snapshot),
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

/// A process alone.
pub(crate) fn one_rank() -> Grid<Solo> {
    Grid::new(Solo, GridShape::ONE, Reduce::Fast).expect("one rank")
}

fn train<T: Real, C: CellParts>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    begin: &AdamBegin<'_>,
    grid: &Grid<impl Communicator>,
    keeper: &mut dyn Keeper,
    watch: &mut (dyn FnMut(&Epoch) + Send),
    learned: impl Fn(AdamState<T>) -> Learned,
) -> Result<Trained, MapError> {
    let (n_cells, objective) = (problem.n_cells(), &settings.objective);
    let shares = problem.shares();
    let ranks = Ranks { grid, shares };
    let expression = problem.cells().whole().ok_or(MapError::NotInMemory)?;
    let measured = Measured::part(problem.voxels().transpose().to_dense(), &ranks);
    let mut history = match begin {
        AdamBegin::At(_) => Vec::new(),
        AdamBegin::Resume(snapshot) => snapshot.common()?,
    };
    let mut epochs = Epochs::<T>::new(settings, expression, begin, ranks)?;
    let before = history.last().map_or(0.0, |epoch: &Epoch| epoch.elapsed_s);
    let (start, mut stopped_early) = (Instant::now(), false);

    let mut entropy = epochs.predict(ranks)?;
    for epoch in history.len() + 1..=settings.epochs {
        let loss = evaluate(
            &measured,
            objective,
            problem.own_prior(),
            epochs.predicted(),
            n_cells,
            (objective.entropy != 0.0).then_some(entropy),
            ranks,
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
            before + start.elapsed().as_secs_f64(),
        ));
        watch(&history[epoch - 1]);
        entropy = epochs.step(epoch, settings, ranks)?;
        if plateau(&history, settings.tolerance) {
            stopped_early = epoch < settings.epochs;
            break;
        }
        if epoch < settings.epochs {
            keep(keeper, ranks, epoch, || {
                epochs.snapshot(Snapshot::new(epoch, &history))
            })?;
        }
    }
    Ok(Trained {
        learned: learned(epochs.into_state(ranks)?),
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
    prior: Option<&[f64]>,
    predicted: &mut Array2<f64>,
    n_cells: usize,
    entropy: Option<f64>,
    sums: impl Sums,
) -> Loss {
    let share = 1.0 / n_cells as f64;
    let n_genes = predicted.nrows() - 1;
    let (expression, mut density) = predicted.view_mut().split_at(Axis(0), n_genes);
    // Density of the share of cells, q; and back, from the slope by q to that by P.
    density *= share;
    let slope = density.as_slice_mut().expect("one row in standard layout");
    let loss = measured.evaluate_part(objective, prior, expression, slope, entropy, &sums);
    density *= share;
    loss
}

/// One pass over the logits: products, softmax and step by super-blocks of cells. Nothing in it grows with cells × voxels.
pub(crate) struct Pass<T> {
    /// Every block of this rank's cells, with its first cell.
    blocks: Vec<(usize, Products)>,
    layout: Layout,
    /// A with the density as its last gene, (genes + 1, voxels); after [`evaluate`] W, likewise.
    pub(crate) predicted: Array2<f64>,
    /// W, (genes + 1, voxels) in tiles.
    weights: Vec<T>,
    gradients: AllGenes<T>,
    sums: Predicted<T>,
    /// A super-block of P, where there is no gradient before it.
    rows: Vec<T>,
}

impl<T: Real> Pass<T> {
    /// A pass over this rank's cells, (cells, genes).
    pub(crate) fn new(
        cells: &SparseRows,
        precision: Precision,
        ranks: Ranks<'_, impl Communicator>,
    ) -> Self {
        let shares = ranks.shares;
        let n_genes = shares.genes.len() + 1;
        let mut density = [cells.density(), 1.0];
        ranks.grid.sum_of_all(&mut density);
        let density = match ranks.is_exact() {
            // A dense product's sums depend on how many cells and genes it gets.
            true => 0.0,
            false => density[0] / density[1],
        };
        let (n_voxels, most) = (shares.voxels.len(), ranks.most());
        let layout = Layout::shared::<T>(cells.n_rows(), n_voxels, most, density, precision);
        let (mut gradients, mut sums) = (AllGenes::new(layout), Predicted::new(layout, n_genes));
        if ranks.is_exact() {
            let mut by_gene = vec![0.0; cells.n_cols()];
            largest_of_genes(cells, &mut by_gene);
            let largest = ranks.largest(&mut by_gene);
            gradients = gradients.exact(largest, ranks);
            sums = sums.exact(&by_gene, ranks);
        }
        let genes = ranks.gene_parts();
        let cut = |block: Range<usize>| {
            let first = block.start;
            (first, Products::in_parts::<T>(cells, block, layout, &genes))
        };
        Self {
            blocks: shares.cells.blocks().into_iter().map(cut).collect(),
            predicted: Array2::zeros((n_genes, n_voxels)),
            weights: vec![T::default(); layout.tiles.len(n_genes)],
            gradients,
            sums,
            rows: vec![T::default(); layout.cells_per_block * layout.stride::<T>()],
            layout,
        }
    }

    /// Whether S is treated as dense.
    pub(crate) fn is_dense(&self) -> bool {
        self.layout.dense
    }

    /// A and q of the logits as they are; gives the entropy.
    pub(crate) fn predict(
        &mut self,
        state: &mut AdamState<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        self.sums.clear();
        let stride = self.layout.stride::<T>();
        for (first, products) in &mut self.blocks {
            for block in products.blocks() {
                let rows = &mut self.rows[..block.len() * stride];
                let cells = *first + block.start..*first + block.end;
                state.softmax(cells.clone(), stride, rows, ranks);
                products.take::<T>(&block);
                self.sums.add(products, block, rows, state.entropies(cells));
            }
            self.sums.end_block();
        }
        self.sums.finish(&mut self.predicted, ranks)
    }

    /// One step of Adam down the gradients left by [`evaluate`], then A and q of the new logits: one pass does both.
    /// Gives the entropy.
    pub(crate) fn step(
        &mut self,
        state: &mut AdamState<T>,
        step: AdamStep<T>,
        ranks: Ranks<'_, impl Communicator>,
    ) -> f64 {
        let weights = self.predicted.view();
        self.gradients
            .take_weights(weights, &mut self.weights, ranks);
        self.sums.clear();
        let (stride, sums) = (self.layout.stride::<T>(), &mut self.sums);
        for (first, products) in &mut self.blocks {
            let weights = &self.weights;
            let done = self.gradients.for_each_block(
                products,
                weights,
                ranks,
                &mut |products, block, rows| {
                    let cells = *first + block.start..*first + block.end;
                    state.step(cells.clone(), stride, rows, step, ranks);
                    sums.add(products, block, rows, state.entropies(cells));
                    // Logits change as they come: half a pass is no state to go on from.
                    ControlFlow::Continue(())
                },
            );
            debug_assert!(done.is_continue(), "it never breaks");
            sums.end_block();
        }
        self.sums.finish(&mut self.predicted, ranks)
    }
}

/// Raises `largest` to the largest entry of S for every gene.
pub(crate) fn largest_of_genes(cells: &SparseRows, largest: &mut [f64]) {
    for i in 0..cells.n_rows() {
        let (genes, values) = cells.row(i);
        for (&k, &x) in genes.iter().zip(values) {
            largest[k as usize] = largest[k as usize].max(x.into());
        }
    }
}
