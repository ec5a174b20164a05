//! The factored mapping: P = softmax(S Zᵀ + 1 bᵀ), read row by row from S, Z and b.

use crate::Precision;
use crate::cpu::products::{Layout, Products};
use crate::mirror::factored_rows::FactoredRows;
use crate::number::Number;
use crate::ranks::Ranks;
use crate::workers::one_rank;
use ndarray::{Array2, ArrayView1, ArrayView2, s};
use std::ops::ControlFlow;
use tangram_comm::{Communicator, Grid, GridError, Shares};
use tangram_core::{CellChunks, MappingBlock, MappingRows, PBlock, SparseRows};

/// What the factored solver learns: Z, one weight per voxel and gene, and b, one per voxel.
#[derive(Debug, Clone, PartialEq)]
pub struct Factors {
    /// (genes + 1, voxels): Z by gene, b as the last row.
    by_gene: Array2<f64>,
}

impl Factors {
    /// Takes Z, (voxels, genes), and b, (voxels).
    ///
    /// # Panics
    /// If they are not of the same voxels.
    #[must_use]
    pub fn new(weights: ArrayView2<'_, f64>, bias: &[f64]) -> Self {
        let (n_voxels, n_genes) = weights.dim();
        let mut by_gene = Array2::zeros((n_genes + 1, n_voxels));
        by_gene.slice_mut(s![..n_genes, ..]).assign(&weights.t());
        by_gene.row_mut(n_genes).assign(&ArrayView1::from(bias));
        Self { by_gene }
    }

    /// Takes both as (genes + 1, voxels), b as the last row.
    pub(crate) fn of_genes(by_gene: Array2<f64>) -> Self {
        Self { by_gene }
    }

    /// The factors of all voxels and genes from those of every rank, which all ranks get.
    ///
    /// # Errors
    /// [`GridError`] if the grid does not fit; all ranks get it.
    pub fn of_all(
        &self,
        grid: &Grid<impl Communicator>,
        shares: &Shares,
    ) -> Result<Self, GridError> {
        let lens = [
            shares.cells.whole_len(),
            shares.voxels.whole_len(),
            shares.genes.whole_len(),
        ];
        // Ranks that differ by cells only have the same.
        let mine = match shares.cells.range().start {
            0 => self.by_gene.iter().copied().collect(),
            _ => Vec::new(),
        };
        let parts = grid.gather(&mine);
        let mut whole = Array2::zeros((lens[2] + 1, lens[1]));
        for (rank, part) in parts.iter().enumerate().filter(|(_, p)| !p.is_empty()) {
            let of = Shares::at(grid.shape(), grid.how(), lens, rank)?;
            let part = ArrayView2::from_shape((of.genes.len() + 1, of.voxels.len()), part);
            let part = part.expect("the factors of its share");
            let n_genes = of.genes.len();
            let (genes, voxels) = (of.genes.range(), of.voxels.range());
            whole
                .slice_mut(s![genes, voxels.clone()])
                .assign(&part.slice(s![..n_genes, ..]));
            // The bias is the same on all ranks along the genes.
            whole
                .slice_mut(s![lens[2], voxels])
                .assign(&part.row(n_genes));
        }
        let mut values = whole.into_raw_vec_and_offset().0;
        grid.broadcast(&mut values);
        let by_gene = Array2::from_shape_vec((lens[2] + 1, lens[1]), values);
        Ok(Self {
            by_gene: by_gene.expect("as rank 0 made it"),
        })
    }

    /// The part of one rank.
    #[must_use]
    pub fn share(&self, shares: &Shares) -> Self {
        let genes = shares.genes.range().chain([self.n_genes()]);
        let rows: Vec<_> = genes
            .map(|k| self.by_gene.slice(s![k, shares.voxels.range()]))
            .collect();
        Self {
            by_gene: ndarray::stack(ndarray::Axis(0), &rows).expect("rows of the same voxels"),
        }
    }

    /// The same without some genes.
    ///
    /// * `genes`: their places, sorted
    #[must_use]
    pub fn without_genes(&self, genes: &[usize]) -> Self {
        let kept: Vec<usize> = (0..self.by_gene.nrows())
            .filter(|k| genes.binary_search(k).is_err())
            .collect();
        Self {
            by_gene: self.by_gene.select(ndarray::Axis(0), &kept),
        }
    }

