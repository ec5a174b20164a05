//! The figures of a run by name: which there are, and how each is drawn.

use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::pictures::{GeneInSpace, KeptGenes, LossHistory, ShownTypes, Source, spread};
use crate::run_directory::{Replace, replaceable};
use crate::score::ScoredGene;
use ndarray::Array2;
use std::path::Path;
use tangram_core::{GeneScore, score_gene};
use tangram_report::charts::{self, GenePanel, Group, Term};
use tangram_report::{Figure, Format, Panel, Places, Scale, category_map, value_maps};
use tangram_store::{StoreError, write_aside};

/// A figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// Expected number of cells of each type in space.
    Types,
    /// The type of each voxel's most probable cell.
    Map,
    /// Measured above predicted values of genes.
    Genes,
    /// Features other than genes in space.
    Modality,
    /// Distribution function of scores.
    Scores,
    /// Histograms of scores of training and of held-out genes.
    Parts,
    /// Score against sparsity.
    Sparsity,
    /// Score against that of a prediction that knows no cells.
    Baseline,
    /// Loss terms by epoch.
    Loss,
    /// Prior against learned density.
    Density,
    /// Entropy of the cells' probabilities.
    Entropy,
}

/// Features that are chosen unless they are named.
const MOST_FEATURES: usize = 12;

impl Which {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 11] = [
        Self::Types,
        Self::Map,
        Self::Genes,
        Self::Modality,
        Self::Scores,
        Self::Parts,
        Self::Sparsity,
        Self::Baseline,
        Self::Loss,
        Self::Density,
        Self::Entropy,
    ];

    /// Its name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Types => "types",
            Self::Map => "map",
            Self::Genes => "genes",
            Self::Modality => "modality",
            Self::Scores => "scores",
            Self::Parts => "parts",
            Self::Sparsity => "sparsity",
            Self::Baseline => "baseline",
            Self::Loss => "loss",
            Self::Density => "density",
            Self::Entropy => "entropy",
        }
    }

    /// What it shows, in a sentence.
    #[must_use]
    pub fn about(self) -> &'static str {
        match self {
            Self::Types => {
                "Expected number of cells of each type in every voxel, each panel from its least (0) to its greatest value (1)"
            }
            Self::Map => "The type of the most probable cell of every voxel",
            Self::Genes => {
                "Measured above predicted values of genes: chosen ones, or the best, the median and the worst that did not train"
            }
            Self::Modality => {
                "Features of the cells other than genes, such as proteins, in every voxel, each panel from its least (0) to its greatest value (1)"
            }
            Self::Scores => {
                "Distribution function of the scores, with the mark of 0.4 above which a gene counts as well predicted"
            }
            Self::Parts => {
                "Histograms of the scores of training genes and of genes that did not train"
            }
            Self::Sparsity => {
                "Scores against the share of voxels without a count, with the curve whose area summarises them"
            }
            Self::Baseline => {
                "The score of each gene against the score of the voxels' totals, a prediction that knows no cells"
            }
            Self::Loss => "The loss and its terms by epoch",
            Self::Density => "Expected cells in every voxel, by the prior and by the mapping",
            Self::Entropy => "How widely each cell is spread over the voxels",
        }
    }
}

/// What of a figure to show.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// Genes of [`Which::Genes`]; empty for the best, the median and the worst.
    pub genes: Vec<String>,
    /// Types of [`Which::Types`]; empty for all.
    pub types: Vec<String>,
    /// The kind of features of [`Which::Modality`].
    pub modality: Option<String>,
    /// Features of [`Which::Modality`]; empty for those with the greatest totals.
    pub features: Vec<String>,
}

