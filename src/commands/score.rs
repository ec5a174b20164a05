//! `tangram score`: predicted against measured genes.

use crate::report::Report;
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::{GeneChoice, GeneScore, Summary, align, auc, score_gene};
use tangram_pipeline::error::OfBoth;
use tangram_pipeline::gene_transfer::{GeneValues, Genes};
use tangram_pipeline::listener::Listener;
use tangram_pipeline::run_directory::{GeneRecord, RunDirectory, replaceable, write};
use tangram_pipeline::stored_mapping::StoredMapping;
use tangram_pipeline::values::{at_least_one, threads};
use tangram_pipeline::versions::Versions;
use tangram_pipeline::wording::count;
use tangram_store::{ExpressionFile, RowNames};
use tangram_store::{fingerprint, write_aside};

const LONG_HELP: &str = "\
A gene's score is the cosine similarity of its predicted and its measured pattern over the voxels, 1 at best; Pearson's
correlation does not reward a gene for being everywhere. Genes that did not train tell how far predictions can be
trusted. Values are normalised as in training, but not transformed.

The table (--out) has a row for every gene that both files have:
  gene, cosine, pearson, sparsity_measured, sparsity_predicted (shares of voxels at 0), training (trained, held_out, other)

Examples:
  tangram score --mapping run --out scores.tsv
  tangram score --mapping run --json";

/// Flags of `tangram score`.
#[derive(Debug, Args)]
#[command(after_help = LONG_HELP)]
pub struct ScoreArgs {
    /// The folder that `tangram map` wrote
    #[arg(long, value_name = "RUN", help_heading = "Input")]
    mapping: PathBuf,
    /// The cells' file, if it is not where it was: the same cells in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    cells: Option<PathBuf>,
    /// The voxels' file, if it is not where it was: the same voxels in the same order
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    voxels: Option<PathBuf>,
    /// Write the table of all genes here, and FILE.toml with what it was made from beside it
    #[arg(long, value_name = "FILE.tsv", help_heading = "Output")]
    out: Option<PathBuf>,
    /// Replace FILE if it exists
    #[arg(long, help_heading = "Output")]
    force: bool,
    /// Genes that are worked on at a time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = at_least_one, help_heading = "Work")]
    chunk: usize,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = "Work")]
    threads: Option<usize>,
}

/// A line of the table.
struct Line {
    gene: String,
    score: GeneScore,
    training: &'static str,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
struct ScoreSummary<'a> {
    run: &'a Path,
    /// Genes that trained.
    train: Option<Summary>,
    /// Genes that did not, and are not zero everywhere.
    test: Option<Summary>,
    /// Area under the curve of score against sparsity of the test genes.
    test_auc: Option<f64>,
    /// Genes that both files have but that are zero everywhere in one: they have no pattern to score.
    n_without_pattern: usize,
}

/// What the table was made from.
#[derive(Debug, Serialize)]
struct Provenance<'a> {
    score: Settings<'a>,
    record: Record,
}

#[derive(Debug, Serialize)]
struct Settings<'a> {
    mapping: &'a Path,
    cells: &'a Path,
    voxels: &'a Path,
}

#[derive(Debug, Serialize)]
struct Record {
    cells_sha256: String,
    voxels_sha256: String,
    mapping_sha256: String,
    versions: Versions,
}

/// Scores every gene that both files have.
///
/// # Errors
/// If the run or its inputs cannot be read, or the table cannot be written.
pub fn run(args: &ScoreArgs, report: Report) -> Result<()> {
    super::use_threads(threads(args.threads));
    let run = RunDirectory::open(&args.mapping)?;
    let record = run.record();
    let cells = run.input(&record.cells, args.cells.as_deref(), "--cells")?;
    let voxels = run.input(&record.voxels, args.voxels.as_deref(), "--voxels")?;
    let output = match &args.out {
        None => None,
        Some(out) => Some((
            out,
            replaceable(out, args.force, &[&cells, &voxels, run.path()])?,
        )),
    };
    let mapping = StoredMapping::open(&run, &cells)?;
    let cells = ExpressionFile::open(&cells, &run.settings().cells_matrix, RowNames::Checked)?;
    let voxels = ExpressionFile::open(&voxels, &run.settings().voxels_matrix, RowNames::Checked)?;
    mapping.check_cells(cells.dataset())?;
    mapping.check_voxels(voxels.dataset())?;

    let lines = score(args, &run, &mapping, (&cells, &voxels), report)?;
    if let Some((out, may_replace)) = output {
        let (cells, voxels) = (cells.dataset().path(), voxels.dataset().path());
        let provenance = Provenance {
            score: Settings {
                mapping: run.path(),
                cells,
                voxels,
            },
            record: Record {
                cells_sha256: fingerprint(cells)?,
                voxels_sha256: fingerprint(voxels)?,
                mapping_sha256: fingerprint(&run.mapping()?)?,
                versions: Versions::current(),
            },
        };
        let mut beside = out.clone().into_os_string();
        beside.push(".toml");
        let (beside, text) = (PathBuf::from(beside), toml::to_string(&provenance)?);
        write_aside(&beside, tangram_store::Existing::Replace, |aside| {
            write(aside, &text)
        })?;
        write_aside(out, may_replace, |aside| write(aside, &table(&lines)))?;
    }
    tell(args, &lines, report)
}

