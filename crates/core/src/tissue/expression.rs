//! The genes of a simulated tissue, their mean expression in each type, and the counts drawn from it.

use super::section::Place;
use super::stream::{Stream, normal, uniform};
use super::types::{CELL_TYPES, Ecology};
use rand_chacha::ChaCha8Rng;

/// The role of a gene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// High in one type (index into [`CELL_TYPES`]).
    Marker(usize),
    /// Expressed in one type (index into [`CELL_TYPES`]), increasing or decreasing with depth within it.
    Gradient(usize),
    /// Expressed in every type, at slightly different levels.
    Background,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Marker(_) => "marker",
            Self::Gradient(_) => "gradient",
            Self::Background => "background",
        }
    }

    /// The type of a marker or gradient gene.
    pub(super) fn owner(self) -> Option<usize> {
        match self {
            Self::Marker(owner) | Self::Gradient(owner) => Some(owner),
            Self::Background => None,
        }
    }
}

/// A gene: name, role, and whether it is in the panel of the voxels.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Gene {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) in_panel: bool,
}

/// Shares of markers and of gradient genes in the panel; the other genes are background.
const PANEL_SHARES: [f64; 2] = [0.45, 0.25];
/// The same for genes outside the panel.
const OTHER_SHARES: [f64; 2] = [0.25, 0.1];
/// Maximum number of markers and of gradient genes per type; applies to the panel and to the other genes separately.
const MOST_PER_TYPE: [usize; 2] = [40, 20];

/// The genes, sorted by name. Every type has at least one marker in the panel.
pub(super) fn genes(n_genes: usize, n_panel_genes: usize) -> Vec<Gene> {
    let n_graded = CELL_TYPES.iter().filter(|t| t.has_gradient()).count();
    let per_type = |n: usize, shares: [f64; 2]| {
        let share = |i: usize, n_types: usize| (n as f64 * shares[i]) as usize / n_types;
        [
            share(0, CELL_TYPES.len()).min(MOST_PER_TYPE[0]),
            share(1, n_graded).min(MOST_PER_TYPE[1]),
        ]
    };
    let mut panel = per_type(n_panel_genes, PANEL_SHARES);
    panel[0] = panel[0].max(1);
    let others = per_type(n_genes - n_panel_genes, OTHER_SHARES);

    let mut out = Vec::with_capacity(n_genes);
    for (t, cell_type) in CELL_TYPES.iter().enumerate() {
        let stem = cell_type.stem();
        let gradients = if cell_type.has_gradient() {
            panel[1] + others[1]
        } else {
            0
        };
        for (letter, kind, n, n_in_panel) in [
            ('m', Kind::Marker(t), panel[0] + others[0], panel[0]),
            ('g', Kind::Gradient(t), gradients, panel[1]),
        ] {
            out.extend((0..n).map(|i| Gene {
                name: format!("{stem}_{letter}{:02}", i + 1),
                kind,
                in_panel: i < n_in_panel,
            }));
        }
    }
    let mut places_left = n_panel_genes - out.iter().filter(|g| g.in_panel).count();
    for i in 1..=n_genes - out.len() {
        let in_panel = places_left > 0;
        places_left -= usize::from(in_panel);
        out.push(Gene {
            name: format!("bg{i:06}"),
            kind: Kind::Background,
            in_panel,
        });
    }
    out.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    out
}

/// A cell before it is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Specimen {
    pub(super) place: Place,
    pub(super) cell_type: usize,
    /// Factor of all its counts; lognormal with mean 1.
    pub(super) library_factor: f64,
}

/// Standard deviation of the logarithm of the library factor.
const LIBRARY_SPREAD: f64 = 0.35;

impl Specimen {
    /// Draws the cell at a place.
    pub(super) fn at(place: Place, ecology: &Ecology, rng: &mut ChaCha8Rng) -> Self {
        let cell_type = ecology.pick(place, uniform(rng));
        let library_factor =
            (LIBRARY_SPREAD * normal(rng) - LIBRARY_SPREAD * LIBRARY_SPREAD / 2.0).exp();
        Self {
            place,
            cell_type,
            library_factor,
        }
    }
}

/// Inverse dispersion r of the negative binomial: variance = mean + mean² / r.
const SIZE: f64 = 2.0;
/// Dropout probability in sequencing as the mean goes to 0.
const DROPOUT: f64 = 0.3;

/// Mean counts of genes in each type, as measured by one technology.
#[derive(Debug, Clone)]
pub(super) struct Profiles {
    n_genes: usize,
    /// (types, genes), in row order.
    means: Vec<f64>,
    /// For each type: its gradient genes, and the change of their log mean from the middle to the edge of the band.
    slopes: Vec<Vec<(usize, f64)>>,
    /// Dropout probability as the mean goes to 0.
    dropout: f64,
}

