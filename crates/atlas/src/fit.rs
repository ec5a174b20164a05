//! Gradient descent from a start to the pose of smallest loss.

use crate::objective::{Freedom, GLOBAL, Objective, Penalties, Pose};
use crate::probability::{Probability, ProbabilityPyramid};
use crate::section::SectionGrid;
use crate::start::Side;
use crate::warp::Pair;

/// Step sizes that make all numbers of a pose about equally important: depth (µm), pitch and yaw (degrees), the matrix, the shift (µm).
const SCALES: [f64; GLOBAL] = [60.0, 0.8, 0.8, 0.015, 0.015, 0.015, 0.015, 40.0, 40.0];
/// The same for knots, µm.
const KNOT_UM: f64 = 25.0;
/// Decay rates of the averages of the gradient and of its square (Adam).
const MOMENTS: [f64; 2] = [0.9, 0.97];
/// Where a half is missing, background counts only in the other half, at least this far from the middle, micrometres.
const MARGIN_UM: f64 = 300.0;

/// One stage of the descent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stage {
    /// Level of the pyramid, 0 the coarsest.
    pub level: usize,
    /// Edge of the grid's pixels.
    pub step_um: f64,
    pub steps: usize,
    pub freedom: Freedom,
    /// Size of the first steps; the last are a tenth.
    pub rate: f64,
}

/// A pose with its loss at the end of a stage.
#[derive(Debug, Clone)]
pub(crate) struct Fitted {
    pub pose: Pose,
    pub side: Side,
    pub loss: f64,
    /// Whether it began in the plane that a [`PlaneCaller`](crate::PlaneCaller) called.
    pub called: bool,
}

/// The data of a stage: a level of the atlas, and the section on a grid of about the same resolution.
pub(crate) fn objective<'a>(
    probability: &'a Probability,
    section: &'a SectionGrid,
    penalties: Penalties,
    pose: &Pose,
    side: Side,
) -> Objective<'a> {
    let flow = pose.velocity.flow();
    let weight = |(pixel, &weight): (usize, &f32)| {
        let [s, _] = flow.apply(pose.affine.apply(section.places[pixel]));
        let missing = match side {
            Side::Both => false,
            Side::Low => s > -MARGIN_UM,
            Side::High => s < MARGIN_UM,
        };
        // Tissue that reaches beyond the middle counts; background there does not, since that half is missing.
        if missing && section.is_background(pixel) {
            0.0
        } else {
            weight
        }
    };
    let weights = section.weights.iter().enumerate().map(weight).collect();
    Objective::new(probability, section, weights, penalties, pose)
}

/// Runs a stage.
pub(crate) fn descend(
    pyramid: &ProbabilityPyramid,
    section: &SectionGrid,
    penalties: Penalties,
    stage: Stage,
    begin: &Fitted,
) -> Fitted {
    let probability = &pyramid.levels[stage.level.min(pyramid.levels.len() - 1)];
    let objective = objective(probability, section, penalties, &begin.pose, begin.side);
    let mut pose = begin.pose.clone();
    let mut best = Fitted {
        loss: f64::INFINITY,
        ..begin.clone()
    };
    let n_knots = if stage.freedom.warp {
        pose.velocity.knots.len()
    } else {
        0
    };
    let mut adam = Adam::new(GLOBAL + 2 * n_knots);
    for step in 0..stage.steps {
        let slope = objective.slope(&pose, stage.freedom);
        if slope.loss < best.loss {
            best.loss = slope.loss;
            best.pose = pose.clone();
        }
        let part = step as f64 / stage.steps as f64;
        let rate = stage.rate * (0.1 + 0.45 * (1.0 + (std::f64::consts::PI * part).cos()));
        let scales = SCALES;
        let by_numbers = (0..GLOBAL).map(|i| slope.global[i] * scales[i]);
        let by_knots = slope.knots.iter().flatten().map(|g| g * KNOT_UM);
        let steps = adam.step(by_numbers.chain(by_knots), rate);
        let moved: [f64; GLOBAL] = std::array::from_fn(|i| steps[i] * scales[i]);
        pose.plane.depth_um -= if stage.freedom.plane { moved[0] } else { 0.0 };
        pose.plane.pitch_deg -= moved[1];
        pose.plane.yaw_deg -= moved[2];
        for i in 0..4 {
            pose.affine.matrix[i / 2][i % 2] -= moved[3 + i];
        }
        for i in 0..2 {
            pose.affine.shift_um[i] -= moved[7 + i];
        }
        let pairs = steps[GLOBAL..].chunks_exact(2);
        for (knot, step) in pose.velocity.knots.iter_mut().zip(pairs) {
            *knot = [knot[0] - step[0] * KNOT_UM, knot[1] - step[1] * KNOT_UM];
        }
    }
    let last = objective.loss(&pose);
    if last < best.loss {
        best.loss = last;
        best.pose = pose;
    }
    best
}

/// Adam: running averages of the gradient and of its square make steps of about equal size in all directions.
#[derive(Debug)]
struct Adam {
    averages: Vec<Pair>,
    n_steps: i32,
}

impl Adam {
    fn new(n: usize) -> Self {
        Self {
            averages: vec![[0.0; 2]; n],
            n_steps: 0,
        }
    }

    fn step(&mut self, slope: impl Iterator<Item = f64>, rate: f64) -> Vec<f64> {
        self.n_steps += 1;
        let corrections = MOMENTS.map(|m| 1.0 - m.powi(self.n_steps));
        let one = |(average, g): (&mut Pair, f64)| {
            average[0] = MOMENTS[0] * average[0] + (1.0 - MOMENTS[0]) * g;
            average[1] = MOMENTS[1] * average[1] + (1.0 - MOMENTS[1]) * g * g;
            let size = (average[1] / corrections[1]).sqrt();
            rate * average[0] / corrections[0] / (size + 1e-12)
        };
        self.averages.iter_mut().zip(slope).map(one).collect()
    }
}
