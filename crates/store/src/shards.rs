//! A sharded array in which each shard is written by one process: no two processes write the same file.

use crate::StoreError;
use crate::caught::caught;
use crate::tree::zarr_write::make_reproducible;
use ndarray::{Array3, ArrayView3, Ix3, s};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::codec::ZstdCodec;
use zarrs::array::{Array, ArrayBuilder, data_type};
use zarrs::filesystem::FilesystemStore;
use zarrs::metadata::FillValueMetadata;

/// Low compression: predictions hardly compress.
const ZSTD: i32 = 1;

/// A Zarr array (items, genes, voxels) of `f32`, cut along the items into shards; what was never written reads as NaN.
#[derive(Debug, Clone)]
pub struct ShardedArray {
    store: PathBuf,
    name: String,
    shape: [usize; 3],
    per_shard: usize,
}

impl ShardedArray {
    /// Describes an array `name` of the store at `store`, without reading or writing.
    ///
    /// * `shape`: (items, genes, voxels)
    /// * `per_shard`: items of a shard
    #[must_use]
    pub fn new(store: &Path, name: &str, shape: [usize; 3], per_shard: usize) -> Self {
        Self {
            store: store.to_owned(),
            name: name.to_owned(),
            shape,
            per_shard: per_shard.max(1),
        }
    }

    /// Number of shards.
    #[must_use]
    pub fn n_shards(&self) -> usize {
        self.shape[0].div_ceil(self.per_shard)
    }

    /// Where a shard lies.
    #[must_use]
    pub fn place(&self, shard: usize) -> PathBuf {
        self.place_in(&self.store, shard)
    }

    fn place_in(&self, store: &Path, shard: usize) -> PathBuf {
        store.join(&self.name).join(format!("c/{shard}/0/0"))
    }

    /// Writes the metadata of the store and of the array, still without shards.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn create(&self) -> Result<(), StoreError> {
        let group = json!({ "zarr_format": 3, "node_type": "group", "attributes": {} });
        let write = || {
            fs::create_dir_all(&self.store)?;
            fs::write(self.store.join("zarr.json"), format!("{group:#}\n"))
        };
        write().map_err(|e: std::io::Error| StoreError::write(&self.store, e))?;
        let array = self.array(&self.store)?;
        array.store_metadata().map_err(|e| self.failed(e))
    }

    /// Writes a shard into a separate folder; returns the file, whose final place is [`place`](Self::place).
    ///
    /// * `values`: (items of the shard, genes, voxels)
    ///
    /// # Errors
    /// [`StoreError::Unwritable`] if they are not of the array's shape, [`StoreError::Write`].
    pub fn write_aside(
        &self,
        folder: &Path,
        shard: usize,
        values: ArrayView3<'_, f32>,
    ) -> Result<PathBuf, StoreError> {
        let [n_items, genes, voxels] = self.shape;
        let first = shard * self.per_shard;
        let items = self.per_shard.min(n_items.saturating_sub(first));
        if values.dim() != (items, genes, voxels) || items == 0 {
            return Err(StoreError::Unwritable {
                path: self.store.clone(),
                field: format!("{}/c/{shard}", self.name),
                reason: format!("{:?} values for {items} × {genes} × {voxels}", values.dim()),
            });
        }
        let mut full = Array3::from_elem((self.per_shard, genes, voxels), f32::NAN);
        full.slice_mut(s![..items, .., ..]).assign(&values);
        fs::create_dir_all(folder).map_err(|e| StoreError::write(folder, e))?;
        let array = self.array(folder)?;
        let stored = array.store_chunk(&[shard as u64, 0, 0], full.into_dyn());
        stored.map_err(|e| self.failed(e))?;
        Ok(self.place_in(folder, shard))
    }

    /// Reads a shard, (items of the shard, genes, voxels).
    ///
    /// # Errors
    /// [`StoreError::Missing`] if it was not written, [`StoreError::Broken`] if it is damaged.
    pub fn read(&self, shard: usize) -> Result<Array3<f32>, StoreError> {
        let place = self.place(shard);
        if !place.is_file() {
            return Err(StoreError::Missing { path: place });
        }
        let broken = |reason: String| StoreError::broken(&place, &self.name, reason);
        let array = self.array(&self.store)?;
        let full: ndarray::ArrayD<f32> = caught(|| array.retrieve_chunk(&[shard as u64, 0, 0]))
            .map_err(&broken)?
            .map_err(|e| broken(e.to_string()))?;
        let full = full
            .into_dimensionality::<Ix3>()
            .map_err(|e| broken(e.to_string()))?;
        let items = self.per_shard.min(self.shape[0] - shard * self.per_shard);
        Ok(full.slice_move(s![..items, .., ..]))
    }

    fn array(&self, folder: &Path) -> Result<Array<FilesystemStore>, StoreError> {
        let [items, genes, voxels] = self.shape.map(|n| n.max(1) as u64);
        let mut builder = ArrayBuilder::new(
            vec![items, genes, voxels],
            vec![self.per_shard as u64, genes, voxels],
            data_type::float32(),
            FillValueMetadata::from("NaN"),
        );
        builder.subchunk_shape(vec![1, 1, voxels]);
        builder.bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(ZSTD, false))]);
        let store = FilesystemStore::new(folder).map_err(|e| self.failed(e))?;
        let mut array = builder
            .build(Arc::new(store), &format!("/{}", self.name))
            .map_err(|e| self.failed(e))?;
        make_reproducible(&mut array);
        Ok(array)
    }

    fn failed(&self, error: impl std::fmt::Display) -> StoreError {
        let message = error.to_string();
        match message.contains("No space left") || message.contains("os error 28") {
            true => StoreError::write(&self.store, "the disk is full"),
            false => StoreError::write(&self.store, message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_values_are_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("results.zarr");
        let array = ShardedArray::new(&path, "predictions", [6, 4, 50], 6);
        let values = Array3::from_shape_fn((6, 4, 50), |(i, k, j)| (i * k + j) as f32);
        let bytes = |attempt: usize| {
            let aside = folder.path().join(format!("{attempt}"));
            fs::read(array.write_aside(&aside, 0, values.view()).unwrap()).unwrap()
        };
        let first = bytes(0);
        assert!((1..30).all(|attempt| bytes(attempt) == first));
    }

    #[test]
    fn shards_come_back_whoever_wrote_them_and_in_any_order() {
        let folder = tempfile::tempdir().unwrap();
        let array = ShardedArray::new(
            &folder.path().join("results.zarr"),
            "predictions",
            [5, 2, 3],
            2,
        );
        array.create().unwrap();
        assert_eq!(array.n_shards(), 3);
        let all = Array3::from_shape_fn((5, 2, 3), |(i, k, j)| (100 * i + 10 * k + j) as f32);
        for shard in [2, 0] {
            let items = 2 * shard..(2 * shard + 2).min(5);
            let aside = folder.path().join(format!("aside-{shard}"));
            let values = all.slice(s![items, .., ..]);
            let file = array.write_aside(&aside, shard, values).unwrap();
            let place = array.place(shard);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::rename(file, place).unwrap();
        }
        assert_eq!(array.read(0).unwrap(), all.slice(s![0..2, .., ..]));
        assert_eq!(array.read(2).unwrap(), all.slice(s![4..5, .., ..]));
        assert!(matches!(array.read(1), Err(StoreError::Missing { .. })));
        assert!(array.write_aside(folder.path(), 1, all.view()).is_err());
        let place = array.place(0);
        let bytes = fs::read(&place).unwrap();
        fs::write(&place, &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(array.read(0), Err(StoreError::Broken { .. })));
    }
}
