//! One buffer written by many tasks, each a region of its own.

use std::marker::PhantomData;

/// A mutable slice whose disjoint parts are handed to parallel tasks.
///
/// Tasks write rectangles of a matrix (rows × a range of columns), which splitting slices cannot express.
pub(crate) struct Disjoint<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

// SAFETY: the pointer comes from a unique borrow of a slice of sendable values; `part` obliges callers to keep parts disjoint.
unsafe impl<T: Send> Send for Disjoint<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Disjoint<'_, T> {}

impl<'a, T> Disjoint<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// The entries from `first` on, `len` of them.
    ///
    /// # Safety
    /// While the part lives, no entry of it may be reached through another part.
    #[allow(clippy::mut_from_ref)]
    pub(crate) unsafe fn part(&self, first: usize, len: usize) -> &mut [T] {
        assert!(first + len <= self.len, "a part lies inside its buffer");
        // SAFETY: inside the buffer (checked), unique by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(first), len) }
    }

    /// Address of entry `first`, whose following entries up to `len` lie inside the buffer.
    pub(crate) fn address(&self, first: usize, len: usize) -> *mut T {
        assert!(first + len <= self.len, "a part lies inside its buffer");
        // SAFETY: inside the buffer (checked).
        unsafe { self.start.add(first) }
    }
}
