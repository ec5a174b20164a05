//! The results of a sweep in one place: predictions and scores.
//!
//! What the shards hold is scored here, against the voxels' file; of the records of attempts only passes and losses are taken.

use crate::choices::MappingFormat;
use crate::error::{PipelineError, Result, full_text};
use crate::expression_files::measured_voxels;
use crate::folds::{Fold, FoldResult, FoldSettings, GeneOutcome};
use crate::listener::Listener;
use crate::registrations_collect::{self, CollectedSections};
use crate::report::REPORT_FILE;
use crate::run_directory::{RUN_FILE, RunDirectory, write};
use crate::runs::{Run, RunResult, unchanged};
use crate::score::totals_of;
use crate::settings::MapSettings;
use crate::sweep_report;
use crate::sweep_work::{CELLS, SweepKind, SweepWork, VOXELS};
use crate::wording::count;
use crate::yardstick::{Scored, ScoresInShort};
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tangram_core::{Column, GeneScore, Summary, Table, auc, score_gene};
use tangram_store::{
    AnnDataWriter, Existing, ExpressionFile, MatrixName, StoreError, Uns, fingerprint, try_file,
    write_aside,
};
use tangram_sweep::{
    Manifest, Outcome, Results, Standing, Submissions, SweepError, TaskProgress, gather_logs,
    progress_of,
};

/// A log that nothing was written to for so long is complete, beside jobs that may be at work.
const SETTLED: Duration = Duration::from_secs(60);

/// What to collect, and where to.
#[derive(Debug, Clone, Copy)]
pub struct CollectSettings<'a> {
    /// The folder of the sweep.
    pub sweep: &'a Path,
    /// The folder to write into; made if it is not there.
    pub out: &'a Path,
    /// Whether tasks may be missing: their genes are NaN in the predictions and left out of the scores.
    pub allow_missing: bool,
    /// Format of the predictions.
    pub format: MappingFormat,
    /// What happens to what an earlier collection wrote.
    pub existing: Existing,
    /// Whether predictions come with their report, `report.html`.
    pub report: bool,
}

/// What was collected.
#[derive(Debug, Clone)]
pub struct Collected {
    /// What was swept.
    pub kind: SweepKind,
    /// Folds, or runs.
    pub n_items: usize,
    /// Those that are missing.
    pub n_missing: usize,
    /// The predictions, where every gene is held out once.
    pub predictions: Option<PathBuf>,
    /// The table of scores, or of sections.
    pub scores: PathBuf,
    /// Sections that were registered, where the sweep is of these.
    pub sections: Option<CollectedSections>,
    /// Scores of the genes held out, over all folds.
    pub held_out: Option<Summary>,
    /// The same beside what the totals of the voxels alone would score; `None` if records of earlier builds do not say.
    pub yardstick: Option<ScoresInShort>,
    /// Area under the curve of score and sparsity.
    pub auc: Option<f64>,
}

