//! The transform: carries points and images between a section and the atlas, in both directions.

use crate::AtlasError;
use crate::error::read;
use crate::markers::{Marker, MarkerWarp};
use crate::plane::Plane;
use crate::warp::{Displacement, Pair, VelocityField};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// A linear map of the section onto the plane and a shift, micrometres.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Affine {
    /// (s, t) by (x, y): `matrix[i][j]` is the part of output `i` that comes from input `j`.
    pub matrix: [[f64; 2]; 2],
    /// Where the middle of the image goes.
    pub shift_um: [f64; 2],
}

impl Affine {
    /// Nothing changes.
    pub const IDENTITY: Self = Self {
        matrix: [[1.0, 0.0], [0.0, 1.0]],
        shift_um: [0.0; 2],
    };

    /// A rotation, by degrees from x towards y, and a scale.
    #[must_use]
    pub fn rotation(degrees: f64, scale: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        Self {
            matrix: [[scale * cos, -scale * sin], [scale * sin, scale * cos]],
            shift_um: [0.0; 2],
        }
    }

    /// Where a place of the section goes.
    #[must_use]
    pub fn apply(&self, [x, y]: Pair) -> Pair {
        let [a, b] = self.matrix;
        [
            a[0] * x + a[1] * y + self.shift_um[0],
            b[0] * x + b[1] * y + self.shift_um[1],
        ]
    }

    /// The factor by which it changes areas; below 0 it mirrors.
    #[must_use]
    pub fn determinant(&self) -> f64 {
        let [a, b] = self.matrix;
        a[0] * b[1] - a[1] * b[0]
    }

    /// The map backwards; `None` if it has none.
    #[must_use]
    pub fn inverse(&self) -> Option<Self> {
        let determinant = self.determinant();
        if !determinant.is_normal() {
            return None;
        }
        let [a, b] = self.matrix;
        let matrix = [
            [b[1] / determinant, -a[1] / determinant],
            [-b[0] / determinant, a[0] / determinant],
        ];
        let [s, t] = self.shift_um;
        let shift_um = matrix.map(|row| -(row[0] * s + row[1] * t));
        Some(Self { matrix, shift_um })
    }
}

/// Parameters of a transform, as its file holds them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameters {
    /// Width and height of the section's image in pixels.
    pub image: [usize; 2],
    /// Edge of a pixel in micrometres: as given, or, where it was not, estimated together with the rest.
    pub pixel_um: f64,
    /// Whether the size of a pixel was given.
    pub pixel_size_given: bool,
    /// The plane of the section.
    pub plane: Plane,
    /// From the section to the plane: micrometres from the middle of the image, to (s, t).
    pub affine: Affine,
    /// The warp of the plane that follows the affine map.
    pub velocity: VelocityField,
    /// VisuAlign's markers, which warp the image before the affine map; registrations have none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub markers: Vec<Marker>,
}

/// Carries points between the pixels of a section and the atlas.
///
/// A point of the image is (x, y) in pixels, x to the right, y down, (0.5, 0.5) in the middle of the first pixel. It goes through the
/// warp of the markers, the affine map and the warp of the plane to a place of the plane, and with the plane into the atlas, to
/// (AP, DV, ML) in micrometres.
#[derive(Debug, Clone)]
pub struct Transform {
    parameters: Parameters,
    inverse: Affine,
    flow: Displacement,
    backward_flow: Displacement,
    markers: MarkerWarp,
}

/// How exactly the two directions of a transform are each other's inverse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct InverseConsistency {
    /// Median distance, over the image, between a point and where it comes back to.
    pub median_um: f64,
    /// The largest such distance.
    pub max_um: f64,
}

impl Transform {
    /// A transform of these parameters; `None` if the affine map or the markers' warp cannot be inverted, or anything is not a finite number.
    #[must_use]
    pub fn new(parameters: Parameters) -> Option<Self> {
        let Parameters {
            plane,
            affine,
            velocity,
            pixel_um,
            image,
            markers,
            ..
        } = &parameters;
        let numbers = [*pixel_um, plane.depth_um, plane.pitch_deg, plane.yaw_deg];
        let knots = velocity.knots.iter().flatten();
        let finite = numbers
            .iter()
            .chain(&plane.mid_axis_um)
            .chain(&affine.shift_um);
        let sizes_fit = velocity.knots.len() == velocity.n_knots[0] * velocity.n_knots[1]
            && velocity
                .lattice
                .nodes
                .iter()
                .all(|&n| (2..1 << 12).contains(&n))
            && velocity.lattice.step_um > 0.0;
        if !finite.chain(knots).all(|x| x.is_finite()) || !sizes_fit {
            return None;
        }
        if *pixel_um <= 0.0 || image.contains(&0) {
            return None;
        }
        Some(Self {
            inverse: affine.inverse()?,
            flow: velocity.flow(),
            backward_flow: velocity.backward_flow(),
            markers: MarkerWarp::new(*image, markers).ok()?,
            parameters,
        })
    }