impl Profiles {
    /// The profiles of sequencing, for all genes, before [`set_density`](Self::set_density).
    ///
    /// The mean of gene g in type t is `exp(b_g + m_tg)`:
    ///
    /// * background: b ~ N(0, 1), m ~ N(0, 0.4²)
    /// * markers: b ~ N(-2, 0.5²), m ~ N(4.2, 0.4²) in their own type, U(0, 0.8) in other types of its class, 0 elsewhere
    /// * gradient genes: b ~ N(-1.5, 0.4²), m = 2.8 in their own type, 0 elsewhere; slope ±U(1, 1.5)
    pub(super) fn sequenced(genes: &[Gene], stream: &Stream) -> Self {
        let mut means = vec![0.0; CELL_TYPES.len() * genes.len()];
        let mut slopes = vec![vec![]; CELL_TYPES.len()];
        for (g, gene) in genes.iter().enumerate() {
            let mut rng = stream.gene(g);
            let (level, spread) = match gene.kind {
                Kind::Background => (0.0, 1.0),
                Kind::Marker(_) => (-2.0, 0.5),
                Kind::Gradient(_) => (-1.5, 0.4),
            };
            let base = level + spread * normal(&mut rng);
            for (t, cell_type) in CELL_TYPES.iter().enumerate() {
                let own = gene.kind.owner() == Some(t);
                let kin = gene
                    .kind
                    .owner()
                    .is_some_and(|o| CELL_TYPES[o].class == cell_type.class);
                let change = match gene.kind {
                    Kind::Background => 0.4 * normal(&mut rng),
                    Kind::Marker(_) if own => 4.2 + 0.4 * normal(&mut rng),
                    Kind::Marker(_) if kin => 0.8 * uniform(&mut rng),
                    Kind::Gradient(_) if own => 2.8,
                    Kind::Marker(_) | Kind::Gradient(_) => 0.0,
                };
                means[t * genes.len() + g] = (base + change).exp();
            }
            if let Kind::Gradient(owner) = gene.kind {
                // Every second gene decreases with depth.
                let sign = if slopes[owner].len() % 2 == 0 {
                    1.0
                } else {
                    -1.0
                };
                slopes[owner].push((g, sign * (1.0 + 0.5 * uniform(&mut rng))));
            }
        }
        Self {
            n_genes: genes.len(),
            means,
            slopes,
            dropout: DROPOUT,
        }
    }

    /// The profiles of imaging, for the genes of the panel: no dropout, but a factor exp(N(0, 0.5²)) per gene for the
    /// efficiency of its probes.
    pub(super) fn imaged(&self, panel: &[usize], stream: &Stream) -> Self {
        let efficiency: Vec<f64> = panel
            .iter()
            // Genes use the random streams 0 to n_genes − 1; the streams after them are free for the probes.
            .map(|&g| (0.5 * normal(&mut stream.gene(self.n_genes + g))).exp())
            .collect();
        let of_type = |row: &[f64]| -> Vec<f64> {
            panel
                .iter()
                .zip(&efficiency)
                .map(|(&g, e)| row[g] * e)
                .collect()
        };
        let in_panel =
            |&(g, slope): &(usize, f64)| panel.binary_search(&g).ok().map(|place| (place, slope));
        Self {
            n_genes: panel.len(),
            means: self
                .means
                .chunks_exact(self.n_genes)
                .flat_map(of_type)
                .collect(),
            slopes: self
                .slopes
                .iter()
                .map(|s| s.iter().filter_map(in_panel).collect())
                .collect(),
            dropout: 0.0,
        }
    }

    /// Scales the given genes so that the expected share of non-zero counts among them, over `cells`, is `density`.
    pub(super) fn set_density(&mut self, genes: &[usize], density: f64, cells: &[Specimen]) {
        // Enough genes for an error of the share below 0.005.
        const MOST_GENES: usize = 2_000;
        let stride = genes.len().div_ceil(MOST_GENES).max(1);
        let mut means = Vec::new();
        let mut row = Vec::new();
        for cell in cells {
            self.means_of(cell, &mut row);
            means.extend(genes.iter().step_by(stride).map(|&g| row[g]));
        }
        let share = |scale: f64| {
            let seen = |m: &f64| shown(scale * m, self.dropout) * (1.0 - absent(scale * m));
            means.iter().map(seen).sum::<f64>() / means.len() as f64
        };
        // The share increases with the scale: bisection of the log scale, 30 times.
        let (mut low, mut high) = (-15.0f64, 15.0f64);
        for _ in 0..30 {
            let middle = (low + high) / 2.0;
            if share(middle.exp()) < density {
                low = middle
            } else {
                high = middle
            }
        }
        let scale = low.exp();
        for row in self.means.chunks_exact_mut(self.n_genes) {
            for &g in genes {
                row[g] *= scale;
            }
        }
    }

