//! The structure tree of an atlas: which regions there are and which contains which.

use crate::AtlasError;
use crate::error::read;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;

/// One structure.
#[derive(Debug, Clone, PartialEq)]
pub struct Structure {
    /// The identifier that the annotation's voxels hold.
    pub id: u32,
    /// Short name, unique.
    pub acronym: String,
    /// Full name.
    pub name: String,
    /// Colour for pictures.
    pub rgb: [u8; 3],
    /// Row of the structure that contains it; `None` for a root.
    pub parent: Option<usize>,
}

/// All structures of an atlas; a structure is named by its row.
#[derive(Debug, Clone, PartialEq)]
pub struct StructureTree {
    structures: Vec<Structure>,
    by_id: HashMap<u32, usize>,
}

/// A row of the table, under the Allen Institute's names or BrainGlobe's.
#[derive(Debug, Deserialize)]
struct Row {
    id: u32,
    acronym: String,
    #[serde(default, alias = "safe_name")]
    name: Option<String>,
    #[serde(default, alias = "parent_id")]
    parent_structure_id: Option<String>,
    #[serde(default)]
    structure_id_path: Option<String>,
    #[serde(default)]
    color_hex_triplet: Option<String>,
}

impl StructureTree {
    /// Reads a table (CSV) with the columns `id`, `acronym`, and `parent_structure_id` or `structure_id_path`; `name` and
    /// `color_hex_triplet` are taken where they are.
    ///
    /// # Errors
    /// [`AtlasError::File`] if columns are missing, a name or identifier occurs twice, or a parent is missing or its own descendant.
    pub fn read_csv(path: &Path) -> Result<Self, AtlasError> {
        let bytes = read(path)?;
        parse(&bytes).map_err(|reason| AtlasError::file(path, reason))
    }

    /// Makes a tree of structures whose parents are rows of the same list.
    ///
    /// # Errors
    /// What is wrong with the tree.
    pub fn new(structures: Vec<Structure>) -> Result<Self, String> {
        let mut by_id = HashMap::new();
        let mut acronyms = HashMap::new();
        for (row, structure) in structures.iter().enumerate() {
            if structure.id == 0 {
                return Err(
                    "identifier 0 means outside the brain and cannot be a structure".into(),
                );
            }
            if by_id.insert(structure.id, row).is_some() {
                return Err(format!("identifier {} occurs twice", structure.id));
            }
            if acronyms.insert(&structure.acronym, row).is_some() {
                return Err(format!("acronym `{}` occurs twice", structure.acronym));
            }
        }
        if structures.is_empty() || structures.len() > i16::MAX as usize {
            return Err(format!(
                "{} structures; an atlas has 1 to {}",
                structures.len(),
                i16::MAX
            ));
        }
        let tree = Self { structures, by_id };
        for row in 0..tree.structures.len() {
            if tree.ancestors(row).count() > tree.structures.len() {
                let acronym = &tree.structures[row].acronym;
                return Err(format!("`{acronym}` is contained in itself"));
            }
        }
        Ok(tree)
    }

    /// All structures in the order of their rows.
    #[must_use]
    pub fn structures(&self) -> &[Structure] {
        &self.structures
    }

    /// Row of the structure with this identifier.
    #[must_use]
    pub fn row_of_id(&self, id: u32) -> Option<usize> {
        self.by_id.get(&id).copied()
    }

    /// Row of the structure with this acronym, or with this identifier written as a number.
    #[must_use]
    pub fn row_of(&self, name: &str) -> Option<usize> {
        self.structures
            .iter()
            .position(|s| s.acronym == name)
            .or_else(|| self.row_of_id(name.parse().ok()?))
    }

    /// The row itself, its parent, its parent's parent, up to the root.
    pub fn ancestors(&self, row: usize) -> impl Iterator<Item = usize> + '_ {
        let limit = self.structures.len() + 1;
        std::iter::successors(Some(row), |&row| self.structures[row].parent).take(limit)
    }
}

