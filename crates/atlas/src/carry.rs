//! Points of a section in the atlas, and of the atlas in a section.

use crate::store::Atlas;
use crate::{AtlasError, PointTable, Transform};
use std::path::Path;
use tangram_store::{Dataset, StoreError};

/// Columns of points of the atlas.
const ATLAS_COLUMNS: [&str; 3] = ["ap_um", "dv_um", "ml_um"];

/// Points on the other side of a transform.
#[derive(Debug, Clone, PartialEq)]
pub struct CarriedPoints {
    /// A table with one line a point (TSV).
    pub table: String,
    /// Number of points.
    pub n_points: usize,
    /// Points in a structure of the atlas, if one was given.
    pub n_in_brain: Option<usize>,
}

/// Points of a section: of a table with the columns x and y, or of an AnnData (.h5ad, .zarr), whose obsm/spatial is taken.
///
/// # Errors
/// [`AtlasError`] if the file cannot be read or has no such coordinates.
pub fn section_points(path: &Path) -> Result<PointTable, AtlasError> {
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    if !matches!(ending, "h5ad" | "zarr") {
        return PointTable::read(path, &["x", "y"]);
    }
    let data = Dataset::open(path)?;
    let missing = || StoreError::MissingField {
        path: path.to_owned(),
        parent: "obsm".to_owned(),
        what: "array",
        name: "spatial".to_owned(),
        found: "no coordinates".to_owned(),
    };
    let spatial = data.spatial()?.filter(|places| places.ncols() >= 2);
    let spatial = spatial.ok_or_else(missing)?;
    Ok(PointTable {
        names: data.obs_names()?,
        points: spatial.rows().into_iter().map(|row| row.to_vec()).collect(),
    })
}

/// Points of the atlas: of a table with the columns ap_um, dv_um and ml_um.
///
/// # Errors
/// [`AtlasError::File`] if the table cannot be read or lacks a column.
pub fn atlas_points(path: &Path) -> Result<PointTable, AtlasError> {
    PointTable::read(path, &ATLAS_COLUMNS)
}

/// Carries points of a section to the atlas. With `atlas` the table names the structure at each point, or says `outside`.
///
/// * `scale`: pixels of the registered mask per unit of the points' coordinates
///
/// # Errors
/// [`AtlasError`] if the atlas cannot be read.
pub fn to_atlas(
    points: &PointTable,
    transform: &Transform,
    scale: f64,
    atlas: Option<&Atlas>,
) -> Result<CarriedPoints, AtlasError> {
    let level = |atlas: &Atlas| atlas.level_of(transform.parameters().pixel_um);
    let labels = atlas.map(|a| a.labels(level(a))).transpose()?;
    let mut table = format!("name\t{}", ATLAS_COLUMNS.join("\t"));
    table.push_str(match atlas {
        Some(_) => "\tstructure\n",
        None => "\n",
    });
    let mut n_in_brain = 0;
    for (name, point) in points.names.iter().zip(&points.points) {
        let [ap, dv, ml] = transform.to_atlas([point[0] * scale, point[1] * scale]);
        table.push_str(&format!("{name}\t{ap:.2}\t{dv:.2}\t{ml:.2}"));
        if let (Some(atlas), Some(labels)) = (atlas, &labels) {
            let row = usize::from(labels.at([ap, dv, ml]).unwrap_or(0)).checked_sub(1);
            n_in_brain += usize::from(row.is_some());
            let structure = row.map(|row| atlas.tree().structures()[row].acronym.as_str());
            table.push_str(&format!("\t{}", structure.unwrap_or("outside")));
        }
        table.push('\n');
    }
    Ok(CarriedPoints {
        table,
        n_points: points.names.len(),
        n_in_brain: atlas.is_some().then_some(n_in_brain),
    })
}

/// Carries points of the atlas to a section; `off_um` is how far a point is from the section's plane, positive towards posterior.
///
/// * `scale`: pixels of the registered mask per unit of the table's coordinates
#[must_use]
pub fn to_section(points: &PointTable, transform: &Transform, scale: f64) -> CarriedPoints {
    let mut table = "name\tx\ty\toff_um\n".to_owned();
    for (name, point) in points.names.iter().zip(&points.points) {
        let ([x, y], off) = transform.to_section([point[0], point[1], point[2]]);
        let [x, y] = [x, y].map(|v| v / scale);
        table.push_str(&format!("{name}\t{x:.4}\t{y:.4}\t{off:.2}\n"));
    }
    CarriedPoints {
        table,
        n_points: points.names.len(),
        n_in_brain: None,
    }
}
