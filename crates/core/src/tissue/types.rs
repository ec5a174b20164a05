//! The cell types of the simulated cortex, and where each of them lives.

use super::section::{DEPTH_UM, Place, WIDTH_UM};
use super::stream::{Stream, uniform};

/// The class of a type. Types of one class express each other's markers weakly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Excitatory,
    Inhibitory,
    NonNeuronal,
}

/// Where a type lives.
#[derive(Debug, Clone, Copy)]
enum Habitat {
    /// A range of depths with soft edges. Outside it the abundance is `elsewhere` times that of the band.
    Band {
        top_um: f64,
        bottom_um: f64,
        elsewhere: f64,
    },
    /// A few small round niches whose centres lie between two depths.
    Niches { top_um: f64, bottom_um: f64 },
}

/// A cell type: name, class, highest abundance (relative to the other types at that place) and habitat.
#[derive(Debug, Clone, Copy)]
pub(super) struct CellType {
    pub(super) name: &'static str,
    pub(super) class: Class,
    abundance: f64,
    habitat: Habitat,
}

const fn band(
    name: &'static str,
    class: Class,
    abundance: f64,
    [top_um, bottom_um]: [f64; 2],
    elsewhere: f64,
) -> CellType {
    let habitat = Habitat::Band {
        top_um,
        bottom_um,
        elsewhere,
    };
    CellType {
        name,
        class,
        abundance,
        habitat,
    }
}

const fn niches(
    name: &'static str,
    class: Class,
    abundance: f64,
    [top_um, bottom_um]: [f64; 2],
) -> CellType {
    CellType {
        name,
        class,
        abundance,
        habitat: Habitat::Niches { top_um, bottom_um },
    }
}

use Class::{Excitatory, Inhibitory, NonNeuronal};

/// All types, in the order of all tables.
pub(super) const CELL_TYPES: [CellType; 22] = [
    band("L2/3 IT", Excitatory, 1.0, [100.0, 330.0], 0.0),
    band("L4/5 IT", Excitatory, 1.0, [320.0, 490.0], 0.0),
    band("L5 IT", Excitatory, 0.6, [480.0, 670.0], 0.0),
    band("L5 ET", Excitatory, 0.35, [520.0, 680.0], 0.0),
    band("L5/6 NP", Excitatory, 0.2, [580.0, 720.0], 0.0),
    band("L6 IT", Excitatory, 0.35, [670.0, 890.0], 0.0),
    band("L6 CT", Excitatory, 0.9, [680.0, 900.0], 0.0),
    band("L6b", Excitatory, 0.9, [898.0, 942.0], 0.0),
    band("Lamp5", Inhibitory, 0.15, [0.0, 250.0], 0.2),
    band("Vip", Inhibitory, 0.1, [110.0, 420.0], 0.2),
    band("Sst", Inhibitory, 0.12, [320.0, 880.0], 0.15),
    band("Pvalb", Inhibitory, 0.14, [300.0, 800.0], 0.15),
    band("Astro", NonNeuronal, 0.15, [0.0, 110.0], 0.6),
    band("Oligo", NonNeuronal, 1.2, [930.0, 1_100.0], 0.06),
    band("OPC", NonNeuronal, 0.06, [0.0, 1_000.0], 1.0),
    band("Micro", NonNeuronal, 0.08, [0.0, 1_000.0], 1.0),
    band("Endo", NonNeuronal, 0.09, [0.0, 1_000.0], 1.0),
    band("VLMC", NonNeuronal, 0.8, [-100.0, 25.0], 0.0),
    niches("CR", Excitatory, 0.8, [20.0, 80.0]),
    niches("Sst Chodl", Inhibitory, 1.5, [550.0, 850.0]),
    niches("Meis2", Inhibitory, 1.8, [880.0, 980.0]),
    niches("PVM", NonNeuronal, 1.5, [150.0, 650.0]),
];

