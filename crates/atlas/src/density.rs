//! Cell densities of structures, from tables of the literature.

use crate::error::read;
use crate::{AtlasError, StructureTree, Volume};
use flate2::read::GzDecoder;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Unpacked tables larger than this are refused.
const MOST_BYTES: u64 = 1 << 28;
/// The unit in which Blue Brain's table of measurements gives densities.
const PER_MM3: &str = "number of cells per mm^3";

/// Cells per mm³ of one kind of cell.
#[derive(Debug, Clone, PartialEq)]
pub struct Density {
    /// The kind of cell, such as `all` or `PV+`.
    pub cells: String,
    /// Cells per mm³ for every row of the structure tree; `None` where the table covers neither the structure nor one that contains it.
    pub per_mm3: Vec<Option<f64>>,
    /// How much of the table was used.
    pub use_of_table: TableUse,
}

/// How much of a table was used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableUse {
    /// Rows that gave a density.
    pub used: usize,
    /// Rows about structures that the tree does not have.
    pub unknown: usize,
    /// Rows about other quantities, such as counts or proportions.
    pub other: usize,
}

#[derive(Debug, Deserialize)]
struct Total {
    structures: String,
    cells: f64,
}

#[derive(Debug, Deserialize)]
struct Measured {
    brain_region: String,
    measurement: f64,
    measurement_type: String,
    measurement_unit: String,
    cell_type: String,
}

/// Reads a table (CSV, which may be gzipped) of one of two forms, recognised by their columns:
///
/// - `structures`, `cells`: numbers of cells in groups of structures (acronyms with `;` between them, all that they contain
///   included; of overlapping groups the first has a structure). The number divided by the annotated volume is the density.
/// - `brain_region`, `measurement`, `measurement_type`, `measurement_unit`, `cell_type`: Blue Brain's table of measurements. Densities of
///   a structure and a kind of cell are averaged.
///
/// # Errors
/// [`AtlasError::File`] if the table has neither form, or groups name unknown structures.
pub fn read_densities(
    path: &Path,
    tree: &StructureTree,
    annotation: &Volume<u16>,
) -> Result<Vec<Density>, AtlasError> {
    let mut bytes = read(path)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut unpacked = Vec::new();
        GzDecoder::new(&bytes[..])
            .take(MOST_BYTES)
            .read_to_end(&mut unpacked)
            .map_err(|e| AtlasError::file(path, format!("cannot be unpacked ({e})")))?;
        bytes = unpacked;
    }
    parse(&bytes, tree, annotation).map_err(|reason| AtlasError::file(path, reason))
}

fn parse(
    bytes: &[u8],
    tree: &StructureTree,
    annotation: &Volume<u16>,
) -> Result<Vec<Density>, String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let has = |name: &str| headers.iter().any(|h| h == name);
    if has("structures") && has("cells") {
        let rows: Vec<Total> = collect(reader)?;
        return totals(&rows, tree, annotation).map(|density| vec![density]);
    }
    if has("brain_region") && has("measurement") {
        let rows: Vec<Measured> = collect(reader)?;
        return Ok(measured(&rows, tree));
    }
    Err("the table has neither the columns `structures` and `cells` nor those of Blue Brain's measurements (`brain_region`, \
         `measurement`, …)"
        .to_owned())
}

fn collect<T: serde::de::DeserializeOwned>(
    mut reader: csv::Reader<&[u8]>,
) -> Result<Vec<T>, String> {
    reader
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())
}

fn totals(
    rows: &[Total],
    tree: &StructureTree,
    annotation: &Volume<u16>,
) -> Result<Density, String> {
    let mut claims = Vec::new();
    for (group, row) in rows.iter().enumerate() {
        if !(row.cells.is_finite() && row.cells >= 0.0) {
            return Err(format!("{} cells in `{}`", row.cells, row.structures));
        }
        for name in row.structures.split(';').map(str::trim) {
            let claimed = tree
                .row_of(name)
                .ok_or_else(|| format!("the structure tree has no `{name}`"))?;
            claims.push((claimed, group));
        }
    }
    let group_of: Vec<Option<usize>> = (0..tree.structures().len())
        .map(|row| {
            let lineage: Vec<usize> = tree.ancestors(row).collect();
            let claim = claims.iter().find(|(claimed, _)| lineage.contains(claimed));
            claim.map(|(_, group)| *group)
        })
        .collect();
    let mut n_voxels = vec![0_usize; rows.len()];
    for &label in annotation.values.iter().filter(|&&label| label > 0) {
        if let Some(group) = group_of[usize::from(label) - 1] {
            n_voxels[group] += 1;
        }
    }
    let voxel_mm3 = (annotation.grid.voxel_um / 1000.0).powi(3);
    if let Some(empty) = n_voxels.iter().position(|&n| n == 0) {
        let structures = &rows[empty].structures;
        return Err(format!("the annotation has no voxel of `{structures}`"));
    }
    let of_group = |group: usize| rows[group].cells / (n_voxels[group] as f64 * voxel_mm3);
    Ok(Density {
        cells: "all".to_owned(),
        per_mm3: group_of.into_iter().map(|g| g.map(of_group)).collect(),
        use_of_table: TableUse {
            used: rows.len(),
            ..TableUse::default()
        },
    })
}

