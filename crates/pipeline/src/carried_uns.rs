//! What `uns` says of the observations of a file, and is carried with them: images, scale factors, colours.

use std::collections::BTreeMap;
use tangram_store::{AnnDataWriter, Dataset, StoreError, Uns};

/// Images and scale factors, as squidpy and scanpy read them.
const SPATIAL: &str = "spatial";
/// The end of a key that holds the colours of a column's categories.
const COLORS: &str = "_colors";
/// The key under which a mapping keeps what belongs to its voxels, which are its variables.
const OF_VOXELS: &str = "voxels";

/// Entries of uns by their keys.
pub(crate) type Entries = BTreeMap<String, Uns>;

/// The entries of a file that belong to its observations; what cannot be read is left out.
pub(crate) fn of(file: &Dataset) -> Result<Entries, StoreError> {
    let mut entries = Entries::new();
    for key in file.uns_names()? {
        if (key == SPATIAL || key.ends_with(COLORS))
            && let Ok(Some(value)) = file.uns_value(&key)
        {
            entries.insert(key, value);
        }
    }
    Ok(entries)
}

/// Writes entries, those named as one of `taken` left out.
pub(crate) fn write(
    file: &mut AnnDataWriter,
    entries: &Entries,
    taken: &[&str],
) -> Result<(), StoreError> {
    for (key, value) in entries {
        if !taken.contains(&key.as_str()) {
            file.uns(key, value)?;
        }
    }
    Ok(())
}

/// The key of the colours of a column.
pub(crate) fn colors_key(column: &str) -> String {
    format!("{column}{COLORS}")
}

/// The colours of a column.
pub(crate) fn colors_of(file: &Dataset, column: &str) -> Result<Option<Uns>, StoreError> {
    let key = colors_key(column);
    Ok(match file.uns_names()?.contains(&key) {
        true => file.uns_value(&key).ok().flatten(),
        false => None,
    })
}

/// Writes what belongs to the voxels into a mapping, whose variables they are.
pub(crate) fn write_of_voxels(
    file: &mut AnnDataWriter,
    entries: Entries,
) -> Result<(), StoreError> {
    match entries.is_empty() {
        true => Ok(()),
        false => file.uns(OF_VOXELS, &Uns::Map(entries)),
    }
}

/// What belongs to the voxels of a mapping whose variables they are.
pub(crate) fn read_of_voxels(file: &Dataset) -> Result<Entries, StoreError> {
    let there = file.uns_names()?.iter().any(|key| key == OF_VOXELS);
    match there.then(|| file.uns_value(OF_VOXELS)).transpose()? {
        Some(Some(Uns::Map(entries))) => Ok(entries),
        _ => Ok(Entries::new()),
    }
}
