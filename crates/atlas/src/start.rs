//! Starts of a fit: the mask is compared with all coronal planes, at many rotations, as a whole section and as either half.

use crate::plane::Plane;
use crate::section::SectionMask;
use crate::transform::Affine;
use crate::warp::Pair;
use crate::{BACKGROUND, NO_CLASS, Volume};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// Cells along each side of the maps that are compared.
const CELLS: usize = 40;
/// Distance between planes that are compared, micrometres.
const PLANE_STEP_UM: f64 = 100.0;
/// Number of rotations that are tried.
const TURNS: usize = 24;
/// Planes with less tissue than this are no sections.
const LEAST_TISSUE_MM2: f64 = 1.5;
/// Share of the tissue on each side that does not decide the bounding box.
const BEYOND_BOX: f64 = 0.005;
/// How much a difference of proportions, or of sizes where they are known, counts against the mean Dice.
const BOX_PENALTY: f64 = 0.3;

/// Which part of a whole coronal section the image shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// Both halves.
    Both,
    /// The half where ML is below the middle.
    Low,
    /// The half where ML is above the middle.
    High,
}

impl Side {
    /// Whether a place of the plane, by its distance from the middle, is on this side.
    pub(crate) fn has(self, s_um: f64) -> bool {
        match self {
            Self::Both => true,
            Self::Low => s_um < 0.0,
            Self::High => s_um > 0.0,
        }
    }
}

/// A start of the fit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Start {
    pub side: Side,
    pub turn_deg: f64,
    pub plane: Plane,
    pub affine: Affine,
    /// Mean Dice less the penalties.
    pub score: f64,
}

/// What is known of the size of a pixel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum PixelSize {
    Known,
    Free,
}

/// Tissue within its bounding box, which is divided into cells.
#[derive(Debug, Clone)]
struct BoxMap {
    cells: Vec<u8>,
    middle: Pair,
    size: Pair,
}

/// A mask turned in all ways, to be compared with planes.
#[derive(Debug)]
pub(crate) struct Comparison<'a> {
    classes: &'a Volume<u8>,
    turned: Vec<(f64, BoxMap)>,
    pixel_size: PixelSize,
}

impl<'a> Comparison<'a> {
    /// * `pixel_um`: edge of the mask's pixels, or a guess
    pub(crate) fn new(
        mask: &SectionMask,
        pixel_um: f64,
        pixel_size: PixelSize,
        classes: &'a Volume<u8>,
    ) -> Self {
        let turned = (0..TURNS)
            .map(|i| i as f64 * 360.0 / TURNS as f64)
            .filter_map(|turn| Some((turn, turned(mask, pixel_um, turn)?)));
        Self {
            classes,
            turned: turned.collect(),
            pixel_size,
        }
    }

    /// The best starts in coronal planes, the best first; no two are alike.
    pub(crate) fn starts(&self, most: usize) -> Vec<Start> {
        let references = references(self.classes);
        let mut all: Vec<Start> = self
            .turned
            .par_iter()
            .flat_map_iter(|turned| references.iter().map(|shown| self.start(turned, shown)))
            .collect();
        all.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut chosen: Vec<Start> = Vec::new();
        for start in all {
            if chosen.len() == most {
                break;
            }
            if !chosen.iter().any(|c| alike(c, &start)) {
                chosen.push(start);
            }
        }
        chosen
    }

    /// The best start in one plane; none if it shows no tissue.
    pub(crate) fn start_in(&self, plane: Plane) -> Option<Start> {
        let shown = shown_by(self.classes, plane);
        let all = (self.turned.iter())
            .flat_map(|turned| shown.iter().map(|shown| self.start(turned, shown)));
        all.max_by(|a, b| a.score.total_cmp(&b.score))
    }

