//! The sections of a series, as folders with a transform each.

use crate::outputs::TRANSFORM_FILE;
use crate::quicknii::{MarkerUse, Series};
use crate::{AtlasError, Transform};
use std::fs;
use std::path::Path;
use tangram_store::{Existing, StoreError, write_aside};

/// The sections of a series.
#[derive(Debug)]
pub struct SeriesSections {
    /// Name and transform of every anchored section.
    pub sections: Vec<(String, Transform)>,
    /// Sections without anchoring.
    pub not_anchored: Vec<String>,
    /// Anchored sections whose markers were left out as asked.
    pub without_markers: Vec<String>,
    /// Markers that were moved beyond the image, into the margin that VisuAlign has: the section and the number of the marker.
    pub beyond_the_image: Vec<(String, usize)>,
}

impl SeriesSections {
    /// Reads a series.
    ///
    /// * `extent_um`: of the atlas, along AP, DV and ML
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is none, a section does not fit the atlas, or two have the same name.
    pub fn read(
        path: &Path,
        extent_um: [f64; 3],
        marker_use: MarkerUse,
    ) -> Result<Self, AtlasError> {
        let series = Series::read(path)?;
        let mut found = Self {
            sections: Vec::new(),
            not_anchored: Vec::new(),
            without_markers: Vec::new(),
            beyond_the_image: Vec::new(),
        };
        for slice in &series.slices {
            let name = stem(&slice.filename);
            if slice.anchoring.is_none() {
                found.not_anchored.push(name);
                continue;
            }
            let wrong =
                |reason: String| AtlasError::file(path, format!("{}: {reason}", slice.filename));
            let transform = series
                .transform(slice, extent_um, marker_use)
                .map_err(wrong)?;
            if found.sections.iter().any(|(other, _)| *other == name) {
                return Err(wrong("another section has the same name".to_owned()));
            }
            if marker_use == MarkerUse::Ignore && slice.markers().map_or(true, |m| !m.is_empty()) {
                found.without_markers.push(name.clone());
            }
            for (i, marker) in transform.parameters().markers.iter().enumerate() {
                let [x, y] = marker.shown;
                let inside = (0.0..=slice.width).contains(&x) && (0.0..=slice.height).contains(&y);
                if !inside {
                    found.beyond_the_image.push((name.clone(), i + 1));
                }
            }
            found.sections.push((name, transform));
        }
        Ok(found)
    }

    /// Markers of all sections.
    #[must_use]
    pub fn n_markers(&self) -> usize {
        let markers = self.sections.iter();
        markers.map(|(_, t)| t.parameters().markers.len()).sum()
    }

    /// Writes a folder with a folder for each anchored section, which holds its transform.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if the folder exists or cannot be written.
    pub fn write(&self, out: &Path) -> Result<(), AtlasError> {
        let failed = |e: std::io::Error| StoreError::Write {
            path: out.to_owned(),
            reason: e.to_string(),
        };
        write_aside(out, Existing::Refuse, |folder| -> Result<(), StoreError> {
            fs::create_dir(folder).map_err(failed)?;
            for (name, transform) in &self.sections {
                let folder = folder.join(name);
                fs::create_dir(&folder).map_err(failed)?;
                fs::write(folder.join(TRANSFORM_FILE), transform.to_json()).map_err(failed)?;
            }
            Ok(())
        })?;
        Ok(())
    }
}

/// The name of an image without its folder and ending.
fn stem(filename: &str) -> String {
    let name = filename.rsplit(['/', '\\']).next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    match stem {
        "" => "section".to_owned(),
        stem => stem.to_owned(),
    }
}
