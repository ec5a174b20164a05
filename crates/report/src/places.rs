//! Where voxels lie, and how they are drawn.

use crate::tissue::Tissue;
use std::sync::Arc;

/// Voxels of which the neighbourhood is looked at to find how they are laid out.
const SAMPLE: usize = 1_000;
/// Two distances are the same if they differ by less than this part.
const SAME: f64 = 0.1;

/// Coordinates of voxels in a plane, and the mark that each of them is drawn as.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    x: Vec<f64>,
    y: Vec<f64>,
    mark: Mark,
    down: bool,
    tissue: Option<Arc<Tissue>>,
    rings: Option<Rings>,
}

/// Circles that are drawn as lines: spots that hold what is drawn. Lengths are in the units of the coordinates.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rings {
    pub(crate) middles: Vec<(f64, f64)>,
    pub(crate) radius: f64,
}

/// How a voxel is drawn. Sizes are in the units of the coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Mark {
    /// Hexagons that touch, for voxels on a hexagonal lattice (Visium).
    Hexagon {
        /// From the middle to a corner.
        radius: f64,
        /// Angle of the first corner in radians.
        turn: f64,
    },
    /// Discs.
    Disc {
        /// The radius.
        radius: f64,
    },
}

/// The rectangle that holds all voxels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Extent {
    pub(crate) left: f64,
    pub(crate) bottom: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Places {
    /// Voxels at (`x`, `y`), with y upwards; `None` if the lengths differ, there is no voxel, or a coordinate is not finite.
    ///
    /// A hexagonal lattice is recognised and drawn as hexagons, anything else as discs about as wide as the typical distance
    /// between neighbours.
    #[must_use]
    pub fn new(x: Vec<f64>, y: Vec<f64>) -> Option<Self> {
        let finite = x.iter().chain(&y).all(|v| v.is_finite());
        if x.len() != y.len() || x.is_empty() || !finite {
            return None;
        }
        let mark = mark(&x, &y);
        Some(Self {
            x,
            y,
            mark,
            down: false,
            tissue: None,
            rings: None,
        })
    }

    /// The same voxels with y downwards, as pixels of an image are counted.
    #[must_use]
    pub fn downwards(mut self) -> Self {
        self.down = true;
        self
    }

    /// The same voxels as circles of their true size over an image of the tissue, y downwards; as they were if fewer than half of them
    /// lie on the image, which then is of something else.
    ///
    /// * `diameter`: of a voxel, in the units of the coordinates
    #[must_use]
    pub fn over(mut self, tissue: Tissue, diameter: f64) -> Self {
        let on = |(x, y): &(&f64, &f64)| tissue.color_at(**x, **y).is_some();
        let n_on = self.x.iter().zip(&self.y).filter(on).count();
        if n_on * 2 < self.len() || !(diameter.is_finite() && diameter > 0.0) {
            return self;
        }
        self.mark = Mark::Disc {
            radius: diameter / 2.0,
        };
        self.tissue = Some(Arc::new(tissue));
        self.downwards()
    }

    /// The same points, such as cells, with circles around those that a spot holds.
    ///
    /// * `middles`: of the spots; those that are not finite are left out
    /// * `diameter`: of a spot, in the units of the coordinates
    #[must_use]
    pub fn in_spots(mut self, middles: &[(f64, f64)], diameter: f64) -> Self {
        let finite = |(x, y): &(f64, f64)| x.is_finite() && y.is_finite();
        self.rings = (diameter.is_finite() && diameter > 0.0).then(|| Rings {
            middles: middles.iter().copied().filter(finite).collect(),
            radius: diameter / 2.0,
        });
        self
    }

    /// The image that the voxels lie on.
    #[must_use]
    pub fn tissue(&self) -> Option<&Tissue> {
        self.tissue.as_deref()
    }

    /// Whether y grows downwards.
    #[must_use]
    pub fn is_downwards(&self) -> bool {
        self.down
    }

    /// Number of voxels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.x.len()
    }

    /// Always false: there is at least one voxel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.x.is_empty()
    }

    /// First coordinates.
    #[must_use]
    pub fn x(&self) -> &[f64] {
        &self.x
    }

    /// Second coordinates.
    #[must_use]
    pub fn y(&self) -> &[f64] {
        &self.y
    }

    /// The radius of a voxel's mark, in the units of the coordinates.
    #[must_use]
    pub fn radius(&self) -> f64 {
        match self.mark {
            Mark::Hexagon { radius, .. } | Mark::Disc { radius } => radius,
        }
    }

    /// Whether the voxels lie on a hexagonal lattice.
    #[must_use]
    pub fn are_hexagons(&self) -> bool {
        matches!(self.mark, Mark::Hexagon { .. })
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn rings(&self) -> Option<&Rings> {
        self.rings.as_ref()
    }

    /// The rectangle that holds all marks.
    pub(crate) fn extent(&self) -> Extent {
        let range = |axis: fn((f64, f64)) -> f64| {
            let points = self.x.iter().copied().zip(self.y.iter().copied());
            let marks = points.map(|point| (point, self.radius()));
            let rings = self.rings.iter();
            let rings = rings.flat_map(|r| r.middles.iter().map(|&middle| (middle, r.radius)));
            let ends = marks
                .chain(rings)
                .map(|(at, r)| (axis(at) - r, axis(at) + r));
            let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |all, (from, to)| {
                (all.0.min(from), all.1.max(to))
            });
            (low, high - low)
        };
        let ((left, width), (bottom, height)) = (range(|at| at.0), range(|at| at.1));
        Extent {
            left,
            bottom,
            width,
            height,
        }
    }
}

