//! An invertible warp of the plane: the flow of a stationary velocity field.
//!
//! The field is a cubic B-spline over coarse knots. Its flow, `exp(v)`, comes from scaling and squaring: a 64th of the velocity is
//! composed with itself six times. `exp(-v)` is the inverse.

use crate::lattice::{Corner, Lattice};
use serde::{Deserialize, Serialize};

/// Squarings: displacements of the first step are a 64th.
pub const SQUARINGS: u32 = 6;
/// Nodes of the lattice between two knots.
const NODES_PER_KNOT: usize = 4;
/// Nodes of the lattice along the longer axis of the atlas's plane, without the margin.
const NODES: f64 = 57.0;
/// Nodes of margin on each side.
const MARGIN: usize = 4;

/// Two numbers, along s and along t.
pub(crate) type Pair = [f64; 2];

/// A velocity field over the plane's coordinates (s, t), micrometres.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VelocityField {
    /// The lattice at whose nodes displacements are computed.
    pub(crate) lattice: Lattice,
    /// Knots along t and along s.
    pub(crate) n_knots: [usize; 2],
    /// Velocity at each knot, micrometres per unit of time, along s and t; s fastest.
    pub(crate) knots: Vec<Pair>,
}

/// Displacements at the nodes of a lattice.
#[derive(Debug, Clone, PartialEq)]
pub struct Displacement {
    pub(crate) lattice: Lattice,
    pub(crate) values: Vec<Pair>,
}

impl VelocityField {
    /// No movement anywhere, on knots that cover the plane of an atlas.
    ///
    /// * `extent_um`: lengths of the atlas's axes
    #[must_use]
    pub fn zero(extent_um: [f64; 3]) -> Self {
        let [_, dv, ml] = extent_um;
        let step = dv.max(ml) / NODES;
        // A whole number of knot intervals, so that first and last knots lie symmetrically.
        let nodes = |length: f64| {
            let needed = (length / step).ceil() as usize + 2 * MARGIN;
            needed.div_ceil(NODES_PER_KNOT) * NODES_PER_KNOT + 1
        };
        let lattice = Lattice::centred([nodes(dv), nodes(ml)], step);
        let n_knots = lattice.nodes.map(|n| (n - 1) / NODES_PER_KNOT + 3);
        Self {
            lattice,
            n_knots,
            knots: vec![[0.0; 2]; n_knots[0] * n_knots[1]],
        }
    }

    /// Velocity at the nodes.
    pub(crate) fn at_nodes(&self) -> Vec<Pair> {
        let mut values = vec![[0.0; 2]; self.lattice.len()];
        self.each_weight(|node, knot, weight| {
            values[node][0] += weight * self.knots[knot][0];
            values[node][1] += weight * self.knots[knot][1];
        });
        values
    }

    /// Derivative by the knots, from the derivative by the velocity at the nodes.
    pub(crate) fn to_knots(&self, by_nodes: &[Pair]) -> Vec<Pair> {
        let mut by_knots = vec![[0.0; 2]; self.knots.len()];
        self.each_weight(|node, knot, weight| {
            by_knots[knot][0] += weight * by_nodes[node][0];
            by_knots[knot][1] += weight * by_nodes[node][1];
        });
        by_knots
    }

    fn each_weight(&self, mut visit: impl FnMut(usize, usize, f64)) {
        let weights: [[f64; 4]; NODES_PER_KNOT] =
            std::array::from_fn(|i| cubic(i as f64 / NODES_PER_KNOT as f64));
        let [rows, columns] = self.lattice.nodes;
        for row in 0..rows {
            for column in 0..columns {
                let (wt, ws) = (
                    &weights[row % NODES_PER_KNOT],
                    &weights[column % NODES_PER_KNOT],
                );
                for (i, wt) in wt.iter().enumerate() {
                    let t = row / NODES_PER_KNOT + i;
                    for (j, ws) in ws.iter().enumerate() {
                        let s = column / NODES_PER_KNOT + j;
                        // The fourth knot past the last interval has weight 0.
                        if t < self.n_knots[0] && s < self.n_knots[1] {
                            visit(row * columns + column, t * self.n_knots[1] + s, wt * ws);
                        }
                    }
                }
            }
        }
    }

    /// The flow after one unit of time.
    #[must_use]
    pub fn flow(&self) -> Displacement {
        Tape::forward(&self.lattice, &self.at_nodes()).into_flow()
    }

    /// The flow backwards: the inverse of [`flow`](Self::flow), up to errors of interpolation.
    #[must_use]
    pub fn backward_flow(&self) -> Displacement {
        let reversed: Vec<Pair> = self.at_nodes().iter().map(|v| v.map(|x| -x)).collect();
        Tape::forward(&self.lattice, &reversed).into_flow()
    }

