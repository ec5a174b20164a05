//! Which genes are used for training, and which are held out.
//!
//! [`align`] matches the gene names of cells and voxels; [`drop_zero_genes`] then removes genes without any count.

use std::collections::{BTreeSet, HashMap};
use std::fmt;

/// One of the two inputs of a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The dissociated cells.
    Cells,
    /// The voxels of the tissue.
    Voxels,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cells => "cells",
            Self::Voxels => "voxels",
        })
    }
}

/// The user's choice of training genes. The default is all shared genes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneChoice {
    /// Train on these genes only; both sides must have all of them. `None`: all shared genes.
    pub list: Option<Vec<String>>,
    /// Genes that are left out of training, to score the mapping on them.
    pub held_out: Vec<String>,
}

/// Genes that both sides have: gene `k` is column `in_cells[k]` of the cells and `in_voxels[k]` of the voxels.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GeneSet {
    /// Names, sorted.
    pub names: Vec<String>,
    /// Column of each gene in the cells' matrix.
    pub in_cells: Vec<usize>,
    /// Column of each gene in the voxels' matrix.
    pub in_voxels: Vec<usize>,
}

/// The training genes, sorted by name, and the held-out genes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SharedGenes {
    /// Names of the training genes, sorted.
    pub names: Vec<String>,
    /// Column of each training gene in the cells' matrix.
    pub in_cells: Vec<usize>,
    /// Column of each training gene in the voxels' matrix.
    pub in_voxels: Vec<usize>,
    /// Held-out genes that both sides have, so that they can be scored.
    pub held_out: GeneSet,
    /// Names of the held-out genes that only one side has, so that they cannot be scored.
    pub unscored: Vec<String>,
}

/// Why the choice of training genes failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeneError {
    /// The two sides have no gene in common.
    #[error("cells and voxels share no gene: cells have {cells}, voxels have {voxels}{hint}")]
    NoneShared {
        /// Examples of gene names of the cells.
        cells: String,
        /// Examples of gene names of the voxels.
        voxels: String,
        /// How to make the names match; empty if unknown.
        hint: String,
    },
    /// One side lacks genes of the user's list.
    #[error(
        "{count} of the listed training genes are not in the {side}: {first}; remove them from the list"
    )]
    Missing {
        /// The side that lacks them.
        side: Side,
        /// Number of missing genes.
        count: usize,
        /// Names of the first few.
        first: String,
    },
    /// Gene names occur more than once on one side.
    #[error(
        "{count} gene names appear more than once in `var` of the {side}: {first}; make them unique, e.g. with `var_names_make_unique()`"
    )]
    Duplicate {
        /// The side with the duplicates.
        side: Side,
        /// Number of repeated names.
        count: usize,
        /// The first few of them.
        first: String,
    },
    /// Neither side has these held-out genes.
    #[error(
        "{count} held-out genes are in neither the cells nor the voxels: {first}; check their spelling"
    )]
    UnknownHeldOut {
        /// Number of unknown genes.
        count: usize,
        /// Names of the first few.
        first: String,
    },
    /// No training gene is left: each shared gene is held out, zero everywhere, or not in the list.
    #[error(
        "no training gene is left: {held_out} genes are held out and {zero} are zero everywhere in the cells or the voxels"
    )]
    NothingLeft {
        /// Number of held-out genes.
        held_out: usize,
        /// Number of genes that are zero everywhere on one side.
        zero: usize,
    },
}

