//! The kinds of input.

use std::fmt;

/// What an input is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum Kind {
    /// AnnData in HDF5.
    H5ad,
    /// AnnData in Zarr, format 2.
    ZarrV2,
    /// AnnData in Zarr, format 3.
    ZarrV3,
    /// A 10x Genomics HDF5 matrix.
    TenXH5,
    /// A folder with `matrix.mtx`, barcodes and features.
    TenXMtx,
    /// A Space Ranger output folder.
    SpaceRanger,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::H5ad => "AnnData in HDF5",
            Self::ZarrV2 => "AnnData in Zarr 2",
            Self::ZarrV3 => "AnnData in Zarr 3",
            Self::TenXH5 => "10x matrix in HDF5",
            Self::TenXMtx => "10x matrix folder",
            Self::SpaceRanger => "Space Ranger folder",
        })
    }
}