    pub(crate) fn by_gene(&self) -> ArrayView2<'_, f64> {
        self.by_gene.view()
    }

    /// Z, (voxels, genes).
    #[must_use]
    pub fn weights(&self) -> ArrayView2<'_, f64> {
        self.by_gene.slice(s![..self.n_genes(), ..]).reversed_axes()
    }

    /// b, (voxels).
    #[must_use]
    pub fn bias(&self) -> ArrayView1<'_, f64> {
        self.by_gene.row(self.n_genes())
    }

    /// Number of genes K.
    #[must_use]
    pub fn n_genes(&self) -> usize {
        self.by_gene.nrows() - 1
    }

    /// Number of voxels V.
    #[must_use]
    pub fn n_voxels(&self) -> usize {
        self.by_gene.ncols()
    }

    /// P of any cells, those trained on or others.
    ///
    /// * `cells`: S, (cells, genes): the genes of the training in their order, normalised and transformed as there
    ///
    /// # Panics
    /// If the number of genes differs.
    pub fn mapping<'a, C: CellChunks>(&'a self, cells: &'a C) -> FactoredMapping<'a, C> {
        assert_eq!(cells.n_genes(), self.n_genes(), "the genes of the training");
        FactoredMapping {
            factors: self,
            cells,
        }
    }

    /// P of some cells in double precision, (cells, voxels): for comparisons.
    #[must_use]
    pub fn probabilities(&self, cells: &SparseRows) -> Array2<f64> {
        let mut out = Array2::zeros((cells.n_rows(), self.n_voxels()));
        self.for_each_row::<f64>(cells, Precision::F64, &mut |i, row| {
            out.row_mut(i).assign(&ArrayView1::from(row));
        });
        out
    }

    /// Every row of P for cells in memory.
    fn for_each_row<T: Number>(
        &self,
        cells: &SparseRows,
        precision: Precision,
        visit: &mut dyn FnMut(usize, &[T]),
    ) {
        let mut reader = Reader::<T>::new(self, cells.n_rows(), cells.density(), precision);
        reader.for_each_block(cells, &mut |first, stride, rows| {
            for (i, row) in rows.chunks(stride).enumerate() {
                visit(first + i, &row[..self.n_voxels()]);
            }
        });
    }
}

/// Computes P block by block.
struct Reader<T> {
    layout: Layout,
    pass: FactoredRows<T>,
}

impl<T: Number> Reader<T> {
    fn new(factors: &Factors, n_cells: usize, density: f64, precision: Precision) -> Self {
        let (n_voxels, n_genes) = (factors.n_voxels(), factors.n_genes());
        let layout = Layout::new::<T>(n_cells, n_voxels, n_genes, density, precision);
        let mut pass = FactoredRows::new(layout, factors.n_genes() + 1);
        let shares = Shares::whole(n_cells, factors.n_voxels(), factors.n_genes());
        let grid = one_rank();
        let ranks = Ranks {
            grid: &grid,
            shares: &shares,
        };
        pass.begin(factors.by_gene(), ranks);
        Self { layout, pass }
    }

    /// Hands blocks of rows to `visit`: the index of the first cell, the distance between rows, the rows.
    fn for_each_block(&mut self, cells: &SparseRows, visit: &mut dyn FnMut(usize, usize, &[T])) {
        let mut products = Products::for_logits::<T>(cells, self.layout, &[0]);
        for block in products.blocks() {
            let first = block.start;
            let rows = self.pass.probabilities(&mut products, block);
            visit(first, self.layout.stride::<T>(), rows);
        }
    }
}

/// P of some cells by some factors: a stream of row blocks, computed in single precision as they are read.
#[derive(Debug, Clone, Copy)]
pub struct FactoredMapping<'a, C> {
    factors: &'a Factors,
    cells: &'a C,
}

impl<C: CellChunks> MappingRows for FactoredMapping<'_, C> {
    type Error = C::Error;

    fn n_cells(&self) -> usize {
        self.cells.n_cells()
    }

    fn n_voxels(&self) -> usize {
        self.factors.n_voxels()
    }

    fn for_each_block(
        &self,
        visit: &mut dyn FnMut(MappingBlock<'_>) -> Result<(), C::Error>,
    ) -> Result<(), C::Error> {
        let n_voxels = self.n_voxels();
        let mut reader: Option<Reader<f32>> = None;
        self.cells
            .for_each_chunk(0..self.n_cells(), &mut |first, chunk| {
                let reader = reader.get_or_insert_with(|| {
                    Reader::new(self.factors, usize::MAX, chunk.density(), Precision::F32)
                });
                let mut outcome = Ok(());
                reader.for_each_block(chunk, &mut |row, stride, rows| {
                    if outcome.is_err() {
                        return;
                    }
                    let all = ArrayView2::from_shape((rows.len() / stride, stride), rows);
                    let rows = all.expect("whole rows").slice_move(s![.., ..n_voxels]);
                    outcome = visit(MappingBlock {
                        first_cell: first + row,
                        rows: PBlock::Dense(rows),
                    });
                });
                outcome.map(ControlFlow::Continue)
            })
    }
}
