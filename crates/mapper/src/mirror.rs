//! The factored solver: mirror descent on the rows of P, whose logits always are S Zᵀ + 1 bᵀ.
//!
//! The loss sees P through A = Pᵀ S and the density q alone, so its gradient by P is `S_i·W_j + u_j / C` with `W = ∂L/∂A`
//! and `u = ∂L/∂q`. Mirror descent on each row's simplex subtracts a step of that from the logits: `Z ← Z − η W`, `b ← b − η u / C`.
//! Nothing that grows with cells × voxels exists outside the super-block in work, and there is no random start.

use crate::device_pass::DevicePass;
use crate::factored_pass::FactoredPass;
use crate::factors::Factors;
use crate::iterates::Iterates;
use crate::lanes::Real;
use crate::polls::Polls;
use crate::probe::{Probe, Reach};
use crate::products::Layout;
use crate::ranks::Ranks;
use crate::rounding::Rounding;
use crate::snapshot::{Axes, Keeper, NoKeeper, Numbers, Snapshot, keep, keep_and_stop};
use crate::stage_cells::{StageCells, one_of_every, too_large_to_hold};
use crate::torch_clock::timed;
use crate::train::{Epoch, evaluate, largest_of_genes, one_rank, workers};
use crate::{Engine, MapError, MirrorSettings, Precision, Problem};
use ndarray::{Array2, ArrayView1, Zip, s};
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::time::Instant;
use tangram_comm::{Communicator, Grid};
use tangram_core::{CellParts, Loss, Measured, Sums};

/// A step changes a cell's logits by at most this, mean over the probe's cells.
const REACH: f64 = 1.5;
/// The same for the first step of a training, or a stage of one, that begins near its end.
const NEAR_REACH: f64 = 0.5;
/// A voxel's share of the density may fall to this part of its prior before its pull grows no further.
const LEAST_SHARE: f64 = 0.02;
/// Passes over which progress is judged.
const WINDOW: usize = 10;
/// Fewer cells than this for every voxel tell too little of the whole.
const LEAST_CELLS: usize = 4;
/// Least tolerance of the passes over a part of the cells.
const PART_TOLERANCE: f64 = 5e-3;
/// Mean relative change of the density that counts as none, in tolerances.
const DENSITY_TOLERANCE: f64 = 20.0;
/// A loss above the best by this share of it, or of the whole descent so far, is out of hand.
const OUT_OF_HAND: f64 = 0.1;
/// The reach of a step is multiplied by the first at a pass with the least loss so far, by the second at every other.
const GROW: f64 = 1.05;
const SHRINK: f64 = 0.95;
/// A loss above the best by less than this share of it is the same.
const ROUNDING: f64 = 1e-6;
/// A step brings the factors by at most this share to where a temperature pulls them.
const LARGEST_PULL: f64 = 0.1;
/// After so many passes without a new best the solver goes back to the best.
const PATIENCE: usize = 20;
/// A prior weight of 0 counts as this share of the mean when logits begin at its logarithm.
const LEAST_PRIOR: f64 = 1e-6;

/// What the factored solver has learned.
#[derive(Debug, Clone)]
pub struct Mirrored {
    factors: Factors,
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

