//! The report of runs: one HTML file with their maps, scores, settings, and what a reader should know first.

use crate::error::{Result, full_text};
use crate::figures::{self, telling, write_bytes};
use crate::listener::{Listener, Silent};
use crate::pictures::{PictureSettings, ShownTypes, Source, spread};
use crate::report_warnings::{summary, warnings};
use crate::run_directory::{Record, Replace, RunDirectory, RunFile, replaceable};
use crate::score::{ScoredGene, in_short};
use crate::settings::MapSettings;
use crate::versions::Versions;
use crate::wording::{count, duration, thousands};
use crate::yardstick::PartSummary;
use ndarray::Array2;
use std::path::{Path, PathBuf};
use tangram_report::{Figure, GeneRow, GeneValues, Page, RunPage, TypeRow};
use tangram_store::{memory, write_aside};

/// Types above which there is no overview of all of them.
const OVERVIEW: usize = 60;
/// Bytes of an overview above which it is left out.
const ROOM: usize = 3_000_000;
/// Values of genes in space that fit a report, two bytes or more each.
pub(crate) const MOST_VALUES: usize = 5_000_000;

/// What a report shows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportSettings {
    /// The runs.
    pub runs: Vec<PictureSettings>,
    /// Genes to show in space; empty for a choice of them.
    pub genes: Vec<String>,
    /// How many genes are chosen.
    pub n_genes: usize,
    /// The command that makes the report, as it is written into it.
    pub command: String,
}

impl ReportSettings {
    /// Genes that are chosen unless another number is given.
    pub const N_GENES: usize = 200;
}

/// Writes the report of runs; gives its size in bytes.
///
/// # Errors
/// If a run or its inputs cannot be read, or the file cannot be written.
pub fn report(
    settings: &ReportSettings,
    (out, replace): (&Path, Replace),
    listener: &dyn Listener,
) -> Result<usize> {
    let paths: Vec<&Path> = settings.runs.iter().map(|r| r.mapping.as_path()).collect();
    let existing = replaceable(out, replace, &paths)?;
    let mut runs = Vec::new();
    for run in &settings.runs {
        let source = Source::open(run)?;
        listener.explain(format_args!("reading {}", run.mapping.display()))?;
        runs.push(run_page(
            &source,
            &run.mapping.display().to_string(),
            settings,
            listener,
        )?);
    }
    let title = match &runs[..] {
        [one] => format!("tangram: {}", one.name),
        several => format!("tangram: {}", count(several.len(), "run")),
    };
    let html = page(title, settings, runs).html();
    write_aside(out, existing, |aside| -> Result<()> {
        write_bytes(aside, html.as_bytes())
    })?;
    Ok(html.len())
}

/// The report's name in the directory of a run.
pub const REPORT_FILE: &str = "report.html";

/// Multiplications of cells, voxels and training genes above which a mapping does not end with its report: about six passes over them, a
/// minute on two cores, during which other ranks and devices wait.
const LARGEST: f64 = 2.5e11;

/// Writes the report of a run into the directory in which it is being written.
///
/// A report that cannot be made is no reason to lose the run: the listener hears why.
///
/// * `run`, `partial`: where the run will be, and where it is now
pub(crate) fn of_new_run(
    (run, partial): (&Path, &Path),
    file: &RunFile,
    command: &str,
    listener: &dyn Listener,
) -> Result<()> {
    let Record {
        n_voxels, n_genes, ..
    } = file.record;
    let n_rows = file.record.n_clusters.unwrap_or(file.record.n_cells);
    let later = format!("tangram report {}", quoted(&run.to_string_lossy()));
    if n_rows as f64 * n_voxels as f64 * n_genes as f64 > LARGEST {
        listener.say(format_args!(
            "no report, which would take minutes for a mapping of this size; write it with: {later}"
        ))?;
        return Ok(());
    }
    let settings = ReportSettings {
        runs: vec![PictureSettings {
            // Named, so that they are not hashed again: they were read a moment ago.
            cells: Some(file.record.cells.path.clone()),
            voxels: Some(file.record.voxels.path.clone()),
            ..PictureSettings::new(partial)
        }],
        genes: Vec::new(),
        n_genes: ReportSettings::N_GENES,
        command: command.to_owned(),
    };
    let name = run.display().to_string();
    let out = partial.join(REPORT_FILE);
    let written = Source::of(
        RunDirectory::being_written(partial, file),
        &settings.runs[0],
    )
    .and_then(|source| run_page(&source, &name, &settings, &Silent))
    .and_then(|made| {
        let html = page(format!("tangram: {name}"), &settings, vec![made]).html();
        write_bytes(&out, html.as_bytes())
    });
    if let Err(error) = written {
        // A piece of it, if the disk is full.
        let _ = std::fs::remove_file(&out);
        listener.warn(format_args!(
            "the run is complete, but has no report: {}; try: {later}",
            full_text(&error)
        ));
    }
    Ok(())
}

