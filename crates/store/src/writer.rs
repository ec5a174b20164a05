//! AnnData files written.

use crate::aside::Aside;
use crate::encode;
use crate::tree::hdf5_write::Hdf5Writer;
use crate::tree::zarr_write::ZarrWriter;
use crate::tree::{Attr, Banded, Growing, Number, TreeWriter, Values};
use crate::{Existing, MatrixName, StoreError, Uns};
use ndarray::{Array2, ArrayView2, s};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use tangram_core::{SparseRows, Table};

/// Columns written at once to a dense matrix: as many as this,
const BAND: usize = 512;
/// but no fewer than this,
const NARROW_BAND: usize = 16;
/// and no more numbers than this: 128 MB.
const BAND_NUMBERS: usize = 1 << 25;
/// Numbers per chunk of a dense matrix: 4 MB.
const CHUNK_NUMBERS: usize = 1 << 20;

/// Dense numbers in either precision, kept as they are.
#[derive(Debug, Clone, Copy)]
pub enum Floats<'a> {
    /// Single precision.
    F32(ArrayView2<'a, f32>),
    /// Double precision.
    F64(ArrayView2<'a, f64>),
}

impl<'a> From<ArrayView2<'a, f32>> for Floats<'a> {
    fn from(values: ArrayView2<'a, f32>) -> Self {
        Self::F32(values)
    }
}

impl<'a> From<ArrayView2<'a, f64>> for Floats<'a> {
    fn from(values: ArrayView2<'a, f64>) -> Self {
        Self::F64(values)
    }
}

/// An AnnData file being written, `.h5ad` or `.zarr` (format 3) by the ending of its name.
///
/// It grows beside its place and is renamed into it by [`finish`](Self::finish); dropped before that, it leaves
/// nothing behind.
#[derive(Debug)]
pub struct AnnDataWriter {
    // Fields are dropped in this order: the file is closed before it is removed.
    tree: Box<dyn TreeWriter>,
    aside: Aside,
    var: Table,
    n_obs: usize,
    written: HashSet<String>,
}

impl AnnDataWriter {
    /// Begins a file with these observations and variables.
    ///
    /// # Errors
    /// [`StoreError::Ending`], [`StoreError::Exists`] or [`StoreError::Write`].
    pub fn create(
        path: &Path,
        existing: Existing,
        obs: &Table,
        var: &Table,
    ) -> Result<Self, StoreError> {
        let ending = path
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if !matches!(ending, "h5ad" | "zarr") {
            return Err(StoreError::Ending {
                path: path.to_owned(),
            });
        }
        let aside = Aside::begin(path, existing)?;
        let tree: Box<dyn TreeWriter> = match ending {
            "h5ad" => Box::new(Hdf5Writer::create(aside.partial(), path)?),
            _ => Box::new(ZarrWriter::create(aside.partial(), path)?),
        };
        let mut writer = Self {
            tree,
            aside,
            var: var.clone(),
            n_obs: obs.len(),
            written: HashSet::new(),
        };
        let tree = &mut *writer.tree;
        tree.group("", &encode::encoding("anndata", "0.1.0"))?;
        encode::table(tree, path, "obs", obs)?;
        encode::table(tree, path, "var", var)?;
        for group in ["layers", "obsm", "obsp", "uns", "varm", "varp"] {
            tree.group(group, &encode::encoding("dict", "0.1.0"))?;
        }
        Ok(writer)
    }

