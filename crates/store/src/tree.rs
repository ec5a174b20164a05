//! A file seen as a tree: groups and arrays with attributes. HDF5 and Zarr each show themselves this way, and the
//! AnnData encodings are read and written once, above it.

pub(crate) mod hdf5;
mod hdf5_error;
mod hdf5_links;
mod hdf5_records;
pub(crate) mod hdf5_write;
mod new_folder;
pub(crate) mod zarr;
pub(crate) mod zarr_write;

use crate::StoreError;
use ndarray::ArrayView2;
use std::fmt;
use std::ops::Range;
use std::path::Path;

/// What is at a place of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Group,
    Array,
}

/// Type of an array's elements as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Dtype {
    Bool,
    Int(u8),
    Uint(u8),
    Float(u8),
    Text,
    /// Anything else, named as the file names it.
    Other(String),
}

impl Dtype {
    pub(crate) fn is_number(&self) -> bool {
        matches!(
            self,
            Self::Bool | Self::Int(_) | Self::Uint(_) | Self::Float(_)
        )
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Int(bits) => write!(f, "int{bits}"),
            Self::Uint(bits) => write!(f, "uint{bits}"),
            Self::Float(bits) => write!(f, "float{bits}"),
            Self::Text => f.write_str("text"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

/// An attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Attr {
    Text(String),
    Texts(Vec<String>),
    Integers(Vec<i64>),
    Flag(bool),
    /// Of a kind that no AnnData encoding needs.
    Other,
}

/// A file open for reading. Places are paths such as `obs/cell_type`; the root is the empty path.
pub(crate) trait Tree: Send + Sync + fmt::Debug {
    /// The file, for messages.
    fn path(&self) -> &Path;
    /// What is at a place; `None` if nothing is.
    fn node(&self, at: &str) -> Result<Option<Node>, StoreError>;
    /// Names of the groups and arrays in a group, sorted.
    fn children(&self, group: &str) -> Result<Vec<String>, StoreError>;
    /// An attribute; `None` if it is not there.
    fn attr(&self, at: &str, name: &str) -> Result<Option<Attr>, StoreError>;
    /// Opens an array.
    fn array(&self, at: &str) -> Result<Box<dyn Array>, StoreError>;
}

/// An array open for reading. Numbers of any stored type are converted; `region` has one range per dimension.
pub(crate) trait Array: Send + Sync + fmt::Debug {
    fn shape(&self) -> &[usize];
    fn dtype(&self) -> &Dtype;
    fn f32s(&self, region: &[Range<usize>]) -> Result<Vec<f32>, StoreError>;
    fn f64s(&self, region: &[Range<usize>]) -> Result<Vec<f64>, StoreError>;
    fn i64s(&self, region: &[Range<usize>]) -> Result<Vec<i64>, StoreError>;
    /// All elements of an array of texts.
    fn texts(&self) -> Result<Vec<String>, StoreError>;

    /// Reads where its parts lie, without reading them.
    fn exercise_index(&self) {}

    /// The region that is everything.
    fn all(&self) -> Vec<Range<usize>> {
        self.shape().iter().map(|&n| 0..n).collect()
    }
}

/// Values to be written.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Values<'a> {
    F32(&'a [f32]),
    F64(&'a [f64]),
    U8(&'a [u8]),
    I8(&'a [i8]),
    I16(&'a [i16]),
    I32(&'a [i32]),
    I64(&'a [i64]),
    Bool(&'a [bool]),
    Texts(&'a [String]),
}

/// Types of arrays that grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    F32,
    I32,
    I64,
}

/// Attributes to be written.
pub(crate) type Attrs<'a> = &'a [(&'a str, Attr)];

/// A file being written; parents are made before their children.
pub(crate) trait TreeWriter: fmt::Debug {
    /// Makes a group; the root is the empty path.
    fn group(&mut self, at: &str, attrs: Attrs<'_>) -> Result<(), StoreError>;
    /// Writes an array; an empty `shape` means a scalar.
    fn array(
        &mut self,
        at: &str,
        shape: &[usize],
        values: Values<'_>,
        attrs: Attrs<'_>,
    ) -> Result<(), StoreError>;
    /// Begins a one-dimensional array whose length is not known yet.
    fn growing(&mut self, at: &str, number: Number) -> Result<Box<dyn Growing>, StoreError>;
    /// Begins a matrix of `f32` that comes in bands of `chunk[1]` columns.
    fn banded(
        &mut self,
        at: &str,
        shape: [usize; 2],
        chunk: [usize; 2],
        attrs: Attrs<'_>,
    ) -> Result<Box<dyn Banded>, StoreError>;
    /// Completes the file.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}

/// A one-dimensional array being written.
pub(crate) trait Growing: fmt::Debug {
    fn push(&mut self, values: Values<'_>) -> Result<(), StoreError>;
    fn finish(self: Box<Self>) -> Result<(), StoreError>;
}

/// A matrix being written band after band.
pub(crate) trait Banded: fmt::Debug {
    /// Writes a band, which begins at a multiple of the chunk's columns and has that many, or those that are left.
    fn write(&mut self, first_column: usize, band: ArrayView2<'_, f32>) -> Result<(), StoreError>;
}
