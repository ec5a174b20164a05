//! AnnData's encodings: texts, sparse and dense arrays, `uns`; tables are in `tables`.
//!
//! The specification names each element by the attribute `encoding-type`; files of anndata 0.6 and 0.7 leave it out here
//! and there, and are known by their shape.

use crate::plausible::n_elements;
use crate::tables::{column, table, table_columns, table_len};
use crate::tree::{Array, Attr, Node, Tree};
use crate::{ArrayValues, StoreError, Uns};
use ndarray::Array2;
use std::collections::BTreeMap;

/// What [`StoreError::Encoding`] says can be read.
const SUPPORTED: &str = "array, csr_matrix, csc_matrix, dataframe, categorical, string-array, nullable-integer, \
                         nullable-boolean, nullable-string-array, dict, numeric-scalar, string";

/// An element's encoding, given or inferred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    Array,
    Csr,
    Csc,
    Dataframe,
    Categorical,
    /// `values` and `mask`.
    Nullable,
    Dict,
    /// A scalar that stands for nothing.
    Null,
}

impl Encoding {
    /// The encoding of an element that is there.
    pub(crate) fn of(tree: &dyn Tree, at: &str) -> Result<Self, StoreError> {
        let Some(name) = text_attr(tree, at, "encoding-type")? else {
            return Self::infer(tree, at);
        };
        Ok(match name.as_str() {
            "array" | "string-array" | "numeric-scalar" | "string" | "bytes" => Self::Array,
            "csr_matrix" => Self::Csr,
            "csc_matrix" => Self::Csc,
            "dataframe" => Self::Dataframe,
            "categorical" => Self::Categorical,
            "nullable-integer" | "nullable-boolean" | "nullable-string-array" => Self::Nullable,
            "dict" | "anndata" | "raw" => Self::Dict,
            "null" => Self::Null,
            // A group of anndata 0.7's tables carries its own version only.
            "" => return Self::infer(tree, at),
            _ => {
                let version = text_attr(tree, at, "encoding-version")?.unwrap_or_default();
                return Err(StoreError::Encoding {
                    path: tree.path().to_owned(),
                    field: at.to_owned(),
                    encoding: format!("{name} {version}").trim().to_owned(),
                    supported: SUPPORTED,
                });
            }
        })
    }

    fn infer(tree: &dyn Tree, at: &str) -> Result<Self, StoreError> {
        if tree.node(at)? == Some(Node::Array) {
            return Ok(Self::Array);
        }
        match text_attr(tree, at, "h5sparse_format")?.as_deref() {
            Some("csr") => return Ok(Self::Csr),
            Some("csc") => return Ok(Self::Csc),
            _ => {}
        }
        let table = tree.attr(at, "_index")?.is_some() || tree.attr(at, "column-order")?.is_some();
        Ok(if table { Self::Dataframe } else { Self::Dict })
    }
}

pub(crate) fn text_attr(
    tree: &dyn Tree,
    at: &str,
    name: &str,
) -> Result<Option<String>, StoreError> {
    Ok(match tree.attr(at, name)? {
        Some(Attr::Text(text)) => Some(text),
        Some(Attr::Texts(mut texts)) if texts.len() == 1 => Some(texts.remove(0)),
        _ => None,
    })
}

/// Shape of a sparse matrix.
pub(crate) fn sparse_shape(tree: &dyn Tree, at: &str) -> Result<(usize, usize), StoreError> {
    for name in ["shape", "h5sparse_shape"] {
        if let Some(Attr::Integers(shape)) = tree.attr(at, name)?
            && let [rows, columns] = shape[..]
            && rows >= 0
            && columns >= 0
        {
            return Ok((rows as usize, columns as usize));
        }
    }
    Err(StoreError::broken(
        tree.path(),
        at,
        "its attribute `shape` is not two sizes",
    ))
}

