//! Spots as places: their centres, their diameter, and the images that their coordinates are pixels of.

use crate::error::{PipelineError, Result};
use ndarray::Array2;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tangram_store::{Dataset, Kind, LabelImage, Uns};

/// The spots of a file, in units of its coordinates: pixels of the full image for Visium.
#[derive(Debug)]
pub(crate) struct Spots {
    pub(crate) path: PathBuf,
    pub(crate) names: Vec<String>,
    /// (spots, 2): x and y.
    pub(crate) places: Array2<f64>,
    /// Of the images that the file holds.
    pub(crate) images: Vec<KnownImage>,
    diameter: f64,
}

/// An image of the tissue that a file of spots holds or names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct KnownImage {
    /// Such as `hires`.
    pub(crate) name: String,
    /// Width and height in pixels.
    pub(crate) size: [usize; 2],
    /// Its pixels per unit of the coordinates.
    pub(crate) scale: f64,
}

/// What a file says beside the coordinates.
#[derive(Debug, Default)]
struct Scales {
    diameter: Option<f64>,
    images: Vec<KnownImage>,
}

impl Spots {
    /// Reads where the spots of a file are.
    ///
    /// * `diameter`: if not as the file says
    ///
    /// # Errors
    /// [`PipelineError::Spots`] if there are no coordinates, one is missing, or the diameter is unknown.
    pub(crate) fn read(file: &Dataset, diameter: Option<f64>) -> Result<Self> {
        let wrong = |reason: String| PipelineError::Spots {
            path: file.path().to_owned(),
            reason,
        };
        let Some((places, at)) = file.coordinates()? else {
            return Err(wrong(
                "the spots have no coordinates (obsm/spatial), by which cells are put into spots; add them".to_owned(),
            ));
        };
        if places.ncols() < 2 {
            return Err(wrong(format!("{at} has one column; spots need x and y")));
        }
        let names = file.obs_names()?;
        let places = places.slice_move(ndarray::s![.., ..2]);
        let bad = places
            .rows()
            .into_iter()
            .position(|p| p.iter().any(|x| !x.is_finite()));
        if let Some(bad) = bad {
            return Err(wrong(format!(
                "spot {} has no place in {at}; fill it in, or leave the spot out",
                names[bad]
            )));
        }
        let scales = Scales::read(file)?;
        let Some(diameter) = diameter.or(scales.diameter) else {
            return Err(wrong(
                "says nowhere how large a spot is (uns/spatial, spot_diameter_fullres); add --spot-diameter, in units of obsm/spatial"
                    .to_owned(),
            ));
        };
        if !(diameter.is_finite() && diameter > 0.0) {
            return Err(wrong(format!(
                "uns/spatial says that a spot has a diameter of {diameter}; give it with --spot-diameter"
            )));
        }
        Ok(Self {
            path: file.path().to_owned(),
            names,
            places,
            images: scales.images,
            diameter,
        })
    }

    /// The places of other things as if they were spots of some diameter.
    pub(crate) fn of_places(path: &Path, places: &[[f64; 2]], diameter: f64) -> Self {
        Self {
            path: path.to_owned(),
            names: Vec::new(),
            places: Array2::from_shape_fn((places.len(), 2), |(i, axis)| places[i][axis]),
            images: Vec::new(),
            diameter,
        }
    }

    /// Of a spot, in units of the coordinates.
    pub(crate) fn diameter(&self) -> f64 {
        self.diameter
    }

    /// The spot that holds each place: the one with the nearest centre, if that is within half a diameter; the first of equal ones.
    pub(crate) fn holding(&self, places: &[[f64; 2]]) -> Vec<Option<usize>> {
        let radius = self.diameter / 2.0;
        let bin = |at: f64| (at / self.diameter).floor() as i64;
        let mut bins: HashMap<[i64; 2], Vec<usize>> = HashMap::new();
        for (spot, place) in self.places.rows().into_iter().enumerate() {
            bins.entry([bin(place[0]), bin(place[1])])
                .or_default()
                .push(spot);
        }
        let holding = |&[x, y]: &[f64; 2]| {
            let around = (-1..=1).flat_map(|i| (-1..=1).map(move |j| [i, j]));
            let near = around
                .filter_map(|[i, j]| {
                    bins.get(&[bin(x).saturating_add(i), bin(y).saturating_add(j)])
                })
                .flatten();
            let apart =
                |spot: usize| (self.places[[spot, 0]] - x).hypot(self.places[[spot, 1]] - y);
            near.map(|&spot| (apart(spot), spot))
                .filter(|(apart, _)| *apart <= radius)
                .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
                .map(|(_, spot)| spot)
        };
        places.iter().map(holding).collect()
    }