/// Chooses the training genes from the gene names of both sides.
///
/// * `cells`, `voxels`: gene names in the order of the columns
///
/// Names must match exactly. The training genes are the shared genes, or those of `choice.list`, without the held-out
/// genes.
///
/// ```
/// use tangram_core::{GeneChoice, align};
///
/// let names = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
/// let choice = GeneChoice { held_out: names("Gad1"), ..GeneChoice::default() };
/// let genes = align(&names("Sst Gad1 Aqp4"), &names("Aqp4 Mog Gad1 Sst"), &choice).unwrap();
/// assert_eq!(genes.names, ["Aqp4", "Sst"]);
/// assert_eq!(genes.in_voxels, [0, 3]);
/// assert_eq!(genes.held_out.names, ["Gad1"]);
/// ```
///
/// # Errors
/// [`GeneError`] if a name repeats on one side, no gene is shared, a listed gene is missing on one side, a held-out gene
/// is unknown to both, or no training gene is left.
pub fn align(
    cells: &[String],
    voxels: &[String],
    choice: &GeneChoice,
) -> Result<SharedGenes, GeneError> {
    let cell_columns = columns_of(cells, Side::Cells)?;
    let voxel_columns = columns_of(voxels, Side::Voxels)?;
    let shared: BTreeSet<&str> = cell_columns
        .keys()
        .filter(|g| voxel_columns.contains_key(*g))
        .copied()
        .collect();
    if shared.is_empty() {
        return Err(GeneError::NoneShared {
            cells: examples(cells),
            voxels: examples(voxels),
            hint: naming_hint(cells, voxels),
        });
    }
    let candidates = match &choice.list {
        None => shared.clone(),
        Some(list) => {
            let list: BTreeSet<&str> = list.iter().map(String::as_str).collect();
            for (side, known) in [(Side::Cells, &cell_columns), (Side::Voxels, &voxel_columns)] {
                let missing: Vec<&str> = list
                    .iter()
                    .filter(|g| !known.contains_key(*g))
                    .copied()
                    .collect();
                if !missing.is_empty() {
                    let (count, first) = (missing.len(), some_of(missing, 5));
                    return Err(GeneError::Missing { side, count, first });
                }
            }
            list
        }
    };
    let held_out: BTreeSet<&str> = choice.held_out.iter().map(String::as_str).collect();
    let known = |g: &str| cell_columns.contains_key(g) || voxel_columns.contains_key(g);
    let unknown: Vec<&str> = held_out.iter().filter(|g| !known(g)).copied().collect();
    if !unknown.is_empty() {
        let (count, first) = (unknown.len(), some_of(unknown, 5));
        return Err(GeneError::UnknownHeldOut { count, first });
    }
    let set = |names: Vec<&str>| GeneSet {
        in_cells: names.iter().map(|g| cell_columns[g]).collect(),
        in_voxels: names.iter().map(|g| voxel_columns[g]).collect(),
        names: names.into_iter().map(str::to_owned).collect(),
    };
    let training = set(candidates.difference(&held_out).copied().collect());
    if training.names.is_empty() {
        return Err(GeneError::NothingLeft {
            held_out: held_out.len(),
            zero: 0,
        });
    }
    Ok(SharedGenes {
        names: training.names,
        in_cells: training.in_cells,
        in_voxels: training.in_voxels,
        held_out: set(held_out.intersection(&shared).copied().collect()),
        unscored: held_out
            .difference(&shared)
            .map(|g| (*g).to_owned())
            .collect(),
    })
}

/// Removes training genes that are zero everywhere on one side; returns the other genes, and the removed names.
///
/// * `cell_sums`, `voxel_sums`: sum of each column of the file (indexed by `in_cells`, `in_voxels`)
///
/// Held-out genes are not changed.
///
/// # Errors
/// [`GeneError::NothingLeft`] if no training gene remains.
pub fn drop_zero_genes(
    shared: SharedGenes,
    cell_sums: &[f64],
    voxel_sums: &[f64],
) -> Result<(SharedGenes, Vec<String>), GeneError> {
    let mut kept = SharedGenes {
        held_out: shared.held_out,
        unscored: shared.unscored,
        ..SharedGenes::default()
    };
    let mut dropped = Vec::new();
    let columns = shared.in_cells.into_iter().zip(shared.in_voxels);
    for (name, (cell, voxel)) in shared.names.into_iter().zip(columns) {
        if cell_sums[cell] == 0.0 || voxel_sums[voxel] == 0.0 {
            dropped.push(name);
        } else {
            kept.names.push(name);
            kept.in_cells.push(cell);
            kept.in_voxels.push(voxel);
        }
    }
    if kept.names.is_empty() {
        let held_out = kept.held_out.names.len();
        return Err(GeneError::NothingLeft {
            held_out,
            zero: dropped.len(),
        });
    }
    Ok((kept, dropped))
}

