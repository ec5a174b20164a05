//! What histology does to a synthetic section: damage, and smooth random functions for its warp.

use crate::rungs::Rung;
use crate::warp::Pair;
use crate::{BACKGROUND, NO_CLASS, Volume};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// Damage that histology does to a mask.
pub(crate) struct Damage {
    /// Standard deviation of the places whose class a pixel takes, pixels.
    pub jagged: f64,
    /// Middle on the plane, radius, class.
    blobs: Vec<(Pair, f64, u8)>,
    /// Middle in the image, radius.
    holes: Vec<(Pair, f64)>,
}

impl Damage {
    /// * `tissue`: places on the plane that show tissue
    /// * `edge`: of the image, micrometres
    pub fn draw(
        rng: &mut ChaCha8Rng,
        rung: &Rung,
        tissue: &[Pair],
        edge: f64,
        classes: &Volume<u8>,
    ) -> Self {
        let known = classes.values.iter().filter(|c| **c != NO_CLASS);
        let most = known.max().copied().unwrap_or(BACKGROUND);
        let blob = |rng: &mut ChaCha8Rng| {
            let middle = tissue[rng.random_range(0..tissue.len())];
            let radius = rng.random_range(rung.blob_um[0]..rung.blob_um[1]);
            (middle, radius, rng.random_range(0..=most))
        };
        let hole = |rng: &mut ChaCha8Rng| {
            let at = [0, 1].map(|_| edge * (0.5 + rng.random_range(-0.35..0.35)));
            (at, edge * rng.random_range(0.03..0.09))
        };
        Self {
            jagged: rng.random_range(0.0..1.6),
            blobs: (0..rung.blobs).map(|_| blob(rng)).collect(),
            holes: (0..3).map(|_| hole(rng)).collect(),
        }
    }

    /// The class that is seen where the section has `class`.
    pub fn of(&self, class: u8, place: Pair, in_image: Pair) -> u8 {
        let near = |a: Pair, b: Pair, r: f64| (a[0] - b[0]).hypot(a[1] - b[1]) < r;
        if class == BACKGROUND || self.holes.iter().any(|(m, r)| near(*m, in_image, *r)) {
            return BACKGROUND;
        }
        let blob = self
            .blobs
            .iter()
            .rev()
            .find(|(m, r, _)| near(*m, place, *r));
        blob.map_or(class, |(_, _, wrong)| *wrong)
    }
}

/// A smooth random function over the unit square: normal numbers on a few points, cubic between them.
pub(crate) struct Smooth {
    n: usize,
    values: Vec<f64>,
}

impl Smooth {
    pub fn draw(rng: &mut ChaCha8Rng, size: f64) -> Self {
        let n = rng.random_range(3..7_usize);
        Self {
            n,
            values: (0..n * n).map(|_| size * normal(rng)).collect(),
        }
    }

    pub fn at(&self, part: Pair) -> f64 {
        let last = self.n as isize - 1;
        let weights = |x: f64| {
            let x = x * self.n as f64 - 0.5;
            let floor = x.floor();
            let index: [usize; 4] =
                std::array::from_fn(|i| (floor as isize + i as isize - 1).clamp(0, last) as usize);
            (index, catmull_rom(x - floor))
        };
        let ((xs, wx), (ys, wy)) = (weights(part[0]), weights(part[1]));
        let row = |y: usize| -> f64 {
            let values = xs.iter().map(|x| self.values[y * self.n + x]);
            values.zip(wx).map(|(v, w)| v * w).sum()
        };
        ys.iter().zip(wy).map(|(y, w)| w * row(*y)).sum()
    }
}

fn catmull_rom(x: f64) -> [f64; 4] {
    let (x2, x3) = (x * x, x * x * x);
    [
        (-x3 + 2.0 * x2 - x) / 2.0,
        (3.0 * x3 - 5.0 * x2 + 2.0) / 2.0,
        (-3.0 * x3 + 4.0 * x2 + x) / 2.0,
        (x3 - x2) / 2.0,
    ]
}

/// A random number of mean 0 and standard deviation 1.
pub(crate) fn normal(rng: &mut ChaCha8Rng) -> f64 {
    let (a, b): (f64, f64) = (rng.random_range(1e-12..1.0), rng.random_range(0.0..1.0));
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}
