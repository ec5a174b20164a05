//! How one axis (cells, voxels or genes) is cut over ranks.

use crate::Reduce;
use std::ops::Range;

/// An axis in consecutive blocks, of which each rank owns consecutive ones.
///
/// What is summed over the axis is summed within blocks first. With [`Reduce::Fast`] a rank's share is one block; with
/// [`Reduce::Exact`] the blocks are the same whatever the number of ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    len: usize,
    n_blocks: usize,
    mine: Range<usize>,
}

/// What is cut.
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
    /// Blocks with exact sums. Each costs: one of cells a pass over A, one of genes a pass over the logits.
    fn exact_blocks(self, len: usize) -> usize {
        match self {
            Self::Cells => (len / 64).clamp(len.min(16), 768),
            Self::Voxels => len.min(48),
            Self::Genes => len.min(12),
        }
    }

    /// For people.
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
    /// The share of one rank.
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

    /// The whole axis as one block.
    #[must_use]
    pub fn whole(len: usize) -> Self {
        Self::new(Axis::Cells, len, 0, 1, Reduce::Fast)
    }

    /// Most ranks that an axis of `len` can be cut over, so that none is idle.
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

    /// Blocks of the whole axis.
    #[must_use]
    pub fn n_blocks(&self) -> usize {
        self.n_blocks
    }

    /// What this rank owns.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        self.start(self.mine.start)..self.start(self.mine.end)
    }

    /// Length of [`range`](Self::range).
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.range().len()
    }

    /// This rank's blocks, counted from the start of its range.
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