/// Column of each gene; an error if a name repeats.
fn columns_of(names: &[String], side: Side) -> Result<HashMap<&str, usize>, GeneError> {
    let mut columns = HashMap::with_capacity(names.len());
    let mut repeated = BTreeSet::new();
    for (column, name) in names.iter().enumerate() {
        if columns.insert(name.as_str(), column).is_some() {
            repeated.insert(name.as_str());
        }
    }
    if repeated.is_empty() {
        return Ok(columns);
    }
    let (count, first) = (repeated.len(), some_of(repeated, 5));
    Err(GeneError::Duplicate { side, count, first })
}

/// The first three names, for a message.
fn examples(names: &[String]) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    let shown: Vec<String> = names.iter().take(3).map(|n| format!("`{n}`")).collect();
    shown.join(", ")
}

/// How to make the names match, for a message: ignore case, drop Ensembl versions, or use one kind of identifier.
fn naming_hint(cells: &[String], voxels: &[String]) -> String {
    let matching = |same: fn(&str) -> String| {
        let known: BTreeSet<String> = cells.iter().map(|g| same(g)).collect();
        voxels.iter().filter(|g| known.contains(&same(g))).count()
    };
    let hint = |count, what| format!("; {count} would match {what}");
    match (matching(str::to_lowercase), matching(without_version)) {
        (0, 0) if is_ensembl(cells) != is_ensembl(voxels) => {
            "; one side has Ensembl identifiers, the other symbols: use the same kind for both"
                .to_owned()
        }
        (0, 0) => String::new(),
        (case, version) if case >= version => hint(
            case,
            "ignoring case: write gene names the same way in both files",
        ),
        (_, version) => hint(
            version,
            "without the Ensembl version: cut `.1`, `.2`, … from the identifiers",
        ),
    }
}

/// An Ensembl identifier without its version, as `ENSG00000141510` for `ENSG00000141510.18`; other names unchanged.
fn without_version(gene: &str) -> String {
    match gene.rsplit_once('.') {
        Some((id, version)) if id.starts_with("ENS") && version.parse::<u32>().is_ok() => id,
        _ => gene,
    }
    .to_owned()
}

/// Whether more than half of the names are Ensembl identifiers.
fn is_ensembl(genes: &[String]) -> bool {
    let identifiers = genes
        .iter()
        .filter(|g| g.starts_with("ENS") && g.len() >= 15)
        .count();
    identifiers * 2 > genes.len()
}

