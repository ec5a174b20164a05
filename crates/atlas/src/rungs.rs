//! The rungs of the ladder: how hard a synthetic section is.

use crate::{BACKGROUND, NO_CLASS};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;

/// How hard a synthetic section is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rung {
    /// Largest pitch and yaw, degrees.
    pub tilt_deg: f64,
    /// Largest turn in the image, degrees.
    pub turn_deg: f64,
    /// Largest stretch along one axis with as much shrinkage along the other.
    pub stretch: f64,
    /// Standard deviation of the warp, micrometres.
    pub warp_um: f64,
    /// Holes, jagged borders, and blobs of a wrong class.
    pub damage: bool,
    /// Number of these blobs.
    pub blobs: usize,
    /// Their smallest and largest radius, micrometres.
    pub blob_um: [f64; 2],
    /// Only one half is there.
    pub hemisection: bool,
    /// It is cut near one end of the brain, where few classes are seen.
    pub ends: bool,
    /// Number of classes that are marked, the others being left out; `None`: all.
    pub marked: Option<usize>,
    /// Number of classes of the mask that are exchanged for one another.
    pub exchanged: usize,
    /// Only this part of the image, along both axes, shows anything; the rest is background.
    pub part: f64,
    /// The pixel size that the registration is given.
    pub told: ToldSize,
}

/// The pixel size that a registration is given.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ToldSize {
    /// The truth.
    Right,
    /// A size that is wrong by up to this share.
    Wrong(f64),
    /// Nothing.
    Nothing,
}

const TILT: Rung = Rung {
    tilt_deg: 6.0,
    turn_deg: 12.0,
    stretch: 0.1,
    warp_um: 0.0,
    damage: false,
    blobs: 6,
    blob_um: [150.0, 500.0],
    hemisection: false,
    ends: false,
    marked: None,
    exchanged: 0,
    part: 1.0,
    told: ToldSize::Right,
};

const WARP: Rung = Rung {
    warp_um: 200.0,
    ..TILT
};

const DAMAGE: Rung = Rung {
    damage: true,
    ..WARP
};

impl Rung {
    /// The rungs of the ladder with their names, from easy to hard.
    pub const LADDER: [(&'static str, Self); 4] = [
        ("tilt", TILT),
        ("warp", WARP),
        ("damage", DAMAGE),
        (
            "hemisection",
            Self {
                hemisection: true,
                ..DAMAGE
            },
        ),
    ];

    /// Sections that are damaged and have something else that makes a fit hard or wrong.
    pub const HARD: [(&'static str, Self); 8] = [
        (
            "wrong classes",
            Self {
                blobs: 24,
                blob_um: [300.0, 1200.0],
                ..DAMAGE
            },
        ),
        (
            "few classes",
            Self {
                marked: Some(3),
                ..DAMAGE
            },
        ),
        (
            "ends",
            Self {
                ends: true,
                ..DAMAGE
            },
        ),
        (
            "part",
            Self {
                part: 0.5,
                ..DAMAGE
            },
        ),
        (
            "oblique",
            Self {
                tilt_deg: 40.0,
                turn_deg: 180.0,
                ..DAMAGE
            },
        ),
        (
            "wrong size",
            Self {
                told: ToldSize::Wrong(0.3),
                ..DAMAGE
            },
        ),
        (
            "no size",
            Self {
                told: ToldSize::Nothing,
                ..DAMAGE
            },
        ),
        (
            "exchanged classes",
            Self {
                exchanged: 4,
                ..DAMAGE
            },
        ),
    ];

    /// Where it is cut, as a part of the brain's length.
    pub(crate) fn depth(&self, rng: &mut ChaCha8Rng) -> f64 {
        match self.ends {
            false => rng.random_range(0.115..0.91),
            true if rng.random_bool(0.5) => rng.random_range(0.04..0.115),
            true => rng.random_range(0.91..0.97),
        }
    }

    /// The pixel size that the registration of a section is given; `None`: none.
    pub(crate) fn told(&self, rng: &mut ChaCha8Rng, pixel_um: f64) -> Option<f64> {
        match self.told {
            ToldSize::Right => Some(pixel_um),
            ToldSize::Wrong(most) => Some(pixel_um * (1.0 + rng.random_range(-most..most))),
            ToldSize::Nothing => None,
        }
    }

    /// Takes away from a square mask what is not shown or not marked, and exchanges classes.
    ///
    /// * `n`: pixels along an edge
    pub(crate) fn spoil(&self, rng: &mut ChaCha8Rng, n: usize, mask: &mut [u8]) {
        if self.part < 1.0 {
            let shown = (self.part * n as f64).ceil() as usize;
            let [left, top] = [0, 1].map(|_| rng.random_range(0..=n - shown.min(n)));
            for (i, class) in mask.iter_mut().enumerate() {
                let inside = |at: usize, first: usize| (first..first + shown).contains(&at);
                if !inside(i % n, left) || !inside(i / n, top) {
                    *class = BACKGROUND;
                }
            }
        }
        let mut there: Vec<u8> = mask.to_vec();
        there.sort_unstable();
        there.dedup();
        there.retain(|c| !matches!(*c, BACKGROUND | NO_CLASS));
        if there.is_empty() {
            return;
        }
        for i in (1..there.len()).rev() {
            if self.marked.is_some() || self.exchanged > 0 {
                there.swap(i, rng.random_range(0..=i));
            }
        }
        let place = |class: u8| there.iter().position(|c| *c == class);
        let moved = self.exchanged.min(there.len());
        for class in mask.iter_mut() {
            let Some(at) = place(*class) else { continue };
            if self.marked.is_some_and(|n| at >= n) {
                *class = NO_CLASS;
            } else if at < moved {
                *class = there[(at + 1) % moved];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    fn spoilt(rung: Rung) -> Vec<u8> {
        let mut mask: Vec<u8> = (0..40 * 40).map(|i| (i % 40 / 6) as u8).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        rung.spoil(&mut rng, 40, &mut mask);
        mask
    }

    #[test]
    fn each_rung_spoils_what_it_says() {
        let count = |mask: &[u8], is: &dyn Fn(u8) -> bool| mask.iter().filter(|c| is(**c)).count();
        let plain = spoilt(DAMAGE);
        assert_eq!(count(&plain, &|c| c == NO_CLASS), 0);
        let marked = spoilt(Rung {
            marked: Some(2),
            ..DAMAGE
        });
        let mut classes: Vec<u8> = marked.clone();
        classes.sort_unstable();
        classes.dedup();
        assert_eq!(classes.len(), 4, "background, two classes, left out");
        let exchanged = spoilt(Rung {
            exchanged: 3,
            ..DAMAGE
        });
        let differ = plain.iter().zip(&exchanged).filter(|(a, b)| a != b);
        let n = differ.count();
        assert!((3 * 4 * 40..=3 * 6 * 40).contains(&n), "{n}");
        let part = spoilt(Rung {
            part: 0.5,
            ..DAMAGE
        });
        assert!(count(&part, &|c| c != BACKGROUND) <= 20 * 20);
        assert!(count(&part, &|c| c != BACKGROUND) > 0);
    }
}
