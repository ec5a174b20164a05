//! How many cells every spot holds: by a segmentation, or by a column of obs.

use crate::choices::ObsColumn;
use crate::deconvolve_settings::DeconvolveSettings;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::segmentation::{Reading, Segmentation};
use crate::spots::Spots;
use crate::wording::count;
use std::path::Path;
use tangram_store::ExpressionFile;

/// The obs column into which segmented cells are counted.
pub(crate) const COLUMN: &str = "n_segmented";

/// Cells of every spot.
#[derive(Debug)]
pub(crate) struct SpotCounts {
    /// The obs column that holds them.
    pub(crate) column: String,
    /// Of every spot.
    pub(crate) of_spots: Vec<usize>,
    /// The segmentation that they are counted in, if they are not of a column.
    pub(crate) segmentation: Option<Segmentation>,
}

impl SpotCounts {
    /// Counts segmented cells, or reads the column; `None` if the settings name neither.
    ///
    /// # Errors
    /// [`PipelineError::Segmentation`] or [`PipelineError::Spots`] if they cannot be had.
    pub(crate) fn read(
        settings: &DeconvolveSettings,
        voxels: &ExpressionFile,
        listener: &dyn Listener,
    ) -> Result<Option<Self>> {
        if let Some(ObsColumn(column)) = &settings.counts {
            return Ok(Some(Self {
                of_spots: of_column(voxels, column)?,
                column: column.clone(),
                segmentation: None,
            }));
        }
        if settings.segmentation.is_empty() {
            return Ok(None);
        }
        let spots = Spots::read(voxels.dataset(), settings.spot_diameter)?;
        let how = Reading {
            paths: &settings.segmentation,
            scale: settings.segmentation_scale,
            merge_distance: settings.merge_distance,
        };
        let mut segmentation = Segmentation::read(how, &spots, listener)?;
        Ok(Some(Self {
            column: COLUMN.to_owned(),
            of_spots: std::mem::take(&mut segmentation.counts),
            segmentation: Some(segmentation),
        }))
    }
}

/// Refuses counts that are 0 in all spots.
///
/// # Errors
/// [`PipelineError::Spots`].
pub(crate) fn refuse_no_cells(counts: &SpotCounts, path: &Path) -> Result<()> {
    match counts.of_spots.iter().all(|n| *n == 0) {
        true => Err(PipelineError::Spots {
            path: path.to_owned(),
            reason: format!(
                "obs column `{}` is 0 for all of {}: no spot holds a cell",
                counts.column,
                count(counts.of_spots.len(), "spot")
            ),
        }),
        false => Ok(()),
    }
}

/// Numbers of cells from a column of obs.
fn of_column(voxels: &ExpressionFile, column: &str) -> Result<Vec<usize>> {
    let file = voxels.dataset();
    let wrong = |reason: String| PipelineError::Spots {
        path: file.path().to_owned(),
        reason: format!("obs column `{column}` {reason}"),
    };
    let Some(values) = file.obs_column(column)?.as_numbers() else {
        return Err(wrong(
            "holds no numbers; --counts names a column of numbers of cells".to_owned(),
        ));
    };
    let mut counts = Vec::with_capacity(values.len());
    for (spot, value) in values.into_iter().enumerate() {
        let whole = value.filter(|v| v.fract() == 0.0 && (0.0..1e9).contains(v));
        match (whole, value) {
            (Some(n), _) => counts.push(n as usize),
            (None, value) => {
                let name = &voxels.names()?[spot];
                let shown = value.map_or("no value".to_owned(), |v| v.to_string());
                return Err(wrong(format!(
                    "has {shown} for spot {name}; numbers of cells are whole numbers, 0 or more"
                )));
            }
        }
    }
    Ok(counts)
}