/// Draws a figure of a run.
///
/// # Errors
/// If the run lacks what it shows, or a file cannot be read.
pub fn figure(
    which: Which,
    source: &Source,
    shown: &Shown,
    listener: &dyn Listener,
) -> Result<Figure> {
    match which {
        Which::Types => {
            let (places, shown_types) = (source.places()?, needed_types(source)?);
            let wanted = wanted(&shown_types, &shown.types)?;
            let counts = source.type_counts(&shown_types)?;
            types(&places, &shown_types, &counts, &wanted)
        }
        Which::Map => {
            let (places, types) = (source.places()?, needed_types(source)?);
            map(&places, &types, &source.likeliest_types(&types)?)
        }
        Which::Genes => {
            let places = source.places()?;
            let (names, kept) = match shown.genes.is_empty() {
                true => {
                    let (judged, kept) = source.genes_and_values(listener)?;
                    (telling(&judged), kept)
                }
                false => (shown.genes.clone(), KeptGenes::default()),
            };
            let part_of = |gene: &str| part(source.run().record().genes.part_of(gene));
            genes(&places, &source.genes_in_space(&names, kept)?, part_of)
        }
        Which::Modality => modality(source, shown),
        Which::Scores => scores(&source.genes(listener)?),
        Which::Parts => parts(&source.genes(listener)?),
        Which::Sparsity => sparsity(&source.genes(listener)?),
        Which::Baseline => baseline(&source.genes(listener)?),
        Which::Loss => loss(&source.history()?),
        Which::Density => {
            let (prior, learned) = source.density()?;
            let prior = prior.ok_or_else(|| PipelineError::NoPicture {
                path: source.run().path().to_owned(),
                reason: "the run has no density prior (--prior none), so there is nothing to compare its density with".to_owned(),
            })?;
            density(&prior, &learned)
        }
        Which::Entropy => entropy(source),
    }
}

/// Draws a figure of a run into a file, in the format of its ending.
///
/// # Errors
/// If the ending is unknown, or as [`figure`]; if the file cannot be written.
pub fn plot(
    which: Which,
    source: &Source,
    shown: &Shown,
    (out, replace): (&Path, Replace),
    listener: &dyn Listener,
) -> Result<Figure> {
    let inputs = [
        source.cells.dataset().path(),
        source.voxels.dataset().path(),
        source.run().path(),
    ];
    draw_into((out, replace), &inputs, || {
        figure(which, source, shown, listener)
    })
}

/// Draws a figure into a file, in the format of its ending.
///
/// * `inputs`: what it is drawn from, which is not overwritten
///
/// # Errors
/// If the ending is unknown, the file cannot be written, or as `draw`.
pub fn draw_into(
    (out, replace): (&Path, Replace),
    inputs: &[&Path],
    draw: impl FnOnce() -> Result<Figure>,
) -> Result<Figure> {
    let format = format_of(out)?;
    let existing = replaceable(out, replace, inputs)?;
    let figure = draw()?;
    let bytes = figure.bytes(format)?;
    write_aside(out, existing, |aside| -> Result<()> {
        write_bytes(aside, &bytes)
    })?;
    Ok(figure)
}

/// The format that a file's ending names.
///
/// # Errors
/// [`PipelineError::Usage`] if there is none of that ending.
pub fn format_of(out: &Path) -> Result<Format> {
    let ending = out.extension().and_then(|e| e.to_str()).unwrap_or_default();
    Format::ALL
        .into_iter()
        .find(|f| f.ending().eq_ignore_ascii_case(ending))
        .ok_or_else(|| {
            PipelineError::Usage(format!(
                "{}: a picture is a file whose name ends in .svg, .png or .pdf",
                out.display()
            ))
        })
}

pub(crate) fn write_bytes(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).map_err(|e| {
        StoreError::Write {
            path: path.to_owned(),
            reason: e.to_string(),
        }
        .into()
    })
}

fn needed_types(source: &Source) -> Result<ShownTypes> {
    source
        .types()?
        .ok_or_else(|| PipelineError::NoPicture {
            path: source.cells.dataset().path().to_owned(),
            reason: "no obs column looks like the types of the cells; name one with --types obs:COLUMN (tangram inspect shows the columns)".to_owned(),
        })
}

