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
        /// Whether their order means something, as that of stages does.
        ordered: bool,
    },
    /// Numbers; `None` is a missing value.
    Numeric(Vec<Option<f64>>),
    /// Whole numbers; `None` is a missing value.
    Integer(Vec<Option<i64>>),
    /// Yes or no; `None` is a missing value.
    Flag(Vec<Option<bool>>),
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
            Self::Integer(values) => values.len(),
            Self::Flag(values) => values.len(),
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
        Self::Categorical {
            codes,
            categories,
            ordered: false,
        }
    }

    /// The values as numbers, yes as 1 and no as 0; `None` for categories and texts.
    #[must_use]
    pub fn as_numbers(&self) -> Option<Vec<Option<f64>>> {
        match self {
            Self::Numeric(values) => Some(values.clone()),
            Self::Integer(values) => Some(values.iter().map(|v| v.map(|v| v as f64)).collect()),
            Self::Flag(values) => Some(
                values
                    .iter()
                    .map(|v| v.map(|v| f64::from(u8::from(v))))
                    .collect(),
            ),
            Self::Categorical { .. } | Self::Text(_) => None,
        }
    }

    /// The values as texts; a missing value is an empty text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        fn shown<T: std::fmt::Display>(values: &[Option<T>]) -> Vec<String> {
            let text = |v: &Option<T>| v.as_ref().map_or_else(String::new, ToString::to_string);
            values.iter().map(text).collect()
        }
        match self {
            Self::Categorical {
                codes, categories, ..
            } => {
                let text = |c: &Option<u32>| c.map(|c| categories[c as usize].clone());
                codes.iter().map(|c| text(c).unwrap_or_default()).collect()
            }
            Self::Numeric(values) => shown(values),
            Self::Integer(values) => shown(values),
            Self::Flag(values) => shown(values),
            Self::Text(values) => values.clone(),
        }
    }

    /// Rows that have no value, or an empty text.
    #[must_use]
    pub fn missing(&self) -> Vec<bool> {
        fn none<T>(values: &[Option<T>]) -> Vec<bool> {
            values.iter().map(Option::is_none).collect()
        }
        match self {
            Self::Categorical { codes, .. } => none(codes),
            Self::Numeric(values) => none(values),
            Self::Integer(values) => none(values),
            Self::Flag(values) => none(values),
            Self::Text(values) => values.iter().map(String::is_empty).collect(),
        }
    }

    /// The column with a text in the place of missing ones; columns of numbers stay as they are.
    #[must_use]
    pub fn filled(self, text: &str) -> Self {
        match self {
            Self::Categorical {
                mut codes,
                mut categories,
                ordered,
            } => {
                let known = categories.iter().position(|c| c == text);
                let code = known.unwrap_or_else(|| {
                    categories.push(text.to_owned());
                    categories.len() - 1
                });
                codes
                    .iter_mut()
                    .for_each(|c| _ = c.get_or_insert(code as u32));
                Self::Categorical {
                    codes,
                    categories,
                    ordered,
                }
            }
            Self::Text(mut values) => {
                let empty = values.iter_mut().filter(|v| v.is_empty());
                empty.for_each(|v| text.clone_into(v));
                Self::Text(values)
            }
            numbers => numbers,
        }
    }

    /// The values of some rows, in this order; `None` is a row without a value.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn rows(&self, rows: &[Option<usize>]) -> Self {
        fn of<T: Copy>(values: &[Option<T>], rows: &[Option<usize>]) -> Vec<Option<T>> {
            rows.iter().map(|row| row.and_then(|i| values[i])).collect()
        }
        match self {
            Self::Categorical {
                codes,
                categories,
                ordered,
            } => Self::Categorical {
                codes: of(codes, rows),
                categories: categories.clone(),
                ordered: *ordered,
            },
            Self::Numeric(values) => Self::Numeric(of(values, rows)),
            Self::Integer(values) => Self::Integer(of(values, rows)),
            Self::Flag(values) => Self::Flag(of(values, rows)),
            Self::Text(values) => {
                let text = |row: &Option<usize>| row.map(|i| values[i].clone()).unwrap_or_default();
                Self::Text(rows.iter().map(text).collect())
            }
        }
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

    /// The table of some rows, in this order.
    ///
    /// # Panics
    /// If there is no such row.
    #[must_use]
    pub fn rows(&self, rows: &[usize]) -> Self {
        let of: Vec<Option<usize>> = rows.iter().copied().map(Some).collect();
        let columns = self.columns.iter();
        Self {
            names: rows.iter().map(|&row| self.names[row].clone()).collect(),
            columns: columns.map(|(n, c)| (n.clone(), c.rows(&of))).collect(),
        }
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
