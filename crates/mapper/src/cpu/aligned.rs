//! Buffers of the kernels, which begin with a cache line.

use aligned_vec::AVec;

/// Numbers whose first lies at the beginning of a cache line.
///
/// Widths of tiles and strides of rows are whole cache lines ([`Tiles`](crate::cpu::tiles::Tiles)), so that no vector of a kernel lies
/// in two. An allocator promises 16 bytes only: where the buffer happened to lie decided whether a pass was a quarter slower.
pub(crate) type Aligned<T> = AVec<T>;

/// `len` zeros.
pub(crate) fn zeros<T: Clone + Default>(len: usize) -> Aligned<T> {
    aligned_vec::avec![T::default(); len]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_begin_with_a_cache_line() {
        for len in [1, 3, 1000, 100_000, 3_000_000] {
            // Shifts what the allocator hands out next.
            let other = vec![0u8; len];
            let mut buffer = zeros::<f32>(len);
            assert_eq!(buffer.as_ptr().addr() % 64, 0);
            buffer.resize(2 * len, 1.0);
            assert_eq!(buffer.as_ptr().addr() % 64, 0, "when it grows, too");
            drop(other);
        }
    }
}
