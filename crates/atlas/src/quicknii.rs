//! Anchorings of QuickNII, with VisuAlign's markers.
//!
//! QuickNII counts voxels of the Allen mouse brain from left to right, posterior to anterior, inferior to superior. A section lies at
//! `o + u·x/width + v·y/height`.

use crate::AtlasError;
use crate::error::read;
use crate::markers::{Marker, MarkerWarp};
use crate::plane::{Plane, dot};
use crate::transform::{Affine, Parameters, Transform};
use crate::warp::VelocityField;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::Path;

/// Sections whose normal is further from the AP axis than this are not coronal.
const MOST_DEGREES: f64 = 50.0;

/// The field of a section's markers.
const MARKERS: &str = "markers";

/// What is done with VisuAlign's markers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkerUse {
    /// They warp the section.
    Apply,
    /// The section lies where its anchoring alone puts it.
    Ignore,
}

/// A series of sections as QuickNII and VisuAlign write it. What this program does not know is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Voxels along QuickNII's axes.
    #[serde(rename = "target-resolution")]
    pub resolution: [f64; 3],
    /// The sections.
    pub slices: Vec<Slice>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

/// A section of a series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slice {
    /// Name of the image.
    pub filename: String,
    /// Width of the image.
    pub width: f64,
    /// Height of the image.
    pub height: f64,
    /// `o`, `u` and `v`; absent from sections that nobody has anchored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchoring: Option<[f64; 9]>,
    #[serde(flatten)]
    other: Map<String, Value>,
}

impl Slice {
    /// VisuAlign's markers.
    ///
    /// # Errors
    /// That they are no lists of four numbers.
    pub fn markers(&self) -> Result<Vec<Marker>, String> {
        let markers = self.other.get(MARKERS).filter(|value| !value.is_null());
        let markers = markers.map(Vec::<Marker>::deserialize);
        markers.transpose().map(Option::unwrap_or_default).map_err(|e| {
            format!(
                "its markers are not lists of four numbers ({e}); mend them, or leave them out with --markers ignore"
            )
        })
    }
}

impl Series {
    /// Reads a series.
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is none.
    pub fn read(path: &Path) -> Result<Self, AtlasError> {
        serde_json::from_slice(&read(path)?)
            .map_err(|e| AtlasError::file(path, format!("not a series of QuickNII ({e})")))
    }

    /// A series of registered sections, by the linear part of their transforms and their markers: neither QuickNII nor VisuAlign knows
    /// another warp.
    ///
    /// * `sections`: file name of the image, and transform
    #[must_use]
    pub fn of_transforms(
        name: &str,
        extent_um: [f64; 3],
        sections: &[(String, &Transform)],
    ) -> Self {
        const VOXEL_UM: f64 = 25.0;
        let [ap, dv, ml] = extent_um.map(|length| (length / VOXEL_UM).round());
        let text = |key: &str, value: &str| (key.to_owned(), Value::from(value));
        let slice = |(nr, (filename, transform)): (usize, &(String, &Transform))| {
            let [width, height] = transform.parameters().image.map(|n| n as f64);
            let mut other = Map::from_iter([("nr".to_owned(), Value::from(nr + 1))]);
            let markers = &transform.parameters().markers;
            if !markers.is_empty() {
                let markers = markers
                    .iter()
                    .map(|m| Value::from(<[f64; 4]>::from(*m).to_vec()));
                other.insert(MARKERS.to_owned(), markers.collect());
            }
            Slice {
                filename: filename.clone(),
                width,
                height,
                anchoring: Some(anchoring(transform.parameters(), extent_um, VOXEL_UM)),
                other,
            }
        };
        Self {
            resolution: [ml, ap, dv],
            slices: sections.iter().enumerate().map(slice).collect(),
            other: Map::from_iter([
                text("name", name),
                text("target", "ABA_Mouse_CCFv3_2017_25um.cutlas"),
            ]),
        }
    }