/// The numbers of the types that were asked for by name; of all, if none were.
fn wanted(types: &ShownTypes, only: &[String]) -> Result<Vec<usize>> {
    if let Some(unknown) = only.iter().find(|name| !types.names.contains(name)) {
        return Err(PipelineError::Usage(format!(
            "--type {unknown}: obs column {} has no such type; it has {}",
            types.column,
            types.names.join(", ")
        )));
    }
    let asked = |name: &String| only.is_empty() || only.contains(name);
    let names = types.names.iter().enumerate();
    Ok(names.filter(|(_, name)| asked(name)).map(|n| n.0).collect())
}

/// * `counts`: (voxels, types)
/// * `wanted`: the numbers of the types to show
pub(crate) fn types(
    places: &Places,
    types: &ShownTypes,
    counts: &Array2<f32>,
    wanted: &[usize],
) -> Result<Figure> {
    let columns: Vec<Vec<f32>> = wanted
        .iter()
        .map(|&kind| counts.column(kind).to_vec())
        .collect();
    let panels: Vec<Panel<'_>> = wanted
        .iter()
        .zip(&columns)
        .map(|(&kind, values)| Panel {
            title: &types.names[kind],
            note: "",
            values,
        })
        .collect();
    let heading = format!("Types of the cells ({}) in space", types.column);
    Ok(value_maps(places, &panels, &heading, Scale::Own)?)
}

/// * `assigned`: the type of each voxel
pub(crate) fn map(places: &Places, types: &ShownTypes, assigned: &[Option<u32>]) -> Result<Figure> {
    let heading = format!("Most probable type ({})", types.column);
    Ok(category_map(
        places,
        assigned,
        &types.names,
        &types.colors,
        &heading,
    )?)
}

/// Features in space: those asked for, or the [`MOST_FEATURES`] with the greatest totals.
fn modality(source: &Source, shown: &Shown) -> Result<Figure> {
    let kind = shown.modality.as_deref().ok_or_else(|| {
        PipelineError::Usage(
            "modality shows features of the cells other than genes: name their kind, as in --modality \"Antibody Capture\" (tangram inspect shows which there are)".to_owned(),
        )
    })?;
    let (names, values) = source.modality(kind)?;
    let columns: Vec<Vec<f32>> = values.columns().into_iter().map(|c| c.to_vec()).collect();
    let at = |name: &String| {
        names.iter().position(|n| n == name).ok_or_else(|| {
            PipelineError::Usage(format!(
                "--feature {name}: no such feature of kind {kind}; there are {}",
                tangram_core::names::examples(names.iter().map(String::as_str))
            ))
        })
    };
    let chosen: Vec<usize> = match shown.features.is_empty() {
        false => shown.features.iter().map(at).collect::<Result<_>>()?,
        true => {
            let total = |k: &usize| columns[*k].iter().map(|v| f64::from(*v)).sum::<f64>();
            let mut order: Vec<usize> = (0..names.len()).collect();
            order.sort_by(|a, b| total(b).total_cmp(&total(a)));
            order.truncate(MOST_FEATURES);
            order
        }
    };
    let panels: Vec<Panel<'_>> = chosen
        .iter()
        .map(|&k| Panel {
            title: &names[k],
            note: "",
            values: &columns[k],
        })
        .collect();
    let heading = match chosen.len() < names.len() && shown.features.is_empty() {
        true => format!(
            "{kind}, the {} of {} with the greatest totals",
            chosen.len(),
            names.len()
        ),
        false => kind.to_owned(),
    };
    Ok(value_maps(
        &source.places()?,
        &panels,
        &heading,
        Scale::Own,
    )?)
}

/// The genes whose pictures tell most: best, median and worst of those that did not train, or of all if those are too few.
pub(crate) fn telling(genes: &[ScoredGene]) -> Vec<String> {
    let sorted = |trained: bool| {
        let mut genes: Vec<&ScoredGene> = genes
            .iter()
            .filter(|g| g.has_pattern() && g.trained() == trained)
            .collect();
        genes.sort_by(|a, b| b.score.cosine.total_cmp(&a.score.cosine));
        genes
    };
    let tested = sorted(false);
    let from = if tested.len() >= 3 {
        tested
    } else {
        sorted(true)
    };
    spread(&from, 3)
        .into_iter()
        .map(|g| g.gene.clone())
        .collect()
}