/// Collects a sweep.
///
/// # Errors
/// If tasks are missing or damaged, the voxels' file has changed, or the outputs are there already.
pub fn collect(settings: &CollectSettings<'_>, listener: &dyn Listener) -> Result<Collected> {
    let CollectSettings { sweep, out, .. } = *settings;
    let manifest = Manifest::read(sweep)?;
    let progress = progress_of(sweep, &manifest)?;
    let missing: Vec<String> = progress
        .iter()
        .filter(|t| t.standing != Standing::Done)
        .map(|t| t.task.to_string())
        .collect();
    if !missing.is_empty() && !settings.allow_missing {
        return Err(SweepError::Incomplete {
            path: sweep.to_owned(),
            missing: missing.len(),
            n_tasks: progress.len(),
            examples: tangram_core::names::examples(missing.iter().map(String::as_str)),
        }
        .into());
    }
    if !out.is_dir() {
        std::fs::create_dir(out).map_err(|e| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        })?;
    }
    let scores = out.join("scores.tsv");
    let predictions = out.join(format!("predictions.{}", settings.format.ending()));
    let page = out.join(REPORT_FILE);
    for path in [&scores, &predictions, &page] {
        if settings.existing == Existing::Refuse && path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.clone() }.into());
        }
    }
    let write_scores = |text: &str| -> Result<()> {
        write_aside(&scores, settings.existing, |aside| write(aside, text))?;
        listener.say(format_args!("wrote {}", scores.display()))?;
        Ok(())
    };
    let kind = SweepKind::of(&manifest)?;
    let collected = match SweepWork::of(&manifest)? {
        SweepWork::Registrations(shared) => {
            let sections =
                registrations_collect::collect(settings, &manifest, &shared, &progress, listener)?;
            Collected {
                kind,
                n_items: manifest.n_items(),
                n_missing: sections.missing.len(),
                predictions: None,
                scores: sections.table.clone(),
                sections: Some(sections),
                held_out: None,
                yardstick: None,
                auc: None,
            }
        }
        SweepWork::Runs(runs) => {
            write_scores(&table_of_runs(sweep, &runs, &progress)?)?;
            let is_missing = |run: &&Run| !run.is_complete(sweep);
            Collected {
                kind,
                n_items: runs.len(),
                n_missing: runs.iter().filter(is_missing).count(),
                predictions: None,
                scores,
                sections: None,
                held_out: None,
                yardstick: None,
                auc: None,
            }
        }
        SweepWork::Folds(shared, folds) => {
            let mut outcomes = outcomes(&progress)?;
            let results = Results::of(sweep, &manifest);
            if let Some(results) = &results {
                let map = shared.map_settings(sweep)?;
                let voxels = voxels(&map, &manifest, sweep)?;
                let predicted = predicted(results, &manifest, &folds, &progress)?;
                rescore(&mut outcomes, &folds, &predicted, &voxels, &map)?;
                let file = Predictions {
                    manifest: &manifest,
                    settings: &shared,
                    predicted: &predicted,
                    outcomes: &outcomes,
                };
                file.write(&voxels, &predictions, settings.existing)?;
                listener.say(format_args!("wrote {}", predictions.display()))?;
            }
            write_scores(&table_of_folds(kind, &folds, &outcomes))?;
            if results.is_some() && settings.report {
                let map = shared.map_settings(sweep)?;
                let place = (page.as_path(), settings.existing);
                match sweep_report::of_predictions(sweep, &predictions, &map, place) {
                    Ok(()) => listener.say(format_args!("wrote {}", page.display()))?,
                    // The results are there.
                    Err(error) => listener.warn(format_args!("no report: {}", full_text(&error))),
                }
            }
            let genes = || outcomes.values().flat_map(|f| &f.genes);
            let scores_of = genes().map(|g| g.score);
            let patterns: Vec<GeneScore> = scores_of.filter(GeneScore::has_pattern).collect();
            let scored = |gene: &GeneOutcome| {
                Some(Scored {
                    trained: false,
                    score: gene.score,
                    against: gene.against?,
                })
            };
            let beside: Option<Vec<Scored>> = genes().map(scored).collect();
            Collected {
                kind,
                n_items: folds.len(),
                n_missing: folds.len() - outcomes.len(),
                predictions: results.map(|_| predictions),
                scores,
                sections: None,
                held_out: Summary::of(&patterns),
                yardstick: beside.map(|scored| ScoresInShort::of(&scored)),
                auc: auc(&patterns),
            }
        }
    };
    gather_logs_of(sweep, &progress, listener);
    Ok(collected)
}

/// Puts the logs of tasks that are done into one file. What hinders it is told, and no error: the results are there.
fn gather_logs_of(sweep: &Path, progress: &[TaskProgress], listener: &dyn Listener) {
    // A job that collects begins when the others have ended; beside them, one may still write its last line.
    let settled = match std::env::var_os("SLURM_JOB_ID") {
        Some(_) => Duration::ZERO,
        None => SETTLED,
    };
    let is_done = |task: usize| progress[task].standing == Standing::Done;
    let gathered = Submissions::of(sweep)
        .all()
        .and_then(|submissions| gather_logs(&submissions, &is_done, settled));
    match gathered {
        Ok(None) => {}
        Ok(Some((file, n))) => {
            // Nothing to be told ends a collection that is complete.
            let _ = listener.explain(format_args!(
                "{} of done tasks are in {} now",
                count(n, "log"),
                file.display()
            ));
        }
        Err(error) => listener.warn(format_args!("the logs stay as they are: {error}")),
    }
}

/// What the items of finished tasks gave.
fn finished(progress: &[TaskProgress]) -> impl Iterator<Item = &Outcome> {
    let done = progress.iter().filter(|t| t.standing == Standing::Done);
    done.filter_map(TaskProgress::decisive)
        .flat_map(|a| &a.items)
}

/// The results of finished folds, by number.
fn outcomes(progress: &[TaskProgress]) -> Result<BTreeMap<usize, FoldResult>, SweepError> {
    finished(progress)
        .map(|o| Ok((o.item, o.result()?)))
        .collect()
}

