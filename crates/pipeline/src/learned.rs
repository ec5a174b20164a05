//! The result of a training, by either solver.

use crate::choices::Solver;
use crate::error::{PipelineError, Result, Within};
use crate::gathered::Gathered;
use crate::inputs::Inputs;
use crate::mapping_file::{self, Contents, Stored};
use crate::ranks::{Ranks, agreed, alone};
use crate::settings::{Chosen, MapSettings};
use ndarray::{Array2, s};
use std::path::Path;
use tangram_comm::{Axis, Communicator, Cut, Reduce};
use tangram_core::{CellChunks, Filtered, Keep, transfer};
use tangram_mapper::{
    AdamBegin, Begin, Epoch, Factors, InitialLogits, Keeper, MapError, Mirrored, Snapshot, Trained,
    train_adam_shard, train_mirror_shard,
};
use tangram_store::CellExpression;
use tangram_store::read_npy;

/// A mapping in memory.
#[derive(Debug)]
pub enum Learned {
    /// Logits of this rank's cells and voxels.
    Adam {
        /// What this rank learned.
        trained: Trained,
        /// f of all cells, where a filter was learned.
        filter: Option<Vec<f64>>,
    },
    /// Factors.
    Mirror {
        /// What this rank learned.
        own: Mirrored,
        /// Those of all voxels and genes.
        factors: Factors,
    },
}

impl Learned {
    /// Trains by the solver of the settings, all ranks together.
    ///
    /// # Errors
    /// If the initial logits do not fit, the cells cannot be read, or the loss is no longer finite.
    pub fn train(
        (settings, chosen): (&MapSettings, &Chosen),
        inputs: &Inputs,
        ranks: &Ranks,
        (resumed, keeper): (Option<&Snapshot>, &mut dyn Keeper),
        watch: &mut (dyn FnMut(&Epoch) + Send),
    ) -> Result<Self> {
        let problem = &inputs.problem;
        match settings.solver {
            Solver::Mirror => {
                let begin = resumed.map_or(Begin::At(None), Begin::Resume);
                let mirror = settings.mirror(chosen.engine, chosen.temperature);
                let own = train_mirror_shard(problem, &mirror, begin, ranks, keeper, watch);
                let own = ended(ranks, own, settings)?;
                let factors = own.factors().of_all(ranks, problem.shares())?;
                Ok(Self::Mirror { own, factors })
            }
            Solver::Adam => {
                let begin = match (resumed, &settings.init_logits) {
                    (Some(snapshot), _) => AdamBegin::Resume(snapshot),
                    (None, None) => AdamBegin::At(InitialLogits::Random),
                    (None, Some(path)) => {
                        let (cells, voxels) = (problem.n_cells(), problem.n_voxels());
                        let given = initial_logits(path, cells, voxels);
                        AdamBegin::At(InitialLogits::Given(agreed(ranks, given)?))
                    }
                };
                let adam = settings.adam(chosen.engine);
                let trained = train_adam_shard(problem, &adam, begin, ranks, keeper, watch);
                let trained = ended(ranks, trained, settings)?;
                let filter = trained.filter().map(|own| {
                    let mut all = vec![0.0; problem.n_cells()];
                    all[problem.shares().cells.range()].copy_from_slice(own);
                    ranks.sum_over_cells(&mut all);
                    all
                });
                Ok(Self::Adam { trained, filter })
            }
        }
    }

