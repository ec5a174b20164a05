//! An opened input of any kind.

use crate::compressed::Compressed;
use crate::elements::{self, Encoding, listed};
use crate::folder::files_of;
use crate::kind::Kind;
use crate::layout::{children, place, raw_variables, unknown};
use crate::plausible::exists;
use crate::tables;
use crate::tenx::{Stored, TenX};
use crate::tree::Tree;
use crate::tree::hdf5::Hdf5Tree;
use crate::tree::zarr::{Format, ZarrTree};
use crate::{Matrix, MatrixName, StoreError, Uns};
use ndarray::{Array2, Axis};
use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tangram_core::{Column, Table};

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
pub struct Dataset {
    path: PathBuf,
    kind: Kind,
    source: Source,
    /// Observations that are stored.
    n_obs: usize,
    n_vars: usize,
    /// The stored observations that are looked at, if not all.
    rows: Option<Arc<[usize]>>,
    /// Sparse matrices that were opened, by place: their row pointers are long, and wanted for every part that is read.
    opened: Mutex<HashMap<String, Arc<Compressed>>>,
}

#[derive(Debug)]
enum Source {
    AnnData(Box<dyn Tree>),
    TenX(Box<TenX>),
}

impl Dataset {
    /// Opens `.h5ad`, an AnnData `.zarr` (format 2 or 3), a 10x `.h5` (Cell Ranger 2 and later), a folder with
    /// `matrix.mtx[.gz]`, or a Space Ranger output folder (whose spots come with `obsm/spatial`).
    ///
    /// In 10x inputs genes of the same name are told apart as scanpy does: the second `X` becomes `X-1`.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::NotHdf5`], [`StoreError::UnknownKind`], or what is wrong inside.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        exists(path)?;
        if path.is_dir() {
            return Self::open_folder(path);
        }
        let tree = Hdf5Tree::open(path)?;
        if tree.node("obs")?.is_some() && tree.node("var")?.is_some() {
            return Self::anndata(path, Kind::H5ad, Box::new(tree));
        }
        match TenX::open_h5(tree)? {
            Some(tenx) => Ok(Self::tenx(path, Kind::TenXH5, tenx)),
            None => Err(unknown(path, "an HDF5 file without `obs` and `var`")),
        }
    }

    /// The path it was opened from.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The same input as if it had only these of its observations, in this order.
    #[must_use]
    pub fn of_rows(self, rows: Vec<usize>) -> Self {
        let stored = |row: usize| self.rows.as_ref().map_or(row, |rows| rows[row]);
        Self {
            rows: Some(rows.into_iter().map(stored).collect()),
            ..self
        }
    }

    /// Number of observations: cells or voxels.
    #[must_use]
    pub fn n_obs(&self) -> usize {
        self.rows.as_ref().map_or(self.n_obs, |rows| rows.len())
    }

    /// Number of observations in the file.
    pub(crate) fn stored_obs(&self) -> usize {
        self.n_obs
    }

    /// What belongs to the observations that are looked at, of what belongs to the stored ones.
    fn looked_at<T: Clone>(&self, of_stored: Vec<T>) -> Vec<T> {
        match &self.rows {
            None => of_stored,
            Some(rows) => rows.iter().map(|&row| of_stored[row].clone()).collect(),
        }
    }

    /// Number of variables: genes.
    #[must_use]
    pub fn n_vars(&self) -> usize {
        self.n_vars
    }

    /// Names of the observations.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn obs_names(&self) -> Result<Vec<String>, StoreError> {
        match &self.source {
            Source::AnnData(tree) => tables::table_names(&**tree, "obs"),
            Source::TenX(tenx) => Ok(tenx.obs.names.clone()),
        }
        .map(|names| self.looked_at(names))
    }

    /// Names of the variables.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn var_names(&self) -> Result<Vec<String>, StoreError> {
        match &self.source {
            Source::AnnData(tree) => tables::table_names(&**tree, "var"),
            Source::TenX(tenx) => Ok(tenx.var.names.clone()),
        }
    }

    /// Names of observations or variables, each once.
    ///
    /// # Errors
    /// [`StoreError::DuplicateName`] names the first that is there twice.
    pub fn unique_names(&self, which: Names) -> Result<Vec<String>, StoreError> {
        let (table, names) = match which {
            Names::Obs => ("obs", self.obs_names()?),
            Names::Var => ("var", self.var_names()?),
        };
        // Of ten million names a table is as large as they are, their hashes are not; equal hashes of different names are rare.
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let mut hashes: Vec<u64> = names.iter().map(|name| hasher.hash_one(name)).collect();
        hashes.sort_unstable();
        if hashes.windows(2).all(|pair| pair[0] != pair[1]) {
            return Ok(names);
        }
        let mut counts: HashMap<&str, usize> = HashMap::with_capacity(names.len());
        names
            .iter()
            .for_each(|name| *counts.entry(name).or_default() += 1);
        match names.iter().find(|name| counts[name.as_str()] > 1) {
            None => Ok(names),
            Some(name) => Err(StoreError::DuplicateName {
                path: self.path.clone(),
                table,
                name: name.clone(),
                count: counts[name.as_str()],
            }),
        }
    }

    /// The table of observations.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn obs(&self) -> Result<Table, StoreError> {
        let all = match &self.source {
            Source::AnnData(tree) => tables::table(&**tree, "obs")?,
            Source::TenX(tenx) => tenx.obs.clone(),
        };
        Ok(match &self.rows {
            None => all,
            Some(rows) => all.rows(rows),
        })
    }

    /// The table of variables.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn var(&self) -> Result<Table, StoreError> {
        match &self.source {
            Source::AnnData(tree) => tables::table(&**tree, "var"),
            Source::TenX(tenx) => Ok(tenx.var.clone()),
        }
    }

    /// One column of the table of observations.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the columns there are.
    pub fn obs_column(&self, name: &str) -> Result<Column, StoreError> {
        let all = match &self.source {
            Source::AnnData(tree) => tables::column(&**tree, "obs", name),
            Source::TenX(tenx) => tenx.obs.column(name).cloned().ok_or_else(|| {
                let names: Vec<String> = tenx.obs.columns.iter().map(|(n, _)| n.clone()).collect();
                self.missing("obs", "column", name, &names)
            }),
        }?;
        Ok(match &self.rows {
            None => all,
            Some(rows) => all.rows(&rows.iter().copied().map(Some).collect::<Vec<_>>()),
        })
    }

    /// Names of the arrays in `obsm`.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn obsm_names(&self) -> Result<Vec<String>, StoreError> {
        match &self.source {
            Source::AnnData(tree) => children(&**tree, "obsm"),
            Source::TenX(tenx) => Ok(tenx.spatial.iter().map(|_| "spatial".to_owned()).collect()),
        }
    }

    /// An array of `obsm`, whether dense, sparse or a table of numbers: (observations, columns).
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the arrays there are.
    pub fn obsm(&self, name: &str) -> Result<Array2<f32>, StoreError> {
        Ok(self.obsm_numbers(name)?.mapv(|v| v as f32))
    }

    /// Column names of an array of `obsm`: those of a table, or for an array `NAME` the texts that `uns` holds for it as
    /// `NAME_names` or `NAME_columns`. `None` where it has no names.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the arrays there are.
    pub fn obsm_labels(&self, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        let names = self.obsm_names()?;
        if !names.iter().any(|n| n == name) {
            return Err(self.missing("obsm", "array", name, &names));
        }
        let at = format!("obsm/{name}");
        let Source::AnnData(tree) = &self.source else {
            return Ok(None);
        };
        let n_columns = match Encoding::of(&**tree, &at)? {
            Encoding::Dataframe => return tables::table_columns(&**tree, &at).map(Some),
            Encoding::Array => tree.array(&at)?.shape().get(1).copied().unwrap_or(1),
            _ => elements::sparse_shape(&**tree, &at)?.1,
        };
        for key in [format!("{name}_names"), format!("{name}_columns")] {
            if let Ok(Some(Uns::Texts(labels))) = self.uns_value(&key)
                && labels.len() == n_columns
            {
                return Ok(Some(labels));
            }
        }
        Ok(None)
    }

    /// Coordinates of the observations, `obsm/spatial`; `None` where there are none.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn spatial(&self) -> Result<Option<Array2<f64>>, StoreError> {
        match self.obsm_names()?.iter().any(|n| n == "spatial") {
            true => self.obsm_numbers("spatial").map(Some),
            false => Ok(None),
        }
    }

    /// An array of `varm`, (variables, columns); `None` where there is none of this name.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn varm(&self, name: &str) -> Result<Option<Array2<f64>>, StoreError> {
        match &self.source {
            Source::AnnData(tree) if children(&**tree, "varm")?.iter().any(|n| n == name) => {
                elements::numbers(&**tree, &format!("varm/{name}"), self.n_vars).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The matrices there are: `X`, `raw`, layers.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn matrix_names(&self) -> Result<Vec<MatrixName>, StoreError> {
        let tree = match &self.source {
            Source::TenX(_) => return Ok(vec![MatrixName::X]),
            Source::AnnData(tree) => &**tree,
        };
        let mut names = Vec::new();
        for name in [MatrixName::X, MatrixName::Raw] {
            if let Some(at) = place(tree, &name)? {
                let null = matches!(Encoding::of(tree, &at), Ok(Encoding::Null));
                names.extend((!null).then_some(name));
            }
        }
        names.extend(children(tree, "layers")?.into_iter().map(MatrixName::Layer));
        Ok(names)
    }

    /// A matrix, to be read in parts.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the matrices there are.
    pub fn matrix(&self, name: &MatrixName) -> Result<Matrix<'_>, StoreError> {
        let names = self.matrix_names()?;
        if !names.contains(name) {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            return Err(self.missing("the file", "matrix", &name.to_string(), &names));
        }
        let tree = match &self.source {
            Source::TenX(tenx) => {
                return match tenx.stored()? {
                    Stored::Tree(tree, group) => Matrix::tenx(self, tree, group),
                    Stored::Rows(rows) => Ok(Matrix::memory(self, rows)),
                }
                .map(|matrix| matrix.of_rows(self.rows.clone()));
            }
            Source::AnnData(tree) => &**tree,
        };
        let at = place(tree, name)?.unwrap_or_default();
        let matrix = Matrix::open(self, name, tree, &at)?;
        let matrix = matrix.of_rows(self.rows.clone());
        let (n_rows, n_columns) = matrix.stored_shape();
        let n_vars = match name {
            MatrixName::Raw => tables::table_len(tree, raw_variables(tree)?)?,
            _ => self.n_vars,
        };
        if (n_rows, n_columns) != (self.n_obs, n_vars) {
            let reason = format!(
                "it is {n_rows} by {n_columns}, but the file has {} observations and {n_vars} variables",
                self.n_obs
            );
            return Err(StoreError::broken(&self.path, &at, reason));
        }
        Ok(matrix)
    }

    /// Keys of `uns`.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub fn uns_names(&self) -> Result<Vec<String>, StoreError> {
        match &self.source {
            Source::AnnData(tree) => children(&**tree, "uns"),
            Source::TenX(_) => Ok(Vec::new()),
        }
    }

    /// A value of `uns`, by key or by path (`training/history`); `None` where there is none.
    ///
    /// # Errors
    /// If it is there but of a kind that [`Uns`] does not hold.
    pub fn uns_value(&self, key: &str) -> Result<Option<Uns>, StoreError> {
        match &self.source {
            Source::AnnData(tree) => {
                let at = format!("uns/{key}");
                tree.node(&at)?
                    .map(|_| elements::uns(&**tree, &at))
                    .transpose()
            }
            Source::TenX(_) => Ok(None),
        }
    }

    fn open_folder(path: &Path) -> Result<Self, StoreError> {
        if let Some(format) = ZarrTree::format_of(path) {
            // Before anything is read: of links in a circle and of pipes no reading comes to an end.
            files_of(path)?;
            let tree = ZarrTree::open(path, format)?;
            if tree.node("obs")?.is_none() || tree.node("var")?.is_none() {
                return Err(unknown(path, "a Zarr store without `obs` and `var`"));
            }
            let kind = if format == Format::V2 {
                Kind::ZarrV2
            } else {
                Kind::ZarrV3
            };
            return Self::anndata(path, kind, Box::new(tree));
        }
        if let Some(tenx) = TenX::open_space_ranger(path)? {
            return Ok(Self::tenx(path, Kind::SpaceRanger, tenx));
        }
        match TenX::open_mtx(path)? {
            Some(tenx) => Ok(Self::tenx(path, Kind::TenXMtx, tenx)),
            None => Err(unknown(path, "a folder of another kind")),
        }
    }

    fn anndata(path: &Path, kind: Kind, tree: Box<dyn Tree>) -> Result<Self, StoreError> {
        let n_obs = tables::table_len(&*tree, "obs")?;
        let n_vars = tables::table_len(&*tree, "var")?;
        Ok(Self {
            path: path.to_owned(),
            kind,
            source: Source::AnnData(tree),
            n_obs,
            n_vars,
            rows: None,
            opened: Mutex::default(),
        })
    }

    fn tenx(path: &Path, kind: Kind, tenx: TenX) -> Self {
        let (n_obs, n_vars) = (tenx.obs.len(), tenx.var.len());
        Self {
            path: path.to_owned(),
            kind,
            source: Source::TenX(Box::new(tenx)),
            n_obs,
            n_vars,
            rows: None,
            opened: Mutex::default(),
        }
    }

    /// A sparse matrix of the given (slices, length of a slice), opened once.
    pub(crate) fn compressed(
        &self,
        tree: &dyn Tree,
        at: &str,
        (n_major, n_minor): (usize, usize),
    ) -> Result<Arc<Compressed>, StoreError> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = opened.get(at) {
            return Ok(Arc::clone(known));
        }
        let parts = Arc::new(Compressed::open(tree, at, n_major, n_minor)?);
        opened.insert(at.to_owned(), Arc::clone(&parts));
        Ok(parts)
    }

    /// The tree of an AnnData file; `None` for other inputs.
    pub(crate) fn tree(&self) -> Option<&dyn Tree> {
        match &self.source {
            Source::AnnData(tree) => Some(&**tree),
            Source::TenX(_) => None,
        }
    }

    /// Names of the columns of a matrix.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn variables_of(&self, name: &MatrixName) -> Result<Vec<String>, StoreError> {
        match (&self.source, name) {
            (Source::AnnData(tree), MatrixName::Raw) => {
                tables::table_names(&**tree, raw_variables(&**tree)?)
            }
            _ => self.var_names(),
        }
    }

    pub(crate) fn obsm_numbers(&self, name: &str) -> Result<Array2<f64>, StoreError> {
        let names = self.obsm_names()?;
        if !names.iter().any(|n| n == name) {
            return Err(self.missing("obsm", "array", name, &names));
        }
        let all = match &self.source {
            Source::AnnData(tree) => {
                elements::numbers(&**tree, &format!("obsm/{name}"), self.n_obs)?
            }
            Source::TenX(tenx) => tenx
                .spatial
                .clone()
                .expect("it is listed only if it is there"),
        };
        Ok(match &self.rows {
            None => all,
            Some(rows) => all.select(Axis(0), rows),
        })
    }

    pub(crate) fn missing(
        &self,
        parent: &str,
        what: &'static str,
        name: &str,
        found: &[String],
    ) -> StoreError {
        StoreError::MissingField {
            path: self.path.clone(),
            parent: parent.to_owned(),
            what,
            name: name.to_owned(),
            found: listed(found),
        }
    }
}