    fn start(&self, (turn, section): &(f64, BoxMap), shown: &Shown) -> Start {
        let reference = &shown.map;
        let ratio = [0, 1].map(|i| reference.size[i] / section.size[i]);
        let size = (ratio[0] * ratio[1]).sqrt();
        let stretched = (ratio[0] / ratio[1]).ln().abs();
        let resized = match self.pixel_size {
            PixelSize::Known => size.ln().abs(),
            PixelSize::Free => 0.0,
        };
        let score =
            mean_dice(&section.cells, &reference.cells) - BOX_PENALTY * (stretched + resized);
        let scale = match self.pixel_size {
            PixelSize::Known => 1.0,
            PixelSize::Free => size,
        };
        let shift = |i: usize| reference.middle[i] - scale * section.middle[i];
        Start {
            side: shown.side,
            turn_deg: *turn,
            plane: shown.plane,
            affine: Affine {
                shift_um: [shift(0), shift(1)],
                ..Affine::rotation(*turn, scale)
            },
            score,
        }
    }

    /// Classes of a square picture of the mask, turned as in a start. The tissue lies in the middle, with a margin around it. The picture of a
    /// hemisection has room for the missing half, which is background.
    ///
    /// * `mask`: that of [`new`](Self::new), or the same before its holes were left out
    /// * `pixel_um`: as there
    pub(crate) fn upright(
        &self,
        mask: &SectionMask,
        pixel_um: f64,
        start: &Start,
        edge: usize,
    ) -> Option<Vec<u8>> {
        /// Edge of the square, as a part of the tissue's longer side.
        const MARGIN: f64 = 1.15;
        let (_, shown) = self
            .turned
            .iter()
            .find(|(turn, _)| *turn == start.turn_deg)?;
        let [mut x, y] = shown.middle;
        let [mut width, height] = shown.size;
        match start.side {
            Side::Both => {}
            Side::Low => x += width / 2.0,
            Side::High => x -= width / 2.0,
        }
        if start.side != Side::Both {
            width *= 2.0;
        }
        let length = MARGIN * width.max(height);
        let at = places(mask, pixel_um, start.turn_deg)?;
        let place = |k: usize| ((k as f64 + 0.5) / edge as f64 - 0.5) * length;
        let class = |i: usize| at([x + place(i % edge), y + place(i / edge)]);
        Some((0..edge * edge).map(class).collect())
    }
}

fn alike(a: &Start, b: &Start) -> bool {
    let turn = (a.turn_deg - b.turn_deg).rem_euclid(360.0);
    a.side == b.side
        && turn.min(360.0 - turn) < 20.0
        && (a.plane.depth_um - b.plane.depth_um).abs() < 450.0
}

/// What a plane shows: all of it, or a half.
#[derive(Debug)]
struct Shown {
    side: Side,
    plane: Plane,
    map: BoxMap,
}

/// Every coronal plane that shows tissue, whole and as either half.
fn references(classes: &Volume<u8>) -> Vec<Shown> {
    let extent = classes.grid.extent_um();
    let planes: Vec<Plane> = (0..(extent[0] / PLANE_STEP_UM) as usize)
        .map(|i| Plane::coronal((i as f64 + 0.5) * PLANE_STEP_UM, extent))
        .collect();
    let of_plane = |plane: &Plane| shown_by(classes, *plane);
    planes.par_iter().flat_map_iter(of_plane).collect()
}

/// A plane whole and as either half, where these show tissue.
fn shown_by(classes: &Volume<u8>, plane: Plane) -> Vec<Shown> {
    let [_, dv, ml] = classes.grid.extent_um();
    let step = classes.grid.voxel_um.max(PLANE_STEP_UM / 2.0);
    let at = |[s, t]: Pair| classes.at(plane.point([s, t])).unwrap_or(BACKGROUND);
    let (columns, rows) = ((ml / step) as usize, (dv / step) as usize);
    let tissue: Vec<Pair> = (0..columns * rows)
        .map(|i| {
            let (column, row) = ((i % columns) as f64, (i / columns) as f64);
            [
                (column + 0.5) * step - ml / 2.0,
                (row + 0.5) * step - dv / 2.0,
            ]
        })
        .filter(|place| at(*place) != BACKGROUND)
        .collect();
    let of_side = |side: Side| {
        let half: Vec<Pair> = tissue.iter().copied().filter(|p| side.has(p[0])).collect();
        if half.len() as f64 * step * step < LEAST_TISSUE_MM2 * 1e6 {
            return None;
        }
        let on_side = |place: Pair| match side.has(place[0]) {
            true => at(place),
            false => BACKGROUND,
        };
        let map = BoxMap::new(&half, on_side)?;
        Some(Shown { side, plane, map })
    };
    let sides = [Side::Both, Side::Low, Side::High];
    sides.into_iter().filter_map(of_side).collect()
}