/// What the neighbours of a voxel look like.
#[derive(Debug, Clone, Copy)]
struct Around {
    nearest: f64,
    /// Direction of the nearest in radians.
    angle: f64,
    /// Number of neighbours as near as the nearest.
    number: usize,
}

fn mark(x: &[f64], y: &[f64]) -> Mark {
    let mut order: Vec<usize> = (0..x.len()).collect();
    order.sort_unstable_by(|&i, &j| x[i].total_cmp(&x[j]).then(i.cmp(&j)));
    let step = x.len().div_ceil(SAMPLE);
    let around: Vec<Around> = (0..order.len())
        .step_by(step)
        .filter_map(|at| neighbours(at, &order, x, y))
        .collect();
    let mut distances: Vec<f64> = around.iter().map(|a| a.nearest).collect();
    distances.sort_unstable_by(f64::total_cmp);
    let Some(&typical) = distances.get(distances.len() / 2) else {
        return Mark::Disc { radius: 1.0 };
    };
    let same = |a: &&Around| (a.nearest / typical - 1.0).abs() < SAME;
    let regular = around.iter().filter(same).count();
    let six = around.iter().filter(same).filter(|a| a.number == 6).count();
    // Voxels at the edge have fewer neighbours.
    if regular * 10 >= around.len() * 9 && six * 2 > around.len() {
        let turned = around.iter().filter(same).map(|a| a.angle * 6.0);
        let (sin, cos) = turned.fold((0.0, 0.0), |(s, c), a| (s + a.sin(), c + a.cos()));
        return Mark::Hexagon {
            radius: typical / 3f64.sqrt(),
            turn: sin.atan2(cos) / 6.0 + std::f64::consts::FRAC_PI_6,
        };
    }
    // Neighbours on a lattice touch; scattered voxels may overlap a little, or most of the map would be gaps.
    let lattice = regular * 10 >= around.len() * 9;
    Mark::Disc {
        radius: typical * if lattice { 0.5 } else { 0.65 },
    }
}

/// Looks at the neighbours of the voxel at `at` of `order`, which is sorted by x: outwards, until the distance in x alone is too large.
/// Voxels at the same place do not count.
fn neighbours(at: usize, order: &[usize], x: &[f64], y: &[f64]) -> Option<Around> {
    let i = order[at];
    let (mut nearest, mut angle) = (f64::INFINITY, 0.0);
    let sides = || {
        let left: Box<dyn Iterator<Item = &usize>> = Box::new(order[..at].iter().rev());
        let right: Box<dyn Iterator<Item = &usize>> = Box::new(order[at + 1..].iter());
        [left, right]
    };
    for side in sides() {
        for &j in side {
            let (dx, dy) = (x[j] - x[i], y[j] - y[i]);
            if dx.abs() > nearest {
                break;
            }
            let distance = dx.hypot(dy);
            if distance > 0.0 && distance < nearest {
                (nearest, angle) = (distance, dy.atan2(dx));
            }
        }
    }
    let reach = nearest * (1.0 + SAME);
    let number = sides()
        .into_iter()
        .flat_map(|side| side.take_while(|&&j| (x[j] - x[i]).abs() <= reach))
        .filter(|&&j| {
            let distance = (x[j] - x[i]).hypot(y[j] - y[i]);
            distance > 0.0 && distance <= reach
        })
        .count();
    nearest.is_finite().then_some(Around {
        nearest,
        angle,
        number,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lattice(turn: f64) -> (Vec<f64>, Vec<f64>) {
        let points = (0..12).flat_map(|row| (0..14).map(move |column| (row, column)));
        points
            .map(|(row, column)| {
                let x = 100.0 * (f64::from(column) + 0.5 * f64::from(row % 2));
                let y = 100.0 * f64::from(row) * 0.75f64.sqrt();
                (
                    x * turn.cos() - y * turn.sin(),
                    x * turn.sin() + y * turn.cos(),
                )
            })
            .unzip()
    }

    #[test]
    fn a_hexagonal_lattice_is_recognised_at_any_angle() {
        for turn in [0.0f64, 0.2, 1.0] {
            let (x, y) = lattice(turn);
            let places = Places::new(x, y).unwrap();
            let Mark::Hexagon {
                radius,
                turn: found,
            } = places.mark()
            else {
                panic!("not hexagons at {turn}");
            };
            assert!((radius - 100.0 / 3f64.sqrt()).abs() < 1e-6);
            // Corners lie between the neighbours, which repeat every 60°.
            let off = (found - turn - std::f64::consts::FRAC_PI_6) * 6.0;
            assert!(off.cos() > 0.999, "{turn}: {found}");
        }
    }

    #[test]
    fn other_layouts_are_discs() {
        let square = (0..100).map(|i| (f64::from(i % 10), f64::from(i / 10)));
        let (x, y) = square.unzip();
        let places = Places::new(x, y).unwrap();
        assert_eq!(places.mark(), Mark::Disc { radius: 0.5 });
        let same = Places::new(vec![1.0; 3], vec![2.0; 3]).unwrap();
        assert_eq!(same.mark(), Mark::Disc { radius: 1.0 });
        assert_eq!(Places::new(vec![f64::NAN], vec![0.0]), None);
        assert_eq!(Places::new(vec![], vec![]), None);
    }
}
