//! The geometry of the section: layers, places of voxels and spots, and the search for the nearest of them.

/// Length of the section along the cortical surface, in µm.
pub(super) const WIDTH_UM: f64 = 2_600.0;
/// Depth of the section, from the surface of the brain into the white matter, in µm.
pub(super) const DEPTH_UM: f64 = 1_000.0;

/// Layers from the surface down, each with the depth of its lower boundary in µm.
pub(super) const LAYERS: [(&str, f64); 7] = [
    ("L1", 100.0),
    ("L2/3", 330.0),
    ("L4", 460.0),
    ("L5", 680.0),
    ("L6", 900.0),
    ("L6b", 940.0),
    ("WM", DEPTH_UM),
];

/// The section is rotated on the slide by this angle, so that depth is not one of the coordinates.
const TILT_DEGREES: f64 = 12.0;
/// Maximum displacement of a voxel from its regular place, as a fraction of the distance between voxels.
const VOXEL_JITTER: f64 = 0.35;
/// Diameter of a spot as a fraction of the distance between spots: 55 µm of 100 µm on a Visium slide.
const SPOT_DIAMETER: f64 = 0.55;

/// A place in the tissue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Distance along the surface, 0 to [`WIDTH_UM`].
    pub(super) along_um: f64,
    /// Depth below the surface, 0 to [`DEPTH_UM`].
    pub(super) depth_um: f64,
}

impl Place {
    /// A uniform place in the section, from two uniform numbers.
    pub(super) fn anywhere([u, v]: [f64; 2]) -> Self {
        Self {
            along_um: WIDTH_UM * u,
            depth_um: DEPTH_UM * v,
        }
    }

    /// Squared distance to another place, in µm².
    pub(super) fn squared_um(&self, other: &Self) -> f64 {
        (self.along_um - other.along_um).powi(2) + (self.depth_um - other.depth_um).powi(2)
    }

    /// Coordinates on the slide in µm, x to the right and y down; the section is rotated by [`TILT_DEGREES`].
    pub(super) fn on_slide_um(&self) -> [f64; 2] {
        let (sin, cos) = TILT_DEGREES.to_radians().sin_cos();
        [
            self.along_um * cos + (DEPTH_UM - self.depth_um) * sin,
            self.along_um * sin + self.depth_um * cos,
        ]
    }

    /// Index into [`LAYERS`].
    pub(super) fn layer(&self) -> usize {
        let below = LAYERS
            .iter()
            .take_while(|(_, bottom_um)| self.depth_um >= *bottom_um)
            .count();
        below.min(LAYERS.len() - 1)
    }
}

/// Voxels at cell resolution: in rows with about the same number of voxels, each displaced at random.
#[derive(Debug, Clone, Copy)]
pub(super) struct VoxelRows {
    n_voxels: usize,
    n_rows: usize,
}

impl VoxelRows {
    pub(super) fn new(n_voxels: usize) -> Self {
        let n_rows = (n_voxels as f64 * DEPTH_UM / WIDTH_UM).sqrt().round() as usize;
        Self {
            n_voxels,
            n_rows: n_rows.clamp(1, n_voxels),
        }
    }

    /// The place of a voxel, from two uniform numbers.
    pub(super) fn place(&self, voxel: usize, [u, v]: [f64; 2]) -> Place {
        // Row r begins with voxel ⌊r n / rows⌋, so the lengths of rows differ by at most one.
        let first = |row: usize| row * self.n_voxels / self.n_rows;
        let row = ((voxel + 1) * self.n_rows - 1) / self.n_voxels;
        let (slot, n_slots) = (voxel - first(row), first(row + 1) - first(row));
        let moved = |u: f64| 0.5 + VOXEL_JITTER * (2.0 * u - 1.0);
        Place {
            along_um: WIDTH_UM * (slot as f64 + moved(u)) / n_slots as f64,
            depth_um: DEPTH_UM * (row as f64 + moved(v)) / self.n_rows as f64,
        }
    }
}

/// Spots on a regular hexagonal grid over the full depth, numbered down each column.
#[derive(Debug, Clone, Copy)]
pub(super) struct SpotGrid {
    n_rows: usize,
    margin_um: f64,
    /// Distance between neighbouring spots, in µm.
    pub(super) pitch_um: f64,
}

