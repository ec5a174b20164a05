//! Folds: trainings that do without some genes, as the items of a sweep.

use crate::error::PipelineError;
use crate::settings::MapSettings;
use crate::sweep_work::SweepKind;
use crate::yardstick::AgainstTotals;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use tangram_core::GeneScore;
use tangram_store::fingerprint_names;
use tangram_sweep::{Item, MANIFEST, Output, Rows, SweepError, table_of};
use toml::Table;

/// What all folds of a sweep share.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FoldSettings {
    /// Where trainings begin.
    pub start: Start,
    /// Genes that train in some fold, sorted.
    pub genes: Vec<String>,
    /// The settings of the mapping, as `tangram map` has them.
    pub map: Table,
}

impl FoldSettings {
    /// The settings of the mapping.
    ///
    /// # Errors
    /// [`SweepError::Work`] if this program does not understand them.
    pub fn map_settings(&self, sweep: &Path) -> Result<MapSettings, SweepError> {
        self.map
            .clone()
            .try_into()
            .map_err(|e: toml::de::Error| SweepError::Work {
                what: format!("{}: [settings.map]", sweep.join(MANIFEST).display()),
                reason: e.message().to_owned(),
            })
    }
}

/// Where the trainings of folds begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// From nothing, as `tangram map` does.
    Cold,
    /// From the mapping of all genes without the genes held out.
    Warm,
}

/// What a fold gave, as the record of its attempt keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FoldResult {
    /// Passes of its training.
    pub passes: usize,
    /// Loss of its mapping.
    pub loss: f64,
    /// The genes held out, in the order of the fold.
    pub genes: Vec<GeneOutcome>,
}

/// How well a gene held out was predicted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GeneOutcome {
    /// Its name.
    pub gene: String,
    /// Its scores.
    #[serde(flatten)]
    pub score: GeneScore,
    /// Those of the totals of the voxels; `None` in records of earlier builds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<AgainstTotals>,
}

/// The items of folds. Where every gene is held out once, predictions go into the array of the sweep.
///
/// # Errors
/// [`SweepError::Work`] if a fold cannot be written down.
pub fn items(kind: SweepKind, folds: &[Fold]) -> Result<Vec<Item>, SweepError> {
    let item = |(number, fold): (usize, &Fold)| {
        let name = format!("fold-{number}");
        Ok(Item {
            output: match kind.predicts() {
                true => Output::Rows,
                false => Output::Record,
            },
            inputs: BTreeMap::new(),
            work: table_of(&name, fold)?,
            name,
        })
    };
    folds.iter().enumerate().map(item).collect()
}

/// Size of what each fold predicts, (genes held out, voxels), where the sweep has an array.
#[must_use]
pub fn rows(kind: SweepKind, folds: &[Fold], n_voxels: usize) -> Option<Rows> {
    let most = folds.iter().map(|f| f.held_out.len()).max().unwrap_or(0);
    kind.predicts().then_some(Rows {
        rows: most,
        columns: n_voxels,
    })
}

/// A training and the genes it does without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Fold {
    /// Its label in the table of scores, such as `0.5-3` for the third half of an ablation; empty for folds by genes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Genes held out, sorted.
    pub held_out: Vec<String>,
}

impl Fold {
    fn new(label: String, mut held_out: Vec<String>) -> Self {
        held_out.sort_unstable();
        Self { label, held_out }
    }
}

/// One fold a gene.
///
/// # Errors
/// [`PipelineError::Usage`] if fewer than two genes train.
pub fn leave_one_out(genes: &[String]) -> Result<Vec<Fold>, PipelineError> {
    if genes.len() < 2 {
        return refuse("leave-one-out needs two training genes or more");
    }
    let fold = |gene: &String| Fold::new(String::new(), vec![gene.clone()]);
    Ok(genes.iter().map(fold).collect())
}

