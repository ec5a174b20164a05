//! [`Table`], the annotations of cells, voxels or genes (`obs` and `var` of AnnData).

/// One column of a table, one value per row.
#[derive(Debug, Clone, PartialEq)]
pub enum Column {
    /// Categories.
    Categorical {
        /// Index into `categories` for each row; `None` is a missing value.
        codes: Vec<Option<u32>>,
        /// Names of the categories, in stored order.
        categories: Vec<String>,
    },
    /// Numbers; `None` is a missing value.
    Numeric(Vec<Option<f64>>),
    /// Text; a missing value is an empty text.
    Text(Vec<String>),
}

impl Column {
    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Categorical { codes, .. } => codes.len(),
            Self::Numeric(values) => values.len(),
            Self::Text(values) => values.len(),
        }
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A numeric column without missing values.
    #[must_use]
    pub fn numbers(values: impl IntoIterator<Item = f64>) -> Self {
        Self::Numeric(values.into_iter().map(Some).collect())
    }

    /// A categorical column of texts, with sorted categories and no missing values.
    #[must_use]
    pub fn categories(values: &[impl AsRef<str>]) -> Self {
        let mut categories: Vec<String> = values.iter().map(|v| v.as_ref().to_owned()).collect();
        categories.sort_unstable();
        categories.dedup();
        let code = |v: &str| categories.binary_search_by(|c| c.as_str().cmp(v)).ok();
        let codes = values
            .iter()
            .map(|v| code(v.as_ref()).map(|i| i as u32))
            .collect();
        Self::Categorical { codes, categories }
    }
}

/// A table with named rows and named columns (`obs` or `var` of an AnnData file).
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    /// Row names: cells, voxels or genes.
    pub names: Vec<String>,
    /// Names and columns, in stored order; each column is as long as `names`.
    pub columns: Vec<(String, Column)>,
}

impl Table {
    /// A table without columns.
    #[must_use]
    pub fn of_names(names: Vec<String>) -> Self {
        Self {
            names,
            columns: vec![],
        }
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The column with this name, if there is one.
    #[must_use]
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(n, _)| n == name).map(|(_, c)| c)
    }

    /// Removes the column with this name, if there is one.
    pub fn remove(&mut self, name: &str) {
        self.columns.retain(|(n, _)| n != name);
    }

    /// Adds a column, or replaces the one with the same name.
    ///
    /// # Panics
    /// If the length of the column is not that of the table.
    pub fn set(&mut self, name: &str, column: Column) {
        assert_eq!(
            column.len(),
            self.len(),
            "column {name} has one value per row"
        );
        match self.columns.iter_mut().find(|(n, _)| n == name) {
            Some((_, old)) => *old = column,
            None => self.columns.push((name.to_owned(), column)),
        }
    }
}
