//! Import: annotation, structure tree, template, expression and densities into one atlas store, checked against each other.

use crate::density::{Density, read_densities};
use crate::expression::{covers, read_expression};
use crate::nrrd::{Nrrd, NrrdValues, read_nrrd};
use crate::store::{self, Contents};
use crate::{AtlasError, ClassRule, Grid, NO_CLASS, Orientation, StructureTree, Volume};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_store::Existing;

/// Levels become coarser until their voxels have this edge.
const COARSEST_UM: f64 = 200.0;
/// Levels have no voxels smaller than this: finer annotations are refused because a mouse brain would not fit in memory.
const FINEST_UM: f64 = 10.0;

/// What to import.
#[derive(Debug, Clone)]
pub struct ImportSources {
    /// The annotation, NRRD.
    pub annotation: PathBuf,
    /// The structure tree, CSV.
    pub structures: PathBuf,
    /// An average brain to be stored beside it, NRRD.
    pub template: Option<PathBuf>,
    /// Expression grids by gene.
    pub expression: Vec<(String, PathBuf)>,
    /// Tables of cell densities, CSV.
    pub densities: Vec<PathBuf>,
    /// The classes.
    pub rule: ClassRule,
    /// Axes of the annotation and the template; `None` if their proportions are to tell.
    pub orientation: Option<Orientation>,
    /// Edge of a voxel where the header does not tell it.
    pub voxel_um: Option<f64>,
}

/// What was found while importing.
#[derive(Debug, Clone, Serialize)]
pub struct ImportReport {
    /// Axes of the annotation's file.
    pub orientation: String,
    /// Every level: edge of a voxel in µm, and voxels along AP, DV, ML.
    pub levels: Vec<(f64, [usize; 3])>,
    /// Structures in the tree.
    pub n_structures: usize,
    /// Structures that the annotation has voxels of.
    pub n_annotated: usize,
    /// Share of the brain's voxels whose mirror image across the middle has the same structure.
    pub symmetry: f64,
    /// Volume of every class in mm³; tissue that no class claims under `no class`.
    pub class_mm3: BTreeMap<String, f64>,
    /// Share of the brain that each expression grid has measured, by gene.
    pub expression_coverage: BTreeMap<String, f64>,
    /// Kinds of cells for which densities are there: rows used, about unknown structures, about other things.
    pub densities: BTreeMap<String, (usize, usize, usize)>,
}

/// Imports an atlas into a new store.
///
/// # Errors
/// [`AtlasError`] if an input cannot be read, if the inputs do not fit together, or if the store cannot be written.
pub fn import(
    sources: &ImportSources,
    out: &Path,
    existing: Existing,
) -> Result<ImportReport, AtlasError> {
    let tree = StructureTree::read_csv(&sources.structures)?;
    let class_of = sources.rule.of_structures(&tree)?;
    let (labels, orientation) = annotation(sources, &tree)?;
    let n_annotated = count_annotated(&labels, &tree);
    let symmetry = symmetry(&labels);
    let classes = labels.map(|label| class_of_label(&class_of, label));
    let names = sources.rule.names();
    let class_mm3 = class_volumes(&classes, &names);
    let densities = densities(&sources.densities, &tree, &labels)?;
    let template = sources
        .template
        .as_deref()
        .map(|path| read_template(path, orientation, sources.voxel_um, labels.grid))
        .transpose()?;
    let mut expression_coverage = BTreeMap::new();
    let mut expression = Vec::new();
    for (gene, path) in &sources.expression {
        let grid = read_expression(path)?;
        if !covers(grid.grid, labels.grid) {
            let (found, due) = (grid.grid.extent_um(), labels.grid.extent_um());
            let reason = format!("the grid is {found:?} µm long, the annotation {due:?} µm");
            return Err(AtlasError::mismatch(path, reason));
        }
        expression_coverage.insert(gene.clone(), coverage(&grid, &labels));
        expression.push((gene.clone(), grid));
    }
    let levels = levels(labels, classes);
    let report = ImportReport {
        orientation: orientation.to_string(),
        levels: levels
            .iter()
            .map(|(labels, _)| (labels.grid.voxel_um, labels.grid.shape))
            .collect(),
        n_structures: tree.structures().len(),
        n_annotated,
        symmetry,
        class_mm3,
        expression_coverage,
        densities: densities
            .iter()
            .map(|d| {
                let n = d.use_of_table;
                (d.cells.clone(), (n.used, n.unknown, n.other))
            })
            .collect(),
    };
    let contents = Contents {
        tree: &tree,
        rule: &sources.rule,
        levels: &levels,
        template: template.as_ref(),
        expression: &expression,
        densities: &densities,
        sources: &source_hashes(sources)?,
    };
    store::write(out, existing, &contents)?;
    Ok(report)
}

