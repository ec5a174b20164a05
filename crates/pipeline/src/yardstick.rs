//! Scores beside what they must be compared with: a predictor that knows no cells.
//!
//! The predictor of a gene is the total of every voxel over all other genes. Where a gene follows it, a mapping that knows only where
//! there is much tissue scores well. The partial correlation takes the totals out of both sides.

use serde::{Deserialize, Serialize};
use tangram_core::{GeneScore, Summary, auc, partial_correlation, score_gene};

/// The totals of the voxels over all genes.
#[derive(Debug, Clone, PartialEq)]
pub struct VoxelTotals(Vec<f64>);

/// How well the totals predict a gene, and what of its prediction is left without them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AgainstTotals {
    /// The scores of the totals of all other genes as a prediction of this one.
    pub totals: GeneScore,
    /// Correlation of predicted and measured values with these totals partialled out; `None` where something does not vary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<f64>,
}

impl VoxelTotals {
    /// * `totals`: the total of every voxel over all genes of its file, as they are in it
    #[must_use]
    pub fn new(totals: Vec<f64>) -> Self {
        Self(totals)
    }

    /// Compares the prediction of a gene with that of the totals.
    ///
    /// * `predicted`, `measured`: one value per voxel
    /// * `factors`: what `measured` was multiplied by, if by anything
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn compare(
        &self,
        predicted: &[f32],
        measured: &[f32],
        factors: Option<&[f64]>,
    ) -> AgainstTotals {
        let factor = |j: usize| factors.map_or(1.0, |factors| factors[j]);
        let others: Vec<f32> = (self.0.iter().zip(measured).enumerate())
            .map(|(j, (total, &own))| (total - f64::from(own) / factor(j)).max(0.0) as f32)
            .collect();
        AgainstTotals {
            totals: score_gene(&others, measured),
            partial: partial_correlation(predicted, measured, &others),
        }
    }
}

/// Scores of some genes in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PartSummary {
    /// Of the predictions.
    #[serde(flatten)]
    pub predicted: Summary,
    /// Of the voxel totals as a prediction of the same genes.
    pub totals: Summary,
    /// Mean correlation with the totals partialled out.
    pub mean_partial: Option<f64>,
}

impl PartSummary {
    /// Summarises genes; `None` if there are none.
    #[must_use]
    pub fn of(genes: &[(GeneScore, AgainstTotals)]) -> Option<Self> {
        let scores: Vec<GeneScore> = genes.iter().map(|(score, _)| *score).collect();
        let totals: Vec<GeneScore> = genes.iter().map(|(_, against)| against.totals).collect();
        let partial: Vec<f64> = genes.iter().filter_map(|(_, a)| a.partial).collect();
        Some(Self {
            predicted: Summary::of(&scores)?,
            totals: Summary::of(&totals)?,
            mean_partial: (!partial.is_empty())
                .then(|| partial.iter().sum::<f64>() / partial.len() as f64),
        })
    }
}

/// A gene, its role and its scores.
#[derive(Debug, Clone, Copy)]
pub struct Scored {
    /// Whether it trained.
    pub trained: bool,
    /// Its scores.
    pub score: GeneScore,
    /// Those of the totals.
    pub against: AgainstTotals,
}

/// Scores of all genes in short.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ScoresInShort {
    /// Genes that trained.
    pub train: Option<PartSummary>,
    /// Genes that did not, and are not zero everywhere.
    pub test: Option<PartSummary>,
    /// Area under the curve of score against sparsity of the test genes.
    pub test_auc: Option<f64>,
    /// Genes that both files have but that are zero everywhere in one: they have no pattern to score.
    pub n_without_pattern: usize,
}

/// A difference of mean correlations below this tells nothing.
const SAME: f64 = 0.02;

impl ScoresInShort {
    /// Of these genes.
    #[must_use]
    pub fn of(genes: &[Scored]) -> Self {
        let has_pattern = |g: &&Scored| g.score.has_pattern();
        let part = |trained: bool| -> Vec<(GeneScore, AgainstTotals)> {
            let genes = genes.iter().filter(has_pattern);
            let genes = genes.filter(|g| g.trained == trained);
            genes.map(|g| (g.score, g.against)).collect()
        };
        let (train, test) = (part(true), part(false));
        let test_scores: Vec<GeneScore> = test.iter().map(|(score, _)| *score).collect();
        Self {
            train: PartSummary::of(&train),
            test: PartSummary::of(&test),
            test_auc: auc(&test_scores),
            n_without_pattern: genes.len() - train.len() - test.len(),
        }
    }

