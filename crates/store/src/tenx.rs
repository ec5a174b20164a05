//! What 10x programs write: matrices in HDF5, `matrix.mtx` folders, Space Ranger folders.

use crate::StoreError;
use crate::mtx::{find_text, lines, read_transposed};
use crate::tree::Tree;
use crate::tree::hdf5::Hdf5Tree;
use ndarray::Array2;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tangram_core::{Column, SparseRows, Table};

/// A 10x matrix: its tables, and where its counts are.
#[derive(Debug)]
pub(crate) struct TenX {
    pub(crate) obs: Table,
    pub(crate) var: Table,
    pub(crate) spatial: Option<Array2<f64>>,
    counts: Counts,
}

#[derive(Debug)]
enum Counts {
    Hdf5 {
        tree: Box<Hdf5Tree>,
        group: String,
    },
    /// Text: read whole when first asked for.
    Mtx {
        file: PathBuf,
        read: OnceLock<SparseRows>,
    },
}

impl TenX {
    /// A 10x matrix in HDF5, of Cell Ranger 3 and later (`/matrix`) or before (a group named by the genome);
    /// `None` if the file is not one.
    pub(crate) fn open_h5(tree: Hdf5Tree) -> Result<Option<Self>, StoreError> {
        let texts = |at: &str| tree.array(at)?.texts();
        if tree.node("matrix/barcodes")?.is_some() && tree.node("matrix/features")?.is_some() {
            let mut var = genes(texts("matrix/features/name")?, texts("matrix/features/id")?);
            for column in ["feature_type", "genome"] {
                let at = format!("matrix/features/{column}");
                if tree.node(&at)?.is_some() {
                    let name = if column == "feature_type" {
                        "feature_types"
                    } else {
                        column
                    };
                    var.set(name, Column::categories(&texts(&at)?));
                }
            }
            let obs = Table::of_names(texts("matrix/barcodes")?);
            let counts = Counts::Hdf5 {
                tree: Box::new(tree),
                group: "matrix".to_owned(),
            };
            return Ok(Some(Self {
                obs,
                var,
                spatial: None,
                counts,
            }));
        }
        let mut genomes = tree.children("")?;
        let has = |genome: &String, part: &str| {
            tree.node(&format!("{genome}/{part}")).map(|n| n.is_some())
        };
        let mut found = Vec::new();
        for genome in genomes.drain(..) {
            if has(&genome, "barcodes")? && has(&genome, "gene_names")? {
                found.push(genome);
            }
        }
        let group = match &mut found[..] {
            [] => return Ok(None),
            [one] => std::mem::take(one),
            _ => {
                let reason = format!(
                    "it holds several genomes ({}); write one of them to its own file",
                    found.join(", ")
                );
                return Err(StoreError::broken(tree.path(), "matrix", reason));
            }
        };
        let var = genes(
            texts(&format!("{group}/gene_names"))?,
            texts(&format!("{group}/genes"))?,
        );
        let obs = Table::of_names(texts(&format!("{group}/barcodes"))?);
        let counts = Counts::Hdf5 {
            tree: Box::new(tree),
            group,
        };
        Ok(Some(Self {
            obs,
            var,
            spatial: None,
            counts,
        }))
    }

    /// A folder with `matrix.mtx`, `barcodes.tsv` and `features.tsv` or `genes.tsv`, each plain or gzipped; `None` if
    /// it holds no `matrix.mtx`.
    pub(crate) fn open_mtx(folder: &Path) -> Result<Option<Self>, StoreError> {
        let Some(file) = find_text(folder, &["matrix.mtx"]) else {
            return Ok(None);
        };
        let beside = |names: &[&str]| {
            find_text(folder, names).ok_or_else(|| {
                let reason = format!("beside it is no {} (plain or .gz)", names.join(" or "));
                StoreError::broken(&file, "matrix", reason)
            })
        };
        let barcodes = lines(&beside(&["barcodes.tsv"])?)?;
        let features = beside(&["features.tsv", "genes.tsv"])?;
        let (mut ids, mut names, mut types) = (vec![], vec![], vec![]);
        for line in lines(&features)? {
            let mut words = line.split('\t');
            let id = words.next().unwrap_or_default().to_owned();
            names.push(words.next().map_or_else(|| id.clone(), str::to_owned));
            types.extend(words.next().map(str::to_owned));
            ids.push(id);
        }
        let mut var = genes(names, ids);
        if types.len() == var.len() && !types.is_empty() {
            var.set("feature_types", Column::categories(&types));
        }
        let first = |line: String| line.split('\t').next().unwrap_or_default().to_owned();
        let obs = Table::of_names(barcodes.into_iter().map(first).collect());
        Ok(Some(Self {
            obs,
            var,
            spatial: None,
            counts: Counts::Mtx {
                file,
                read: OnceLock::new(),
            },
        }))
    }