/// Class of a label, which is a row of the tree plus one, or 0 outside the brain.
fn class_of_label(class_of: &[u8], label: u16) -> u8 {
    match label {
        0 => crate::BACKGROUND,
        row => class_of[usize::from(row) - 1],
    }
}

fn annotation(
    sources: &ImportSources,
    tree: &StructureTree,
) -> Result<(Volume<u16>, Orientation), AtlasError> {
    let path = &sources.annotation;
    let wrong = |reason: String| AtlasError::file(path, reason);
    let ending = path
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    if ending != "nrrd" {
        let reason = format!("annotations are read from .nrrd; convert this .{ending} file first");
        return Err(wrong(reason));
    }
    let nrrd = read_nrrd(path)?;
    let NrrdValues::Whole(ids) = &nrrd.values else {
        return Err(wrong("an annotation holds whole numbers".to_owned()));
    };
    let rows = rows_of_ids(ids, tree).map_err(wrong)?;
    let orientation = match sources.orientation {
        Some(orientation) => orientation,
        None => Orientation::of_ccf(&nrrd.sizes).ok_or_else(|| {
            wrong(format!(
                "{:?} voxels are not in the proportions of the Allen mouse brain; tell how the axes lie with --orientation",
                nrrd.sizes
            ))
        })?,
    };
    let steps = steps(path, &nrrd, sources.voxel_um)?;
    let volume = orientation.arrange(path, &nrrd.sizes, steps, &rows)?;
    if volume.grid.voxel_um < FINEST_UM {
        return Err(wrong(format!(
            "voxels of {} µm; the finest are 10 µm",
            steps[0]
        )));
    }
    if volume.values.iter().all(|&label| label == 0) {
        return Err(wrong(
            "every voxel is 0: there is no brain in it".to_owned(),
        ));
    }
    Ok((volume, orientation))
}

/// Rows of the tree, plus one, for identifiers; an error that lists those that the tree does not have.
fn rows_of_ids(ids: &[u32], tree: &StructureTree) -> Result<Vec<u16>, String> {
    let mut unknown: BTreeMap<u32, usize> = BTreeMap::new();
    // Neighbouring voxels mostly have the same identifier.
    let mut last = (0, 0);
    let rows = ids
        .iter()
        .map(|&id| {
            if id != last.0 {
                let row = match (id, tree.row_of_id(id)) {
                    (0, _) => 0,
                    (_, Some(row)) => row as u16 + 1,
                    (_, None) => u16::MAX,
                };
                last = (id, row);
            }
            if last.1 == u16::MAX {
                *unknown.entry(id).or_default() += 1;
            }
            last.1
        })
        .collect();
    if unknown.is_empty() {
        return Ok(rows);
    }
    let first: Vec<String> = unknown
        .iter()
        .take(5)
        .map(|(id, n)| format!("{id} ({n} voxels)"))
        .collect();
    Err(format!(
        "{} identifiers are not in the structure tree: {}{}; give the tree that belongs to this annotation",
        unknown.len(),
        first.join(", "),
        if unknown.len() > 5 { ", …" } else { "" }
    ))
}

fn steps(path: &Path, nrrd: &Nrrd, voxel_um: Option<f64>) -> Result<[f64; 3], AtlasError> {
    match (voxel_um, &nrrd.steps_um) {
        (Some(edge), _) => Ok([edge; 3]),
        (None, Some(steps)) if steps.len() == 3 => Ok([steps[0], steps[1], steps[2]]),
        _ => {
            let reason = "the header does not tell the size of a voxel; tell it with --voxel-size";
            Err(AtlasError::file(path, reason))
        }
    }
}