fn score(
    args: &ScoreArgs,
    run: &RunDirectory,
    mapping: &StoredMapping,
    (cells, voxels): (&ExpressionFile, &ExpressionFile),
    report: Report,
) -> Result<Vec<Line>> {
    let paths = (cells.dataset().path(), voxels.dataset().path());
    let shared =
        align(cells.genes(), voxels.genes(), &GeneChoice::default()).of_both(paths.0, paths.1)?;
    let values = GeneValues::Scaled(cells.factors(run.settings().normalize)?);
    let factors = voxels.factors(run.settings().normalize_voxels)?;
    let genes = Genes {
        file: cells,
        columns: &shared.in_cells,
        values,
        chunk: args.chunk,
    };
    let progress = report.steps("gene", shared.names.len());
    let mut lines = Vec::with_capacity(shared.names.len());
    genes.transfer(mapping, |first, predicted| -> Result<()> {
        let columns = &shared.in_voxels[first..first + predicted.ncols()];
        let measured = voxels.read_scaled(columns, factors.as_deref())?.to_dense();
        for (k, (predicted, measured)) in predicted
            .columns()
            .into_iter()
            .zip(measured.columns())
            .enumerate()
        {
            let gene = shared.names[first + k].clone();
            let training = run.record().genes.part_of(&gene);
            let score = score_gene(&predicted.to_vec(), &measured.to_vec());
            lines.push(Line {
                gene,
                score,
                training,
            });
        }
        progress.step(first + predicted.ncols(), &String::new);
        Ok(())
    })?;
    drop(progress);
    Ok(lines)
}

fn table(lines: &[Line]) -> String {
    let mut text =
        "gene\tcosine\tpearson\tsparsity_measured\tsparsity_predicted\ttraining\n".to_owned();
    for Line {
        gene,
        score,
        training,
    } in lines
    {
        let pearson = score.pearson.map(|p| p.to_string()).unwrap_or_default();
        let GeneScore {
            cosine,
            sparsity_measured,
            sparsity_predicted,
            ..
        } = score;
        text.push_str(&format!(
            "{gene}\t{cosine}\t{pearson}\t{sparsity_measured}\t{sparsity_predicted}\t{training}\n"
        ));
    }
    text
}

fn tell(args: &ScoreArgs, lines: &[Line], report: Report) -> Result<()> {
    let has_pattern =
        |l: &&Line| l.score.sparsity_measured < 1.0 && l.score.sparsity_predicted < 1.0;
    let of = |trained: bool| -> Vec<GeneScore> {
        let wanted = |l: &&Line| (l.training == GeneRecord::TRAINED) == trained;
        lines
            .iter()
            .filter(has_pattern)
            .filter(wanted)
            .map(|l| l.score)
            .collect()
    };
    let (train, test) = (of(true), of(false));
    let summary = ScoreSummary {
        run: &args.mapping,
        train: Summary::of(&train),
        test: Summary::of(&test),
        test_auc: auc(&test),
        n_without_pattern: lines.len() - lines.iter().filter(has_pattern).count(),
    };
    report.say("                 genes   mean cosine   5 %    25 %   50 %   75 %   95 %   above 0.4   mean Pearson")?;
    for (name, part) in [("trained", summary.train), ("not trained", summary.test)] {
        match part {
            Some(part) => report.say(line(name, &part))?,
            None => report.say(format_args!("{name:<12} {:>9}", 0))?,
        }
    }
    if summary.n_without_pattern > 0 {
        let genes = count(summary.n_without_pattern, "gene");
        report.say(format_args!(
            "{genes} without any count in the cells or in the voxels not counted"
        ))?;
    }
    if let Some(auc) = summary.test_auc {
        report.explain(format_args!(
            "area under score against sparsity, genes not trained: {auc:.3}"
        ))?;
    }
    if let Some(out) = &args.out {
        report.say(format_args!("wrote {}", out.display()))?;
    }
    report.summary(&summary)
}

fn line(name: &str, part: &Summary) -> String {
    let quantiles: Vec<String> = part.quantiles.iter().map(|q| format!("{q:.3}")).collect();
    let pearson = part
        .mean_pearson
        .map_or("–".to_owned(), |p| format!("{p:.3}"));
    format!(
        "{name:<12} {:>9}   {:>11.3}   {}   {:>8.1} %   {pearson:>12}",
        part.n_genes,
        part.mean_cosine,
        quantiles.join("  "),
        part.share_above * 100.0,
    )
}