    /// The least and largest coordinates: x, then y.
    pub(crate) fn extent(&self) -> [[f64; 2]; 2] {
        [0, 1].map(|axis| {
            let along = self.places.column(axis);
            let least = along.iter().copied().fold(f64::INFINITY, f64::min);
            let largest = along.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            [least, largest]
        })
    }
}

impl Scales {
    /// Of `uns/spatial`, or of a Space Ranger folder; nothing where several sections are in one file.
    fn read(file: &Dataset) -> Result<Self> {
        if file.kind() == Kind::SpaceRanger {
            return Ok(Self::of_folder(file.path()));
        }
        // What other programs keep there in another form says nothing to us.
        let Ok(Some(Uns::Map(libraries))) = file.uns_value("spatial") else {
            return Ok(Self::default());
        };
        let mut libraries = libraries.into_values();
        let (Some(Uns::Map(library)), None) = (libraries.next(), libraries.next()) else {
            return Ok(Self::default());
        };
        let Some(Uns::Map(factors)) = library.get("scalefactors") else {
            return Ok(Self::default());
        };
        let factor = |name: &str| match factors.get(name) {
            Some(Uns::Number(number)) => Some(*number),
            Some(Uns::Integer(number)) => Some(*number as f64),
            _ => None,
        };
        let mut images = Vec::new();
        if let Some(Uns::Map(stored)) = library.get("images") {
            for (name, image) in stored {
                if let (Uns::Array { shape, .. }, Some(scale)) =
                    (image, factor(&format!("tissue_{name}_scalef")))
                    && let [height, width, ..] = shape[..]
                {
                    images.push(KnownImage {
                        name: name.clone(),
                        size: [width, height],
                        scale,
                    });
                }
            }
        }
        Ok(Self {
            diameter: factor("spot_diameter_fullres"),
            images,
        })
    }

    fn of_folder(path: &Path) -> Self {
        let folder = [path.join("spatial"), path.join("outs/spatial")]
            .into_iter()
            .find(|folder| folder.is_dir());
        let Some(folder) = folder else {
            return Self::default();
        };
        let text = tangram_store::read_text(&folder.join("scalefactors_json.json"));
        let factors: serde_json::Value = text
            .ok()
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default();
        let factor = |name: &str| factors.get(name).and_then(serde_json::Value::as_f64);
        let image = |name: &str| {
            Some(KnownImage {
                name: name.to_owned(),
                size: LabelImage::size_of(&folder.join(format!("tissue_{name}_image.png")))?,
                scale: factor(&format!("tissue_{name}_scalef"))?,
            })
        };
        Self {
            diameter: factor("spot_diameter_fullres"),
            images: ["hires", "lowres"].into_iter().filter_map(image).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_belongs_to_the_nearest_spot_within_its_radius() {
        let centres = [[0.0, 0.0], [10.0, 0.0], [-25.0, 4.0]];
        let spots = Spots::of_places(Path::new("spots"), &centres, 12.0);
        let places = [
            [4.9, 0.0],
            [5.0, 0.0],
            [5.1, 0.0],
            [0.0, 6.0],
            [0.0, 6.1],
            [-25.0, -2.0],
            [-31.1, 4.0],
        ];
        let found = spots.holding(&places);
        assert_eq!(
            found,
            [Some(0), Some(0), Some(1), Some(0), None, Some(2), None]
        );
        assert_eq!(spots.extent(), [[-25.0, 10.0], [0.0, 4.0]]);
    }
}
