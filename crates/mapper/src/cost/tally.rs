//! Bytes that a rank brings to collectives, declared by whoever calls them.

use tangram_comm::{Cut, GridShape, Kind, Reduce, Shares};

/// Stands in for a [`Grid`](tangram_comm::Grid) in a plan: it has collectives of the same names, which only count bytes.
///
/// Code of a pass that communicates has a function beside it that declares how much; a plan is the sum of these declarations.
pub(crate) struct Tally<'a> {
    shape: GridShape,
    reduce: Reduce,
    shares: &'a Shares,
    /// Bytes of a number of the products.
    number: usize,
    bytes: [u64; 5],
}

impl<'a> Tally<'a> {
    pub(crate) fn new(shape: GridShape, reduce: Reduce, shares: &'a Shares, number: usize) -> Self {
        Self {
            shape,
            reduce,
            shares,
            number,
            bytes: [0; 5],
        }
    }

    pub(crate) fn shape(&self) -> GridShape {
        self.shape
    }

    pub(crate) fn shares(&self) -> &'a Shares {
        self.shares
    }

    /// Bytes of a number of the products.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn how(&self) -> Reduce {
        self.reduce
    }

    pub(crate) fn is_exact(&self) -> bool {
        self.reduce == Reduce::Exact
    }

    pub(crate) fn bytes(&self) -> [(Kind, u64); 5] {
        Kind::ALL.map(|kind| (kind, self.bytes[kind as usize]))
    }

    fn add(&mut self, kind: Kind, ranks: usize, bytes: usize) {
        if ranks > 1 {
            self.bytes[kind as usize] += bytes as u64;
        }
    }

    /// Sums of blocks; if sums are exact, the largest magnitudes are exchanged first.
    fn over(&mut self, kind: Kind, ranks: usize, cut: &Cut, values: usize) {
        let twice = self.is_exact() && cut.n_blocks() > 1;
        self.add(kind, ranks, values * if twice { 16 } else { 8 });
    }

    /// Bytes of this many numbers of the products that are summed; exact sums use double precision.
    fn summed(&self, values: usize) -> usize {
        values * if self.is_exact() { 8 } else { self.number }
    }

    pub(crate) fn sum_logits(&mut self, values: usize) {
        self.add(Kind::Logits, self.shape.genes, self.summed(values));
    }

    pub(crate) fn sum_predicted(&mut self, values: usize) {
        self.add(Kind::Predicted, self.shape.cells, self.summed(values));
    }

    pub(crate) fn max_rows(&mut self, values: usize) {
        self.add(Kind::Rows, self.shape.voxels, 8 * values);
    }

    pub(crate) fn sum_rows(&mut self, values: usize) {
        self.add(Kind::Rows, self.shape.voxels, 8 * values);
    }

    pub(crate) fn rows_over_voxels(&mut self, values: usize) {
        self.over(Kind::Rows, self.shape.voxels, &self.shares.voxels, values);
    }

    pub(crate) fn over_cells(&mut self, values: usize) {
        self.over(Kind::Loss, self.shape.cells, &self.shares.cells, values);
    }

    pub(crate) fn over_voxels(&mut self, values: usize) {
        self.over(Kind::Loss, self.shape.voxels, &self.shares.voxels, values);
    }

    pub(crate) fn over_genes(&mut self, values: usize) {
        self.over(Kind::Loss, self.shape.genes, &self.shares.genes, values);
    }

    pub(crate) fn swap_voxels(&mut self, values: usize) {
        self.add(Kind::Loss, self.shape.voxels, 8 * values);
    }

    pub(crate) fn sum_over_cells(&mut self, values: usize) {
        self.add(Kind::Loss, self.shape.cells, 8 * values);
    }

    pub(crate) fn max_of_all(&mut self, values: usize) {
        self.add(Kind::Loss, self.shape.n_ranks(), 8 * values);
    }
}