    /// A Space Ranger output folder (or its `outs`): the filtered matrix with the spots' positions; `None` if it
    /// holds no such matrix. Without `spatial/` it is a Cell Ranger folder, and has no positions.
    pub(crate) fn open_space_ranger(folder: &Path) -> Result<Option<Self>, StoreError> {
        let outs = folder.join("outs");
        let folder = if outs.is_dir() { &outs } else { folder };
        let (h5, mtx) = (
            folder.join("filtered_feature_bc_matrix.h5"),
            folder.join("filtered_feature_bc_matrix"),
        );
        let tenx = if h5.is_file() {
            Self::open_h5(Hdf5Tree::open(&h5)?)?
        } else if mtx.is_dir() {
            Self::open_mtx(&mtx)?
        } else {
            None
        };
        let Some(mut tenx) = tenx else {
            return Ok(None);
        };
        let spatial = folder.join("spatial");
        let positions =
            ["tissue_positions.csv", "tissue_positions_list.csv"].map(|n| spatial.join(n));
        match positions.iter().find(|p| p.is_file()) {
            Some(file) => tenx.place_spots(file)?,
            None if spatial.is_dir() => {
                let reason =
                    "it has no tissue_positions.csv; convert tissue_positions.parquet to CSV first";
                return Err(StoreError::broken(&spatial, "positions", reason));
            }
            None => {}
        }
        Ok(Some(tenx))
    }

    /// Takes the spots' positions from `tissue_positions.csv` (Space Ranger 2, with a header) or
    /// `tissue_positions_list.csv` (before, without): barcode, in_tissue, array_row, array_col, pixel row, pixel column.
    fn place_spots(&mut self, file: &Path) -> Result<(), StoreError> {
        const COLUMNS: [&str; 3] = ["in_tissue", "array_row", "array_col"];
        let mut spots: HashMap<String, [f64; 5]> = HashMap::new();
        for (number, line) in lines(file)?.into_iter().enumerate() {
            let mut words = line.split(',').map(str::trim);
            let barcode = words.next().unwrap_or_default();
            let numbers: Vec<f64> = words.filter_map(|w| w.parse().ok()).collect();
            match numbers[..].try_into() {
                Ok(numbers) => _ = spots.insert(barcode.to_owned(), numbers),
                Err(_) if number == 0 || line.trim().is_empty() => {}
                Err(_) => {
                    let reason = format!("line {} is not a barcode and five numbers", number + 1);
                    return Err(StoreError::broken(file, "positions", reason));
                }
            }
        }
        let mut found = Vec::with_capacity(self.obs.len());
        for barcode in &self.obs.names {
            let spot = spots.get(barcode);
            found.push(*spot.ok_or_else(|| {
                StoreError::broken(file, "positions", format!("no spot {barcode}"))
            })?);
        }
        for (i, name) in COLUMNS.iter().enumerate() {
            self.obs
                .set(name, Column::numbers(found.iter().map(|spot| spot[i])));
        }
        // x is the pixel column and y the pixel row, as scanpy and squidpy have them.
        self.spatial = Some(Array2::from_shape_fn((found.len(), 2), |(i, axis)| {
            found[i][4 - axis]
        }));
        Ok(())
    }

    /// The counts.
    pub(crate) fn stored(&self) -> Result<Stored<'_>, StoreError> {
        match &self.counts {
            Counts::Hdf5 { tree, group } => Ok(Stored::Tree(&**tree, group)),
            Counts::Mtx { file, read } => {
                if read.get().is_none() {
                    let rows = read_transposed(file, self.obs.len(), self.var.len())?;
                    // Another thread may have been faster; its matrix is the same.
                    let _ = read.set(rows);
                }
                Ok(Stored::Rows(read.get().expect("it was set above")))
            }
        }
    }
}

/// Where the counts of 10x data are.
pub(crate) enum Stored<'a> {
    /// In this group of a tree, (genes, cells) by cell.
    Tree(&'a dyn Tree, &'a str),
    /// In memory, (cells, genes).
    Rows(&'a SparseRows),
}

/// The table of genes, by name; where a name occurs again it becomes `NAME-1`, `NAME-2`, as scanpy's
/// `var_names_make_unique` has it.
fn genes(names: Vec<String>, ids: Vec<String>) -> Table {
    let mut taken: HashSet<String> = names.iter().cloned().collect();
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        let Some(count) = seen.get_mut(&name) else {
            seen.insert(name.clone(), 0);
            unique.push(name);
            continue;
        };
        loop {
            *count += 1;
            let other = format!("{name}-{count}");
            if taken.insert(other.clone()) {
                unique.push(other);
                break;
            }
        }
    }
    let mut table = Table::of_names(unique);
    if ids.len() == table.len() {
        table.set("gene_ids", Column::Text(ids));
    }
    table
}
