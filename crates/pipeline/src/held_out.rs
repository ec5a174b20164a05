//! The predictions of a sweep over folds beside what was measured.

use crate::error::Result;
use crate::expression_files::measured_voxels;
use crate::pictures::CHUNK_VALUES;
use crate::project::ProjectSettings;
use crate::score::totals_of;
use crate::settings::MapSettings;
use crate::yardstick::VoxelTotals;
use ndarray::Array2;
use std::collections::BTreeMap;
use std::path::Path;
use tangram_core::{Column, GeneChoice, GeneScore, Table, align};
use tangram_store::{Dataset, ExpressionFile, MatrixName};

/// Genes that were held out, each predicted by the fold that did without it, and the voxels in which they were measured.
#[derive(Debug)]
pub(crate) struct HeldOut {
    pub(crate) dataset: Dataset,
    pub(crate) voxels: ExpressionFile,
    pub(crate) yardstick: VoxelTotals,
    pub(crate) factors: Option<Vec<f64>>,
    /// (voxels, genes)
    predicted: Array2<f32>,
    /// Score, column of the predictions and column of the voxels' file of each gene that has all three.
    genes: BTreeMap<String, (GeneScore, usize, usize)>,
}

impl HeldOut {
    /// Opens both files.
    ///
    /// * `predictions`: an AnnData of voxels × genes held out, with their scores in var, as `sweep collect` writes it
    /// * `map`: the settings of the sweep's trainings
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn open(predictions: &Path, map: &MapSettings) -> Result<Self> {
        let dataset = Dataset::open(predictions)?;
        let voxels = measured_voxels(map)?;
        let (yardstick, factors) = totals_of(&voxels, map)?;
        let names = dataset.var_names()?;
        let mut scores = scores(&dataset.var()?, &names);
        let predicted = dataset
            .matrix(&MatrixName::X)?
            .read_rows_any(0..dataset.n_obs())?
            .to_dense();
        let shared = align(&names, voxels.genes(), &GeneChoice::default())?;
        let columns = shared.in_cells.iter().zip(&shared.in_voxels);
        let genes = shared.names.iter().zip(columns);
        let genes = genes.filter_map(|(name, (&predicted, &measured))| {
            Some((name.clone(), (scores.remove(name)?, predicted, measured)))
        });
        Ok(Self {
            genes: genes.collect(),
            dataset,
            voxels,
            yardstick,
            factors,
            predicted,
        })
    }

    /// The genes that have a prediction, sorted.
    pub(crate) fn genes(&self) -> Vec<&str> {
        self.genes.keys().map(String::as_str).collect()
    }

    /// The score of a gene.
    pub(crate) fn score(&self, gene: &str) -> GeneScore {
        self.genes[gene].0
    }

    /// What was predicted of a gene in each voxel.
    pub(crate) fn predicted(&self, gene: &str) -> Vec<f32> {
        self.predicted.column(self.genes[gene].1).to_vec()
    }

    /// Calls a function with each of some genes and what was measured of it in each voxel.
    ///
    /// # Errors
    /// If the voxels cannot be read.
    pub(crate) fn for_each_measured<'a>(
        &self,
        genes: &[&'a str],
        mut take: impl FnMut(&'a str, Vec<f32>),
    ) -> Result<()> {
        let chunk = (CHUNK_VALUES / self.voxels.n_rows().max(1)).clamp(1, ProjectSettings::CHUNK);
        for part in genes.chunks(chunk) {
            let columns: Vec<usize> = part.iter().map(|g| self.genes[*g].2).collect();
            let values = self.voxels.read_scaled(&columns, self.factors.as_deref())?;
            for (gene, measured) in part.iter().zip(values.to_dense().columns()) {
                take(gene, measured.to_vec());
            }
        }
        Ok(())
    }
}

/// The scores that the predictions have in var, by gene.
fn scores(var: &Table, names: &[String]) -> BTreeMap<String, GeneScore> {
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
        .filter_map(|k| Some((names[k].clone(), score(k)?)))
        .collect()
}