/// Width of the logistic edges of a band, in µm.
const EDGE_UM: f64 = 8.0;
/// Number of niches per type, and the standard deviation of each (a round Gaussian), in µm.
const N_NICHES: usize = 4;
const NICHE_UM: f64 = 40.0;

impl CellType {
    /// The name without spaces and slashes, the first part of gene names.
    pub(super) fn stem(&self) -> String {
        self.name
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect()
    }

    /// Whether this type has gradient genes: it is a neuron that lives in a band.
    pub(super) fn has_gradient(&self) -> bool {
        self.class != NonNeuronal && matches!(self.habitat, Habitat::Band { .. })
    }

    /// Position within the band of the type: -1 at the top, 1 at the bottom, limited to ±1.5.
    pub(super) fn relative_depth(&self, depth_um: f64) -> f64 {
        let (Habitat::Band {
            top_um, bottom_um, ..
        }
        | Habitat::Niches { top_um, bottom_um }) = self.habitat;
        let (middle, half) = ((top_um + bottom_um) / 2.0, (bottom_um - top_um) / 2.0);
        ((depth_um - middle) / half).clamp(-1.5, 1.5)
    }
}

/// The places where the types of one tissue live: bands, and the niches that were drawn for it.
#[derive(Debug, Clone)]
pub(super) struct Ecology {
    /// Centres of the niches of each type; empty for types that live in bands.
    niches: Vec<Vec<Place>>,
}

impl Ecology {
    /// Draws the centres of the niches.
    pub(super) fn new(stream: &Stream) -> Self {
        let place_niches = |(t, cell_type): (usize, &CellType)| match cell_type.habitat {
            Habitat::Band { .. } => vec![],
            Habitat::Niches { top_um, bottom_um } => {
                let mut rng = stream.niches(t);
                let mut centre = |_| Place {
                    along_um: WIDTH_UM * uniform(&mut rng),
                    depth_um: top_um + (bottom_um - top_um) * uniform(&mut rng),
                };
                (0..N_NICHES).map(&mut centre).collect()
            }
        };
        Self {
            niches: CELL_TYPES.iter().enumerate().map(place_niches).collect(),
        }
    }

    /// Relative abundance of every type at a place.
    ///
    /// * Band: `a (e + (1 - e) s((z - top)/w) s((bottom - z)/w))`, with depth z, edge width w and the logistic function s
    /// * Niches: `a Σ_n exp(-r_n² / 2σ²)`, with the distance r_n to niche n
    fn abundances(&self, at: Place) -> [f64; CELL_TYPES.len()] {
        debug_assert!((0.0..=DEPTH_UM).contains(&at.depth_um));
        std::array::from_fn(|t| {
            let CellType {
                abundance, habitat, ..
            } = CELL_TYPES[t];
            abundance
                * match habitat {
                    Habitat::Band { elsewhere: 1.0, .. } => 1.0,
                    Habitat::Band {
                        top_um,
                        bottom_um,
                        elsewhere,
                    } => {
                        let inside = logistic((at.depth_um - top_um) / EDGE_UM)
                            * logistic((bottom_um - at.depth_um) / EDGE_UM);
                        elsewhere + (1.0 - elsewhere) * inside
                    }
                    Habitat::Niches { .. } => self.niches[t]
                        .iter()
                        .map(|centre| (-at.squared_um(centre) / (2.0 * NICHE_UM * NICHE_UM)).exp())
                        .sum(),
                }
        })
    }

    /// Draws the type of a cell at a place, in proportion to the abundances, from a uniform number.
    pub(super) fn pick(&self, at: Place, uniform: f64) -> usize {
        let abundances = self.abundances(at);
        let mut rest = uniform * abundances.iter().sum::<f64>();
        for (t, a) in abundances.iter().enumerate() {
            rest -= a;
            if rest < 0.0 {
                return t;
            }
        }
        // Rounding can leave a rest above the last sum; it goes to a type that lives everywhere.
        CELL_TYPES
            .iter()
            .position(|t| t.name == "Micro")
            .expect("Micro is in the list")
    }
}

fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}
