//! Where a rank's part of an array lies in the whole, whatever the grid that wrote it.

use crate::error::{PipelineError, Result};
use ndarray::{Array2, s};
use std::ops::Range;
use std::path::Path;
use tangram_comm::Shares;
use tangram_mapper::Axes;
use tangram_store::read_array;

/// Whether a rank's share of such arrays is its own to write: of ranks that have the same, the first is.
pub(super) fn has(shares: &Shares, axes: Axes) -> bool {
    let first_cells = shares.cells.range().start == 0;
    let first_genes = shares.genes.range().start == 0;
    match axes {
        Axes::GenesVoxels => first_cells,
        Axes::AnyVoxels => first_cells && first_genes,
        Axes::CellsVoxels => first_genes,
    }
}

/// Which rows, in pieces, and columns of the whole array a share has; `n_rows`: of an array whose rows are counted alike.
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

/// Copies what two rectangles of the whole array have in common.
///
/// * `own`: rows and columns of the whole that begin in row `at[0]` and column 0 of `values`
/// * `of`: those that begin in row `at[1]` and column 0 of the store
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

/// Names as the solvers know them.
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
