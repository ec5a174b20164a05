//! Products of sparse expression with dense tiles: only non-zero counts cost.

use crate::cpu::blocked::Blocked;
use crate::cpu::lanes::Real;
use crate::cpu::tiles::VOXELS_PER_VECTOR;
use pulp::{Arch, Simd, WithSimd};
use std::ops::Range;

/// What the result of a product starts from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    Zero,
    /// What is there. The product is summed by itself first: many short sums round less than a long one.
    There,
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
    pub(crate) start: Start,
    /// Voxels of the tile, a multiple of [`VOXELS_PER_VECTOR`].
    pub(crate) width: usize,
}

/// Widest tile: with [`CHUNK`](crate::cpu::blocked::CHUNK) rows of it half of a first cache of 48 kB.
pub(crate) const WIDEST: usize = 6 * VOXELS_PER_VECTOR;

impl<T: Real> TileProduct<'_, T> {
    /// Runs it with the best instructions the processor has.
    ///
    /// # Safety
    /// `result` must be valid for the tile of every row, and nothing else may reach it meanwhile.
    pub(crate) unsafe fn run(self, arch: Arch) {
        let last = self.sparse.n_columns(self.chunk) - 1;
        assert!(
            last * self.dense_stride + self.width <= self.dense.len(),
            "the tile of every column"
        );
        arch.dispatch(self);
    }
}

impl<T: Real> WithSimd for TileProduct<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // 16 numbers are 1 AVX-512, 2 AVX2 or 4 NEON vectors of f32, twice as many of f64: strips of at most eight
        // vectors leave registers for the rest.
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
        let offset = first * T::lanes::<S>();
        for (i, row) in self.rows.clone().enumerate() {
            let (columns, values) = self.sparse.row(self.chunk, row);
            let mut sum = [T::splat(simd, T::default()); N];
            for (&c, &value) in columns.iter().zip(values) {
                // SAFETY: the column is one of the chunk, and `run` checked that each of these has its tile.
                let dense: &[T::V<S>; N] = unsafe {
                    vectors(
                        self.dense
                            .as_ptr()
                            .add(c as usize * self.dense_stride + offset),
                    )
                };
                let value = T::splat(simd, T::from_f64(f64::from(value)));
                for n in 0..N {
                    sum[n] = T::mul_add(simd, value, dense[n], sum[n]);
                }
            }
            // SAFETY: the caller of `run` vouches for the tile of every row.
            let result: &mut [T::V<S>; N] =
                unsafe { vectors_mut(self.result.add(i * self.result_stride + offset)) };
            match self.start {
                Start::Zero => *result = sum,
                Start::There => {
                    for n in 0..N {
                        result[n] = T::add(simd, result[n], sum[n]);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `N` vectors of numbers from `at` on must be valid for reading.
#[inline(always)]
unsafe fn vectors<'a, V, T, const N: usize>(at: *const T) -> &'a [V; N] {
    // SAFETY: as the caller promises; pulp's vectors need no more alignment than their numbers.
    unsafe { &*at.cast() }
}

/// # Safety
/// `N` vectors of numbers from `at` on must be valid, and reached through nothing else.
#[inline(always)]
unsafe fn vectors_mut<'a, V, T, const N: usize>(at: *mut T) -> &'a mut [V; N] {
    // SAFETY: as the caller promises; pulp's vectors need no more alignment than their numbers.
    unsafe { &mut *at.cast() }
}