/// Texts, or values of another kind as text; missing ones are empty.
pub(crate) fn texts(tree: &dyn Tree, at: &str) -> Result<Vec<String>, StoreError> {
    match Encoding::of(tree, at)? {
        Encoding::Nullable => {
            let mask = tree.array(&format!("{at}/mask"))?;
            let missing = mask.i64s(&mask.all())?;
            let mut values = plain_texts(&*tree.array(&format!("{at}/values"))?)?;
            for (value, missing) in values.iter_mut().zip(missing) {
                if missing != 0 {
                    value.clear();
                }
            }
            Ok(values)
        }
        Encoding::Categorical => {
            let categories = categories(tree, at)?;
            let codes = tree.array(&format!("{at}/codes"))?;
            let codes = codes.i64s(&codes.all())?;
            let text = |c| {
                usize::try_from(c)
                    .ok()
                    .and_then(|c: usize| categories.get(c).cloned())
                    .unwrap_or_default()
            };
            Ok(codes.into_iter().map(text).collect())
        }
        _ => plain_texts(&*tree.array(at)?),
    }
}

/// The categories of a categorical element, which are plain texts or nullable ones.
pub(crate) fn categories(tree: &dyn Tree, at: &str) -> Result<Vec<String>, StoreError> {
    let at = format!("{at}/categories");
    match Encoding::of(tree, &at)? {
        // Of categories of categories, which a link may make, there is no end.
        Encoding::Categorical => Err(StoreError::broken(
            tree.path(),
            &at,
            "categories cannot be categorical",
        )),
        _ => texts(tree, &at),
    }
}

fn plain_texts(array: &dyn Array) -> Result<Vec<String>, StoreError> {
    use crate::tree::Dtype;
    match array.dtype() {
        Dtype::Bool => {
            let word = |v| if v == 0 { "False" } else { "True" };
            Ok(array
                .i64s(&array.all())?
                .into_iter()
                .map(|v| word(v).to_owned())
                .collect())
        }
        Dtype::Int(_) | Dtype::Uint(_) => Ok(array
            .i64s(&array.all())?
            .iter()
            .map(i64::to_string)
            .collect()),
        // Python's way of writing floats: 1.0, not 1.
        Dtype::Float(_) => Ok(array
            .f64s(&array.all())?
            .iter()
            .map(|v| format!("{v:?}"))
            .collect()),
        _ => array.texts(),
    }
}

/// A dense array of numbers, whatever its encoding: (rows, columns); one dimension is one column.
pub(crate) fn numbers(tree: &dyn Tree, at: &str, n_rows: usize) -> Result<Array2<f64>, StoreError> {
    let broken = |reason: String| StoreError::broken(tree.path(), at, reason);
    let other_rows = |rows: usize| broken(format!("it has {rows} rows for {n_rows} observations"));
    let out = match Encoding::of(tree, at)? {
        Encoding::Array => {
            let array = tree.array(at)?;
            let (rows, columns) = match array.shape() {
                [rows] => (*rows, 1),
                [rows, columns] => (*rows, *columns),
                other => {
                    return Err(broken(format!(
                        "it has {} dimensions, not two",
                        other.len()
                    )));
                }
            };
            if rows != n_rows {
                return Err(other_rows(rows));
            }
            let values = array.f64s(&array.all())?;
            Array2::from_shape_vec((rows, columns), values).map_err(|e| broken(e.to_string()))?
        }
        encoding @ (Encoding::Csr | Encoding::Csc) => {
            let (rows, columns) = sparse_shape(tree, at)?;
            if rows != n_rows {
                return Err(other_rows(rows));
            }
            let part = |name: &str| tree.array(&format!("{at}/{name}"));
            let (indptr, indices, data) = (part("indptr")?, part("indices")?, part("data")?);
            let entries = data.shape().first().copied().unwrap_or(0) as u64;
            let bytes = size_of::<f64>();
            n_elements(tree.path(), at, &[rows, columns], bytes, || {
                entries.saturating_mul(bytes as u64)
            })?;
            let (indptr, indices) = (indptr.i64s(&indptr.all())?, indices.i64s(&indices.all())?);
            let data = data.f64s(&data.all())?;
            let mut out = Array2::zeros((rows, columns));
            for (major, bounds) in indptr.windows(2).enumerate() {
                for entry in bounds[0].max(0) as usize..bounds[1].max(0) as usize {
                    let minor = indices
                        .get(entry)
                        .and_then(|&i| usize::try_from(i).ok())
                        .unwrap_or(usize::MAX);
                    let place = if encoding == Encoding::Csr {
                        (major, minor)
                    } else {
                        (minor, major)
                    };
                    match (out.get_mut(place), data.get(entry)) {
                        (Some(to), Some(&value)) => *to += value,
                        _ => return Err(broken("an index lies outside the matrix".to_owned())),
                    }
                }
            }
            out
        }
        Encoding::Dataframe => {
            let names = table_columns(tree, at)?;
            let rows = table_len(tree, at)?;
            if rows != n_rows {
                return Err(other_rows(rows));
            }
            let mut out = Array2::zeros((rows, names.len()));
            for (name, mut to) in names.iter().zip(out.columns_mut()) {
                match column(tree, at, name)?.as_numbers() {
                    Some(values) if values.len() == to.len() => {
                        to.iter_mut()
                            .zip(values)
                            .for_each(|(to, value)| *to = value.unwrap_or(f64::NAN));
                    }
                    _ => return Err(broken(format!("its column `{name}` does not hold numbers"))),
                }
            }
            out
        }
        other => return Err(broken(format!("an array of numbers cannot be a {other:?}"))),
    };
    Ok(out)
}

