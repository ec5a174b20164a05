//! What a mapping reads: both files, their training genes, the prior.

use crate::clusters::Clustered;
use crate::doubts;
use crate::error::{PipelineError, Result};
use crate::input_files::Files;
use crate::island_types;
use crate::listener::Listener;
use crate::memory_check::Counts;
use crate::neighbours;
use crate::ranks::{Ranks, agreed, alike, on_first};
use crate::same_files::hashes;
use crate::settings::MapSettings;
use crate::wording::count;
use std::borrow::Cow;
use std::sync::Arc;
use tangram_comm::GridShape;
use tangram_core::names::examples;
use tangram_core::normalize::transform;
use tangram_core::{CellChunks, SharedGenes, SparseRows};
use tangram_mapper::{CELLS_TO_CHOOSE_BY, Engine, Problem, mirror_memory_needed};
use tangram_store::{CellExpression, ExpressionFile, StreamedCells, memory, try_file};

/// Fewer training genes than this tell little of where a cell lies.
const FEW_GENES: usize = 50;
/// Fewer cells or voxels than this are hardly a data set.
const FEW_ROWS: usize = 10;

/// Both files, and the training genes of both.
#[derive(Debug)]
pub struct Inputs {
    /// The cells' file.
    pub cells: Side,
    /// The voxels' file.
    pub voxels: Side,
    /// Training and held-out genes.
    pub genes: SharedGenes,
    /// Shared genes that are zero everywhere on one side.
    pub dropped: Vec<String>,
    /// Voxels without a count that were left out.
    pub dropped_voxels: Vec<String>,
    /// The values to train on.
    pub problem: Problem<CellExpression>,
    /// Untransformed values for predictions and scores, if training uses transformed ones.
    pub untransformed: Option<(CellExpression, SparseRows)>,
    /// All cells with the training genes, untransformed, read from disk on demand.
    pub all_cells: StreamedCells,
    /// The clusters of the cells, if the rows of the problem are clusters.
    pub clustered: Option<Clustered>,
    /// The grid that the ranks were arranged in, by the settings or by what fits; `None` for one rank.
    pub grid: Option<GridShape>,
    /// Median total of the cells, if they were normalised to it.
    pub library_median: Option<f64>,
}

/// One of the two files.
#[derive(Debug)]
pub struct Side {
    /// Its matrix and names.
    pub file: Arc<ExpressionFile>,
    /// SHA-256 of its contents.
    pub sha256: String,
}

impl Inputs {
    /// The untransformed values of all rows of the problem, cells or clusters, and training genes.
    #[must_use]
    pub fn carried(&self, ranks: &Ranks) -> Cow<'_, CellExpression> {
        if let Some(clustered) = &self.clustered {
            return Cow::Owned(CellExpression::Memory(clustered.expression.plain.clone()));
        }
        let own = self.untransformed.as_ref().map(|(cells, _)| cells);
        match ranks.shape().n_ranks() {
            1 => Cow::Borrowed(own.unwrap_or(self.problem.cells())),
            _ => Cow::Owned(CellExpression::Streamed(self.all_cells.clone())),
        }
    }

    /// The untransformed values of all cells, whether or not they are mapped by clusters, and training genes.
    #[must_use]
    pub fn single_cells(&self, ranks: &Ranks) -> Cow<'_, CellExpression> {
        match self.clustered {
            Some(_) => Cow::Owned(CellExpression::Streamed(self.all_cells.clone())),
            None => self.carried(ranks),
        }
    }

    /// The values of all rows of the problem, cells or clusters, and training genes, as they are mapped.
    #[must_use]
    pub fn mapped(&self, settings: &MapSettings) -> CellExpression {
        match &self.clustered {
            Some(clustered) => CellExpression::Memory(clustered.expression.trained.clone()),
            None => CellExpression::Streamed(self.all_cells.transformed(settings.transform)),
        }
    }

    /// Number of this rank's non-zero counts of the training genes.
    #[must_use]
    pub fn counts(&self, settings: &MapSettings) -> Counts {
        match self.problem.cells() {
            CellExpression::Memory(rows) => Counts::held(rows.nnz()),
            CellExpression::Streamed(_) => {
                Counts::read(settings, &self.cells.file, self.problem.shares())
            }
        }
    }

    /// The problem of all ranks together; its cells are read from disk on demand.
    ///
    /// # Errors
    /// [`PipelineError::Memory`] if all voxels and genes do not fit; if the voxels' file cannot be read.
    pub fn whole(&self, ranks: &Ranks, settings: &MapSettings) -> Result<Problem<CellExpression>> {
        let problem = &self.problem;
        let (n_voxels, n_genes) = (problem.n_voxels(), problem.n_genes());
        let n_cells = problem.n_cells().min(CELLS_TO_CHOOSE_BY);
        let counts = (n_cells * n_genes) as f64 * self.cells.file.density();
        let size = [n_cells, n_voxels, n_genes];
        let needed = {
            let (objective, precision) =
                (settings.objective, settings.precision.on(Engine::Native));
            mirror_memory_needed(size, counts as usize, None, &objective, precision)
        };
        if let Some(available) = memory::available().filter(|&available| needed > available) {
            return Err(PipelineError::Memory {
                n_cells,
                n_voxels,
                needed: memory::for_people(needed),
                available: memory::for_people(available),
                remedy: "give --temperature a number, such as one that auto chose for fewer voxels",
            });
        }
        let how = settings.transform;
        let mut voxels = self.measured(ranks, settings)?.into_owned();
        transform(&mut voxels, how);
        let whole = problem.of_same_voxels(self.mapped(settings), voxels)?;
        Ok(whole.with_mode(problem.mode().clone())?)
    }

    /// The measured training genes in all voxels, untransformed.
    ///
    /// # Errors
    /// If the voxels' file cannot be read.
    pub fn measured(&self, ranks: &Ranks, settings: &MapSettings) -> Result<Cow<'_, SparseRows>> {
        if ranks.shape().n_ranks() == 1 {
            let own = self.untransformed.as_ref().map(|(_, voxels)| voxels);
            return Ok(Cow::Borrowed(own.unwrap_or(self.problem.voxels())));
        }
        let file = &self.voxels.file;
        let factors = file.factors(settings.normalize_voxels)?;
        let read = file.read_scaled(&self.genes.in_voxels, factors.as_deref())?;
        Ok(Cow::Owned(read))
    }
}