/// Refuses a voxels' file that is not what it was when the sweep was made.
///
/// # Errors
/// [`PipelineError::ChangedInput`], or the file cannot be read.
pub(crate) fn unchanged_voxels(manifest: &Manifest, sweep: &Path) -> Result<()> {
    let of_voxels = manifest.inputs.get(VOXELS);
    let input = of_voxels.map(|input| (VOXELS.to_owned(), input.clone()));
    unchanged(&input.into_iter().collect(), sweep)
}

/// The voxels' file, if it is what it was when the sweep was made.
fn voxels(map: &MapSettings, manifest: &Manifest, sweep: &Path) -> Result<ExpressionFile> {
    unchanged_voxels(manifest, sweep)?;
    try_file(&map.voxels)?;
    measured_voxels(map)
}

/// Predictions of all genes held out.
struct Predicted {
    /// Sorted by name.
    genes: Vec<String>,
    /// (voxels, genes); NaN where a task is missing.
    matrix: Array2<f32>,
}

fn predicted(
    results: &Results,
    manifest: &Manifest,
    folds: &[Fold],
    progress: &[TaskProgress],
) -> Result<Predicted> {
    let mut genes: Vec<String> = folds.iter().flat_map(|f| f.held_out.clone()).collect();
    genes.sort_unstable();
    let place: BTreeMap<&str, usize> = genes.iter().map(String::as_str).zip(0..).collect();
    let mut matrix = Array2::from_elem((results.item_size().1, genes.len()), f32::NAN);
    for task in progress.iter().filter(|t| t.standing == Standing::Done) {
        let digest = task.decisive().and_then(|a| a.shard_sha256.as_deref());
        let shard = match digest {
            Some(digest) => results.read(task.task, digest)?,
            None => {
                return Err(SweepError::Damaged {
                    path: results.place(task.task),
                }
                .into());
            }
        };
        for (values, fold) in shard.outer_iter().zip(manifest.items_of(task.task)) {
            for (values, gene) in values.outer_iter().zip(&folds[fold].held_out) {
                matrix.column_mut(place[gene.as_str()]).assign(&values);
            }
        }
    }
    Ok(Predicted { genes, matrix })
}

/// Scores what the shards hold, in the place of what the records say of it.
fn rescore(
    outcomes: &mut BTreeMap<usize, FoldResult>,
    folds: &[Fold],
    predicted: &Predicted,
    voxels: &ExpressionFile,
    map: &MapSettings,
) -> Result<()> {
    let n_voxels = predicted.matrix.nrows();
    if voxels.n_rows() != n_voxels {
        return Err(PipelineError::OtherNames {
            path: map.voxels.clone(),
            what: "voxels",
            reason: format!("{} instead of {n_voxels}", voxels.n_rows()),
        });
    }
    // As the folds saw them: scaled, not transformed.
    let columns = voxels.columns_of(&predicted.genes)?;
    let (totals, factors) = totals_of(voxels, map)?;
    let measured = voxels.read_scaled(&columns, factors.as_deref())?;
    let measured = measured.to_dense();
    let place: BTreeMap<&str, usize> = predicted
        .genes
        .iter()
        .map(String::as_str)
        .zip(0..)
        .collect();
    for (fold, outcome) in outcomes {
        let names = folds[*fold].held_out.iter();
        if !names.eq(outcome.genes.iter().map(|g| &g.gene)) {
            return Err(SweepError::Work {
                what: format!("the result of fold {fold}"),
                reason: "its genes are not those that the fold holds out".to_owned(),
            }
            .into());
        }
        for gene in &mut outcome.genes {
            let k = place[gene.gene.as_str()];
            let column = |of: &Array2<f32>| of.column(k).to_vec();
            let (predicted, measured) = (column(&predicted.matrix), column(&measured));
            gene.score = score_gene(&predicted, &measured);
            gene.against = Some(totals.compare(&predicted, &measured, factors.as_deref()));
        }
    }
    Ok(())
}

/// The predictions as an AnnData of voxels × genes.
struct Predictions<'a> {
    manifest: &'a Manifest,
    settings: &'a FoldSettings,
    predicted: &'a Predicted,
    outcomes: &'a BTreeMap<usize, FoldResult>,
}

