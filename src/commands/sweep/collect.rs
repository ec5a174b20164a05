//! `tangram sweep collect`: predictions and scores of all folds in one place.

use crate::report::Report;
use anyhow::{Context, Result};
use clap::Args;
use ndarray::Array2;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_core::{Column, GeneScore, Summary, Table, auc};
use tangram_pipeline::error::PipelineError;
use tangram_pipeline::folds::{Fold, FoldResult, FoldSettings};
use tangram_pipeline::run_directory::{RunDirectory, write};
use tangram_pipeline::runs::Run;
use tangram_pipeline::settings::MapSettings;
use tangram_pipeline::sweep_work::{CELLS, SweepKind, SweepWork, VOXELS};
use tangram_pipeline::wording::count;
use tangram_store::{AnnDataWriter, Existing, MatrixName, StoreError, Uns, write_aside};
use tangram_store::{ExpressionFile, RowNames};
use tangram_sweep::{Manifest, Results, Standing, SweepError, TaskProgress, progress_of};

const LONG_HELP: &str = "\
Writes into DIR (or --out):
  predictions.h5ad  an AnnData of voxels × genes held out (leave-one-out, k-fold): every gene as predicted by the fold that did without it
  scores.tsv        a line for every fold and gene held out: cosine, Pearson, sparsity; for sweeps over runs, a line for every run

The same folds give the same files, whatever machines did them, in whatever order, after however many attempts.

Examples:
  tangram sweep collect loo
  tangram sweep collect loo --allow-missing --out so_far";

/// Flags of `tangram sweep collect`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct CollectArgs {
    /// The folder that `tangram sweep new` wrote
    #[arg(value_name = "DIR")]
    sweep: PathBuf,
    /// Collect what there is; genes that are missing are NaN in the predictions and left out of the scores
    #[arg(long)]
    allow_missing: bool,
    /// The folder to write into [default: DIR]
    #[arg(long, value_name = "FOLDER", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Format of the predictions
    #[arg(long, value_enum, default_value_t = Format::H5ad, help_heading = "Output")]
    format: Format,
    /// Replace what an earlier collection wrote
    #[arg(long, help_heading = "Output")]
    force: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// One HDF5 file.
    H5ad,
    /// A folder of compressed chunks.
    Zarr,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct CollectSummary<'a> {
    sweep: &'a Path,
    n_folds: usize,
    n_missing: usize,
    predictions: Option<&'a Path>,
    scores: &'a Path,
    held_out: Option<Summary>,
    auc: Option<f64>,
}

/// Collects.
///
/// # Errors
/// If tasks are missing or damaged, or the outputs are there already.
pub fn run(args: &CollectArgs, report: Report) -> Result<()> {
    let manifest = Manifest::read(&args.sweep)?;
    let progress = progress_of(&args.sweep, &manifest)?;
    let is_missing = |t: &&TaskProgress| t.standing != Standing::Done;
    let missing: Vec<String> = progress
        .iter()
        .filter(is_missing)
        .map(|t| t.task.to_string())
        .collect();
    if !missing.is_empty() && !args.allow_missing {
        return Err(SweepError::Incomplete {
            path: args.sweep.clone(),
            missing: missing.len(),
            n_tasks: progress.len(),
            examples: tangram_core::names::examples(missing.iter().map(String::as_str)),
        }
        .into());
    }
    let folder = args.out.clone().unwrap_or_else(|| args.sweep.clone());
    if !folder.is_dir() {
        std::fs::create_dir(&folder).map_err(|e| StoreError::Write {
            path: folder.clone(),
            reason: e.to_string(),
        })?;
    }
    let existing = match args.force {
        true => Existing::Replace,
        false => Existing::Refuse,
    };
    let scores = folder.join("scores.tsv");
    let predictions = folder.join(match args.format {
        Format::H5ad => "predictions.h5ad",
        Format::Zarr => "predictions.zarr",
    });
    for path in [&scores, &predictions] {
        if !args.force && path.symlink_metadata().is_ok() {
            return Err(StoreError::Exists { path: path.clone() }.into());
        }
    }
    match SweepWork::of(&manifest)? {
        SweepWork::Runs(runs) => {
            let text = table_of_runs(&args.sweep, &runs)?;
            write_aside(&scores, existing, |aside| write(aside, &text))?;
            report.say(format_args!("wrote {}", scores.display()))?;
            report.summary(&CollectSummary {
                sweep: &args.sweep,
                n_folds: runs.len(),
                n_missing: runs
                    .iter()
                    .filter(|run| !run.is_complete(&args.sweep))
                    .count(),
                predictions: None,
                scores: &scores,
                held_out: None,
                auc: None,
            })
        }
        SweepWork::Folds(shared, folds) => {
            let outcomes = outcomes(&progress)?;
            let results = Results::of(&args.sweep, &manifest);
            if let Some(results) = &results {
                let matrix = predicted(results, &manifest, &folds, &progress)?;
                let voxels = Predictions {
                    manifest: &manifest,
                    settings: &shared,
                    matrix,
                    outcomes: &outcomes,
                };
                voxels.write(&predictions, existing)?;
                report.say(format_args!("wrote {}", predictions.display()))?;
            }
            let text = table_of_folds(SweepKind::of(&manifest)?, &folds, &outcomes);
            write_aside(&scores, existing, |aside| write(aside, &text))?;
            report.say(format_args!("wrote {}", scores.display()))?;
            let patterns: Vec<GeneScore> = outcomes
                .values()
                .flat_map(|f| f.genes.iter().map(|g| g.score))
                .filter(|s| s.sparsity_measured < 1.0 && s.sparsity_predicted < 1.0)
                .collect();
            let held_out = Summary::of(&patterns);
            if let Some(s) = &held_out {
                report.say(format_args!(
                    "{}: mean cosine {:.3}, mean Pearson {}, {:.1} % above 0.4",
                    count(s.n_genes, "gene"),
                    s.mean_cosine,
                    s.mean_pearson.map_or("–".to_owned(), |p| format!("{p:.3}")),
                    100.0 * s.share_above
                ))?;
            }
            report.summary(&CollectSummary {
                sweep: &args.sweep,
                n_folds: folds.len(),
                n_missing: folds.len() - outcomes.len(),
                predictions: results.as_ref().map(|_| &*predictions),
                scores: &scores,
                held_out,
                auc: auc(&patterns),
            })
        }
    }
}

