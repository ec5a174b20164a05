//! VisuAlign's markers: places of a section that a person has moved, and the warp between them.
//!
//! A marker says where the anchoring puts a place of the atlas in the image, and where the tissue shows it. A Delaunay triangulation of
//! the places that the tissue shows, and of four corners that lie a tenth of the image beyond its own and do not move, is affine in each
//! triangle. It is continuous, and where no triangle is flipped it has an inverse, which is affine in the same triangles.

use crate::warp::Pair;
use serde::{Deserialize, Serialize};

/// How far the corners that do not move lie beyond those of the image, as a part of its edges.
const MARGIN: f64 = 0.1;
/// A place this little outside a triangle, in parts of its edges, is on its border.
const ROUNDING: f64 = 1e-9;

/// A place that a person has moved, pixels from the upper left corner of the image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 4]", into = "[f64; 4]")]
pub struct Marker {
    /// Where the anchoring puts it.
    pub anchored: [f64; 2],
    /// Where the tissue shows it.
    pub shown: [f64; 2],
}

impl From<[f64; 4]> for Marker {
    fn from([x, y, shown_x, shown_y]: [f64; 4]) -> Self {
        Self {
            anchored: [x, y],
            shown: [shown_x, shown_y],
        }
    }
}

impl From<Marker> for [f64; 4] {
    fn from(marker: Marker) -> Self {
        let ([x, y], [shown_x, shown_y]) = (marker.anchored, marker.shown);
        [x, y, shown_x, shown_y]
    }
}

/// The warp of the image that markers make. Without markers, and beyond the corners, nothing moves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MarkerWarp {
    triangles: Vec<TrianglePair>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct TrianglePair {
    anchored: Triangle,
    shown: Triangle,
}

/// A corner of a triangle, the ways from it to the two others, and the inverse of their matrix.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Triangle {
    corner: Pair,
    ways: [Pair; 2],
    inverse: [Pair; 2],
}

impl MarkerWarp {
    /// The warp of an image of this size.
    ///
    /// # Errors
    /// What is wrong: a place that is not a number or lies beyond the margin, two markers at one place, markers that fold the image.
    pub fn new(image: [usize; 2], markers: &[Marker]) -> Result<Self, String> {
        if markers.is_empty() {
            return Ok(Self {
                triangles: Vec::new(),
            });
        }
        let [width, height] = image.map(|n| n as f64);
        let ends = |length: f64| [-MARGIN * length, (1.0 + MARGIN) * length];
        let [xs, ys] = [width, height].map(ends);
        for (i, marker) in markers.iter().enumerate() {
            let [x, y] = marker.shown;
            if !marker.anchored.iter().all(|v| v.is_finite()) {
                return Err(format!("marker {} does not begin at numbers", i + 1));
            }
            // Also where it is not a number.
            if !(x > xs[0] && x < xs[1] && y > ys[0] && y < ys[1]) {
                return Err(format!(
                    "marker {} is moved to x {x}, y {y}: more than a tenth of the image beyond its {width} × {height} pixels",
                    i + 1
                ));
            }
        }
        let corners = [
            [xs[0], ys[0]],
            [xs[1], ys[0]],
            [xs[0], ys[1]],
            [xs[1], ys[1]],
        ];
        let fixed = corners.map(|corner| Marker {
            anchored: corner,
            shown: corner,
        });
        let all: Vec<Marker> = fixed.iter().chain(markers).copied().collect();
        let place = |marker: &Marker| delaunator::Point {
            x: marker.shown[0],
            y: marker.shown[1],
        };
        let places: Vec<delaunator::Point> = all.iter().map(place).collect();
        let found = delaunator::triangulate(&places).triangles;
        let name = |i: usize| match i.checked_sub(corners.len()) {
            Some(marker) => format!("marker {}", marker + 1),
            None => "a corner".to_owned(),
        };
        if let Some(lost) = (0..all.len()).find(|i| !found.contains(i)) {
            return Err(format!("{} is moved to the place of another", name(lost)));
        }
        let pair = |corners: &[usize]| {
            let of = |place: fn(&Marker) -> Pair| {
                Triangle::new([0, 1, 2].map(|i| place(&all[corners[i]])))
            };
            let anchored = of(|m| m.anchored);
            match (anchored, of(|m| m.shown)) {
                (Some(anchored), Some(shown)) if anchored.area() * shown.area() > 0.0 => {
                    Ok(TrianglePair { anchored, shown })
                }
                _ => {
                    let names: Vec<String> = corners.iter().map(|i| name(*i)).collect();
                    Err(format!(
                        "the markers fold the image: the triangle of {} is flipped",
                        names.join(", ")
                    ))
                }
            }
        };
        let triangles = found.chunks_exact(3).map(pair);
        let triangles: Vec<TrianglePair> = triangles.collect::<Result<_, String>>()?;
        let covered: f64 = triangles.iter().map(|t| t.shown.area().abs()).sum();
        let whole = 2.0 * (xs[1] - xs[0]) * (ys[1] - ys[0]);
        if (covered / whole - 1.0).abs() > ROUNDING {
            return Err("no triangulation covers the image; some markers nearly touch".to_owned());
        }
        Ok(Self { triangles })
    }

