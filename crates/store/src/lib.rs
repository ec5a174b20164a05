//! Files of tangram: reading and writing AnnData (`.h5ad`, `.zarr`), reading 10x matrices and Space Ranger folders.
//!
//! HDF5 and Zarr meet the rest of the program here only. [`Dataset`] opens an input of any kind and gives its
//! tables, matrices and coordinates; [`AnnDataWriter`] writes an AnnData file aside and renames it into place.

mod arrays;
mod aside;
mod compressed;
mod dataset;
mod elements;
mod encode;
mod error;
mod fingerprint;
mod matrix;
mod mtx;
mod npy;
mod shards;
mod summary;
mod tables;
mod tenx;
mod tree;
mod uns;
mod volumes;
mod writer;

pub use arrays::{array_size, read_array, write_arrays};
pub use aside::{Existing, write_aside};
pub use dataset::{Dataset, Kind, Names};
pub use error::StoreError;
pub use fingerprint::{fingerprint, fingerprint_names};
pub use matrix::{Matrix, MatrixName, ParseMatrixNameError};
pub use npy::read_npy;
pub use shards::ShardedArray;
pub use summary::{ColumnSummary, MatrixSummary, ObsmSummary, Summary};
pub use uns::Uns;
pub use volumes::{TextAttributes, VolumeValues, VolumeWriter, Volumes};
pub use writer::{AnnDataWriter, DenseSink, Floats, SparseSink};

/// Version of the HDF5 library in use, such as "1.10.8".
#[must_use]
pub fn hdf5_version() -> String {
    let (major, minor, micro) = hdf5::library_version();
    format!("{major}.{minor}.{micro}")
}
