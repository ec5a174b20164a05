//! The loss of a section at a pose in the atlas, and its gradient.

use crate::lattice::Corner;
use crate::plane::{Plane, dot};
use crate::probability::{Cell, Probability};
use crate::section::SectionGrid;
use crate::transform::Affine;
use crate::warp::{Pair, Tape, VelocityField};
use rayon::prelude::*;

/// Pixels that one thread works on at a time; the sums of the blocks are added in their order.
const BLOCK: usize = 512;
/// Numbers before the knots: depth, pitch, yaw, the matrix by rows, the shift.
pub(crate) const GLOBAL: usize = 9;
/// The background counts as much as this share of all classes together.
const BACKGROUND_SHARE: f64 = 0.35;

/// The parameters that are fitted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Pose {
    pub plane: Plane,
    pub affine: Affine,
    pub velocity: VelocityField,
}

/// Which parameters of a pose are fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freedom {
    pub plane: bool,
    pub warp: bool,
}

/// Penalties on deformations that are rare in tissue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Penalties {
    /// At a roughness of the warp of (100 µm)².
    pub roughness: f64,
    /// At a pitch or yaw of 10°.
    pub angle: f64,
    /// At a scale that is off by a tenth; `None` where the size of a pixel is not known.
    pub scale: Option<f64>,
    /// At an affine map that differs from a similarity by a tenth.
    pub shear: f64,
}

/// The loss of a section against a level of the atlas.
#[derive(Debug)]
pub(crate) struct Objective<'a> {
    probability: &'a Probability,
    section: &'a SectionGrid,
    /// How much each pixel counts.
    weights: Vec<f32>,
    /// How much each class counts; they sum to 1.
    class_weights: Vec<f64>,
    penalties: Penalties,
}

/// Loss and derivative.
#[derive(Debug, Clone)]
pub(crate) struct Slope {
    pub loss: f64,
    /// By depth (µm), pitch, yaw (degrees), the matrix by rows, the shift (µm).
    pub global: [f64; GLOBAL],
    /// By the knots; empty where the warp does not move.
    pub knots: Vec<Pair>,
}

/// Where the pixels are.
struct Placed {
    corners: Vec<Corner>,
    /// On the plane, after the warp.
    places: Vec<Pair>,
    cells: Vec<Cell>,
}

/// Per class: Σ w m q, Σ w m², Σ w q².
type Sums = Vec<[f64; 3]>;

impl<'a> Objective<'a> {
    /// * `weights`: how much each pixel of the section counts
    /// * `pose`: by which the weights of the classes are chosen, by the areas that mask and atlas show
    pub(crate) fn new(
        probability: &'a Probability,
        section: &'a SectionGrid,
        weights: Vec<f32>,
        penalties: Penalties,
        pose: &Pose,
    ) -> Self {
        let n = section.n_classes;
        let mut objective = Self {
            probability,
            section,
            weights,
            class_weights: vec![1.0 / n as f64; n],
            penalties,
        };
        let tape = Tape::forward(&pose.velocity.lattice, &pose.velocity.at_nodes());
        let (_, sums) = objective.sample(&objective.place(pose, &tape));
        let mut areas: Vec<f64> = sums
            .iter()
            .map(|[_, mm, qq]| ((mm + qq) / 2.0).sqrt())
            .collect();
        let tissue: f64 = areas[1..].iter().sum();
        areas[0] = BACKGROUND_SHARE * tissue;
        let all = tissue * (1.0 + BACKGROUND_SHARE);
        objective.class_weights = areas.iter().map(|a| a / all.max(1e-12)).collect();
        objective
    }

    /// The loss alone.
    pub(crate) fn loss(&self, pose: &Pose) -> f64 {
        let tape = Tape::forward(&pose.velocity.lattice, &pose.velocity.at_nodes());
        let (_, sums) = self.sample(&self.place(pose, &tape));
        self.of_sums(&sums) + self.penalty(pose, &mut None)
    }

