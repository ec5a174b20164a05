//! Sparse matrices on disk: three arrays, compressed along one axis.

use crate::StoreError;
use crate::tree::{Array, Tree};
use std::ops::Range;
use std::path::PathBuf;
use tangram_core::SparseRows;

/// Entries read at a time. Smaller requests read that far ahead, because a file's chunks are unpacked whole: rows
/// asked for a few at a time then cost no more than all at once. 2²¹ entries are 16 MB.
pub(crate) const READ_AHEAD: usize = 1 << 21;
/// Wanted slices that are this many entries apart or less are read in one go.
const GAP: usize = 1 << 16;

/// A sparse matrix compressed along its major axis: rows of CSR, columns of CSC.
#[derive(Debug)]
pub(crate) struct Compressed {
    path: PathBuf,
    at: String,
    n_minor: usize,
    indptr: Vec<usize>,
    indices: Box<dyn Array>,
    values: Box<dyn Array>,
}

impl Compressed {
    pub(crate) fn open(
        tree: &dyn Tree,
        at: &str,
        n_major: usize,
        n_minor: usize,
    ) -> Result<Self, StoreError> {
        let broken = |reason: String| StoreError::broken(tree.path(), at, reason);
        let part = |name: &str| match tree.node(&format!("{at}/{name}"))? {
            Some(_) => tree.array(&format!("{at}/{name}")),
            None => Err(broken(format!("a sparse matrix needs `{name}`"))),
        };
        let (pointers, indices, values) = (part("indptr")?, part("indices")?, part("data")?);
        let &[stored] = values.shape() else {
            return Err(broken("its data are no list".to_owned()));
        };
        let misfit = |n: usize| {
            broken(format!(
                "indptr ({n} numbers) does not fit a matrix of {n_major} by {n_minor} with {stored} entries"
            ))
        };
        // Checked before reading: a damaged file may claim any length.
        if pointers.shape().len() != 1 || n_major.checked_add(1) != Some(pointers.shape()[0]) {
            return Err(misfit(pointers.shape().first().copied().unwrap_or(0)));
        }
        let negative = || broken("indptr holds a negative number".to_owned());
        let indptr = pointers
            .i64s(&pointers.all())?
            .into_iter()
            .map(|p| usize::try_from(p).map_err(|_| negative()));
        let indptr = indptr.collect::<Result<Vec<_>, _>>()?;
        let grows = indptr.windows(2).all(|w| w[0] <= w[1]) && indptr.first() == Some(&0);
        if !grows || indptr.last().is_none_or(|&n| n > stored) {
            return Err(misfit(indptr.len()));
        }
        if let Some(major) = indptr.windows(2).position(|w| w[1] - w[0] > n_minor) {
            return Err(broken(format!(
                "slice {major} has {} entries, but only {n_minor} places",
                indptr[major + 1] - indptr[major]
            )));
        }
        if indices.shape() != values.shape() {
            return Err(broken("indices and data differ in length".to_owned()));
        }
        if !values.dtype().is_number() {
            return Err(broken(format!(
                "its data are of type {}, not numbers",
                values.dtype()
            )));
        }
        Ok(Self {
            path: tree.path().to_owned(),
            at: at.to_owned(),
            n_minor,
            indptr,
            indices,
            values,
        })
    }

    /// Type of the stored values.
    pub(crate) fn dtype(&self) -> String {
        self.values.dtype().to_string()
    }

    /// Number of stored entries.
    pub(crate) fn stored(&self) -> usize {
        self.indptr[self.indptr.len() - 1]
    }

    /// End of the block of about [`READ_AHEAD`] entries that begins at `start`; at least `start + 1`.
    pub(crate) fn block_end(&self, start: usize) -> usize {
        let limit = self.indptr[start] + READ_AHEAD;
        (self.indptr.partition_point(|&p| p <= limit) - 1).max(start + 1)
    }

    /// Slices of the major axis, as rows; read in blocks.
    pub(crate) fn range(&self, wanted: Range<usize>) -> Result<SparseRows, StoreError> {
        let mut out = SparseRows::empty(self.n_minor);
        let mut start = wanted.start;
        while start < wanted.end {
            let end = self.block_end(start).min(wanted.end);
            let block = self.block(start..end)?;
            if start == wanted.start {
                out = block;
            } else {
                out.append(&block);
            }
            start = end;
        }
        Ok(out)
    }

    /// The given slices of the major axis, as rows in that order; what lies between is not read unless it is short.
    pub(crate) fn select(&self, wanted: &[usize]) -> Result<SparseRows, StoreError> {
        let mut sorted: Vec<usize> = wanted.to_vec();
        sorted.sort_unstable();
        let mut found = SparseRows::empty(self.n_minor);
        let mut rest = &sorted[..];
        while let [first, ..] = *rest {
            let fits = |pair: &[usize]| {
                self.indptr[pair[1]] - self.indptr[pair[0] + 1] <= GAP
                    && self.indptr[pair[1] + 1] - self.indptr[first] <= READ_AHEAD
            };
            let run = 1 + rest.windows(2).take_while(|pair| fits(pair)).count();
            let block = self.range(first..rest[run - 1] + 1)?;
            let rows: Vec<usize> = rest[..run].iter().map(|w| w - first).collect();
            found.append(&block.select_rows(&rows));
            rest = &rest[run..];
        }
        let place: Vec<usize> = wanted
            .iter()
            .map(|w| sorted.partition_point(|s| s < w))
            .collect();
        Ok(found.select_rows(&place))
    }

    fn block(&self, wanted: Range<usize>) -> Result<SparseRows, StoreError> {
        let entries = self.indptr[wanted.start]..self.indptr[wanted.end];
        let mut indptr: Vec<usize> = self.indptr[wanted.start..=wanted.end]
            .iter()
            .map(|p| p - entries.start)
            .collect();
        let region = [entries];
        let indices = self.indices.i64s(&region)?;
        let mut values = self.values.f32s(&region)?;
        let index = |i| u32::try_from(i).unwrap_or(u32::MAX);
        let mut indices: Vec<u32> = indices.into_iter().map(index).collect();
        if values.contains(&0.0) {
            drop_zeros(&mut indptr, &mut indices, &mut values);
        }
        SparseRows::new(self.n_minor, indptr, indices, values).map_err(|error| {
            let reason = format!("slices {} to {}: {error}", wanted.start, wanted.end);
            StoreError::broken(&self.path, &self.at, reason)
        })
    }
}

/// Removes zeros that were stored.
fn drop_zeros(indptr: &mut [usize], indices: &mut Vec<u32>, values: &mut Vec<f32>) {
    let mut kept = 0;
    let mut from = 0;
    for pointer in &mut indptr[1..] {
        for entry in from..*pointer {
            if values[entry] != 0.0 {
                (indices[kept], values[kept]) = (indices[entry], values[entry]);
                kept += 1;
            }
        }
        (from, *pointer) = (*pointer, kept);
    }
    indices.truncate(kept);
    values.truncate(kept);
}