pub(crate) fn page(title: String, settings: &ReportSettings, runs: Vec<RunPage>) -> Page {
    Page {
        title,
        command: settings.command.clone(),
        version: Versions::current().tangram,
        runs,
    }
}

/// What the report says about a run.
///
/// * `name`: what the run is called in it
pub(crate) fn run_page(
    source: &Source,
    name: &str,
    settings: &ReportSettings,
    listener: &dyn Listener,
) -> Result<RunPage> {
    let run = source.run();
    let (record, map) = (run.record(), run.settings());
    // A run without coordinates has a report without maps.
    let places = source.find_places()?.ok();
    let types = match source.types()? {
        Some(types) => {
            let counts = source.type_counts(&types)?;
            let assigned = source.likeliest_types(&types)?;
            Some((types, counts, assigned))
        }
        None => None,
    };
    let (judged, kept) = source.genes_and_values(listener)?;
    let (prior, learned) = source.density()?;
    // More than these values have no room.
    let most = (MOST_VALUES / record.n_voxels.max(1)).max(3);
    let chosen = chosen_genes(settings, settings.n_genes.min(most), &judged);
    let mut left_out = Vec::new();
    let values: Vec<GeneValues> = match places {
        None => Vec::new(),
        Some(_) => source
            .genes_in_space(&chosen, kept)?
            .into_iter()
            .map(|gene| GeneValues {
                gene: gene.name,
                measured: gene.measured,
                predicted: gene.predicted,
            })
            .collect(),
    };
    if settings.genes.is_empty() && chosen.len() < judged.len() && places.is_some() {
        left_out.push(format!(
            "the maps of {} of {} genes that both files have (the table has all; choose others by --genes)",
            judged.len() - chosen.len(),
            judged.len()
        ));
    }
    let others = [
        ("expected cells", Some(&learned)),
        ("expected cells by the prior", prior.as_ref()),
    ]
    .into_iter()
    .filter_map(|(name, values)| {
        Some((name.to_owned(), values?.iter().map(|&v| v as f32).collect()))
    })
    .collect();
    let mut figures = Vec::new();
    if let (Some(places), Some((types, counts, _))) = (&places, &types) {
        // The maps of types and genes come first where there is no room for all.
        let overview = match types.names.len() <= OVERVIEW {
            true => {
                let all: Vec<usize> = (0..types.names.len()).collect();
                Some(figures::types(places, types, counts, &all)?).filter(|f| f.svg().len() < ROOM)
            }
            false => None,
        };
        if let Some(overview) = overview {
            add(&mut figures, figures::Which::Types, Ok(overview))?;
        } else {
            left_out.push(format!(
                "the overview of {} types; each has its map above, and `tangram plot types` draws it",
                types.names.len()
            ));
        }
    }
    add_charts(&mut figures, source, &judged, (prior.as_deref(), &learned))?;
    Ok(RunPage {
        name: name.to_owned(),
        warnings: warnings(
            record,
            map,
            (&places, types.as_ref().map(|t| &t.0)),
            &judged,
        ),
        facts: facts(record, map, &judged),
        command: repeat(name),
        settings: toml::to_string(map)?,
        voxels: source.mapping.voxels()?,
        types_of: types.as_ref().map_or(String::new(), |t| t.0.column.clone()),
        types: types
            .as_ref()
            .map_or(Vec::new(), |(types, counts, _)| type_rows(types, counts)),
        assigned: types.map_or(Vec::new(), |t| t.2),
        others,
        genes: judged.iter().map(gene_row).collect(),
        values,
        left_out,
        figures,
        places,
    })
}

pub(crate) type Figures = Vec<(String, Figure)>;

pub(crate) fn add(
    figures: &mut Figures,
    which: figures::Which,
    figure: Result<Figure>,
) -> Result<()> {
    figures.push((which.about().to_owned(), figure?));
    Ok(())
}

fn add_charts(
    list: &mut Figures,
    source: &Source,
    judged: &[ScoredGene],
    (prior, learned): (Option<&[f64]>, &[f64]),
) -> Result<()> {
    use figures::Which;
    let patterns = judged.iter().filter(|g| g.has_pattern());
    let (trained, tested): (Vec<&ScoredGene>, Vec<&ScoredGene>) =
        patterns.partition(|g| g.trained());
    if !trained.is_empty() || !tested.is_empty() {
        add(list, Which::Scores, figures::scores(judged))?;
        if !tested.is_empty() && !trained.is_empty() {
            add(list, Which::Parts, figures::parts(judged))?;
        }
        add(list, Which::Baseline, figures::baseline(judged))?;
        add(list, Which::Sparsity, figures::sparsity(judged))?;
    }
    if let Some(prior) = prior {
        add(list, Which::Density, figures::density(prior, learned))?;
    }
    add(list, Which::Entropy, figures::entropy(source))?;
    add(list, Which::Loss, figures::loss(&source.history()?))
}

