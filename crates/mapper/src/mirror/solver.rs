//! The factored solver: mirror descent on the rows of P, whose logits always are S Zᵀ + 1 bᵀ.
//!
//! The loss sees P through A = Pᵀ S and the density q alone, so its gradient by P is `S_i·W_j + u_j / C` with `W = ∂L/∂A`
//! and `u = ∂L/∂q`. Mirror descent on each row's simplex subtracts a step of that from the logits: `Z ← Z − η W`, `b ← b − η u / C`.
//! Nothing that grows with cells × voxels exists outside the super-block in work, and there is no random start.

use crate::cost::plan::PassPlan;
use crate::cost::tally::Tally;
use crate::cpu::weighed_rows;
use crate::evaluate::{self, evaluate, loss_function};
use crate::history::Epoch;
use crate::keep::{self, keep, keep_and_stop, keep_at_end};
use crate::mirror::balance::Pull;
use crate::mirror::engine::{self, open};
use crate::mirror::factors::Factors;
use crate::mirror::filter::{self, LearnedFilter};
use crate::mirror::iterates::Iterates;
use crate::mirror::pace::Pace;
use crate::mirror::pass::{Pass, Rows};
use crate::mirror::probe::{self, Asked};
use crate::mirror::stage::{self, Stage};
use crate::ranks::Ranks;
use crate::snapshot::{Keeper, NoKeeper, Parts, Snapshot};
use crate::workers::{one_rank, workers};
use crate::{MapError, MirrorSettings, Precision, Problem};
use ndarray::{Array2, ArrayView1, Zip, s};
use std::ops::Range;
use std::time::Instant;
use tangram_comm::{Communicator, Grid};
use tangram_core::{CellChunks, LossFunction, Neighbours, OfCells, Sums, Term};

/// Lower bound on q/d in the density's gradient, so that empty voxels do not dominate the step.
const LEAST_SHARE: f64 = 0.02;
/// A sample of fewer cells than this for every voxel tells too little of the whole.
const LEAST_CELLS: usize = 4;
/// Least tolerance of the passes over a sample.
const SAMPLE_TOLERANCE: f64 = 5e-3;
/// A loss above the best by this share of it, or of the whole descent so far, has run away.
const RUN_AWAY: f64 = 0.1;
/// A loss above the best by less than this share of it is the same.
const ROUNDING: f64 = 1e-6;
/// After this many passes without a new best the solver goes back to the best.
const PATIENCE: usize = 20;
/// A prior weight of 0 counts as this share of the mean when logits begin at its logarithm.
const LEAST_PRIOR: f64 = 1e-6;

/// What the factored solver has learned.
#[derive(Debug, Clone)]
pub struct Mirrored {
    factors: Factors,
    filter: Option<Vec<f64>>,
    history: Vec<Epoch>,
    chosen: usize,
    stopped_early: bool,
}

impl Mirrored {
    /// Z and b.
    #[must_use]
    pub fn factors(&self) -> &Factors {
        &self.factors
    }

    /// f of all cells, where a filter was learned.
    #[must_use]
    pub fn filter(&self) -> Option<&[f64]> {
        self.filter.as_deref()
    }

    /// The loss terms of every pass, each of the factors before its step.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        &self.history
    }

    /// The pass whose factors these are: that of the least loss, or with a temperature the last.
    #[must_use]
    pub fn chosen(&self) -> &Epoch {
        &self.history[self.chosen]
    }

    /// Whether loss and densities converged before the last pass.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        self.stopped_early
    }
}

