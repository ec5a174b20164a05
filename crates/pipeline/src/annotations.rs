//! Annotations of the cells carried into space: types, numbers, arrays of obsm.

use crate::choices::ObsColumn;
use crate::error::{Result, Within};
use crate::listener::Listener;
use crate::stored_mapping::StoredMapping;
use crate::wording::count;
use ndarray::Array2;
use std::collections::BTreeMap;
use tangram_core::{Column, MostProbableCell, Table, one_hot};
use tangram_store::{Dataset, MatrixName, Uns};

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

/// What is carried.
#[derive(Debug, Clone, Copy)]
pub struct Carried<'a> {
    /// Columns of the cells' obs.
    pub types: &'a [ObsColumn],
    /// The name of the type of cells without a label; `None`: they are left out.
    pub unlabelled: Option<&'a str>,
    /// Arrays of obsm.
    pub arrays: &'a [String],
    /// Kinds of features other than genes.
    pub modalities: &'a [String],
    /// The matrix that holds the features.
    pub matrix: &'a MatrixName,
    /// What numbers of cells are multiplied by.
    pub type_scale: f64,
}

impl<'a> Carried<'a> {
    /// Types alone, as cells of the reference.
    #[must_use]
    pub fn types(types: &'a [ObsColumn], matrix: &'a MatrixName) -> Self {
        Self {
            types,
            unlabelled: None,
            arrays: &[],
            modalities: &[],
            matrix,
            type_scale: 1.0,
        }
    }
}

/// Types, obsm arrays and other features in space, in this order.
///
/// # Errors
/// If the cells have no such column, array or feature, or it cannot be carried.
pub fn carry(
    what: &Carried<'_>,
    mapping: &StoredMapping,
    cells: &Dataset,
    listener: &dyn Listener,
) -> Result<Vec<InSpace>> {
    let mut carried = Vec::new();
    for ObsColumn(name) in what.types {
        let column = cells.obs_column(name)?;
        let is_type = column.as_numbers().is_none();
        let column = match is_type {
            true => labelled(column, name, what.unlabelled, listener)?,
            false => column,
        };
        let (mut labels, values) = one_hot(&column)
            .within(|| format!("{}: obs column `{name}`", cells.path().display()))?;
        if !is_type {
            labels = vec![name.clone()];
        }
        let mut values = match is_type {
            true => mapping.transfer_counts(&values)?,
            false => mapping.transfer(&values)?,
        };
        if is_type && what.type_scale != 1.0 {
            values.mapv_inplace(|v| (f64::from(v) * what.type_scale) as f32);
        }
        carried.push(InSpace {
            name: name.clone(),
            labels,
            values,
        });
    }
    for name in what.arrays {
        let values = cells.obsm(name)?;
        let labels = labels_of(name, values.ncols(), cells)?;
        carried.push(InSpace {
            name: name.clone(),
            labels,
            values: mapping.transfer(&values)?,
        });
    }
    for name in what.modalities {
        let (labels, values) = cells.modality(what.matrix, name)?;
        carried.push(InSpace {
            name: name.clone(),
            labels,
            values: mapping.transfer(&values)?,
        });
    }
    Ok(carried)
}

/// A column of types whose cells without a label get one, if the user gave it a name; otherwise it is said how many there are.
fn labelled(
    column: Column,
    name: &str,
    unlabelled: Option<&str>,
    listener: &dyn Listener,
) -> Result<Column> {
    let missing = column.missing();
    let n = missing.iter().filter(|&&m| m).count();
    if n == 0 {
        return Ok(column);
    }
    let share = 100.0 * n as f64 / missing.len() as f64;
    let told = format!(
        "{} ({share:.1} %) without a label in obs `{name}`",
        count(n, "cell")
    );
    let Some(label) = unlabelled else {
        listener.warn(format_args!(
            "{told} are in none of its types; --unlabelled NAME makes them a type of their own"
        ));
        return Ok(column);
    };
    listener.say(format_args!("{told}: type `{label}`"))?;
    Ok(column.filled(label))
}

/// Names of an array's columns: its own if it is a table; a list in uns, `NAME_labels` or `NAME_names`, if it has one
/// for every column; otherwise numbers.
pub(crate) fn labels_of(name: &str, n_columns: usize, cells: &Dataset) -> Result<Vec<String>> {
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

/// Adds to the voxels' table the most probable cell of every voxel, its probability and its types; or, where the rows of the mapping are
/// clusters, the cluster with the most cells in each voxel, and that cluster's share of the voxel's cells.
///
/// # Errors
/// If the mapping or the types cannot be read.
pub fn add_most_probable(
    obs: &mut Table,
    types: &[ObsColumn],
    mapping: &StoredMapping,
    cells: &Dataset,
) -> Result<()> {
    let Some(clusters) = mapping.clusters() else {
        return add_most_probable_cells(obs, types, mapping, cells);
    };
    let best = MostProbableCell::of_voxels(&mapping.filtered())?;
    let names = clusters.clusters().names();
    let labels = best.iter().map(|b| b.map(|b| b.cell as u32)).collect();
    let labels = Column::Categorical {
        codes: labels,
        categories: names.to_vec(),
        ordered: false,
    };
    obs.set("most_probable_cluster", labels);
    let cells_of = mapping.density()?;
    let share = |(b, all): (&Option<MostProbableCell>, &f64)| {
        b.filter(|_| *all > 0.0)
            .map(|b| f64::from(b.probability) / all)
    };
    obs.set(
        "most_probable_cluster_share",
        Column::Numeric(best.iter().zip(&cells_of).map(share).collect()),
    );
    Ok(())
}

fn add_most_probable_cells(
    obs: &mut Table,
    types: &[ObsColumn],
    mapping: &StoredMapping,
    cells: &Dataset,
) -> Result<()> {
    let best = MostProbableCell::of_voxels(&mapping.filtered())?;
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
        let rows: Vec<Option<usize>> = best.iter().map(|b| b.map(|b| b.cell)).collect();
        let of_best = cells.obs_column(name)?.rows(&rows);
        obs.set(&format!("most_probable_cell_{name}"), of_best);
    }
    Ok(())
}
