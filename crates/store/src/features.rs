//! What the columns of a matrix are: genes, or what was measured beside them, such as antibodies.

use crate::layout::raw_variables;
use crate::tables::{column, table_columns};
use crate::{Dataset, MatrixName, StoreError};
use std::collections::{BTreeMap, HashSet};
use tangram_core::{Column, SparseRows};

/// The column of `var` in which 10x files and scanpy say what a row of the matrix is.
const COLUMN: &str = "feature_types";
/// What it says of genes.
const GENE: &str = "gene expression";

/// The columns of a matrix that are genes, and the number of the others by their kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Features {
    /// The genes; `None` if every column is one.
    genes: Option<Vec<usize>>,
    others: BTreeMap<String, usize>,
}

impl Features {
    /// By the column `feature_types` of `var`, where it says of some columns that they are `Gene Expression`, and of others
    /// that they are something else.
    pub(crate) fn of(dataset: &Dataset, matrix: &MatrixName) -> Result<Self, StoreError> {
        let Some(kinds) = dataset.variable_texts(matrix, COLUMN)? else {
            return Ok(Self::default());
        };
        let is_gene = |kind: &str| kind.eq_ignore_ascii_case(GENE);
        let genes: Vec<usize> = (0..kinds.len()).filter(|&c| is_gene(&kinds[c])).collect();
        if genes.is_empty() || genes.len() == kinds.len() {
            return Ok(Self::default());
        }
        let mut others = BTreeMap::new();
        for kind in kinds.into_iter().filter(|kind| !is_gene(kind)) {
            *others.entry(kind).or_default() += 1;
        }
        Ok(Self {
            genes: Some(genes),
            others,
        })
    }

    /// Places of the genes among the columns; `None` if every column is one.
    #[must_use]
    pub fn columns(&self) -> Option<&[usize]> {
        self.genes.as_deref()
    }

    /// Number of columns of every other kind.
    #[must_use]
    pub fn others(&self) -> &BTreeMap<String, usize> {
        &self.others
    }

    /// Names of the genes, each once.
    pub(crate) fn genes(
        &self,
        dataset: &Dataset,
        matrix: &MatrixName,
    ) -> Result<Vec<String>, StoreError> {
        let all = dataset.variables_of(matrix)?;
        let genes: Vec<String> = match &self.genes {
            None => all,
            Some(genes) => genes.iter().map(|&c| all[c].clone()).collect(),
        };
        let mut seen = HashSet::with_capacity(genes.len());
        let Some(name) = genes.iter().find(|name| !seen.insert(name.as_str())) else {
            return Ok(genes);
        };
        Err(StoreError::DuplicateName {
            path: dataset.path().to_owned(),
            table: match matrix {
                MatrixName::Raw => "raw/var",
                _ => "var",
            },
            name: name.clone(),
            count: genes.iter().filter(|n| *n == name).count(),
        })
    }
}

impl Dataset {
    /// A column of the table of a matrix's variables, as text; `None` if there is no such column.
    pub(crate) fn variable_texts(
        &self,
        matrix: &MatrixName,
        name: &str,
    ) -> Result<Option<Vec<String>>, StoreError> {
        let Some(tree) = self.tree() else {
            return Ok(self.var()?.column(name).map(Column::texts));
        };
        let table = match matrix {
            MatrixName::Raw => raw_variables(tree)?,
            _ => "var",
        };
        let there = table_columns(tree, table)?.iter().any(|n| n == name);
        there
            .then(|| Ok(column(tree, table, name)?.texts()))
            .transpose()
    }

    /// What a matrix holds of another kind than genes: names, and the values of all rows as they are.
    ///
    /// # Errors
    /// [`StoreError::MissingField`] lists the kinds there are.
    pub fn modality(
        &self,
        matrix: &MatrixName,
        kind: &str,
    ) -> Result<(Vec<String>, SparseRows), StoreError> {
        let kinds = self.variable_texts(matrix, COLUMN)?.unwrap_or_default();
        let columns: Vec<usize> = (0..kinds.len()).filter(|&c| kinds[c] == kind).collect();
        if columns.is_empty() {
            let mut found = kinds;
            found.sort_unstable();
            found.dedup();
            let parent = format!("var column `{COLUMN}`");
            return Err(self.missing(&parent, "kind", kind, &found));
        }
        let names = self.variables_of(matrix)?;
        let names = columns.iter().map(|&c| names[c].clone()).collect();
        Ok((names, self.matrix(matrix)?.read_columns_any(&columns)?))
    }
}