    /// Reads the file that [`to_json`](Self::to_json) gave.
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is no such file.
    pub fn read(path: &Path) -> Result<Self, AtlasError> {
        let bytes = read(path)?;
        let parameters = serde_json::from_slice(&bytes)
            .map_err(|e| AtlasError::file(path, format!("not a transform ({e})")))?;
        Self::new(parameters)
            .ok_or_else(|| AtlasError::file(path, "a transform that cannot be inverted"))
    }

    /// The parameters as JSON; they come back to the bit.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(&self.parameters).expect("numbers are finite")
    }

    /// Its parameters.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Whether there is no warp.
    #[must_use]
    pub fn is_affine(&self) -> bool {
        !self.has_flow() && self.parameters.markers.is_empty()
    }

    /// Whether the plane is warped, as a registration does.
    #[must_use]
    pub fn has_flow(&self) -> bool {
        let knots = &self.parameters.velocity.knots;
        knots.iter().flatten().any(|v| *v != 0.0)
    }

    /// The atlas position of a point of the image.
    #[must_use]
    pub fn to_atlas(&self, pixel: [f64; 2]) -> [f64; 3] {
        let Parameters { plane, affine, .. } = &self.parameters;
        let anchored = self.markers.to_anchored(pixel);
        plane.point(
            self.flow
                .apply(affine.apply(self.relative_to_middle(anchored))),
        )
    }

    /// The point of the image whose atlas position is nearest, and how far off the section the position is, in micrometres, positive
    /// towards posterior. The point may lie outside the image.
    #[must_use]
    pub fn to_section(&self, point_um: [f64; 3]) -> ([f64; 2], f64) {
        let (place, off) = self.parameters.plane.project(point_um);
        let middle = self.inverse.apply(self.backward_flow.apply(place));
        let [width, height] = self.parameters.image.map(|n| n as f64);
        let pixel = self.parameters.pixel_um;
        let at = [
            middle[0] / pixel + width / 2.0,
            middle[1] / pixel + height / 2.0,
        ];
        (self.markers.to_shown(at), off)
    }

    /// Atlas positions of the middles of all pixels, row after row.
    #[must_use]
    pub fn field(&self) -> Vec<[f64; 3]> {
        let [width, height] = self.parameters.image;
        (0..width * height)
            .into_par_iter()
            .map(|i| self.to_atlas([(i % width) as f64 + 0.5, (i / width) as f64 + 0.5]))
            .collect()
    }

    /// How exactly the two directions undo each other, over a grid of points of the image.
    #[must_use]
    pub fn inverse_consistency(&self) -> InverseConsistency {
        /// Points along each side.
        const POINTS: usize = 40;
        let [width, height] = self.parameters.image.map(|n| n as f64 / POINTS as f64);
        let mut distances: Vec<f64> = (0..POINTS * POINTS)
            .map(|i| {
                let (column, row) = (i % POINTS, i / POINTS);
                let pixel = [(column as f64 + 0.5) * width, (row as f64 + 0.5) * height];
                let (again, _) = self.to_section(self.to_atlas(pixel));
                (again[0] - pixel[0]).hypot(again[1] - pixel[1]) * self.parameters.pixel_um
            })
            .collect();
        distances.sort_by(f64::total_cmp);
        InverseConsistency {
            median_um: distances[distances.len() / 2],
            max_um: distances[distances.len() - 1],
        }
    }

    /// The smallest factor by which the warp scales an area, or with markers a lower bound of it; if it is positive, the warp folds
    /// nowhere.
    #[must_use]
    pub fn smallest_jacobian(&self) -> f64 {
        self.flow.smallest_jacobian() * self.markers.smallest_scaling()
    }

    /// How far the warp moves the places of the image, the root of the mean square.
    #[must_use]
    pub fn mean_displacement_um(&self) -> f64 {
        /// Points along each side.
        const POINTS: usize = 20;
        let [width, height] = self.parameters.image.map(|n| n as f64 / POINTS as f64);
        let squares = (0..POINTS * POINTS).map(|i| {
            let (column, row) = (i % POINTS, i / POINTS);
            let pixel = [(column as f64 + 0.5) * width, (row as f64 + 0.5) * height];
            let before = self.parameters.affine.apply(self.relative_to_middle(pixel));
            let anchored = self.markers.to_anchored(pixel);
            let after = self
                .parameters
                .affine
                .apply(self.relative_to_middle(anchored));
            let after = self.flow.apply(after);
            (after[0] - before[0]).powi(2) + (after[1] - before[1]).powi(2)
        });
        (squares.sum::<f64>() / (POINTS * POINTS) as f64).sqrt()
    }

    fn relative_to_middle(&self, pixel: [f64; 2]) -> Pair {
        let [width, height] = self.parameters.image.map(|n| n as f64);
        let edge = self.parameters.pixel_um;
        [
            (pixel[0] - width / 2.0) * edge,
            (pixel[1] - height / 2.0) * edge,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EXTENT: [f64; 3] = [13_200.0, 8000.0, 11_400.0];

    const MARKERS: [Marker; 2] = [
        Marker {
            anchored: [60.0, 40.0],
            shown: [66.0, 45.0],
        },
        Marker {
            anchored: [150.5, 90.0],
            shown: [140.0, 95.25],
        },
    ];

    fn transform(pitch: f64, yaw: f64, turn: f64, warp: f64) -> Transform {
        with_markers(pitch, yaw, turn, warp, &MARKERS)
    }

    fn with_markers(pitch: f64, yaw: f64, turn: f64, warp: f64, markers: &[Marker]) -> Transform {
        let mut velocity = VelocityField::zero(EXTENT);
        for (i, knot) in velocity.knots.iter_mut().enumerate() {
            let i = i as f64;
            *knot = [warp * (i * 0.7).sin(), warp * (i * 1.3).cos()];
        }
        let affine = Affine {
            shift_um: [120.0, -310.0],
            ..Affine::rotation(turn, 1.05)
        };
        let plane = Plane {
            pitch_deg: pitch,
            yaw_deg: yaw,
            ..Plane::coronal(6000.0, EXTENT)
        };
        Transform::new(Parameters {
            image: [220, 160],
            pixel_um: 50.0,
            pixel_size_given: true,
            plane,
            affine,
            velocity,
            markers: markers.to_vec(),
        })
        .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]
        #[test]
        fn there_and_back_is_the_same_point(
            pitch in -10.0..10.0_f64, yaw in -10.0..10.0_f64, turn in -180.0..180.0_f64, x in 0.0..220.0_f64, y in 0.0..160.0_f64,
        ) {
            let transform = transform(pitch, yaw, turn, 80.0);
            let (again, off) = transform.to_section(transform.to_atlas([x, y]));
            // Bilinear interpolation of the two flows: a tenth of a pixel.
            prop_assert!((again[0] - x).hypot(again[1] - y) < 0.1, "{again:?}");
            prop_assert!(off.abs() < 1e-6);
        }
    }

    #[test]
    fn the_middle_of_the_image_goes_where_the_shift_says() {
        let still = with_markers(0.0, 0.0, 30.0, 0.0, &[]);
        let point = still.to_atlas([110.0, 80.0]);
        for (found, expected) in point.iter().zip([6000.0, 4000.0 - 310.0, 5700.0 + 120.0]) {
            assert!((found - expected).abs() < 1e-9);
        }
        let points = still.field();
        assert_eq!(points.len(), 220 * 160);
        assert_eq!(points[221], still.to_atlas([1.5, 1.5]));
    }

    #[test]
    fn the_file_comes_back_to_the_bit_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("transform.json");
        let written = transform(3.0, -2.0, 17.0, 60.0);
        std::fs::write(&path, written.to_json()).unwrap();
        let again = Transform::read(&path).unwrap();
        assert_eq!(again.parameters(), written.parameters());
        assert!(written.inverse_consistency().max_um < 5.0);
        assert!(written.smallest_jacobian() > 0.5);
        std::fs::write(&path, written.to_json().replace("\"image\"", "\"images\"")).unwrap();
        assert!(Transform::read(&path).is_err());
        let flat = Parameters {
            affine: Affine::rotation(0.0, 0.0),
            ..written.parameters().clone()
        };
        assert!(Transform::new(flat).is_none());
        let [a, b] = MARKERS;
        let crossed = [(a, b), (b, a)].map(|(from, to)| Marker {
            anchored: from.anchored,
            shown: to.shown,
        });
        let folded = Parameters {
            markers: crossed.to_vec(),
            ..written.parameters().clone()
        };
        assert!(Transform::new(folded).is_none());
        // Files of registrations, which have none, are as they were.
        assert!(
            !with_markers(0.0, 0.0, 0.0, 1.0, &[])
                .to_json()
                .contains("markers")
        );
    }
}
