//! Synthetic brains and sections whose place is known: for tests, demonstrations and the ladder of difficulty.

use crate::damage::{Damage, Smooth, normal};
use crate::plane::Plane;
pub use crate::rungs::{Rung, ToldSize};
use crate::start::Side;
use crate::transform::Affine;
use crate::warp::Pair;
use crate::{
    BACKGROUND, Class, ClassRule, Grid, NO_CLASS, SectionMask, Structure, StructureTree, Volume,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Regions of the synthetic brain: acronym, name, class.
const REGIONS: [(&str, &str, u8); 8] = [
    ("CTX", "cortex", 1),
    ("wm", "white matter", 2),
    ("HPF", "hippocampus", 3),
    ("STR", "striatum", 4),
    ("TH", "thalamus", 5),
    ("BS", "brain stem", 6),
    ("CB", "cerebellum", 7),
    ("HY", "hypothalamus", 8),
];

/// A brain made of ellipsoids, of about a mouse's size and symmetric.
#[derive(Debug)]
pub struct Brain {
    /// The structures; row 0 is the root.
    pub tree: StructureTree,
    /// A class for each region.
    pub rule: ClassRule,
    /// Rows of the tree plus one.
    pub labels: Volume<u16>,
    /// Classes.
    pub classes: Volume<u8>,
    /// Names of the classes, background first.
    pub names: Vec<String>,
}

/// Makes the synthetic brain.
#[must_use]
pub fn brain(voxel_um: f64) -> Brain {
    let extent = [12_000.0, 7600.0, 10_400.0];
    let shape = extent.map(|length: f64| (length / voxel_um).round() as usize);
    let grid = Grid { shape, voxel_um };
    let mut labels = Vec::with_capacity(grid.n_voxels());
    for ap in 0..shape[0] {
        for dv in 0..shape[1] {
            for ml in 0..shape[2] {
                let at = [ap, dv, ml].map(|k| (k as f64 + 0.5) * voxel_um);
                // From −1 to 1 along each axis; the last from the middle outwards.
                let x = at[0] / extent[0] * 2.0 - 1.0;
                let y = at[1] / extent[1] * 2.0 - 1.0;
                let z = (at[2] / extent[2] * 2.0 - 1.0).abs();
                labels.push(region(x, y, z).map_or(0, |region| region + 2));
            }
        }
    }
    let labels = Volume::new(grid, labels);
    let root = Structure {
        id: 997,
        acronym: "root".to_owned(),
        name: "brain".to_owned(),
        rgb: [255; 3],
        parent: None,
    };
    let of_region = |(i, (acronym, name, _)): (usize, &(&str, &str, u8))| Structure {
        id: 100 + i as u32,
        acronym: (*acronym).to_owned(),
        name: (*name).to_owned(),
        rgb: [
            40 + 25 * i as u8,
            220 - 20 * i as u8,
            60 + (90 * i % 190) as u8,
        ],
        parent: Some(0),
    };
    let structures = std::iter::once(root).chain(REGIONS.iter().enumerate().map(of_region));
    let rule = ClassRule {
        name: "synthetic".to_owned(),
        background: Vec::new(),
        classes: REGIONS
            .iter()
            .map(|(acronym, name, _)| Class {
                name: (*name).to_owned(),
                structures: vec![(*acronym).to_owned()],
            })
            .collect(),
    };
    Brain {
        tree: StructureTree::new(structures.collect()).expect("a valid tree"),
        classes: labels.map(|label| label.saturating_sub(1) as u8),
        names: rule.names(),
        rule,
        labels,
    }
}

/// Index of the region at a place, by normalised coordinates.
fn region(x: f64, y: f64, z: f64) -> Option<u16> {
    let ball = |cx: f64, cy: f64, cz: f64, rx: f64, ry: f64, rz: f64| {
        ((x - cx) / rx).powi(2) + ((y - cy) / ry).powi(2) + ((z - cz) / rz).powi(2)
    };
    let cerebellum = ball(0.68, -0.25, 0.0, 0.25, 0.5, 0.75);
    let cerebrum = ball(-0.1, 0.0, 0.0, 0.8, 0.9, 0.95);
    let stem = ball(0.55, 0.3, 0.0, 0.4, 0.4, 0.45);
    let region = match () {
        () if cerebellum < 1.0 => 6,
        () if cerebrum < 1.0 => match () {
            () if ball(0.2, -0.25, 0.4, 0.28, 0.22, 0.32) < 1.0 => 2,
            () if ball(-0.35, 0.1, 0.4, 0.3, 0.35, 0.25) < 1.0 => 3,
            () if ball(0.1, 0.1, 0.0, 0.25, 0.3, 0.35) < 1.0 => 4,
            () if ball(0.0, 0.6, 0.0, 0.35, 0.25, 0.3) < 1.0 => 7,
            () if (0.55..0.65).contains(&cerebrum) => 1,
            () if ball(0.45, 0.2, 0.0, 0.3, 0.45, 0.4) < 1.0 => 5,
            () => 0,
        },
        () if stem < 1.0 => 5,
        () => return None,
    };
    Some(region)
}

/// A section whose place is known.
#[derive(Debug, Clone)]
pub struct SyntheticSection {
    /// What would be registered.
    pub mask: SectionMask,
    /// Edge of a pixel.
    pub pixel_um: f64,
    /// Edge of a pixel that the registration is given, which may be wrong; `None`: the registration finds the scale itself.
    pub told_um: Option<f64>,
    /// The plane it was cut in.
    pub plane: Plane,
    /// Which part is there.
    pub side: Side,
    /// Atlas position of every pixel's middle.
    pub points: Vec<[f64; 3]>,
}

/// Cuts a section at a plane, with nothing else done to it.
///
/// # Returns
/// `None` if the plane shows too little tissue, or one class only.
#[must_use]
pub fn section_at(classes: &Volume<u8>, plane: Plane, pixel_um: f64) -> Option<SyntheticSection> {
    let extent = classes.grid.extent_um();
    let [width, height] = [extent[2], extent[1]].map(|length| (length / pixel_um).ceil() as usize);
    let place = |i: usize| {
        let middle = |at: usize, n: usize| (at as f64 + 0.5 - n as f64 / 2.0) * pixel_um;
        plane.point([middle(i % width, width), middle(i / width, height)])
    };
    let points: Vec<[f64; 3]> = (0..width * height).map(place).collect();
    let class = |point: &[f64; 3]| match classes.at(*point) {
        None | Some(NO_CLASS) => BACKGROUND,
        Some(class) => class,
    };
    let mask = points.iter().map(class).collect();
    Some(SyntheticSection {
        mask: SectionMask::new(width, height, mask).ok()?,
        pixel_um,
        told_um: Some(pixel_um),
        plane,
        side: Side::Both,
        points,
    })
}

/// Cuts a section at random; the same seed gives the same section.
///
/// # Panics
/// If the volume has no section with tissue of several classes.
#[must_use]
pub fn section(classes: &Volume<u8>, rung: &Rung, seed: u64) -> SyntheticSection {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    // A plane at the end of the brain may have too little tissue: draw again.
    (0..100)
        .find_map(|_| draw(classes, rung, &mut rng))
        .expect("the volume has sections")
}

fn draw(classes: &Volume<u8>, rung: &Rung, rng: &mut ChaCha8Rng) -> Option<SyntheticSection> {
    const PIXEL_UM: f64 = 50.0;
    let extent = classes.grid.extent_um();
    let within = |rng: &mut ChaCha8Rng, most: f64| match most > 0.0 {
        true => rng.random_range(-most..most),
        false => 0.0,
    };
    let plane = Plane {
        pitch_deg: within(rng, rung.tilt_deg),
        yaw_deg: within(rng, rung.tilt_deg),
        ..Plane::coronal(extent[0] * rung.depth(rng), extent)
    };
    let class_at = |place: Pair| classes.at(plane.point(place)).unwrap_or(BACKGROUND);
    let side = match (rung.hemisection, rng.random_bool(0.5)) {
        (false, _) => Side::Both,
        (true, true) => Side::Low,
        (true, false) => Side::High,
    };
    // The half that is missing is cut a little beyond the middle.
    let is_there = |s: f64, margin: f64| match side {
        Side::Both => true,
        Side::Low => s < 150.0 + margin,
        Side::High => s > -150.0 - margin,
    };
    let tissue: Vec<Pair> = footprint(extent)
        .filter(|place| is_there(place[0], 0.0) && class_at(*place) != BACKGROUND)
        .collect();
    if tissue.len() < 60 {
        return None;
    }
    let range = |axis: usize| {
        let values = tissue.iter().map(|p| p[axis]);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(l, h), v| (l.min(v), h.max(v)));
        ((low + high) / 2.0, high - low)
    };
    let ((cx, wide), (cy, high)) = (range(0), range(1));
    let edge = wide.max(high).max(1500.0) * rng.random_range(1.0..1.35);
    let n = (edge / PIXEL_UM).ceil() as usize;
    let middle = [cx + within(rng, 0.05) * edge, cy + within(rng, 0.05) * edge];
    let turn = Affine::rotation(within(rng, rung.turn_deg), 1.0);
    let stretch = 1.0 + within(rng, rung.stretch);
    let warp = [
        Smooth::draw(rng, rung.warp_um),
        Smooth::draw(rng, rung.warp_um),
    ];
    let tear = Smooth::draw(rng, 120.0);
    let place = |x: f64, y: f64| {
        let part = [x / n as f64, y / n as f64];
        let [a, b] = turn.apply([(part[0] - 0.5) * edge, (part[1] - 0.5) * edge]);
        let s = a * stretch + middle[0] + warp[0].at(part);
        let t = b / stretch + middle[1] + warp[1].at(part);
        ([s, t], part)
    };
    let damage = rung
        .damage
        .then(|| Damage::draw(rng, rung, &tissue, edge, classes));
    let (mut mask, mut points) = (Vec::with_capacity(n * n), Vec::with_capacity(n * n));
    for i in 0..n * n {
        let (x, y) = ((i % n) as f64 + 0.5, (i / n) as f64 + 0.5);
        let (at, part) = place(x, y);
        points.push(plane.point(at));
        let jitter = damage.as_ref().map_or([0.0; 2], |d| {
            [normal(rng) * d.jagged, normal(rng) * d.jagged]
        });
        let (seen, _) = place(x + jitter[0], y + jitter[1]);
        let mut class = match is_there(at[0], tear.at(part)) {
            true => class_at(seen),
            false => BACKGROUND,
        };
        if let Some(damage) = &damage {
            class = damage.of(class, at, [x * PIXEL_UM, y * PIXEL_UM]);
        }
        // A user cannot mark tissue that no class claims.
        mask.push(if class == NO_CLASS { BACKGROUND } else { class });
    }
    rung.spoil(rng, n, &mut mask);
    let pixel_um = edge / n as f64;
    Some(SyntheticSection {
        mask: SectionMask::new(n, n, mask).ok()?,
        pixel_um,
        told_um: rung.told(rng, pixel_um),
        plane,
        side,
        points,
    })
}

