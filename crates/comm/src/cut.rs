//! [`Cut`]: how one axis (cells, voxels or genes) is divided into shards, one per rank.

use crate::Reduce;
use std::ops::Range;

/// The shard of one rank along one axis, and the summation blocks of the axis.
///
/// The axis is divided into consecutive summation blocks; a shard is one or more consecutive blocks. A sum over the axis
/// first sums within each block, then over the blocks. With [`Reduce::Fast`] each shard is one block. With
/// [`Reduce::Exact`] the blocks do not depend on the number of ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    len: usize,
    n_blocks: usize,
    mine: Range<usize>,
}

/// An axis of the mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Axis {
    /// Cells.
    Cells,
    /// Voxels.
    Voxels,
    /// Genes.
    Genes,
}

impl Axis {
    /// Number of summation blocks with exact sums.
    ///
    /// Each block has a cost: a block of cells one more pass over A, a block of genes one more pass over the logits.
    fn exact_blocks(self, len: usize) -> usize {
        match self {
            Self::Cells => (len / 64).clamp(len.min(16), 768),
            Self::Voxels => len.min(48),
            Self::Genes => len.min(12),
        }
    }

    /// The name in messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Voxels => "voxels",
            Self::Genes => "genes",
        }
    }
}

impl Cut {
    /// The shard of one rank.
    ///
    /// * `len`: length of the axis
    /// * `rank`, `size`: number of this rank along the axis, and of all ranks along it; `size` is at most
    ///   [`most_ranks`](Self::most_ranks)
    #[must_use]
    pub fn new(axis: Axis, len: usize, rank: usize, size: usize, how: Reduce) -> Self {
        let n_blocks = match how {
            Reduce::Fast => size,
            Reduce::Exact => Self::most_ranks(axis, len, how),
        };
        Self {
            len,
            n_blocks,
            mine: n_blocks * rank / size..n_blocks * (rank + 1) / size,
        }
    }

    /// The whole axis as one shard of one block.
    #[must_use]
    pub fn whole(len: usize) -> Self {
        Self::new(Axis::Cells, len, 0, 1, Reduce::Fast)
    }

    /// Largest number of ranks along an axis of length `len` for which every shard has an entry.
    #[must_use]
    pub fn most_ranks(axis: Axis, len: usize, how: Reduce) -> usize {
        match how {
            Reduce::Fast => len,
            Reduce::Exact => axis.exact_blocks(len),
        }
    }

    /// Length of the whole axis.
    #[must_use]
    pub fn whole_len(&self) -> usize {
        self.len
    }

    /// Number of summation blocks of the whole axis.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// The entries in the shard of this rank.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start(self.mine.start)..self.start(self.mine.end)
    }

    /// Number of entries in the shard of this rank.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// The summation blocks of this rank, as ranges counted from the start of its shard.
    #[must_use]
    pub fn blocks(&self) -> Vec<Range<usize>> {
        let first = self.range().start;
        self.mine
            .clone()
            .map(|b| self.start(b) - first..self.start(b + 1) - first)
            .collect()
    }

    fn start(&self, block: usize) -> usize {
        (block as u128 * self.len as u128 / self.n_blocks as u128) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_own_every_entry_once_and_exact_blocks_do_not_depend_on_ranks() {
        for len in [1, 5, 48, 1000] {
            let mut all_blocks = Vec::new();
            for how in [Reduce::Fast, Reduce::Exact] {
                for size in 1..=len.min(7) {
                    let cuts: Vec<_> = (0..size)
                        .map(|r| Cut::new(Axis::Voxels, len, r, size, how))
                        .collect();
                    let mut next = 0;
                    let mut blocks = Vec::new();
                    for cut in cuts {
                        assert_eq!(cut.range().start, next);
                        assert!(cut.len() > 0);
                        blocks.extend(cut.blocks().iter().map(|b| b.start + next..b.end + next));
                        next = cut.range().end;
                    }
                    assert_eq!(next, len);
                    if how == Reduce::Exact {
                        all_blocks.push(blocks);
                    }
                }
            }
            assert!(all_blocks.windows(2).all(|b| b[0] == b[1]));
        }
    }
}
