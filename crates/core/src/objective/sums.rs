//! What is summed over, or fetched from, the ranks that share the voxels and genes of a mapping.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::Range;

/// Sums over all voxels and all genes of a mapping. This process may hold only a shard of them.
///
/// A shard is cut into blocks; a sum is made of one list of numbers for every block.
pub trait Sums: Sync {
    /// Blocks of the shard's voxels, counted from its first.
    fn voxel_blocks(&self) -> Vec<Range<usize>>;

    /// Blocks of the shard's genes, counted from its first.
    fn gene_blocks(&self) -> Vec<Range<usize>>;

    /// Sum over all voxels, from one list of sums for every block of voxels.
    fn over_voxels(&self, blocks: Vec<Vec<f64>>) -> Vec<f64>;

    /// Sum over all genes, from one list of sums for every block of genes.
    fn over_genes(&self, blocks: Vec<Vec<f64>>) -> Vec<f64>;

    /// Number of all voxels V and of all genes K.
    fn size(&self) -> (usize, usize);

    /// Who shares the voxels.
    fn voxel_shards(&self) -> VoxelShards;

    /// Gives every rank that shares the voxels the list at its place in `to`, and returns what they gave, in the same order.
    fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>>;
}

/// The shards of the voxels, of all ranks that hold the same genes and cells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoxelShards {
    /// Voxels of every rank.
    pub ranges: Vec<Range<usize>>,
    /// Place of this rank.
    pub own: usize,
}

impl VoxelShards {
    /// One rank with all `n_voxels`.
    #[must_use]
    pub fn whole(n_voxels: usize) -> Self {
        Self {
            ranges: std::iter::once(0..n_voxels).collect(),
            own: 0,
        }
    }

    /// Voxels of this rank.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.ranges[self.own].clone()
    }

    /// Rank that holds a voxel, by its place.
    ///
    /// # Panics
    /// If no rank holds it.
    #[must_use]
    pub fn holder(&self, voxel: usize) -> usize {
        let holder = self.ranges.partition_point(|range| range.end <= voxel);
        assert!(holder < self.ranges.len(), "a voxel of the mapping");
        holder
    }
}

/// All voxels and genes in one process.
#[derive(Debug, Clone, Copy)]
pub struct Whole {
    /// V.
    pub n_voxels: usize,
    /// K.
    pub n_genes: usize,
}

impl Sums for Whole {
    fn voxel_blocks(&self) -> Vec<Range<usize>> {
        std::iter::once(0..self.n_voxels).collect()
    }

    fn gene_blocks(&self) -> Vec<Range<usize>> {
        std::iter::once(0..self.n_genes).collect()
    }

    fn over_voxels(&self, mut blocks: Vec<Vec<f64>>) -> Vec<f64> {
        blocks.swap_remove(0)
    }

    fn over_genes(&self, mut blocks: Vec<Vec<f64>>) -> Vec<f64> {
        blocks.swap_remove(0)
    }

    fn size(&self) -> (usize, usize) {
        (self.n_voxels, self.n_genes)
    }

    fn voxel_shards(&self) -> VoxelShards {
        VoxelShards::whole(self.n_voxels)
    }

    fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        to
    }
}

/// One exchange between ranks, by how many numbers it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// Number of sums over all voxels.
    SumOverVoxels(usize),
    /// Number of sums over all genes.
    SumOverGenes(usize),
    /// Number of values that this rank sends to ranks that hold neighbouring voxels.
    ToNeighbours(usize),
}

/// The exchanges that a term has declared, in their order: any other is a mistake in the term, and panics.
///
/// What a mapping costs is computed from the declarations, before it runs; this is what makes them true.
#[derive(Debug)]
pub struct Exchanges<'a, S: ?Sized> {
    sums: &'a S,
    declared: RefCell<VecDeque<Exchange>>,
}

impl<'a, S: Sums + ?Sized> Exchanges<'a, S> {
    pub(super) fn new(sums: &'a S, declared: Vec<Exchange>) -> Self {
        Self {
            sums,
            declared: RefCell::new(declared.into()),
        }
    }

    /// Sum over all voxels of what `of` gives for a block of them.
    pub fn over_voxels(&self, of: impl Fn(Range<usize>) -> Vec<f64>) -> Vec<f64> {
        let blocks: Vec<_> = self.sums.voxel_blocks().into_iter().map(of).collect();
        self.take(Exchange::SumOverVoxels(blocks[0].len()));
        self.sums.over_voxels(blocks)
    }

    /// Sum over all genes of what `of` gives for a block of them.
    pub fn over_genes(&self, of: impl Fn(Range<usize>) -> Vec<f64>) -> Vec<f64> {
        let blocks: Vec<_> = self.sums.gene_blocks().into_iter().map(of).collect();
        self.take(Exchange::SumOverGenes(blocks[0].len()));
        self.sums.over_genes(blocks)
    }

    /// As [`Sums::swap_voxels`].
    #[must_use]
    pub fn swap_voxels(&self, to: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
        self.take(Exchange::ToNeighbours(to.iter().map(Vec::len).sum()));
        self.sums.swap_voxels(to)
    }

    /// Number of all voxels V and of all genes K.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        self.sums.size()
    }

    fn take(&self, exchange: Exchange) {
        let declared = self.declared.borrow_mut().pop_front();
        assert_eq!(declared, Some(exchange), "an exchange as declared");
    }

    /// Ends the term's turn.
    pub(super) fn end(self) {
        let left = self.declared.into_inner();
        assert!(left.is_empty(), "declared, but not done: {left:?}");
    }
}