    /// Loss and derivative.
    pub(crate) fn slope(&self, pose: &Pose, freedom: Freedom) -> Slope {
        let tape = Tape::forward(&pose.velocity.lattice, &pose.velocity.at_nodes());
        let placed = self.place(pose, &tape);
        let (samples, sums) = self.sample(&placed);
        let mut slope = Slope {
            loss: self.of_sums(&sums),
            global: [0.0; GLOBAL],
            knots: Vec::new(),
        };
        let by_place = self.back(pose, &placed, &samples, &sums, &mut slope.global);
        let flow = tape.flow();
        let lattice = &pose.velocity.lattice;
        for ((g, corner), x) in by_place
            .iter()
            .zip(&placed.corners)
            .zip(&self.section.places)
        {
            let [by_s, by_t] = corner.derivatives(lattice, flow);
            let g = [
                g[0] + by_s[0] * g[0] + by_s[1] * g[1],
                g[1] + by_t[0] * g[0] + by_t[1] * g[1],
            ];
            for (i, g) in g.into_iter().enumerate() {
                slope.global[3 + 2 * i] += g * x[0];
                slope.global[4 + 2 * i] += g * x[1];
                slope.global[7 + i] += g;
            }
        }
        if freedom.warp {
            let mut by_flow = vec![[0.0; 2]; lattice.len()];
            for (g, corner) in by_place.iter().zip(&placed.corners) {
                corner.scatter(lattice, *g, &mut by_flow);
            }
            slope.knots = pose.velocity.to_knots(&tape.backward(by_flow));
        }
        let mut with_penalty = Some(&mut slope);
        let penalty = self.penalty(pose, &mut with_penalty);
        slope.loss += penalty;
        if !freedom.plane {
            slope.global[..3].fill(0.0);
        }
        slope
    }

    /// Dice of each class: 2 Σ m q / (Σ m² + Σ q²).
    pub(crate) fn dice(&self, pose: &Pose) -> Vec<f64> {
        let tape = Tape::forward(&pose.velocity.lattice, &pose.velocity.at_nodes());
        let (_, sums) = self.sample(&self.place(pose, &tape));
        sums.iter().map(dice).collect()
    }

    fn place(&self, pose: &Pose, tape: &Tape) -> Placed {
        let lattice = &pose.velocity.lattice;
        let axes = pose.plane.axes();
        let each = |x: &Pair| {
            let on_plane = pose.affine.apply(*x);
            let corner = lattice.corner_of(on_plane, [0.0; 2]);
            let [a, b] = corner.sample(lattice, tape.flow());
            let place = [on_plane[0] + a, on_plane[1] + b];
            (corner, place, self.probability.cell(axes.point(place)))
        };
        let all: Vec<(Corner, Pair, Cell)> = self.section.places.iter().map(each).collect();
        let mut placed = Placed {
            corners: Vec::with_capacity(all.len()),
            places: Vec::with_capacity(all.len()),
            cells: Vec::with_capacity(all.len()),
        };
        for (corner, place, cell) in all {
            placed.corners.push(corner);
            placed.places.push(place);
            placed.cells.push(cell);
        }
        placed
    }

    /// The atlas's probabilities at all pixels, and the sums over them.
    fn sample(&self, placed: &Placed) -> (Vec<f32>, Sums) {
        let n = self.section.n_classes;
        let mut samples = vec![0.0_f32; placed.cells.len() * n];
        let of_blocks: Vec<Sums> = samples
            .par_chunks_mut(BLOCK * n)
            .enumerate()
            .map(|(block, samples)| {
                let mut sums = vec![[0.0; 3]; n];
                for (i, q) in samples.chunks_exact_mut(n).enumerate() {
                    let pixel = block * BLOCK + i;
                    let w = self.weights[pixel];
                    if w == 0.0 {
                        continue;
                    }
                    self.probability.sample(&placed.cells[pixel], q);
                    let m = &self.section.shares[pixel * n..(pixel + 1) * n];
                    for ((sum, &m), &q) in sums.iter_mut().zip(m).zip(&*q) {
                        sum[0] += f64::from(w * m * q);
                        sum[1] += f64::from(w * m * m);
                        sum[2] += f64::from(w * q * q);
                    }
                }
                sums
            })
            .collect();
        let mut sums = vec![[0.0; 3]; n];
        for block in of_blocks {
            for (sum, part) in sums.iter_mut().zip(block) {
                *sum = [sum[0] + part[0], sum[1] + part[1], sum[2] + part[2]];
            }
        }
        (samples, sums)
    }

    fn of_sums(&self, sums: &Sums) -> f64 {
        let weighted = sums.iter().zip(&self.class_weights);
        1.0 - weighted
            .map(|(sums, weight)| weight * dice(sums))
            .sum::<f64>()
    }