/// The mask turned by an angle.
fn turned(mask: &SectionMask, pixel_um: f64, turn_deg: f64) -> Option<BoxMap> {
    /// Number of tissue pixels that is enough to find the bounding box.
    const ENOUGH: usize = 20_000;
    let [width, height] = mask.size();
    let middle = [width as f64 / 2.0, height as f64 / 2.0];
    let turn = Affine::rotation(turn_deg, 1.0);
    let is_tissue = |class: u8| class != BACKGROUND && class != NO_CLASS;
    let every = (mask.classes().len() / ENOUGH).max(1);
    let tissue: Vec<Pair> = (0..mask.classes().len())
        // An odd step, since an even one would visit only every second column of an image of even width.
        .step_by(every | 1)
        .filter(|&at| is_tissue(mask.classes()[at]))
        .map(|at| {
            let x = (at % width) as f64 + 0.5 - middle[0];
            let y = (at / width) as f64 + 0.5 - middle[1];
            turn.apply([x * pixel_um, y * pixel_um])
        })
        .collect();
    BoxMap::new(&tissue, places(mask, pixel_um, turn_deg)?)
}

/// The class at places of the turned mask; background beyond it.
fn places(mask: &SectionMask, pixel_um: f64, turn_deg: f64) -> Option<impl Fn(Pair) -> u8> {
    let [width, height] = mask.size();
    let middle = [width as f64 / 2.0, height as f64 / 2.0];
    let back = Affine::rotation(turn_deg, 1.0).inverse()?;
    Some(move |place| {
        let [x, y] = back.apply(place);
        let (x, y) = (x / pixel_um + middle[0], y / pixel_um + middle[1]);
        match x >= 0.0 && y >= 0.0 && (x as usize) < width && (y as usize) < height {
            true => mask.classes()[y as usize * width + x as usize],
            false => BACKGROUND,
        }
    })
}

impl BoxMap {
    /// * `tissue`: where tissue is
    /// * `class_at`: the class of a place
    fn new(tissue: &[Pair], class_at: impl Fn(Pair) -> u8) -> Option<Self> {
        let range = |axis: usize| {
            let mut values: Vec<f64> = tissue.iter().map(|p| p[axis]).collect();
            if values.is_empty() {
                return None;
            }
            values.sort_by(f64::total_cmp);
            let beyond = (values.len() as f64 * BEYOND_BOX) as usize;
            Some((values[beyond], values[values.len() - 1 - beyond]))
        };
        let (x, y) = (range(0)?, range(1)?);
        let size = [(x.1 - x.0).max(1.0), (y.1 - y.0).max(1.0)];
        let cells = (0..CELLS * CELLS)
            .map(|i| {
                let part = |k: usize| (k as f64 + 0.5) / CELLS as f64;
                let place = [
                    x.0 + part(i % CELLS) * size[0],
                    y.0 + part(i / CELLS) * size[1],
                ];
                class_at(place)
            })
            .collect();
        Some(Self {
            cells,
            middle: [(x.0 + x.1) / 2.0, (y.0 + y.1) / 2.0],
            size,
        })
    }
}

/// Mean Dice over the tissue's classes, each weighted by the root of its area.
fn mean_dice(section: &[u8], reference: &[u8]) -> f64 {
    let (mut both, mut either) = ([0_u32; 256], [0_u32; 256]);
    for (&a, &b) in section.iter().zip(reference) {
        if a == NO_CLASS {
            continue;
        }
        either[usize::from(a)] += 1;
        either[usize::from(b)] += 1;
        both[usize::from(a)] += u32::from(a == b);
    }
    let (mut sum, mut weights) = (0.0, 0.0);
    for class in 1..usize::from(NO_CLASS) {
        if either[class] > 0 {
            let n = f64::from(either[class]);
            let weight = (n / 2.0).sqrt();
            sum += weight * 2.0 * f64::from(both[class]) / n;
            weights += weight;
        }
    }
    if weights > 0.0 { sum / weights } else { 0.0 }
}
