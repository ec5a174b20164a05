//! Reads everything in an HDF5 file that could crash the library: the work of the process that tries a file.

use crate::StoreError;
use crate::tree::hdf5::Hdf5Tree;
use crate::tree::{Array, Dtype, Node, Tree};
use std::ops::Range;
use std::path::Path;

/// Most levels of nested groups.
const DEPTH: usize = 32;
/// Most objects that are read.
const MOST: usize = 100_000;
/// Arrays of at most this many numbers are read whole.
const SMALL: usize = 1 << 20;
/// Numbers that are read of larger arrays.
const PLACES: usize = 64;

/// Reads what damage of an HDF5 file may make the library crash on: every group, attribute, text, index of chunks and small
/// array, and some numbers of every large one. Most other faults are ignored: whoever opens the file reports them.
///
/// * `begin`: called before each object, with its place in the file
///
/// # Errors
/// If what a group holds cannot be listed: then what others would open by name there was not tried.
pub(crate) fn exercise(path: &Path, begin: &mut dyn FnMut(&str)) -> Result<(), StoreError> {
    begin("the file");
    let Ok(tree) = Hdf5Tree::open_untried(path) else {
        return Ok(());
    };
    let mut left = MOST;
    visit(&tree, "", DEPTH, &mut left, begin)
}

fn visit(
    tree: &Hdf5Tree,
    at: &str,
    depth: usize,
    left: &mut usize,
    begin: &mut dyn FnMut(&str),
) -> Result<(), StoreError> {
    *left = left.saturating_sub(1);
    if *left == 0 {
        return Ok(());
    }
    begin(if at.is_empty() { "the root" } else { at });
    tree.exercise_attributes(at)?;
    match tree.node(at) {
        Ok(Some(Node::Array)) => {
            if let Ok(array) = tree.array(at) {
                exercise_array(&*array);
            }
        }
        Ok(Some(Node::Group)) if depth > 0 => {
            for name in tree.children(at)? {
                let place = match at {
                    "" => name,
                    _ => format!("{at}/{name}"),
                };
                visit(tree, &place, depth - 1, left, begin)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn exercise_array(array: &dyn Array) {
    array.exercise_index();
    match array.dtype() {
        Dtype::Text => _ = array.texts(),
        dtype if dtype.is_number() => exercise_numbers(array),
        _ => {}
    }
}

/// Reads an array whole if it is small, otherwise numbers at even distances along its first axis, each of which has its chunk unpacked.
fn exercise_numbers(array: &dyn Array) {
    let Some((&rows, others)) = array.shape().split_first() else {
        return;
    };
    let size = array
        .shape()
        .iter()
        .try_fold(1usize, |n, &len| n.checked_mul(len));
    if size.is_some_and(|n| n <= SMALL) {
        let all: Vec<Range<usize>> = array.shape().iter().map(|&len| 0..len).collect();
        let _ = array.f64s(&all);
        return;
    }
    if others.contains(&0) {
        return;
    }
    let places = PLACES.min(rows);
    for place in 0..places {
        let row = match places {
            1 => 0,
            _ => (place as u128 * (rows - 1) as u128 / (places - 1) as u128) as usize,
        };
        // At the last place the end of every axis is read, at the others the beginning.
        let end = place + 1 == places;
        let others = others.iter().map(|&len| match end {
            true => len - 1..len,
            false => 0..1,
        });
        let at: Vec<Range<usize>> = std::iter::once(row..row + 1).chain(others).collect();
        let _ = array.f64s(&at);
    }
}
