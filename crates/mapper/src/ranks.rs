//! A rank among those that hold the other cells, voxels and genes of a problem, and the softmax over the voxels of several.

use crate::MapError;
use crate::cpu::lanes::Real;
use crate::cpu::products::Most;
use crate::cpu::softmax::{ExpBelowMax, Scale};
use pulp::Arch;
use rayon::prelude::*;
use std::ops::Range;
use tangram_comm::{Communicator, Cut, Grid, Reduce, Shares, on_grid, step_for};
use tangram_core::Sums;

/// Rows worked on by one task: they stay in the second cache.
pub(crate) const ROWS: usize = 8;

/// The ranks of a training, and this one's share.
#[derive(Debug)]
pub(crate) struct Ranks<'a, K> {
    pub(crate) grid: &'a Grid<K>,
    pub(crate) shares: &'a Shares,
}

impl<K> Clone for Ranks<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Ranks<'_, K> {}

impl<K: Communicator> Sums for Ranks<'_, K> {
    fn voxel_blocks(&self) -> Vec<Range<usize>> {
        self.shares.voxels.blocks()
    }

    fn gene_blocks(&self) -> Vec<Range<usize>> {
        self.shares.genes.blocks()
    }

    fn over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.grid.over_voxels(&self.shares.voxels, blocks)
    }

    fn over_genes(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.grid.over_genes(&self.shares.genes, blocks)
    }

    fn size(&self) -> (usize, usize) {
        (
            self.shares.voxels.whole_len(),
            self.shares.genes.whole_len(),
        )
    }
}

impl<K: Communicator> Ranks<'_, K> {
    pub(crate) fn is_exact(&self) -> bool {
        self.grid.how() == Reduce::Exact
    }

    /// Refuses exact sums, which a device does not make: which of its library's kernels multiplies depends on a rank's part.
    pub(crate) fn refuse_exact(&self) -> Result<(), MapError> {
        match self.is_exact() {
            true => Err(MapError::Setting {
                setting: "reduce",
                value: "exact".to_owned(),
                needs: "must be fast where libtorch does the work on a device",
            }),
            false => Ok(()),
        }
    }

    /// What the ranks have at most.
    pub(crate) fn most(&self) -> Most {
        let shape = self.grid.shape();
        let of = |share: &Cut, ranks: usize| {
            let largest_block = share.whole_len().div_ceil(share.n_blocks());
            let most_blocks = share.n_blocks().div_ceil(ranks);
            share.len().max(largest_block.saturating_mul(most_blocks))
        };
        Most {
            voxels: of(&self.shares.voxels, shape.voxels),
            genes: of(&self.shares.genes, shape.genes),
        }
    }

    /// Sum over all cells of one number for every block of this rank's cells.
    pub(crate) fn over_cells(&self, blocks: Vec<f64>) -> f64 {
        let blocks = blocks.into_iter().map(|x| vec![x]).collect();
        self.grid.over_cells(&self.shares.cells, blocks)[0]
    }

    /// Sums of rows over all voxels, of sums over this rank's blocks of them.
    pub(crate) fn rows_over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.grid.rows_over_voxels(&self.shares.voxels, blocks)
    }

    /// First gene of every block of this rank's genes.
    pub(crate) fn gene_parts(&self) -> Vec<usize> {
        self.gene_blocks().iter().map(|b| b.start).collect()
    }

    /// Raises this rank's largest entries of S by gene to those of all cells; gives the largest of all genes.
    pub(crate) fn largest(&self, by_gene: &mut [f64]) -> f64 {
        self.grid.max_over_cells(by_gene);
        let mut largest = [by_gene.iter().copied().fold(0.0, f64::max)];
        self.grid.max_of_all(&mut largest);
        largest[0]
    }

    /// Number of cells on all ranks, of which `mine` on this one.
    pub(crate) fn count_cells(&self, mine: usize) -> usize {
        self.grid
            .over_cells(&self.shares.cells, vec![vec![mine as f64]])[0] as usize
    }
}

/// What a row is, of all voxels.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WholeRow {
    /// Largest logit.
    pub(crate) max: f64,
    /// `Σ_j exp(x_j − max)`.
    pub(crate) sum: f64,
    /// Entropy, in nats.
    pub(crate) entropy: f64,
}

/// Softmax over all voxels of all ranks, in place.
///
/// * `rows`: logits of this rank's voxels, rows `stride` apart
/// * `whole`: gets what each row is
pub(crate) fn shared_softmax<T: Real, K: Communicator>(
    rows: &mut [T],
    stride: usize,
    whole: &mut [WholeRow],
    ranks: Ranks<'_, K>,
) {
    let arch = Arch::new();
    let voxels = &ranks.shares.voxels;
    let blocks = voxels.blocks();
    let n_rows = whole.len();
    // By row and block: largest, sum, weighted sum.
    let mut parts = vec![[0.0f64; 3]; n_rows * blocks.len()];
    rows.par_chunks_mut(stride)
        .zip(parts.par_chunks_mut(blocks.len()))
        .with_min_len(ROWS)
        .for_each(|(row, parts)| {
            for (block, part) in blocks.iter().zip(parts) {
                *part = arch.dispatch(ExpBelowMax {
                    values: &mut row[block.clone()],
                });
            }
            row[voxels.len()..].fill(T::default());
        });
    let mut largest: Vec<f64> = parts
        .chunks(blocks.len())
        .map(|parts| parts.iter().fold(f64::MIN, |m, p| m.max(p[0])))
        .collect();
    ranks.grid.max_rows(&mut largest);
    // A row's exponentials, and they times their logarithms, are at most 1 each.
    let step = ranks
        .is_exact()
        .then(|| step_for(2.0 * voxels.whole_len() as f64));
    let rounded = |x: f64| step.map_or(x, |step| on_grid(x, step));
    let mut sums = vec![0.0; 2 * n_rows];
    for ((sums, parts), &max) in sums
        .chunks_exact_mut(2)
        .zip(parts.chunks(blocks.len()))
        .zip(&largest)
    {
        for &[part_max, sum, weighted] in parts {
            let below = part_max - max;
            let scale = below.exp();
            sums[0] += rounded(scale * sum);
            // 0 where the part is too far below to matter, whose logarithm may be without end.
            let weighted = if scale > 0.0 {
                scale * (weighted + below * sum)
            } else {
                0.0
            };
            sums[1] += rounded(weighted);
        }
    }
    ranks.grid.sum_rows(&mut sums);
    for ((row, sums), &max) in whole.iter_mut().zip(sums.chunks_exact(2)).zip(&largest) {
        *row = WholeRow {
            max,
            sum: sums[0],
            entropy: sums[0].ln() - sums[1] / sums[0],
        };
    }
    rows.par_chunks_mut(stride)
        .zip(parts.par_chunks(blocks.len()))
        .zip(&*whole)
        .with_min_len(ROWS)
        .for_each(|((row, parts), whole)| {
            for (block, part) in blocks.iter().zip(parts) {
                arch.dispatch(Scale {
                    values: &mut row[block.clone()],
                    by: T::from_f64((part[0] - whole.max).exp() / whole.sum),
                });
            }
        });
}