    /// Where the anchoring puts what the tissue shows at a place.
    pub fn to_anchored(&self, pixel: Pair) -> Pair {
        self.carry(pixel, |t| (&t.shown, &t.anchored))
    }

    /// Where the tissue shows what the anchoring puts at a place.
    pub fn to_shown(&self, pixel: Pair) -> Pair {
        self.carry(pixel, |t| (&t.anchored, &t.shown))
    }

    fn carry(&self, pixel: Pair, sides: fn(&TrianglePair) -> (&Triangle, &Triangle)) -> Pair {
        let mut nearest = (-ROUNDING, None);
        for triangle in &self.triangles {
            let (from, to) = sides(triangle);
            let parts = from.parts(pixel);
            let least = parts[0].min(parts[1]).min(1.0 - parts[0] - parts[1]);
            if least >= nearest.0 {
                nearest = (least, Some((to, parts)));
            }
        }
        nearest.1.map_or(pixel, |(to, parts)| to.at(parts))
    }

    /// The smallest factor by which it scales an area, from the image to the anchored places.
    pub fn smallest_scaling(&self) -> f64 {
        let scalings = self.triangles.iter();
        let scalings = scalings.map(|t| t.anchored.area() / t.shown.area());
        scalings.fold(1.0, f64::min)
    }
}

impl Triangle {
    /// `None` if it has no area.
    fn new([corner, second, third]: [Pair; 3]) -> Option<Self> {
        let way = |to: Pair| [to[0] - corner[0], to[1] - corner[1]];
        let ways = [way(second), way(third)];
        let triangle = Self {
            corner,
            ways,
            inverse: [[0.0; 2]; 2],
        };
        let area = triangle.area();
        let [[a, b], [c, d]] = ways;
        area.is_normal().then_some(Self {
            inverse: [[d / area, -c / area], [-b / area, a / area]],
            ..triangle
        })
    }

    /// Twice its area; below 0 if its corners go round the other way.
    fn area(&self) -> f64 {
        let [[a, b], [c, d]] = self.ways;
        a * d - b * c
    }

    /// How far along its two ways a place lies.
    fn parts(&self, place: Pair) -> Pair {
        let [x, y] = [place[0] - self.corner[0], place[1] - self.corner[1]];
        self.inverse.map(|row| row[0] * x + row[1] * y)
    }

