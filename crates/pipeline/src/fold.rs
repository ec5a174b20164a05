//! One fold of a sweep: trained without some genes, which it then predicts and scores.

use crate::choices::Solver;
use crate::error::{PipelineError, Result};
use crate::folds::{FoldResult, GeneOutcome};
use crate::inputs::Inputs;
use crate::score::totals_of;
use crate::settings::MapSettings;
use crate::yardstick::VoxelTotals;
use ndarray::Array2;
use std::ops::ControlFlow;
use std::time::Instant;
use tangram_comm::{Grid, GridShape, Reduce, Solo};
use tangram_core::{CellChunks, Filtered, score_gene, transfer};
use tangram_mapper::{
    AdamBegin, Begin, Engine, Epoch, Factors, InitialLogits, Keeper, MapError, Snapshot,
    train_adam_shard, train_mirror_shard,
};
use tangram_store::CellExpression;
use tangram_store::StoreError;
use tangram_sweep::{Done, Outcome, SweepError};

/// Factor on the tolerance of a fold with a warm start. Its loss changes little from the first pass on, although the held-out genes still
/// influence the mapping.
const WARM_TOLERANCE: f64 = 0.05;

/// The inputs that all folds share, read once.
#[derive(Debug)]
pub struct FoldTraining<'a> {
    inputs: &'a Inputs,
    settings: &'a MapSettings,
    engine: Engine,
    /// G of all training genes, untransformed, (voxels, genes).
    measured: Array2<f32>,
    /// What the predictions are compared with,
    totals: VoxelTotals,
    /// and what `measured` was multiplied by.
    factors: Option<Vec<f64>>,
    /// The mapping of all genes, if folds start from it.
    all_genes: Option<Factors>,
}

/// The result of a fold.
#[derive(Debug)]
pub struct TrainedFold {
    /// Loss, passes and scores.
    pub result: FoldResult,
    /// Seconds it took.
    pub seconds: f64,
    /// The genes held out, (genes, voxels).
    pub predicted: Array2<f32>,
}

impl TrainedFold {
    /// The same as an item of a sweep.
    ///
    /// * `item`: its number
    ///
    /// # Errors
    /// [`SweepError::Work`] if the result cannot be recorded.
    pub fn into_done(self, item: usize) -> Result<Done, SweepError> {
        Ok(Done {
            outcome: Outcome::new(item, self.seconds, &self.result)?,
            rows: Some(self.predicted),
        })
    }
}

impl<'a> FoldTraining<'a> {
    /// Prepares to train folds on the inputs of a sweep.
    ///
    /// # Errors
    /// If the voxels cannot be read.
    pub fn new(inputs: &'a Inputs, settings: &'a MapSettings, engine: Engine) -> Result<Self> {
        let voxels = inputs.untransformed.as_ref().map(|(_, voxels)| voxels);
        let measured = voxels.unwrap_or(inputs.problem.voxels()).to_dense();
        let (totals, factors) = totals_of(&inputs.voxels.file, settings)?;
        Ok(Self {
            inputs,
            settings,
            engine,
            measured,
            totals,
            factors,
            all_genes: None,
        })
    }

    /// Learns the mapping of all genes; later folds start from it.
    ///
    /// * `resumed`: the state to go on from
    ///
    /// # Errors
    /// As the training.
    pub fn begin_warm(
        &mut self,
        resumed: Option<&Snapshot>,
        keeper: &mut dyn Keeper,
    ) -> Result<()> {
        let (problem, settings) = (
            &self.inputs.problem,
            self.settings.mirror(self.engine, self.settings.temperature),
        );
        let grid = alone();
        let begin = resumed.map_or(Begin::At(None), Begin::Resume);
        let mirrored = train_mirror_shard(problem, &settings, begin, &grid, keeper, &mut |_| ())?;
        self.all_genes = Some(mirrored.factors().clone());
        Ok(())
    }

