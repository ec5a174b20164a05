//! An opened input of any kind.
#![allow(clippy::unimplemented, unused_variables)]

use crate::{Matrix, MatrixName, StoreError, Summary, Uns};
use ndarray::Array2;
use std::path::Path;
use tangram_core::{Column, Table};

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

/// Rows or columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// Cells or voxels.
    Obs,
    /// Genes.
    Var,
}

/// An opened input: AnnData, 10x matrix or Space Ranger folder. Opening reads its structure, not its matrices.
#[derive(Debug)]
pub struct Dataset;

impl Dataset {
    /// Opens `.h5ad`, an AnnData `.zarr` (format 2 or 3), a 10x `.h5` (Cell Ranger 2 and later), a folder with
    /// `matrix.mtx[.gz]`, or a Space Ranger output folder (whose spots come with `obsm/spatial`).
    ///
    /// In 10x inputs genes of the same name are told apart as scanpy does: the second `X` becomes `X-1`.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::NotHdf5`], [`StoreError::UnknownKind`], or what is wrong inside.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        unimplemented!()
    }

    /// The path it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        unimplemented!()
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        unimplemented!()
    }

    /// Number of observations: cells or voxels.
    #[must_use]
    pub fn n_obs(&self) -> usize {
        unimplemented!()
    }

    /// Number of variables: genes.
    #[must_use]
    pub fn n_vars(&self) -> usize {
        unimplemented!()
    }

    /// Names of the observations.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn obs_names(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// Names of the variables.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn var_names(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// Names of observations or variables, each once.
    ///
    /// # Errors
    /// [`StoreError::DuplicateName`] names the first that is there twice.
    pub fn unique_names(&self, which: Names) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// The table of observations.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn obs(&self) -> Result<Table, StoreError> {
        unimplemented!()
    }

    /// The table of variables.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn var(&self) -> Result<Table, StoreError> {
        unimplemented!()
    }

    /// One column of the table of observations.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the columns there are.
    pub fn obs_column(&self, name: &str) -> Result<Column, StoreError> {
        unimplemented!()
    }

    /// Names of the arrays in `obsm`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn obsm_names(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// An array of `obsm`, whether dense, sparse or a table of numbers: (observations, columns).
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the arrays there are.
    pub fn obsm(&self, name: &str) -> Result<Array2<f32>, StoreError> {
        unimplemented!()
    }

    /// Column names of an array of `obsm` that is a table; `None` where it has no names.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the arrays there are.
    pub fn obsm_labels(&self, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        unimplemented!()
    }

    /// Coordinates of the observations, `obsm/spatial`; `None` where there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn spatial(&self) -> Result<Option<Array2<f64>>, StoreError> {
        unimplemented!()
    }

    /// The matrices there are: `X`, `raw`, layers.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn matrix_names(&self) -> Result<Vec<MatrixName>, StoreError> {
        unimplemented!()
    }

    /// A matrix, to be read in parts.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the matrices there are.
    pub fn matrix(&self, name: &MatrixName) -> Result<Matrix<'_>, StoreError> {
        unimplemented!()
    }

    /// Keys of `uns`.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn uns_names(&self) -> Result<Vec<String>, StoreError> {
        unimplemented!()
    }

    /// A value of `uns`, by key or by path (`training/history`); `None` where there is none.
    ///
    /// # Errors
    /// If it is there but of a kind that [`Uns`] does not hold.
    pub fn uns_value(&self, key: &str) -> Result<Option<Uns>, StoreError> {
        unimplemented!()
    }

    /// What the input holds, without reading its matrices.
    ///
    /// # Errors
    /// If its structure cannot be read.
    pub fn summary(&self) -> Result<Summary, StoreError> {
        unimplemented!()
    }
}
