//! The state of a training between two passes, part by part, and who keeps it.

#[cfg(test)]
mod tests;

use crate::MapError;
use ndarray::Array2;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::ops::Range;
use tangram_comm::Shares;

/// What one rank needs to go on as if nothing had happened.
///
/// Each part of a solver saves itself under a name of its own; whoever writes a snapshot to disk needs to know none of the names.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Passes, or epochs, that are done.
    pub passes: usize,
    /// What all ranks know alike, as JSON.
    pub common: String,
    /// This rank's shard of what is large.
    pub arrays: Vec<SnapshotArray>,
}

/// One array of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotArray {
    /// Its name: that of the part it belongs to, a point, and its own.
    pub name: String,
    /// What its rows and columns are.
    pub axes: Axes,
    /// Its values.
    pub values: Numbers,
}

/// What the rows and columns of an array are, hence which of them a rank has.
///
/// A number for every cell is (cells, alike) with one column; one for every voxel is (alike, voxels) with one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Axes {
    /// Of the rows.
    pub rows: Extent,
    /// Of the columns.
    pub columns: Extent,
}

/// What an axis of an array runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Cells; a rank has its own.
    Cells,
    /// Voxels; a rank has its own.
    Voxels,
    /// Genes; a rank has its own.
    Genes,
    /// Genes, and one row more, which all ranks along the genes have alike.
    GenesAndOne,
    /// Anything that all ranks have alike.
    Alike,
}

impl Extent {
    const ALL: [Self; 5] = [
        Self::Cells,
        Self::Voxels,
        Self::Genes,
        Self::GenesAndOne,
        Self::Alike,
    ];

    /// In files.
    fn name(self) -> &'static str {
        match self {
            Self::Cells => "cells",
            Self::Voxels => "voxels",
            Self::Genes => "genes",
            Self::GenesAndOne => "genes and one",
            Self::Alike => "any",
        }
    }

    /// Places along the whole axis that a rank has, in pieces; `len`: of an axis that all ranks have alike.
    fn places(self, shares: &Shares, len: usize) -> Vec<Range<usize>> {
        let one_piece = |range| std::iter::once(range).collect();
        match self {
            Self::Cells => one_piece(shares.cells.range()),
            Self::Voxels => one_piece(shares.voxels.range()),
            Self::Genes => one_piece(shares.genes.range()),
            Self::GenesAndOne => {
                let n_genes = shares.genes.whole_len();
                vec![shares.genes.range(), n_genes..n_genes + 1]
            }
            Self::Alike => one_piece(0..len),
        }
    }
}

impl Axes {
    /// A row for every gene and one more; a column for every voxel.
    pub const GENES_AND_ONE_BY_VOXELS: Self = Self {
        rows: Extent::GenesAndOne,
        columns: Extent::Voxels,
    };
    /// Any number of rows; a column for every voxel.
    pub const ANY_BY_VOXELS: Self = Self {
        rows: Extent::Alike,
        columns: Extent::Voxels,
    };
    /// A row for every cell; a column for every voxel.
    pub const CELLS_BY_VOXELS: Self = Self {
        rows: Extent::Cells,
        columns: Extent::Voxels,
    };
    /// Anything that all ranks have alike.
    pub const ALIKE: Self = Self {
        rows: Extent::Alike,
        columns: Extent::Alike,
    };
    /// A row for every cell; any number of columns.
    pub const CELLS: Self = Self {
        rows: Extent::Cells,
        columns: Extent::Alike,
    };

