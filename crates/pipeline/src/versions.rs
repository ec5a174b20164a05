//! Versions of the program and of the libraries whose results depend on theirs.

use serde::{Deserialize, Serialize};

/// Versions that a result depends on, as recorded beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Versions {
    /// This program.
    pub tangram: String,
    /// libtorch, which works on devices; absent from a build without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libtorch: Option<String>,
    /// HDF5, which reads and writes `.h5ad`.
    pub hdf5: String,
    /// MPI; absent from a build without it.
    pub mpi: Option<String>,
}

impl Versions {
    /// The versions in use.
    #[must_use]
    pub fn current() -> Self {
        Self {
            tangram: env!("CARGO_PKG_VERSION").to_owned(),
            libtorch: tangram_mapper::libtorch_version(),
            hdf5: tangram_store::hdf5_version(),
            mpi: tangram_comm::mpi_version(),
        }
    }
}

/// The text of `tangram --version` after the name.
#[must_use]
pub fn long() -> String {
    let Versions {
        tangram,
        libtorch,
        hdf5,
        mpi,
    } = Versions::current();
    let or_not = |version: Option<String>| version.unwrap_or_else(|| "not built in".to_owned());
    let (mpi, libtorch) = (or_not(mpi), or_not(libtorch));
    format!("{tangram}\nlibtorch {libtorch}\nHDF5 {hdf5}\nMPI {mpi}")
}