/// `n` folds of as equal size as can be; every gene is held out once, chosen by the seed and the gene's name alone.
///
/// # Errors
/// [`PipelineError::Usage`] if there are fewer genes than folds, or less than two folds.
pub fn k_fold(genes: &[String], n: usize, seed: u64) -> Result<Vec<Fold>, PipelineError> {
    if n < 2 || n > genes.len() {
        return refuse(&format!(
            "{n} folds of {} training genes; give a number of folds from 2 to the number of genes",
            genes.len()
        ));
    }
    let order = shuffled(genes, &format!("{seed}"));
    let fold = |first| {
        Fold::new(
            String::new(),
            order.iter().skip(first).step_by(n).cloned().collect(),
        )
    };
    Ok((0..n).map(fold).collect())
}

/// For each fraction, `repeats` trainings on that share of the genes, drawn anew each time (the paper's ablation).
///
/// # Errors
/// [`PipelineError::Usage`] for a fraction that leaves no gene on one side.
pub fn ablation(
    genes: &[String],
    fractions: &[f64],
    repeats: usize,
    seed: u64,
) -> Result<Vec<Fold>, PipelineError> {
    let mut folds = Vec::with_capacity(fractions.len() * repeats);
    for &fraction in fractions {
        let n_kept = (fraction * genes.len() as f64).round() as usize;
        if !(fraction > 0.0 && fraction < 1.0) || n_kept == 0 || n_kept == genes.len() {
            return refuse(&format!(
                "a fraction of {fraction} trains on {n_kept} of {} genes; give fractions that train on some and hold out some",
                genes.len()
            ));
        }
        for repeat in 1..=repeats {
            let label = format!("{fraction}-{repeat}");
            let order = shuffled(genes, &format!("{seed} {label}"));
            folds.push(Fold::new(label, order[n_kept..].to_vec()));
        }
    }
    Ok(folds)
}

fn refuse<T>(reason: &str) -> Result<T, PipelineError> {
    Err(PipelineError::Usage(reason.to_owned()))
}

/// The genes by the hash of salt and name: a random order in which a gene's place relative to another does not depend on the rest.
fn shuffled(genes: &[String], salt: &str) -> Vec<String> {
    let mut keyed: Vec<_> = genes
        .iter()
        .map(|gene| {
            (
                fingerprint_names(&[salt.to_owned(), gene.clone()]),
                gene.clone(),
            )
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, gene)| gene).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn genes(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("gene{i:03}")).collect()
    }

    #[test]
    fn every_gene_is_held_out_once_in_folds_of_equal_size() {
        for (n_genes, n) in [(23, 5), (10, 10), (7, 2)] {
            let genes = genes(n_genes);
            let folds = k_fold(&genes, n, 42).unwrap();
            let mut all: Vec<String> = folds.iter().flat_map(|f| f.held_out.clone()).collect();
            all.sort_unstable();
            assert_eq!(all, genes);
            let sizes: BTreeSet<usize> = folds.iter().map(|f| f.held_out.len()).collect();
            assert!(sizes.len() <= 2 && sizes.last().unwrap() - sizes.first().unwrap() <= 1);
            assert_eq!(folds, k_fold(&genes, n, 42).unwrap());
        }
        assert_ne!(
            k_fold(&genes(23), 5, 1).unwrap(),
            k_fold(&genes(23), 5, 2).unwrap()
        );
        assert_eq!(leave_one_out(&genes(4)).unwrap().len(), 4);
    }

    #[test]
    fn an_ablation_trains_on_the_share_it_names_and_draws_anew() {
        let genes = genes(40);
        let folds = ablation(&genes, &[0.25, 0.5], 3, 7).unwrap();
        let sizes: Vec<usize> = folds.iter().map(|f| f.held_out.len()).collect();
        assert_eq!(sizes, [30, 30, 30, 20, 20, 20]);
        assert_eq!(folds[1].label, "0.25-2");
        assert_ne!(folds[0].held_out, folds[1].held_out);
    }

    #[test]
    fn what_leaves_nothing_is_refused() {
        assert!(leave_one_out(&genes(1)).is_err());
        assert!(k_fold(&genes(5), 1, 0).is_err() && k_fold(&genes(5), 6, 0).is_err());
        for fraction in [0.0, 1.0, -0.1, 0.01, f64::NAN] {
            assert!(
                ablation(&genes(5), &[fraction], 1, 0).is_err(),
                "{fraction}"
            );
        }
    }
}
