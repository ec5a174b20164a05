//! Registration of one section: starts, descent through the levels, choice, quality.

use crate::expected::ErrorPredictor;
use crate::fit::{Fitted, Stage, descend, objective};
use crate::objective::{Freedom, Penalties, Pose};
use crate::plane_caller::{CalledPlane, PlaneCaller};
use crate::probability::ProbabilityPyramid;
use crate::quality::{ALMOST, OtherStart, Quality, Signs};
use crate::refusal::Refusal;
use crate::section::{SectionGrid, SectionMask};
use crate::signs::{Evidence, agreement, gap, signs};
use crate::start::{Comparison, PixelSize, Side, Start};
use crate::transform::{Affine, Parameters, Transform};
use crate::warp::VelocityField;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// The first guess of the length of the longer side of the image where pixels have no known size.
const GUESSED_LENGTH_UM: f64 = 10_000.0;
/// Number of starts that are tried, and of those kept after the first and the second stage.
const STARTS: [usize; 3] = [10, 4, 2];

/// Which plane the result may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlaneChoice {
    /// Depth, pitch and yaw are fitted together with the rest.
    Fitted,
    /// The coronal plane with the best comparison of masks, as in the paper.
    Fixed,
}

/// Whether tissue may be warped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarpChoice {
    /// Affine map and warp.
    Warped,
    /// The affine map only.
    AffineOnly,
}

/// Settings of a registration.
#[derive(Debug, Clone, Copy)]
pub struct RegisterSettings<'a> {
    /// Edge of the mask's pixels, micrometres; `None` leaves the scale free.
    pub pixel_um: Option<f64>,
    /// The plane.
    pub plane: PlaneChoice,
    /// The warp.
    pub warp: WarpChoice,
    /// Calls a plane in which one more fit begins.
    pub caller: Option<PlaneCaller<'a>>,
}

/// A registration.
#[derive(Debug, Clone)]
pub struct Registration {
    /// From the section to the atlas and back.
    pub transform: Transform,
    /// Which part of a coronal section the mask shows.
    pub side: Side,
    /// Measures of its quality.
    pub quality: Quality,
    /// The plane that the caller of the settings called; `None` without one.
    pub called: Option<CalledPlane>,
}

/// Finds the place of a section.
///
/// The result does not depend on the number of threads.
///
/// # Errors
/// [`Refusal::NoStart`] if no plane resembles the mask. Whether the fit is good enough is for [`Limits`](crate::Limits) to say.
pub fn register(
    pyramid: &ProbabilityPyramid,
    mask: &SectionMask,
    settings: &RegisterSettings<'_>,
) -> Result<Registration, Refusal> {
    let given = mask;
    let mask = mask.without_holes();
    let [width, height] = mask.size();
    let known = settings.pixel_um;
    let pixel_size = if known.is_some() {
        PixelSize::Known
    } else {
        PixelSize::Free
    };
    let pixel_um = known.unwrap_or(GUESSED_LENGTH_UM / width.max(height) as f64);
    // The method of the paper takes only the plane with the best comparison.
    let n_starts = if settings.plane == PlaneChoice::Fixed {
        1
    } else {
        STARTS[0]
    };
    let comparison = Comparison::new(&mask, pixel_um, pixel_size, &pyramid.classes);
    let begin = comparison.starts(n_starts);
    if begin.is_empty() {
        return Err(Refusal::NoStart);
    }
    let called = settings.caller.and_then(|caller| {
        let upright = comparison.upright(given, pixel_um, &begin[0], caller.edge)?;
        Some((caller.call)(&upright))
    });
    let n_classes = pyramid.names.len();
    let grid =
        |step_um: f64| SectionGrid::new(&mask, pixel_um, step_um * scale_of(&begin), n_classes);
    let penalties = Penalties {
        roughness: 0.02,
        angle: 0.004,
        scale: known.map(|_| 0.002),
        shear: 0.0005,
    };
    let extent = pyramid.extent_um();
    let mut fits: Vec<Fitted> = begin.iter().map(|start| beginning(start, extent)).collect();
    let start = called.and_then(|plane| comparison.start_in(plane));
    fits.extend(start.map(|start| Fitted {
        called: true,
        ..beginning(&start, extent)
    }));

    let stages = stages(settings);
    let mut agreed = 0.0;
    let mut gaps = Vec::with_capacity(stages.len());
    for (i, stage) in stages.iter().enumerate() {
        let section = grid(stage.step_um);
        let mut next: Vec<Fitted> = fits
            .par_iter()
            .map(|fit| descend(pyramid, &section, penalties, *stage, fit))
            .collect();
        next.sort_by(|a, b| a.loss.total_cmp(&b.loss));
        if i == 0 {
            // The expected error was fitted without a called plane.
            let compared: Vec<Fitted> = next.iter().filter(|fit| !fit.called).cloned().collect();
            agreed = agreement(&compared);
        }
        next = apart(next);
        gaps.push(gap(&next));
        next.truncate(STARTS[(i + 1).min(STARTS.len() - 1)]);
        fits = next;
    }
    let section = grid(stages[stages.len() - 1].step_um);
    let best = &fits[0];
    let finest = &pyramid.levels[pyramid.levels.len() - 1];
    let dice = objective(finest, &section, penalties, &best.pose, best.side).dice(&best.pose);
    let transform =
        transform(best, [width, height], pixel_um, known.is_some()).ok_or(Refusal::NoStart)?;
    let mut quality = quality(pyramid, &mask, &fits, &dice, &transform);
    quality.signs = signs(&Evidence {
        settings,
        mask: &mask,
        starts: &begin,
        gaps: &gaps,
        agreement: agreed,
        best: &fits[0],
        transform: &transform,
        dice: &dice,
        areas: &areas(pyramid, &mask, &transform),
        mean_dice: quality.mean_dice,
        depth_spread_um: quality.depth_spread_um,
    });
    quality.expected_error = ErrorPredictor::built_in().expect(&quality.signs);
    Ok(Registration {
        called: called.map(|plane| CalledPlane {
            plane,
            won: best.called,
        }),
        side: best.side,
        transform,
        quality,
    })
}