impl SpotGrid {
    /// The grid with the fewest rows on which all spots lie within the section.
    pub(super) fn new(n_spots: usize) -> Self {
        let fit = |n_rows: usize| {
            let pitch_um = DEPTH_UM / n_rows as f64 * 2.0 / 3f64.sqrt();
            let needed_um = (n_spots.div_ceil(n_rows) as f64 + 0.5) * pitch_um;
            (needed_um <= WIDTH_UM).then(|| Self {
                n_rows,
                margin_um: (WIDTH_UM - needed_um) / 2.0,
                pitch_um,
            })
        };
        // With as many rows as spots there is one column, which always fits.
        (1..=n_spots)
            .find_map(fit)
            .expect("one column of spots fits")
    }

    /// The centre of a spot.
    pub(super) fn place(&self, spot: usize) -> Place {
        let (column, row) = (spot / self.n_rows, spot % self.n_rows);
        let shift = if row % 2 == 0 { 0.5 } else { 1.0 };
        Place {
            along_um: self.margin_um + (column as f64 + shift) * self.pitch_um,
            depth_um: DEPTH_UM * (row as f64 + 0.5) / self.n_rows as f64,
        }
    }

    /// Diameter of a spot.
    pub(super) fn diameter_um(&self) -> f64 {
        SPOT_DIAMETER * self.pitch_um
    }

    /// A uniform place under a spot, from two uniform numbers.
    pub(super) fn within(&self, centre: Place, [u, v]: [f64; 2]) -> Place {
        let radius_um = SPOT_DIAMETER / 2.0 * self.pitch_um * u.sqrt();
        let (sin, cos) = (v * std::f64::consts::TAU).sin_cos();
        Place {
            along_um: centre.along_um + radius_um * cos,
            depth_um: centre.depth_um + radius_um * sin,
        }
    }
}

/// Finds the nearest of many places, by a grid of square boxes of about one place each that is searched in growing rings.
#[derive(Debug, Clone)]
pub(super) struct Nearest {
    places: Vec<Place>,
    box_um: f64,
    n_along: usize,
    n_deep: usize,
    /// Box b holds `members[starts[b]..starts[b + 1]]`.
    starts: Vec<usize>,
    members: Vec<usize>,
}

