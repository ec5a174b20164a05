//! Signs of how far off a registration may be: numbers that need no truth, from which its error is predicted.

use crate::fit::Fitted;
use crate::quality::Signs;
use crate::register::{PlaneChoice, RegisterSettings, WarpChoice, turn_deg};
use crate::section::SectionMask;
use crate::start::{Side, Start};
use crate::transform::{Affine, Transform};
use crate::{BACKGROUND, NO_CLASS};

/// A fit whose depth or turn differs by less stands at the same place.
const SAME_DEPTH_UM: f64 = 200.0;
/// See [`SAME_DEPTH_UM`].
const SAME_TURN_DEG: f64 = 15.0;
/// [`gap`] counts as this where it is larger, or where no other place was tried.
const MOST_GAP: f64 = 0.3;

/// What a registration knows of itself at its end.
pub(crate) struct Evidence<'a> {
    pub settings: &'a RegisterSettings<'a>,
    pub mask: &'a SectionMask,
    /// The starts, the best first.
    pub starts: &'a [Start],
    /// [`gap`] at the end of every stage.
    pub gaps: &'a [f64],
    /// [`agreement`] of all starts at the end of the first stage.
    pub agreement: f64,
    pub best: &'a Fitted,
    pub transform: &'a Transform,
    /// Dice of every class, the background first.
    pub dice: &'a [f64],
    /// Pixels of each class in mask and atlas together.
    pub areas: &'a [usize],
    pub mean_dice: f64,
    pub depth_spread_um: f64,
}

/// By how much the loss of the best fit elsewhere is larger than that of the best fit, which comes first.
pub(crate) fn gap(fits: &[Fitted]) -> f64 {
    let Some(best) = fits.first() else {
        return MOST_GAP;
    };
    let elsewhere = fits.iter().filter(|fit| is_elsewhere(fit, best));
    elsewhere.fold(MOST_GAP, |gap, fit| gap.min(fit.loss - best.loss))
}

/// The share of fits that stand where the first does, which is the best.
pub(crate) fn agreement(fits: &[Fitted]) -> f64 {
    let Some(best) = fits.first() else { return 0.0 };
    let with_it = fits.iter().filter(|fit| !is_elsewhere(fit, best));
    with_it.count() as f64 / fits.len() as f64
}

fn is_elsewhere(fit: &Fitted, best: &Fitted) -> bool {
    let turn = turn_deg(&fit.pose.affine) - turn_deg(&best.pose.affine);
    let depth = fit.pose.plane.depth_um - best.pose.plane.depth_um;
    fit.side != best.side
        || depth.abs() > SAME_DEPTH_UM
        || ((turn + 180.0).rem_euclid(360.0) - 180.0).abs() > SAME_TURN_DEG
}

/// The signs of a registration.
pub(crate) fn signs(e: &Evidence<'_>) -> Signs {
    let parameters = e.transform.parameters();
    let plane = parameters.plane;
    let shown: Vec<usize> = (1..e.dice.len()).filter(|&c| e.areas[c] > 0).collect();
    let weight = |class: usize| (e.areas[class] as f64).sqrt();
    let weights: f64 = shown.iter().map(|&c| weight(c)).sum::<f64>().max(1e-9);
    let spread = shown
        .iter()
        .map(|&c| weight(c) * (e.dice[c] - e.mean_dice).powi(2))
        .sum::<f64>()
        / weights;
    let tissue: usize = shown.iter().map(|&c| e.areas[c]).sum();
    let large = shown.iter().filter(|&&c| e.areas[c] * 20 >= tissue);
    let worst = large.map(|&c| e.dice[c]).fold(1.0, f64::min);
    let [stretch, scale] = stretch_and_scale(&parameters.affine);
    let moved = plane.depth_um - e.starts[0].plane.depth_um;
    let is = |yes: bool| f64::from(u8::from(yes));
    let given = e.settings.pixel_um.is_some();
    let (n_classes, area_mm2) = classes_and_area(e.mask, parameters.pixel_um);
    let all = [
        ("dice", (1.01 - e.mean_dice).ln()),
        ("dice of the background", (1.01 - e.dice[0]).ln()),
        ("worst dice", (1.01 - worst).ln()),
        ("spread of dice", spread.sqrt()),
        ("number of classes", n_classes.ln()),
        ("area", area_mm2.max(0.1).ln()),
        ("gap of first stage", gap_sign(e.gaps, 0)),
        ("gap of second stage", gap_sign(e.gaps, 1)),
        ("gap of last stage", gap_sign(e.gaps, e.gaps.len() - 1)),
        ("agreement of starts", e.agreement),
        ("depth spread", (e.depth_spread_um / 50.0).ln_1p()),
        ("score of the start", e.starts[0].score),
        ("moved from start", (moved.abs() / 100.0).ln_1p()),
        ("tilt", plane.pitch_deg.hypot(plane.yaw_deg) / 10.0),
        ("stretch", stretch),
        ("scale", if given { scale.abs() } else { 0.0 }),
        ("warp", (e.transform.mean_displacement_um() / 100.0).ln_1p()),
        ("squeeze", -e.transform.smallest_jacobian().max(0.01).ln()),
        (
            "there and back",
            e.transform.inverse_consistency().max_um.ln_1p(),
        ),
        ("half", is(e.best.side != Side::Both)),
        ("size not given", is(!given)),
        ("plane fixed", is(e.settings.plane == PlaneChoice::Fixed)),
        ("no warp", is(e.settings.warp == WarpChoice::AffineOnly)),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

fn gap_sign(gaps: &[f64], stage: usize) -> f64 {
    (gaps[stage].max(0.0) + 0.003).ln()
}

/// Logarithms: of the ratio of the two singular values, and of their geometric mean.
fn stretch_and_scale(affine: &Affine) -> [f64; 2] {
    let [[a, b], [c, d]] = affine.matrix;
    let (sum, difference) = ((a + d).hypot(c - b), (a - d).hypot(b + c));
    let [large, small] = [sum + difference, (sum - difference).abs().max(1e-9)];
    [
        (large / small).ln(),
        affine.determinant().abs().max(1e-9).ln() / 2.0,
    ]
}

/// The number of classes as large as would be as informative as those of the mask (e to their entropy), and the tissue in mm².
fn classes_and_area(mask: &SectionMask, pixel_um: f64) -> (f64, f64) {
    let mut counts = [0_usize; 256];
    for &class in mask.classes() {
        counts[usize::from(class)] += 1;
    }
    counts[usize::from(BACKGROUND)] = 0;
    counts[usize::from(NO_CLASS)] = 0;
    let all: usize = counts.iter().sum();
    let parts = counts.iter().filter(|n| **n > 0);
    let parts = parts.map(|&n| n as f64 / all as f64);
    let entropy: f64 = parts.map(|p| -p * p.ln()).sum();
    (entropy.exp(), all as f64 * (pixel_um / 1000.0).powi(2))
}
