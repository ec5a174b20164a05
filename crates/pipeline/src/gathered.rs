//! Probabilities that are distributed over ranks, read by the first rank.

use crate::ranks::Ranks;
use ndarray::{Array2, ArrayView2, s};
use std::convert::Infallible;
use std::ops::Range;
use tangram_comm::Shares;
use tangram_core::{MappingBlock, MappingRows, PBlock};
use tangram_mapper::Trained;

/// Cells in a gathered block.
const BLOCK: usize = 256;

/// The mapping of all ranks. The first rank reads it while the others [`serve`](Self::serve).
#[derive(Debug)]
pub struct Gathered<'a> {
    trained: &'a Trained,
    ranks: &'a Ranks,
    shares: &'a Shares,
}

impl<'a> Gathered<'a> {
    /// Wraps this rank's share.
    pub fn new(trained: &'a Trained, ranks: &'a Ranks, shares: &'a Shares) -> Self {
        Self {
            trained,
            ranks,
            shares,
        }
    }

    /// Sends rows to the first rank each time it reads the mapping, until it calls [`done`](Self::done).
    pub fn serve(&self) {
        loop {
            let mut more = vec![];
            self.ranks.broadcast(&mut more);
            if more[0] == 0.0 {
                return;
            }
            for block in self.blocks() {
                self.ranks.gather(&self.own(block));
            }
        }
    }

    /// Ends [`serve`](Self::serve) on the other ranks.
    pub fn done(&self) {
        self.ranks.broadcast(&mut vec![0.0]);
    }

    fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let n_cells = self.shares.cells.whole_len();
        (0..n_cells)
            .step_by(BLOCK)
            .map(move |first| first..n_cells.min(first + BLOCK))
    }

    /// This rank's share of some rows; empty if a rank with a lower number has the same share.
    fn own(&self, block: Range<usize>) -> Vec<f64> {
        let cells = self.shares.cells.range();
        let (first, last) = (block.start.max(cells.start), block.end.min(cells.end));
        if first >= last || self.shares.genes.range().start > 0 {
            return Vec::new();
        }
        let rows = self
            .trained
            .probabilities(first - cells.start..last - cells.start);
        rows.into_raw_vec_and_offset().0
    }
}

impl MappingRows for Gathered<'_> {
    type Error = Infallible;

    fn n_cells(&self) -> usize {
        self.shares.cells.whole_len()
    }

    fn n_voxels(&self) -> usize {
        self.shares.voxels.whole_len()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), Infallible>,
    ) -> Result<(), Infallible> {
        let (shape, how) = (self.ranks.shape(), self.ranks.how());
        let lens = [
            self.shares.cells.whole_len(),
            self.shares.voxels.whole_len(),
            self.shares.genes.whole_len(),
        ];
        self.ranks.broadcast(&mut vec![1.0]);
        for block in self.blocks() {
            let mut rows = Array2::<f32>::zeros((block.len(), self.n_voxels()));
            let parts = self.ranks.gather(&self.own(block.clone()));
            for (rank, part) in parts.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
                let shares = Shares::at(shape, how, lens, rank).expect("as when it was cut");
                let (cells, voxels) = (shares.cells.range(), shares.voxels.range());
                let (first, last) = (block.start.max(cells.start), block.end.min(cells.end));
                let part = ArrayView2::from_shape((last - first, voxels.len()), part);
                rows.slice_mut(s![first - block.start..last - block.start, voxels])
                    .assign(&part.expect("its own rows").mapv(|p| p as f32));
            }
            visit(MappingBlock {
                first_cell: block.start,
                rows: PBlock::Dense(rows.view()),
            })?;
        }
        Ok(())
    }
}
