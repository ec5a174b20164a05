//! What is written of a mapping when it is learned: factors, probabilities, history, `run.toml`.

use crate::clusters::CellClusters;
use crate::error::{PipelineError, Result};
use crate::factors_file;
use crate::filter::KEPT;
use crate::gathered::Gathered;
use crate::inputs::Inputs;
use crate::learned::Learned;
use crate::map::Outcome;
use crate::mapping_file::{Contents, Stored};
use crate::package;
use crate::ranks::Ranks;
use crate::run_directory::{FinalLoss, GeneRecord, InputRecord, Record, RunFile, write_history};
use crate::settings::MapSettings;
use crate::versions::Versions;
use ndarray::{Array2, ArrayView1};
use std::path::Path;
use tangram_core::{CellChunks, Clusters, Familiar, GeneScore, SparseRows, Summary, score_gene};
use tangram_mapper::Epoch;
use tangram_store::memory;

/// Writes everything of the run but `run.toml`, which makes it one; scores the training genes by the exact mapping.
///
/// * `settings`: with what was chosen in them
/// * `gathered`: adam's probabilities on all ranks, which the others serve
///
/// # Errors
/// If an input cannot be read, or the folder not written.
pub(crate) fn write_run(
    directory: &Path,
    settings: MapSettings,
    inputs: &Inputs,
    outcome: &Outcome,
    gathered: Option<&Gathered<'_>>,
    ranks: &Ranks,
) -> Result<RunFile> {
    let learned = &outcome.learned;
    let Inputs {
        cells,
        voxels,
        problem,
        ..
    } = inputs;
    let history = learned.history();
    let last = learned.chosen().ok_or(PipelineError::NoEpoch)?;
    let scores = train_scores(&outcome.predicted, &*inputs.measured(ranks, &settings)?);
    let genes = GeneRecord {
        training: inputs.genes.names.clone(),
        held_out: inputs.genes.held_out.names.clone(),
        dropped: inputs.dropped.clone(),
    };
    let sparsity = package::sparsity(&inputs.carried(ranks))?;
    let contents = Contents {
        cells: cells.file.dataset(),
        voxels: voxels.file.dataset(),
        settings: &settings,
        genes: &genes,
        history,
        scores: &scores,
        sparsity: &sparsity,
        filter: learned.filter(),
        clusters: inputs.clustered.as_ref().map(|clustered| &clustered.of),
    };
    let factors = match learned {
        Learned::Mirror { factors, .. } => {
            let name = settings.format.factors_name().to_owned();
            let familiar = Familiar::of(&*inputs.single_cells(ranks))?;
            let path = directory.join(&name);
            factors_file::write(&path, factors, &familiar, &contents)?;
            Some(name)
        }
        Learned::Adam { .. } => None,
    };
    let (mapping, stored) = match settings.kept(problem.n_cells(), problem.n_voxels()) {
        Some(keep) => {
            let name = settings.format.file_name().to_owned();
            let path = directory.join(&name);
            let stored = learned.write_probabilities(
                &path,
                (inputs, gathered),
                &settings,
                keep,
                &contents,
            )?;
            (Some(name), stored)
        }
        None => (None, Stored::default()),
    };
    write_history(directory, history)?;
    let clusters = contents.clusters.map(CellClusters::clusters);
    let passes: usize = history.iter().map(|e| e.n_cells).sum();
    let shared = ranks.shape().n_ranks() > 1;
    let record = Record {
        factors,
        mapping,
        streamed: problem.cells().whole().is_none(),
        cell_names_sha256: cells.file.names_sha256().to_owned(),
        n_kept: learned.filter().map(n_kept),
        library_median: inputs.library_median,
        n_cells: cells.file.n_rows(),
        n_clusters: clusters.map(Clusters::len),
        n_unlabelled: clusters.map_or(0, Clusters::n_unlabelled),
        n_voxels: problem.n_voxels(),
        dropped_voxels: inputs.dropped_voxels.clone(),
        n_genes: problem.n_genes(),
        n_stored: stored.n_stored,
        mean_dropped_mass: stored.mean_dropped_mass,
        epochs_run: history.len(),
        full_passes: passes as f64 / problem.n_cells() as f64,
        stopped_early: learned.stopped_early(),
        device: outcome.device.clone(),
        products: outcome.products.clone(),
        seconds_per_epoch: median_step(history),
        seconds_training: outcome.seconds,
        peak_memory_bytes: memory::peak().unwrap_or(0),
        final_loss: FinalLoss {
            total: last.total,
            terms: last.terms,
        },
        train_score: Summary::of(&scores).map(Into::into),
        cells: InputRecord {
            path: settings.cells.clone(),
            sha256: cells.sha256.clone(),
        },
        voxels: InputRecord {
            path: settings.voxels.clone(),
            sha256: voxels.sha256.clone(),
        },
        temperatures: outcome.temperatures.clone(),
        grid: shared.then(|| ranks.shape().to_string()),
        seconds_exchanging: shared.then_some(outcome.exchange.seconds),
        bytes_exchanged: shared.then_some(outcome.exchange.bytes),
        peak_memory_by_rank: match shared {
            true => outcome.peaks.clone(),
            false => Vec::new(),
        },
        files: None,
        versions: Versions::current(),
        genes,
    };
    Ok(RunFile {
        map: settings,
        record,
    })
}

/// Number of cells that a filter keeps: those of which it keeps more than half.
fn n_kept(filter: &[f64]) -> usize {
    filter.iter().filter(|&&f| f > KEPT).count()
}

/// Scores of predicted genes, (voxels, genes), against measured ones.
fn train_scores(predicted: &Array2<f32>, voxels: &SparseRows) -> Vec<GeneScore> {
    let measured = voxels.transpose();
    let mut column = vec![0.0; measured.n_cols()];
    let score = |(k, predicted): (usize, ArrayView1<'_, f32>)| {
        column.fill(0.0);
        let (places, values) = measured.row(k);
        places
            .iter()
            .zip(values)
            .for_each(|(&j, &v)| column[j as usize] = v);
        score_gene(&predicted.to_vec(), &column)
    };
    predicted
        .columns()
        .into_iter()
        .enumerate()
        .map(score)
        .collect()
}

/// Median seconds from one epoch to the next; the first, which warms up, counts only if there is no other.
fn median_step(history: &[Epoch]) -> f64 {
    let mut steps: Vec<f64> = history
        .windows(2)
        .map(|e| e[1].elapsed_s - e[0].elapsed_s)
        .collect();
    steps.sort_unstable_by(f64::total_cmp);
    steps
        .get(steps.len() / 2)
        .copied()
        .unwrap_or_else(|| history.first().map_or(0.0, |e| e.elapsed_s))
}