fn measured(rows: &[Measured], tree: &StructureTree) -> Vec<Density> {
    let mut sums: BTreeMap<&str, BTreeMap<usize, (f64, usize)>> = BTreeMap::new();
    let mut use_of_table: BTreeMap<&str, TableUse> = BTreeMap::new();
    for row in rows {
        let count = use_of_table.entry(&row.cell_type).or_default();
        let is_density = row.measurement_type == "cell density" && row.measurement_unit == PER_MM3;
        if !is_density || !row.measurement.is_finite() {
            count.other += 1;
            continue;
        }
        let named = |s: &crate::Structure| s.name == row.brain_region;
        match tree.structures().iter().position(named) {
            None => count.unknown += 1,
            Some(structure) => {
                count.used += 1;
                let of_kind = sums.entry(&row.cell_type).or_default();
                let sum = of_kind.entry(structure).or_default();
                *sum = (sum.0 + row.measurement, sum.1 + 1);
            }
        }
    }
    sums.into_iter()
        .map(|(cells, of_structures)| Density {
            cells: cells.to_owned(),
            per_mm3: (0..tree.structures().len())
                .map(|row| {
                    let nearest = tree.ancestors(row).find_map(|r| of_structures.get(&r));
                    nearest.map(|(sum, n)| sum / *n as f64)
                })
                .collect(),
            use_of_table: use_of_table[cells],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Grid, Structure};

    fn tree() -> StructureTree {
        let structure = |id, acronym: &str, parent| Structure {
            id,
            acronym: acronym.to_owned(),
            name: format!("the {acronym}"),
            rgb: [0; 3],
            parent,
        };
        StructureTree::new(vec![
            structure(1, "root", None),
            structure(2, "CB", Some(0)),
            structure(3, "CBX", Some(1)),
        ])
        .unwrap()
    }

    fn annotation() -> Volume<u16> {
        let grid = Grid {
            shape: [1, 2, 2],
            voxel_um: 100.0,
        };
        Volume::new(grid, vec![0, 1, 3, 3])
    }

    #[test]
    fn totals_are_divided_by_the_volume_of_their_group() {
        let table = "structures,cells,source\nCB,10,a\nroot,3,b\n";
        let found = parse(table.as_bytes(), &tree(), &annotation()).unwrap();
        // Two voxels of 0.001 mm³ for ten cells, one for three.
        let expected = [Some(3000.0), Some(5000.0), Some(5000.0)];
        for (found, expected) in found[0].per_mm3.iter().zip(expected) {
            assert!((found.unwrap() - expected.unwrap()).abs() < 1e-6);
        }
    }

    #[test]
    fn measurements_are_averaged_and_inherited() {
        let table = "brain_region,measurement,measurement_type,measurement_unit,cell_type\n\
            the CB,10,cell density,number of cells per mm^3,PV+\n\
            the CB,20,cell density,number of cells per mm^3,PV+\n\
            nowhere,20,cell density,number of cells per mm^3,PV+\n\
            the CB,0.5,neuron proportion,,PV+\n";
        let found = parse(table.as_bytes(), &tree(), &annotation()).unwrap();
        assert_eq!(found[0].cells, "PV+");
        assert_eq!(found[0].per_mm3, [None, Some(15.0), Some(15.0)]);
        let TableUse {
            used,
            unknown,
            other,
        } = found[0].use_of_table;
        assert_eq!((used, unknown, other), (2, 1, 1));
    }

    #[test]
    fn other_tables_are_refused() {
        let refused = |table: &str| parse(table.as_bytes(), &tree(), &annotation()).unwrap_err();
        assert!(refused("a,b\n1,2\n").contains("neither"));
        assert!(refused("structures,cells\nXX,1\n").contains("`XX`"));
        assert!(refused("structures,cells\nCB,-1\n").contains("-1 cells"));
        assert!(refused("structures,cells\nCB,1\nCBX,1\n").contains("no voxel of `CBX`"));
    }
}
