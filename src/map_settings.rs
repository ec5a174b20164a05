//! What `tangram map` can be told.

use crate::error::CliError;
use crate::values::{PriorChoice, as_text, at_least_one, not_negative, positive, seed, threads};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

use tangram_core::{Keep, Normalize, Objective, Transform};
use tangram_mapper::{AdamSettings, Precision};
use tangram_store::MatrixName;

const INPUT: &str = "Input";
const GENES: &str = "Genes and values";
const OBJECTIVE: &str = "What a good mapping is";
const TRAINING: &str = "Training";
const OUTPUT: &str = "Output";

/// The settings of a mapping: together with the inputs and the program's version they decide the result.
#[derive(Debug, Clone, PartialEq, Args, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct MapSettings {
    /// The single-cell data: .h5ad, AnnData .zarr, 10x .h5, or a folder with matrix.mtx
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub cells: PathBuf,
    /// The spatial data: as --cells, or a Space Ranger output folder
    #[arg(long, value_name = "FILE", help_heading = INPUT)]
    pub voxels: PathBuf,
    /// Where the cells' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    #[serde(with = "as_text")]
    pub cells_matrix: MatrixName,
    /// Where the voxels' counts are: X, raw or layer:NAME
    #[arg(long, value_name = "MATRIX", default_value = "X", help_heading = INPUT)]
    #[serde(with = "as_text")]
    pub voxels_matrix: MatrixName,

    /// Train on the genes of this list (one name a line) instead of all that both files have
    #[arg(long, value_name = "FILE", conflicts_with = "hold_out", help_heading = GENES)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genes: Option<PathBuf>,
    /// Keep the genes of this list (one name a line) out of training, to test the mapping on them
    #[arg(long, value_name = "FILE", help_heading = GENES)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_out: Option<PathBuf>,
    /// Bring every cell to the same total count (library), or leave cells as they are (none)
    #[arg(long, value_name = "HOW", default_value_t = Normalize::FOR_CELLS, help_heading = GENES)]
    pub normalize: Normalize,
    /// Likewise for voxels; by default their totals stay, since they tell how many cells are there
    #[arg(long, value_name = "HOW", default_value_t = Normalize::FOR_VOXELS, help_heading = GENES)]
    pub normalize_voxels: Normalize,
    /// Transform both sides for training: none, sqrt or log1p; what is carried into space stays untransformed
    #[arg(long, value_name = "HOW", default_value_t = Transform::None, help_heading = GENES)]
    pub transform: Transform,

    /// Where cells are expected: rna (in proportion to each voxel's counts), uniform, obs:COLUMN of the voxels, or none
    #[arg(long, value_name = "WHICH", default_value_t = PriorChoice::Rna, help_heading = OBJECTIVE)]
    #[serde(with = "as_text")]
    pub prior: PriorChoice,
    /// Weight of every gene having the right pattern over the voxels
    #[arg(long, value_name = "WEIGHT", default_value_t = 1.0, value_parser = not_negative, help_heading = OBJECTIVE)]
    pub lambda_g1: f64,
    /// Weight of every voxel having the right mix of genes
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = not_negative, help_heading = OBJECTIVE)]
    pub lambda_g2: f64,
    /// Weight of the cells lying as densely as the prior expects [default: 1, or 0 with --prior none]
    #[arg(long, value_name = "WEIGHT", value_parser = not_negative, help_heading = OBJECTIVE)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lambda_d: Option<f64>,
    /// Weight of every cell sitting in few voxels (entropy)
    #[arg(long, value_name = "WEIGHT", default_value_t = 0.0, value_parser = not_negative, help_heading = OBJECTIVE)]
    pub lambda_r: f64,

    /// Passes over the data
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = at_least_one, help_heading = TRAINING)]
    pub epochs: usize,
    /// Learning rate: the size of the optimiser's steps
    #[arg(long, value_name = "RATE", default_value_t = 0.1, value_parser = positive, help_heading = TRAINING)]
    pub lr: f64,
    /// Where chance begins; the same seed gives the same result
    #[arg(long, value_name = "N", default_value_t = 42, value_parser = seed, help_heading = TRAINING)]
    pub seed: u64,
    /// Stop early once 50 epochs improve the loss by less than this share of it (0: never)
    #[arg(long, value_name = "CHANGE", default_value_t = 0.0, value_parser = not_negative, help_heading = TRAINING)]
    pub tolerance: f64,
    /// How the mapping is found
    #[arg(long, value_enum, default_value_t = Solver::Adam, help_heading = TRAINING)]
    pub solver: Solver,
    /// Precision of the numbers: bf16 is faster and rougher, f64 is for checking
    #[arg(long, value_enum, default_value_t = PrecisionChoice::F32, help_heading = TRAINING)]
    pub precision: PrecisionChoice,
    /// Threads to use [default: one for every core]
    #[arg(long, value_name = "N", value_parser = at_least_one, help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Begin from these logits, a NumPy array of cells × voxels, instead of random ones
    #[arg(long, value_name = "FILE.npy", help_heading = TRAINING)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_logits: Option<PathBuf>,

    /// What is stored of every cell's probabilities: all, mass:SHARE (few that hold at least this share) or top:N
    #[arg(long, value_name = "WHAT", default_value_t = Keep::Mass(0.999), help_heading = OUTPUT)]
    pub keep: Keep,
    /// File format of the mapping
    #[arg(long, value_enum, default_value_t = MappingFormat::Zarr, help_heading = OUTPUT)]
    pub format: MappingFormat,
}

