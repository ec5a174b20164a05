//! What the user may choose: each choice is written as it is typed.

mod constrained;
mod goal;

pub use constrained::{ClusterValues, FilterChoice, Mode, TargetCount};
pub use goal::{Goal, GoalSettings};

use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::str::FromStr;
use tangram_comm::GridShape;
use tangram_core::{Keep, KeepError};
use tangram_mapper::{Engine, Precision, TorchDevice, TorchEngine};

/// Where the density prior comes from: written `rna`, `uniform`, `obs:COLUMN` or `none`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PriorChoice {
    /// In proportion to the counts of each voxel.
    Rna,
    /// The same for every voxel.
    Uniform,
    /// A column of the voxels' obs.
    Obs(String),
    /// No prior.
    None,
}

impl Display for PriorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rna => f.write_str("rna"),
            Self::Uniform => f.write_str("uniform"),
            Self::Obs(column) => write!(f, "obs:{column}"),
            Self::None => f.write_str("none"),
        }
    }
}

impl FromStr for PriorChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("obs:")) {
            ("rna", _) => Ok(Self::Rna),
            ("uniform", _) => Ok(Self::Uniform),
            ("none", _) => Ok(Self::None),
            (_, Some(column)) if !column.is_empty() => Ok(Self::Obs(column.to_owned())),
            _ => Err("write rna, uniform, obs:COLUMN or none".to_owned()),
        }
    }
}

/// A column of obs: written `obs:COLUMN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObsColumn(pub String);

impl Display for ObsColumn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "obs:{}", self.0)
    }
}

impl FromStr for ObsColumn {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("obs:") {
            Some(column) if !column.is_empty() => Ok(Self(column.to_owned())),
            _ => Err("write obs:COLUMN, such as obs:cell_type".to_owned()),
        }
    }
}

/// Limit on the spread of logits: written `off`, `auto` or a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Temperature {
    /// No limit.
    Off,
    /// Chosen by held-out genes.
    Auto,
    /// κ: the standard deviation of a cell's logits over the voxels at convergence.
    Kappa(f64),
}

impl Display for Temperature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Auto => f.write_str("auto"),
            Self::Kappa(kappa) => write!(f, "{kappa}"),
        }
    }
}

impl FromStr for Temperature {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "auto" => Ok(Self::Auto),
            number => positive(number)
                .map(Self::Kappa)
                .map_err(|_| "give off, auto or a number above 0".to_owned()),
        }
    }
}

/// How ranks share the work: written `auto` or `CELLSxVOXELSxGENES`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GridChoice {
    /// The fastest grid that fits in memory.
    Auto,
    /// A given grid.
    Shape(GridShape),
}

impl Display for GridChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Shape(shape) => write!(f, "{shape}"),
        }
    }
}

impl FromStr for GridChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            shape => shape.parse().map(Self::Shape),
        }
    }
}

/// What is stored of the probabilities: written `none`, or as [`Keep`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KeepChoice {
    /// None; they can be computed from the factors.
    None,
    /// These.
    Keep(Keep),
}

impl Display for KeepChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Keep(keep) => keep.fmt(f),
        }
    }
}

impl FromStr for KeepChoice {
    type Err = KeepError;

    fn from_str(text: &str) -> Result<Self, KeepError> {
        match text {
            "none" => Ok(Self::None),
            other => other.parse().map(Self::Keep),
        }
    }
}

/// A number above 0.
///
/// # Errors
/// If it is not.
pub fn positive(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if number > 0.0 && f64::is_finite(number) => Ok(number),
        _ => Err("give a number above 0".to_owned()),
    }
}

/// Solvers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Solver {
    /// Mirror descent on weights of voxels and genes: no cells × voxels state.
    Mirror,
    /// Gradient steps on a logit per cell and voxel, as the original package does.
    Adam,
}

/// The device of a mapping.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceChoice {
    /// The program's own kernels on the cores.
    #[default]
    Cpu,
    /// libtorch on a GPU for every rank.
    Cuda,
    /// A GPU if every rank has one, otherwise the cores.
    Auto,
    /// libtorch on the cores.
    TorchCpu,
}

/// Whether cells are read at every pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// If memory is short.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Precision of training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PrecisionChoice {
    /// f32 on cores, tf32 on a GPU.
    Auto,
    /// Single precision.
    F32,
    /// On a device, products of numbers rounded to 10 bits; on cores single precision.
    Tf32,
    /// Products of bf16 numbers (7 bits), summed in single precision.
    Bf16,
    /// On a device only: products of scaled fp16 numbers (10 bits), summed in single precision.
    Fp16,
    /// Double precision.
    F64,
}

/// File format of AnnData.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappingFormat {
    /// A folder of compressed chunks.
    Zarr,
    /// One HDF5 file.
    H5ad,
}