    /// Roughness: mean squared second difference of the knots plus a small part of their mean square, µm², and its derivative by
    /// the knots.
    pub(crate) fn roughness(&self) -> (f64, Vec<Pair>) {
        /// Share of the mean square: knots that no data constrain stay at 0.
        const MAGNITUDE: f64 = 0.01;
        let [rows, columns] = self.n_knots;
        let n = self.knots.len() as f64;
        let mut value = 0.0;
        let mut slope: Vec<Pair> = self
            .knots
            .iter()
            .map(|k| k.map(|x| 2.0 * MAGNITUDE * x / n))
            .collect();
        for k in &self.knots {
            value += MAGNITUDE * (k[0] * k[0] + k[1] * k[1]) / n;
        }
        let mut second = |parts: [(usize, f64); 4]| {
            let sum = |axis: usize| parts.iter().map(|(at, w)| w * self.knots[*at][axis]).sum();
            let second: Pair = [sum(0), sum(1)];
            value += (second[0] * second[0] + second[1] * second[1]) / n;
            for (at, w) in parts {
                for (slope, d) in slope[at].iter_mut().zip(second) {
                    *slope += 2.0 * d * w / n;
                }
            }
        };
        for row in 0..rows {
            for column in 0..columns {
                let at = row * columns + column;
                if column >= 2 {
                    second([(at, 1.0), (at - 1, -2.0), (at - 2, 1.0), (at, 0.0)]);
                }
                if row >= 2 {
                    second([
                        (at, 1.0),
                        (at - columns, -2.0),
                        (at - 2 * columns, 1.0),
                        (at, 0.0),
                    ]);
                }
                if row >= 1 && column >= 1 {
                    let r = std::f64::consts::SQRT_2;
                    second([
                        (at, r),
                        (at - 1, -r),
                        (at - columns, -r),
                        (at - columns - 1, r),
                    ]);
                }
            }
        }
        (value, slope)
    }
}

/// Weights of the four knots around a place, `x` of the way from the second to the third.
fn cubic(x: f64) -> [f64; 4] {
    let y = 1.0 - x;
    [
        y * y * y / 6.0,
        (3.0 * x * x * x - 6.0 * x * x + 4.0) / 6.0,
        (3.0 * y * y * y - 6.0 * y * y + 4.0) / 6.0,
        x * x * x / 6.0,
    ]
}

/// The fields of all squarings, which the derivative needs.
#[derive(Debug)]
pub(crate) struct Tape {
    lattice: Lattice,
    /// From the scaled velocity to the flow.
    fields: Vec<Vec<Pair>>,
}

impl Tape {
    /// Scaling and squaring.
    pub(crate) fn forward(lattice: &Lattice, velocity: &[Pair]) -> Self {
        let scale = 1.0 / f64::from(1_u32 << SQUARINGS);
        let mut fields = vec![
            velocity
                .iter()
                .map(|v| v.map(|x| x * scale))
                .collect::<Vec<_>>(),
        ];
        for _ in 0..SQUARINGS {
            let u = fields.last().expect("it begins with one");
            let next = (0..u.len())
                .map(|node| {
                    let [a, b] = lattice
                        .corner_of(lattice.place(node), u[node])
                        .sample(lattice, u);
                    [u[node][0] + a, u[node][1] + b]
                })
                .collect();
            fields.push(next);
        }
        Self {
            lattice: *lattice,
            fields,
        }
    }

    /// The flow's displacements.
    pub(crate) fn flow(&self) -> &[Pair] {
        self.fields.last().expect("it is never empty")
    }

    fn into_flow(mut self) -> Displacement {
        Displacement {
            lattice: self.lattice,
            values: self.fields.pop().expect("it is never empty"),
        }
    }

    /// Derivative by the velocity at the nodes, from the derivative by the flow.
    pub(crate) fn backward(&self, by_flow: Vec<Pair>) -> Vec<Pair> {
        let lattice = &self.lattice;
        let mut slope = by_flow;
        for u in self.fields[..SQUARINGS as usize].iter().rev() {
            let mut before = slope.clone();
            for (node, g) in slope.iter().enumerate() {
                let corner = lattice.corner_of(lattice.place(node), u[node]);
                corner.scatter(lattice, *g, &mut before);
                let [by_s, by_t] = corner.derivatives(lattice, u);
                before[node][0] += by_s[0] * g[0] + by_s[1] * g[1];
                before[node][1] += by_t[0] * g[0] + by_t[1] * g[1];
            }
            slope = before;
        }
        let scale = 1.0 / f64::from(1_u32 << SQUARINGS);
        slope.into_iter().map(|v| v.map(|x| x * scale)).collect()
    }
}

impl Displacement {
    /// Where a place of the plane goes.
    #[must_use]
    pub fn apply(&self, place: Pair) -> Pair {
        let [a, b] = self.corner(place).sample(&self.lattice, &self.values);
        [place[0] + a, place[1] + b]
    }