fn read_template(
    path: &Path,
    orientation: Orientation,
    voxel_um: Option<f64>,
    atlas: Grid,
) -> Result<Volume<f32>, AtlasError> {
    let nrrd = read_nrrd(path)?;
    // The size given for the annotation need not be the template's.
    let steps = steps(
        path,
        &nrrd,
        nrrd.steps_um.is_none().then_some(voxel_um).flatten(),
    )?;
    let values: Vec<f32> = match &nrrd.values {
        NrrdValues::Whole(values) => values.iter().map(|&v| v as f32).collect(),
        NrrdValues::Float(values) => values.clone(),
    };
    let volume = orientation.arrange(path, &nrrd.sizes, steps, &values)?;
    match covers(volume.grid, atlas) {
        true => Ok(volume),
        false => {
            let (found, due) = (volume.grid.extent_um(), atlas.extent_um());
            let reason = format!("it is {found:?} µm long, the annotation {due:?} µm");
            Err(AtlasError::mismatch(path, reason))
        }
    }
}

fn densities(
    paths: &[PathBuf],
    tree: &StructureTree,
    labels: &Volume<u16>,
) -> Result<Vec<Density>, AtlasError> {
    let mut all: Vec<Density> = Vec::new();
    for path in paths {
        for density in read_densities(path, tree, labels)? {
            if all.iter().any(|known| known.cells == density.cells) {
                let reason = format!(
                    "densities of `{}` are in an earlier table too",
                    density.cells
                );
                return Err(AtlasError::mismatch(path, reason));
            }
            all.push(density);
        }
    }
    Ok(all)
}

fn count_annotated(labels: &Volume<u16>, tree: &StructureTree) -> usize {
    let mut seen = vec![false; tree.structures().len() + 1];
    for &label in &labels.values {
        seen[usize::from(label)] = true;
    }
    seen[1..].iter().filter(|s| **s).count()
}

fn symmetry(labels: &Volume<u16>) -> f64 {
    let (mut same, mut brain) = (0_usize, 0_usize);
    for row in labels.values.chunks_exact(labels.grid.shape[2]) {
        for (&label, &mirrored) in row.iter().zip(row.iter().rev()) {
            if label > 0 {
                brain += 1;
                same += usize::from(label == mirrored);
            }
        }
    }
    same as f64 / brain.max(1) as f64
}

fn class_volumes(classes: &Volume<u8>, names: &[String]) -> BTreeMap<String, f64> {
    let mut counts = [0_usize; 256];
    for &class in &classes.values {
        counts[usize::from(class)] += 1;
    }
    let voxel_mm3 = (classes.grid.voxel_um / 1000.0).powi(3);
    let of_class = |class: usize| counts[class] as f64 * voxel_mm3;
    let unclaimed = ("no class".to_owned(), of_class(usize::from(NO_CLASS)));
    let classes = names.iter().enumerate().skip(1);
    classes
        .map(|(class, name)| (name.clone(), of_class(class)))
        .chain([unclaimed])
        .collect()
}

/// Share of the brain's voxels whose place was measured.
fn coverage(grid: &Volume<f32>, labels: &Volume<u16>) -> f64 {
    let edge = labels.grid.voxel_um;
    let (mut measured, mut brain) = (0_usize, 0_usize);
    let [aps, dvs, mls] = labels.grid.shape;
    for ap in 0..aps {
        for dv in 0..dvs {
            for ml in 0..mls {
                if labels.values[labels.grid.index([ap, dv, ml])] > 0 {
                    let centre = [ap, dv, ml].map(|k| (k as f64 + 0.5) * edge);
                    brain += 1;
                    measured += usize::from(grid.at(centre).is_some_and(|v| !v.is_nan()));
                }
            }
        }
    }
    measured as f64 / brain.max(1) as f64
}

/// Labels and classes of every level, the finest first.
fn levels(labels: Volume<u16>, classes: Volume<u8>) -> Vec<(Volume<u16>, Volume<u8>)> {
    let mut levels = vec![(labels, classes)];
    loop {
        let (labels, classes) = levels.last().expect("it begins with one");
        if labels.grid.voxel_um * 2.0 > COARSEST_UM * (1.0 + 1e-6) {
            return levels;
        }
        let next = (labels.majority(), classes.majority());
        levels.push(next);
    }
}

fn source_hashes(sources: &ImportSources) -> Result<BTreeMap<String, String>, AtlasError> {
    let mut paths = vec![&sources.annotation, &sources.structures];
    paths.extend(&sources.template);
    paths.extend(sources.expression.iter().map(|(_, path)| path));
    paths.extend(&sources.densities);
    paths
        .into_iter()
        .map(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            Ok((name.into_owned(), tangram_store::fingerprint(path)?))
        })
        .collect()
}