    /// Trains without the genes held out, then predicts and scores them.
    ///
    /// * `held_out`: places among the training genes, sorted
    /// * `resumed`: the state to go on from
    /// * `after_pass`: called after every pass with their number
    ///
    /// # Errors
    /// As the training; if the cells cannot be read.
    pub fn train(
        &self,
        held_out: &[usize],
        threads: usize,
        resumed: Option<&Snapshot>,
        keeper: &mut dyn Keeper,
        after_pass: &(dyn Fn(usize) + Sync),
    ) -> Result<TrainedFold> {
        let begun = Instant::now();
        let Inputs { problem, genes, .. } = self.inputs;
        let kept: Vec<usize> = (0..problem.n_genes())
            .filter(|k| held_out.binary_search(k).is_err())
            .collect();
        let fold = problem.of_same_voxels(
            problem.cells().genes(&kept),
            problem.voxels().select_columns(&kept),
        )?;
        let fold = match problem.types().cloned() {
            Some(types) => fold.with_types(types)?,
            None => fold,
        };
        let fold = fold.with_mode(problem.mode().clone())?;
        let own = self.inputs.untransformed.as_ref().map(|(cells, _)| cells);
        let carried = own.unwrap_or(problem.cells()).genes(held_out);
        let grid = alone();
        let mut after_pass = |epoch: &Epoch| after_pass(epoch.epoch);
        let (predicted, history, chosen) = match self.settings.solver {
            Solver::Mirror => {
                let mut settings = self.settings.mirror(self.engine, self.settings.temperature);
                settings.threads = threads;
                if self.all_genes.is_some() {
                    settings.batches = 1;
                    settings.tolerance *= WARM_TOLERANCE;
                }
                let start = self.all_genes.as_ref().map(|f| f.without_genes(held_out));
                let begin = match resumed {
                    Some(snapshot) => Begin::Resume(snapshot),
                    None => start.as_ref().map_or(Begin::At(None), Begin::Near),
                };
                let trained =
                    train_mirror_shard(&fold, &settings, begin, &grid, keeper, &mut after_pass)?;
                let weights = trained.filter().or(fold.mode().weights());
                let cells = (fold.cells(), weights);
                let predicted = in_space(trained.factors(), cells, &carried)?;
                (predicted, trained.history().len(), trained.chosen().total)
            }
            Solver::Adam => {
                let mut settings = self.settings.adam(self.engine);
                settings.threads = threads;
                let begin = resumed.map_or(AdamBegin::At(InitialLogits::Random), AdamBegin::Resume);
                let trained =
                    train_adam_shard(&fold, &settings, begin, &grid, keeper, &mut after_pass)?;
                let values = carried.whole().ok_or(MapError::NotInMemory)?;
                let last = trained.history().last().ok_or(PipelineError::NoEpoch)?;
                let weights = trained.filter().or(fold.mode().weights());
                (
                    transfer(&Filtered::new(&trained, weights), values)?,
                    trained.history().len(),
                    last.total,
                )
            }
        };
        let score = |(&gene, predicted): (&usize, ndarray::ArrayView1<'_, f32>)| {
            let (predicted, measured) = (predicted.to_vec(), self.measured.column(gene).to_vec());
            let factors = self.factors.as_deref();
            GeneOutcome {
                gene: genes.names[gene].clone(),
                score: score_gene(&predicted, &measured),
                against: Some(self.totals.compare(&predicted, &measured, factors)),
            }
        };
        let scores = held_out
            .iter()
            .zip(predicted.columns())
            .map(score)
            .collect();
        Ok(TrainedFold {
            result: FoldResult {
                passes: history,
                loss: chosen,
                genes: scores,
            },
            seconds: begun.elapsed().as_secs_f64(),
            predicted: predicted.reversed_axes(),
        })
    }
}

/// Values of the cells in space, (voxels, genes).
///
/// * `mapped`: the expression that the factors map, and what every row of it counts, if not 1
/// * `values`: the values to transfer, of the same cells
fn in_space(
    factors: &Factors,
    (mapped, weights): (&CellExpression, Option<&[f64]>),
    values: &CellExpression,
) -> Result<Array2<f32>, StoreError> {
    if let (Some(cells), Some(values)) = (mapped.whole(), values.whole()) {
        let mapping = factors.mapping(cells);
        return transfer(&Filtered::new(&mapping, weights), values).map_err(|never| match never {});
    }
    let mut sums = Array2::<f32>::zeros((factors.n_voxels(), values.n_genes()));
    values.for_each_chunk(0..values.n_cells(), &mut |first, values| {
        let last = first + values.n_rows();
        mapped.for_each_chunk(first..last, &mut |_, cells| {
            let mapping = factors.mapping(cells);
            let weights = weights.map(|r| &r[first..last]);
            let part = transfer(&Filtered::new(&mapping, weights), values);
            sums += &part.map_err(|never| match never {})?;
            Ok::<_, StoreError>(ControlFlow::Continue(()))
        })?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(sums)
}

/// The grid of a single process.
fn alone() -> Grid<Solo> {
    Grid::new(Solo, GridShape::ONE, Reduce::Fast).expect("one rank fits its grid")
}
