//! A temperature chosen by genes that are held out of training for that.

use crate::{Factors, MapError, MirrorSettings, Problem, train_mirror};
use serde::{Deserialize, Serialize};
use tangram_core::{CellChunks, Filtered, SparseRows, score_gene, transfer};

/// Temperatures that are tried, from the smoothest to free logits: a smooth mapping is a good start for a sharper one.
const CANDIDATES: [Option<f64>; 6] = [Some(0.5), Some(1.0), Some(2.0), Some(4.0), Some(8.0), None];
/// Every fifth gene is held out, in three folds.
const FOLD: usize = 5;
const FOLDS: usize = 3;
/// Most cells that take part.
pub const CELLS_TO_CHOOSE_BY: usize = 2048;
/// Passes with the first temperature, and with each further one, which starts from the factors of the one before.
const PASSES: [usize; 2] = [50, 20];
/// A sharper mapping is preferred unless a smoother one is better by more than this.
const WORTH: f64 = 1e-3;

/// A temperature and its score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct TemperatureScore {
    /// κ; `None`: free logits.
    pub temperature: Option<f64>,
    /// Mean cosine of held-out genes.
    pub held_out: f64,
}

/// Scores temperatures by training genes held out in turn; all passes see at most 2,048 cells, and no filter.
///
/// # Errors
/// [`MapError`] as [`train_mirror`]; with fewer than ten genes there is nothing to choose by, and no score comes back.
pub fn score_temperatures<C: CellChunks>(
    problem: &Problem<C>,
    settings: &MirrorSettings,
) -> Result<Vec<TemperatureScore>, MapError> {
    let n_genes = problem.n_genes();
    if n_genes < 2 * FOLD {
        return Ok(Vec::new());
    }
    let n_cells = problem.n_cells();
    let chosen = n_cells.min(CELLS_TO_CHOOSE_BY);
    let chosen: Vec<usize> = (0..chosen).map(|i| i * n_cells / chosen).collect();
    let cells = problem.cells().select(&chosen);
    let cells = cells.map_err(|e| MapError::Cells(e.into()))?;
    let mode = problem.mode().of_rows(&chosen);
    let mut scores = CANDIDATES.map(|temperature| TemperatureScore {
        temperature,
        held_out: 0.0,
    });
    for fold in 0..FOLDS {
        let genes = |held_out: bool| -> Vec<usize> {
            (0..n_genes)
                .filter(|k| (k % FOLD == fold) == held_out)
                .collect()
        };
        let (kept, held_out) = (genes(false), genes(true));
        let fold = problem.of_same_voxels(
            cells.select_columns(&kept),
            problem.voxels().select_columns(&kept),
        )?;
        let fold = fold.with_mode(mode.clone())?;
        let carried = cells.select_columns(&held_out);
        let measured = problem.voxels().select_columns(&held_out);
        let mut start: Option<Factors> = None;
        for score in &mut scores {
            let settings = MirrorSettings {
                temperature: score.temperature,
                passes: PASSES[usize::from(start.is_some())],
                batches: 1,
                batch_passes: None,
                ..*settings
            };
            let mirrored = train_mirror(&fold, &settings, start.as_ref(), &mut |_| ())?;
            let factors = mirrored.factors().clone();
            score.held_out += mean_cosine(&factors, &fold, &carried, &measured)? / FOLDS as f64;
            start = Some(factors);
        }
    }
    Ok(scores.to_vec())
}

/// The sharpest temperature that is as good as the best.
#[must_use]
pub fn best_temperature(scores: &[TemperatureScore]) -> Option<f64> {
    let best = scores.iter().map(|s| s.held_out).fold(f64::MIN, f64::max);
    let good = scores.iter().rev().find(|s| s.held_out >= best - WORTH);
    good.and_then(|s| s.temperature)
}

fn mean_cosine(
    factors: &Factors,
    fold: &Problem,
    carried: &SparseRows,
    measured: &SparseRows,
) -> Result<f64, MapError> {
    let mapping = factors.mapping(fold.cells());
    let predicted = transfer(&Filtered::new(&mapping, fold.mode().weights()), carried);
    let predicted = predicted.map_err(|e| MapError::Cells(e.into()))?;
    let measured = measured.to_dense();
    let pairs = predicted.columns().into_iter().zip(measured.columns());
    let cosines = pairs.map(|(p, m)| score_gene(&p.to_vec(), &m.to_vec()).cosine);
    Ok(cosines.sum::<f64>() / measured.ncols() as f64)
}
