//! Regions of interest on a section: polygons or a mask, as pixels.

use crate::AtlasError;
use crate::error::read;
use crate::section::read_gray;
use serde_json::Value;
use std::path::Path;

/// Polygons with more corners than this are refused.
const MOST_CORNERS: usize = 1 << 22;

/// The pixels of a section that are asked about.
#[derive(Debug, Clone, PartialEq)]
pub struct Roi {
    width: usize,
    inside: Vec<bool>,
}

impl Roi {
    /// Every pixel.
    #[must_use]
    pub fn whole([width, height]: [usize; 2]) -> Self {
        Self {
            width,
            inside: vec![true; width * height],
        }
    }

    /// The pixels that are not 0 in an 8-bit gray image of the section's size.
    ///
    /// # Errors
    /// [`AtlasError::Section`] for other images.
    pub fn read_mask(path: &Path, size: [usize; 2]) -> Result<Self, AtlasError> {
        let (width, height, values) = read_gray(path)?;
        if [width, height] != size {
            let reason = format!(
                "{width} × {height} pixels; the registered section has {} × {}",
                size[0], size[1]
            );
            return Err(AtlasError::section(path, reason));
        }
        Self {
            width,
            inside: values.iter().map(|v| *v != 0).collect(),
        }
        .not_empty(path)
    }

    /// The pixels whose middle lies in a polygon of a GeoJSON file: a geometry, a feature or a collection, polygons with holes.
    ///
    /// * `scale`: pixels of the section per unit of the file's coordinates
    ///
    /// # Errors
    /// [`AtlasError::File`] for other files, [`AtlasError::Section`] if no pixel is inside.
    pub fn read_geojson(path: &Path, size: [usize; 2], scale: f64) -> Result<Self, AtlasError> {
        let value: Value = serde_json::from_slice(&read(path)?)
            .map_err(|e| AtlasError::file(path, format!("not GeoJSON ({e})")))?;
        let mut polygons = Vec::new();
        collect(&value, &mut polygons).map_err(|reason| AtlasError::file(path, reason))?;
        let corners: usize = polygons.iter().flatten().map(Vec::len).sum();
        if corners > MOST_CORNERS {
            return Err(AtlasError::file(path, format!("{corners} corners")));
        }
        let [width, height] = size;
        let mut inside = vec![false; width * height];
        for polygon in &polygons {
            fill(polygon, scale, size, &mut inside);
        }
        Self { width, inside }.not_empty(path)
    }

    fn not_empty(self, path: &Path) -> Result<Self, AtlasError> {
        match self.inside.contains(&true) {
            true => Ok(self),
            false => Err(AtlasError::section(
                path,
                "no pixel of the section is inside",
            )),
        }
    }

    /// Middles of the pixels inside, row after row.
    pub fn pixels(&self) -> impl Iterator<Item = [f64; 2]> + '_ {
        let width = self.width;
        let inside = self
            .inside
            .iter()
            .enumerate()
            .filter(|(_, inside)| **inside);
        inside.map(move |(at, _)| [(at % width) as f64 + 0.5, (at / width) as f64 + 0.5])
    }
}

/// The outline of a polygon followed by its holes.
type Rings = Vec<Vec<[f64; 2]>>;

fn collect(value: &Value, into: &mut Vec<Rings>) -> Result<(), String> {
    let list = |key: &str| {
        value[key]
            .as_array()
            .ok_or_else(|| format!("`{key}` is not a list"))
    };
    match value["type"].as_str() {
        Some("FeatureCollection") => list("features")?.iter().try_for_each(|f| collect(f, into)),
        Some("Feature") => collect(&value["geometry"], into),
        Some("GeometryCollection") => list("geometries")?
            .iter()
            .try_for_each(|g| collect(g, into)),
        Some("Polygon") => {
            into.push(rings(list("coordinates")?)?);
            Ok(())
        }
        Some("MultiPolygon") => list("coordinates")?.iter().try_for_each(|polygon| {
            let polygon = polygon
                .as_array()
                .ok_or("a polygon that is not a list of rings")?;
            into.push(rings(polygon)?);
            Ok(())
        }),
        Some(other) => Err(format!("a geometry of type {other}; polygons are read")),
        None => Err("not GeoJSON: an object has no `type`".to_owned()),
    }
}