/// What the folds of finished tasks gave, by number.
fn outcomes(progress: &[TaskProgress]) -> Result<BTreeMap<usize, FoldResult>, SweepError> {
    let done = progress.iter().filter(|t| t.standing == Standing::Done);
    let items = done
        .filter_map(TaskProgress::decisive)
        .flat_map(|a| &a.items);
    items.map(|o| Ok((o.item, o.result()?))).collect()
}

/// All genes held out, (voxels, genes by name); NaN where a task is missing.
fn predicted(
    results: &Results,
    manifest: &Manifest,
    folds: &[Fold],
    progress: &[TaskProgress],
) -> Result<(Vec<String>, Array2<f32>)> {
    let mut genes: Vec<&String> = folds.iter().flat_map(|f| &f.held_out).collect();
    genes.sort_unstable();
    let place: BTreeMap<&String, usize> = genes.iter().copied().zip(0..).collect();
    let mut matrix = Array2::from_elem((results.item_size().1, genes.len()), f32::NAN);
    for task in progress.iter().filter(|t| t.standing == Standing::Done) {
        let digest = task.decisive().and_then(|a| a.shard_sha256.as_deref());
        let shard = results.read(
            task.task,
            digest.context("a finished attempt names its shard")?,
        )?;
        for (values, fold) in shard.outer_iter().zip(manifest.items_of(task.task)) {
            for (values, gene) in values.outer_iter().zip(&folds[fold].held_out) {
                matrix.column_mut(place[gene]).assign(&values);
            }
        }
    }
    Ok((genes.into_iter().cloned().collect(), matrix))
}

/// The predictions as an AnnData of voxels × genes.
struct Predictions<'a> {
    manifest: &'a Manifest,
    settings: &'a FoldSettings,
    matrix: (Vec<String>, Array2<f32>),
    outcomes: &'a BTreeMap<usize, FoldResult>,
}

impl Predictions<'_> {
    fn write(self, path: &Path, existing: Existing) -> Result<()> {
        let settings: MapSettings = self.settings.map.clone().try_into()?;
        let voxels =
            ExpressionFile::open(&settings.voxels, &settings.voxels_matrix, RowNames::Checked)?;
        let n_voxels = self.matrix.1.nrows();
        if voxels.n_rows() != n_voxels {
            return Err(PipelineError::OtherNames {
                path: settings.voxels.clone(),
                what: "voxels",
                reason: format!("{} instead of {n_voxels}", voxels.n_rows()),
            }
            .into());
        }
        let (genes, matrix) = self.matrix;
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
        if let Some(spatial) = voxels.dataset().spatial()? {
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
    text.push_str("gene\tcosine\tpearson\tsparsity_measured\tsparsity_predicted\tpasses\tloss\n");
    for (fold, outcome) in outcomes {
        for gene in &outcome.genes {
            let GeneScore {
                cosine,
                pearson,
                sparsity_measured,
                sparsity_predicted,
            } = gene.score;
            let pearson = pearson.map(|p| p.to_string()).unwrap_or_default();
            let label = match labelled {
                true => format!("{}\t", folds[*fold].label),
                false => String::new(),
            };
            text.push_str(&format!(
                "{fold}\t{label}{}\t{cosine}\t{pearson}\t{sparsity_measured}\t{sparsity_predicted}\t{}\t{}\n",
                gene.gene, outcome.passes, outcome.loss
            ));
        }
    }
    text
}

/// A line for every run that is complete.
fn table_of_runs(sweep: &Path, runs: &[Run]) -> Result<String> {
    let mut text =
        "run\tcells\tvoxels\tgenes\tepochs\tloss\tmean_cosine\tseconds_training\n".to_owned();
    for run in runs.iter().filter(|run| run.is_complete(sweep)) {
        let directory = RunDirectory::open(&run.place(sweep))?;
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