/// * `part_of`: a gene's part in training, for people
fn genes(
    places: &Places,
    genes: &[GeneInSpace],
    part_of: impl Fn(&str) -> &'static str,
) -> Result<Figure> {
    let note = |gene: &GeneInSpace| match &gene.measured {
        None => "not measured in the voxels".to_owned(),
        Some(measured) => {
            let score = score_gene(&gene.predicted, measured).cosine;
            format!("{}, score {score:.3}", part_of(&gene.name))
        }
    };
    let notes: Vec<String> = genes.iter().map(note).collect();
    let panels: Vec<GenePanel<'_>> = genes
        .iter()
        .zip(&notes)
        .map(|(gene, note)| GenePanel {
            name: &gene.name,
            note,
            measured: gene.measured.as_deref(),
            predicted: &gene.predicted,
        })
        .collect();
    Ok(charts::genes(
        places,
        &panels,
        "Genes, measured and predicted",
    )?)
}

/// A gene's part in training, for people.
pub(crate) fn part(training: &'static str) -> &'static str {
    match training {
        "held_out" => "held out",
        other => other,
    }
}

fn cosines(genes: &[ScoredGene], trained: bool) -> Vec<f64> {
    let of = genes
        .iter()
        .filter(|g| g.has_pattern() && g.trained() == trained);
    of.map(|g| g.score.cosine).collect()
}

/// Genes that did not train, if there are any, then those that did.
fn groups(genes: &[ScoredGene]) -> Vec<Group> {
    let group = |name: &str, trained| Group {
        name: name.to_owned(),
        values: cosines(genes, trained),
    };
    let groups = [
        group("genes that did not train", false),
        group("training genes", true),
    ];
    groups
        .into_iter()
        .filter(|g| !g.values.is_empty())
        .collect()
}

pub(crate) fn scores(genes: &[ScoredGene]) -> Result<Figure> {
    Ok(charts::distribution(&groups(genes))?)
}

pub(crate) fn parts(genes: &[ScoredGene]) -> Result<Figure> {
    let mut groups = groups(genes);
    groups.reverse();
    Ok(charts::histograms(&groups)?)
}

/// The genes to judge by: those that did not train, or the training genes if all did; and their name.
fn judged_by(genes: &[ScoredGene]) -> (Vec<&ScoredGene>, &'static str) {
    let of = |trained: bool| -> Vec<&ScoredGene> {
        let wanted = |g: &&ScoredGene| g.has_pattern() && g.trained() == trained;
        genes.iter().filter(wanted).collect()
    };
    let tested = of(false);
    match tested.is_empty() {
        true => (of(true), "training genes"),
        false => (tested, "genes that did not train"),
    }
}

pub(crate) fn sparsity(genes: &[ScoredGene]) -> Result<Figure> {
    let (genes, name) = judged_by(genes);
    let scores: Vec<GeneScore> = genes.iter().map(|g| g.score).collect();
    Ok(charts::sparsity(&scores, name)?)
}

pub(crate) fn baseline(genes: &[ScoredGene]) -> Result<Figure> {
    let (genes, name) = judged_by(genes);
    let pairs: Vec<(f64, f64)> = genes
        .iter()
        .map(|g| (g.against.totals.cosine, g.score.cosine))
        .collect();
    Ok(charts::baseline(&pairs, name)?)
}

pub(crate) fn loss(history: &LossHistory) -> Result<Figure> {
    let terms: Vec<Term> = history
        .terms
        .iter()
        .map(|(name, values)| Term {
            name: name.clone(),
            values: values.clone(),
        })
        .collect();
    Ok(charts::loss(&history.epochs, &terms)?)
}

pub(crate) fn density(prior: &[f64], learned: &[f64]) -> Result<Figure> {
    let pairs: Vec<(f64, f64)> = prior.iter().copied().zip(learned.iter().copied()).collect();
    Ok(charts::density(&pairs)?)
}

pub(crate) fn entropy(source: &Source) -> Result<Figure> {
    let n_voxels = tangram_core::MappingRows::n_voxels(&source.mapping);
    Ok(charts::entropy(&source.entropies()?, n_voxels)?)
}
