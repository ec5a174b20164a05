//! Predicted against measured genes.

use crate::error::{Result, Within};
use crate::gene_transfer::{GeneValues, Genes};
use crate::listener::Listener;
use crate::run_directory::{GeneRecord, Replace, RunDirectory, replaceable, write};
use crate::stored_mapping::StoredMapping;
use crate::versions::Versions;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::{GeneChoice, GeneScore, Summary, align, auc, score_gene};
use tangram_store::{Existing, ExpressionFile, RowNames, fingerprint, write_aside};

/// Which mapping, and where its inputs are.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoreSettings {
    /// The directory of the run.
    pub mapping: PathBuf,
    /// The cells' file, if it is not where the run recorded it.
    pub cells: Option<PathBuf>,
    /// The voxels' file, if it is not where the run recorded it.
    pub voxels: Option<PathBuf>,
    /// Genes that are worked on at a time.
    pub chunk: usize,
}

/// A gene that both files have.
#[derive(Debug, Clone, PartialEq)]
pub struct ScoredGene {
    /// Its name.
    pub gene: String,
    /// How well it is predicted.
    pub score: GeneScore,
    /// Its part in training: `trained`, `held_out` or `other`.
    pub training: &'static str,
}

/// The scores of many genes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoreSummary {
    /// Genes that trained.
    pub train: Option<Summary>,
    /// Genes that did not, and are not zero everywhere.
    pub test: Option<Summary>,
    /// Area under the curve of score against sparsity of the test genes.
    pub test_auc: Option<f64>,
    /// Genes that both files have but that are zero everywhere in one: they have no pattern to score.
    pub n_without_pattern: usize,
}

impl ScoreSummary {
    /// Sums up.
    #[must_use]
    pub fn of(genes: &[ScoredGene]) -> Self {
        let has_pattern =
            |l: &&ScoredGene| l.score.sparsity_measured < 1.0 && l.score.sparsity_predicted < 1.0;
        let of = |trained: bool| -> Vec<GeneScore> {
            let wanted = |l: &&ScoredGene| (l.training == GeneRecord::TRAINED) == trained;
            let genes = genes.iter().filter(has_pattern).filter(wanted);
            genes.map(|l| l.score).collect()
        };
        let (train, test) = (of(true), of(false));
        Self {
            train: Summary::of(&train),
            test: Summary::of(&test),
            test_auc: auc(&test),
            n_without_pattern: genes.len() - genes.iter().filter(has_pattern).count(),
        }
    }
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
/// * `table`: the file to write the scores to, and whether one in its place may be replaced; `FILE.toml` beside it tells what it was
///   made from
///
/// # Errors
/// If the run or its inputs cannot be read, or the table cannot be written.
pub fn score(
    settings: &ScoreSettings,
    table: Option<(&Path, Replace)>,
    listener: &dyn Listener,
) -> Result<Vec<ScoredGene>> {
    let run = RunDirectory::open(&settings.mapping)?;
    let record = run.record();
    let cells = run.input(&record.cells, settings.cells.as_deref(), "--cells")?;
    let voxels = run.input(&record.voxels, settings.voxels.as_deref(), "--voxels")?;
    let output = match table {
        None => None,
        Some((out, replace)) => Some((
            out,
            replaceable(out, replace, &[&cells, &voxels, run.path()])?,
        )),
    };
    let mapping = StoredMapping::open(&run, &cells)?;
    let cells = ExpressionFile::open(&cells, &run.settings().cells_matrix, RowNames::Checked)?;
    let voxels = ExpressionFile::open(&voxels, &run.settings().voxels_matrix, RowNames::Checked)?;
    mapping.check_cells(cells.dataset())?;
    mapping.check_voxels(voxels.dataset())?;

    let genes = score_genes(settings.chunk, &run, &mapping, (&cells, &voxels), listener)?;
    if let Some((out, may_replace)) = output {
        let provenance = provenance(&run, cells.dataset().path(), voxels.dataset().path())?;
        let text = toml::to_string(&provenance)?;
        let mut beside = out.to_owned().into_os_string();
        beside.push(".toml");
        write_aside(&PathBuf::from(beside), Existing::Replace, |aside| {
            write(aside, &text)
        })?;
        write_aside(out, may_replace, |aside| write(aside, &text_of(&genes)))?;
    }
    Ok(genes)
}

fn provenance<'a>(
    run: &'a RunDirectory,
    cells: &'a Path,
    voxels: &'a Path,
) -> Result<Provenance<'a>> {
    Ok(Provenance {
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
    })
}

fn score_genes(
    chunk: usize,
    run: &RunDirectory,
    mapping: &StoredMapping,
    files: (&ExpressionFile, &ExpressionFile),
    listener: &dyn Listener,
) -> Result<Vec<ScoredGene>> {
    let mut lines = Vec::new();
    for_each_gene(chunk, run, mapping, files, listener, &mut |gene, _| {
        lines.push(gene);
    })?;
    Ok(lines)
}

/// Scores every gene that both files have, one after the other.
///
/// * `visit`: gets the gene with its score, and its measured values, one for each voxel
pub(crate) fn for_each_gene(
    chunk: usize,
    run: &RunDirectory,
    mapping: &StoredMapping,
    (cells, voxels): (&ExpressionFile, &ExpressionFile),
    listener: &dyn Listener,
    visit: &mut dyn FnMut(ScoredGene, &[f32]),
) -> Result<()> {
    let paths = (cells.dataset().path(), voxels.dataset().path());
    let shared =
        align(cells.genes(), voxels.genes(), &GeneChoice::default()).of_both(paths.0, paths.1)?;
    let values = GeneValues::Scaled(cells.factors(run.settings().normalize)?);
    let factors = voxels.factors(run.settings().normalize_voxels)?;
    let genes = Genes {
        file: cells,
        columns: &shared.in_cells,
        values,
        chunk,
    };
    let steps = listener.steps("gene", shared.names.len());
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
            let measured = measured.to_vec();
            let score = score_gene(&predicted.to_vec(), &measured);
            let scored = ScoredGene {
                gene,
                score,
                training,
            };
            visit(scored, &measured);
        }
        steps.step(first + predicted.ncols(), &String::new);
        Ok(())
    })?;
    drop(steps);
    Ok(())
}

fn text_of(genes: &[ScoredGene]) -> String {
    let mut text =
        "gene\tcosine\tpearson\tsparsity_measured\tsparsity_predicted\ttraining\n".to_owned();
    for ScoredGene {
        gene,
        score,
        training,
    } in genes
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
