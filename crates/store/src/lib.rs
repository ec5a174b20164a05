//! Files of tangram: reading and writing AnnData (`.h5ad`, `.zarr`), reading 10x matrices and Space Ranger folders.
//!
//! HDF5 and Zarr meet the rest of the program here only. [`Dataset`] opens an input of any kind and gives its
//! tables, matrices and coordinates; [`AnnDataWriter`] writes an AnnData file aside and renames it into place.

mod arrays;
mod aside;
mod caught;
mod cells;
mod compressed;
mod coordinates;
mod dataset;
mod elements;
mod encode;
mod error;
mod exercise;
mod expression;
mod features;
mod fingerprint;
mod folder;
mod kind;
mod labels;
mod layout;
mod matrix;
mod matrix_name;
pub mod memory;
mod mtx;
mod npy;
mod ome;
mod plausible;
mod probe;
mod probe_process;
mod process;
mod rename;
mod shards;
mod summary;
mod tables;
mod tenx;
mod tree;
mod uns;
mod volumes;
mod writer;

pub use arrays::{array_size, read_array, write_arrays};
pub use aside::{
    Aside, Existing, GivenUp, Temporary, give_up, remove_all_leftovers, remove_leftovers,
    write_aside,
};
pub use caught::pass_caught_panics;
pub use cells::{CellExpression, StreamedCells, cells_per_chunk};
pub use coordinates::Place;
pub use dataset::{Dataset, Names};
pub use error::StoreError;
pub use expression::{Counts, ExpressionFile, RowNames};
pub use features::Features;
pub use fingerprint::{fingerprint, fingerprint_names};
pub use folder::files_of;
pub use kind::Kind;
pub use labels::LabelImage;
pub use matrix::Matrix;
pub use matrix_name::{MatrixName, ParseMatrixNameError};
pub use npy::{read_npy, read_npy_list};
pub use ome::{OmeImage, OmeLevel};
pub use plausible::{open_file, read_text};
pub use probe::try_file;
pub use probe_process::begin_probe;
pub use process::{ParseProcessError, Process};
pub use shards::ShardedArray;
pub use summary::{ColumnSummary, MatrixSummary, ObsmSummary, Summary, ValuesSummary};
pub use uns::{ArrayValues, Uns};
pub use volumes::{TextAttributes, VolumeValues, VolumeWriter, Volumes};
pub use writer::{AnnDataWriter, DenseSink, Floats, SparseSink};

/// Whether the HDF5 library in use is older than a version (major, minor).
#[must_use]
pub fn hdf5_is_older_than(version: (u8, u8)) -> bool {
    let (major, minor, _) = hdf5::library_version();
    (major, minor) < version
}

/// Version of the HDF5 library in use, such as "1.10.8".
#[must_use]
pub fn hdf5_version() -> String {
    let (major, minor, micro) = hdf5::library_version();
    format!("{major}.{minor}.{micro}")
}
