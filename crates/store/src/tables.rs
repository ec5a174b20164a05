//! AnnData's tables (`obs`, `var`): plain, categorical and nullable columns, of every version since 0.6.

use crate::StoreError;
use crate::elements::{Encoding, categories, listed, text_attr, texts};
use crate::tree::{Array, Attr, Dtype, Node, Tree};
use tangram_core::{Column, Table};

/// Whole numbers below this are the same as floating-point numbers.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// The array that holds a table's row names.
fn index_of(tree: &dyn Tree, table: &str) -> Result<String, StoreError> {
    let named = text_attr(tree, table, "_index")?;
    for name in named
        .into_iter()
        .chain(["_index", "index"].map(str::to_owned))
    {
        if tree.node(&format!("{table}/{name}"))?.is_some() {
            return Ok(name);
        }
    }
    Err(StoreError::broken(
        tree.path(),
        table,
        "it has no row names (attribute `_index`)",
    ))
}

/// Row names of a table.
pub(crate) fn table_names(tree: &dyn Tree, table: &str) -> Result<Vec<String>, StoreError> {
    texts(tree, &format!("{table}/{}", index_of(tree, table)?))
}

/// Number of rows of a table.
pub(crate) fn table_len(tree: &dyn Tree, table: &str) -> Result<usize, StoreError> {
    let at = format!("{table}/{}", index_of(tree, table)?);
    let array = match Encoding::of(tree, &at)? {
        Encoding::Nullable => tree.array(&format!("{at}/values"))?,
        Encoding::Categorical => tree.array(&format!("{at}/codes"))?,
        _ => tree.array(&at)?,
    };
    match *array.shape() {
        [len] => Ok(len),
        _ => Err(StoreError::broken(
            tree.path(),
            &at,
            "row names are no list",
        )),
    }
}

/// Column names of a table, in their order.
pub(crate) fn table_columns(tree: &dyn Tree, table: &str) -> Result<Vec<String>, StoreError> {
    match tree.attr(table, "column-order")? {
        Some(Attr::Texts(names)) => return Ok(names),
        Some(Attr::Text(name)) => return Ok(vec![name]),
        _ => {}
    }
    let index = index_of(tree, table)?;
    let mut names = tree.children(table)?;
    names.retain(|n| *n != index && n != "__categories");
    Ok(names)
}

/// A whole table.
pub(crate) fn table(tree: &dyn Tree, at: &str) -> Result<Table, StoreError> {
    let names = table_names(tree, at)?;
    let mut columns = Vec::new();
    for name in table_columns(tree, at)? {
        let column = column(tree, at, &name)?;
        if column.len() != names.len() {
            let reason = format!("it has {} values for {} rows", column.len(), names.len());
            return Err(StoreError::broken(
                tree.path(),
                &format!("{at}/{name}"),
                reason,
            ));
        }
        columns.push((name, column));
    }
    Ok(Table { names, columns })
}

