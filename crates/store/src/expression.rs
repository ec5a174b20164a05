//! Expression matrices of input files, read a part at a time.

use crate::features::Features;
use crate::{Dataset, Matrix, MatrixName, Names, StoreError, fingerprint_names};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use tangram_core::names::examples;
use tangram_core::{Normalize, SparseRows, ValueProfile, Values, library_factors, scale_rows};

/// Entries of a block of rows as it is read, zeros counted: 256 MB if every one is stored.
const BLOCK_ENTRIES: usize = 1 << 25;

/// Rows chosen one by one whose columns are cut at a time.
const CHOSEN: usize = 4096;

/// A matrix of an input file with the names of its rows (cells or voxels) and genes.
///
/// Columns that are no genes, such as the antibodies of a 10x file, are left out: they have no index here and count in no total.
#[derive(Debug)]
pub struct ExpressionFile {
    dataset: Dataset,
    matrix: MatrixName,
    names_sha256: String,
    features: Features,
    genes: Vec<String>,
    values: Values,
}

/// Whether the names of a file's rows are looked at: of ten million cells they are a gigabyte, which one rank of many may spare the
/// others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowNames {
    /// They must be unique; their fingerprint is kept, not they themselves.
    Checked,
    /// Another rank does.
    Unread,
}

/// Columns of a matrix, and sums over the whole of it.
#[derive(Debug)]
pub struct Counts {
    /// The columns asked for.
    pub columns: SparseRows,
    /// The total of every row over all columns.
    pub row_totals: Vec<f64>,
    /// The sum of every column, of those not asked for too.
    pub column_sums: Vec<f64>,
}

impl ExpressionFile {
    /// Opens a file and checks its names.
    ///
    /// # Errors
    /// [`StoreError`] if the file, the matrix or the names are not as they should be.
    pub fn open(path: &Path, matrix: &MatrixName, names: RowNames) -> Result<Self, StoreError> {
        let dataset = Dataset::open(path)?;
        let names_sha256 = match names {
            RowNames::Checked => fingerprint_names(&dataset.unique_names(Names::Obs)?),
            RowNames::Unread => String::new(),
        };
        dataset.matrix(matrix)?;
        let features = Features::of(&dataset, matrix)?;
        let genes = features.genes(&dataset, matrix)?;
        Ok(Self {
            dataset,
            matrix: matrix.clone(),
            names_sha256,
            features,
            genes,
            values: Values::Auto,
        })
    }

    /// The same file whose values are what the user says.
    #[must_use]
    pub fn of_values(self, values: Values) -> Self {
        Self { values, ..self }
    }

    /// The same file with other names of its genes, in their order.
    ///
    /// # Panics
    /// If there are not as many.
    #[must_use]
    pub fn renamed(self, genes: Vec<String>) -> Self {
        assert_eq!(genes.len(), self.genes.len(), "a name for every gene");
        Self { genes, ..self }
    }

    /// The same file as if it had only these of its rows, in this order.
    ///
    /// # Errors
    /// [`StoreError`] if the names of the rows cannot be read.
    pub fn of_rows(self, rows: Vec<usize>, names: RowNames) -> Result<Self, StoreError> {
        let dataset = self.dataset.of_rows(rows);
        let names_sha256 = match names {
            RowNames::Checked => fingerprint_names(&dataset.obs_names()?),
            RowNames::Unread => String::new(),
        };
        Ok(Self {
            dataset,
            names_sha256,
            ..self
        })
    }

    /// What its columns are.
    #[must_use]
    pub fn features(&self) -> &Features {
        &self.features
    }

    /// The matrix of the file that is read.
    #[must_use]
    pub fn matrix_name(&self) -> &MatrixName {
        &self.matrix
    }

    /// A column of the table of variables for its genes, as text; `None` if there is no such column.
    ///
    /// # Errors
    /// [`StoreError`] if it cannot be read.
    pub fn gene_column(&self, name: &str) -> Result<Option<Vec<String>>, StoreError> {
        let texts = self.dataset.variable_texts(&self.matrix, name)?;
        Ok(texts.map(|all| match self.features.columns() {
            None => all,
            Some(columns) => columns.iter().map(|&c| all[c].clone()).collect(),
        }))
    }