/// Learns the mapping by mirror descent, without a cells × voxels state.
///
/// `start`: factors to begin from; without, Z = 0 and b = log d. `watch` is called once per pass.
///
/// # Errors
/// [`MapError`]: a setting out of range, cells that cannot be read, a loss that is no number at the start.
pub fn train_mirror<C: CellChunks>(
    problem: &Problem<C>,
    settings: &MirrorSettings,
    start: Option<&Factors>,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Mirrored, MapError> {
    let begin = Begin::At(start);
    train_mirror_shard(problem, settings, begin, &one_rank(), &mut NoKeeper, watch)
}

/// Where a training begins.
#[derive(Debug, Clone, Copy)]
pub enum Begin<'a> {
    /// At these factors, of this rank's voxels and genes; without, at Z = 0 and b = log d.
    At(Option<&'a Factors>),
    /// At these factors, of this rank's voxels and genes, which are near where it will end: the first steps are short.
    Near(&'a Factors),
    /// Where another training was.
    Resume(&'a Snapshot),
}

/// [`train_mirror`] on one of several ranks, with its part of the problem; each gets the factors of its voxels and genes.
///
/// `keeper` is asked after every pass whether the state is to be kept, and within it whether to stop; a pass that is given up leaves
/// the state before it.
///
/// # Errors
/// As [`train_mirror`]; [`MapError::Keep`] and [`MapError::Stopped`] by the keeper, [`MapError::Snapshot`] if that to go on from is
/// of another training.
pub fn train_mirror_shard<C: CellChunks>(
    problem: &Problem<C>,
    settings: &MirrorSettings,
    begin: Begin<'_>,
    grid: &Grid<impl Communicator>,
    keeper: &mut dyn Keeper,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Mirrored, MapError> {
    settings.check()?;
    settings.check_mode(problem.mode())?;
    let pool = workers(settings.threads)?;
    let ranks = Ranks {
        grid,
        shares: problem.shares(),
    };
    pool.install(|| {
        let pass = match settings.precision {
            Precision::F64 => open::<f64, _, _>(problem, settings, ranks)?,
            _ => open::<f32, _, _>(problem, settings, ranks)?,
        };
        Mirror::new(problem, settings, begin, pass, ranks)?.train(keeper, watch)
    })
}

/// Declares what a pass over all cells exchanges, with all that the solver does between two passes.
pub(crate) fn declare(tally: &mut Tally<'_>, plan: &PassPlan, neighbours: Option<&Neighbours>) {
    engine::declare(tally, plan.precision, plan.on_device);
    // Genes that no cell expresses.
    tally.over_voxels(tally.shares().genes.len());
    evaluate::declare(tally, plan, neighbours);
    if plan.weighs {
        weighed_rows::declare(tally, tally.shares().cells.len());
        filter::declare(tally);
    }
    probe::declare(tally, Asked::by(&plan.objective, plan.temperature));
    if plan.asks_for_rest {
        stage::declare(tally);
    }
    keep::declare(tally);
}

pub(super) struct Mirror<'a, K> {
    settings: &'a MirrorSettings,
    ranks: Ranks<'a, K>,
    loss: LossFunction,
    pass: Box<dyn Pass + 'a>,
    iterates: Iterates,
    pace: Pace,
    filter: Option<LearnedFilter>,
    /// Weights of this rank's rows, where they are given and not 1.
    weights: Option<Vec<f64>>,
    /// Σ of the weights of all rows, without a filter.
    mass: f64,
    /// log d, (voxels): with Z = 0 where logits begin, and where a temperature pulls to.
    rest: Vec<f64>,
    history: Vec<Epoch>,
    /// The stage of another training, to go on with.
    resumed: Option<Stage>,
    /// A pass whose step is made far too long.
    #[cfg(test)]
    pub(super) sabotage: Option<usize>,
}

impl<'a, K: Communicator> Mirror<'a, K> {
    pub(super) fn new<C: CellChunks>(
        problem: &Problem<C>,
        settings: &'a MirrorSettings,
        begin: Begin<'_>,
        pass: Box<dyn Pass + 'a>,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        let (n_voxels, n_genes) = (ranks.shares.voxels.len(), ranks.shares.genes.len());
        let least = LEAST_PRIOR / problem.n_voxels() as f64;
        let rest: Vec<f64> = match problem.own_prior() {
            Some(prior) => prior.iter().map(|d| d.max(least).ln()).collect(),
            None => vec![0.0; n_voxels],
        };
        let size = (n_genes + 1, n_voxels);
        let start = match begin {
            Begin::At(Some(factors)) | Begin::Near(factors) if factors.by_gene().dim() != size => {
                return Err(MapError::Start {
                    factor_voxels: factors.n_voxels(),
                    factor_genes: factors.n_genes(),
                    n_voxels,
                    n_genes,
                });
            }
            Begin::At(Some(factors)) | Begin::Near(factors) => factors.by_gene().to_owned(),
            _ => {
                let mut start = Array2::zeros(size);
                start.row_mut(n_genes).assign(&ArrayView1::from(&rest));
                start
            }
        };
        let mut mirror = Self {
            loss: loss_function(problem, &settings.objective, ranks),
            pass,
            iterates: Iterates::new(start),
            filter: problem
                .filter()
                .map(|filter| LearnedFilter::new(filter, problem.n_cells())),
            weights: problem
                .mode()
                .own_weights(ranks.shares.cells.range())
                .map(<[f64]>::to_vec),
            mass: problem.mode().largest_mass(problem.n_cells()),
            settings,
            ranks,
            rest,
            history: Vec::new(),
            pace: match begin {
                Begin::Near(_) => Pace::near(),
                _ => Pace::far(),
            },
            resumed: None,
            #[cfg(test)]
            sabotage: None,
        };
        if let Begin::Resume(snapshot) = begin {
            let shares = ranks.shares;
            let mut stage = Stage::new(1, 0, size);
            snapshot.restore(&mut mirror.iterates, shares)?;
            snapshot.restore(&mut mirror.pace, shares)?;
            snapshot.restore(&mut mirror.history, shares)?;
            snapshot.restore(&mut stage, shares)?;
            if let Some(filter) = &mut mirror.filter {
                snapshot.restore(filter, shares)?;
            }
            mirror.resumed = Some(stage);
        }
        Ok(mirror)
    }

    /// What [`Begin::Resume`] needs.
    fn snapshot(&self, stage: &Stage) -> Snapshot {
        let parts = Parts::default()
            .with(&self.iterates)
            .with(&self.pace)
            .with(&self.history)
            .with(stage);
        let parts = match &self.filter {
            Some(filter) => parts.with(filter),
            None => parts,
        };
        parts.after(self.history.len())
    }

    pub(super) fn train(
        mut self,
        keeper: &mut dyn Keeper,
        watch: &mut (dyn FnMut(&Epoch) + Send),
    ) -> Result<Mirrored, MapError> {
        let begun = Instant::now();
        let before = self.history.last().map_or(0.0, |epoch| epoch.elapsed_s);
        let mut watch = |epoch: &mut Epoch| {
            epoch.elapsed_s = before + begun.elapsed().as_secs_f64();
            watch(epoch);
        };
        let settings = self.settings;
        let mut part = match &self.resumed {
            Some(stage) => stage.part,
            None => self.first_batches(),
        };
        let last = settings.batch_passes.unwrap_or(settings.passes / 2);
        while part > 1 && (self.resumed.is_some() || self.history.len() < last) {
            self.stage(part, last, keeper, &mut watch)?;
            self.iterates.restart();
            // With a temperature it has nearly converged already, and a long first step leads away from there.
            self.pace = match settings.temperature {
                Some(_) => Pace::near(),
                None => Pace::far(),
            };
            part /= 2;
        }
        let stage = self.stage(1, settings.passes, keeper, &mut watch)?;
        keep_at_end(keeper, self.ranks, self.history.len(), || {
            Ok(self.snapshot(&stage))
        })?;
        Ok(Mirrored {
            factors: Factors::of_genes(self.pass.as_multiplied(stage.best.factors)),
            filter: self.filter.map(LearnedFilter::into_best),
            chosen: stage.best.pass,
            stopped_early: stage.converged && self.history.len() < settings.passes,
            history: self.history,
        })
    }

    /// In the first stage one cell in this number takes part.
    fn first_batches(&self) -> usize {
        let shares = self.ranks.shares;
        let (n_cells, n_voxels) = (shares.cells.whole_len(), shares.voxels.whole_len());
        let mut part = self.settings.batches;
        while part > 1 && n_cells / part < LEAST_CELLS * n_voxels {
            part /= 2;
        }
        part
    }

    /// Passes over one of every `part` cells until loss and density have converged, or `last` passes are done.
    fn stage(
        &mut self,
        part: usize,
        last: usize,
        keeper: &mut dyn Keeper,
        watch: &mut dyn FnMut(&mut Epoch),
    ) -> Result<Stage, MapError> {
        let (settings, ranks) = (self.settings, self.ranks);
        let keeps_best = settings.temperature.is_none();
        let tolerance = match part {
            1 => settings.tolerance,
            _ => settings.tolerance.max(SAMPLE_TOLERANCE),
        };
        let n_cells = self.pass.take_cells(part)?;
        let mut point = Array2::zeros((ranks.shares.genes.len() + 1, ranks.shares.voxels.len()));
        let fresh = || Stage::new(part, self.history.len(), point.dim());
        let mut stage = self.resumed.take().unwrap_or_else(fresh);
        while self.history.len() < last && !stage.converged {
            self.iterates.point(&mut point);
            self.pass.stand_at(point.view());
            let own = ranks.shares.cells.range();
            let rows = match &self.filter {
                Some(filter) => Rows {
                    weights: Some(filter.of(own)),
                    slope: filter.slope().map(|slope| slope.view()),
                },
                None => Rows {
                    weights: self.weights.as_deref(),
                    slope: None,
                },
            };
            let Some(found) = self.pass.predict(&mut point, rows, keeper)? else {
                let snapshot = self.snapshot(&stage);
                return Err(keep_and_stop(keeper, self.history.len(), &snapshot));
            };
            let Stage { best, progress, .. } = &mut stage;
            let mass = match (&self.filter, part) {
                (Some(filter), _) => filter.mass(),
                (None, 1) => self.mass,
                (None, _) => n_cells as f64,
            };
            let cells = OfCells {
                entropy: (settings.objective[Term::Entropy] != 0.0).then_some(found.entropy),
                ..OfCells::of(mass)
            };
            let density = point.row(point.nrows() - 1).to_vec();
            let silent = silent_genes(&point, ranks);
            let loss = evaluate(&self.loss, &mut point, cells, ranks);
            for k in silent {
                point.row_mut(k).fill(0.0);
            }
            let epoch = self.history.len();
            self.history
                .push(Epoch::new(epoch + 1, &loss, n_cells, 0.0));
            let stuck = keeps_best && epoch >= best.last_good + PATIENCE;
            let ran_away = !loss.total.is_finite()
                || loss.total > best.loss + RUN_AWAY * best.loss.abs().max(progress.descent());
            if stuck || ran_away {
                if best.loss.is_infinite() {
                    return Err(MapError::Diverged {
                        epoch: epoch + 1,
                        loss: loss.total,
                    });
                }
                self.pace.halve();
                best.last_good = epoch + 1;
                self.iterates.restart_at(best.factors.view());
                if let Some(filter) = &mut self.filter {
                    filter.back_to_best();
                }
                watch(&mut self.history[epoch]);
                continue;
            }
            if loss.total < best.loss || !keeps_best {
                best.loss = loss.total.min(best.loss);
                (best.pass, best.last_good) = (epoch, epoch);
                self.iterates.point(&mut best.factors);
                if let Some(filter) = &mut self.filter {
                    filter.keep_best();
                }
            }
            self.pace.follow(match keeps_best {
                true => loss.total > best.loss + ROUNDING * best.loss.abs(),
                // With a temperature the loss alone may rise on the way to convergence, but not swing.
                false => progress.turns(loss.total),
            });
            self.step(&mut point, mass, epoch);
            if let (Some(filter), Some(own)) = (&mut self.filter, found.weighed) {
                filter.learn(&ranks.of_all_cells(&own));
                // Losses of another filter are no measure for those to come: fewer cells may fit less well.
                best.loss = f64::INFINITY;
            }
            watch(&mut self.history[epoch]);
            progress.push(loss.total, density);
            stage.converged = progress.has_converged(tolerance, ranks)
                && self.filter.as_ref().is_none_or(LearnedFilter::has_settled);
            if stage.converged {
                break;
            }
            keep(keeper, ranks, self.history.len(), || {
                Ok(self.snapshot(&stage))
            })?;
        }
        Ok(stage)
    }

    /// Follows the gradient left in `slope` by [`evaluate`], with the terms that act on the factors themselves.
    ///
    /// * `mass`: Σ r of all rows
    fn step(&mut self, slope: &mut Array2<f64>, mass: f64, epoch: usize) {
        let objective = &self.settings.objective;
        let last = slope.nrows() - 1;
        let steepest = -objective[Term::Density] / (LEAST_SHARE * mass);
        slope.row_mut(last).mapv_inplace(|u| u.max(steepest));
        if let Some(filter) = &mut self.filter {
            filter.take_slope(epoch + 1, slope);
        }
        let spread = self.pass.spread(slope.view());
        let temperature = self.settings.temperature;
        let pull = temperature.map_or(0.0, |kappa| spread / kappa);
        // ∂/∂P of τ KL(P ‖ rows ∝ d) is τ (logits − log d), of λ_r H it is −λ_r logits, up to constants of a row.
        let of_logits = Pull {
            weight: pull - objective[Term::Entropy],
            to_rest: pull,
            rest: &self.rest,
        };
        if !of_logits.is_none() {
            self.iterates.add_point(slope, of_logits.weight);
            Zip::from(slope.row_mut(last))
                .and(&ArrayView1::from(&self.rest))
                .for_each(|slope, &rest| *slope -= pull * rest);
        }
        let balance = self.pass.balance(of_logits);
        if let Some(of_voxels) = &balance.of_voxels {
            of_voxels.apply(slope);
        }
        let step = self.pace.step(balance.largest, pull);
        #[cfg(test)]
        let step = match self.sabotage == Some(epoch) {
            true => step * 1e4,
            false => step,
        };
        self.iterates.follow(slope, step);
        let epoch = &mut self.history[epoch];
        (epoch.step, epoch.spread) = (Some(step), Some(spread));
    }
}

/// Genes that no cell of the pass expresses, by their places on this rank.
///
/// A gene with zero prediction says nothing of where cells belong: the clamped norm inflates its gradient about 10⁸ times, and its Z
/// would mislead a cell that does express it. So that gradient is set to zero.
fn silent_genes(predicted: &Array2<f64>, sums: impl Sums) -> Vec<usize> {
    let n_genes = predicted.nrows() - 1;
    let speaks = |voxels: Range<usize>| {
        let rows = predicted.rows().into_iter().take(n_genes);
        let any = rows.map(|row| row.slice(s![voxels.clone()]).iter().any(|&a| a != 0.0));
        any.map(|any| f64::from(u8::from(any))).collect()
    };
    let blocks = sums.voxel_blocks().into_iter().map(speaks).collect();
    let speaking = sums.over_voxels(blocks);
    (0..n_genes).filter(|&k| speaking[k] == 0.0).collect()
}