/// Where the categories of a column are that holds codes alone: in `__categories` (anndata 0.7) or in `uns` (0.6).
fn legacy_categories(
    tree: &dyn Tree,
    table: &str,
    name: &str,
) -> Result<Option<String>, StoreError> {
    for at in [
        format!("{table}/__categories/{name}"),
        format!("uns/{name}_categories"),
    ] {
        let old = !at.starts_with("uns") || text_attr(tree, table, "encoding-type")?.is_none();
        if old && tree.node(&at)? == Some(Node::Array) {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// How a column is stored: its type in words, and its categories if it has some.
pub(crate) fn column_type(
    tree: &dyn Tree,
    table: &str,
    name: &str,
) -> Result<(String, Option<usize>), StoreError> {
    let at = format!("{table}/{name}");
    let count = |categories: &str| {
        let array = tree.array(categories)?;
        Ok::<_, StoreError>(array.shape().first().copied().unwrap_or(1))
    };
    let legacy = legacy_categories(tree, table, name)?;
    Ok(match Encoding::of(tree, &at) {
        Ok(Encoding::Categorical) => {
            let categories = format!("{at}/categories");
            let categories = match Encoding::of(tree, &categories)? {
                Encoding::Nullable => format!("{categories}/values"),
                _ => categories,
            };
            ("categorical".to_owned(), Some(count(&categories)?))
        }
        Ok(Encoding::Array) => match legacy {
            Some(categories) => ("categorical".to_owned(), Some(count(&categories)?)),
            None => (tree.array(&at)?.dtype().to_string(), None),
        },
        Ok(Encoding::Nullable) => (
            format!(
                "{}, some missing",
                tree.array(&format!("{at}/values"))?.dtype()
            ),
            None,
        ),
        Err(StoreError::Encoding { encoding, .. }) => (format!("{encoding} (not read)"), None),
        Ok(other) => (format!("{other:?}"), None),
        Err(error) => return Err(error),
    })
}

/// A column of a table.
pub(crate) fn column(tree: &dyn Tree, table: &str, name: &str) -> Result<Column, StoreError> {
    let at = format!("{table}/{name}");
    if tree.node(&at)?.is_none() {
        return Err(StoreError::MissingField {
            path: tree.path().to_owned(),
            parent: table.to_owned(),
            what: "column",
            name: name.to_owned(),
            found: listed(&table_columns(tree, table)?),
        });
    }
    let array = |at: &str| tree.array(at);
    match Encoding::of(tree, &at)? {
        Encoding::Categorical => {
            let codes = array(&format!("{at}/codes"))?;
            let categories = (categories(tree, &at)?, is_ordered(tree, &at)?);
            categorical(tree, &at, &*codes, categories)
        }
        Encoding::Array => {
            let array = array(&at)?;
            if let Some(legacy) = legacy_categories(tree, table, name)? {
                let categories = (texts(tree, &legacy)?, is_ordered(tree, &legacy)?);
                return categorical(tree, &at, &*array, categories);
            }
            if array.dtype().is_number() {
                return numbers(&*array, |_| false);
            }
            Ok(Column::Text(array.texts()?))
        }
        Encoding::Nullable => {
            let values = array(&format!("{at}/values"))?;
            if !values.dtype().is_number() {
                return Ok(Column::Text(texts(tree, &at)?));
            }
            let mask = array(&format!("{at}/mask"))?;
            let missing = mask.i64s(&mask.all())?;
            numbers(&*values, |row| missing.get(row).is_none_or(|&m| m != 0))
        }
        other => Err(StoreError::broken(
            tree.path(),
            &at,
            format!("a column cannot be a {other:?}"),
        )),
    }
}

/// A column of numbers of the kind that is stored.
///
/// * `missing`: whether a row has no value
fn numbers(array: &dyn Array, missing: impl Fn(usize) -> bool) -> Result<Column, StoreError> {
    fn kept<S, T>(
        values: Vec<S>,
        missing: impl Fn(usize) -> bool,
        value: impl Fn(S) -> Option<T>,
    ) -> Vec<Option<T>> {
        let values = values.into_iter().enumerate();
        values
            .map(|(row, v)| value(v).filter(|_| !missing(row)))
            .collect()
    }
    let all = array.all();
    Ok(match array.dtype() {
        Dtype::Bool => Column::Flag(kept(array.i64s(&all)?, missing, |v| Some(v != 0))),
        // Numbers above 2⁶³ are no counts.
        Dtype::Int(_) | Dtype::Uint(8 | 16 | 32) => {
            Column::Integer(kept(array.i64s(&all)?, missing, Some))
        }
        _ => {
            let values = array.f64s(&all)?;
            let is_whole = |v: &f64| v.fract() == 0.0 && *v < EXACT;
            match array.dtype() {
                Dtype::Uint(_) if values.iter().all(is_whole) => {
                    Column::Integer(kept(values, missing, |v| Some(v as i64)))
                }
                _ => Column::Numeric(kept(values, missing, |v| (!v.is_nan()).then_some(v))),
            }
        }
    })
}

/// Whether the order of a column's categories means something.
fn is_ordered(tree: &dyn Tree, at: &str) -> Result<bool, StoreError> {
    Ok(match tree.attr(at, "ordered")? {
        Some(Attr::Flag(ordered)) => ordered,
        Some(Attr::Integers(flags)) => flags.first().is_some_and(|&f| f != 0),
        _ => false,
    })
}

fn categorical(
    tree: &dyn Tree,
    at: &str,
    codes: &dyn Array,
    (categories, ordered): (Vec<String>, bool),
) -> Result<Column, StoreError> {
    let n = categories.len();
    let code = |c: i64| match usize::try_from(c) {
        Err(_) => Ok(None),
        Ok(i) if i < n => Ok(Some(i as u32)),
        Ok(i) => Err(StoreError::broken(
            tree.path(),
            at,
            format!("code {i} of {n} categories"),
        )),
    };
    let codes = codes
        .i64s(&codes.all())?
        .into_iter()
        .map(code)
        .collect::<Result<_, _>>()?;
    Ok(Column::Categorical {
        codes,
        categories,
        ordered,
    })
}
