//! HDF5 as a tree, for writing. Objects carry no times, so that the same content gives the same bytes.

use super::hdf5::CHUNK_CACHE;
use super::hdf5_error::brief;
use super::{Attr, Attrs, Banded, Growing, Number, TreeWriter, Values};
use crate::StoreError;
use hdf5::types::VarLenUnicode;
use hdf5::{Dataset, DatasetBuilder, File, H5Type, Location, SimpleExtents};
use hdf5_sys::h5f::H5Fget_vfd_handle;
use hdf5_sys::h5p::H5P_DEFAULT;
use ndarray::{ArrayView2, ArrayViewD, s};
use std::os::fd::{BorrowedFd, RawFd};
use std::path::{Path, PathBuf};
use std::{fs, ptr};

/// Numbers per chunk of a long array: 1 MB of `f32`.
const CHUNK: usize = 1 << 18;
/// Shorter arrays than this stay in one piece, uncompressed.
const SMALL: usize = 1 << 12;
/// Lowest compression: the entries of a mapping hardly compress, and writing must not wait for it.
const DEFLATE: u8 = 1;

/// Gives up HDF5's lock on a file being written. Nobody else knows the file before it gets its name, and any program started
/// meanwhile inherits the lock and would keep it after the file is whole.
fn unlock(file: &File) -> hdf5::Result<()> {
    let mut handle = ptr::null_mut();
    hdf5::h5call!(H5Fget_vfd_handle(file.id(), H5P_DEFAULT, &raw mut handle))?;
    // SAFETY: the default driver of an open file gives a pointer to the descriptor that it keeps until the file is closed.
    let descriptor = unsafe { BorrowedFd::borrow_raw(*handle.cast::<RawFd>()) };
    let same = descriptor.try_clone_to_owned();
    let same = same.map_err(|e| hdf5::Error::from(e.to_string()))?;
    // A file system that knows no locks refuses, and has none to give up.
    let _ = fs::File::from(same).unlock();
    Ok(())
}

/// An HDF5 file being written.
#[derive(Debug)]
pub(crate) struct Hdf5Writer {
    /// The final place, for messages.
    path: PathBuf,
    file: File,
}