fn parse(bytes: &[u8]) -> Result<StructureTree, String> {
    let mut reader = csv::Reader::from_reader(bytes);
    let headers = reader.headers().map_err(|e| e.to_string())?.clone();
    let has = |names: &[&str]| names.iter().any(|n| headers.iter().any(|h| h == *n));
    for needed in [
        &["id"][..],
        &["acronym"],
        &["parent_structure_id", "parent_id", "structure_id_path"],
    ] {
        if !has(needed) {
            let found: Vec<&str> = headers.iter().collect();
            return Err(format!(
                "the table has no column `{}`; it has: {}",
                needed.join("` or `"),
                found.join(", ")
            ));
        }
    }
    let rows: Vec<Row> = reader
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|e| e.to_string())?;
    let at: HashMap<u32, usize> = rows.iter().enumerate().map(|(i, r)| (r.id, i)).collect();
    let structures = rows
        .iter()
        .map(|row| {
            let parent = match parent_id(row)? {
                None => None,
                Some(id) => Some(*at.get(&id).ok_or_else(|| {
                    format!(
                        "`{}` has parent {id}, which is not in the table",
                        row.acronym
                    )
                })?),
            };
            Ok(Structure {
                id: row.id,
                acronym: row.acronym.clone(),
                name: row.name.clone().unwrap_or_else(|| row.acronym.clone()),
                rgb: colour(row),
                parent,
            })
        })
        .collect::<Result<Vec<_>, String>>()?;
    StructureTree::new(structures)
}

fn parent_id(row: &Row) -> Result<Option<u32>, String> {
    let number = |text: &str| {
        let text = text.trim().trim_end_matches(".0");
        text.parse::<i64>().map_err(|_| {
            format!(
                "`{}` has parent `{text}`, which is no identifier",
                row.acronym
            )
        })
    };
    if let Some(text) = row.parent_structure_id.as_deref().map(str::trim) {
        // Roots have no parent: an empty field, -1 or 0.
        return match text {
            "" | "nan" | "null" => Ok(None),
            _ => Ok(u32::try_from(number(text)?).ok().filter(|id| *id != 0)),
        };
    }
    let path = row.structure_id_path.as_deref().unwrap_or_default();
    let ids: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match ids.len() {
        0 | 1 => Ok(None),
        n => Ok(u32::try_from(number(ids[n - 2])?).ok()),
    }
}

/// The colour of a row; gray where there is none.
fn colour(row: &Row) -> [u8; 3] {
    let hex = row.color_hex_triplet.as_deref().unwrap_or_default();
    // Spreadsheets drop leading zeros of colours such as 019399.
    match u32::from_str_radix(hex.trim_start_matches('#'), 16) {
        Ok(rgb) if !hex.is_empty() => [(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8],
        _ => [128; 3],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALLEN: &str = "id,acronym,name,parent_structure_id,color_hex_triplet\n\
        997,root,root,,FFFFFF\n8,grey,\"Basic cell groups, regions\",997,BFDAE3\n\
        315,Isocortex,Isocortex,8,70FF71\n73,VS,ventricular systems,997,AAAAAA\n";

    #[test]
    fn a_tree_is_read_by_parents_or_by_paths() {
        let tree = parse(ALLEN.as_bytes()).unwrap();
        let iso = tree.row_of("Isocortex").unwrap();
        assert_eq!(tree.row_of("315"), Some(iso));
        assert_eq!(tree.row_of("cortex"), None);
        let line: Vec<u32> = tree
            .ancestors(iso)
            .map(|r| tree.structures()[r].id)
            .collect();
        assert_eq!(line, [315, 8, 997]);
        assert_eq!(tree.structures()[1].name, "Basic cell groups, regions");
        assert_eq!(tree.structures()[1].rgb, [0xBF, 0xDA, 0xE3]);

        let paths = "acronym,id,structure_id_path\nroot,997,/997/\nVS,73,/997/73/\n";
        let tree = parse(paths.as_bytes()).unwrap();
        assert_eq!(tree.structures()[1].parent, Some(0));
    }

    #[test]
    fn a_broken_tree_is_refused_with_the_reason() {
        let refused = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert!(refused("id,name\n1,a\n").contains("acronym"));
        assert!(refused("id,acronym,parent_id\n1,a,9\n").contains("parent 9"));
        assert!(refused("id,acronym,parent_id\n1,a,\n1,b,\n").contains("twice"));
        assert!(refused("id,acronym,parent_id\n1,a,\n2,a,1\n").contains("twice"));
        assert!(refused("id,acronym,parent_id\n1,a,2\n2,b,1\n").contains("itself"));
        assert!(refused("id,acronym,parent_id\n0,a,\n").contains("outside"));
        assert!(refused("id,acronym,parent_id\nx,a,\n").contains("invalid digit"));
    }
}