    /// Begins a sparse matrix (CSR, `f32`) whose rows follow in blocks. `raw` gets the same variables as `X`.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if it was written before.
    pub fn sparse(&mut self, name: &MatrixName) -> Result<SparseSink<'_>, StoreError> {
        let at = self.place(name)?;
        let n_columns = self.var.len();
        let mut attrs = encode::encoding("csr_matrix", "0.1.0").to_vec();
        attrs.push((
            "shape",
            Attr::Integers(vec![self.n_obs as i64, n_columns as i64]),
        ));
        self.tree.group(&at, &attrs)?;
        let wide = i32::try_from(n_columns).is_err();
        let index = if wide { Number::I64 } else { Number::I32 };
        let indices = self.tree.growing(&format!("{at}/indices"), index)?;
        let values = self.tree.growing(&format!("{at}/data"), Number::F32)?;
        Ok(SparseSink {
            writer: self,
            at,
            index,
            indices,
            values,
            indptr: vec![0],
        })
    }

    /// Begins a dense matrix (`f32`) whose columns follow in pieces.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if it was written before.
    pub fn dense(&mut self, name: &MatrixName) -> Result<DenseSink<'_>, StoreError> {
        let at = self.place(name)?;
        let shape = [self.n_obs, self.var.len()];
        let columns = (BAND_NUMBERS / shape[0].max(1))
            .clamp(NARROW_BAND, BAND)
            .min(shape[1].max(1));
        let rows = (CHUNK_NUMBERS / columns).clamp(1, shape[0].max(1));
        let matrix = self.tree.banded(
            &at,
            shape,
            [rows, columns],
            &encode::encoding("array", "0.2.0"),
        )?;
        let band = Array2::zeros((shape[0], columns));
        Ok(DenseSink {
            path: self.aside.path().to_owned(),
            at,
            matrix,
            shape,
            band,
            next: 0,
            writer: self,
        })
    }

    /// Writes an array of `obsm`, (observations, columns).
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the rows do not fit.
    pub fn obsm<'a>(
        &mut self,
        name: &str,
        values: impl Into<Floats<'a>>,
    ) -> Result<(), StoreError> {
        self.numbers("obsm", name, self.n_obs, values.into())
    }

    /// Writes an array of `varm`, (variables, columns).
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the rows do not fit.
    pub fn varm<'a>(
        &mut self,
        name: &str,
        values: impl Into<Floats<'a>>,
    ) -> Result<(), StoreError> {
        self.numbers("varm", name, self.var.len(), values.into())
    }

    /// Writes a value of `uns`.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] for a key that cannot be one.
    pub fn uns(&mut self, key: &str, value: &Uns) -> Result<(), StoreError> {
        let at = self.claim(encode::child(self.aside.path(), "uns", key)?)?;
        encode::uns(&mut *self.tree, self.aside.path(), &at, value)
    }

    /// Completes the file and renames it into place.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Exists`] if another took the place meanwhile.
    pub fn finish(self) -> Result<(), StoreError> {
        let Self { tree, aside, .. } = self;
        tree.close()?;
        aside.finish()
    }

    fn place(&mut self, name: &MatrixName) -> Result<String, StoreError> {
        let at = match name {
            MatrixName::X => "X".to_owned(),
            MatrixName::Raw => "raw/X".to_owned(),
            MatrixName::Layer(layer) => encode::child(self.aside.path(), "layers", layer)?,
        };
        let at = self.claim(at)?;
        if *name == MatrixName::Raw {
            self.tree.group("raw", &encode::encoding("raw", "0.1.0"))?;
            encode::table(&mut *self.tree, self.aside.path(), "raw/var", &self.var)?;
            self.tree
                .group("raw/varm", &encode::encoding("dict", "0.1.0"))?;
        }
        Ok(at)
    }

    /// Takes a place that nothing was written to yet.
    fn claim(&mut self, at: String) -> Result<String, StoreError> {
        match self.written.insert(at.clone()) {
            true => Ok(at),
            false => Err(encode::unwritable(
                self.aside.path(),
                &at,
                "it was written before",
            )),
        }
    }

    fn numbers(
        &mut self,
        group: &str,
        name: &str,
        n_rows: usize,
        values: Floats<'_>,
    ) -> Result<(), StoreError> {
        let at = self.claim(encode::child(self.aside.path(), group, name)?)?;
        let shape = match values {
            Floats::F32(v) => [v.nrows(), v.ncols()],
            Floats::F64(v) => [v.nrows(), v.ncols()],
        };
        if shape[0] != n_rows {
            let reason = format!("it has {} rows where {n_rows} are due", shape[0]);
            return Err(encode::unwritable(self.aside.path(), &at, reason));
        }
        let attrs = encode::encoding("array", "0.2.0");
        match values {
            Floats::F32(v) => {
                let v = v.as_standard_layout();
                self.tree.array(
                    &at,
                    &shape,
                    Values::F32(v.as_slice().expect("standard layout")),
                    &attrs,
                )
            }
            Floats::F64(v) => {
                let v = v.as_standard_layout();
                self.tree.array(
                    &at,
                    &shape,
                    Values::F64(v.as_slice().expect("standard layout")),
                    &attrs,
                )
            }
        }
    }
}