/// Places all over the plane, 160 µm apart.
fn footprint(extent: [f64; 3]) -> impl Iterator<Item = Pair> {
    const STEP: f64 = 160.0;
    let along = |length: f64| {
        let n = (length / STEP) as usize;
        (0..n).map(move |i| (i as f64 + 0.5) * STEP - length / 2.0)
    };
    let (dv, ml) = (extent[1], extent[2]);
    along(dv).flat_map(move |t| along(ml).map(move |s| [s, t]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brain_is_symmetric_and_has_all_its_regions() {
        let brain = brain(200.0);
        let [_, _, mls] = brain.labels.grid.shape;
        for row in brain.labels.values.chunks_exact(mls) {
            assert!(row.iter().eq(row.iter().rev()));
        }
        for label in 2..=9 {
            let n = brain.labels.values.iter().filter(|l| **l == label).count();
            assert!(n > 100, "label {label}: {n} voxels");
        }
        let class_of = brain.rule.of_structures(&brain.tree).unwrap();
        let expected = brain.labels.map(|l| {
            if l == 0 {
                0
            } else {
                class_of[usize::from(l) - 1]
            }
        });
        assert_eq!(brain.classes, expected);
    }

    #[test]
    fn a_section_shows_what_lies_at_its_points() {
        let brain = brain(100.0);
        let plain = section(&brain.classes, &Rung::LADDER[1].1, 7);
        let seen = plain
            .points
            .iter()
            .map(|p| brain.classes.at(*p).unwrap_or(BACKGROUND));
        assert!(seen.eq(plain.mask.classes().iter().copied()));
        let again = section(&brain.classes, &Rung::LADDER[1].1, 7);
        assert_eq!(again.points, plain.points);
        let half = section(&brain.classes, &Rung::LADDER[3].1, 7);
        assert_ne!(half.side, Side::Both);
    }
}