/// Groups in groups of `uns`; a link may make one contain itself.
const DEPTH: usize = 32;

/// A value of `uns`.
pub(crate) fn uns(tree: &dyn Tree, at: &str) -> Result<Uns, StoreError> {
    if at.matches('/').count() > DEPTH {
        let reason = format!("more than {DEPTH} groups in one another; does a link lead back?");
        return Err(StoreError::broken(tree.path(), at, reason));
    }
    match Encoding::of(tree, at)? {
        Encoding::Dataframe => Ok(Uns::Table(table(tree, at)?)),
        Encoding::Dict => {
            let mut map = BTreeMap::new();
            for name in tree.children(at)? {
                let value = uns(tree, &format!("{at}/{name}"))?;
                map.insert(name, value);
            }
            Ok(Uns::Map(map))
        }
        Encoding::Array => uns_array(tree, at),
        Encoding::Categorical => Ok(Uns::Texts(texts(tree, at)?)),
        other => Err(StoreError::broken(
            tree.path(),
            at,
            format!("a {other:?} in `uns` is not read"),
        )),
    }
}

fn uns_array(tree: &dyn Tree, at: &str) -> Result<Uns, StoreError> {
    use crate::tree::Dtype;
    let array = tree.array(at)?;
    let scalar = array.shape().is_empty();
    let none = || StoreError::broken(tree.path(), at, "it has no value");
    Ok(match (array.dtype(), scalar) {
        (Dtype::Text, true) => Uns::Text(array.texts()?.pop().ok_or_else(none)?),
        (Dtype::Text, false) => Uns::Texts(array.texts()?),
        (Dtype::Bool, true) => Uns::Flag(array.i64s(&[])?.first().ok_or_else(none)? != &0),
        (Dtype::Int(_) | Dtype::Uint(_), true) => {
            Uns::Integer(*array.i64s(&[])?.first().ok_or_else(none)?)
        }
        (Dtype::Float(_), true) => Uns::Number(*array.f64s(&[])?.first().ok_or_else(none)?),
        (dtype, false) if array.shape().len() > 1 => {
            let all = array.all();
            let values = match dtype {
                Dtype::Uint(8) => {
                    let values = array.i64s(&all)?;
                    ArrayValues::U8(values.into_iter().map(|v| v as u8).collect())
                }
                Dtype::Float(32) => ArrayValues::F32(array.f32s(&all)?),
                _ => ArrayValues::F64(array.f64s(&all)?),
            };
            Uns::Array {
                shape: array.shape().to_vec(),
                values,
            }
        }
        _ => Uns::Numbers(array.f64s(&array.all())?),
    })
}

/// Names in one line of a message, the first of them if they are many.
pub(crate) fn listed(names: &[String]) -> String {
    const SHOWN: usize = 20;
    match names.len() {
        0 => "nothing".to_owned(),
        n if n > SHOWN => format!("{} and {} more", names[..SHOWN].join(", "), n - SHOWN),
        _ => names.join(", "),
    }
}