    /// The series as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("numbers are finite")
    }

    /// The transform of an anchored section.
    ///
    /// * `extent_um`: lengths of the atlas's axes
    ///
    /// # Errors
    /// What is wrong: no anchoring, a series of another atlas, a section that is not coronal, markers that fold the image.
    pub fn transform(
        &self,
        slice: &Slice,
        extent_um: [f64; 3],
        marker_use: MarkerUse,
    ) -> Result<Transform, String> {
        let [x, y, z] = self.resolution;
        let [ap, dv, ml] = extent_um;
        let edges = [ml / x, ap / y, dv / z];
        if edges.iter().any(|e| (e / edges[0] - 1.0).abs() > 0.01) {
            return Err(format!(
                "the series is of an atlas of {x} × {y} × {z} voxels, which this one is not"
            ));
        }
        let numbers = slice.anchoring.ok_or("it has no anchoring")?;
        let edge = edges[0];
        // From QuickNII's directions to AP, DV, ML.
        let direction = |i: usize| {
            [
                -numbers[i + 1] * edge,
                -numbers[i + 2] * edge,
                numbers[i] * edge,
            ]
        };
        let origin = {
            let d = direction(0);
            [ap + d[0], dv + d[1], d[2]]
        };
        let (u, v) = (direction(3), direction(6));
        let normal = {
            let n = cross(u, v);
            let length = dot(n, n).sqrt() * n[0].signum();
            n.map(|x| x / length)
        };
        if normal[0].is_nan() || normal[0] < MOST_DEGREES.to_radians().cos() {
            return Err(format!(
                "it is not coronal: its plane is tilted by more than {MOST_DEGREES}°"
            ));
        }
        let mid = [dv / 2.0, ml / 2.0];
        let off = normal[1] * (mid[0] - origin[1]) + normal[2] * (mid[1] - origin[2]);
        let plane = Plane {
            depth_um: origin[0] - off / normal[0],
            pitch_deg: (-normal[1]).asin().to_degrees(),
            yaw_deg: (-normal[2]).atan2(normal[0]).to_degrees(),
            mid_axis_um: mid,
        };
        let axes = plane.axes();
        let length = |d: [f64; 3]| dot(d, d).sqrt();
        let pixel_um = (length(u) / slice.width + length(v) / slice.height) / 2.0;
        let part = |d: [f64; 3], n: f64| [dot(d, axes.s), dot(d, axes.t)].map(|x| x / n / pixel_um);
        let (by_x, by_y) = (part(u, slice.width), part(v, slice.height));
        let middle = std::array::from_fn(|i| origin[i] + (u[i] + v[i]) / 2.0);
        let image = [slice.width.round() as usize, slice.height.round() as usize];
        let markers = match marker_use {
            MarkerUse::Apply => slice.markers()?,
            MarkerUse::Ignore => Vec::new(),
        };
        MarkerWarp::new(image, &markers).map_err(|reason| {
            format!(
                "{reason}; move them in VisuAlign, or leave all markers out with --markers ignore"
            )
        })?;
        let parameters = Parameters {
            image,
            pixel_um,
            pixel_size_given: false,
            plane,
            affine: Affine {
                matrix: [[by_x[0], by_y[0]], [by_x[1], by_y[1]]],
                shift_um: plane.project(middle).0,
            },
            velocity: VelocityField::zero(extent_um),
            markers,
        };
        Transform::new(parameters).ok_or_else(|| "its anchoring has no area".to_owned())
    }
}

/// `o`, `u` and `v` of the linear part of a transform.
fn anchoring(parameters: &Parameters, [ap, dv, _]: [f64; 3], voxel_um: f64) -> [f64; 9] {
    let Parameters {
        image,
        pixel_um,
        plane,
        affine,
        ..
    } = parameters;
    let corner = |x: f64, y: f64| {
        let from_middle = [(x - 0.5) * image[0] as f64, (y - 0.5) * image[1] as f64];
        plane.point(affine.apply(from_middle.map(|n| n * pixel_um)))
    };
    let (o, right, below) = (corner(0.0, 0.0), corner(1.0, 0.0), corner(0.0, 1.0));
    let towards = |p: [f64; 3]| {
        let d: [f64; 3] = std::array::from_fn(|i| (p[i] - o[i]) / voxel_um);
        [d[2], -d[0], -d[1]]
    };
    let (u, v) = (towards(right), towards(below));
    let o = [
        o[2] / voxel_um,
        (ap - o[0]) / voxel_um,
        (dv - o[1]) / voxel_um,
    ];
    std::array::from_fn(|i| match i / 3 {
        0 => o[i],
        1 => u[i - 3],
        _ => v[i - 6],
    })
}