    /// Name in files.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}, {}", self.rows.name(), self.columns.name())
    }

    /// The axes of a name in files, if there are any such.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        let (rows, columns) = name.split_once(", ")?;
        let named = |name: &str| Extent::ALL.into_iter().find(|extent| extent.name() == name);
        Some(Self {
            rows: named(rows)?,
            columns: named(columns)?,
        })
    }

    /// Whether a rank is the one to keep its shard of such an array: the first of those that have the same.
    #[must_use]
    pub fn is_keeper(self, shares: &Shares) -> bool {
        let over = |extents: &[Extent]| {
            [self.rows, self.columns]
                .iter()
                .any(|e| extents.contains(e))
        };
        let first = |cut: &tangram_comm::Cut| cut.range().start == 0;
        (over(&[Extent::Cells]) || first(&shares.cells))
            && (over(&[Extent::Voxels]) || first(&shares.voxels))
            && (over(&[Extent::Genes, Extent::GenesAndOne]) || first(&shares.genes))
    }

    /// One rank's shard of an array, from the shards of those that kept it, however they shared the problem.
    ///
    /// * `own`: the share of the rank
    /// * `kept`: every keeper's share, with the size of its array
    /// * `read`: some rows and columns of the array of the keeper at a place of `kept`
    ///
    /// # Errors
    /// That of `read`.
    pub fn assemble<E>(
        self,
        own: &Shares,
        kept: &[(Shares, (usize, usize))],
        mut read: impl FnMut(usize, Range<usize>, Range<usize>) -> Result<Array2<f64>, E>,
    ) -> Result<Array2<f64>, E> {
        let size = kept.first().map_or((0, 0), |(_, size)| *size);
        let pieces = |shares: &Shares| {
            [
                self.rows.places(shares, size.0),
                self.columns.places(shares, size.1),
            ]
        };
        let [own_rows, own_columns] = pieces(own);
        let mut values = Array2::from_elem((total(&own_rows), total(&own_columns)), f64::NAN);
        for (keeper, (shares, _)) in kept.iter().enumerate() {
            let [rows, columns] = pieces(shares);
            for (to_rows, from_rows) in common(&own_rows, &rows) {
                for (to_columns, from_columns) in common(&own_columns, &columns) {
                    let found = read(keeper, from_rows.clone(), from_columns)?;
                    let target = ndarray::s![to_rows.clone(), to_columns];
                    values.slice_mut(target).assign(&found);
                }
            }
        }
        Ok(values)
    }
}

fn total(pieces: &[Range<usize>]) -> usize {
    pieces.iter().map(ExactSizeIterator::len).sum()
}

/// What two lists of pieces of an axis have in common: where it lies in either list's own numbering.
fn common(to: &[Range<usize>], from: &[Range<usize>]) -> Vec<(Range<usize>, Range<usize>)> {
    let mut out = Vec::new();
    let mut to_first = 0;
    for to in to {
        let mut from_first = 0;
        for from in from {
            let both = to.start.max(from.start)..to.end.min(from.end);
            if !both.is_empty() {
                let at = |first: usize, start: usize| {
                    both.start - start + first..both.end - start + first
                };
                out.push((at(to_first, to.start), at(from_first, from.start)));
            }
            from_first += from.len();
        }
        to_first += to.len();
    }
    out
}

/// Numbers in the precision in which they are needed.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// Single precision.
    Single(Array2<f32>),
    /// Double precision.
    Double(Array2<f64>),
}

impl Numbers {
    /// In double precision, which holds either exactly.
    #[must_use]
    pub fn to_double(&self) -> Array2<f64> {
        match self {
            Self::Single(values) => values.mapv(f64::from),
            Self::Double(values) => values.clone(),
        }
    }
}

/// A part of a solver that saves and restores itself.
pub(crate) trait Resumable {
    /// Name of the part in a snapshot.
    const NAME: &'static str;

    /// Saves all that [`restore`](Self::restore) needs.
    fn save(&self, to: &mut Section<'_>);

    /// Takes the state of a snapshot in place of its own.
    ///
    /// * `shares`: of this rank
    ///
    /// # Errors
    /// [`MapError::Snapshot`] if it is of another problem, or of another version of the program.
    fn restore(&mut self, from: &Saved<'_>, shares: &Shares) -> Result<(), MapError>;
}

/// A snapshot that is being made, part by part.
#[derive(Default)]
pub(crate) struct Parts {
    common: Common,
    arrays: Vec<SnapshotArray>,
}

/// By part.
type Common = BTreeMap<String, serde_json::Value>;

impl Parts {
    /// Adds a part.
    pub(crate) fn with<P: Resumable>(mut self, part: &P) -> Self {
        part.save(&mut Section {
            name: P::NAME,
            parts: &mut self,
        });
        self
    }

    /// The snapshot after `passes` passes.
    pub(crate) fn after(self, passes: usize) -> Snapshot {
        Snapshot {
            passes,
            common: serde_json::to_string(&self.common).expect("numbers and texts"),
            arrays: self.arrays,
        }
    }
}

/// A part's place in a snapshot that is being made.
pub(crate) struct Section<'a> {
    name: &'static str,
    parts: &'a mut Parts,
}

impl Section<'_> {
    /// What all ranks know alike.
    pub(crate) fn common(&mut self, values: &impl Serialize) {
        let values = serde_json::to_value(values).expect("numbers and texts");
        self.parts.common.insert(self.name.to_owned(), values);
    }

