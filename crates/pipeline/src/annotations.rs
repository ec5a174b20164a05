//! Annotations of the cells carried into space: types, numbers, arrays of obsm.

use crate::choices::ObsColumn;
use crate::error::{Result, Within};
use crate::stored_mapping::StoredMapping;
use ndarray::Array2;
use std::collections::BTreeMap;
use tangram_core::{Column, MostProbableCell, Table, one_hot, transfer};
use tangram_store::{Dataset, Uns};

/// An annotation in space.
#[derive(Debug)]
pub struct InSpace {
    /// The column or array it is of.
    pub name: String,
    /// Its columns.
    pub labels: Vec<String>,
    /// (voxels, labels)
    pub values: Array2<f32>,
}

/// Types and obsm arrays in space, in the order asked for.
///
/// # Errors
/// If the cells have no such column or array, or it cannot be carried.
pub fn carry(
    types: &[ObsColumn],
    arrays: &[String],
    mapping: &StoredMapping,
    cells: &Dataset,
) -> Result<Vec<InSpace>> {
    let mut carried = Vec::new();
    for ObsColumn(name) in types {
        let column = cells.obs_column(name)?;
        let (mut labels, values) = one_hot(&column)
            .within(|| format!("{}: obs column `{name}`", cells.path().display()))?;
        if matches!(column, Column::Numeric(_)) {
            labels = vec![name.clone()];
        }
        carried.push(InSpace {
            name: name.clone(),
            labels,
            values: transfer(mapping, &values)?,
        });
    }
    for name in arrays {
        let values = cells.obsm(name)?;
        let labels = labels_of(name, values.ncols(), cells)?;
        carried.push(InSpace {
            name: name.clone(),
            labels,
            values: transfer(mapping, &values)?,
        });
    }
    Ok(carried)
}

/// Names of an array's columns: its own if it is a table; a list in uns, `NAME_labels` or `NAME_names`, if it has one
/// for every column; otherwise numbers.
fn labels_of(name: &str, n_columns: usize, cells: &Dataset) -> Result<Vec<String>> {
    if let Some(labels) = cells.obsm_labels(name)? {
        return Ok(labels);
    }
    let keys = cells.uns_names()?;
    for key in ["labels", "names"].map(|ending| format!("{name}_{ending}")) {
        // A value of some other kind under such a key is not meant for us.
        if keys.contains(&key)
            && let Ok(Some(Uns::Texts(labels))) = cells.uns_value(&key)
            && labels.len() == n_columns
        {
            return Ok(labels);
        }
    }
    Ok((0..n_columns).map(|i| format!("{name}_{i}")).collect())
}

impl InSpace {
    /// Total of every column over the voxels.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<String, f64> {
        let total = |c: usize| self.values.column(c).iter().map(|&v| f64::from(v)).sum();
        self.labels
            .iter()
            .enumerate()
            .map(|(c, label)| (label.clone(), total(c)))
            .collect()
    }
}

/// var of carried types and arrays: one row a label, and where it comes from.
#[must_use]
pub fn labels_table(annotations: &[InSpace]) -> Table {
    let several = annotations.len() > 1;
    let rows = || {
        annotations
            .iter()
            .flat_map(|a| a.labels.iter().map(move |label| (a, label)))
    };
    let name = |(a, label): (&InSpace, &String)| {
        if several {
            format!("{}:{label}", a.name)
        } else {
            label.clone()
        }
    };
    let sources: Vec<&str> = rows().map(|(a, _)| a.name.as_str()).collect();
    let column = Column::categories(&sources);
    let mut table = Table::of_names(rows().map(name).collect());
    table.set("annotation", column);
    table
}

/// Adds to the voxels' table the most probable cell of every voxel, its probability and its types.
///
/// # Errors
/// If the mapping or the types cannot be read.
pub fn add_most_probable_cells(
    obs: &mut Table,
    types: &[ObsColumn],
    mapping: &StoredMapping,
    cells: &Dataset,
) -> Result<()> {
    let best = MostProbableCell::of_voxels(mapping)?;
    let names = cells.obs_names()?;
    let name = |b: &Option<MostProbableCell>| b.map(|b| names[b.cell].clone()).unwrap_or_default();
    obs.set(
        "most_probable_cell",
        Column::Text(best.iter().map(name).collect()),
    );
    let probability = |b: &Option<MostProbableCell>| b.map(|b| f64::from(b.probability));
    obs.set(
        "most_probable_cell_probability",
        Column::Numeric(best.iter().map(probability).collect()),
    );
    for ObsColumn(name) in types {
        let of_best = match cells.obs_column(name)? {
            Column::Categorical { codes, categories } => {
                let codes = best.iter().map(|b| b.and_then(|b| codes[b.cell])).collect();
                Column::Categorical { codes, categories }
            }
            Column::Numeric(values) => Column::Numeric(
                best.iter()
                    .map(|b| b.and_then(|b| values[b.cell]))
                    .collect(),
            ),
            Column::Text(texts) => Column::Text(
                best.iter()
                    .map(|b| b.map(|b| texts[b.cell].clone()).unwrap_or_default())
                    .collect(),
            ),
        };
        obs.set(&format!("most_probable_cell_{name}"), of_best);
    }
    Ok(())
}