fn cross(a: [f64; 3], b: [f64; 3]) -> [f64; 3] {
    [
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CCF: [f64; 3] = [13_200.0, 8000.0, 11_400.0];
    const SERIES: &str = r#"{"name": "x", "target": "t", "target-resolution": [456.0, 528.0, 320.0], "slices": [
        {"filename": "a.png", "nr": 7, "width": 1500, "height": 1000, "markers": [[1, 2, 3, 4]],
         "anchoring": [-5.1, 361.8, 331.1, 456.0, 30.0, -10.0, 8.0, 20.0, -320.0]}]}"#;

    fn at(o: &[f64; 9], x: f64, y: f64) -> [f64; 3] {
        let q: [f64; 3] = std::array::from_fn(|i| o[i] + o[3 + i] * x + o[6 + i] * y);
        [(528.0 - q[1]) * 25.0, (320.0 - q[2]) * 25.0, q[0] * 25.0]
    }

    #[test]
    fn an_anchoring_becomes_a_transform_and_comes_back() {
        let series: Series = serde_json::from_str(SERIES).unwrap();
        let slice = &series.slices[0];
        let transform = series.transform(slice, CCF, MarkerUse::Ignore).unwrap();
        let numbers = slice.anchoring.unwrap();
        for (x, y) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (0.3, 0.8)] {
            let (found, due) = (
                transform.to_atlas([x * 1500.0, y * 1000.0]),
                at(&numbers, x, y),
            );
            assert!(
                (0..3).all(|i| (found[i] - due[i]).abs() < 1e-6),
                "{found:?} {due:?}"
            );
        }
        let sections = [("a.png".to_owned(), &transform)];
        let again = Series::of_transforms("x", CCF, &sections);
        assert_eq!(again.resolution, series.resolution);
        let again = again.slices[0].anchoring.unwrap();
        for (a, b) in again.iter().zip(numbers) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn what_is_not_known_is_kept() {
        let series: Series = serde_json::from_str(SERIES).unwrap();
        let again: Value = serde_json::from_str(&series.to_json()).unwrap();
        let slice = &again["slices"][0];
        assert_eq!(slice["nr"], 7);
        assert_eq!(slice["markers"][0][3], 4);
        assert_eq!(again["target"], "t");
        let marker = Marker::from([1.0, 2.0, 3.0, 4.0]);
        assert_eq!(series.slices[0].markers().unwrap(), [marker]);
    }

    #[test]
    fn markers_move_the_image_and_come_back_to_the_bit() {
        let with = SERIES.replace(
            "[[1, 2, 3, 4]]",
            "[[700.5, 401.25, 650.1, 420.3], [3, 5, 80, 60]]",
        );
        let series: Series = serde_json::from_str(&with).unwrap();
        let slice = &series.slices[0];
        let transform = |marker_use| series.transform(slice, CCF, marker_use).unwrap();
        let (linear, warped) = (transform(MarkerUse::Ignore), transform(MarkerUse::Apply));
        assert!(linear.is_affine() && !warped.is_affine() && !warped.has_flow());
        let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6);
        for marker in slice.markers().unwrap() {
            let place = linear.to_atlas(marker.anchored);
            assert!(close(&warped.to_atlas(marker.shown), &place));
            let (back, off) = warped.to_section(place);
            assert!(close(&back, &marker.shown) && off.abs() < 1e-6);
        }
        let again = Series::of_transforms("x", CCF, &[("a.png".to_owned(), &warped)]);
        assert_eq!(again.slices[0].markers().unwrap(), slice.markers().unwrap());
        let alone = Series::of_transforms("x", CCF, &[("a.png".to_owned(), &linear)]);
        assert!(!alone.to_json().contains(MARKERS));
    }

    #[test]
    fn markers_that_cannot_be_are_refused() {
        for (markers, expected) in [
            ("[[1, 2, 3]]", "lists of four numbers"),
            ("7", "lists of four numbers"),
            (
                "[[600, 300, 400, 300], [400, 300, 600, 300]]",
                "fold the image",
            ),
            ("[[1, 2, 1, 2000]]", "more than a tenth"),
        ] {
            let series: Series =
                serde_json::from_str(&SERIES.replace("[[1, 2, 3, 4]]", markers)).unwrap();
            let slice = &series.slices[0];
            let error = series.transform(slice, CCF, MarkerUse::Apply).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("--markers ignore"),
                "{error}"
            );
            series.transform(slice, CCF, MarkerUse::Ignore).unwrap();
        }
    }

    #[test]
    fn other_sections_are_refused() {
        let mut series: Series = serde_json::from_str(SERIES).unwrap();
        let slice = series.slices[0].clone();
        let rat = [24_000.0, 8000.0, 11_400.0];
        assert!(
            series
                .transform(&slice, rat, MarkerUse::Apply)
                .unwrap_err()
                .contains("voxels")
        );
        let sagittal = [228.0, 528.0, 320.0, 0.0, -528.0, 0.0, 0.0, 0.0, -320.0];
        series.slices[0].anchoring = Some(sagittal);
        let slice = series.slices[0].clone();
        assert!(
            series
                .transform(&slice, CCF, MarkerUse::Apply)
                .unwrap_err()
                .contains("not coronal")
        );
        series.slices[0].anchoring = None;
        let slice = series.slices[0].clone();
        assert!(
            series
                .transform(&slice, CCF, MarkerUse::Apply)
                .unwrap_err()
                .contains("no anchoring")
        );
    }
}
