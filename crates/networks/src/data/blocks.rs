//! Which depths a network learns from, and which are held out: blocks along the axis, because neighbouring planes look alike.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tangram_atlas::Plane;

/// Blocks between the ends.
const N_BLOCKS: usize = 12;
/// Of four blocks this one is held out.
const HELD_OUT: usize = 2;
/// Part of the axis that images are made of; beyond it a mouse brain is a tip.
const SPAN: [f64; 2] = [0.06, 0.94];

/// Part of the planes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// Planes to learn from.
    Training,
    /// Planes for validation.
    HeldOut,
}

impl Share {
    /// In messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Training => "training",
            Self::HeldOut => "held-out",
        }
    }
}

/// Blocks along the axis from anterior to posterior. The middle half of a held-out block is its core: no training plane enters one, however it
/// is tilted, and no held-out plane leaves one.
#[derive(Debug, Clone, PartialEq)]
pub struct Blocks {
    extent_um: [f64; 3],
    cores_um: Vec<[f64; 2]>,
}

impl Blocks {
    /// Blocks of an atlas of this size (AP, DV, ML).
    #[must_use]
    pub fn along(extent_um: [f64; 3]) -> Self {
        let [first, last] = SPAN.map(|part| part * extent_um[0]);
        let length = (last - first) / N_BLOCKS as f64;
        let core = |block: usize| {
            let begin = first + block as f64 * length;
            [begin + length / 4.0, begin + 0.75 * length]
        };
        Self {
            extent_um,
            cores_um: (HELD_OUT..N_BLOCKS).step_by(4).map(core).collect(),
        }
    }

    /// Lengths of the atlas's axes.
    #[must_use]
    pub fn extent_um(&self) -> [f64; 3] {
        self.extent_um
    }

    /// First and last depth of every core, micrometres.
    #[must_use]
    pub fn cores_um(&self) -> &[[f64; 2]] {
        &self.cores_um
    }

    /// How far a plane's places come from its depth on the mid-axis at most.
    #[must_use]
    pub fn excursion_um(&self, plane: &Plane) -> f64 {
        let [_, dv, ml] = self.extent_um;
        let tilted = |length: f64, angle: f64| length / 2.0 * angle.to_radians().sin().abs();
        tilted(dv, plane.pitch_deg) + tilted(ml, plane.yaw_deg)
    }

    /// Distance to the border of the nearest core: positive outside.
    fn to_core(&self, depth_um: f64) -> f64 {
        let distances = self
            .cores_um
            .iter()
            .map(|[first, last]| (first - depth_um).max(depth_um - last));
        distances.fold(f64::INFINITY, f64::min)
    }

    /// A plane of a share; near the border of a core its tilt is reduced so far that it stays on its side.
    pub(crate) fn draw(&self, rng: &mut ChaCha8Rng, share: Share, tilt_deg: f64) -> Plane {
        let [first, last] = SPAN.map(|part| part * self.extent_um[0]);
        loop {
            let depth_um = match share {
                Share::Training => rng.random_range(first..last),
                Share::HeldOut => {
                    let [first, last] = self.cores_um[rng.random_range(0..self.cores_um.len())];
                    rng.random_range(first..last)
                }
            };
            let distance = self.to_core(depth_um);
            let room = match share {
                Share::Training => distance,
                Share::HeldOut => -distance,
            };
            if room <= 0.0 {
                continue;
            }
            let mut angle = || match tilt_deg > 0.0 {
                true => rng.random_range(-tilt_deg..tilt_deg),
                false => 0.0,
            };
            let mut plane = Plane {
                pitch_deg: angle(),
                yaw_deg: angle(),
                ..Plane::coronal(depth_um, self.extent_um)
            };
            let excursion = self.excursion_um(&plane);
            if excursion > room {
                // The sine is concave: scaling the angle down scales its sine down a little less.
                let scale = 0.98 * room / excursion;
                plane.pitch_deg *= scale;
                plane.yaw_deg *= scale;
            }
            return plane;
        }
    }
}