impl MappingFormat {
    /// Ending of names of files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Zarr => "zarr",
            Self::H5ad => "h5ad",
        }
    }

    /// Name of the factors' file in a run directory.
    #[must_use]
    pub fn factors_name(self) -> &'static str {
        match self {
            Self::Zarr => "factors.zarr",
            Self::H5ad => "factors.h5ad",
        }
    }

    /// Name of the mapping's file in a run directory.
    #[must_use]
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Zarr => "mapping.zarr",
            Self::H5ad => "mapping.h5ad",
        }
    }
}

impl Solver {
    /// The goal unless one is given. With a filter it is not `impute`, whose fitted factors hide which types the tissue lacks.
    #[must_use]
    pub fn default_goal(self, mode: Mode) -> Goal {
        match (self, mode) {
            (Self::Mirror, Mode::Constrained) => Goal::Place,
            (Self::Mirror, Mode::Cells | Mode::Clusters) => Goal::Impute,
            (Self::Adam, _) => Goal::Package,
        }
    }

    /// Most passes unless they are given.
    #[must_use]
    pub fn default_epochs(self) -> usize {
        match self {
            Self::Mirror => 500,
            Self::Adam => 1000,
        }
    }

    /// The tolerance unless one is given.
    #[must_use]
    pub fn default_tolerance(self) -> f64 {
        match self {
            Self::Mirror => 5e-4,
            Self::Adam => 0.0,
        }
    }

    /// The learning rate unless one is given.
    #[must_use]
    pub fn default_lr(self) -> Option<f64> {
        match self {
            Self::Mirror => None,
            Self::Adam => Some(0.1),
        }
    }
}

/// Whether the cells' counts are in memory during training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CellsAre {
    /// In memory.
    Held,
    /// On disk, read at every pass.
    Streamed,
    /// In memory if they fit.
    HeldIfTheyFit,
}

impl Stream {
    /// Where the cells are during the passes of a solver.
    #[must_use]
    pub fn cells_of(self, solver: Solver) -> CellsAre {
        match (solver, self) {
            (Solver::Adam, _) | (Solver::Mirror, Self::Off) => CellsAre::Held,
            (Solver::Mirror, Self::On) => CellsAre::Streamed,
            (Solver::Mirror, Self::Auto) => CellsAre::HeldIfTheyFit,
        }
    }
}

impl PrecisionChoice {
    /// The precision on this engine.
    #[must_use]
    pub fn on(self, engine: Engine) -> Precision {
        match self {
            Self::Auto => match engine {
                Engine::Torch(TorchEngine {
                    device: TorchDevice::Cuda(_),
                    ..
                }) => Precision::Tf32,
                _ => Precision::F32,
            },
            Self::F32 => Precision::F32,
            Self::Tf32 => Precision::Tf32,
            Self::Bf16 => Precision::Bf16,
            Self::Fp16 => Precision::Fp16,
            Self::F64 => Precision::F64,
        }
    }
}

/// Serialises a value that may be absent the way it is typed.
pub mod maybe_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text form.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        value: &Option<impl Display>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => serializer.collect_str(value),
            None => serializer.serialize_none(),
        }
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// If the text does not parse.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}

/// Serialises a value the way it is typed.
pub mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use std::fmt::Display;
    use std::str::FromStr;

    /// Writes the text form.
    ///
    /// # Errors
    /// The serializer's.
    pub fn serialize<S: Serializer>(
        value: &impl Display,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    /// Parses the text form.
    ///
    /// # Errors
    /// If the text does not parse.
    pub fn deserialize<'de, D, T>(deserializer: D) -> Result<T, D::Error>
    where
        D: Deserializer<'de>,
        T: FromStr<Err: Display>,
    {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_read_back_as_written() {
        for text in ["rna", "uniform", "none", "obs:n_cells"] {
            assert_eq!(text.parse::<PriorChoice>().unwrap().to_string(), text);
        }
        for text in ["", "RNA", "obs:", "density"] {
            assert!(text.parse::<PriorChoice>().is_err(), "{text}");
        }
        for text in ["939", "12.5", "voxels", "obs:n_cells"] {
            assert_eq!(text.parse::<TargetCount>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-3", "obs:", "cells"] {
            assert!(text.parse::<TargetCount>().is_err(), "{text}");
        }
        for text in ["off", "auto", "2", "0.5"] {
            assert_eq!(text.parse::<Temperature>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "inf", "hot"] {
            assert!(text.parse::<Temperature>().is_err(), "{text}");
        }
        for text in ["none", "all", "mass:0.99", "top:5"] {
            assert_eq!(text.parse::<KeepChoice>().unwrap().to_string(), text);
        }
    }
}
