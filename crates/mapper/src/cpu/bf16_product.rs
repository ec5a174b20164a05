//! Products of dense expression in bf16, which libtorch multiplies.

use crate::cpu::dense_product::{CELLS, VOXELS, parts};
use crate::cpu::disjoint::Disjoint;
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use rayon::prelude::*;
use std::ops::Range;
use tangram_core::SparseRows;
use tch::{Device, Kind, Tensor};

/// Scratch of one super-block, in bf16.
pub(crate) struct Bf16Products {
    n_genes: usize,
    tiles: Tiles,
    /// S of the super-block, (cells, genes).
    expression: Tensor,
    /// Room for its gradients or probabilities, (cells, voxels).
    narrow: Tensor,
}

/// Tensors are handed to tasks that write disjoint parts of what they point to.
struct Shared<'a>(&'a Tensor);
// SAFETY: libtorch tensors may be read and viewed from several threads; every task writes its own part only.
unsafe impl Sync for Shared<'_> {}
impl Shared<'_> {
    fn get(&self) -> &Tensor {
        self.0
    }

    fn narrow(&self, dim: i64, range: &Range<usize>) -> Tensor {
        self.0.narrow(dim, range.start as i64, range.len() as i64)
    }
}

impl Bf16Products {
    /// * `cells`: most of a super-block
    pub(crate) fn new(n_genes: usize, tiles: Tiles, cells: usize) -> Self {
        let zeros = |len: usize| Tensor::zeros([len as i64], (Kind::BFloat16, Device::Cpu));
        Self {
            n_genes,
            tiles,
            expression: zeros(cells * n_genes).view([cells as i64, n_genes as i64]),
            narrow: zeros(cells * tiles.padded()),
        }
    }

    /// `gradient[i] = S_i · W`, (cells, voxels) from W, (genes, voxels).
    pub(crate) fn gradient<T: Number>(
        &mut self,
        cells: &SparseRows,
        range: Range<usize>,
        weights: &[T],
        gradient: &mut [T],
    ) {
        self.take(cells, &range);
        let padded = self.tiles.padded();
        let weights = view(weights, [self.n_genes, padded], padded).to_kind(Kind::BFloat16);
        let weights = Shared(&weights);
        let (expression, narrow) = (Shared(&self.expression), Shared(&self.narrow));
        let stride = self.tiles.row_stride::<T>();
        let gradient = Disjoint::new(gradient);
        parts(range.len(), CELLS).for_each(|part| {
            alone();
            let rows = part.len();
            let target = gradient.address(part.start * stride, (rows - 1) * stride + padded);
            // SAFETY: rows of this task only.
            let mut target = unsafe { view_of::<T>(target.cast_const(), [rows, padded], stride) };
            let expression = expression.narrow(0, &part);
            let block = narrow.narrow(0, &(part.start * padded..part.end * padded));
            let block = block.view([rows as i64, padded as i64]);
            let product = expression.f_matmul_out(&block, weights.get());
            target.copy_(&product.expect("shapes fit"));
        });
    }

    /// `sums += S_blkᵀ · P_blk`, (genes, voxels); the super-block is that of the last [`gradient`](Self::gradient) or [`take`](Self::take).
    pub(crate) fn accumulate<T: Number>(&self, n_cells: usize, rows: &[T], sums: &mut [T]) {
        let (padded, stride) = (self.tiles.padded(), self.tiles.row_stride::<T>());
        let expression = self.expression.narrow(0, 0, n_cells as i64).tr();
        let rows = view(rows, [n_cells, padded], stride);
        let (expression, rows, narrow) = (Shared(&expression), Shared(&rows), Shared(&self.narrow));
        let sums = Disjoint::new(sums);
        let n_genes = self.n_genes;
        parts(padded, VOXELS).for_each(|part| {
            alone();
            let target = sums.address(part.start, (n_genes - 1) * padded + part.len());
            // SAFETY: columns of this task only.
            let mut target =
                unsafe { view_of::<T>(target.cast_const(), [n_genes, part.len()], padded) };
            let rows = rows.narrow(1, &part);
            let block = narrow.narrow(0, &(part.start * n_cells..part.end * n_cells));
            let mut block = block.view([n_cells as i64, part.len() as i64]);
            block.copy_(&rows);
            let _ = target.g_add_(&expression.get().matmul(&block));
        });
    }

    /// Makes `range` the super-block of the next [`accumulate`](Self::accumulate).
    pub(crate) fn take(&mut self, cells: &SparseRows, range: &Range<usize>) {
        let len = range.len() * self.n_genes;
        // SAFETY: the tensor holds at least `len` numbers of 16 bits, contiguous, and is borrowed mutably.
        let expression = unsafe {
            std::slice::from_raw_parts_mut(self.expression.data_ptr().cast::<u16>(), len)
        };
        expression
            .par_chunks_mut(self.n_genes)
            .zip(range.clone())
            .for_each(|(row, cell)| {
                row.fill(0);
                let (genes, values) = cells.row(cell);
                for (&k, &value) in genes.iter().zip(values) {
                    // Round to nearest, ties to even.
                    let bits = value.to_bits();
                    row[k as usize] = ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
                }
            });
    }
}

/// Work is already spread over the workers: libtorch must not start threads of its own.
fn alone() {
    thread_local!(static SET: () = tch::set_num_threads(1));
    SET.with(|()| {});
}

fn view<T: Number>(slice: &[T], [rows, columns]: [usize; 2], stride: usize) -> Tensor {
    assert!(
        (rows - 1) * stride + columns <= slice.len(),
        "a view lies inside its slice"
    );
    // SAFETY: inside the slice (checked); callers only read through it.
    unsafe { view_of(slice.as_ptr(), [rows, columns], stride) }
}

/// # Safety
/// The memory must be valid while the tensor lives, and written by nothing else.
unsafe fn view_of<T: Number>(
    start: *const T,
    [rows, columns]: [usize; 2],
    stride: usize,
) -> Tensor {
    let (size, strides) = ([rows as i64, columns as i64], [stride as i64, 1]);
    // SAFETY: as the caller promises.
    unsafe { Tensor::from_blob(start.cast(), &size, &strides, T::KIND, Device::Cpu) }
}
