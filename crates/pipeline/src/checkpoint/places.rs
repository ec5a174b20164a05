//! Which rows and columns of an array a rank owns, for any grid.

use crate::error::{PipelineError, Result};
use ndarray::{Array2, s};
use std::ops::Range;
use std::path::Path;
use tangram_comm::Shares;
use tangram_mapper::Axes;
use tangram_store::read_array;

/// Whether this rank writes its share of an array with these axes. Of ranks with the same share, the first does.
pub(super) fn has(shares: &Shares, axes: Axes) -> bool {
    let first_cells = shares.cells.range().start == 0;
    let first_genes = shares.genes.range().start == 0;
    match axes {
        Axes::GenesVoxels => first_cells,
        Axes::AnyVoxels => first_cells && first_genes,
        Axes::CellsVoxels => first_genes,
    }
}

/// The rows (as ranges) and columns of the whole array in a share.
///
/// * `n_rows`: number of rows of an array that every rank has with all its rows
pub(super) fn places(
    shares: &Shares,
    axes: Axes,
    n_rows: usize,
) -> (Vec<Range<usize>>, Range<usize>) {
    let n_genes = shares.genes.whole_len();
    let (rows, last) = match axes {
        Axes::GenesVoxels => (shares.genes.range(), Some(n_genes..n_genes + 1)),
        Axes::AnyVoxels => (0..n_rows, None),
        Axes::CellsVoxels => (shares.cells.range(), None),
    };
    let rows = std::iter::once(rows).chain(last).collect();
    (rows, shares.voxels.range())
}

pub(super) fn total(pieces: &[Range<usize>]) -> usize {
    pieces.iter().map(ExactSizeIterator::len).sum()
}

/// Copies the intersection of two rectangles of the whole array.
///
/// * `own`: rows and columns that are stored from row `at[0]` and column 0 of `values`
/// * `of`: rows and columns that are stored from row `at[1]` and column 0 of the file
pub(super) fn copy(
    path: &Path,
    name: &str,
    values: &mut Array2<f64>,
    own: [&Range<usize>; 2],
    of: [&Range<usize>; 2],
    at: [usize; 2],
) -> Result<()> {
    let common = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start)..a.end.min(b.end);
    let (rows, columns) = (common(own[0], of[0]), common(own[1], of[1]));
    if rows.is_empty() || columns.is_empty() {
        return Ok(());
    }
    let moved = |range: &Range<usize>, from: usize, to: usize| {
        range.start - from + to..range.end - from + to
    };
    let found = read_array(
        path,
        name,
        moved(&rows, of[0].start, at[1]),
        moved(&columns, of[1].start, 0),
    )?;
    let target = s![
        moved(&rows, own[0].start, at[0]),
        moved(&columns, own[1].start, 0)
    ];
    values.slice_mut(target).assign(&found);
    Ok(())
}

pub(super) fn axes_name(axes: Axes) -> &'static str {
    match axes {
        Axes::GenesVoxels => "genes and one, voxels",
        Axes::AnyVoxels => "any, voxels",
        Axes::CellsVoxels => "cells, voxels",
    }
}

/// The names and axes of the solvers' arrays.
pub(super) fn known(step: &Path, name: &str, axes: &str) -> Result<(&'static str, Axes)> {
    const NAMES: [&str; 7] = [
        "moving",
        "average",
        "best",
        "densities",
        "logits",
        "first_moment",
        "second_moment",
    ];
    let name = NAMES.iter().find(|n| **n == name);
    let all = [Axes::GenesVoxels, Axes::AnyVoxels, Axes::CellsVoxels];
    let axes = all.into_iter().find(|&a| axes_name(a) == axes);
    match (name, axes) {
        (Some(name), Some(axes)) => Ok((name, axes)),
        _ => Err(PipelineError::DamagedCheckpoint {
            path: step.to_owned(),
            reason: "the checkpoint is of another version of the program".to_owned(),
        }),
    }
}