    fn at(&self, parts: Pair) -> Pair {
        std::array::from_fn(|axis| {
            self.corner[axis] + parts[0] * self.ways[0][axis] + parts[1] * self.ways[1][axis]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IMAGE: [usize; 2] = [1000, 600];

    /// Markers on a grid that are moved so little that no triangle is flipped, not even one of neighbours and a far corner.
    fn moved(moves: &[[f64; 2]]) -> Vec<Marker> {
        let marker = |(i, by): (usize, &[f64; 2])| {
            let shown = [
                150.0 + 175.0 * (i % 5) as f64,
                100.0 + 130.0 * (i / 5) as f64,
            ];
            Marker {
                anchored: [shown[0] + 8.0 * by[0], shown[1] + 8.0 * by[1]],
                shown,
            }
        };
        moves.iter().enumerate().map(marker).collect()
    }

    fn apart(a: Pair, b: Pair) -> f64 {
        (a[0] - b[0]).hypot(a[1] - b[1])
    }

    proptest! {
        #[test]
        fn markers_are_met_and_there_and_back_is_the_same_place(
            moves in prop::collection::vec([-1.0..1.0_f64, -1.0..1.0_f64], 1..20), x in -120.0..1120.0_f64, y in -80.0..680.0_f64,
        ) {
            let markers = moved(&moves);
            let warp = MarkerWarp::new(IMAGE, &markers).unwrap();
            for marker in &markers {
                prop_assert!(apart(warp.to_anchored(marker.shown), marker.anchored) < 1e-9);
                prop_assert!(apart(warp.to_shown(marker.anchored), marker.shown) < 1e-9);
            }
            let there = warp.to_anchored([x, y]);
            prop_assert!(apart(warp.to_shown(there), [x, y]) < 1e-7, "{there:?}");
            prop_assert!(warp.smallest_scaling() > 0.0 && warp.smallest_scaling() <= 1.0);
        }
    }

    #[test]
    fn without_markers_and_beyond_the_corners_nothing_moves() {
        let none = MarkerWarp::new(IMAGE, &[]).unwrap();
        assert_eq!(none.to_anchored([12.5, 700.0]), [12.5, 700.0]);
        assert_eq!(none.smallest_scaling(), 1.0);
        let warp = MarkerWarp::new(IMAGE, &moved(&[[1.0, 1.0]])).unwrap();
        for outside in [[-101.0, 3.0], [500.0, 661.0], [1100.5, -61.0]] {
            assert_eq!(warp.to_anchored(outside), outside);
            assert_eq!(warp.to_shown(outside), outside);
        }
        let corner = [1100.0, 660.0];
        assert!(apart(warp.to_anchored(corner), corner) < 1e-9);
    }

    #[test]
    fn a_marker_in_the_middle_moves_its_neighbourhood_linearly() {
        let marker = Marker::from([500.0, 300.0, 560.0, 300.0]);
        let warp = MarkerWarp::new(IMAGE, &[marker]).unwrap();
        // From the middle of the left border of the margin, which does not move, to the marker: half of the way moves by half as much.
        let half = [(-100.0 + 560.0) / 2.0, 300.0];
        assert!(apart(warp.to_anchored(half), [half[0] - 30.0, 300.0]) < 1e-9);
    }

    #[test]
    fn folds_and_places_beyond_the_margin_are_refused() {
        let refused = |markers: &[[f64; 4]], expected: &str| {
            let markers: Vec<Marker> = markers.iter().copied().map(Marker::from).collect();
            let error = MarkerWarp::new(IMAGE, &markers).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        let crossed = [[600.0, 300.0, 400.0, 300.0], [400.0, 300.0, 600.0, 300.0]];
        refused(&crossed, "fold the image: the triangle of");
        refused(&[[2000.0, 300.0, 500.0, 300.0]], "marker 1");
        refused(
            &[[500.0, 300.0, 1150.0, 300.0]],
            "marker 1 is moved to x 1150, y 300",
        );
        refused(&[[500.0, 300.0, f64::NAN, 300.0]], "marker 1 is moved to");
        refused(&[[f64::INFINITY, 300.0, 500.0, 300.0]], "numbers");
        let twice = [[10.0, 20.0, 500.0, 300.0], [30.0, 20.0, 500.0, 300.0]];
        refused(&twice, "the place of another");
    }
}
