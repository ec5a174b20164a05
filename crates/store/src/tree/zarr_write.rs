//! Zarr, format 3, as a tree, for writing: chunks of a few megabytes, compressed with zstd, in shards where they are
//! many. Floats that were never written read as NaN, not as zero.

use super::new_folder::NewFolder;
use super::{Attr, Attrs, Banded, Growing, Number, TreeWriter, Values};
use crate::StoreError;
use ndarray::{Array2, ArrayView2, s};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::codec::ZstdCodec;
use zarrs::array::codec::array_to_bytes::sharding::{ShardingCodecOptions, SubchunkWriteOrder};
use zarrs::array::{
    Array as ZarrsArray, ArrayBuilder, ArrayMetadataOptions, CodecSpecificOptions, Element,
    data_type,
};
use zarrs::metadata::FillValueMetadata;

/// Numbers per chunk of a long array: 4 MB of `f32`.
const CHUNK: usize = 1 << 20;
/// Numbers per shard: 64 MB of `f32`. An array that fits in one is not sharded.
const SHARD: usize = 16 * CHUNK;
/// A matrix of more chunks than this is sharded.
const MANY_CHUNKS: usize = 16;
/// Low compression: the entries of a mapping hardly compress, and writing must not wait for it.
const ZSTD: i32 = 1;

/// A Zarr store being written.
#[derive(Debug)]
pub(crate) struct ZarrWriter {
    folder: PathBuf,
    place: Place,
}

/// What every array being written needs to know.
#[derive(Debug, Clone)]
struct Place {
    /// The final place, for messages.
    path: PathBuf,
    store: Arc<NewFolder>,
}

type Stored = ZarrsArray<NewFolder>;

/// A number type with its Zarr name and the value of places never written.
trait ZarrNumber: Element + Copy + std::fmt::Debug {
    const FILL: Self;
    fn data_type() -> zarrs::array::DataType;
    fn fill() -> FillValueMetadata;
}

macro_rules! zarr_number {
    ($($type:ty, $name:ident, $fill:expr, $metadata:expr;)*) => {$(
        impl ZarrNumber for $type {
            const FILL: Self = $fill;
            fn data_type() -> zarrs::array::DataType {
                data_type::$name()
            }
            fn fill() -> FillValueMetadata {
                FillValueMetadata::from($metadata)
            }
        }
    )*};
}

zarr_number! {
    f32, float32, f32::NAN, "NaN";
    f64, float64, f64::NAN, "NaN";
    u8, uint8, 0, 0;
    i8, int8, 0, 0;
    i16, int16, 0, 0;
    i32, int32, 0, 0;
    i64, int64, 0, 0;
    bool, bool, false, false;
}

/// Makes the same values the same bytes, by whatever version of the library on how many threads.
pub(crate) fn make_reproducible<S: ?Sized>(array: &mut ZarrsArray<S>) {
    array.set_metadata_options(ArrayMetadataOptions::default().with_include_zarrs_metadata(false));
    // Else chunks lie in a shard in the order in which threads were done with them.
    let in_order = ShardingCodecOptions::default().with_subchunk_write_order(SubchunkWriteOrder::C);
    array.set_codec_specific_options(&CodecSpecificOptions::default().with_option(in_order));
}

impl Place {
    fn failed(&self, error: impl std::fmt::Display) -> StoreError {
        let message = error.to_string();
        match message.contains("No space left") || message.contains("os error 28") {
            true => StoreError::write(&self.path, "the disk is full"),
            false => StoreError::write(&self.path, message),
        }
    }

    fn build(&self, at: &str, mut builder: ArrayBuilder) -> Result<Stored, StoreError> {
        builder.bytes_to_bytes_codecs(vec![Arc::new(ZstdCodec::new(ZSTD, false))]);
        let mut array = builder
            .build(self.store.clone(), &format!("/{at}"))
            .map_err(|e| self.failed(e))?;
        make_reproducible(&mut array);
        array.store_metadata().map_err(|e| self.failed(e))?;
        Ok(array)
    }