    /// The loss terms of every epoch.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        match self {
            Self::Adam { trained, .. } => trained.history(),
            Self::Mirror { own, .. } => own.history(),
        }
    }

    /// The epoch whose loss is that of the mapping. Adam's loss is computed before its last step.
    #[must_use]
    pub fn chosen(&self) -> Option<&Epoch> {
        match self {
            Self::Adam { trained, .. } => trained.history().last(),
            Self::Mirror { own, .. } => Some(own.chosen()),
        }
    }

    /// Whether the loss converged before the last epoch.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        match self {
            Self::Adam { trained, .. } => trained.stopped_early(),
            Self::Mirror { own, .. } => own.stopped_early(),
        }
    }

    /// How much of every cell a filter keeps, of all cells, where one was learned.
    #[must_use]
    pub fn filter(&self) -> Option<&[f64]> {
        match self {
            Self::Adam { filter, .. } => filter.as_deref(),
            Self::Mirror { own, .. } => own.filter(),
        }
    }

    /// The probabilities that many ranks hold: adam's, where there are several.
    #[must_use]
    pub fn gathered<'a>(&'a self, inputs: &'a Inputs, ranks: &'a Ranks) -> Option<Gathered<'a>> {
        match self {
            Self::Adam { trained, .. } if ranks.shape().n_ranks() > 1 => {
                Some(Gathered::new(trained, ranks, inputs.problem.shares()))
            }
            _ => None,
        }
    }

    /// Writes the probabilities, on the first rank.
    ///
    /// * `gathered`: [`gathered`](Self::gathered), which the other ranks serve meanwhile
    ///
    /// # Errors
    /// If they cannot be computed or written.
    pub fn write_probabilities(
        &self,
        path: &Path,
        (inputs, gathered): (&Inputs, Option<&Gathered<'_>>),
        settings: &MapSettings,
        keep: Keep,
        contents: &Contents<'_>,
    ) -> Result<Stored> {
        match (self, gathered) {
            (Self::Adam { .. }, Some(gathered)) => {
                mapping_file::write(path, gathered, keep, contents)
            }
            (Self::Adam { trained, .. }, None) => {
                mapping_file::write(path, trained, keep, contents)
            }
            (Self::Mirror { factors, .. }, _) if inputs.grid.is_none() => {
                let mapping = factors.mapping(inputs.problem.cells());
                mapping_file::write(path, &mapping, keep, contents)
            }
            (Self::Mirror { factors, .. }, _) => {
                let cells = inputs.mapped(settings);
                mapping_file::write(path, &factors.mapping(&cells), keep, contents)
            }
        }
    }

    /// The training genes predicted by the exact mapping, (all voxels, all genes), on every rank.
    ///
    /// # Errors
    /// If the cells cannot be read.
    pub fn training_genes(
        &self,
        inputs: &Inputs,
        settings: &MapSettings,
        ranks: &Ranks,
    ) -> Result<Array2<f32>> {
        let problem = &inputs.problem;
        let shares = problem.shares();
        if let (Self::Mirror { factors, .. }, Some(clustered)) = (self, &inputs.clustered) {
            // Every rank has all of it.
            return Ok(clustered.in_space(factors));
        }
        let carried = inputs
            .untransformed
            .as_ref()
            .map_or(problem.cells(), |(cells, _)| cells);
        let one_rank = ranks.shape().n_ranks() == 1;
        let part = match self {
            Self::Adam { trained, .. } => {
                let values = carried.whole().expect("adam holds its cells");
                let of_clusters = problem.mode().weights();
                let own = of_clusters.map(|weights| &weights[shares.cells.range()]);
                transfer(&Filtered::new(trained, trained.filter().or(own)), values)?
            }
            Self::Mirror { factors, .. } if one_rank => {
                factors.carried(carried, settings.transform, self.filter())?
            }
            Self::Mirror { factors, .. } => {
                // Each rank predicts from a different share of the cells, with all genes.
                let own = Cut::new(
                    Axis::Cells,
                    problem.n_cells(),
                    ranks.world().rank(),
                    ranks.shape().n_ranks(),
                    Reduce::Fast,
                );
                let values = inputs.all_cells.shard(own.range(), 0..problem.n_genes());
                let values = CellExpression::Streamed(values);
                let kept = self.filter().map(|f| &f[own.range()]);
                let found = factors.carried(&values, settings.transform, kept);
                alone(ranks, found.map_err(PipelineError::from))?
            }
        };
        if one_rank {
            return Ok(part);
        }
        let mut whole = Array2::<f64>::zeros((problem.n_voxels(), problem.n_genes()));
        let place = match self {
            Self::Adam { .. } => s![shares.voxels.range(), shares.genes.range()],
            Self::Mirror { .. } => s![0..problem.n_voxels(), 0..problem.n_genes()],
        };
        whole.slice_mut(place).assign(&part.mapv(f64::from));
        ranks.sum_of_all(whole.as_slice_mut().expect("standard layout"));
        Ok(whole.mapv(|x| x as f32))
    }
}

/// The result of a training. All ranks get the same error, unless one could not read its cells or its device failed.
fn ended<T>(ranks: &Ranks, result: Result<T, MapError>, settings: &MapSettings) -> Result<T> {
    let only_here = matches!(
        result,
        Err(MapError::Cells(_) | MapError::Torch(_) | MapError::DeviceFull)
    );
    let result = result.of_both(&settings.cells, &settings.voxels);
    if only_here {
        return alone(ranks, result);
    }
    agreed(ranks, result)
}

/// Reads initial logits and checks their shape.
///
/// # Errors
/// [`PipelineError::InitialLogits`] if the shape differs; if the file is not a NumPy array.
fn initial_logits(path: &Path, n_cells: usize, n_voxels: usize) -> Result<Array2<f64>> {
    let logits = read_npy(path)?;
    let (found_cells, found_voxels) = logits.dim();
    if (found_cells, found_voxels) == (n_cells, n_voxels) {
        return Ok(logits);
    }
    Err(PipelineError::InitialLogits {
        path: path.to_owned(),
        found_cells,
        found_voxels,
        n_cells,
        n_voxels,
    })
}
