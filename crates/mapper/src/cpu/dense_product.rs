//! Products of dense expression through libtorch: for expression with few zeros, and for bf16.

use crate::cpu::disjoint::Disjoint;
use crate::cpu::tiles::Tiles;
use crate::number::Number;
use rayon::prelude::*;
use std::ops::Range;
use tangram_core::SparseRows;
use tch::{Device, Kind, Tensor};

/// Cells per task of the first product.
const CELLS: usize = 256;
/// Voxels per task of the second product.
const VOXELS: usize = 512;

/// Scratch of one super-block: its cells' expression, and rows of P, in the numbers of the products.
pub(crate) struct DenseProducts {
    n_genes: usize,
    tiles: Tiles,
    kind: Kind,
    /// S of the super-block, (cells, genes).
    expression: Tensor,
    /// A bf16 (cells, voxels) block; empty in other precisions, which work in place.
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

impl DenseProducts {
    pub(crate) fn new<T: Number>(n_genes: usize, tiles: Tiles, cells: usize, bf16: bool) -> Self {
        let kind = if bf16 { Kind::BFloat16 } else { T::KIND };
        let options = (kind, Device::Cpu);
        let narrow = if bf16 { cells * tiles.padded() } else { 0 };
        Self {
            n_genes,
            tiles,
            kind,
            expression: Tensor::zeros([cells as i64, n_genes as i64], options),
            narrow: Tensor::zeros([narrow as i64], options),
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
        self.densify(cells, &range);
        let padded = self.tiles.padded();
        let weights = view(weights, [self.n_genes, padded], padded).to_kind(self.kind);
        let weights = Shared(&weights);
        let (expression, narrow) = (Shared(&self.expression), Shared(&self.narrow));
        let stride = self.tiles.row_stride::<T>();
        let (kind, gradient) = (self.kind, Disjoint::new(gradient));
        parts(range.len(), CELLS).for_each(|part| {
            alone();
            let rows = part.len();
            let target = gradient.address(part.start * stride, (rows - 1) * stride + padded);
            // SAFETY: rows of this task only.
            let target = unsafe { view_of::<T>(target.cast_const(), [rows, padded], stride) };
            let expression = expression.narrow(0, &part);
            if kind == T::KIND {
                let product = expression.f_matmul_out(&target, weights.get());
                let _in_place = product.expect("shapes fit");
            } else {
                let block = narrow.narrow(0, &(part.start * padded..part.end * padded));
                let block = block.view([rows as i64, padded as i64]);
                let product = expression.f_matmul_out(&block, weights.get());
                let mut target = target;
                target.copy_(&product.expect("shapes fit"));
            }
        });
    }

    /// `sums += S_blkᵀ · P_blk`, (genes, voxels); the super-block is that of the last [`gradient`](Self::gradient) or [`take`](Self::take).
    pub(crate) fn accumulate<T: Number>(&self, n_cells: usize, rows: &[T], sums: &mut [T]) {
        let (padded, stride) = (self.tiles.padded(), self.tiles.row_stride::<T>());
        let expression = self.expression.narrow(0, 0, n_cells as i64).tr();
        let rows = view(rows, [n_cells, padded], stride);
        let (expression, rows, narrow) = (Shared(&expression), Shared(&rows), Shared(&self.narrow));
        let (kind, sums) = (self.kind, Disjoint::new(sums));
        let n_genes = self.n_genes;
        parts(padded, VOXELS).for_each(|part| {
            alone();
            let target = sums.address(part.start, (n_genes - 1) * padded + part.len());
            // SAFETY: columns of this task only.
            let mut target =
                unsafe { view_of::<T>(target.cast_const(), [n_genes, part.len()], padded) };
            let rows = rows.narrow(1, &part);
            if kind == T::KIND {
                let _ = target.addmm_(expression.get(), &rows);
            } else {
                let block = narrow.narrow(0, &(part.start * n_cells..part.end * n_cells));
                let mut block = block.view([n_cells as i64, part.len() as i64]);
                block.copy_(&rows);
                let _ = target.g_add_(&expression.get().matmul(&block));
            }
        });
    }

    /// Makes `range` the super-block of the next [`accumulate`](Self::accumulate).
    pub(crate) fn take<T: Number>(&mut self, cells: &SparseRows, range: &Range<usize>) {
        self.densify(cells, range);
    }

    fn densify(&mut self, cells: &SparseRows, range: &Range<usize>) {
        match self.kind {
            Kind::BFloat16 => self.scatter::<u16>(cells, range, |v| {
                // Round to nearest, ties to even.
                let bits = v.to_bits();
                ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16) as u16
            }),
            Kind::Double => self.scatter::<f64>(cells, range, f64::from),
            _ => self.scatter::<f32>(cells, range, |v| v),
        }
    }

    fn scatter<N: Copy + Default + Send>(
        &mut self,
        cells: &SparseRows,
        range: &Range<usize>,
        number: impl Fn(f32) -> N + Sync,
    ) {
        let len = range.len() * self.n_genes;
        // SAFETY: the tensor holds at least `len` numbers of this kind, contiguous, and is borrowed mutably.
        let expression =
            unsafe { std::slice::from_raw_parts_mut(self.expression.data_ptr().cast::<N>(), len) };
        expression
            .par_chunks_mut(self.n_genes)
            .zip(range.clone())
            .for_each(|(row, cell)| {
                row.fill(N::default());
                let (genes, values) = cells.row(cell);
                for (&k, &value) in genes.iter().zip(values) {
                    row[k as usize] = number(value);
                }
            });
    }
}

/// `0..len` in consecutive parts of at most `at_most`.
fn parts(len: usize, at_most: usize) -> impl IndexedParallelIterator<Item = Range<usize>> {
    (0..len.div_ceil(at_most))
        .into_par_iter()
        .map(move |i| i * at_most..len.min((i + 1) * at_most))
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