    pub(crate) fn corner(&self, place: Pair) -> Corner {
        self.lattice.corner_of(place, [0.0; 2])
    }

    /// The smallest factor by which the map scales an area, over all cells of the lattice; below 0 it folds.
    #[must_use]
    pub fn smallest_jacobian(&self) -> f64 {
        let [rows, columns] = self.lattice.nodes;
        let step = self.lattice.step_um;
        let mut smallest = f64::INFINITY;
        for row in 0..rows - 1 {
            for column in 0..columns - 1 {
                let at = row * columns + column;
                let here = self.values[at];
                let right = self.values[at + 1];
                let below = self.values[at + columns];
                let ss = 1.0 + (right[0] - here[0]) / step;
                let ts = (right[1] - here[1]) / step;
                let st = (below[0] - here[0]) / step;
                let tt = 1.0 + (below[1] - here[1]) / step;
                smallest = smallest.min(ss * tt - st * ts);
            }
        }
        smallest
    }

    /// Root mean square of the displacement.
    #[must_use]
    pub fn rms_um(&self) -> f64 {
        let sum: f64 = self.values.iter().map(|v| v[0] * v[0] + v[1] * v[1]).sum();
        (sum / self.values.len() as f64).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const EXTENT: [f64; 3] = [13_200.0, 8000.0, 11_400.0];

    fn field(size: f64) -> VelocityField {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let mut field = VelocityField::zero(EXTENT);
        for knot in &mut field.knots {
            *knot = std::array::from_fn(|_| size * rng.random_range(-1.0..1.0));
        }
        field
    }

    #[test]
    fn the_lattice_covers_the_plane() {
        let field = VelocityField::zero(EXTENT);
        let first = field.lattice.place(0);
        assert!(first[0] < -5700.0 && first[1] < -4000.0, "{first:?}");
        assert_eq!(field.lattice.step_um, 200.0);
        assert_eq!(field.flow().apply([12.0, -700.0]), [12.0, -700.0]);
    }

    #[test]
    fn a_constant_velocity_moves_everything_by_itself() {
        let mut field = VelocityField::zero(EXTENT);
        field.knots.fill([100.0, -30.0]);
        let moved = field.flow().apply([1000.0, 500.0]);
        assert!((moved[0] - 1100.0).abs() < 1e-9 && (moved[1] - 470.0).abs() < 1e-9);
        assert!((field.flow().smallest_jacobian() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn the_flow_does_not_fold_and_its_inverse_undoes_it() {
        // Up to ±600 µm at knots 800 µm apart is far more than tissue shows.
        let field = field(600.0);
        let (there, back) = (field.flow(), field.backward_flow());
        assert!(there.rms_um() > 150.0, "{}", there.rms_um());
        assert!(there.smallest_jacobian() > 0.0);
        let mut worst: f64 = 0.0;
        for i in 0..40 {
            let place = [i as f64 * 200.0 - 4000.0, i as f64 * 100.0 - 2000.0];
            let again = back.apply(there.apply(place));
            worst = worst.max((again[0] - place[0]).hypot(again[1] - place[1]));
        }
        assert!(worst < 20.0, "{worst} µm");
    }

    #[test]
    fn derivatives_agree_with_finite_differences() {
        // A smooth function of the flow: the sum of products of displacements with fixed numbers.
        let mut field = field(80.0);
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let factors: Vec<Pair> = (0..field.lattice.len())
            .map(|_| std::array::from_fn(|_| rng.random_range(-1.0..1.0)))
            .collect();
        let value = |field: &VelocityField| -> f64 {
            let tape = Tape::forward(&field.lattice, &field.at_nodes());
            let products = tape.flow().iter().zip(&factors);
            products
                .map(|(d, f)| d[0] * f[0] + d[1] * f[1])
                .sum::<f64>()
                + field.roughness().0
        };
        let tape = Tape::forward(&field.lattice, &field.at_nodes());
        let mut slope = field.to_knots(&tape.backward(factors.clone()));
        for (a, b) in slope.iter_mut().zip(field.roughness().1) {
            *a = [a[0] + b[0], a[1] + b[1]];
        }
        for knot in [20, 57, 101, 140] {
            for (axis, exact) in slope[knot].into_iter().enumerate() {
                let at = field.knots[knot][axis];
                let mut shifted = |by: f64| {
                    field.knots[knot][axis] = at + by;
                    let value = value(&field);
                    field.knots[knot][axis] = at;
                    value
                };
                let h = 1e-3;
                let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
                assert!(
                    (numeric - exact).abs() < 1e-3 * (1.0 + exact.abs()),
                    "{numeric} {exact}"
                );
            }
        }
    }
}