/// How the mapping is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// Gradient steps on a logit per cell and voxel, as the original package does.
    Adam,
}

/// Precision of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// Single precision.
    F32,
    /// Products of 16-bit numbers, summed in single precision.
    Bf16,
    /// Double precision.
    F64,
}

/// File format of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappingFormat {
    /// A folder of compressed chunks.
    Zarr,
    /// One HDF5 file.
    H5ad,
}

impl MappingFormat {
    /// Name of the mapping's file in a run directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Zarr => "mapping.zarr",
            Self::H5ad => "mapping.h5ad",
        }
    }
}

impl MapSettings {
    /// The settings with nothing left open: paths absolute, defaults that depend on others filled in.
    ///
    /// # Errors
    /// [`CliError::Usage`] if they contradict each other.
    pub fn resolved(mut self) -> Result<Self, CliError> {
        let density = match (&self.prior, self.lambda_d) {
            (PriorChoice::None, Some(weight)) if weight > 0.0 => {
                let text = "--lambda-d weighs the density prior, but --prior none gives none: leave one of them out";
                return Err(CliError::Usage(text.to_owned()));
            }
            (PriorChoice::None, _) => 0.0,
            (_, weight) => weight.unwrap_or(1.0),
        };
        if self.lambda_g1 == 0.0 && self.lambda_g2 == 0.0 {
            let text =
                "--lambda-g1 and --lambda-g2 are both 0: nothing would be learned from the genes";
            return Err(CliError::Usage(text.to_owned()));
        }
        self.lambda_d = Some(density);
        self.threads = Some(threads(self.threads));
        let files = [&mut self.genes, &mut self.hold_out, &mut self.init_logits]
            .into_iter()
            .flatten();
        for path in files.chain([&mut self.cells, &mut self.voxels]) {
            // The current folder cannot be told only if it was deleted; the path as typed then serves as well.
            *path = std::path::absolute(&*path).unwrap_or_else(|_| path.clone());
        }
        Ok(self)
    }

    /// What the solver needs of resolved settings.
    #[must_use]
    pub fn adam(&self) -> AdamSettings {
        AdamSettings {
            objective: Objective {
                gene: self.lambda_g1,
                voxel: self.lambda_g2,
                density: self.lambda_d.unwrap_or(0.0),
                entropy: self.lambda_r,
            },
            epochs: self.epochs,
            learning_rate: self.lr,
            seed: self.seed,
            threads: threads(self.threads),
            precision: match self.precision {
                PrecisionChoice::F32 => Precision::F32,
                PrecisionChoice::Bf16 => Precision::Bf16,
                PrecisionChoice::F64 => Precision::F64,
            },
            tolerance: self.tolerance,
        }
    }
}
