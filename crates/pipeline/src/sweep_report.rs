//! The report of a sweep over folds: every gene as predicted by the fold that did without it.

use crate::error::Result;
use crate::expression_files::measured_voxels;
use crate::figures::{self, Which, write_bytes};
use crate::pictures::{CHUNK_VALUES, places_of};
use crate::project::ProjectSettings;
use crate::report::{MOST_VALUES, ReportSettings, SAID, add, chosen_genes, gene_row, page, quoted};
use crate::report_warnings::{about_tested, summary};
use crate::score::{ScoredGene, in_short, totals_of};
use crate::settings::MapSettings;
use crate::wording::{count, thousands};
use crate::yardstick::PartSummary;
use std::collections::BTreeMap;
use std::path::Path;
use tangram_core::{Column, GeneChoice, GeneScore, Table, align};
use tangram_report::{GeneValues, RunPage, Warning};
use tangram_store::{Dataset, Existing, MatrixName, write_aside};

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
    let dataset = Dataset::open(predictions)?;
    let voxels = measured_voxels(map)?;
    let (yardstick, factors) = totals_of(&voxels, map)?;
    let names = dataset.var_names()?;
    let scores = scores(&dataset.var()?, &names);
    let places = places_of(&voxels, dataset.spatial()?)?.ok();
    let rows = dataset
        .matrix(&MatrixName::X)?
        .read_rows_any(0..dataset.n_obs())?
        .to_dense();
    let shared = align(&names, voxels.genes(), &GeneChoice::default())?;
    let column_of: BTreeMap<&str, (usize, usize)> = shared
        .names
        .iter()
        .map(String::as_str)
        .zip(
            shared
                .in_cells
                .iter()
                .copied()
                .zip(shared.in_voxels.iter().copied()),
        )
        .collect();
    let measured = |genes: &[&str]| -> Result<Vec<Vec<f32>>> {
        let columns: Vec<usize> = genes.iter().map(|g| column_of[g].1).collect();
        let values = voxels.read_scaled(&columns, factors.as_deref())?.to_dense();
        Ok(values.columns().into_iter().map(|c| c.to_vec()).collect())
    };
    let genes: Vec<&str> = scores
        .keys()
        .copied()
        .filter(|g| column_of.contains_key(g))
        .collect();
    let chunk = (CHUNK_VALUES / voxels.n_rows().max(1)).clamp(1, ProjectSettings::CHUNK);
    let mut judged = Vec::with_capacity(genes.len());
    for part in genes.chunks(chunk) {
        for (gene, values) in part.iter().zip(measured(part)?) {
            judged.push(ScoredGene {
                gene: (*gene).to_owned(),
                score: scores[gene],
                against: yardstick.compare(
                    &rows.column(column_of[gene].0).to_vec(),
                    &values,
                    factors.as_deref(),
                ),
                training: "held_out",
            });
        }
    }
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
    for part in chosen.chunks(chunk) {
        for (gene, measured) in part.iter().zip(measured(part)?) {
            values.push(GeneValues {
                gene: (*gene).to_owned(),
                measured: Some(measured),
                predicted: rows.column(column_of[gene].0).to_vec(),
            });
        }
    }
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
    let mut warnings: Vec<Warning> = about_tested(&judged).into_iter().collect();
    if judged.len() < names.len() {
        warnings.push(Warning {
            text: format!(
                "{} of {} have no prediction: their folds are not done.",
                count(names.len() - judged.len(), "gene"),
                thousands(names.len())
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

/// The scores that the predictions have in var, by gene.
fn scores<'a>(var: &Table, names: &'a [String]) -> BTreeMap<&'a str, GeneScore> {
    let numbers = |name: &str| match var.column(name) {
        Some(Column::Numeric(values)) => values.clone(),
        _ => vec![None; names.len()],
    };
    let (cosine, pearson) = (numbers("cosine"), numbers("pearson"));
    let sparsity = numbers("sparsity_measured");
    let score = |k: usize| {
        Some(GeneScore {
            cosine: cosine[k]?,
            pearson: pearson[k],
            sparsity_measured: sparsity[k]?,
            // Not kept there; a prediction of zeros has no correlation.
            sparsity_predicted: 0.0,
        })
    };
    (0..names.len())
        .filter_map(|k| Some((names[k].as_str(), score(k)?)))
        .collect()
}