    /// Whether loss and densities came to rest before the last pass.
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
pub fn train_mirror<C: CellParts>(
    problem: &Problem<C>,
    settings: &MirrorSettings,
    start: Option<&Factors>,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Mirrored, MapError> {
    let begin = Begin::At(start);
    train_mirror_part(problem, settings, begin, &one_rank(), &mut NoKeeper, watch)
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
pub fn train_mirror_part<C: CellParts>(
    problem: &Problem<C>,
    settings: &MirrorSettings,
    begin: Begin<'_>,
    grid: &Grid<impl Communicator>,
    keeper: &mut dyn Keeper,
    watch: &mut (dyn FnMut(&Epoch) + Send),
) -> Result<Mirrored, MapError> {
    settings.check()?;
    let pool = workers(settings.threads)?;
    let ranks = Ranks {
        grid,
        shares: problem.shares(),
    };
    pool.install(|| match settings.precision {
        Precision::F64 => {
            Mirror::<f64, _, _>::new(problem, settings, begin, ranks)?.train(keeper, watch)
        }
        _ => Mirror::<f32, _, _>::new(problem, settings, begin, ranks)?.train(keeper, watch),
    })
}

/// Who predicts.
enum Pass<T> {
    Native(Box<FactoredPass<T>>),
    /// Holds its cells itself.
    Device(Box<DevicePass<T>>),
}

struct Mirror<'a, T, C, K> {
    problem: &'a Problem<C>,
    settings: &'a MirrorSettings,
    ranks: Ranks<'a, K>,
    measured: Measured,
    layout: Layout,
    probe: Probe<T>,
    pass: Pass<T>,
    rounding: Rounding,
    iterates: Iterates,
    /// log d, (voxels): with Z = 0 where logits begin, and where a temperature pulls to.
    rest: Vec<f64>,
    history: Vec<Epoch>,
    /// How far a step may change a logit; halved whenever the solver has to go back.
    reach: f64,
    /// Where a stage is to go on.
    resumed: Option<StageState>,
    /// A pass whose step is made far too long.
    #[cfg(test)]
    sabotage: Option<usize>,
}

/// A stage of passes over the same cells.
struct StageState {
    /// One of so many cells takes part.
    part: usize,
    best: Best,
    progress: Progress,
    settled: bool,
}

/// What all ranks know alike of a training, in a [`Snapshot`].
#[derive(Debug, Serialize, Deserialize)]
struct Common {
    part: usize,
    reach: f64,
    steps: [f64; 2],
    /// `None`: nothing was finite yet.
    best_loss: Option<f64>,
    best_pass: usize,
    last_good: usize,
    losses: Vec<f64>,
    history: Vec<Epoch>,
}

impl<'a, T: Real, C: CellParts, K: Communicator> Mirror<'a, T, C, K> {
    fn new(
        problem: &'a Problem<C>,
        settings: &'a MirrorSettings,
        begin: Begin<'_>,
        ranks: Ranks<'a, K>,
    ) -> Result<Self, MapError> {
        let (n_voxels, n_genes) = (ranks.shares.voxels.len(), ranks.shares.genes.len());
        let n_cells = ranks.shares.cells.len();
        let probe = Probe::<T>::new(problem.cells(), ranks)?;
        // All ranks and parts must agree on the layout, so it follows the probe of all ranks.
        let mut density = [probe.density(), 1.0];
        ranks.grid.sum_of_all(&mut density);
        let density = if ranks.is_exact() {
            // A dense product's sums depend on how many cells and genes it gets.
            0.0
        } else {
            density[0] / density[1]
        };
        let precision = settings.precision;
        let most = ranks.most();
        let layout = Layout::shared::<T>(n_cells, n_voxels, most, density, precision);
        let asks_for_largest = ranks.is_exact() || Rounding::asks_for_largest(precision);
        let largest = match asks_for_largest {
            true => Some(Self::largest_by_gene(problem, ranks)?),
            false => None,
        };
        let engine = &settings.engine;
        let rounding = Rounding::new(precision, engine, layout.dense, largest.as_deref());
        let pass = match engine {
            Engine::Native => Pass::Native(Box::new(Self::native(layout, largest, ranks))),
            Engine::Torch(engine) => {
                ranks.refuse_exact()?;
                let rounding = rounding.clone();
                Pass::Device(Box::new(DevicePass::new(
                    engine, settings, rounding, ranks,
                )?))
            }
        };
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
            measured: Measured::part(problem.voxels().transpose().to_dense(), &ranks),
            pass,
            iterates: Iterates::new(start),
            rounding,
            problem,
            settings,
            ranks,
            layout,
            probe,
            rest,
            history: Vec::new(),
            reach: match begin {
                Begin::Near(_) => NEAR_REACH,
                _ => REACH,
            },
            resumed: None,
            #[cfg(test)]
            sabotage: None,
        };
        if let Begin::Resume(snapshot) = begin {
            mirror.resume(snapshot)?;
        }
        Ok(mirror)
    }

    fn native(layout: Layout, largest: Option<Vec<f64>>, ranks: Ranks<'a, K>) -> FactoredPass<T> {
        let pass = FactoredPass::new(layout, ranks.shares.genes.len() + 1);
        match largest {
            Some(by_gene) if ranks.is_exact() => {
                let mut largest = [by_gene.iter().copied().fold(0.0, f64::max)];
                ranks.grid.max_of_all(&mut largest);
                pass.exact(&by_gene, largest[0], ranks)
            }
            _ => pass,
        }
    }

    /// The largest entry of S for every gene of this rank, of the cells of all ranks.
    fn largest_by_gene(problem: &Problem<C>, ranks: Ranks<'a, K>) -> Result<Vec<f64>, MapError> {
        let (n_cells, n_genes) = (ranks.shares.cells.len(), ranks.shares.genes.len());
        let mut by_gene = vec![0.0; n_genes];
        let read = problem.cells().for_each_part(0..n_cells, &mut |_, part| {
            largest_of_genes(part, &mut by_gene);
            Ok(ControlFlow::Continue(()))
        });
        read.map_err(|e| MapError::Cells(e.into()))?;
        ranks.grid.max_over_cells(&mut by_gene);
        Ok(by_gene)
    }

    fn train(
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
        let mut part = self.settings.first_part;
        let enough = LEAST_CELLS * self.problem.n_voxels();
        while part > 1 && self.problem.n_cells() / part < enough {
            part /= 2;
        }
        if let Some(stage) = &self.resumed {
            part = stage.part;
        }
        let last = self
            .settings
            .part_passes
            .unwrap_or(self.settings.passes / 2);
        while part > 1 && (self.resumed.is_some() || self.history.len() < last) {
            let (mut sample, n_cells) = self.sample(part)?;
            self.stage(&mut sample, part, n_cells, last, keeper, &mut watch)?;
            self.iterates.restart();
            // With a temperature it is near rest already, and a long first step leads away from it.
            self.reach = match self.settings.temperature {
                Some(_) => NEAR_REACH,
                None => REACH,
            };
            part /= 2;
        }
        let mut cells = match (self.problem.cells().whole(), &mut self.pass) {
            (_, Pass::Device(pass)) => {
                pass.hold_all(self.problem.cells())?;
                StageCells::Streamed(None)
            }
            (Some(cells), Pass::Native(_)) => StageCells::all::<T>(cells, self.layout, self.ranks),
            (None, Pass::Native(_)) => StageCells::Streamed(None),
        };
        let (n_cells, last) = (self.ranks.shares.cells.len(), self.settings.passes);
        let stage = self.stage(&mut cells, 1, n_cells, last, keeper, &mut watch)?;
        Ok(Mirrored {
            factors: Factors::of_genes(self.rounding.as_multiplied(stage.best.factors, self.ranks)),
            chosen: stage.best.pass,
            stopped_early: stage.settled && self.history.len() < self.settings.passes,
            history: self.history,
        })
    }

    /// This rank's share of a sample of one cell of every `part`, and how many cells it has.
    fn sample(&mut self, part: usize) -> Result<(StageCells, usize), MapError> {
        let (cells, n_cells) = (self.problem.cells(), self.problem.n_cells());
        let range = self.ranks.shares.cells.range();
        let chosen = one_of_every(part, self.settings.seed, n_cells, range);
        let n_chosen = chosen.len();
        let select = || cells.select(&chosen).map_err(|e| MapError::Cells(e.into()));
        if let Pass::Device(pass) = &mut self.pass {
            pass.hold(select()?)?;
            return Ok((StageCells::Streamed(None), n_chosen));
        }
        if cells.whole().is_none() && too_large_to_hold(part, n_cells, self.ranks) {
            return Ok((StageCells::Streamed(Some(chosen)), n_chosen));
        }
        let sample = StageCells::some::<T>(&select()?, &chosen, self.layout, self.ranks);
        Ok((sample, n_chosen))
    }

    /// Goes on where another training was.
    fn resume(&mut self, snapshot: &Snapshot) -> Result<(), MapError> {
        let shares = self.ranks.shares;
        let n_voxels = shares.voxels.len();
        let size = (Some(shares.genes.len() + 1), n_voxels);
        let common: Common = snapshot.common()?;
        let moving = snapshot.array("moving", size)?;
        let average = snapshot.array("average", size)?;
        let factors = snapshot.array("best", size)?;
        let densities = snapshot.array("densities", (None, n_voxels))?;
        self.iterates = Iterates::of_parts(moving, average, common.steps);
        self.history = common.history;
        self.reach = common.reach;
        self.resumed = Some(StageState {
            part: common.part,
            best: Best {
                factors,
                loss: common.best_loss.unwrap_or(f64::INFINITY),
                pass: common.best_pass,
                last_good: common.last_good,
            },
            progress: Progress {
                losses: common.losses,
                densities: densities.rows().into_iter().map(|r| r.to_vec()).collect(),
            },
            settled: false,
        });
        Ok(())
    }

    /// What [`resume`](Self::resume) needs.
    fn snapshot(&self, stage: &StageState) -> Snapshot {
        let (moving, average, steps) = self.iterates.parts();
        let StageState {
            part,
            best,
            progress,
            ..
        } = stage;
        let common = Common {
            part: *part,
            reach: self.reach,
            steps,
            best_loss: best.loss.is_finite().then_some(best.loss),
            best_pass: best.pass,
            last_good: best.last_good,
            losses: progress.losses.clone(),
            history: self.history.clone(),
        };
        let n_voxels = moving.ncols();
        let densities = progress.densities.concat();
        let densities = Array2::from_shape_vec((progress.densities.len(), n_voxels), densities);
        let double = |values: &Array2<f64>| Numbers::Double(values.clone());
        Snapshot::new(self.history.len(), &common)
            .with("moving", Axes::GenesVoxels, double(moving))
            .with("average", Axes::GenesVoxels, double(average))
            .with("best", Axes::GenesVoxels, double(&best.factors))
            .with(
                "densities",
                Axes::AnyVoxels,
                Numbers::Double(densities.expect("one density per voxel")),
            )
    }

    /// Passes over the same cells until loss and density are at rest, or `last` passes are done.
    ///
    /// * `part`: one of so many cells takes part
    /// * `n_cells`: cells of this rank in a pass
    fn stage(
        &mut self,
        cells: &mut StageCells,
        part: usize,
        n_cells: usize,
        last: usize,
        keeper: &mut dyn Keeper,
        watch: &mut dyn FnMut(&mut Epoch),
    ) -> Result<StageState, MapError> {
        let settings = self.settings;
        let keeps_best = settings.temperature.is_none();
        let tolerance = match part {
            1 => settings.tolerance,
            _ => settings.tolerance.max(PART_TOLERANCE),
        };
        let ranks = self.ranks;
        let own_cells = n_cells;
        let n_cells = ranks.count_cells(n_cells);
        let mut point = Array2::zeros((ranks.shares.genes.len() + 1, ranks.shares.voxels.len()));
        let mut stage = self.resumed.take().unwrap_or_else(|| StageState {
            part,
            best: Best {
                factors: point.clone(),
                loss: f64::INFINITY,
                pass: self.history.len(),
                last_good: self.history.len(),
            },
            progress: Progress::default(),
            settled: false,
        });
        while self.history.len() < last {
            self.iterates.point(&mut point);
            let polls = Polls::new(keeper, [own_cells, n_cells], ranks);
            let Some(entropy) = self.predict(cells, &mut point, polls)? else {
                let snapshot = self.snapshot(&stage);
                return Err(keep_and_stop(keeper, self.history.len(), &snapshot));
            };
            let StageState { best, progress, .. } = &mut stage;
            let entropy = (settings.objective.entropy != 0.0).then_some(entropy);
            let n_genes = point.nrows() - 1;
            let density = point.row(n_genes).to_vec();
            let silent = silent_genes(&point, ranks);
            let loss = evaluate(
                &self.measured,
                &settings.objective,
                self.problem.own_prior(),
                &mut point,
                n_cells,
                entropy,
                ranks,
            );
            for k in silent {
                point.row_mut(k).fill(0.0);
            }
            let stuck = keeps_best && self.history.len() >= best.last_good + PATIENCE;
            let hold = stuck
                || !loss.total.is_finite()
                || loss.total > best.loss + OUT_OF_HAND * best.loss.abs().max(progress.descent());
            let epoch = self.record(&loss, n_cells);
            if hold {
                if best.loss.is_infinite() {
                    return Err(MapError::Diverged {
                        epoch: self.history.len(),
                        loss: loss.total,
                    });
                }
                self.reach *= 0.5;
                best.last_good = self.history.len();
                self.iterates.restart_at(best.factors.view());
                watch(&mut self.history[epoch]);
                continue;
            }
            if loss.total < best.loss || !keeps_best {
                best.loss = loss.total.min(best.loss);
                (best.pass, best.last_good) = (epoch, epoch);
                self.iterates.point(&mut best.factors);
            }
            let worse = match keeps_best {
                true => loss.total > best.loss + ROUNDING * best.loss.abs(),
                // On its way to rest with a temperature the loss alone may rise, but not swing.
                false => progress.turns(loss.total),
            };
            let turn = if worse { SHRINK } else { GROW };
            self.reach = (self.reach * turn).min(REACH);
            self.step(&mut point, n_cells, epoch);
            watch(&mut self.history[epoch]);
            progress.push(loss.total, density);
            stage.settled = progress.rests(tolerance, ranks);
            if stage.settled {
                break;
            }
            keep(keeper, ranks, self.history.len(), || {
                Ok(self.snapshot(&stage))
            })?;
        }
        Ok(stage)
    }

    /// What the factors predict, in their place: A, and the expected cells of every voxel as the last row; gives the entropy, or
    /// nothing if the pass was given up.
    fn predict(
        &mut self,
        cells: &mut StageCells,
        factors: &mut Array2<f64>,
        mut polls: Polls<'_>,
    ) -> Result<Option<f64>, MapError> {
        let ranks = self.ranks;
        let common = self.rounding.round(factors, ranks);
        let pass = match &mut self.pass {
            Pass::Native(pass) => pass,
            // A pass on a device is short: it is looked at after it.
            Pass::Device(pass) => {
                let cells = self.problem.cells();
                let entropy = timed(|| pass.predict(cells, (factors, common), ranks))?;
                return Ok(polls.end(ranks).is_continue().then_some(entropy));
            }
        };
        pass.begin(factors.view(), ranks);
        let flow = cells.add_to(pass, self.problem.cells(), self.layout, ranks, &mut polls)?;
        if flow.is_break() {
            return Ok(None);
        }
        if polls.end(ranks).is_break() {
            return Ok(None);
        }
        Ok(Some(pass.finish(factors, ranks)))
    }

    /// Follows the gradient left in `slope` by [`evaluate`], with the terms that act on the factors themselves.
    fn step(&mut self, slope: &mut Array2<f64>, n_cells: usize, epoch: usize) {
        let objective = &self.settings.objective;
        let last = slope.nrows() - 1;
        let steepest = -objective.density / (LEAST_SHARE * n_cells as f64);
        slope.row_mut(last).mapv_inplace(|u| u.max(steepest));
        let Reach {
            spread,
            mut largest,
        } = self.probe.reach(slope.view(), self.ranks);
        let pull = self
            .settings
            .temperature
            .map_or(0.0, |kappa| spread / kappa);
        if pull != 0.0 || objective.entropy != 0.0 {
            // ∂/∂P of τ KL(P ‖ rows ∝ d) is τ (logits − log d), of λ_r H it is −λ_r logits, up to constants of a row.
            self.iterates.add_point(slope, pull - objective.entropy);
            let weight = slope.row_mut(last);
            Zip::from(weight)
                .and(&ArrayView1::from(&self.rest))
                .for_each(|slope, &rest| *slope -= pull * rest);
            largest = self.probe.reach(slope.view(), self.ranks).largest;
        }
        // A gradient that moves nothing (one voxel, say) needs no step.
        let mut step = if largest > 0.0 {
            self.reach / largest
        } else {
            0.0
        };
        if pull > 0.0 {
            step = step.min(LARGEST_PULL * self.reach / REACH / pull);
        }
        #[cfg(test)]
        if self.sabotage == Some(epoch) {
            step *= 1e4;
        }
        self.iterates.follow(slope, step);
        let epoch = &mut self.history[epoch];
        (epoch.step, epoch.spread) = (Some(step), Some(spread));
    }

    /// Adds a line to the history; returns its place.
    fn record(&mut self, loss: &Loss, n_cells: usize) -> usize {
        let number = self.history.len() + 1;
        self.history.push(Epoch::new(number, loss, n_cells, 0.0));
        number - 1
    }
}

/// Genes that no cell of the pass expresses. The slope by a prediction of 0 is that of a clamped norm, 10⁸ times the usual: it says
/// nothing of the gene, and its Z would say less of a cell that does express it.
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

/// The factors of the least loss so far, (genes + 1, voxels).
struct Best {
    factors: Array2<f64>,
    loss: f64,
    pass: usize,
    /// When it was last found, or gone back to.
    last_good: usize,
}

/// Losses and densities of a stage.
#[derive(Debug, Default)]
struct Progress {
    losses: Vec<f64>,
    densities: Vec<Vec<f64>>,
}

impl Progress {
    fn push(&mut self, loss: f64, density: Vec<f64>) {
        self.losses.push(loss);
        self.densities.push(density);
        if self.densities.len() > WINDOW + 1 {
            self.densities.remove(0);
        }
    }

