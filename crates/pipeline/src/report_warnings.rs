//! What the reader of a report should know before its results.

use crate::choices::Solver;
use crate::pictures::ShownTypes;
use crate::run_directory::Record;
use crate::score::ScoredGene;
use crate::settings::MapSettings;
use crate::wording::count;
use crate::yardstick::PartSummary;
use tangram_core::names::examples;
use tangram_core::{Summary, WELL_PREDICTED};
use tangram_report::{Places, Warning};

/// Training genes below which a mapping has little to go by.
const FEW_GENES: usize = 30;
/// Mean mass of a cell that is not stored, above which it is said.
const MUCH_MASS: f64 = 0.05;

/// Summary of the genes that trained or of those that did not, beside that of the totals of the voxels.
pub(crate) fn summary(judged: &[ScoredGene], trained: bool) -> Option<PartSummary> {
    let of = judged
        .iter()
        .filter(|g| g.has_pattern() && g.trained() == trained);
    PartSummary::of(&of.map(|g| (g.score, g.against)).collect::<Vec<_>>())
}

/// What a reader should know before the results.
pub(crate) fn warnings(
    record: &Record,
    map: &MapSettings,
    (places, types): (&Option<Places>, Option<&ShownTypes>),
    judged: &[ScoredGene],
) -> Vec<Warning> {
    let untested = || {
        Warning {
        text: "No gene was held out: the scores are of genes that trained, and tell only how well the mapping fits them.".to_owned(),
        remedy: "Map again with --hold-out, or run a sweep, before you trust a predicted gene.".to_owned(),
    }
    };
    let tested = match summary(judged, false) {
        None => Some(untested()),
        Some(_) => about_tested(judged),
    };
    let mut warnings: Vec<Warning> = tested.into_iter().collect();
    let mut warn = |text: String, remedy: &str| {
        warnings.push(Warning {
            text,
            remedy: remedy.to_owned(),
        });
    };
    if record.n_genes < FEW_GENES {
        warn(
            format!(
                "Only {} trained the mapping.",
                count(record.n_genes, "gene")
            ),
            "Types that these genes do not tell apart cannot be placed.",
        );
    }
    if !record.genes.dropped.is_empty() {
        let dropped = &record.genes.dropped;
        warn(
            format!(
                "{} of both files dropped, zero in all cells or in all voxels: {}.",
                count(dropped.len(), "gene"),
                examples(dropped.iter().map(String::as_str))
            ),
            "",
        );
    }
    if !record.stopped_early && map.solver == Solver::Mirror && map.tolerance > 0.0 {
        warn(
            format!(
                "The loss had not converged after {}.",
                count(record.epochs_run, "epoch")
            ),
            "More --epochs may lower it.",
        );
    }
    if record.factors.is_none() && record.mean_dropped_mass > MUCH_MASS {
        warn(
            format!(
                "{:.0} % of the probability of a cell, on average, is not stored and not shown.",
                record.mean_dropped_mass * 100.0
            ),
            "Map again with a larger --keep.",
        );
    }
    if places.is_none() {
        warn(
            "The voxels have no usable coordinates, so there are no maps.".to_owned(),
            "Add obsm/spatial to the voxels' file and map again.",
        );
    }
    match types {
        None => warn(
            "No obs column of the cells looks like their types.".to_owned(),
            "Name one with --types obs:COLUMN.",
        ),
        Some(types) if types.guessed => warn(
            format!(
                "Types are those of obs column {}, which was chosen by its name.",
                types.column
            ),
            "Name another with --types obs:COLUMN.",
        ),
        Some(_) => {}
    }
    warnings
}

/// What the scores of genes that did not train say against the predictions, if anything.
pub(crate) fn about_tested(judged: &[ScoredGene]) -> Option<Warning> {
    let PartSummary {
        predicted: summary,
        totals: Summary {
            mean_cosine: baseline,
            ..
        },
        ..
    } = summary(judged, false)?;
    if summary.mean_cosine <= baseline {
        return Some(Warning {
            text: format!(
                "Genes that did not train are predicted no better than by the totals of the voxels: mean score {:.3}, totals alone {baseline:.3}.",
                summary.mean_cosine
            ),
            remedy: "Do not rely on predicted genes; more shared genes, or cells of the same tissue, may help.".to_owned(),
        });
    }
    (summary.quantiles[2] < WELL_PREDICTED).then(|| Warning {
        text: format!(
            "Scores are weak: half of the genes that did not train have a score below {:.2}.",
            summary.quantiles[2]
        ),
        remedy: "The table of genes says which of them can be relied on.".to_owned(),
    })
}