/// Reads this rank's share of both files, aligns their genes and reports their sizes. Before that, the ranks are arranged in the fastest grid
/// that fits, unless the settings name one.
///
/// # Errors
/// If a file does not fit, or memory does not suffice.
pub fn read(
    settings: &MapSettings,
    engine: Engine,
    ranks: &mut Ranks,
    listener: &dyn Listener,
) -> Result<Inputs> {
    // Opening a damaged file may end a process: one rank has it tried before all open it.
    on_first(ranks, || {
        try_file(&settings.cells)?;
        Ok(try_file(&settings.voxels)?)
    })?;
    let opened = agreed(ranks, Files::open(settings, ranks))?;
    alike(ranks.world(), "inputs", &opened.content())?;
    on_first(ranks, || opened.check(settings, listener))?;
    let mut files = vec![&*settings.cells, &*settings.voxels];
    if ranks.shape().n_ranks() > 1 {
        files.extend(settings.init_logits.as_deref());
        files.extend(settings.init_filter.as_deref());
    }
    let hashes = hashes(&files, ranks)?;
    let grid = opened.arrange(settings, engine, ranks, listener)?;
    let ranks = &*ranks;
    let (mut sums, streamed) = opened.sums(settings, engine, ranks)?;
    doubts::of_prior(settings, sums[0].totals(), listener);
    doubts::of_filter(settings, listener);
    let clustered = opened.clustered(&mut sums[1], settings, ranks)?;
    let hashes = [hashes[0].clone(), hashes[1].clone()];
    let inputs = opened.inputs(sums, (streamed, clustered), settings, hashes, ranks);
    let inputs = agreed(ranks, inputs.map(|inputs| Inputs { grid, ..inputs }))?;
    tell_inputs(&inputs, listener)?;
    neighbours::tell(settings.neighbours, inputs.problem.neighbours(), listener)?;
    island_types::tell(settings, listener);
    tell_doubts(settings, &inputs, listener);
    Ok(inputs)
}

fn tell_inputs(inputs: &Inputs, listener: &dyn Listener) -> Result<()> {
    let Inputs {
        genes,
        dropped,
        voxels,
        problem,
        ..
    } = inputs;
    let cells = match &inputs.clustered {
        Some(clustered) => {
            let n_cells = clustered.of.clusters().n_cells().iter().sum();
            let clusters = count(problem.n_cells(), "cluster");
            format!("{clusters} of {}", count(n_cells, "cell"))
        }
        None => count(problem.n_cells(), "cell"),
    };
    listener.say(format_args!(
        "{cells} onto {} by {}",
        count(problem.n_voxels(), "voxel"),
        count(problem.n_genes(), "gene"),
    ))?;
    if !dropped.is_empty() {
        let names = || dropped.iter().map(String::as_str);
        listener.say(format_args!(
            "left out {} without any count in the cells or in the voxels: {}",
            count(dropped.len(), "shared gene"),
            examples(names()),
        ))?;
        listener.explain(format_args!(
            "all of them: {}",
            names().collect::<Vec<_>>().join(", ")
        ))?;
    }
    if !genes.unscored.is_empty() {
        let names = examples(genes.unscored.iter().map(String::as_str));
        listener.warn(format_args!(
            "held-out genes that only one of the files has cannot be scored: {names}"
        ));
    }
    // A rank with a share of the genes cannot know.
    let whole = problem.voxels().n_rows() == problem.n_voxels()
        && problem.voxels().n_cols() == problem.n_genes();
    let silent: Vec<usize> = (0..problem.voxels().n_rows())
        .filter(|_| whole)
        .filter(|&j| problem.voxels().row(j).0.is_empty())
        .collect();
    if !silent.is_empty() {
        let names = voxels.file.names()?;
        let silent_names = silent.iter().map(|&j| names[j].as_str());
        let (n, names) = (count(silent.len(), "voxel"), examples(silent_names));
        listener.warn(format_args!(
            "{n} without any count in the training genes, known by density only: {names}"
        ));
    }
    Ok(())
}

/// Says what of the inputs may be a mistake.
fn tell_doubts(settings: &MapSettings, inputs: &Inputs, listener: &dyn Listener) {
    let problem = &inputs.problem;
    let n_genes = problem.n_genes();
    if n_genes < FEW_GENES {
        listener.warn(format_args!(
            "only {} to train on: places that differ in other genes cannot be told apart",
            count(n_genes, "gene")
        ));
    }
    let n_cells = inputs.cells.file.n_rows();
    for (n, what) in [(n_cells, "cell"), (problem.n_voxels(), "voxel")] {
        if n < FEW_ROWS {
            listener.warn(format_args!(
                "only {}: is it the right file, and not its transpose?",
                count(n, what)
            ));
        }
    }
    let same_names = inputs.cells.file.names_sha256() == inputs.voxels.file.names_sha256();
    if same_names && settings.cells != settings.voxels && problem.cells().n_cells() > 1 {
        listener.warn(format_args!(
            "cells and voxels have the same names in the same order: are both files of the same data?"
        ));
    }
}
