//! A simulated piece of cortex whose truth is known, to test mappings on (`tangram simulate`).
//!
//! The tissue is a layered section of 2,600 × 1,000 µm, from the surface of the brain down to the white matter. It is
//! measured in three ways, each with its own random cells:
//!
//! * *cells*: dissociated, sequenced, all genes
//! * *voxels* of one cell each: imaged, a panel of genes
//! * *spots* of 1 to 12 cells each: sequenced, all genes
//!
//! The model, for a cell of type t at depth z below the surface:
//!
//! * Type: `p(t | place) ∝ a_t(place)`. Layered types live in bands with soft edges. Interneurons and glia live in a band
//!   above an even background. Rare types live in a few round niches with a standard deviation of 40 µm.
//! * Mean of gene g: `μ = ℓ · exp(b_g + m_tg + s_tg · (z - middle_t) / half_t)`. ℓ is the lognormal library factor of the
//!   cell; m is high for the marker genes of t; s ≠ 0 for the gradient genes of t.
//! * Count: 0 with probability `0.3 / (1 + μ)` (dropout, sequencing only), otherwise negative binomial with variance
//!   `μ + μ² / 2`. Imaging multiplies μ by a factor per gene.
//! * Spot: the sum of the counts of its cells.
//!
//! The level of b is chosen so that the requested share of the sequenced counts is non-zero.
//!
//! Every row depends only on (seed, row). So blocks of rows can be generated in any order and by any number of threads,
//! and a million cells never have to be in memory at once.
//!
//! Begin with [`Tissue`]. The submodules: `settings`, `types` (cell types and where they live), `section` (geometry),
//! `expression` (genes and counts), `stream` (random numbers), `tables` (the truth as tables).

mod expression;
mod section;
mod settings;
mod stream;
mod tables;
mod types;

use crate::SparseRows;
use expression::{Gene, Profiles, Specimen};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;
use section::{LAYERS, Nearest, Place, SpotGrid, VoxelRows};
pub use settings::{TissueError, TissueSettings};
use std::ops::Range;
use stream::{Stream, uniform};
use types::{CELL_TYPES, Ecology};

/// Number of trial cells from which the level of expression is set.
const N_TRIALS: usize = 512;
/// Rows that one thread generates at a time.
const ROWS_PER_TASK: usize = 128;
/// Maximum number of cells under a spot; the minimum is 1.
const MOST_CELLS_PER_SPOT: usize = 12;

/// A simulated tissue. It holds the genes, types and places; rows of counts are generated on demand.
///
/// ```
/// use tangram_core::{Tissue, TissueSettings};
///
/// let settings = TissueSettings { n_cells: 100, ..TissueSettings::default() };
/// let tissue = Tissue::new(settings).unwrap();
/// let counts = tissue.cells(0..100);
/// assert_eq!((counts.n_rows(), counts.n_cols()), (100, tissue.genes().len()));
/// assert!(tissue.cells_table(0..100).column("cell_type").is_some());
/// ```
#[derive(Debug, Clone)]
pub struct Tissue {
    settings: TissueSettings,
    stream: Stream,
    ecology: Ecology,
    cell_types: Vec<String>,
    genes: Vec<Gene>,
    gene_names: Vec<String>,
    panel: Vec<usize>,
    sequenced: Profiles,
    imaged: Profiles,
    voxels: Nearest,
    spots: Nearest,
    grid: SpotGrid,
}

impl Tissue {
    /// Checks the settings, draws the niches and the expression profiles of the types, and places voxels and spots.
    ///
    /// # Errors
    /// [`TissueError`] if a size is 0 or too large, the panel has too few or too many genes, or the density is out of range.
    pub fn new(settings: TissueSettings) -> Result<Self, TissueError> {
        settings.check()?;
        let stream = Stream::new(settings.seed);
        let ecology = Ecology::new(&stream);
        let genes = expression::genes(settings.n_genes, settings.n_panel_genes);
        let (panel, others): (Vec<usize>, Vec<usize>) =
            (0..genes.len()).partition(|&g| genes[g].in_panel);

        let trial = |cell| specimen_anywhere(&ecology, &mut stream.trial(cell));
        let trials: Vec<Specimen> = (0..N_TRIALS).map(trial).collect();
        let mut sequenced = Profiles::sequenced(&genes, &stream);
        for group in [&panel, &others] {
            sequenced.set_density(group, settings.density, &trials);
        }
        let imaged = sequenced.imaged(&panel, &stream);

        let rows = VoxelRows::new(settings.n_voxels);
        let voxel = |i| rows.place(i, two_uniform(&mut stream.voxel_place(i)));
        let voxels = Nearest::new((0..settings.n_voxels).map(voxel).collect());
        let grid = SpotGrid::new(settings.n_spots);
        let spots = Nearest::new((0..settings.n_spots).map(|i| grid.place(i)).collect());
        Ok(Self {
            cell_types: CELL_TYPES.iter().map(|t| t.name.to_owned()).collect(),
            gene_names: genes.iter().map(|g| g.name.clone()).collect(),
            settings,
            stream,
            ecology,
            genes,
            panel,
            sequenced,
            imaged,
            voxels,
            spots,
            grid,
        })
    }

    /// The settings of this tissue.
    #[must_use]
    pub fn settings(&self) -> &TissueSettings {
        &self.settings
    }

    /// Names of the cell types: layered types from the surface down, interneurons, glia, then the rare types in niches.
    ///
    /// This is also the order of the categories of `cell_type`, and of the columns of [`spot_truth`](Self::spot_truth).
    #[must_use]
    pub fn cell_types(&self) -> &[String] {
        &self.cell_types
    }

