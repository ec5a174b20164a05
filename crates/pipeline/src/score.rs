//! Predicted against measured genes.

use crate::error::{Result, Within};
use crate::expression_files::{Opened, both};
use crate::gene_transfer::{GeneValues, Genes};
use crate::listener::Listener;
use crate::pictures::GeneInSpace;
use crate::run_directory::{GeneRecord, Replace, RunDirectory, replaceable, write};
use crate::settings::MapSettings;
use crate::stored_mapping::StoredMapping;
use crate::versions::Versions;
use crate::yardstick::{AgainstTotals, Scored, ScoresInShort, VoxelTotals};
use rayon::prelude::*;
use serde::Serialize;
use std::path::{Path, PathBuf};
use tangram_core::{GeneChoice, GeneScore, Normalize, align, library_factors, score_gene};
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
    /// How well the totals of the voxels predict it, which know no cells.
    pub against: AgainstTotals,
    /// Its part in training: `trained`, `held_out` or `other`.
    pub training: &'static str,
}

impl ScoredGene {
    /// Whether the gene has counts in both files, so that its score says something.
    #[must_use]
    pub fn has_pattern(&self) -> bool {
        self.score.has_pattern()
    }

    /// Whether it trained the mapping.
    #[must_use]
    pub fn trained(&self) -> bool {
        self.training == GeneRecord::TRAINED
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
    let mapping = StoredMapping::open(&run, &cells, None)?;
    let Opened { cells, voxels, .. } = both(run.settings(), (&cells, &voxels), RowNames::Checked)?;
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
/// * `visit`: gets the gene with its score, and where it is
pub(crate) fn for_each_gene(
    chunk: usize,
    run: &RunDirectory,
    mapping: &StoredMapping,
    (cells, voxels): (&ExpressionFile, &ExpressionFile),
    listener: &dyn Listener,
    visit: &mut dyn FnMut(ScoredGene, GeneInSpace),
) -> Result<()> {
    let paths = (cells.dataset().path(), voxels.dataset().path());
    let shared =
        align(cells.genes(), voxels.genes(), &GeneChoice::default()).of_both(paths.0, paths.1)?;
    let values = GeneValues::Scaled(cells.factors(run.settings().normalize)?);
    let (totals, factors) = totals_of(voxels, run.settings())?;
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
        let scored = |k: usize| {
            let name = shared.names[first + k].clone();
            let predicted = predicted.column(k).to_vec();
            let measured = measured.column(k).to_vec();
            let scored = ScoredGene {
                score: score_gene(&predicted, &measured),
                against: totals.compare(&predicted, &measured, factors.as_deref()),
                training: run.record().genes.part_of(&name),
                gene: name.clone(),
            };
            let in_space = GeneInSpace {
                name,
                measured: Some(measured),
                predicted,
            };
            (scored, in_space)
        };
        let genes: Vec<usize> = (0..predicted.ncols()).collect();
        // A few at a time: each is there twice.
        for part in genes.chunks(2 * rayon::current_num_threads()) {
            let scored: Vec<_> = part.par_iter().map(|&k| scored(k)).collect();
            for (gene, in_space) in scored {
                visit(gene, in_space);
            }
        }
        steps.step(first + predicted.ncols(), &String::new);
        Ok(())
    })?;
    drop(steps);
    Ok(())
}

/// The totals of the voxels as they are, and what the voxels are multiplied by for the scores.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn totals_of(
    voxels: &ExpressionFile,
    settings: &MapSettings,
) -> Result<(VoxelTotals, Option<Vec<f64>>)> {
    let totals = voxels.totals()?;
    let factors = match settings.normalize_voxels {
        Normalize::None => None,
        Normalize::Library => Some(library_factors(&totals)),
    };
    Ok((VoxelTotals::new(totals), factors))
}

/// Scores of all genes in short.
#[must_use]
pub fn in_short(genes: &[ScoredGene]) -> ScoresInShort {
    let scored = |gene: &ScoredGene| Scored {
        trained: gene.trained(),
        score: gene.score,
        against: gene.against,
    };
    ScoresInShort::of(&genes.iter().map(scored).collect::<Vec<_>>())
}

fn text_of(genes: &[ScoredGene]) -> String {
    let mut text = "gene\tcosine\tpearson\tsparsity_measured\tsparsity_predicted\ttraining\t\
                    totals_cosine\ttotals_pearson\tpartial_pearson\n"
        .to_owned();
    let maybe = |value: Option<f64>| value.map(|v| v.to_string()).unwrap_or_default();
    for ScoredGene {
        gene,
        score,
        against,
        training,
    } in genes
    {
        let columns = [
            gene.clone(),
            score.cosine.to_string(),
            maybe(score.pearson),
            score.sparsity_measured.to_string(),
            score.sparsity_predicted.to_string(),
            (*training).to_owned(),
            against.totals.cosine.to_string(),
            maybe(against.totals.pearson),
            maybe(against.partial),
        ];
        text.push_str(&columns.join("\t"));
        text.push('\n');
    }
    text
}
