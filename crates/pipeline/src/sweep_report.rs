//! The report of a sweep over folds: every gene as predicted by the fold that did without it.

use crate::error::Result;
use crate::figures::{self, Which, write_bytes};
use crate::held_out::HeldOut;
use crate::pictures::places_of;
use crate::prediction_intervals::{self, Pairs};
use crate::report::{MOST_VALUES, ReportSettings, SAID, add, chosen_genes, gene_row, page, quoted};
use crate::report_warnings::{about_tested, summary};
use crate::score::{ScoredGene, in_short};
use crate::settings::MapSettings;
use crate::wording::{count, thousands};
use crate::yardstick::PartSummary;
use std::path::Path;
use tangram_report::{GeneValues, RunPage, Warning};
use tangram_store::{Existing, write_aside};

/// Writes the report of a sweep.
///
/// * `sweep`: its folder
/// * `predictions`: an AnnData of voxels × genes held out, with their scores in var, as `sweep collect` writes it
/// * `map`: the settings of its trainings
///
/// # Errors
/// If the predictions or the voxels cannot be read, or the report not written.
pub(crate) fn of_predictions(
    sweep: &Path,
    predictions: &Path,
    map: &MapSettings,
    (out, existing): (&Path, Existing),
) -> Result<()> {
    let name = sweep.display().to_string();
    // Not the command as it was typed: the same folds give the same files.
    let command = format!("tangram sweep collect {}", quoted(&name));
    let held_out = HeldOut::open(predictions, map)?;
    let HeldOut {
        dataset,
        voxels,
        yardstick,
        factors,
        ..
    } = &held_out;
    let n_genes = dataset.n_vars();
    let places = places_of(voxels, dataset.spatial()?)?.ok();
    let genes = held_out.genes();
    let mut judged = Vec::with_capacity(genes.len());
    let mut pairs = Pairs::new(voxels.n_rows(), genes.len());
    held_out.for_each_measured(&genes, |gene, measured| {
        let predicted = held_out.predicted(gene);
        pairs.add(&predicted, &measured);
        judged.push(ScoredGene {
            gene: gene.to_owned(),
            score: held_out.score(gene),
            against: yardstick.compare(&predicted, &measured, factors.as_deref()),
            training: "held_out",
        });
    })?;
    let settings = ReportSettings {
        runs: Vec::new(),
        genes: Vec::new(),
        n_genes: ReportSettings::N_GENES,
        command: command.clone(),
    };
    let most = (MOST_VALUES / voxels.n_rows().max(1)).max(3);
    let chosen = match places {
        Some(_) => chosen_genes(&settings, settings.n_genes.min(most), &judged),
        None => Vec::new(),
    };
    let chosen: Vec<&str> = chosen.iter().map(String::as_str).collect();
    let mut values = Vec::with_capacity(chosen.len());
    held_out.for_each_measured(&chosen, |gene, measured| {
        values.push(GeneValues {
            gene: gene.to_owned(),
            measured: Some(measured),
            predicted: held_out.predicted(gene),
        });
    })?;
    let mut left_out = Vec::new();
    if places.is_some() && chosen.len() < judged.len() {
        left_out.push(format!(
            "the maps of {} of {} genes; the predictions have all",
            judged.len() - chosen.len(),
            judged.len()
        ));
    }
    let mut drawn = Vec::new();
    if judged.iter().any(ScoredGene::has_pattern) {
        add(&mut drawn, Which::Scores, figures::scores(&judged))?;
        add(&mut drawn, Which::Baseline, figures::baseline(&judged))?;
        add(&mut drawn, Which::Sparsity, figures::sparsity(&judged))?;
    }
    if let Some(figure) = pairs.figure()? {
        drawn.push((prediction_intervals::ABOUT.to_owned(), figure));
    }
    let mut warnings: Vec<Warning> = about_tested(&judged).into_iter().collect();
    if judged.len() < n_genes {
        warnings.push(Warning {
            text: format!(
                "{} of {} have no prediction: their folds are not done.",
                count(n_genes - judged.len(), "gene"),
                thousands(n_genes)
            ),
            remedy: "Finish them with tangram sweep run, then collect again.".to_owned(),
        });
    }
    let mut facts = vec![
        ("cells", map.cells.display().to_string()),
        (
            "voxels",
            format!("{} in {}", thousands(voxels.n_rows()), map.voxels.display()),
        ),
        ("genes held out, each once", thousands(judged.len())),
    ];
    if let Some(PartSummary {
        predicted, totals, ..
    }) = summary(&judged, false)
    {
        facts.push((
            "their mean score",
            format!(
                "{:.3} ({:.0} % above 0.4; voxel totals alone {:.3})",
                predicted.mean_cosine,
                predicted.share_above * 100.0,
                totals.mean_cosine
            ),
        ));
    }
    facts.extend(in_short(&judged).sentence().map(|said| (SAID, said)));
    let run = RunPage {
        name: name.clone(),
        warnings,
        facts: facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
        command,
        settings: toml::to_string(map)?,
        voxels: dataset.obs_names()?,
        genes: judged.iter().map(gene_row).collect(),
        values,
        left_out,
        figures: drawn,
        places,
        ..RunPage::default()
    };
    let html = page(format!("tangram: {name}"), &settings, vec![run]).html();
    write_aside(out, existing, |aside| -> Result<()> {
        write_bytes(aside, html.as_bytes())
    })
}