/// Micrometres of the section, by its guessed pixel size, per micrometre of the atlas; 1 where the size is known.
fn scale_of(begin: &[Start]) -> f64 {
    1.0 / begin[0].affine.determinant().abs().sqrt()
}

fn beginning(start: &Start, extent: [f64; 3]) -> Fitted {
    Fitted {
        pose: Pose {
            plane: start.plane,
            affine: start.affine,
            velocity: VelocityField::zero(extent),
        },
        side: start.side,
        loss: f64::INFINITY,
        called: false,
    }
}

fn stages(settings: &RegisterSettings<'_>) -> Vec<Stage> {
    let plane = settings.plane == PlaneChoice::Fitted;
    let warp = settings.warp == WarpChoice::Warped;
    let stage = |level: usize, step_um: f64, steps: usize, warp: bool, rate: f64| Stage {
        level,
        step_um,
        steps,
        freedom: Freedom { plane, warp },
        rate,
    };
    vec![
        stage(0, 200.0, 50, false, 1.0),
        stage(0, 200.0, 60, warp, 0.7),
        stage(1, 100.0, 60, warp, 0.5),
        stage(2, 100.0, 50, warp, 0.3),
    ]
}

/// Removes fits that converged to the same place as a better one.
fn apart(fits: Vec<Fitted>) -> Vec<Fitted> {
    let mut kept: Vec<Fitted> = Vec::new();
    for fit in fits {
        let same = |other: &Fitted| {
            let turn =
                (turn_deg(&other.pose.affine) - turn_deg(&fit.pose.affine)).rem_euclid(360.0);
            other.side == fit.side
                && turn.min(360.0 - turn) < 5.0
                && (other.pose.plane.depth_um - fit.pose.plane.depth_um).abs() < 100.0
        };
        if !kept.iter().any(same) {
            kept.push(fit);
        }
    }
    kept
}

pub(crate) fn turn_deg(affine: &Affine) -> f64 {
    let [[a, b], [c, d]] = affine.matrix;
    (c - b).atan2(a + d).to_degrees()
}

/// The transform of a fit. Where the size of a pixel is not known, the fitted scale gives it.
fn transform(fit: &Fitted, image: [usize; 2], pixel_um: f64, given: bool) -> Option<Transform> {
    let mut affine = fit.pose.affine;
    let scale = match given {
        true => 1.0,
        false => affine.determinant().abs().sqrt(),
    };
    affine.matrix.iter_mut().flatten().for_each(|x| *x /= scale);
    Transform::new(Parameters {
        image,
        pixel_um: pixel_um * scale,
        pixel_size_given: given,
        plane: fit.pose.plane,
        affine,
        velocity: fit.pose.velocity.clone(),
        markers: Vec::new(),
    })
}

fn quality(
    pyramid: &ProbabilityPyramid,
    mask: &SectionMask,
    fits: &[Fitted],
    dice: &[f64],
    transform: &Transform,
) -> Quality {
    let best = &fits[0];
    let other_starts: Vec<OtherStart> = fits[1..]
        .iter()
        .map(|fit| {
            let turn = turn_deg(&fit.pose.affine) - turn_deg(&best.pose.affine);
            OtherStart {
                depth_difference_um: fit.pose.plane.depth_um - best.pose.plane.depth_um,
                turn_difference_deg: (turn + 180.0).rem_euclid(360.0) - 180.0,
                loss_difference: fit.loss - best.loss,
            }
        })
        .collect();
    let rivals = other_starts.iter().filter(|o| o.loss_difference < ALMOST);
    let depth_spread_um = rivals
        .map(|o| o.depth_difference_um.abs())
        .fold(0.0, f64::max);
    let areas = areas(pyramid, mask, transform);
    let shown = (1..dice.len()).filter(|&class| areas[class] > 0);
    let weight = |class: usize| (areas[class] as f64 / 2.0).sqrt();
    let weights: f64 = shown.clone().map(weight).sum();
    let sum: f64 = shown.clone().map(|class| weight(class) * dice[class]).sum();
    let name = |class: usize| (pyramid.names[class].clone(), dice[class]);
    Quality {
        mean_dice: if weights > 0.0 { sum / weights } else { 0.0 },
        dice: shown.map(name).collect(),
        loss: best.loss,
        smallest_jacobian: transform.smallest_jacobian(),
        inverse_consistency: transform.inverse_consistency(),
        other_starts,
        depth_spread_um,
        expected_error: None,
        signs: Signs::new(),
    }
}

/// Pixels of each class in the mask and, at the same places, in the atlas.
fn areas(pyramid: &ProbabilityPyramid, mask: &SectionMask, transform: &Transform) -> Vec<usize> {
    /// Every third pixel is compared, along each axis.
    const EVERY: usize = 3;
    let [width, height] = mask.size();
    let mut areas = vec![0; 256];
    for y in (0..height).step_by(EVERY) {
        for x in (0..width).step_by(EVERY) {
            let point = transform.to_atlas([x as f64 + 0.5, y as f64 + 0.5]);
            let there = pyramid.classes.at(point).unwrap_or(crate::BACKGROUND);
            areas[usize::from(mask.classes()[y * width + x])] += 1;
            areas[usize::from(there)] += 1;
        }
    }
    areas
}
