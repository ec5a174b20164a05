//! AnnData's encodings, for writing, as anndata 0.12 has them.

use crate::tree::{Attr, TreeWriter, Values};
use crate::{ArrayValues, StoreError, Uns};
use std::collections::HashSet;
use std::path::Path;
use tangram_core::{Column, Table};

/// The two attributes every element has.
pub(crate) fn encoding(kind: &'static str, version: &'static str) -> [(&'static str, Attr); 2] {
    [
        ("encoding-type", Attr::Text(kind.to_owned())),
        ("encoding-version", Attr::Text(version.to_owned())),
    ]
}

pub(crate) fn unwritable(path: &Path, field: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Unwritable {
        path: path.to_owned(),
        field: field.to_owned(),
        reason: reason.into(),
    }
}

/// The place of an element in a group, if its name can be one.
pub(crate) fn child(path: &Path, group: &str, name: &str) -> Result<String, StoreError> {
    // A slash would open a group of its own; in a folder, `.` and `..` mean other folders, and Zarr keeps `zarr.json`.
    if name.is_empty() || name.contains(['/', '\0']) || matches!(name, "." | ".." | "zarr.json") {
        return Err(unwritable(
            path,
            &format!("{group}/{name}"),
            "this cannot be a name in the file; rename it",
        ));
    }
    Ok(format!("{group}/{name}"))
}

/// A table with its row names.
pub(crate) fn table(
    tree: &mut dyn TreeWriter,
    path: &Path,
    at: &str,
    table: &Table,
) -> Result<(), StoreError> {
    let order: Vec<String> = table.columns.iter().map(|(name, _)| name.clone()).collect();
    let mut seen = HashSet::from(["_index"]);
    if let Some(twice) = order.iter().find(|name| !seen.insert(name)) {
        return Err(unwritable(
            path,
            &format!("{at}/{twice}"),
            "a table has each column once, and none named `_index`",
        ));
    }
    let mut attrs = encoding("dataframe", "0.2.0").to_vec();
    attrs.push(("_index", Attr::Text("_index".to_owned())));
    attrs.push(("column-order", Attr::Texts(order)));
    tree.group(at, &attrs)?;
    texts(tree, &format!("{at}/_index"), &table.names)?;
    for (name, values) in &table.columns {
        let place = child(path, at, name)?;
        if values.len() != table.len() {
            return Err(unwritable(
                path,
                &place,
                format!("{} values for {} rows", values.len(), table.len()),
            ));
        }
        column(tree, &place, values)?;
    }
    Ok(())
}

fn column(tree: &mut dyn TreeWriter, at: &str, column: &Column) -> Result<(), StoreError> {
    match column {
        Column::Categorical {
            codes,
            categories,
            ordered,
        } => {
            let mut attrs = encoding("categorical", "0.2.0").to_vec();
            attrs.push(("ordered", Attr::Flag(*ordered)));
            tree.group(at, &attrs)?;
            texts(tree, &format!("{at}/categories"), categories)?;
            // The narrowest type that holds every code, as pandas has it.
            let place = format!("{at}/codes");
            let shape = [codes.len()];
            let attrs = encoding("array", "0.2.0");
            let code = |c: &Option<u32>| c.map_or(-1, i64::from);
            if categories.len() <= 1 << 7 {
                let codes: Vec<i8> = codes.iter().map(|c| code(c) as i8).collect();
                tree.array(&place, &shape, Values::I8(&codes), &attrs)
            } else if categories.len() <= 1 << 15 {
                let codes: Vec<i16> = codes.iter().map(|c| code(c) as i16).collect();
                tree.array(&place, &shape, Values::I16(&codes), &attrs)
            } else {
                let codes: Vec<i32> = codes.iter().map(|c| code(c) as i32).collect();
                tree.array(&place, &shape, Values::I32(&codes), &attrs)
            }
        }
        Column::Numeric(values) => {
            let values: Vec<f64> = values.iter().map(|v| v.unwrap_or(f64::NAN)).collect();
            tree.array(
                at,
                &[values.len()],
                Values::F64(&values),
                &encoding("array", "0.2.0"),
            )
        }
        Column::Integer(values) => {
            let numbers: Vec<i64> = values.iter().map(|v| v.unwrap_or(0)).collect();
            nullable(tree, at, "nullable-integer", Values::I64(&numbers), values)
        }
        Column::Flag(values) => {
            let flags: Vec<bool> = values.iter().map(|v| v.unwrap_or(false)).collect();
            nullable(tree, at, "nullable-boolean", Values::Bool(&flags), values)
        }
        Column::Text(values) => texts(tree, at, values),
    }
}

/// An array, with a mask beside it if values are missing.
fn nullable<T>(
    tree: &mut dyn TreeWriter,
    at: &str,
    kind: &'static str,
    values: Values<'_>,
    stored: &[Option<T>],
) -> Result<(), StoreError> {
    let attrs = encoding("array", "0.2.0");
    let shape = [stored.len()];
    if stored.iter().all(Option::is_some) {
        return tree.array(at, &shape, values, &attrs);
    }
    let mask: Vec<bool> = stored.iter().map(Option::is_none).collect();
    tree.group(at, &encoding(kind, "0.1.0"))?;
    tree.array(&format!("{at}/values"), &shape, values, &attrs)?;
    tree.array(&format!("{at}/mask"), &shape, Values::Bool(&mask), &attrs)
}

fn texts(tree: &mut dyn TreeWriter, at: &str, values: &[String]) -> Result<(), StoreError> {
    tree.array(
        at,
        &[values.len()],
        Values::Texts(values),
        &encoding("string-array", "0.2.0"),
    )
}

/// A value of `uns`.
pub(crate) fn uns(
    tree: &mut dyn TreeWriter,
    path: &Path,
    at: &str,
    value: &Uns,
) -> Result<(), StoreError> {
    let scalar = encoding("numeric-scalar", "0.2.0");
    match value {
        Uns::Text(text) => tree.array(
            at,
            &[],
            Values::Texts(std::slice::from_ref(text)),
            &encoding("string", "0.2.0"),
        ),
        Uns::Number(number) => tree.array(at, &[], Values::F64(&[*number]), &scalar),
        Uns::Integer(number) => tree.array(at, &[], Values::I64(&[*number]), &scalar),
        Uns::Flag(flag) => tree.array(at, &[], Values::Bool(&[*flag]), &scalar),
        Uns::Numbers(numbers) => tree.array(
            at,
            &[numbers.len()],
            Values::F64(numbers),
            &encoding("array", "0.2.0"),
        ),
        Uns::Texts(values) => texts(tree, at, values),
        Uns::Array { shape, values } => {
            let values = match values {
                ArrayValues::U8(v) => Values::U8(v),
                ArrayValues::F32(v) => Values::F32(v),
                ArrayValues::F64(v) => Values::F64(v),
            };
            tree.array(at, shape, values, &encoding("array", "0.2.0"))
        }
        Uns::Table(rows) => table(tree, path, at, rows),
        Uns::Map(map) => {
            tree.group(at, &encoding("dict", "0.1.0"))?;
            for (name, value) in map {
                uns(tree, path, &child(path, at, name)?, value)?;
            }
            Ok(())
        }
    }
}
