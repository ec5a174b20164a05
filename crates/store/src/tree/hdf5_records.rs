//! Datasets of records, which anndata 0.6 wrote for tables: each field is an array of its own.

use super::hdf5::{dtype, fixed, stored};
use super::hdf5_error::brief;
use super::{Array, Dtype};
use crate::StoreError;
use crate::plausible::n_elements;
use hdf5::types::{CompoundField, CompoundType, FloatSize, IntSize, TypeDescriptor};
use hdf5::{Dataset, Datatype};
use hdf5_sys::h5d::H5Dread;
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::H5S_ALL;
use std::ops::Range;
use std::path::PathBuf;

/// A field of a dataset of records, open for reading.
#[derive(Debug)]
pub(super) struct Hdf5Field {
    path: PathBuf,
    at: String,
    dataset: Dataset,
    name: String,
    element: TypeDescriptor,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Hdf5Field {
    pub(super) fn new(path: PathBuf, at: String, dataset: Dataset, field: CompoundField) -> Self {
        let mut shape = dataset.shape();
        let mut element = field.ty;
        while let TypeDescriptor::FixedArray(inner, n) = element {
            shape.push(n);
            element = *inner;
        }
        let dtype = dtype(&element);
        Self {
            path,
            at,
            dataset,
            name: field.name,
            element,
            shape,
            dtype,
        }
    }

    /// Reads this field alone of every record, as elements of a type of `size` bytes.
    fn read(&self, element: TypeDescriptor, size: usize) -> Result<Vec<u8>, StoreError> {
        let count = n_elements(&self.path, &self.at, &self.shape, size.max(1), || {
            stored(&self.path, &self.dataset)
        })?;
        self.read_all(element, size, count)
            .map_err(|e| StoreError::broken(&self.path, &self.at, brief(&e.to_string())))
    }

    fn read_all(
        &self,
        element: TypeDescriptor,
        size: usize,
        count: usize,
    ) -> Result<Vec<u8>, hdf5::Error> {
        let mut ty = element;
        for &n in self.shape[1..].iter().rev() {
            ty = TypeDescriptor::FixedArray(Box::new(ty), n);
        }
        let width = size * self.shape[1..].iter().product::<usize>();
        let fields = vec![CompoundField::new(&self.name, ty, 0, 0)];
        let memory = Datatype::from_descriptor(&TypeDescriptor::Compound(CompoundType {
            fields,
            size: width,
        }))?;
        let mut buffer = vec![0u8; count * size];
        // SAFETY: the buffer holds one element of the memory type per record.
        hdf5::h5call!(H5Dread(
            self.dataset.id(),
            memory.id(),
            H5S_ALL,
            H5S_ALL,
            H5P_DEFAULT,
            buffer.as_mut_ptr().cast()
        ))?;
        Ok(buffer)
    }

    fn numbers<T>(
        &self,
        region: &[Range<usize>],
        from: fn([u8; 8]) -> T,
        ty: TypeDescriptor,
    ) -> Result<Vec<T>, StoreError> {
        let broken = |reason: String| StoreError::broken(&self.path, &self.at, reason);
        if !self.dtype.is_number() || region != self.all() {
            return Err(broken(
                "a field of records is read whole, and as numbers if it holds some".to_owned(),
            ));
        }
        let bytes = self.read(ty, 8)?;
        Ok(bytes.as_chunks::<8>().0.iter().map(|&b| from(b)).collect())
    }
}

impl Array for Hdf5Field {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    fn f32s(&self, region: &[Range<usize>]) -> Result<Vec<f32>, StoreError> {
        self.numbers(
            region,
            |b| f64::from_ne_bytes(b) as f32,
            TypeDescriptor::Float(FloatSize::U8),
        )
    }

    fn f64s(&self, region: &[Range<usize>]) -> Result<Vec<f64>, StoreError> {
        self.numbers(
            region,
            f64::from_ne_bytes,
            TypeDescriptor::Float(FloatSize::U8),
        )
    }

    fn i64s(&self, region: &[Range<usize>]) -> Result<Vec<i64>, StoreError> {
        self.numbers(
            region,
            i64::from_ne_bytes,
            TypeDescriptor::Integer(IntSize::U8),
        )
    }

    fn texts(&self) -> Result<Vec<String>, StoreError> {
        let broken = |reason: String| StoreError::broken(&self.path, &self.at, reason);
        match self.element {
            TypeDescriptor::FixedAscii(size) | TypeDescriptor::FixedUnicode(size) => {
                let bytes = self.read(self.element.clone(), size)?;
                Ok(bytes.chunks_exact(size.max(1)).map(fixed).collect())
            }
            _ => Err(broken(format!(
                "a field of type {} is not read as text",
                self.dtype
            ))),
        }
    }
}