    /// What its values are like, by some of its rows, as they are in the file.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn profile(&self) -> Result<ValueProfile, StoreError> {
        self.matrix()?.profile(self.features.columns())
    }

    /// The file.
    #[must_use]
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Number of its rows: cells or voxels.
    #[must_use]
    pub fn n_rows(&self) -> usize {
        self.dataset.n_obs()
    }

    /// SHA-256 of the names of its rows, empty if they were not read.
    #[must_use]
    pub fn names_sha256(&self) -> &str {
        &self.names_sha256
    }

    /// Names of its rows, read for the occasion.
    ///
    /// # Errors
    /// [`StoreError`] if they cannot be read.
    pub fn names(&self) -> Result<Vec<String>, StoreError> {
        self.dataset.obs_names()
    }

    /// Share of its entries that are stored; 1 for a dense matrix.
    #[must_use]
    pub fn density(&self) -> f64 {
        let all = (self.n_rows() * self.genes.len()).max(1);
        self.most_entries(self.genes.len()) as f64 / all as f64
    }

    /// Names of its columns.
    #[must_use]
    pub fn genes(&self) -> &[String] {
        &self.genes
    }

    /// The places of `genes` among the columns.
    ///
    /// # Errors
    /// [`StoreError::UnknownGenes`] if some are not there.
    pub fn columns_of(&self, genes: &[String]) -> Result<Vec<usize>, StoreError> {
        let place: HashMap<_, _> = self.genes.iter().zip(0..).collect();
        let missing: Vec<&str> = genes
            .iter()
            .filter(|g| !place.contains_key(g))
            .map(String::as_str)
            .collect();
        if missing.is_empty() {
            return Ok(genes.iter().map(|g| place[g]).collect());
        }
        Err(StoreError::UnknownGenes {
            path: self.dataset.path().to_owned(),
            matrix: self.matrix.to_string(),
            n_missing: missing.len(),
            n_asked: genes.len(),
            examples: examples(missing),
        })
    }

    /// The columns asked for, and the sums of all rows and columns; one pass over the file.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn read(&self, columns: &[usize]) -> Result<Counts, StoreError> {
        let mut counts = Counts {
            columns: SparseRows::empty(columns.len()),
            row_totals: Vec::with_capacity(self.n_rows()),
            column_sums: vec![0.0; self.genes.len()],
        };
        self.for_each_block(0..self.n_rows(), |rows| {
            counts.row_totals.extend(rows.row_sums());
            counts
                .column_sums
                .iter_mut()
                .zip(rows.column_sums())
                .for_each(|(sum, s)| *sum += s);
            counts.columns.append(&rows.select_columns(columns));
        })?;
        Ok(counts)
    }

    /// The columns asked for of some rows.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn read_cells(
        &self,
        rows: Range<usize>,
        columns: &[usize],
    ) -> Result<SparseRows, StoreError> {
        let mut read = self.matrix()?.read_rows(rows)?;
        read = read.select_columns(&self.places(columns));
        self.values.undo(&mut read);
        Ok(read)
    }

    /// The columns asked for of some rows, of which there may be many.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn read_rows(
        &self,
        rows: Range<usize>,
        columns: &[usize],
    ) -> Result<SparseRows, StoreError> {
        let mut part = SparseRows::empty(columns.len());
        self.for_each_block(rows, |rows| part.append(&rows.select_columns(columns)))?;
        Ok(part)
    }

    /// The columns asked for of the given rows, which grow strictly, handed over some at a time with the place of the first among them.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn read_rows_of(
        &self,
        rows: &[usize],
        columns: &[usize],
        visit: &mut dyn FnMut(usize, SparseRows),
    ) -> Result<(), StoreError> {
        // Reads ahead: neighbours come from memory.
        let matrix = self.matrix()?;
        for (i, some) in rows.chunks(CHOSEN).enumerate() {
            let mut chosen = SparseRows::empty(matrix.shape().1);
            for &row in some {
                chosen.append(&matrix.read_rows(row..row + 1)?);
            }
            let mut chosen = chosen.select_columns(&self.places(columns));
            self.values.undo(&mut chosen);
            visit(i * CHOSEN, chosen);
        }
        Ok(())
    }

    /// The sums of some rows, and over these rows of all columns; one pass over them.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn sums(&self, rows: Range<usize>) -> Result<(Vec<f64>, Vec<f64>), StoreError> {
        let (mut row_sums, mut column_sums) = (Vec::new(), vec![0.0; self.genes.len()]);
        self.for_each_block(rows, |rows| {
            row_sums.extend(rows.row_sums());
            let sums = rows.column_sums();
            column_sums
                .iter_mut()
                .zip(sums)
                .for_each(|(sum, s)| *sum += s);
        })?;
        Ok((row_sums, column_sums))
    }

    /// Most entries that any `n_columns` of its columns hold.
    #[must_use]
    pub fn most_entries(&self, n_columns: usize) -> u64 {
        let all = (self.n_rows() * n_columns) as u64;
        let stored = self.matrix().ok().and_then(|m| m.stored_entries());
        stored.map_or(all, |stored| all.min(stored as u64))
    }

    /// The total of every row.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn totals(&self) -> Result<Vec<f64>, StoreError> {
        let mut totals = Vec::with_capacity(self.n_rows());
        self.for_each_block(0..self.n_rows(), |rows| totals.extend(rows.row_sums()))?;
        Ok(totals)
    }

    /// What normalisation multiplies each row by; `None` if nothing.
    ///
    /// # Errors
    /// [`StoreError`] if the totals cannot be read.
    pub fn factors(&self, normalize: Normalize) -> Result<Option<Vec<f64>>, StoreError> {
        match normalize {
            Normalize::None => Ok(None),
            Normalize::Library => Ok(Some(library_factors(&self.totals()?))),
        }
    }

    /// The columns asked for, every row multiplied by its factor.
    ///
    /// # Errors
    /// [`StoreError`] if a value is no expression or the file cannot be read.
    pub fn read_scaled(
        &self,
        columns: &[usize],
        factors: Option<&[f64]>,
    ) -> Result<SparseRows, StoreError> {
        let mut read = self.matrix()?.read_columns(&self.places(columns))?;
        self.values.undo(&mut read);
        if let Some(factors) = factors {
            scale_rows(&mut read, factors);
        }
        Ok(read)
    }

    /// The columns asked for, whatever their values.
    ///
    /// # Errors
    /// [`StoreError`] if the file cannot be read.
    pub fn read_any(&self, columns: &[usize]) -> Result<SparseRows, StoreError> {
        self.matrix()?.read_columns_any(&self.places(columns))
    }

    /// Places in the matrix of some genes.
    fn places<'a>(&self, genes: &'a [usize]) -> Cow<'a, [usize]> {
        match self.features.columns() {
            None => Cow::Borrowed(genes),
            Some(columns) => genes.iter().map(|&k| columns[k]).collect(),
        }
    }

    fn matrix(&self) -> Result<Matrix<'_>, StoreError> {
        self.dataset.matrix(&self.matrix)
    }

    fn for_each_block(
        &self,
        rows: Range<usize>,
        mut visit: impl FnMut(SparseRows),
    ) -> Result<(), StoreError> {
        let matrix = self.matrix()?;
        let step = (BLOCK_ENTRIES / matrix.shape().1.max(1)).clamp(1, 1 << 16);
        for first in rows.clone().step_by(step) {
            let mut block = matrix.read_rows(first..rows.end.min(first + step))?;
            if let Some(genes) = self.features.columns() {
                block = block.select_columns(genes);
            }
            self.values.undo(&mut block);
            visit(block);
        }
        Ok(())
    }
}