/// A sparse matrix being written, row block after row block.
#[derive(Debug)]
pub struct SparseSink<'a> {
    writer: &'a mut AnnDataWriter,
    at: String,
    index: Number,
    indices: Box<dyn Growing>,
    values: Box<dyn Growing>,
    indptr: Vec<i64>,
}

impl SparseSink<'_> {
    /// Appends rows.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the columns do not fit.
    pub fn append(&mut self, rows: &SparseRows) -> Result<(), StoreError> {
        if rows.n_cols() != self.writer.var.len() {
            let reason = format!(
                "rows of {} columns where {} are due",
                rows.n_cols(),
                self.writer.var.len()
            );
            return Err(encode::unwritable(
                self.writer.aside.path(),
                &self.at,
                reason,
            ));
        }
        let (indptr, indices, values) = rows.parts();
        let before = self.indptr[self.indptr.len() - 1];
        self.indptr
            .extend(indptr[1..].iter().map(|&p| before + p as i64));
        if self.index == Number::I32 {
            let indices: Vec<i32> = indices.iter().map(|&i| i as i32).collect();
            self.indices.push(Values::I32(&indices))?;
        } else {
            let indices: Vec<i64> = indices.iter().map(|&i| i64::from(i)).collect();
            self.indices.push(Values::I64(&indices))?;
        }
        self.values.push(Values::F32(values))
    }

    /// Completes the matrix.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if rows are missing.
    pub fn finish(self) -> Result<(), StoreError> {
        let Self {
            writer,
            at,
            indices,
            values,
            indptr,
            ..
        } = self;
        if indptr.len() != writer.n_obs + 1 {
            let reason = format!(
                "{} rows came where {} are due",
                indptr.len() - 1,
                writer.n_obs
            );
            return Err(encode::unwritable(writer.aside.path(), &at, reason));
        }
        indices.finish()?;
        values.finish()?;
        // The width of scipy's indices: parts of scikit-learn take no matrix whose pointers are needlessly wide.
        let narrow: Option<Vec<i32>> = indptr.iter().map(|&p| i32::try_from(p).ok()).collect();
        let values = narrow
            .as_ref()
            .map_or(Values::I64(&indptr), |narrow| Values::I32(narrow));
        writer
            .tree
            .array(&format!("{at}/indptr"), &[indptr.len()], values, &[])
    }
}

/// A dense matrix being written, from the first column to the last.
#[derive(Debug)]
pub struct DenseSink<'a> {
    /// Nothing else is written meanwhile.
    #[allow(dead_code)]
    writer: &'a mut AnnDataWriter,
    path: PathBuf,
    at: String,
    matrix: Box<dyn Banded>,
    shape: [usize; 2],
    /// Columns that wait until they are a whole band.
    band: Array2<f32>,
    next: usize,
}

impl DenseSink<'_> {
    /// Writes all rows of the columns from `first_column` on. Pieces come in order, without gaps, of any width.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the piece does not fit or follow the last.
    pub fn write_columns(
        &mut self,
        first_column: usize,
        values: ArrayView2<'_, f32>,
    ) -> Result<(), StoreError> {
        let [n_rows, n_columns] = self.shape;
        if first_column != self.next
            || values.nrows() != n_rows
            || first_column + values.ncols() > n_columns
        {
            let reason = format!(
                "{} rows of columns {first_column} to {} where {n_rows} rows from column {} of {n_columns} are due",
                values.nrows(),
                first_column + values.ncols(),
                self.next
            );
            return Err(encode::unwritable(&self.path, &self.at, reason));
        }
        let width = self.band.ncols();
        let mut taken = 0;
        while taken < values.ncols() {
            let at = self.next % width;
            let take = (width - at).min(values.ncols() - taken);
            self.band
                .slice_mut(s![.., at..at + take])
                .assign(&values.slice(s![.., taken..taken + take]));
            (taken, self.next) = (taken + take, self.next + take);
            if at + take == width || self.next == n_columns {
                self.matrix
                    .write(self.next - at - take, self.band.slice(s![.., ..at + take]))?;
            }
        }
        Ok(())
    }

    /// Completes the matrix.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if columns are missing.
    pub fn finish(self) -> Result<(), StoreError> {
        match self.next == self.shape[1] {
            true => Ok(()),
            false => {
                let reason = format!("{} columns came where {} are due", self.next, self.shape[1]);
                Err(encode::unwritable(&self.path, &self.at, reason))
            }
        }
    }
}