impl Predictions<'_> {
    fn write(&self, voxels: &ExpressionFile, path: &Path, existing: Existing) -> Result<()> {
        let Predicted { genes, matrix } = self.predicted;
        let mut var = Table::of_names(genes.clone());
        let scores: BTreeMap<&str, &GeneScore> = self
            .outcomes
            .values()
            .flat_map(|f| f.genes.iter().map(|g| (g.gene.as_str(), &g.score)))
            .collect();
        let column = |of: &dyn Fn(&GeneScore) -> Option<f64>| {
            let value = |gene: &String| scores.get(gene.as_str()).and_then(|s| of(s));
            Column::Numeric(genes.iter().map(value).collect())
        };
        var.set("cosine", column(&|s| Some(s.cosine)));
        var.set("pearson", column(&|s| s.pearson));
        var.set("sparsity_measured", column(&|s| Some(s.sparsity_measured)));
        let mut file = AnnDataWriter::create(path, existing, &voxels.dataset().obs()?, &var)?;
        let mut sink = file.dense(&MatrixName::X)?;
        sink.write_columns(0, matrix.view())?;
        sink.finish()?;
        if let Some((spatial, _)) = voxels.dataset().coordinates()? {
            file.obsm("spatial", spatial.view())?;
        }
        file.uns("tangram", &uns(self.manifest, self.settings)?)?;
        Ok(file.finish()?)
    }
}

/// What the predictions were made from; nothing that differs from one collection to the next.
fn uns(manifest: &Manifest, settings: &FoldSettings) -> Result<Uns> {
    let text = |value: &str| Uns::Text(value.to_owned());
    let sha256 = |name: &str| {
        let input = manifest.inputs.get(name);
        text(input.map_or("", |input| &input.sha256))
    };
    Ok(Uns::Map(BTreeMap::from([
        ("kind".to_owned(), text(&manifest.kind)),
        (
            "settings".to_owned(),
            text(&toml::to_string(&settings.map)?),
        ),
        ("cells_sha256".to_owned(), sha256(CELLS)),
        ("voxels_sha256".to_owned(), sha256(VOXELS)),
        ("version".to_owned(), text(&manifest.version)),
    ])))
}

/// A line for every fold and gene that it holds out.
fn table_of_folds(
    kind: SweepKind,
    folds: &[Fold],
    outcomes: &BTreeMap<usize, FoldResult>,
) -> String {
    let labelled = kind == SweepKind::Ablation;
    let mut text = if labelled { "fold\tlabel\t" } else { "fold\t" }.to_owned();
    text.push_str(
        "gene\tcosine\tpearson\tsparsity_measured\tsparsity_predicted\tpasses\tloss\t\
                   totals_cosine\ttotals_pearson\tpartial_pearson\n",
    );
    for (fold, outcome) in outcomes {
        for gene in &outcome.genes {
            let GeneScore {
                cosine,
                pearson,
                sparsity_measured,
                sparsity_predicted,
            } = gene.score;
            let maybe = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
            let against = gene.against.as_ref();
            let against = [
                against.map(|a| a.totals.cosine),
                against.and_then(|a| a.totals.pearson),
                against.and_then(|a| a.partial),
            ];
            let pearson = maybe(pearson);
            let label = match labelled {
                true => format!("{}\t", folds[*fold].label),
                false => String::new(),
            };
            text.push_str(&format!(
                "{fold}\t{label}{}\t{cosine}\t{pearson}\t{sparsity_measured}\t{sparsity_predicted}\t{}\t{}\t{}\n",
                gene.gene,
                outcome.passes,
                outcome.loss,
                against.map(maybe).join("\t")
            ));
        }
    }
    text
}

/// A line for every run that is complete.
fn table_of_runs(sweep: &Path, runs: &[Run], progress: &[TaskProgress]) -> Result<String> {
    let mut known: BTreeMap<usize, String> = BTreeMap::new();
    for outcome in finished(progress) {
        let result: RunResult = outcome.result()?;
        known.insert(outcome.item, result.run_sha256);
    }
    let mut text =
        "run\tcells\tvoxels\tgenes\tepochs\tloss\tmean_cosine\tseconds_training\n".to_owned();
    for (item, run) in runs.iter().enumerate() {
        if !run.is_complete(sweep) {
            continue;
        }
        let place = run.place(sweep);
        let path = place.join(RUN_FILE);
        if known
            .get(&item)
            .is_some_and(|sha256| fingerprint(&path).as_ref().ok() != Some(sha256))
        {
            return Err(PipelineError::Torn {
                path: place,
                file: RUN_FILE.into(),
                reason: "was changed after the sweep made it".to_owned(),
            });
        }
        let directory = RunDirectory::open(&place)?;
        let r = directory.record();
        let cosine = r
            .train_score
            .map(|s| s.mean_cosine.to_string())
            .unwrap_or_default();
        text.push_str(&format!(
            "{}\t{}\t{}\t{}\t{}\t{}\t{cosine}\t{:.3}\n",
            run.name,
            r.n_cells,
            r.n_voxels,
            r.n_genes,
            r.epochs_run,
            r.final_loss.total,
            r.seconds_training
        ));
    }
    Ok(text)
}
