//! What histology and segmentation do to a section: holes, a missing half, blobs of a wrong class.

use super::draw::within;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tangram_atlas::BACKGROUND;

/// Damage of one image, whose edge is 1.
#[derive(Debug, Clone)]
pub(super) struct Damage {
    holes: Vec<Disc>,
    /// The half that is missing: the side of this column, to the right (1) or left (−1).
    missing: Option<(f64, f64)>,
    blobs: Vec<(Disc, u8)>,
}

#[derive(Debug, Clone, Copy)]
struct Disc {
    middle: [f64; 2],
    radius: f64,
}

impl Disc {
    fn draw(rng: &mut ChaCha8Rng, radius: std::ops::Range<f64>) -> Self {
        Self {
            middle: [within(rng, 0.45), within(rng, 0.45)],
            radius: rng.random_range(radius),
        }
    }

    fn covers(&self, at: [f64; 2]) -> bool {
        (at[0] - self.middle[0]).hypot(at[1] - self.middle[1]) < self.radius
    }
}

impl Damage {
    pub(super) fn draw(rng: &mut ChaCha8Rng, n_classes: usize, wrong_masks: bool) -> Self {
        let damaged = rng.random_bool(0.5);
        let n_holes = if damaged { rng.random_range(1..4) } else { 0 };
        let halved = wrong_masks && rng.random_bool(0.2);
        let side = if rng.random_bool(0.5) { 1.0 } else { -1.0 };
        let n_blobs = if wrong_masks {
            rng.random_range(0..6)
        } else {
            0
        };
        Self {
            holes: (0..n_holes).map(|_| Disc::draw(rng, 0.02..0.07)).collect(),
            missing: halved.then(|| (within(rng, 0.02), side)),
            blobs: (0..n_blobs)
                .map(|_| {
                    let disc = Disc::draw(rng, 0.01..0.05);
                    (disc, rng.random_range(1..n_classes.max(2)) as u8)
                })
                .collect(),
        }
    }

    /// Whether there is no tissue here.
    pub(super) fn removes(&self, at: [f64; 2]) -> bool {
        let beyond = |(column, side): (f64, f64)| (at[0] - column) * side > 0.0;
        self.missing.is_some_and(beyond) || self.holes.iter().any(|hole| hole.covers(at))
    }

    /// The class that the mask shows.
    pub(super) fn class(&self, at: [f64; 2], class: u8) -> u8 {
        let wrong = self.blobs.iter().find(|(disc, _)| disc.covers(at));
        match wrong {
            Some((_, wrong)) if class != BACKGROUND => *wrong,
            _ => class,
        }
    }
}
