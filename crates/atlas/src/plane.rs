//! The plane in which a section was cut.

use serde::{Deserialize, Serialize};

/// A plane through the atlas, nearly coronal.
///
/// With pitch and yaw 0 it is the coronal plane at `depth_um` from the anterior end. Pitch tilts its ventral edge to posterior, yaw the
/// edge towards which ML grows. Points of the plane have coordinates (s, t): micrometres from the atlas's mid-axis along ML and along DV.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plane {
    /// Where the plane meets the mid-axis, micrometres from the anterior end.
    pub depth_um: f64,
    /// Rotation about the ML axis, degrees.
    pub pitch_deg: f64,
    /// Rotation about the DV axis, degrees.
    pub yaw_deg: f64,
    /// The mid-axis: its DV and ML positions, micrometres.
    pub mid_axis_um: [f64; 2],
}

/// A place of the plane and how it moves with each of the plane's three numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct PlaneAxes {
    pub origin: [f64; 3],
    /// Directions of s, of t and of the normal.
    pub s: [f64; 3],
    pub t: [f64; 3],
    pub normal: [f64; 3],
    /// Derivatives of the directions, per radian.
    pub s_by_yaw: [f64; 3],
    pub t_by_pitch: [f64; 3],
    pub t_by_yaw: [f64; 3],
}

impl Plane {
    /// The coronal plane at a depth.
    ///
    /// * `extent_um`: lengths of the atlas's axes
    #[must_use]
    pub fn coronal(depth_um: f64, extent_um: [f64; 3]) -> Self {
        Self {
            depth_um,
            pitch_deg: 0.0,
            yaw_deg: 0.0,
            mid_axis_um: [extent_um[1] / 2.0, extent_um[2] / 2.0],
        }
    }

    pub(crate) fn axes(&self) -> PlaneAxes {
        let (sin_p, cos_p) = self.pitch_deg.to_radians().sin_cos();
        let (sin_y, cos_y) = self.yaw_deg.to_radians().sin_cos();
        PlaneAxes {
            origin: [self.depth_um, self.mid_axis_um[0], self.mid_axis_um[1]],
            s: [sin_y, 0.0, cos_y],
            t: [sin_p * cos_y, cos_p, -sin_p * sin_y],
            normal: [cos_p * cos_y, -sin_p, -cos_p * sin_y],
            s_by_yaw: [cos_y, 0.0, -sin_y],
            t_by_pitch: [cos_p * cos_y, -sin_p, -cos_p * sin_y],
            t_by_yaw: [-sin_p * sin_y, 0.0, -sin_p * cos_y],
        }
    }

    /// The atlas position of a place of the plane.
    #[must_use]
    pub fn point(&self, place: [f64; 2]) -> [f64; 3] {
        self.axes().point(place)
    }

    /// The place of the plane nearest to an atlas position, and how far the position is from it: positive towards posterior.
    #[must_use]
    pub fn project(&self, point_um: [f64; 3]) -> ([f64; 2], f64) {
        self.axes().project(point_um)
    }
}

impl PlaneAxes {
    pub(crate) fn point(&self, [s, t]: [f64; 2]) -> [f64; 3] {
        std::array::from_fn(|i| self.origin[i] + s * self.s[i] + t * self.t[i])
    }

    pub(crate) fn project(&self, point: [f64; 3]) -> ([f64; 2], f64) {
        let from: [f64; 3] = std::array::from_fn(|i| point[i] - self.origin[i]);
        (
            [dot(from, self.s), dot(from, self.t)],
            dot(from, self.normal),
        )
    }
}

pub(crate) fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn points_of_the_plane_come_back(
            pitch in -20.0..20.0_f64, yaw in -20.0..20.0_f64, s in -5e3..5e3_f64, t in -4e3..4e3_f64, off in -1e3..1e3_f64,
        ) {
            let plane = Plane { pitch_deg: pitch, yaw_deg: yaw, ..Plane::coronal(5000.0, [13_200.0, 8000.0, 11_400.0]) };
            let axes = plane.axes();
            let on = plane.point([s, t]);
            let point = std::array::from_fn(|i| on[i] + off * axes.normal[i]);
            let (place, distance) = plane.project(point);
            prop_assert!((place[0] - s).abs() < 1e-6 && (place[1] - t).abs() < 1e-6);
            prop_assert!((distance - off).abs() < 1e-6);
        }
    }

    #[test]
    fn the_coronal_plane_lies_along_the_axes() {
        let plane = Plane::coronal(5000.0, [13_200.0, 8000.0, 11_400.0]);
        assert_eq!(plane.point([100.0, -200.0]), [5000.0, 3800.0, 5800.0]);
        let tilted = Plane {
            pitch_deg: 5.0,
            ..plane
        };
        assert!(
            tilted.point([0.0, 1000.0])[0] > 5000.0,
            "ventral to posterior"
        );
    }
}
