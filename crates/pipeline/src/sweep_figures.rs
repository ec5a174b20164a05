//! Figures of a sweep: how far it is, what it costs, and how scores follow the share of genes that trained.

use crate::error::{PipelineError, Result};
use crate::folds::FoldResult;
use crate::held_out::HeldOut;
use crate::prediction_intervals::Pairs;
use crate::sweep_collect::unchanged_voxels;
use crate::sweep_work::{SweepKind, SweepWork};
use crate::wording::{count, duration};
use std::collections::BTreeMap;
use std::path::Path;
use tangram_report::Figure;
use tangram_report::several::{self, Bar, BarKind};
use tangram_store::memory;
use tangram_sweep::{Cause, Manifest, Standing, State, TaskProgress, progress_of};

/// How far a sweep is, by the records of its attempts alone.
///
/// # Errors
/// If the folder is no sweep, or a record cannot be read.
pub fn progress(sweep: &Path) -> Result<Figure> {
    let manifest = Manifest::read(sweep)?;
    let work = SweepWork::of(&manifest)?;
    let noun = work.noun();
    let tasks = progress_of(sweep, &manifest)?;
    let done = |task: &TaskProgress| match task.standing {
        Standing::Done => manifest.items_of(task.task).len(),
        _ => task.items_done(),
    };
    let seconds: Vec<f64> = tasks
        .iter()
        .flat_map(TaskProgress::seconds_of_items)
        .collect();
    let attempts = tasks.iter().flat_map(|t| &t.attempts);
    let peak = attempts.map(|a| a.peak_memory_bytes).max().unwrap_or(0);
    let mut heading = format!(
        "{}: {} of {} done, {} of {}",
        sweep.display(),
        tasks.iter().map(done).sum::<usize>(),
        count(manifest.n_items(), noun),
        duration(seconds.iter().sum()),
        match work.counted() {
            "section" => "registering",
            _ => "training",
        }
    );
    if peak > 0 {
        heading.push_str(&format!(", {} at most", memory::for_people(peak)));
    }
    Ok(several::progress(
        &heading,
        noun,
        &standings(&tasks),
        &seconds,
        &ends(&tasks),
    )?)
}

fn bars(numbers: BTreeMap<(u8, String), usize>) -> Vec<Bar> {
    let bar = |((order, name), number)| Bar {
        name,
        number,
        kind: match order {
            0 => BarKind::Good,
            1 => BarKind::Open,
            _ => BarKind::Bad,
        },
    };
    numbers.into_iter().map(bar).collect()
}

/// Tasks by how they stand.
fn standings(tasks: &[TaskProgress]) -> Vec<Bar> {
    let mut numbers: BTreeMap<(u8, String), usize> = BTreeMap::new();
    for task in tasks {
        let (order, name) = match task.standing {
            Standing::Done => (0, "done".to_owned()),
            // Whether it is, only the machine can say.
            Standing::Running => (1, "at work, or lost".to_owned()),
            Standing::Stopped => (1, "stopped".to_owned()),
            Standing::Waiting => (1, "not begun".to_owned()),
            Standing::Failed(cause) => (2, cause.name().to_owned()),
        };
        *numbers.entry((order, name)).or_default() += 1;
    }
    bars(numbers)
}

/// Attempts by how they ended.
fn ends(tasks: &[TaskProgress]) -> Vec<Bar> {
    let mut numbers: BTreeMap<(u8, String), usize> = BTreeMap::new();
    for attempt in tasks.iter().flat_map(|t| &t.attempts) {
        let (order, name) = match attempt.state {
            State::Done => (0, "with a result"),
            State::Running => (1, "no end recorded"),
            State::Stopped => (1, "stopped"),
            State::Failed => (2, attempt.cause.unwrap_or(Cause::Unexpected).name()),
        };
        *numbers.entry((order, name.to_owned())).or_default() += 1;
    }
    bars(numbers)
}

/// Mean score of the genes held out against the share of genes that trained, of an ablation.
///
/// # Errors
/// If the folder is no ablation, or none of its folds is done.
pub fn fractions(sweep: &Path) -> Result<Figure> {
    let no = |reason: &str| PipelineError::NoPicture {
        path: sweep.to_owned(),
        reason: reason.to_owned(),
    };
    let manifest = Manifest::read(sweep)?;
    let work = SweepWork::of(&manifest)?;
    let (SweepKind::Ablation, SweepWork::Folds(settings, folds)) =
        (SweepKind::of(&manifest)?, work)
    else {
        return Err(no(
            "not an ablation; make one with `tangram sweep new ablation --fractions 0.25,0.5,0.75`",
        ));
    };
    let n_genes = settings.genes.len();
    let mut points = Vec::new();
    for task in progress_of(sweep, &manifest)? {
        let Some(attempt) = task.decisive().filter(|_| task.standing == Standing::Done) else {
            continue;
        };
        for outcome in &attempt.items {
            let result: FoldResult = outcome.result()?;
            let scores: Vec<f64> = result
                .genes
                .iter()
                .map(|g| g.score)
                .filter(|s| s.sparsity_measured < 1.0 && s.sparsity_predicted < 1.0)
                .map(|s| s.cosine)
                .collect();
            if let (Some(fold), false) = (folds.get(outcome.item), scores.is_empty()) {
                let share = 1.0 - fold.held_out.len() as f64 / n_genes.max(1) as f64;
                points.push((share, scores.iter().sum::<f64>() / scores.len() as f64));
            }
        }
    }
    if points.is_empty() {
        return Err(no("no fold is done; do them with `tangram sweep run`"));
    }
    Ok(several::fractions(&points, n_genes)?)
}

/// Prediction intervals of a sweep in which every gene was held out, by what `sweep collect` wrote.
///
/// # Errors
/// If the folder is no such sweep, its predictions are not collected, or a file cannot be read.
pub fn intervals(sweep: &Path) -> Result<Figure> {
    let no = |reason: &str| PipelineError::NoPicture {
        path: sweep.to_owned(),
        reason: reason.to_owned(),
    };
    let manifest = Manifest::read(sweep)?;
    let SweepWork::Folds(settings, _) = SweepWork::of(&manifest)? else {
        return Err(no(
            "no sweep over folds; make one with `tangram sweep new loo` or `kfold`",
        ));
    };
    let files = ["h5ad", "zarr"].map(|ending| sweep.join(format!("predictions.{ending}")));
    let Some(predictions) = files.iter().find(|file| file.exists()) else {
        return Err(no(
            "has no predictions of genes that were held out; `tangram sweep collect` writes those of a sweep `loo` or `kfold`",
        ));
    };
    unchanged_voxels(&manifest, sweep)?;
    let held_out = HeldOut::open(predictions, &settings.map_settings(sweep)?)?;
    let genes = held_out.genes();
    let mut pairs = Pairs::new(held_out.voxels.n_rows(), genes.len());
    held_out.for_each_measured(&genes, |gene, measured| {
        pairs.add(&held_out.predicted(gene), &measured);
    })?;
    pairs.figure()?.ok_or_else(|| {
        no("too few genes are predicted: the intervals of each fifth of them are judged by the others")
    })
}