    /// Whether with one more loss the last two changes are of opposite sign.
    fn turns(&self, next: f64) -> bool {
        match self.losses[..] {
            [.., before, last] => (last - before) * (next - last) < 0.0,
            _ => false,
        }
    }

    /// From the first loss to the last.
    fn descent(&self) -> f64 {
        match (self.losses.first(), self.losses.last()) {
            (Some(first), Some(last)) => (first - last).abs(),
            _ => 0.0,
        }
    }

    /// Whether the last [`WINDOW`] passes changed loss and density less than `tolerance` allows.
    fn rests(&self, tolerance: f64, sums: impl Sums) -> bool {
        if tolerance == 0.0 || self.losses.len() <= WINDOW {
            return false;
        }
        let last = &self.losses[self.losses.len() - 1 - WINDOW..];
        let highest = last.iter().copied().fold(f64::MIN, f64::max);
        let lowest = last.iter().copied().fold(f64::MAX, f64::min);
        let (before, now) = (&self.densities[0], &self.densities[WINDOW]);
        let of_block = |voxels: Range<usize>| {
            let pairs = before[voxels.clone()].iter().zip(&now[voxels.clone()]);
            let change: f64 = pairs.map(|(a, b)| (a - b).abs()).sum();
            vec![change, now[voxels].iter().sum()]
        };
        let found = sums.over_voxels(sums.voxel_blocks().into_iter().map(of_block).collect());
        let (change, cells) = (found[0], found[1]);
        highest - lowest < tolerance * lowest.abs().max(self.descent())
            && change < DENSITY_TOLERANCE * tolerance * cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::Wish;
    use crate::stage_cells::LARGEST_SAMPLE;
    use std::convert::Infallible;
    use tangram_comm::{Reduce, Threads};
    use tangram_core::{Objective, SparseRows, VisitPart};

    const SETTINGS: MirrorSettings = MirrorSettings {
        objective: Objective {
            gene: 1.0,
            voxel: 0.0,
            density: 1.0,
            entropy: 0.0,
        },
        passes: 80,
        temperature: None,
        first_part: 1,
        part_passes: None,
        seed: 1,
        threads: 1,
        precision: Precision::F32,
        tolerance: 0.0,
        engine: Engine::Native,
    };

    fn problem() -> Problem {
        problem_of(40)
    }

    fn problem_of(n_cells: u32) -> Problem {
        let matrix = |rows: u32, salt: u32| {
            let mut out = SparseRows::empty(12);
            for i in 0..rows {
                let value = |k: u32| ((i * 7 + k * 13 + salt * 5) % 11) as f32;
                out.push_row((0..12).map(|k| (k, (value(k) - 5.0).max(0.0))));
            }
            out
        };
        let prior = tangram_core::DensityPrior::uniform(9).ok();
        Problem::new(matrix(n_cells, 0), matrix(9, 3), prior).expect("fits")
    }

    /// Cells that come ten by ten, so that a pass has several places to stop at.
    struct InTens(SparseRows);

    impl CellParts for InTens {
        type Error = Infallible;
        fn n_cells(&self) -> usize {
            self.0.n_rows()
        }
        fn n_genes(&self) -> usize {
            self.0.n_cols()
        }
        fn for_each_part(
            &self,
            range: Range<usize>,
            visit: &mut VisitPart<'_, Infallible>,
        ) -> Result<(), Infallible> {
            for first in range.clone().step_by(10) {
                if visit(first, &self.0.rows(first..range.end.min(first + 10)))?.is_break() {
                    break;
                }
            }
            Ok(())
        }
    }

    fn in_tens(problem: &Problem) -> Problem<InTens> {
        let (voxels, prior) = (problem.voxels().clone(), problem.prior().cloned());
        let cells = InTens(problem.cells().clone());
        Problem::part(cells, voxels, prior, problem.shares().clone()).unwrap()
    }

    /// Wishes to stop when it has been asked so often.
    struct Stops {
        after: usize,
        kept: Option<Snapshot>,
    }

    impl Keeper for Stops {
        fn wish(&mut self) -> Wish {
            let stop = self.after == 0;
            self.after = self.after.saturating_sub(1);
            if stop { Wish::SaveAndStop } else { Wish::GoOn }
        }
        fn save(
            &mut self,
            snapshot: &Snapshot,
        ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
            self.kept = Some(snapshot.clone());
            Ok(())
        }
        fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
    }

    /// Stopped as often as asked for, each time with one ask more, and gone on from; without an `every`, left alone.
    fn stopped_and_resumed(
        problem: &Problem<InTens>,
        settings: &MirrorSettings,
        grid: &Grid<impl Communicator>,
        every: Option<usize>,
    ) -> (Mirrored, usize) {
        let (mut kept, mut stops) = (None::<Snapshot>, 0);
        loop {
            // One rank alone wishes it.
            let last = grid.world().rank() + 1 == grid.shape().n_ranks();
            let after = every.filter(|_| last && stops < 12);
            let mut keeper = Stops {
                after: after.map_or(usize::MAX, |every| every + stops),
                kept: None,
            };
            let begin = kept.as_ref().map_or(Begin::At(None), Begin::Resume);
            match train_mirror_part(problem, settings, begin, grid, &mut keeper, &mut |_| ()) {
                Ok(mirrored) => return (mirrored, stops),
                Err(MapError::Stopped { passes }) => {
                    kept = keeper.kept;
                    assert_eq!(kept.as_ref().unwrap().passes, passes);
                    stops += 1;
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn check_stops(shape: &str, reduce: Reduce, first_part: usize) {
        let problem = problem_of(160);
        let settings = MirrorSettings {
            passes: 16,
            first_part,
            ..SETTINGS
        };
        let compare = |grid: &Grid<Threads>, problem: &Problem| {
            let problem = in_tens(problem);
            let (whole, stops) = stopped_and_resumed(&problem, &settings, grid, None);
            assert_eq!(stops, 0);
            for every in [0, 1, 5] {
                let (pieces, stops) = stopped_and_resumed(&problem, &settings, grid, Some(every));
                assert!(stops >= 3, "{shape}: {stops}");
                let totals = |m: &Mirrored| -> Vec<u64> {
                    m.history.iter().map(|e| e.total.to_bits()).collect()
                };
                assert_eq!(totals(&whole), totals(&pieces), "{shape}, every {every}");
                assert_eq!(whole.factors, pieces.factors, "{shape}, every {every}");
            }
        };
        let shape: tangram_comm::GridShape = shape.parse().unwrap();
        std::thread::scope(|scope| {
            for world in Threads::ranks(shape.n_ranks()) {
                let (problem, compare) = (&problem, &compare);
                scope.spawn(move || {
                    let grid = Grid::new(world, shape, reduce).unwrap();
                    let shares = grid.shares(160, 9, 12).unwrap();
                    compare(&grid, &problem.share(shares).unwrap());
                });
            }
        });
    }

    #[test]
    fn a_sample_read_at_every_pass_is_the_one_that_is_held() {
        let problem = problem_of(160);
        let settings = MirrorSettings {
            passes: 16,
            first_part: 4,
            ..SETTINGS
        };
        let size = |part: usize| 160 / part * problem.n_genes();
        assert!(size(4) > LARGEST_SAMPLE, "the sample is read");
        let of = |problem: &Problem<InTens>| {
            let (grid, begin) = (one_rank(), Begin::At(None));
            train_mirror_part(problem, &settings, begin, &grid, &mut NoKeeper, &mut |_| ())
        };
        let read = of(&in_tens(&problem)).unwrap();
        let held = train_mirror(&problem, &settings, None, &mut |_| ()).unwrap();
        assert_eq!(read.history.len(), held.history.len());
        for (read, held) in read.history.iter().zip(&held.history) {
            assert_eq!(read.n_cells, held.n_cells);
            let apart = (read.total - held.total).abs();
            assert!(apart < 1e-5, "{} and {}", read.total, held.total);
        }
        let cells: Vec<usize> = held.history.iter().map(|e| e.n_cells).collect();
        assert!(cells.contains(&40) && cells.contains(&160), "{cells:?}");
    }

    #[test]
    fn a_pass_given_up_and_gone_on_from_changes_no_bit() {
        for first_part in [1, 4] {
            for shape in ["1x1x1", "2x1x1", "1x2x1", "1x1x2"] {
                check_stops(shape, Reduce::Fast, first_part);
            }
        }
        check_stops("3x1x1", Reduce::Exact, 1);
    }

    #[test]
    fn a_wish_to_stop_ends_a_pass_on_the_way() {
        let problem = in_tens(&problem_of(160));
        let grid = one_rank();
        let mut asks = Vec::new();
        for after in [0, 3, 15] {
            let mut keeper = Stops { after, kept: None };
            let begin = Begin::At(None);
            let ended =
                train_mirror_part(&problem, &SETTINGS, begin, &grid, &mut keeper, &mut |_| ());
            // Sixteen parts: the first pass is not complete.
            assert!(matches!(ended, Err(MapError::Stopped { passes: 0 })));
            asks.push(keeper.after);
        }
        assert_eq!(asks, [0, 0, 0], "asked no further");
    }

    #[test]
    fn a_step_that_is_far_too_long_is_taken_back() {
        let problem = problem();
        let grid = one_rank();
        let ranks = Ranks {
            grid: &grid,
            shares: problem.shares(),
        };
        let undisturbed =
            Mirror::<f32, _, _>::new(&problem, &SETTINGS, Begin::At(None), ranks).unwrap();
        let undisturbed = undisturbed.train(&mut NoKeeper, &mut |_| ()).unwrap();
        let mut mirror =
            Mirror::<f32, _, _>::new(&problem, &SETTINGS, Begin::At(None), ranks).unwrap();
        mirror.sabotage = Some(30);
        let mirrored = mirror.train(&mut NoKeeper, &mut |_| ()).unwrap();
        let loss = |m: &Mirrored, pass: usize| m.history()[pass].total;
        let before = mirrored.history()[..31].iter().map(|e| e.total);
        let before = before.fold(f64::INFINITY, f64::min);
        assert!(loss(&mirrored, 31) > before + 0.01, "the step did harm");
        assert!(mirrored.chosen().total <= before, "the harm was undone");
        let behind = mirrored.chosen().total - undisturbed.chosen().total;
        assert!(behind < 5e-3, "{behind} behind the undisturbed run");
    }
}
