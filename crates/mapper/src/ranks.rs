//! A rank among those that hold the other cells, voxels and genes of a problem.

use crate::MapError;
use std::ops::Range;
use tangram_comm::{Axis, Communicator, Cut, Grid, GridShape, Reduce, Shares};
use tangram_core::{Sums, VoxelShards};

/// The most voxels and genes that any rank has: what decides the size of a buffer must be the same on all ranks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Most {
    pub(crate) voxels: usize,
    pub(crate) genes: usize,
}

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

    fn voxel_shards(&self) -> VoxelShards {
        voxel_shards(self.grid.shape(), self.grid.how(), self.shares)
    }

    fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        self.grid.swap_voxels(to)
    }

    fn size(&self) -> (usize, usize) {
        (
            self.shares.voxels.whole_len(),
            self.shares.genes.whole_len(),
        )
    }
}

/// Who shares the voxels with a rank of a grid.
pub(crate) fn voxel_shards(shape: GridShape, how: Reduce, shares: &Shares) -> VoxelShards {
    let (n_voxels, own) = (shares.voxels.whole_len(), shares.voxels.range());
    let of = |rank| Cut::new(Axis::Voxels, n_voxels, rank, shape.voxels, how).range();
    let ranges: Vec<Range<usize>> = (0..shape.voxels).map(of).collect();
    VoxelShards {
        own: ranges.partition_point(|range| range.start < own.start),
        ranges,
    }
}

impl<K: Communicator> Ranks<'_, K> {
    pub(crate) fn is_exact(&self) -> bool {
        self.grid.how() == Reduce::Exact
    }

    /// Refuses exact sums on a device: libtorch chooses kernels by matrix sizes, so that sums depend on a rank's shard.
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

    /// The largest shards of any rank.
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

    /// One number for every cell of all ranks, from those of this rank: each in its place, so that sums run over all in order.
    pub(crate) fn of_all_cells(&self, own: &[f64]) -> Vec<f64> {
        let mut all = vec![0.0; self.shares.cells.whole_len()];
        all[self.shares.cells.range()].copy_from_slice(own);
        self.grid.sum_over_cells(&mut all);
        all
    }

    /// Sums of rows over all voxels, of sums over this rank's blocks of them.
    pub(crate) fn rows_over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64> {
        self.grid.rows_over_voxels(&self.shares.voxels, blocks)
    }

    /// First gene of every block of this rank's genes.
    pub(crate) fn first_genes(&self) -> Vec<usize> {
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