/// The first `most` names in quotes, and the number of the others, for a message.
pub(crate) fn some_of<'a>(names: impl IntoIterator<Item = &'a str>, most: usize) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    let shown: Vec<String> = names.iter().take(most).map(|n| format!("`{n}`")).collect();
    let more = names.len().saturating_sub(most);
    if more == 0 {
        shown.join(", ")
    } else {
        format!("{} and {more} more", shown.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn refused(cells: &str, voxels: &str, choice: &GeneChoice) -> String {
        align(&names(cells), &names(voxels), choice)
            .expect_err("must be refused")
            .to_string()
    }

    #[test]
    fn every_training_and_held_out_gene_points_at_its_own_columns() {
        let (cells, voxels) = (
            names("Sst Gad1 Aqp4 Rorb Only"),
            names("Rorb Mog Sst Aqp4 Gad1"),
        );
        let choice = GeneChoice {
            list: None,
            held_out: names("Gad1 Mog"),
        };
        let shared = align(&cells, &voxels, &choice).unwrap();
        assert_eq!(shared.names, names("Aqp4 Rorb Sst"));
        assert_eq!(shared.held_out.names, names("Gad1"));
        assert_eq!(shared.unscored, names("Mog"));
        let held = &shared.held_out;
        for (names, in_cells, in_voxels) in [
            (&shared.names, &shared.in_cells, &shared.in_voxels),
            (&held.names, &held.in_cells, &held.in_voxels),
        ] {
            for (k, name) in names.iter().enumerate() {
                assert_eq!((&cells[in_cells[k]], &voxels[in_voxels[k]]), (name, name));
            }
        }
        let listed = GeneChoice {
            list: Some(names("Sst Gad1 Sst")),
            held_out: names("Gad1"),
        };
        assert_eq!(align(&cells, &voxels, &listed).unwrap().names, names("Sst"));
    }

    #[test]
    fn order_of_the_files_does_not_matter() {
        let one = align(&names("a b c d"), &names("d c b"), &GeneChoice::default()).unwrap();
        let two = align(&names("d b c a"), &names("b c d"), &GeneChoice::default()).unwrap();
        assert_eq!(one.names, two.names);
    }

    #[test]
    fn refusals_say_what_to_mend() {
        let all = GeneChoice::default();
        let case = refused("Sst Gad1 Aqp4 Rorb", "SST GAD1", &all);
        for part in [
            "`Sst`, `Gad1`, `Aqp4`, voxels",
            "`SST`, `GAD1`;",
            "2 would match ignoring case",
        ] {
            assert!(case.contains(part), "{case}");
        }
        let version = refused(
            "ENSG00000141510.18 ENSG00000146648.3",
            "ENSG00000141510",
            &all,
        );
        assert!(
            version.contains("1 would match without the Ensembl version"),
            "{version}"
        );
        let kinds = refused("ENSG00000141510 ENSG00000146648", "TP53 EGFR", &all);
        assert!(
            kinds.contains("Ensembl identifiers, the other symbols"),
            "{kinds}"
        );
        assert!(!refused("a.1", "b", &all).contains("would match"));

        let twice = refused("a b a b c", "a b c", &all);
        assert!(
            twice.starts_with("2 gene names") && twice.contains("cells: `a`, `b`;"),
            "{twice}"
        );
        assert!(refused("a b", "a b b", &all).contains("voxels: `b`;"));

        let list = GeneChoice {
            list: Some(names("a p q r s t u v")),
            held_out: vec![],
        };
        let missing = refused("a b", "a p q r s t u v", &list);
        assert!(missing.starts_with("7 of the listed"), "{missing}");
        assert!(
            missing.contains("cells: `p`, `q`, `r`, `s`, `t` and 2 more;"),
            "{missing}"
        );

        let typo = GeneChoice {
            list: None,
            held_out: names("a Typo"),
        };
        assert!(refused("a b", "a b", &typo).contains("1 held-out genes are in neither"));
        let everything = GeneChoice {
            list: None,
            held_out: names("a b"),
        };
        assert!(refused("a b", "a b", &everything).contains("2 genes are held out"));
    }

    #[test]
    fn genes_zero_on_either_side_leave_training_only() {
        let choice = GeneChoice {
            list: None,
            held_out: names("d"),
        };
        let shared = align(&names("d c b a"), &names("a b c d"), &choice).unwrap();
        // Columns: cells d c b a, voxels a b c d; `c` is zero in the cells, `a` in the voxels, `d` in both.
        let (kept, dropped) =
            drop_zero_genes(shared, &[0.0, 0.0, 3.0, 4.0], &[0.0, 1.0, 1.0, 0.0]).unwrap();
        assert_eq!((kept.names.clone(), dropped), (names("b"), names("a c")));
        assert_eq!(
            (kept.in_cells.as_slice(), kept.in_voxels.as_slice()),
            (&[2][..], &[1][..])
        );
        assert_eq!(kept.held_out.names, names("d"));
        let none = drop_zero_genes(kept, &[0.0; 4], &[1.0; 4]).unwrap_err();
        assert_eq!(
            none,
            GeneError::NothingLeft {
                held_out: 1,
                zero: 1
            }
        );
    }
}