    /// Mean counts of one cell: those of its type, times its library factor, and gradient genes by its depth.
    pub(super) fn means_of(&self, cell: &Specimen, out: &mut Vec<f64>) {
        let start = cell.cell_type * self.n_genes;
        out.clear();
        let of_type = &self.means[start..start + self.n_genes];
        out.extend(of_type.iter().map(|mean| cell.library_factor * mean));
        let depth = CELL_TYPES[cell.cell_type].relative_depth(cell.place.depth_um);
        for &(g, slope) in &self.slopes[cell.cell_type] {
            out[g] *= (slope * depth).exp();
        }
    }

    /// Draws one count per mean, as (gene, count); see [`count`].
    pub(super) fn counts<'a>(
        &'a self,
        means: &'a [f64],
        rng: &'a mut ChaCha8Rng,
    ) -> impl Iterator<Item = (u32, f32)> + 'a {
        (0u32..)
            .zip(means)
            .map(move |(g, &mean)| (g, count(uniform(rng), mean, self.dropout)))
    }
}

/// Probability that a negative binomial count is 0: `(r / (r + μ))^r`.
fn absent(mean: f64) -> f64 {
    const {
        assert!(
            SIZE == 2.0,
            "computes a square, which is right for r = 2 only"
        )
    };
    let part = SIZE / (SIZE + mean);
    part * part
}

/// Probability that a count does not drop out, `1 − δ / (1 + μ)`; it increases with the mean.
fn shown(mean: f64, dropout: f64) -> f64 {
    1.0 - dropout / (1.0 + mean)
}

/// Maps a uniform number to a count, by inversion of the distribution function: 0 with probability `δ / (1 + μ)`
/// (dropout), otherwise negative binomial with mean μ and variance `μ + μ² / r`.
fn count(uniform: f64, mean: f64, dropout: f64) -> f32 {
    let (shown, absent) = (shown(mean, dropout), absent(mean));
    let mut rest = uniform - (1.0 - shown * (1.0 - absent));
    if rest < 0.0 {
        return 0.0;
    }
    let ratio = mean / (SIZE + mean);
    let (mut k, mut probability) = (0.0, shown * absent);
    loop {
        probability *= ratio * (k + SIZE) / (k + 1.0);
        k += 1.0;
        rest -= probability;
        // Rounding can leave a rest that no count uses up: stop in the far tail of the distribution.
        if rest < 0.0 || (k > mean && probability < 1e-17) {
            return k as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_the_mean_variance_and_zeros_of_the_law() {
        let n = 200_000;
        for (mean, dropout) in [(0.05, 0.3), (0.8, 0.0), (6.0, 0.3), (90.0, 0.0)] {
            // Evenly spaced numbers instead of random ones, so that the result has no sampling noise.
            let all: Vec<f64> = (0..n)
                .map(|i| f64::from(count((f64::from(i) + 0.5) / f64::from(n), mean, dropout)))
                .collect();
            let seen = all.iter().sum::<f64>() / f64::from(n);
            let square = all.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
            let zeros = all.iter().filter(|x| **x == 0.0).count() as f64 / f64::from(n);
            let keep = 1.0 - dropout / (1.0 + mean);
            let near = |a: f64, b: f64| (a - b).abs() < 2e-3 * b.max(0.1);
            assert!(near(seen, keep * mean), "mean {seen} of {mean}");
            assert!(
                near(square, keep * (mean + 1.5 * mean * mean)),
                "square {square} of {mean}"
            );
            let expected = 1.0 - keep * (1.0 - (2.0 / (2.0 + mean)).powi(2));
            assert!(near(zeros, expected), "zeros {zeros} of {mean}");
        }
    }

    #[test]
    fn the_last_uniform_number_ends() {
        let last = 1.0 - f64::EPSILON / 2.0;
        for mean in [1e-9, 0.1, 3.0, 1e4] {
            assert!(count(last, mean, 0.3) >= 0.0);
        }
    }

    #[test]
    fn gene_lists_have_their_sizes_and_a_marker_per_type() {
        for (n_genes, n_panel) in [(22, 22), (23, 22), (500, 150), (300, 300), (2_000, 60)] {
            let all = genes(n_genes, n_panel);
            assert_eq!(all.len(), n_genes);
            assert_eq!(all.iter().filter(|g| g.in_panel).count(), n_panel);
            assert!(
                all.windows(2).all(|w| w[0].name < w[1].name),
                "sorted, no name twice"
            );
            for t in 0..CELL_TYPES.len() {
                assert!(all.iter().any(|g| g.in_panel && g.kind == Kind::Marker(t)));
            }
        }
    }
}