    /// The table for people: a line for each part, and under it one for the totals.
    #[must_use]
    pub fn table(&self) -> Vec<String> {
        let mut lines = vec![
            "                 genes   mean cosine   5 %    25 %   50 %   75 %   95 %   above 0.4   mean Pearson   totals out"
                .to_owned(),
        ];
        for (name, part) in [("trained", self.train), ("not trained", self.test)] {
            let Some(part) = part else {
                lines.push(format!("{name:<12} {:>9}", 0));
                continue;
            };
            let partial = or_dash(part.mean_partial);
            lines.push(format!("{}   {partial:>10}", line(name, &part.predicted)));
            lines.push(line(" totals only", &part.totals));
        }
        lines
    }

    /// What the comparison says, in one sentence; `None` without scores.
    #[must_use]
    pub fn sentence(&self) -> Option<String> {
        let (part, genes) = match (&self.test, &self.train) {
            (Some(test), _) => (test, "genes that did not train"),
            (None, Some(train)) => (train, "training genes (which say little of other genes)"),
            (None, None) => return None,
        };
        let own = part.predicted.mean_pearson?;
        let totals = part.totals.mean_pearson.unwrap_or(0.0);
        let partial = part.mean_partial.unwrap_or(0.0);
        let left = format!("{partial:.2} is left with the totals taken out");
        Some(if own > totals + SAME && partial > SAME {
            format!(
                "the mapping knows more than where there is much tissue: over the {genes} it correlates by {own:.2}, \
                 voxel totals alone by {totals:.2}, and {left}"
            )
        } else if partial > SAME {
            format!(
                "voxel totals alone predict as well (correlation {totals:.2}, the mapping {own:.2}, over the {genes}), \
                 but the mapping adds to them: {left}"
            )
        } else {
            format!(
                "the mapping predicts no more than voxel totals do: over the {genes} it correlates by {own:.2}, \
                 totals alone by {totals:.2}, and {left}"
            )
        })
    }
}

fn or_dash(value: Option<f64>) -> String {
    value.map_or("–".to_owned(), |v| format!("{v:.3}"))
}

fn line(name: &str, part: &Summary) -> String {
    let quantiles: Vec<String> = part.quantiles.iter().map(|q| format!("{q:.3}")).collect();
    format!(
        "{name:<12} {:>9}   {:>11.3}   {}   {:>8.1} %   {:>12}",
        part.n_genes,
        part.mean_cosine,
        quantiles.join("  "),
        part.share_above * 100.0,
        or_dash(part.mean_pearson),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prediction_that_follows_the_totals_has_nothing_left_without_them() {
        let totals: Vec<f64> = (0..200).map(|j| 100.0 + (j * 37 % 91) as f64).collect();
        let pattern: Vec<f32> = (0..200).map(|j| (j % 7) as f32).collect();
        let noise = |j: usize| ((j * 53 % 17) as f32 - 8.0) / 40.0;
        let measured: Vec<f32> = (0..200)
            .map(|j| totals[j] as f32 / 50.0 + pattern[j] + noise(j))
            .collect();
        let voxel_totals = VoxelTotals::new(totals.clone());
        // All other genes, and noise of its own.
        let by_totals: Vec<f32> = (0..200)
            .map(|j| totals[j] as f32 - measured[j] + noise(j + 3))
            .collect();
        let of = |predicted: &[f32]| voxel_totals.compare(predicted, &measured, None);
        let (empty, knows) = (of(&by_totals), of(&pattern));
        assert!(empty.partial.unwrap().abs() < 0.1, "{empty:?}");
        assert!(knows.partial.unwrap() > 0.9, "{knows:?}");
        assert_eq!(empty.totals, knows.totals);
        // The gene itself is not in the totals: here nothing else is, and what is left does not vary.
        let own = VoxelTotals::new(measured.iter().map(|&m| f64::from(m) + 1.0).collect());
        assert_eq!(own.compare(&pattern, &measured, None).totals.pearson, None);

        let scored = |predicted: &[f32]| Scored {
            trained: false,
            score: score_gene(predicted, &measured),
            against: of(predicted),
        };
        let sentence = |p: &[f32]| ScoresInShort::of(&[scored(p)]).sentence().unwrap();
        assert!(sentence(&by_totals).starts_with("the mapping predicts no more"));
        let better: Vec<f32> = measured.iter().map(|m| m * 3.0).collect();
        assert!(sentence(&better).starts_with("the mapping knows more"));
        assert_eq!(ScoresInShort::of(&[]).sentence(), None);
    }
}