    /// This rank's shard of an array.
    pub(crate) fn array(&mut self, name: &str, axes: Axes, values: Numbers) {
        self.parts.arrays.push(SnapshotArray {
            name: format!("{}.{name}", self.name),
            axes,
            values,
        });
    }
}

/// A part's place in a snapshot that is read.
pub(crate) struct Saved<'a> {
    name: &'static str,
    snapshot: &'a Snapshot,
}

impl Saved<'_> {
    /// What all ranks know alike.
    pub(crate) fn common<C: DeserializeOwned>(&self) -> Result<C, MapError> {
        let text = &self.snapshot.common;
        let mut all: Common = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let values = all.remove(self.name).ok_or_else(|| {
            wrong(format!(
                "it has no `{}`: another version of the program kept it",
                self.name
            ))
        })?;
        serde_json::from_value(values).map_err(|e| wrong(e.to_string()))
    }

    /// This rank's shard of an array, in double precision; `None` stands for any number of rows.
    pub(crate) fn array(
        &self,
        name: &str,
        (n_rows, n_columns): (Option<usize>, usize),
    ) -> Result<Array2<f64>, MapError> {
        let name = format!("{}.{name}", self.name);
        let found = self.snapshot.arrays.iter().find(|a| a.name == name);
        let values = found
            .ok_or_else(|| wrong(format!("it has no `{name}`")))?
            .values
            .to_double();
        let fits = values.ncols() == n_columns && n_rows.is_none_or(|rows| rows == values.nrows());
        match fits {
            true => Ok(values),
            false => Err(wrong(format!("`{name}` is {:?}", values.dim()))),
        }
    }
}

fn wrong(reason: String) -> MapError {
    MapError::Snapshot { reason }
}

impl Snapshot {
    /// Restores a part.
    ///
    /// # Errors
    /// As [`Resumable::restore`].
    pub(crate) fn restore<P: Resumable>(
        &self,
        part: &mut P,
        shares: &Shares,
    ) -> Result<(), MapError> {
        let saved = Saved {
            name: P::NAME,
            snapshot: self,
        };
        part.restore(&saved, shares)
    }
}

/// What is to be done with the state after a pass; where ranks differ, the last of these wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wish {
    /// Nothing.
    GoOn,
    /// Keep it.
    Save,
    /// Keep it and stop.
    SaveAndStop,
}

/// Keeps snapshots.
pub trait Keeper: Send {
    /// Polled after every pass. The factored solver also polls within a pass, where only [`Wish::SaveAndStop`] acts.
    fn wish(&mut self) -> Wish;

    /// Polled when the training has ended. A training that resumes from the state kept then makes no pass.
    fn wish_at_end(&mut self) -> Wish {
        Wish::GoOn
    }

    /// Keeps this rank's shard; called on all ranks.
    ///
    /// # Errors
    /// Why it cannot.
    fn save(&mut self, snapshot: &Snapshot)
    -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Called when the training goes on although a snapshot could not be kept.
    fn lost(&mut self, error: &(dyn std::error::Error + Send + Sync));
}

/// Keeps nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoKeeper;

impl Keeper for NoKeeper {
    fn wish(&mut self) -> Wish {
        Wish::GoOn
    }

    fn save(&mut self, _: &Snapshot) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        Ok(())
    }

    fn lost(&mut self, _: &(dyn std::error::Error + Send + Sync)) {}
}