impl Hdf5Writer {
    pub(crate) fn create(partial: &Path, path: &Path) -> Result<Self, StoreError> {
        // HDF5 explains a refused file at length; the system does in a word.
        fs::File::create(partial).map_err(|e| StoreError::write(path, e))?;
        let (slots, bytes, w0) = CHUNK_CACHE;
        let file = File::with_options()
            .with_fapl(|p| p.chunk_cache(slots, bytes, w0))
            .create(partial);
        let file = file.map_err(|e| failed(path, &e))?;
        unlock(&file).map_err(|e| failed(path, &e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn builder(&self) -> DatasetBuilder {
        self.file.new_dataset_builder().obj_track_times(false)
    }

    fn numbers<T: H5Type>(
        &self,
        at: &str,
        shape: &[usize],
        values: &[T],
    ) -> Result<Dataset, hdf5::Error> {
        let view =
            ArrayViewD::from_shape(shape, values).map_err(|e| hdf5::Error::from(e.to_string()))?;
        let builder = self.builder();
        if values.len() < SMALL {
            return builder.with_data(view).create(at);
        }
        let width: usize = shape[1..].iter().product();
        let mut chunk = shape.to_vec();
        chunk[0] = (CHUNK / width.max(1)).clamp(1, shape[0]);
        builder
            .chunk(chunk)
            .shuffle()
            .deflate(DEFLATE)
            .with_data(view)
            .create(at)
    }
}

fn failed(path: &Path, error: &hdf5::Error) -> StoreError {
    let message = error.to_string();
    let reason = match message.contains("No space left") || message.contains("errno = 28") {
        true => "the disk is full".to_owned(),
        false => brief(&message),
    };
    StoreError::write(path, reason)
}

fn unicode(text: &str) -> Result<VarLenUnicode, hdf5::Error> {
    text.parse()
        .map_err(|_| hdf5::Error::from(format!("the text {text:?} holds a NUL")))
}

fn unicodes(texts: &[String]) -> Result<Vec<VarLenUnicode>, hdf5::Error> {
    texts.iter().map(|t| unicode(t)).collect()
}

fn set(location: &Location, attrs: Attrs<'_>) -> Result<(), hdf5::Error> {
    for (name, value) in attrs {
        match value {
            Attr::Text(text) => location
                .new_attr::<VarLenUnicode>()
                .create(*name)?
                .write_scalar(&unicode(text)?)?,
            Attr::Texts(texts) if texts.is_empty() => {
                location
                    .new_attr::<VarLenUnicode>()
                    .shape([0])
                    .create(*name)?;
            }
            Attr::Texts(texts) => {
                location
                    .new_attr_builder()
                    .with_data(&unicodes(texts)?)
                    .create(*name)?;
            }
            Attr::Integers(integers) => {
                location
                    .new_attr_builder()
                    .with_data(integers)
                    .create(*name)?;
            }
            Attr::Flag(flag) => location
                .new_attr::<bool>()
                .create(*name)?
                .write_scalar(flag)?,
            Attr::Other => {}
        }
    }
    Ok(())
}

impl TreeWriter for Hdf5Writer {
    fn group(&mut self, at: &str, attrs: Attrs<'_>) -> Result<(), StoreError> {
        let write = || {
            if at.is_empty() {
                return set(&self.file, attrs);
            }
            let group = self
                .file
                .create_group_builder()
                .obj_track_times(false)
                .create(at)?;
            set(&group, attrs)
        };
        write().map_err(|e| failed(&self.path, &e))
    }

    fn array(
        &mut self,
        at: &str,
        shape: &[usize],
        values: Values<'_>,
        attrs: Attrs<'_>,
    ) -> Result<(), StoreError> {
        let write = || {
            let dataset = match values {
                Values::F32(v) => self.numbers(at, shape, v),
                Values::F64(v) => self.numbers(at, shape, v),
                Values::U8(v) => self.numbers(at, shape, v),
                Values::I8(v) => self.numbers(at, shape, v),
                Values::I16(v) => self.numbers(at, shape, v),
                Values::I32(v) => self.numbers(at, shape, v),
                Values::I64(v) => self.numbers(at, shape, v),
                Values::Bool(v) => self.numbers(at, shape, v),
                Values::Texts(v) => {
                    let texts = unicodes(v)?;
                    let view = ArrayViewD::from_shape(shape, &texts)
                        .map_err(|e| hdf5::Error::from(e.to_string()))?;
                    self.builder().with_data(view).create(at)
                }
            }?;
            set(&dataset, attrs)
        };
        write().map_err(|e| failed(&self.path, &e))
    }

    fn growing(&mut self, at: &str, number: Number) -> Result<Box<dyn Growing>, StoreError> {
        let builder = self.builder().chunk([CHUNK]).shuffle().deflate(DEFLATE);
        let none = SimpleExtents::resizable([0]);
        let dataset = match number {
            Number::F32 => builder.empty::<f32>().shape(none).create(at),
            Number::I32 => builder.empty::<i32>().shape(none).create(at),
            Number::I64 => builder.empty::<i64>().shape(none).create(at),
        };
        let dataset = dataset.map_err(|e| failed(&self.path, &e))?;
        Ok(Box::new(Hdf5Growing {
            path: self.path.clone(),
            dataset,
            len: 0,
        }))
    }

    fn banded(
        &mut self,
        at: &str,
        shape: [usize; 2],
        chunk: [usize; 2],
        attrs: Attrs<'_>,
    ) -> Result<Box<dyn Banded>, StoreError> {
        let write = || {
            let builder = self.builder().chunk(chunk).shuffle().deflate(DEFLATE);
            let dataset = builder.empty::<f32>().shape(shape).create(at)?;
            set(&dataset, attrs)?;
            Ok(dataset)
        };
        let dataset = write().map_err(|e| failed(&self.path, &e))?;
        Ok(Box::new(Hdf5Banded {
            path: self.path.clone(),
            dataset,
        }))
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let Self { path, file } = *self;
        // What is still in memory reaches the disk here, so a full disk may show here first.
        file.flush()
            .and_then(|()| file.close())
            .map_err(|e| failed(&path, &e))
    }
}

#[derive(Debug)]
struct Hdf5Growing {
    path: PathBuf,
    dataset: Dataset,
    len: usize,
}

impl Growing for Hdf5Growing {
    fn push(&mut self, values: Values<'_>) -> Result<(), StoreError> {
        let (dataset, len) = (&self.dataset, self.len);
        fn append<T: H5Type>(
            dataset: &Dataset,
            len: usize,
            values: &[T],
        ) -> Result<usize, hdf5::Error> {
            let end = len + values.len();
            if end > len {
                dataset.resize([end])?;
                dataset.write_slice(values, len..end)?;
            }
            Ok(end)
        }
        let end = match values {
            Values::F32(v) => append(dataset, len, v),
            Values::I32(v) => append(dataset, len, v),
            Values::I64(v) => append(dataset, len, v),
            _ => unreachable!("a growing array is of one of the types of `Number`"),
        };
        self.len = end.map_err(|e| failed(&self.path, &e))?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug)]
struct Hdf5Banded {
    path: PathBuf,
    dataset: Dataset,
}

impl Banded for Hdf5Banded {
    fn write(&mut self, first_column: usize, band: ArrayView2<'_, f32>) -> Result<(), StoreError> {
        let columns = first_column..first_column + band.ncols();
        let band = band.as_standard_layout();
        let written = self.dataset.write_slice(&band, s![.., columns]);
        written.map_err(|e| failed(&self.path, &e))
    }
}