    /// Names of all genes, sorted.
    #[must_use]
    pub fn genes(&self) -> &[String] {
        &self.gene_names
    }

    /// The genes measured in voxels: indices into [`genes`](Self::genes), ascending.
    #[must_use]
    pub fn panel(&self) -> &[usize] {
        &self.panel
    }

    /// Counts of dissociated cells, (cells of the range, all genes).
    ///
    /// # Panics
    /// If the range ends beyond the last cell.
    #[must_use]
    pub fn cells(&self, range: Range<usize>) -> SparseRows {
        assert!(range.end <= self.settings.n_cells, "cells {range:?} exist");
        rows_of(range, self.genes.len(), |cell, out, means| {
            let mut rng = self.stream.cell(cell);
            let specimen = specimen_anywhere(&self.ecology, &mut rng);
            self.sequenced.means_of(&specimen, means);
            out.push_row(self.sequenced.counts(means, &mut rng));
        })
    }

    /// Counts of voxels, (voxels of the range, genes of the panel).
    ///
    /// # Panics
    /// If the range ends beyond the last voxel.
    #[must_use]
    pub fn voxels(&self, range: Range<usize>) -> SparseRows {
        assert!(
            range.end <= self.settings.n_voxels,
            "voxels {range:?} exist"
        );
        rows_of(range, self.panel.len(), |voxel, out, means| {
            let (specimen, mut rng) = self.voxel_specimen(voxel);
            self.imaged.means_of(&specimen, means);
            out.push_row(self.imaged.counts(means, &mut rng));
        })
    }

    /// Counts of spots, (spots of the range, all genes): the sums over the cells of each spot.
    ///
    /// # Panics
    /// If the range ends beyond the last spot.
    #[must_use]
    pub fn spots(&self, range: Range<usize>) -> SparseRows {
        assert!(range.end <= self.settings.n_spots, "spots {range:?} exist");
        rows_of(range, self.genes.len(), |spot, out, means| {
            let mut sums = vec![0.0; self.genes.len()];
            for cell in 0..self.n_cells_of_spot(spot) {
                let (specimen, mut rng) = self.spot_specimen(spot, cell);
                self.sequenced.means_of(&specimen, means);
                for (g, count) in self.sequenced.counts(means, &mut rng) {
                    sums[g as usize] += count;
                }
            }
            out.push_row((0u32..).zip(sums));
        })
    }

    /// Counts of the cells of one spot, (cells of the spot, all genes). Their sum is the row of the spot.
    ///
    /// # Panics
    /// If there is no such spot.
    #[must_use]
    pub fn spot_cells(&self, spot: usize) -> SparseRows {
        rows_of(
            0..self.n_cells_of_spot(spot),
            self.genes.len(),
            |cell, out, means| {
                let (specimen, mut rng) = self.spot_specimen(spot, cell);
                self.sequenced.means_of(&specimen, means);
                out.push_row(self.sequenced.counts(means, &mut rng));
            },
        )
    }

    /// The cell of a voxel, and the random generator for its counts.
    fn voxel_specimen(&self, voxel: usize) -> (Specimen, ChaCha8Rng) {
        let mut rng = self.stream.voxel(voxel);
        (
            Specimen::at(self.voxels.places()[voxel], &self.ecology, &mut rng),
            rng,
        )
    }

    /// A cell under a spot, and the random generator for its counts.
    fn spot_specimen(&self, spot: usize, cell: usize) -> (Specimen, ChaCha8Rng) {
        let mut rng = self.stream.spot_cell(spot, cell);
        let place = self
            .grid
            .within(self.spots.places()[spot], two_uniform(&mut rng));
        (Specimen::at(place, &self.ecology, &mut rng), rng)
    }

    /// One cell, and each of eleven more with a probability that depends on the layer (lowest in L1).
    fn n_cells_of_spot(&self, spot: usize) -> usize {
        let crowding = match LAYERS[self.spots.places()[spot].layer()].0 {
            "L1" => 0.15,
            "WM" => 0.35,
            _ => 0.5,
        };
        let mut rng = self.stream.spot(spot);
        1 + (1..MOST_CELLS_PER_SPOT)
            .filter(|_| uniform(&mut rng) < crowding)
            .count()
    }
}

fn two_uniform(rng: &mut ChaCha8Rng) -> [f64; 2] {
    [uniform(rng), uniform(rng)]
}

fn specimen_anywhere(ecology: &Ecology, rng: &mut ChaCha8Rng) -> Specimen {
    let place = Place::anywhere(two_uniform(rng));
    Specimen::at(place, ecology, rng)
}

/// Generates the rows of a range in parallel. `make_row` appends one row, given its index and a reusable buffer.
fn rows_of(
    range: Range<usize>,
    n_cols: usize,
    make_row: impl Fn(usize, &mut SparseRows, &mut Vec<f64>) + Sync,
) -> SparseRows {
    let tasks: Vec<SparseRows> = (0..range.len().div_ceil(ROWS_PER_TASK))
        .into_par_iter()
        .map(|task| {
            let start = range.start + task * ROWS_PER_TASK;
            let (mut out, mut buffer) = (SparseRows::empty(n_cols), Vec::with_capacity(n_cols));
            for row in start..(start + ROWS_PER_TASK).min(range.end) {
                make_row(row, &mut out, &mut buffer);
            }
            out
        })
        .collect();
    let mut all = SparseRows::empty(n_cols);
    for block in &tasks {
        all.append(block);
    }
    all
}
