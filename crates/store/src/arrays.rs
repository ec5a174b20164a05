//! Plain arrays by name: what a checkpoint is made of.

use crate::aside::Aside;
use crate::tree::zarr::{Format, ZarrTree};
use crate::tree::zarr_write::ZarrWriter;
use crate::tree::{Tree, TreeWriter, Values};
use crate::{Existing, Floats, StoreError, fingerprint};
use ndarray::Array2;
use std::ops::Range;
use std::path::Path;

/// Writes arrays into a new Zarr store, aside and renamed when whole; gives its [`fingerprint`].
///
/// # Errors
/// [`StoreError::Exists`] or [`StoreError::Write`].
pub fn write_arrays(path: &Path, arrays: &[(&str, Floats<'_>)]) -> Result<String, StoreError> {
    let aside = Aside::begin(path, Existing::Refuse)?;
    let mut tree: Box<dyn TreeWriter> = Box::new(ZarrWriter::create(aside.partial(), path)?);
    tree.group("", &[])?;
    for (name, values) in arrays {
        match values {
            Floats::F32(values) => {
                let values = values.as_standard_layout();
                let flat = values.as_slice().expect("standard layout");
                tree.array(name, values.shape(), Values::F32(flat), &[])?;
            }
            Floats::F64(values) => {
                let values = values.as_standard_layout();
                let flat = values.as_slice().expect("standard layout");
                tree.array(name, values.shape(), Values::F64(flat), &[])?;
            }
        }
    }
    tree.close()?;
    let found = fingerprint(aside.partial())?;
    aside.finish()?;
    Ok(found)
}

/// Reads a part of an array that [`write_arrays`] wrote.
///
/// # Errors
/// [`StoreError`] if it is not there, or damaged.
pub fn read_array(
    path: &Path,
    name: &str,
    rows: Range<usize>,
    columns: Range<usize>,
) -> Result<Array2<f64>, StoreError> {
    let array = ZarrTree::open(path, Format::V3)?.array(name)?;
    let size = (rows.len(), columns.len());
    let values = array.f64s(&[rows, columns])?;
    Array2::from_shape_vec(size, values)
        .map_err(|_| StoreError::broken(path, name, "it is not of the shape that was asked for"))
}

/// Rows and columns of an array that [`write_arrays`] wrote.
///
/// # Errors
/// [`StoreError`] if it is not there, or no matrix.
pub fn array_size(path: &Path, name: &str) -> Result<(usize, usize), StoreError> {
    match *ZarrTree::open(path, Format::V3)?.array(name)?.shape() {
        [rows, columns] => Ok((rows, columns)),
        _ => Err(StoreError::broken(path, name, "it is no matrix")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrays_come_back_to_the_bit_and_damage_changes_the_fingerprint() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shard.zarr");
        let single = Array2::from_shape_fn((30, 7), |(i, j)| (i as f32).sin() / (j as f32 + 0.3));
        let double = single.mapv(f64::from) / 3.0;
        let arrays = [("a", single.view().into()), ("b", double.view().into())];
        let written = write_arrays(&path, &arrays).unwrap();
        assert_eq!(written, fingerprint(&path).unwrap());
        let part = read_array(&path, "b", 3..20, 2..7).unwrap();
        assert_eq!(part, double.slice(ndarray::s![3..20, 2..7]));
        let all = read_array(&path, "a", 0..30, 0..7).unwrap();
        assert_eq!(all, single.mapv(f64::from));
        assert_eq!(array_size(&path, "a").unwrap(), (30, 7));
        assert!(read_array(&path, "c", 0..1, 0..1).is_err());
        assert!(write_arrays(&path, &arrays).is_err(), "it is there");
    }
}
