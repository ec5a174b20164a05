//! The ladder: registrations of synthetic sections against their known places.

use crate::probability::ProbabilityPyramid;
use crate::quality::{Limits, Quality};
use crate::register::{PlaneChoice, RegisterSettings, Registration, WarpChoice, register};
use crate::synthetic::{Rung, SyntheticSection, section};
use crate::{BACKGROUND, NO_CLASS, Volume};
use serde::Serialize;
use std::time::Instant;

/// A registration that was accepted with a larger error than this is an undetected failure.
pub const FAILURE_UM: f64 = 500.0;

/// The methods that are compared, with their names.
pub const METHODS: [(&str, PlaneChoice, WarpChoice); 3] = [
    ("full", PlaneChoice::Fitted, WarpChoice::Warped),
    ("fixed plane", PlaneChoice::Fixed, WarpChoice::Warped),
    ("affine only", PlaneChoice::Fitted, WarpChoice::AffineOnly),
];

/// How far a registration is from the truth.
#[derive(Debug, Clone, Serialize)]
pub struct Errors {
    /// The section.
    pub seed: u64,
    /// Difference of depth on the mid-axis.
    pub depth_um: f64,
    /// The larger of the differences of pitch and yaw.
    pub angle_deg: f64,
    /// Distance between found and true atlas positions: the median over the tissue's pixels.
    pub tre_um: f64,
    /// The same distance, the 90th percentile over the tissue's pixels.
    pub tre_p90_um: f64,
    /// Quality that the registration reports; `None` where no start was found.
    pub quality: Option<Quality>,
    /// Why it is refused, if it is.
    pub refused: Option<String>,
    /// Wall-clock time of the registration.
    pub seconds: f64,
}

impl Errors {
    /// Whether it is far off and was accepted.
    #[must_use]
    pub fn is_undetected_failure(&self) -> bool {
        self.refused.is_none() && self.tre_um > FAILURE_UM
    }
}

/// Registers the synthetic section of a seed and compares.
#[must_use]
pub fn measure(
    pyramid: &ProbabilityPyramid,
    classes: &Volume<u8>,
    rung: &Rung,
    seed: u64,
    (_, plane, warp): (&str, PlaneChoice, WarpChoice),
) -> Errors {
    let truth = section(classes, rung, seed);
    let settings = RegisterSettings {
        pixel_um: truth.told_um,
        plane,
        warp,
        caller: None,
    };
    let begin = Instant::now();
    let found = register(pyramid, &truth.mask, &settings);
    let seconds = begin.elapsed().as_secs_f64();
    let registration = match found {
        Ok(registration) => registration,
        Err(refusal) => {
            return Errors {
                seed,
                depth_um: f64::NAN,
                angle_deg: f64::NAN,
                tre_um: f64::NAN,
                tre_p90_um: f64::NAN,
                quality: None,
                refused: Some(refusal.to_string()),
                seconds,
            };
        }
    };
    compare(&truth, &registration, seed, seconds)
}

/// How far a registration of a synthetic section is from the truth.
///
/// * `seconds`: that it took
#[must_use]
pub fn compare(
    truth: &SyntheticSection,
    registration: &Registration,
    seed: u64,
    seconds: f64,
) -> Errors {
    let found = registration.transform.parameters().plane;
    let distances = distances(truth, |pixel| registration.transform.to_atlas(pixel));
    let refused = Limits::default().check(&registration.quality).err();
    let angle = |a: f64, b: f64| (a - b).abs();
    Errors {
        seed,
        depth_um: (found.depth_um - truth.plane.depth_um).abs(),
        angle_deg: angle(found.pitch_deg, truth.plane.pitch_deg)
            .max(angle(found.yaw_deg, truth.plane.yaw_deg)),
        tre_um: quantile(&distances, 0.5),
        tre_p90_um: quantile(&distances, 0.9),
        quality: Some(registration.quality.clone()),
        refused: refused.map(|r| r.to_string()),
        seconds,
    }
}

/// Distances between true and found positions of the tissue's pixels, sorted.
fn distances(truth: &SyntheticSection, found: impl Fn([f64; 2]) -> [f64; 3]) -> Vec<f64> {
    /// Every seventh pixel is compared.
    const EVERY: usize = 7;
    let [width, _] = truth.mask.size();
    let pixels = (0..truth.points.len()).step_by(EVERY);
    let tissue = pixels.filter(|&i| !matches!(truth.mask.classes()[i], BACKGROUND | NO_CLASS));
    let mut distances: Vec<f64> = tissue
        .map(|i| {
            let pixel = [(i % width) as f64 + 0.5, (i / width) as f64 + 0.5];
            let (a, b) = (found(pixel), truth.points[i]);
            (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f64>().sqrt()
        })
        .collect();
    distances.sort_by(f64::total_cmp);
    distances
}

/// A quantile of sorted values; NaN if there are none.
#[must_use]
pub fn quantile(sorted: &[f64], part: f64) -> f64 {
    match sorted.len() {
        0 => f64::NAN,
        n => sorted[(((n - 1) as f64 * part).round() as usize).min(n - 1)],
    }
}
