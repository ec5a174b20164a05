//! The obs column that holds the types of the cells.

use crate::error::Result;
use std::collections::BTreeSet;
use tangram_core::Column;
use tangram_store::Dataset;

/// Names of obs columns that usually hold cell types, the likeliest first.
const USUAL_TYPES: [&str; 14] = [
    "cell_type",
    "celltype",
    "cell_types",
    "cell_subclass",
    "subclass",
    "subclass_label",
    "cell_type_label",
    "annotation",
    "cell_annotation",
    "type",
    "cell_class",
    "class",
    "cluster",
    "leiden",
];
/// A column with more values than this does not hold types.
const MOST_TYPES: usize = 200;

/// The category of each row; `None` if the column holds numbers.
pub(crate) fn codes_of(column: &Column) -> Option<Vec<Option<u32>>> {
    match column {
        Column::Numeric(_) | Column::Integer(_) | Column::Flag(_) => None,
        Column::Categorical { codes, .. } => Some(codes.clone()),
        Column::Text(texts) => {
            // As `one_hot` numbers them.
            let filled: BTreeSet<&String> = texts.iter().filter(|t| !t.is_empty()).collect();
            let sorted: Vec<&String> = filled.into_iter().collect();
            let code = |t: &String| sorted.binary_search(&t).ok().map(|c| c as u32);
            Some(texts.iter().map(code).collect())
        }
    }
}

/// The obs column that most likely holds the types: one of a usual name, else the first of categories.
pub(crate) fn likely_types(cells: &Dataset) -> Result<Option<String>> {
    let obs = cells.obs()?;
    let fits = |column: &Column| {
        let n = match column {
            Column::Numeric(_) | Column::Integer(_) | Column::Flag(_) => 0,
            Column::Categorical { categories, .. } => categories.len(),
            Column::Text(texts) => {
                let distinct: BTreeSet<&String> = texts.iter().collect();
                distinct.len()
            }
        };
        (2..=MOST_TYPES).contains(&n)
    };
    let usual = USUAL_TYPES
        .iter()
        .find(|name| obs.column(name).is_some_and(fits))
        .map(|name| (*name).to_owned());
    let first = || {
        let categories = |c: &Column| matches!(c, Column::Categorical { .. });
        let found = obs.columns.iter().find(|(_, c)| categories(c) && fits(c));
        found.map(|(name, _)| name.clone())
    };
    Ok(usual.or_else(first))
}
