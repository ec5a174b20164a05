//! The settings of a deconvolution, and what comes out of one.

use crate::choices::{
    DeviceChoice, Goal, KeepChoice, MappingFormat, Mode, ObsColumn, PriorChoice, Solver,
    TargetCount, as_text, maybe_text,
};
use crate::deconvolve_choices::{Method, Platform, TruthChoice, TypesFrom, Which};
use crate::error::{PipelineError, Result};
use crate::match_genes::MatchGenes;
use crate::settings::MapSettings;
use crate::truth::TypeScore;
use crate::weights::{self, Available};
use ndarray::Array2;
use serde::{Serialize, Serializer};
use std::path::{Path, PathBuf};
use tangram_core::{GivenWeights, Keep, Values};
use tangram_store::MatrixName;

/// The file that shows that a folder is a deconvolution.
pub const FOLDER_FILE: &str = "deconvolve.toml";

/// What to take apart, and how. Keys and values are those of the flags of `tangram deconvolve`, whose help describes them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeconvolveSettings {
    /// The single-cell data.
    pub cells: PathBuf,
    /// The spots.
    pub voxels: PathBuf,
    /// Where the cells' counts are.
    #[serde(with = "as_text")]
    pub cells_matrix: MatrixName,
    /// Where the spots' counts are.
    #[serde(with = "as_text")]
    pub voxels_matrix: MatrixName,
    /// The obs column of the cells that holds their types.
    #[serde(serialize_with = "shown")]
    pub annotation: ObsColumn,
    /// What the cells' values are.
    pub values: Values,
    /// What the spots' values are.
    pub values_voxels: Values,
    /// How genes are matched.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub match_genes: Option<MatchGenes>,
    /// Whether spots without a count are left out instead of refused.
    pub drop_empty: bool,
    /// A list of the genes to use, instead of all that both files have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub genes: Option<PathBuf>,

    /// Segmentations: none, one, or two that are merged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub segmentation: Vec<PathBuf>,
    /// Pixels of a segmentation per unit of the spots' coordinates, if not as found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segmentation_scale: Option<f64>,
    /// Diameter of a spot in units of its coordinates, if not as the file says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spot_diameter: Option<f64>,
    /// Distance within which cells of two tables are one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merge_distance: Option<f64>,
    /// A column of the spots' obs with numbers of cells, where there is no segmentation.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub counts: Option<ObsColumn>,

    /// How compositions are estimated.
    pub method: Method,
    /// Whether fits of profiles have a factor for every gene.
    pub platform: Platform,
    /// Where the types of segmented cells are taken from.
    pub types_from: TypesFrom,
    /// True compositions to score against.
    #[serde(with = "maybe_text", skip_serializing_if = "Option::is_none")]
    pub truth: Option<TruthChoice>,

    /// Which cells the mapping uses, if not by whether numbers of cells are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Which>,
    /// The goal of the mapping.
    pub goal: Goal,
    /// How the mapping is found.
    pub solver: Solver,
    /// Most passes of the mapping, if not those of the solver.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epochs: Option<usize>,
    /// What does the work.
    pub device: DeviceChoice,
    /// Threads.
    pub threads: usize,
    /// Seed of the random numbers.
    pub seed: u64,
    /// File format of the outputs.
    pub format: MappingFormat,
}

fn shown<S: Serializer>(column: &ObsColumn, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(column)
}

/// Compositions by one method.
#[derive(Debug, Clone, PartialEq)]
pub struct Composition {
    /// The method.
    pub method: Method,
    /// Shares of the types, (spots, types); a row sums to 1, or is 0 if the method finds nothing in the spot.
    pub shares: Array2<f64>,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Deconvolved {
    /// Number of spots.
    pub n_spots: usize,
    /// Names of the types.
    pub types: Vec<String>,
    /// Segmented or counted cells in spots; `None` where they are not known.
    pub n_cells_in_spots: Option<usize>,
    /// Segmented cells outside of all spots.
    pub n_cells_outside: usize,
    /// Cells of the second segmentation that are cells of the first.
    pub n_merged: usize,
    /// Spots without a segmented or counted cell.
    pub n_spots_without_cells: usize,
    /// Cells that the mapping places.
    pub n_placed: usize,
    /// Cells in spots that got no type.
    pub n_without_type: usize,
    /// Cells that the mapping places beyond those that the spots hold.
    pub n_placed_beyond: usize,
    /// Spots with cells, but without one that the mapping places.
    pub n_spots_without_placed: usize,
    /// Scores against the truth.
    pub scores: Vec<TypeScore>,
}

impl DeconvolveSettings {
    /// The settings of `tangram deconvolve` without any flag but the inputs and the types.
    #[must_use]
    pub fn new(
        cells: impl Into<PathBuf>,
        voxels: impl Into<PathBuf>,
        annotation: ObsColumn,
    ) -> Self {
        let map = MapSettings::new(cells, voxels);
        Self {
            cells: map.cells,
            voxels: map.voxels,
            cells_matrix: map.cells_matrix,
            voxels_matrix: map.voxels_matrix,
            annotation,
            values: map.values,
            values_voxels: map.values_voxels,
            match_genes: None,
            drop_empty: false,
            genes: None,
            segmentation: Vec::new(),
            segmentation_scale: None,
            spot_diameter: None,
            merge_distance: None,
            counts: None,
            method: Method::All,
            platform: Platform::Fit,
            types_from: TypesFrom::Shares,
            truth: None,
            mode: None,
            goal: Self::GOAL,
            solver: map.solver,
            epochs: None,
            device: map.device,
            threads: map.threads,
            seed: map.seed,
            format: MappingFormat::H5ad,
        }
    }