fn rings(rings: &[Value]) -> Result<Rings, String> {
    let corner = |corner: &Value| {
        let [x, y] = [corner[0].as_f64()?, corner[1].as_f64()?];
        (x.is_finite() && y.is_finite()).then_some([x, y])
    };
    rings
        .iter()
        .map(|ring| ring.as_array()?.iter().map(corner).collect())
        .collect::<Option<Rings>>()
        .ok_or_else(|| "a ring that is not a list of points".to_owned())
}

/// Adds the pixels whose middle an odd number of edges stands to the left of.
fn fill(polygon: &Rings, scale: f64, [width, height]: [usize; 2], inside: &mut [bool]) {
    let scaled: Vec<Vec<[f64; 2]>> = polygon
        .iter()
        .map(|ring| ring.iter().map(|p| p.map(|x| x * scale)).collect())
        .collect();
    for row in 0..height {
        let y = row as f64 + 0.5;
        let mut crossings: Vec<f64> = Vec::new();
        for ring in &scaled {
            for (i, a) in ring.iter().enumerate() {
                let b = ring[(i + 1) % ring.len()];
                if (a[1] <= y) != (b[1] <= y) {
                    crossings.push(a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0]));
                }
            }
        }
        crossings.sort_by(f64::total_cmp);
        for pair in crossings.chunks_exact(2) {
            let first = (pair[0] - 0.5).ceil().clamp(0.0, width as f64) as usize;
            let end = (pair[1] - 0.5).ceil().clamp(0.0, width as f64) as usize;
            inside[row * width + first..row * width + end.max(first)].fill(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roi(text: &str, scale: f64) -> Result<Roi, AtlasError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roi.geojson");
        std::fs::write(&path, text).unwrap();
        Roi::read_geojson(&path, [10, 8], scale)
    }

    const SQUARE: &str = r#"{"type": "Feature", "properties": {}, "geometry": {"type": "Polygon", "coordinates":
        [[[1, 1], [9, 1], [9, 7], [1, 7], [1, 1]], [[3, 3], [5, 3], [5, 5], [3, 5], [3, 3]]]}}"#;

    #[test]
    fn pixels_are_inside_by_their_middles_and_holes_are_not() {
        let found = roi(SQUARE, 1.0).unwrap();
        assert_eq!(found.pixels().count(), 8 * 6 - 4);
        assert!(!found.pixels().any(|p| p == [3.5, 3.5] || p == [0.5, 0.5]));
        assert!(found.pixels().any(|p| p == [8.5, 6.5]));
        let half = roi(SQUARE, 0.5).unwrap();
        assert_eq!(half.pixels().count(), 4 * 3 - 1);
        assert_eq!(Roi::whole([10, 8]).pixels().count(), 80);
    }

    #[test]
    fn collections_are_joined_and_reach_beyond_the_image() {
        let text = r#"{"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": {"type": "MultiPolygon",
            "coordinates": [[[[0, 0], [2, 0], [2, 2], [0, 2]]], [[[8, 6], [99, 6], [99, 99], [8, 99]]]]}}]}"#;
        assert_eq!(roi(text, 1.0).unwrap().pixels().count(), 4 + 4);
    }

    #[test]
    fn other_files_are_refused() {
        let refused = |text: &str| roi(text, 1.0).unwrap_err().to_string();
        assert!(refused("[").contains("not GeoJSON"));
        assert!(refused("{}").contains("no `type`"));
        assert!(refused(r#"{"type": "Point", "coordinates": [1, 1]}"#).contains("Point"));
        assert!(refused(r#"{"type": "Polygon", "coordinates": [[["a"]]]}"#).contains("ring"));
        let outside = r#"{"type": "Polygon", "coordinates": [[[20, 20], [30, 20], [30, 30]]]}"#;
        assert!(refused(outside).contains("no pixel"));
    }
}