    /// Derivative by the places of all pixels; adds the derivatives by the plane's numbers.
    fn back(
        &self,
        pose: &Pose,
        placed: &Placed,
        samples: &[f32],
        sums: &Sums,
        global: &mut [f64; GLOBAL],
    ) -> Vec<Pair> {
        let n = self.section.n_classes;
        let axes = pose.plane.axes();
        // ∂L/∂q = w (a m + b q) for each class.
        let factors: Vec<[f32; 2]> = sums
            .iter()
            .zip(&self.class_weights)
            .map(|([mq, mm, qq], weight)| {
                let both = mm + qq + SMALL;
                let a = -weight * 2.0 / both;
                let b = weight * 2.0 * (2.0 * mq + SMALL) / (both * both);
                [a as f32, b as f32]
            })
            .collect();
        let mut by_place = vec![[0.0; 2]; placed.cells.len()];
        let of_blocks: Vec<[f64; 3]> = by_place
            .par_chunks_mut(BLOCK)
            .enumerate()
            .map(|(block, by_place)| {
                let mut by_plane = [0.0; 3];
                let mut weights = vec![0.0_f32; n];
                for (i, by_place) in by_place.iter_mut().enumerate() {
                    let pixel = block * BLOCK + i;
                    let w = self.weights[pixel];
                    if w == 0.0 {
                        continue;
                    }
                    let at = pixel * n..(pixel + 1) * n;
                    let pairs = self.section.shares[at.clone()].iter().zip(&samples[at]);
                    for ((weight, (m, q)), [a, b]) in weights.iter_mut().zip(pairs).zip(&factors) {
                        *weight = w * (a * m + b * q);
                    }
                    let g = self.probability.slope(&placed.cells[pixel], &weights);
                    let [s, t] = placed.places[pixel];
                    by_plane[0] += g[0];
                    by_plane[1] += t * dot(g, axes.t_by_pitch);
                    by_plane[2] += s * dot(g, axes.s_by_yaw) + t * dot(g, axes.t_by_yaw);
                    *by_place = [dot(g, axes.s), dot(g, axes.t)];
                }
                by_plane
            })
            .collect();
        for part in of_blocks {
            global[0] += part[0];
            global[1] += part[1].to_radians();
            global[2] += part[2].to_radians();
        }
        by_place
    }

    /// Penalties of the pose; adds their derivative.
    fn penalty(&self, pose: &Pose, slope: &mut Option<&mut Slope>) -> f64 {
        let Penalties {
            roughness,
            angle,
            scale,
            shear,
        } = self.penalties;
        let mut by = [0.0; GLOBAL];
        let (rough, by_knots) = pose.velocity.roughness();
        let mut loss = roughness * rough / 1e4;
        for (i, degrees) in [pose.plane.pitch_deg, pose.plane.yaw_deg]
            .into_iter()
            .enumerate()
        {
            loss += angle * (degrees / 10.0).powi(2);
            by[1 + i] += angle * 2.0 * degrees / 100.0;
        }
        let [[a, b], [c, d]] = pose.affine.matrix;
        // A similarity has a = d and b = −c.
        for (off, i, j, sign) in [(a - d, 3, 6, -1.0), (b + c, 4, 5, 1.0)] {
            loss += shear * off * off / 0.01;
            by[i] += shear * 2.0 * off / 0.01;
            by[j] += sign * shear * 2.0 * off / 0.01;
        }
        if let Some(scale) = scale {
            let determinant = (a * d - b * c).max(1e-6);
            let off = determinant.ln() / 2.0;
            loss += scale * off * off / 0.01;
            let by_determinant = scale * off / 0.01 / determinant;
            for (at, part) in [(3, d), (4, -c), (5, -b), (6, a)] {
                by[at] += by_determinant * part;
            }
        }
        if let Some(slope) = slope {
            for (sum, part) in slope.global.iter_mut().zip(by) {
                *sum += part;
            }
            for (sum, part) in slope.knots.iter_mut().zip(by_knots) {
                *sum = [0, 1].map(|i| sum[i] + roughness * part[i] / 1e4);
            }
        }
        loss
    }
}

/// Added to numerator and denominator of Dice: a class that is in neither mask nor atlas gets 1.
const SMALL: f64 = 1e-3;

