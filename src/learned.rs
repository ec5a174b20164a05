//! What a training gave, by either solver.

use crate::cell_expression::CellExpression;
use crate::expression::OfBoth;
use crate::map_inputs::{Inputs, initial_logits};
use crate::map_settings::{MapSettings, Solver};
use crate::mapping_file::{self, Contents, Stored};
use anyhow::Result;
use ndarray::Array2;
use std::path::Path;
use tangram_core::{CellParts, Keep, SparseRows, transfer};
use tangram_mapper::{Epoch, InitialLogits, Mirrored, Problem, Trained, train_adam, train_mirror};
use tangram_store::StoreError;

/// A mapping in memory.
#[derive(Debug)]
pub enum Learned {
    /// Logits of every cell and voxel.
    Adam(Trained),
    /// Factors.
    Mirror(Mirrored),
}

impl Learned {
    /// Trains by the solver of the settings.
    ///
    /// # Errors
    /// If the initial logits do not fit, the cells cannot be read, or the loss leaves the numbers.
    pub fn train(
        settings: &MapSettings,
        inputs: &Inputs,
        watch: &mut (dyn FnMut(&Epoch) + Send),
    ) -> Result<Self> {
        let problem = &inputs.problem;
        match settings.solver {
            Solver::Mirror => train_mirror(problem, &settings.mirror(), None, watch)
                .map(Self::Mirror)
                .of_both(&settings.cells, &settings.voxels),
            Solver::Adam => {
                let initial = match &settings.init_logits {
                    None => InitialLogits::Random,
                    Some(path) => {
                        let (cells, voxels) = (problem.n_cells(), problem.n_voxels());
                        InitialLogits::Given(initial_logits(path, cells, voxels)?)
                    }
                };
                train_adam(problem, &settings.adam(), initial, watch)
                    .map(Self::Adam)
                    .of_both(&settings.cells, &settings.voxels)
            }
        }
    }

    /// The loss terms of every epoch.
    #[must_use]
    pub fn history(&self) -> &[Epoch] {
        match self {
            Self::Adam(trained) => trained.history(),
            Self::Mirror(mirrored) => mirrored.history(),
        }
    }

    /// The epoch whose loss is that of the mapping (of adam's: before its last step).
    #[must_use]
    pub fn chosen(&self) -> Option<&Epoch> {
        match self {
            Self::Adam(trained) => trained.history().last(),
            Self::Mirror(mirrored) => Some(mirrored.chosen()),
        }
    }

    /// Whether the loss came to rest before the last epoch.
    #[must_use]
    pub fn stopped_early(&self) -> bool {
        match self {
            Self::Adam(trained) => trained.stopped_early(),
            Self::Mirror(mirrored) => mirrored.stopped_early(),
        }
    }

    /// Writes the probabilities.
    ///
    /// # Errors
    /// If they cannot be had or written.
    pub fn write_probabilities(
        &self,
        path: &Path,
        problem: &Problem<CellExpression>,
        keep: Keep,
        contents: &Contents<'_>,
    ) -> Result<Stored> {
        match self {
            Self::Adam(trained) => mapping_file::write(path, trained, keep, contents),
            Self::Mirror(mirrored) => {
                let mapping = mirrored.factors().mapping(problem.cells());
                mapping_file::write(path, &mapping, keep, contents)
            }
        }
    }

    /// The training genes in space by the exact mapping, (voxels, genes).
    ///
    /// * `values`: what is carried, the training genes of the same cells
    ///
    /// # Errors
    /// If the cells cannot be read.
    pub fn training_genes(
        &self,
        problem: &Problem<CellExpression>,
        values: &CellExpression,
    ) -> Result<Array2<f32>> {
        let mapped = problem.cells();
        if let (Some(cells), Some(values)) = (mapped.whole(), values.whole()) {
            return Ok(match self {
                Self::Adam(trained) => transfer(trained, values)?,
                Self::Mirror(mirrored) => transfer(&mirrored.factors().mapping(cells), values)?,
            });
        }
        let Self::Mirror(mirrored) = self else {
            unreachable!("adam holds its cells");
        };
        // Part by part: what is mapped is what is carried, transformed.
        let mut sums = Array2::<f32>::zeros((problem.n_voxels(), problem.n_genes()));
        values.for_each_part(0..values.n_cells(), &mut |first, values| {
            let last = first + values.n_rows();
            mapped.for_each_part(first..last, &mut |_, cells: &SparseRows| {
                let part = transfer(&mirrored.factors().mapping(cells), values);
                sums += &part.map_err(|never| match never {})?;
                Ok::<(), StoreError>(())
            })
        })?;
        Ok(sums)
    }
}
