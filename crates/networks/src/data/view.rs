//! From an image's pixels to places of the atlas.

use super::draw::within;
use super::variety::Variety;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use std::f64::consts::TAU;
use tangram_atlas::Plane;

/// Distance of the places at which tissue is looked for.
const STEP_UM: f64 = 200.0;
/// At least this number of those places must lie in tissue.
const FEWEST: usize = 50;
/// Waves of a warp.
const WAVES: usize = 4;

/// What an image shows of a plane or of a photograph: turned, stretched, shifted, warped, perhaps mirrored or cropped.
#[derive(Debug, Clone)]
pub(super) struct View {
    middle: [f64; 2],
    matrix: [[f64; 2]; 2],
    waves: [[Wave; WAVES]; 2],
}

/// A wave over the image, which is 1 wide.
#[derive(Debug, Clone, Copy)]
struct Wave {
    size: f64,
    per_edge: [f64; 2],
    phase: f64,
}

impl View {
    /// A view of a plane; `None` if it has too little tissue.
    pub(super) fn of_plane(
        rng: &mut ChaCha8Rng,
        plane: &Plane,
        extent_um: [f64; 3],
        variety: &Variety,
        is_tissue: impl Fn([f64; 3]) -> bool,
    ) -> Option<Self> {
        let (mut low, mut high, mut n) = ([f64::MAX; 2], [f64::MIN; 2], 0);
        let steps = |length: f64| (length / STEP_UM) as usize;
        for row in 0..steps(extent_um[1]) {
            for column in 0..steps(extent_um[2]) {
                let place = [
                    (column as f64 + 0.5) * STEP_UM - extent_um[2] / 2.0,
                    (row as f64 + 0.5) * STEP_UM - extent_um[1] / 2.0,
                ];
                if is_tissue(plane.point(place)) {
                    n += 1;
                    for axis in 0..2 {
                        low[axis] = low[axis].min(place[axis]);
                        high[axis] = high[axis].max(place[axis]);
                    }
                }
            }
        }
        (n >= FEWEST).then(|| Self::of_box(rng, low, high, STEP_UM, variety))
    }

    /// A view of what lies in a box.
    ///
    /// * `step`: how far beyond the box it may reach
    pub(super) fn of_box(
        rng: &mut ChaCha8Rng,
        low: [f64; 2],
        high: [f64; 2],
        step: f64,
        variety: &Variety,
    ) -> Self {
        let tissue = (0..2)
            .map(|axis| high[axis] - low[axis])
            .fold(0.0, f64::max)
            + step;
        let edge = tissue * rng.random_range(variety.zoom[0]..variety.zoom[1]);
        // A crop looks about in the tissue; an image that holds all of it may shift it to its border.
        let play = (tissue - edge).abs() / 2.0 + 0.03 * edge;
        let middle = [0, 1].map(|axis| (low[axis] + high[axis]) / 2.0 + play * within(rng, 1.0));
        let (sin, cos) = within(rng, variety.turn_deg).to_radians().sin_cos();
        let stretch = 1.0 + within(rng, variety.stretch);
        let mut mirror = || match variety.flips && rng.random_bool(0.5) {
            true => -1.0,
            false => 1.0,
        };
        let (x, y) = (mirror() * edge * stretch, mirror() * edge / stretch);
        let size = variety.warp * edge * (2.0 / WAVES as f64).sqrt();
        let mut wave = |_: usize| Wave {
            size: size * rng.random_range(0.5..1.4),
            per_edge: [within(rng, 2.5), within(rng, 2.5)],
            phase: rng.random_range(0.0..TAU),
        };
        let waves = [
            std::array::from_fn(&mut wave),
            std::array::from_fn(&mut wave),
        ];
        Self {
            middle,
            matrix: [[cos * x, -sin * y], [sin * x, cos * y]],
            waves,
        }
    }

    /// * `at`: from −0.5 to 0.5 along columns and rows
    pub(super) fn place(&self, at: [f64; 2]) -> [f64; 2] {
        let place = |axis: usize| {
            let [a, b] = self.matrix[axis];
            let warp: f64 = self.waves[axis].iter().map(|wave| wave.at(at)).sum();
            self.middle[axis] + a * at[0] + b * at[1] + warp
        };
        [place(0), place(1)]
    }

    /// How far a place moves with a step over the image, without the warp.
    pub(super) fn step(&self, by: [f64; 2]) -> [f64; 2] {
        self.matrix.map(|[a, b]| a * by[0] + b * by[1])
    }
}

impl Wave {
    fn at(&self, at: [f64; 2]) -> f64 {
        let turns = self.per_edge[0] * at[0] + self.per_edge[1] * at[1];
        self.size * (TAU * turns + self.phase).sin()
    }
}
