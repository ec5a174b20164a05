//! Products of sparse expression with dense tiles: only non-zero counts cost.

use crate::blocked::Blocked;
use crate::lanes::Real;
use crate::tiles::VOXELS_PER_VECTOR;
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// What a row of the result starts from.
#[derive(Clone, Copy)]
pub(crate) enum Start<'a, T> {
    /// What is there.
    There,
    /// This row, as wide as the tile.
    From(&'a [T]),
}

/// `result[r] = start + Σ_c sparse[r, c] · dense[c]` for one chunk of columns c and one tile of voxels.
pub(crate) struct TileProduct<'a, T> {
    pub(crate) sparse: &'a Blocked,
    pub(crate) chunk: usize,
    pub(crate) rows: Range<usize>,
    /// Row c of the dense factor starts at `c * dense_stride`.
    pub(crate) dense: &'a [T],
    pub(crate) dense_stride: usize,
    /// Row r of the result starts at `result[(r - rows.start) * result_stride]`.
    pub(crate) result: *mut T,
    pub(crate) result_stride: usize,
    pub(crate) start: Start<'a, T>,
    /// Voxels of the tile: a multiple of [`VOXELS_PER_VECTOR`], at most [`WIDEST`].
    pub(crate) width: usize,
}

/// Widest tile: eight vectors of 16 numbers leave registers for the rest on AVX-512.
pub(crate) const WIDEST: usize = 8 * VOXELS_PER_VECTOR;

impl<T: Real> TileProduct<'_, T> {
    /// Runs it with the best instructions the processor has.
    ///
    /// # Safety
    /// `result` must be valid for the tile of every row, and nothing else may reach it meanwhile.
    pub(crate) unsafe fn run(self, arch: Arch) {
        arch.dispatch(self);
    }
}

impl<T: Real> WithSimd for TileProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 16 numbers are 1 AVX-512, 2 AVX2 or 4 NEON vectors of f32, twice as many of f64. Tiles wider than eight
        // vectors are worked off in strips of eight.
        let vectors = self.width / T::lanes::<S>();
        let mut first = 0;
        while first < vectors {
            match vectors - first {
                1 => self.strip::<S, 1>(simd, first),
                2 => self.strip::<S, 2>(simd, first),
                3 => self.strip::<S, 3>(simd, first),
                4 => self.strip::<S, 4>(simd, first),
                5 => self.strip::<S, 5>(simd, first),
                6 => self.strip::<S, 6>(simd, first),
                7 => self.strip::<S, 7>(simd, first),
                _ => self.strip::<S, 8>(simd, first),
            }
            first += 8;
        }
    }
}

impl<T: Real> TileProduct<'_, T> {
    /// `N` vectors from the `first` on.
    #[inline(always)]
    fn strip<S: Simd, const N: usize>(&self, simd: S, first: usize) {
        let lanes = T::lanes::<S>();
        let (offset, width) = (first * lanes, N * lanes);
        for (i, row) in self.rows.clone().enumerate() {
            let (columns, values) = self.sparse.row(self.chunk, row);
            // SAFETY: the caller of `run` vouches for the tile of every row.
            let result = unsafe {
                std::slice::from_raw_parts_mut(
                    self.result.add(i * self.result_stride + offset),
                    width,
                )
            };
            let result: &mut [T::V<S>; N] = T::vectors_mut::<S>(result)
                .0
                .try_into()
                .expect("N whole vectors");
            let mut sum = match self.start {
                Start::There => *result,
                Start::From(row) => load::<T, S, N>(&row[offset..offset + width]),
            };
            for (&c, &value) in columns.iter().zip(values) {
                let from = c as usize * self.dense_stride + offset;
                let dense = load::<T, S, N>(&self.dense[from..from + width]);
                let value = T::splat(simd, T::from_f64(f64::from(value)));
                for n in 0..N {
                    sum[n] = T::mul_add(simd, value, dense[n], sum[n]);
                }
            }
            *result = sum;
        }
    }
}

#[inline(always)]
fn load<T: Real, S: Simd, const N: usize>(row: &[T]) -> [T::V<S>; N] {
    *<&[T::V<S>; N]>::try_from(T::vectors::<S>(row).0).expect("N whole vectors")
}
