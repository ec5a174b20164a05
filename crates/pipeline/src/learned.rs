//! What a training gave, by either solver.

use crate::error::OfBoth;
use crate::inputs::{Inputs, initial_logits};
use crate::mapping_file::{self, Contents, Stored};
use crate::ranks::{Gathered, Ranks, agreed, alone};
use crate::settings::{MapSettings, Solver};
use anyhow::Result;
use ndarray::{Array2, s};
use std::path::Path;
use tangram_comm::{Axis, Communicator, Cut, Reduce};
use tangram_core::{CellParts, Keep, transfer};
use tangram_mapper::{
    AdamBegin, Begin, Epoch, Factors, InitialLogits, Keeper, MapError, Mirrored, Snapshot, Trained,
    train_adam_part, train_mirror_part,
};
use tangram_store::CellExpression;

/// A mapping in memory.
#[derive(Debug)]
pub enum Learned {
    /// Logits of this rank's cells and voxels.
    Adam(Trained),
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
    /// If the initial logits do not fit, the cells cannot be read, or the loss leaves the numbers.
    pub fn train(
        settings: &MapSettings,
        inputs: &Inputs,
        ranks: &Ranks,
        (resumed, keeper): (Option<&Snapshot>, &mut dyn Keeper),
        watch: &mut (dyn FnMut(&Epoch) + Send),
    ) -> Result<Self> {
        let problem = &inputs.problem;
        match settings.solver {
            Solver::Mirror => {
                let begin = resumed.map_or(Begin::At(None), Begin::Resume);
                let mirror = settings.mirror();
                let own = train_mirror_part(problem, &mirror, begin, ranks, keeper, watch);
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
                let adam = settings.adam();
                let trained = train_adam_part(problem, &adam, begin, ranks, keeper, watch);
                ended(ranks, trained, settings).map(Self::Adam)
            }
        }
    }

    /// The loss terms of every epoch.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        match self {
            Self::Adam(trained) => trained.history(),
            Self::Mirror { own, .. } => own.history(),
        }
    }

    /// The epoch whose loss is that of the mapping (of adam's: before its last step).
    #[must_use]
    pub fn chosen(&self) -> Option<&Epoch> {
        match self {
            Self::Adam(trained) => trained.history().last(),
            Self::Mirror { own, .. } => Some(own.chosen()),
        }
    }

    /// Whether the loss came to rest before the last epoch.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        match self {
            Self::Adam(trained) => trained.stopped_early(),
            Self::Mirror { own, .. } => own.stopped_early(),
        }
    }

    /// Writes the probabilities: the first rank, while the others hand it theirs.
    ///
    /// # Errors
    /// If they cannot be had or written.
    pub fn write_probabilities(
        &self,
        path: &Path,
        inputs: &Inputs,
        settings: &MapSettings,
        ranks: &Ranks,
        keep: Keep,
        contents: &Contents<'_>,
    ) -> Result<Stored> {
        let one_rank = ranks.shape().n_ranks() == 1;
        match self {
            Self::Adam(trained) if one_rank => mapping_file::write(path, trained, keep, contents),
            Self::Adam(trained) => {
                let gathered = Gathered::new(trained, ranks, inputs.problem.shares());
                let stored = mapping_file::write(path, &gathered, keep, contents);
                gathered.done();
                stored
            }
            Self::Mirror { factors, .. } if one_rank => {
                let mapping = factors.mapping(inputs.problem.cells());
                mapping_file::write(path, &mapping, keep, contents)
            }
            Self::Mirror { factors, .. } => {
                let cells = inputs.all_cells.transformed(settings.transform());
                mapping_file::write(path, &factors.mapping(&cells), keep, contents)
            }
        }
    }

    /// Lets the other ranks go where nobody asks for their probabilities.
    pub fn release(&self, inputs: &Inputs, ranks: &Ranks) {
        if let (Self::Adam(trained), true) = (self, ranks.shape().n_ranks() > 1) {
            Gathered::new(trained, ranks, inputs.problem.shares()).done();
        }
    }

    /// What the other ranks do while the first one writes the probabilities.
    pub fn serve_probabilities(&self, inputs: &Inputs, ranks: &Ranks) {
        if let Self::Adam(trained) = self {
            Gathered::new(trained, ranks, inputs.problem.shares()).serve();
        }
    }

    /// The training genes in space by the exact mapping, (all voxels, all genes), which all ranks get.
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
        let carried = inputs
            .untransformed
            .as_ref()
            .map_or(problem.cells(), |(cells, _)| cells);
        let one_rank = ranks.shape().n_ranks() == 1;
        let part = match self {
            Self::Adam(trained) => {
                let values = carried.whole().expect("adam holds its cells");
                transfer(trained, values)?
            }
            Self::Mirror { factors, .. } if one_rank => {
                factors.carried(carried, settings.transform())?
            }
            Self::Mirror { factors, .. } => {
                // Every rank takes other cells, with all genes.
                let own = Cut::new(
                    Axis::Cells,
                    problem.n_cells(),
                    ranks.world().rank(),
                    ranks.shape().n_ranks(),
                    Reduce::Fast,
                );
                let values = inputs.all_cells.part(own.range(), 0..problem.n_genes());
                let values = CellExpression::Streamed(values);
                let found = factors.carried(&values, settings.transform());
                alone(ranks, found.map_err(Into::into))?
            }
        };
        if one_rank {
            return Ok(part);
        }
        let mut whole = Array2::<f64>::zeros((problem.n_voxels(), problem.n_genes()));
        let place = match self {
            Self::Adam(_) => s![shares.voxels.range(), shares.genes.range()],
            Self::Mirror { .. } => s![0..problem.n_voxels(), 0..problem.n_genes()],
        };
        whole.slice_mut(place).assign(&part.mapv(f64::from));
        ranks.sum_of_all(whole.as_slice_mut().expect("standard layout"));
        Ok(whole.mapv(|x| x as f32))
    }
}

/// What training ended with: all ranks alike, unless one could not read its cells, or its device failed.
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
