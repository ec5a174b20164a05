//! The training loop of Adam on free logits.

use crate::adam::begin::AdamBegin;
use crate::adam::engine::{self, open};
use crate::adam::row_weights::FilterStep;
use crate::adam::state::{AdamState, Learned, Trained};
use crate::cost::plan::PassPlan;
use crate::cost::tally::Tally;
use crate::evaluate::{self, evaluate, evaluate_by_mass, loss_function};
use crate::history::Epoch;
use crate::keep::{self, keep, keep_at_end};
use crate::number::Number;
use crate::ranks::Ranks;
use crate::snapshot::{Keeper, NoKeeper, Parts};
use crate::workers::{one_rank, workers};
use crate::{AdamSettings, InitialLogits, MapError, Precision, Problem};
use std::time::Instant;
use tangram_comm::{Communicator, Grid};
use tangram_core::{CellChunks, Neighbours, SparseRows, Term};

/// Epochs over which [`AdamSettings::tolerance`] looks for progress.
const PLATEAU: usize = 50;

/// Learns the mapping with Adam on free logits: the published package's own solver.
///
/// `watch` is called once per epoch.
///
/// # Errors
/// [`MapError`]: a setting out of range, logits that do not fit, a loss that is no number.
pub fn train_adam<C: CellChunks>(
    problem: &Problem<C>,
    settings: &AdamSettings,
    initial: InitialLogits,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Trained, MapError> {
    let begin = AdamBegin::At(initial);
    train_adam_shard(problem, settings, begin, &one_rank(), &mut NoKeeper, watch)
}

/// [`train_adam`] on one of several ranks, with its part of the problem; each gets the mapping of its cells and voxels.
///
/// `keeper` is asked after every epoch whether the state is to be kept.
///
/// # Errors
/// As [`train_adam`]; [`MapError::Keep`] and [`MapError::Stopped`] by the keeper, [`MapError::Snapshot`] if that to go on from is
/// of another training.
pub fn train_adam_shard<C: CellChunks>(
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

/// Declares what an epoch exchanges.
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan, neighbours: Option<&Neighbours>) {
    engine::declare(tally, plan);
    evaluate::declare(tally, plan, neighbours);
    if plan.filter {
        evaluate::declare_by_mass(tally);
    }
    keep::declare(tally);
}

fn train<T: Number, C: CellChunks>(
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
    let types = evaluate::types(problem, objective);
    let with_types = types.map(|types| beside(expression, types));
    let expression = with_types.as_ref().unwrap_or(expression);
    let loss_function = loss_function(problem, objective, ranks);
    let mut history = Vec::new();
    match begin {
        AdamBegin::At(_) => {}
        AdamBegin::Resume(snapshot) => snapshot.restore(&mut history, shares)?,
    }
    let cells = (expression, problem.mode());
    let mut pass = open::<T, _>(cells, settings, begin, ranks)?;
    let before = history.last().map_or(0.0, |epoch: &Epoch| epoch.elapsed_s);
    let start = Instant::now();

    let mut cells = pass.predict()?;
    while history.len() < settings.epochs && !plateau(&history, settings.tolerance) {
        let epoch = history.len() + 1;
        if objective[Term::Entropy] == 0.0 {
            cells.entropy = None;
        }
        let (loss, by_mass) = match problem.filter() {
            Some(_) => evaluate_by_mass(&loss_function, pass.predicted(), cells, ranks),
            None => (
                evaluate(&loss_function, pass.predicted(), cells, ranks),
                0.0,
            ),
        };
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
        cells = pass.step(FilterStep { by_mass, epoch })?;
        if epoch < settings.epochs && !plateau(&history, settings.tolerance) {
            keep(keeper, ranks, epoch, || {
                Ok(pass.save(Parts::default().with(&history))?.after(epoch))
            })?;
        }
    }
    let n_epochs = history.len();
    keep_at_end(keeper, ranks, n_epochs, || {
        Ok(pass.save(Parts::default().with(&history))?.after(n_epochs))
    })?;
    Ok(Trained {
        learned: learned(pass.into_state()?),
        history,
        stopped_early: n_epochs < settings.epochs,
    })
}

/// S with the cells' types as genes after its own: their predictions are how many cells of a type a voxel has.
fn beside(expression: &SparseRows, types: &SparseRows) -> SparseRows {
    let n_genes = expression.n_cols();
    let mut out = SparseRows::empty(n_genes + types.n_cols());
    out.reserve_exact(expression.n_rows(), expression.nnz() + types.nnz());
    for i in 0..expression.n_rows() {
        let (genes, values) = expression.row(i);
        let genes = genes.iter().copied().zip(values.iter().copied());
        let (places, shares) = types.row(i);
        let places = places.iter().map(|&t| n_genes as u32 + t);
        out.push_row(genes.chain(places.zip(shares.iter().copied())));
    }
    out
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
