//! A lattice of nodes over the plane, and bilinear interpolation between them.

use crate::warp::Pair;
use serde::{Deserialize, Serialize};

/// Equally spaced nodes over (s, t); s is fastest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lattice {
    /// Nodes along t and along s, at least two each.
    pub(crate) nodes: [usize; 2],
    /// Distance of neighbours, micrometres.
    pub(crate) step_um: f64,
    /// Place of the first node: s and t.
    pub(crate) first: Pair,
}

/// The four nodes around a place with their weights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Corner {
    node: usize,
    /// How far the place is from the node towards the next ones, 0 to 1.
    along: Pair,
    /// 1 / step along s and t; 0 where the place was moved to the edge.
    slope: Pair,
}

impl Lattice {
    /// Nodes around (0, 0).
    pub(crate) fn centred(nodes: [usize; 2], step_um: f64) -> Self {
        let first = |n: usize| -((n - 1) as f64) * step_um / 2.0;
        Self {
            nodes,
            step_um,
            first: [first(nodes[1]), first(nodes[0])],
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.nodes[0] * self.nodes[1]
    }

    /// Where a node lies.
    pub(crate) fn place(&self, node: usize) -> Pair {
        let (row, column) = (node / self.nodes[1], node % self.nodes[1]);
        [
            self.first[0] + column as f64 * self.step_um,
            self.first[1] + row as f64 * self.step_um,
        ]
    }

    /// The nodes around `place` moved `by`; outside the lattice its edge counts.
    pub(crate) fn corner_of(&self, place: Pair, by: Pair) -> Corner {
        let mut index = [0; 2];
        let (mut along, mut slope) = ([0.0; 2], [0.0; 2]);
        for axis in 0..2 {
            let last = (self.nodes[1 - axis] - 1) as f64;
            let at = (place[axis] + by[axis] - self.first[axis]) / self.step_um;
            let inside = at.clamp(0.0, last);
            index[axis] = (inside as usize).min(self.nodes[1 - axis] - 2);
            along[axis] = inside - index[axis] as f64;
            slope[axis] = if inside == at {
                1.0 / self.step_um
            } else {
                0.0
            };
        }
        Corner {
            node: index[1] * self.nodes[1] + index[0],
            along,
            slope,
        }
    }
}

impl Corner {
    /// The interpolated value.
    pub(crate) fn sample(&self, lattice: &Lattice, values: &[Pair]) -> Pair {
        let [a, b, c, d] = self.values(lattice, values);
        let [x, y] = self.along;
        std::array::from_fn(|i| {
            let upper = a[i] + x * (b[i] - a[i]);
            let lower = c[i] + x * (d[i] - c[i]);
            upper + y * (lower - upper)
        })
    }

    /// Derivatives of the value by the place: by s, by t.
    pub(crate) fn derivatives(&self, lattice: &Lattice, values: &[Pair]) -> [Pair; 2] {
        let [a, b, c, d] = self.values(lattice, values);
        let [x, y] = self.along;
        let by_s = |i: usize| ((b[i] - a[i]) * (1.0 - y) + (d[i] - c[i]) * y) * self.slope[0];
        let by_t = |i: usize| ((c[i] - a[i]) * (1.0 - x) + (d[i] - b[i]) * x) * self.slope[1];
        [std::array::from_fn(by_s), std::array::from_fn(by_t)]
    }

    /// Adds `g`, the derivative by the interpolated value, to the derivatives by the nodes' values.
    pub(crate) fn scatter(&self, lattice: &Lattice, g: Pair, into: &mut [Pair]) {
        let [x, y] = self.along;
        let columns = lattice.nodes[1];
        let parts = [
            (self.node, (1.0 - x) * (1.0 - y)),
            (self.node + 1, x * (1.0 - y)),
            (self.node + columns, (1.0 - x) * y),
            (self.node + columns + 1, x * y),
        ];
        for (node, weight) in parts {
            into[node][0] += weight * g[0];
            into[node][1] += weight * g[1];
        }
    }

    fn values(&self, lattice: &Lattice, values: &[Pair]) -> [Pair; 4] {
        let below = self.node + lattice.nodes[1];
        [
            values[self.node],
            values[self.node + 1],
            values[below],
            values[below + 1],
        ]
    }
}