    fn numbers<T: ZarrNumber>(
        &self,
        at: &str,
        shape: &[usize],
        values: &[T],
        attrs: Attrs<'_>,
    ) -> Result<(), StoreError> {
        let mut chunk = shape.to_vec();
        if let [first, rest @ ..] = &mut chunk[..] {
            *first = (CHUNK / rest.iter().product::<usize>().max(1)).clamp(1, (*first).max(1));
            rest.iter_mut().for_each(|n| *n = (*n).max(1));
        }
        let mut builder = ArrayBuilder::new(sizes(shape), sizes(&chunk), T::data_type(), T::fill());
        builder.attributes(json_attrs(attrs));
        let array = self.build(at, builder)?;
        if values.is_empty() {
            return Ok(());
        }
        array
            .store_array_subset(&array.subset_all(), values)
            .map_err(|e| self.failed(e))
    }
}

fn sizes(shape: &[usize]) -> Vec<u64> {
    shape.iter().map(|&n| n as u64).collect()
}

fn json_attrs(attrs: Attrs<'_>) -> Map<String, Value> {
    let value = |attr: &Attr| match attr {
        Attr::Text(text) => json!(text),
        Attr::Texts(texts) => json!(texts),
        Attr::Integers(integers) => json!(integers),
        Attr::Flag(flag) => json!(flag),
        Attr::Other => Value::Null,
    };
    attrs
        .iter()
        .map(|(name, attr)| ((*name).to_owned(), value(attr)))
        .collect()
}

impl ZarrWriter {
    pub(crate) fn create(partial: &Path, path: &Path) -> Result<Self, StoreError> {
        fs::create_dir(partial).map_err(|e| StoreError::write(path, e))?;
        let store = NewFolder::new(partial).map_err(|e| StoreError::write(path, e))?;
        let place = Place {
            path: path.to_owned(),
            store: Arc::new(store),
        };
        Ok(Self {
            folder: partial.to_owned(),
            place,
        })
    }
}

impl TreeWriter for ZarrWriter {
    fn group(&mut self, at: &str, attrs: Attrs<'_>) -> Result<(), StoreError> {
        let metadata =
            json!({ "zarr_format": 3, "node_type": "group", "attributes": json_attrs(attrs) });
        let folder = self.folder.join(at);
        let write = || {
            fs::create_dir_all(&folder)?;
            fs::write(folder.join("zarr.json"), format!("{metadata:#}\n"))
        };
        write().map_err(|e: std::io::Error| self.place.failed(e))
    }

    fn array(
        &mut self,
        at: &str,
        shape: &[usize],
        values: Values<'_>,
        attrs: Attrs<'_>,
    ) -> Result<(), StoreError> {
        let place = &self.place;
        match values {
            Values::F32(v) => place.numbers(at, shape, v, attrs),
            Values::F64(v) => place.numbers(at, shape, v, attrs),
            Values::U8(v) => place.numbers(at, shape, v, attrs),
            Values::I8(v) => place.numbers(at, shape, v, attrs),
            Values::I16(v) => place.numbers(at, shape, v, attrs),
            Values::I32(v) => place.numbers(at, shape, v, attrs),
            Values::I64(v) => place.numbers(at, shape, v, attrs),
            Values::Bool(v) => place.numbers(at, shape, v, attrs),
            Values::Texts(v) => {
                let chunk: Vec<u64> = shape.iter().map(|&n| n.clamp(1, CHUNK) as u64).collect();
                let mut builder = ArrayBuilder::new(sizes(shape), chunk, data_type::string(), "");
                builder.attributes(json_attrs(attrs));
                let array = place.build(at, builder)?;
                if v.is_empty() {
                    return Ok(());
                }
                array
                    .store_array_subset(&array.subset_all(), v)
                    .map_err(|e| place.failed(e))
            }
        }
    }