fn dice([mq, mm, qq]: &[f64; 3]) -> f64 {
    (2.0 * mq + SMALL) / (mm + qq + SMALL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::{Brain, brain};
    use crate::{Probability, SectionMask};

    /// A section of the synthetic brain, not quite where the pose says.
    fn case() -> (Probability, SectionGrid, Pose) {
        let Brain { classes, names, .. } = brain(100.0);
        let extent = classes.grid.extent_um();
        let cut = Plane::coronal(extent[0] * 0.45, extent);
        let (width, height) = (100, 80);
        let mask = (0..width * height)
            .map(|i| {
                let place = [(i % width) as f64, (i / width) as f64];
                let st = [(place[0] - 50.0) * 100.0, (place[1] - 40.0) * 100.0];
                classes.at(cut.point(st)).unwrap_or(0)
            })
            .collect();
        let mask = SectionMask::new(width, height, mask).unwrap();
        let section = SectionGrid::new(&mask, 100.0, 200.0, names.len());
        let mut velocity = VelocityField::zero(extent);
        for (i, knot) in velocity.knots.iter_mut().enumerate() {
            *knot = [60.0 * (i as f64).sin(), 60.0 * (i as f64 * 0.3).cos()];
        }
        let mut affine = Affine::rotation(5.0, 1.04);
        affine.shift_um = [83.0, -41.0];
        let plane = Plane {
            depth_um: cut.depth_um + 171.0,
            pitch_deg: 3.0,
            yaw_deg: -2.0,
            ..cut
        };
        let probability = Probability::smoothed(&classes, names.len());
        let pose = Pose {
            plane,
            affine,
            velocity,
        };
        (probability, section, pose)
    }

    const PENALTIES: Penalties = Penalties {
        roughness: 0.05,
        angle: 0.01,
        scale: Some(0.02),
        shear: 0.01,
    };

    #[test]
    fn derivatives_agree_with_finite_differences() {
        let (probability, section, pose) = case();
        let weights = section.weights.clone();
        let objective = Objective::new(&probability, &section, weights, PENALTIES, &pose);
        let freedom = Freedom {
            plane: true,
            warp: true,
        };
        let slope = objective.slope(&pose, freedom);
        assert!((slope.loss - objective.loss(&pose)).abs() < 1e-9);
        let check = |name: &str, exact: f64, step: f64, shift: &dyn Fn(&mut Pose, f64)| {
            let at = |by: f64| {
                let mut moved = pose.clone();
                shift(&mut moved, by);
                objective.loss(&moved)
            };
            let numeric = (at(step) - at(-step)) / (2.0 * step);
            // Probabilities are linear between voxels only piecewise, and sums are of single-precision products.
            let tolerance = 0.03 * exact.abs() + 2e-3 / step * 1e-4;
            assert!(
                (numeric - exact).abs() < tolerance,
                "{name}: {numeric} {exact}"
            );
        };
        check("depth", slope.global[0], 1.0, &|p, by| {
            p.plane.depth_um += by
        });
        check("pitch", slope.global[1], 0.02, &|p, by| {
            p.plane.pitch_deg += by
        });
        check("yaw", slope.global[2], 0.02, &|p, by| p.plane.yaw_deg += by);
        for i in 0..4 {
            check("matrix", slope.global[3 + i], 3e-4, &|p, by| {
                p.affine.matrix[i / 2][i % 2] += by;
            });
        }
        for i in 0..2 {
            check("shift", slope.global[7 + i], 1.0, &|p, by| {
                p.affine.shift_um[i] += by
            });
        }
        for knot in [70, 88, 121] {
            for i in 0..2 {
                check("knot", slope.knots[knot][i], 2.0, &|p, by| {
                    p.velocity.knots[knot][i] += by;
                });
            }
        }
    }

    #[test]
    fn the_truth_has_the_smallest_loss_and_what_is_held_does_not_move() {
        let (probability, section, pose) = case();
        let weights = section.weights.clone();
        let objective = Objective::new(&probability, &section, weights, PENALTIES, &pose);
        let truth = Pose {
            plane: Plane {
                depth_um: pose.plane.depth_um - 171.0,
                pitch_deg: 0.0,
                yaw_deg: 0.0,
                ..pose.plane
            },
            affine: Affine::IDENTITY,
            velocity: VelocityField {
                knots: vec![[0.0; 2]; pose.velocity.knots.len()],
                ..pose.velocity.clone()
            },
        };
        let (at_truth, off) = (objective.loss(&truth), objective.loss(&pose));
        assert!(at_truth < 0.06 && off > at_truth + 0.1, "{at_truth} {off}");
        // The cut grazes the hippocampus, which then fits poorly by nature.
        let dice = objective.dice(&truth);
        assert!(dice.iter().filter(|d| **d > 0.9).count() >= 8, "{dice:?}");
        let held = Freedom {
            plane: false,
            warp: false,
        };
        let slope = objective.slope(&pose, held);
        assert_eq!(slope.global[..3], [0.0; 3]);
        assert!(slope.knots.is_empty() && slope.global[7] != 0.0);
    }
}