    /// The goal of the mapping unless one is given.
    pub const GOAL: Goal = Goal::Compose;

    /// Refuses settings that contradict each other.
    ///
    /// # Errors
    /// [`PipelineError::Usage`].
    pub fn check(&self) -> Result<()> {
        let usage = |text: &str| Err(PipelineError::Usage(text.to_owned()));
        let counted = self.counts.is_some() || !self.segmentation.is_empty();
        if self.counts.is_some() && !self.segmentation.is_empty() {
            return usage(
                "--counts and --segmentation both say how many cells a spot holds: leave one of them out",
            );
        }
        if self.segmentation.len() > 2 {
            return usage("--segmentation: give one file, or two that are merged");
        }
        let maps = self.method.each().contains(&Method::Mapping);
        if self.types_from == TypesFrom::Placed && !maps {
            return usage(
                "--types-from placed takes the cells that a mapping places: add --method mapping or all",
            );
        }
        if self.mode == Some(Which::Constrained) && !counted {
            return usage(
                "--mode constrained keeps as many cells as the spots hold: say how many with --segmentation or --counts",
            );
        }
        Ok(())
    }

    /// Which cells the mapping uses.
    #[must_use]
    pub fn which(&self) -> Which {
        let counted = self.counts.is_some() || !self.segmentation.is_empty();
        self.mode.unwrap_or(match counted {
            true => Which::Constrained,
            false => Which::Cells,
        })
    }

    /// The settings of the mapping.
    ///
    /// * `voxels`: the file of the spots and, where the numbers of cells are known, the obs column that holds them, and their sum
    ///
    /// # Errors
    /// [`PipelineError::Usage`] if they contradict each other.
    pub(crate) fn mapping(
        &self,
        voxels: &Path,
        counts: Option<(&str, usize)>,
    ) -> Result<MapSettings> {
        let of_goal = self.goal.settings();
        let (prior, target) = match counts {
            Some((column, n)) => (
                PriorChoice::Obs(column.to_owned()),
                Some(TargetCount::Number(n as f64)),
            ),
            None => (PriorChoice::Rna, None),
        };
        let constrained = self.which() == Which::Constrained;
        let filter = constrained.then(|| self.solver.default_filter());
        let available = Available {
            prior: &prior,
            filter,
            ..Available::default()
        };
        let objective = weights::resolved(&GivenWeights::default(), self.goal, &available)?;
        let mirror = self.solver == Solver::Mirror;
        let settings = MapSettings {
            mode: match constrained {
                true => Mode::Constrained,
                false => Mode::Cells,
            },
            target_count: target.filter(|_| constrained),
            filter,
            goal: self.goal,
            objective,
            prior,
            temperature: mirror.then_some(of_goal.temperature),
            solver: self.solver,
            epochs: self.epochs.unwrap_or(self.solver.default_epochs()),
            lr: self.solver.default_lr(),
            tolerance: self.solver.default_tolerance(),
            device: self.device,
            threads: self.threads,
            seed: self.seed,
            // Mirror's rows are computed from its factors.
            keep: Some(match mirror {
                true => KeepChoice::None,
                false => KeepChoice::Keep(Keep::All),
            }),
            ..self.files(voxels)
        };
        settings.check()?;
        Ok(settings)
    }

    /// How the files are read.
    pub(crate) fn files(&self, voxels: &Path) -> MapSettings {
        MapSettings {
            cells_matrix: self.cells_matrix.clone(),
            voxels_matrix: self.voxels_matrix.clone(),
            values: self.values,
            values_voxels: self.values_voxels,
            match_genes: self.match_genes.clone(),
            drop_empty: self.drop_empty,
            genes: self.genes.clone(),
            ..MapSettings::new(&self.cells, voxels)
        }
    }

    /// All files that are read.
    pub(crate) fn inputs(&self) -> Vec<&Path> {
        let mut files = vec![&*self.cells, &*self.voxels];
        files.extend(self.segmentation.iter().map(PathBuf::as_path));
        files.extend(self.genes.as_deref());
        if let Some(TruthChoice::File(path)) = &self.truth {
            files.push(path);
        }
        files
    }
}