    fn growing(&mut self, at: &str, number: Number) -> Result<Box<dyn Growing>, StoreError> {
        fn begin<T: ZarrNumber + 'static>(place: &Place, at: &str) -> ZarrGrowing<T> {
            ZarrGrowing {
                place: place.clone(),
                at: at.to_owned(),
                sharded: None,
                waiting: Vec::new(),
                n_shards: 0,
            }
        }
        Ok(match number {
            Number::F32 => Box::new(begin::<f32>(&self.place, at)),
            Number::I32 => Box::new(begin::<i32>(&self.place, at)),
            Number::I64 => Box::new(begin::<i64>(&self.place, at)),
        })
    }

    fn banded(
        &mut self,
        at: &str,
        shape: [usize; 2],
        chunk: [usize; 2],
        attrs: Attrs<'_>,
    ) -> Result<Box<dyn Banded>, StoreError> {
        let across = shape[0].div_ceil(chunk[0]);
        let many = across > 1 && across * shape[1].div_ceil(chunk[1]) > MANY_CHUNKS;
        // A shard is a whole band: it is written once, by one writer.
        let stored = if many {
            [across * chunk[0], chunk[1]]
        } else {
            chunk
        };
        let mut builder =
            ArrayBuilder::new(sizes(&shape), sizes(&stored), f32::data_type(), f32::fill());
        builder.attributes(json_attrs(attrs));
        if many {
            builder.subchunk_shape(sizes(&chunk));
        }
        let array = self.place.build(at, builder)?;
        Ok(Box::new(ZarrBanded {
            place: self.place.clone(),
            array,
            chunk: stored,
        }))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

/// A long array: whole shards are written as they fill.
#[derive(Debug)]
struct ZarrGrowing<T: ZarrNumber> {
    place: Place,
    at: String,
    /// Made when the first shard is full; a shorter array has no shards.
    sharded: Option<Stored>,
    waiting: Vec<T>,
    n_shards: usize,
}

impl<T: ZarrNumber> ZarrGrowing<T> {
    fn write_shard(&mut self, len: usize) -> Result<(), StoreError> {
        let array = match &self.sharded {
            Some(array) => array,
            None => {
                let mut builder =
                    ArrayBuilder::new([len as u64], [SHARD as u64], T::data_type(), T::fill());
                builder.subchunk_shape(vec![CHUNK as u64]);
                self.sharded.insert(self.place.build(&self.at, builder)?)
            }
        };
        let shard = array.store_chunk(&[self.n_shards as u64], &self.waiting[..SHARD]);
        shard.map_err(|e| self.place.failed(e))?;
        self.waiting.drain(..SHARD);
        self.n_shards += 1;
        Ok(())
    }

    fn append(&mut self, values: &[T]) -> Result<(), StoreError> {
        self.waiting.extend_from_slice(values);
        while self.waiting.len() > SHARD {
            self.write_shard(SHARD)?;
        }
        Ok(())
    }

    fn complete(mut self) -> Result<(), StoreError> {
        let len = self.n_shards * SHARD + self.waiting.len();
        if self.n_shards == 0 {
            return self.place.numbers(&self.at, &[len], &self.waiting, &[]);
        }
        self.waiting.resize(SHARD, T::FILL);
        self.write_shard(len)?;
        let mut array = self.sharded.take().expect("the first shard made it");
        array
            .set_shape(vec![len as u64])
            .map_err(|e| self.place.failed(e))?;
        array.store_metadata().map_err(|e| self.place.failed(e))
    }
}

macro_rules! zarr_growing {
    ($($type:ty, $variant:ident;)*) => {$(
        impl Growing for ZarrGrowing<$type> {
            fn push(&mut self, values: Values<'_>) -> Result<(), StoreError> {
                match values {
                    Values::$variant(values) => self.append(values),
                    _ => unreachable!("a growing array keeps its type"),
                }
            }

            fn finish(self: Box<Self>) -> Result<(), StoreError> {
                self.complete()
            }
        }
    )*};
}

zarr_growing! {
    f32, F32;
    i32, I32;
    i64, I64;
}

#[derive(Debug)]
struct ZarrBanded {
    place: Place,
    array: Stored,
    /// What is stored as one object: a chunk, or a shard.
    chunk: [usize; 2],
}

impl Banded for ZarrBanded {
    fn write(&mut self, first_column: usize, band: ArrayView2<'_, f32>) -> Result<(), StoreError> {
        let [rows, columns] = self.chunk;
        let mut full = Array2::from_elem((rows, columns), f32::NAN);
        for (block, start) in (0..band.nrows()).step_by(rows).enumerate() {
            let part = band.slice(s![start..(start + rows).min(band.nrows()), ..]);
            if part.dim() != full.dim() {
                full.fill(f32::NAN);
            }
            full.slice_mut(s![..part.nrows(), ..part.ncols()])
                .assign(&part);
            let place = [block as u64, (first_column / columns) as u64];
            self.array
                .store_chunk(&place, &full)
                .map_err(|e| self.place.failed(e))?;
        }
        Ok(())
    }
}