/// The genes to show in space, the first to be left out last: those asked for, or a choice, of those that did not train before those that
/// did, each spread over the range of scores.
pub(crate) fn chosen_genes(
    settings: &ReportSettings,
    n_genes: usize,
    judged: &[ScoredGene],
) -> Vec<String> {
    if !settings.genes.is_empty() {
        return settings.genes.clone();
    }
    let by_score = |trained: bool| {
        let mut genes: Vec<&ScoredGene> =
            judged.iter().filter(|g| g.trained() == trained).collect();
        genes.sort_by(|a, b| {
            let (p, q) = (a.score.cosine, b.score.cosine);
            q.total_cmp(&p).then_with(|| a.gene.cmp(&b.gene))
        });
        genes
    };
    let (tested, trained) = (by_score(false), by_score(true));
    // Where there are many of both, a quarter for those that trained.
    let for_trained = n_genes.saturating_sub(tested.len()).max(n_genes / 4);
    let for_tested = n_genes - for_trained.min(trained.len());
    let mut names: Vec<String> = telling(judged);
    let chosen = spread(&tested, for_tested)
        .into_iter()
        .chain(spread(&trained, for_trained));
    for gene in chosen {
        if names.len() < n_genes && !names.contains(&gene.gene) {
            names.push(gene.gene.clone());
        }
    }
    names
}

fn type_rows(types: &ShownTypes, counts: &Array2<f32>) -> Vec<TypeRow> {
    types
        .names
        .iter()
        .zip(&types.colors)
        .zip(counts.columns())
        .map(|((name, &color), values)| TypeRow {
            name: name.clone(),
            color,
            values: values.to_vec(),
        })
        .collect()
}

pub(crate) fn gene_row(gene: &ScoredGene) -> GeneRow {
    let score = &gene.score;
    GeneRow {
        gene: gene.gene.clone(),
        training: gene.training,
        cosine: score.cosine,
        baseline: gene.against.totals.cosine,
        pearson: score.pearson,
        sparsity: score.sparsity_measured,
    }
}

fn facts(record: &Record, map: &MapSettings, judged: &[ScoredGene]) -> Vec<(String, String)> {
    let clusters = match (&map.cluster, record.n_clusters) {
        (Some(column), Some(n)) => format!(", mapped as {} of {column}", count(n, "cluster")),
        _ => String::new(),
    };
    let mut facts = vec![
        (
            "cells",
            format!(
                "{} in {}{clusters}",
                thousands(record.n_cells),
                map.cells.display()
            ),
        ),
        (
            "voxels",
            format!("{} in {}", thousands(record.n_voxels), map.voxels.display()),
        ),
        ("training genes", thousands(record.n_genes)),
    ];
    for (trained, name) in [
        (true, "their mean score"),
        (false, "mean score of genes that did not train"),
    ] {
        if let Some(PartSummary {
            predicted, totals, ..
        }) = summary(judged, trained)
        {
            facts.push((
                name,
                format!(
                    "{:.3} ({}; {:.0} % above 0.4; voxel totals alone {:.3})",
                    predicted.mean_cosine,
                    count(predicted.n_genes, "gene"),
                    predicted.share_above * 100.0,
                    totals.mean_cosine
                ),
            ));
        }
    }
    facts.extend(in_short(judged).sentence().map(|said| (SAID, said)));
    let converged = if record.stopped_early {
        ", converged"
    } else {
        ""
    };
    facts.extend([
        (
            "training",
            format!(
                "{}{converged}, loss {:.5}, {}",
                count(record.epochs_run, "epoch"),
                record.final_loss.total,
                duration(record.seconds_training)
            ),
        ),
        ("peak memory", memory::for_people(record.peak_memory_bytes)),
    ]);
    facts
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

/// What the facts call the sentence about scores.
pub(crate) const SAID: &str = "what the scores say";

/// The command that repeats a run.
fn repeat(name: &str) -> String {
    format!("tangram map --config {}/run.toml --out AGAIN", quoted(name))
}

/// A word as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// Where the report of a run goes unless another place is named.
#[must_use]
pub fn beside(run: &Path) -> PathBuf {
    let mut name = run.file_name().unwrap_or_default().to_owned();
    name.push(".html");
    run.with_file_name(name)
}