impl Nearest {
    pub(super) fn new(places: Vec<Place>) -> Self {
        let box_um = (WIDTH_UM * DEPTH_UM / places.len() as f64).sqrt();
        let n_boxes = |length_um: f64| (length_um / box_um).ceil() as usize;
        let (n_along, n_deep) = (n_boxes(WIDTH_UM), n_boxes(DEPTH_UM));
        let mut out = Self {
            places,
            box_um,
            n_along,
            n_deep,
            starts: vec![],
            members: vec![],
        };
        let boxes: Vec<usize> = out
            .places
            .iter()
            .map(|place| {
                let [along, deep] = out.box_of(place);
                deep * n_along + along
            })
            .collect();
        out.starts = vec![0; n_along * n_deep + 1];
        for b in &boxes {
            out.starts[b + 1] += 1;
        }
        for b in 0..n_along * n_deep {
            out.starts[b + 1] += out.starts[b];
        }
        let mut next = out.starts.clone();
        out.members = vec![0; boxes.len()];
        for (i, b) in boxes.iter().enumerate() {
            out.members[next[*b]] = i;
            next[*b] += 1;
        }
        out
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    fn box_of(&self, place: &Place) -> [usize; 2] {
        let of = |um: f64, n: usize| ((um / self.box_um) as usize).min(n - 1);
        [
            of(place.along_um, self.n_along),
            of(place.depth_um, self.n_deep),
        ]
    }

    /// Index of the place nearest to `to`; of several equally near, the first.
    pub(super) fn find(&self, to: &Place) -> usize {
        let [along, deep] = self.box_of(to);
        let mut best = (f64::INFINITY, usize::MAX);
        for ring in 0..self.n_along.max(self.n_deep) {
            for d in deep.saturating_sub(ring)..=(deep + ring).min(self.n_deep - 1) {
                for a in along.saturating_sub(ring)..=(along + ring).min(self.n_along - 1) {
                    if a.abs_diff(along).max(d.abs_diff(deep)) != ring {
                        continue;
                    }
                    let b = d * self.n_along + a;
                    for &i in &self.members[self.starts[b]..self.starts[b + 1]] {
                        let found = (self.places[i].squared_um(to), i);
                        if found < best {
                            best = found;
                        }
                    }
                }
            }
            // Every place in the next ring is at least this far away.
            if best.0 < (ring as f64 * self.box_um).powi(2) {
                break;
            }
        }
        best.1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evenly scattered places without random numbers, by additive recurrences.
    fn scattered(n: usize) -> Vec<Place> {
        let part = |i: usize, step: f64| (i as f64 * step).fract();
        (1..=n)
            .map(|i| Place::anywhere([part(i, 0.754_877_67), part(i, 0.569_840_29)]))
            .collect()
    }

    #[test]
    fn nearest_agrees_with_looking_at_all() {
        for n in [1, 2, 7, 100, 700] {
            let voxels = VoxelRows::new(n);
            let spots = SpotGrid::new(n);
            for places in [
                (0..n)
                    .map(|i| voxels.place(i, [i as f64 * 0.37 % 1.0, 0.9]))
                    .collect::<Vec<_>>(),
                (0..n).map(|i| spots.place(i)).collect(),
                // All places at one end, so that most boxes are empty.
                scattered(n)
                    .iter()
                    .map(|p| Place {
                        along_um: p.along_um / 9.0,
                        ..*p
                    })
                    .collect(),
            ] {
                let index = Nearest::new(places.clone());
                for to in scattered(500) {
                    let by_hand = (0..n)
                        .min_by(|&a, &b| {
                            places[a]
                                .squared_um(&to)
                                .total_cmp(&places[b].squared_um(&to))
                        })
                        .unwrap();
                    assert_eq!(index.find(&to), by_hand, "of {n} places, to {to:?}");
                }
            }
        }
    }

    #[test]
    fn spots_form_a_hexagonal_grid_inside_the_section() {
        for n in [1, 5, 300, 1_001] {
            let grid = SpotGrid::new(n);
            let places: Vec<_> = (0..n).map(|i| grid.place(i)).collect();
            for (i, a) in places.iter().enumerate() {
                let edge = grid.within(*a, [1.0, i as f64 / n as f64]);
                assert!((0.0..=WIDTH_UM).contains(&edge.along_um), "{n}: {edge:?}");
                assert!((0.0..=DEPTH_UM).contains(&edge.depth_um), "{n}: {edge:?}");
                let near = |b: &&Place| a.squared_um(b).sqrt() < 1.01 * grid.pitch_um;
                assert!(
                    places.iter().filter(near).count() <= 7,
                    "six neighbours and itself"
                );
                let least = places
                    .iter()
                    .filter(|b| *b != a)
                    .map(|b| a.squared_um(b).sqrt());
                assert!(least.fold(f64::INFINITY, f64::min) > 0.999 * grid.pitch_um);
            }
        }
        let inner = Nearest::new((0..300).map(|i| SpotGrid::new(300).place(i)).collect());
        let grid = SpotGrid::new(300);
        let centre = inner.places()[inner.find(&Place::anywhere([0.5, 0.5]))];
        let near = |b: &&Place| centre.squared_um(b).sqrt() < 1.01 * grid.pitch_um;
        assert_eq!(inner.places().iter().filter(near).count(), 7);
    }

    #[test]
    fn voxels_cover_the_section_evenly() {
        let (n, half) = (1_500, [0.5, 0.5]);
        let voxels = VoxelRows::new(n);
        let places: Vec<_> = (0..n).map(|i| voxels.place(i, half)).collect();
        let upper = places
            .iter()
            .filter(|p| p.depth_um < DEPTH_UM / 2.0)
            .count();
        let left = places
            .iter()
            .filter(|p| p.along_um < WIDTH_UM / 2.0)
            .count();
        assert!(upper.abs_diff(n / 2) < n / 50 && left.abs_diff(n / 2) < n / 50);
        assert!(places.windows(2).all(|w| w[0] != w[1]));
    }

    #[test]
    fn the_slide_keeps_distances() {
        let (a, b) = (Place::anywhere([0.1, 0.9]), Place::anywhere([0.8, 0.2]));
        let ([x, y], [v, w]) = (a.on_slide_um(), b.on_slide_um());
        assert!(((x - v).powi(2) + (y - w).powi(2) - a.squared_um(&b)).abs() < 1e-6);
    }
}
