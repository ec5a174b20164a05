//! The atlas store: what [`import`](crate::import) writes and everything else reads.
//!
//! A Zarr store of format 3. `structures/` holds the tree as columns, `levels/0`, `levels/1`, … the labels (row of the tree plus
//! one, 0 outside the brain) and classes from the finest voxels to the coarsest, `expression/` and `densities/` one array
//! each per gene and kind of cell, `template/values` an average brain. All volumes lie on axes (AP, DV, ML).

use crate::density::Density;
use crate::{AtlasError, ClassRule, Grid, Structure, StructureTree, Volume};
use std::collections::BTreeMap;
use std::path::Path;
use tangram_store::{Existing, StoreError, VolumeValues, VolumeWriter, Volumes};

/// The format's name and version, an attribute of the root.
const FORMAT: &str = "tangram-atlas 1";

/// The contents of a new store.
#[derive(Debug)]
pub(crate) struct Contents<'a> {
    pub tree: &'a StructureTree,
    pub rule: &'a ClassRule,
    pub levels: &'a [(Volume<u16>, Volume<u8>)],
    pub template: Option<&'a Volume<f32>>,
    pub expression: &'a [(String, Volume<f32>)],
    pub densities: &'a [Density],
    /// SHA-256 of every source by its file name.
    pub sources: &'a BTreeMap<String, String>,
}

pub(crate) fn write(path: &Path, existing: Existing, all: &Contents<'_>) -> Result<(), AtlasError> {
    let unwritable = |field: &str, reason: String| StoreError::Unwritable {
        path: path.to_owned(),
        field: field.to_owned(),
        reason,
    };
    let rule = toml::to_string(all.rule).map_err(|e| unwritable("rule", e.to_string()))?;
    let sources =
        serde_json::to_string(all.sources).map_err(|e| unwritable("sources", e.to_string()))?;
    let root = [
        ("format", FORMAT),
        ("classes", &rule),
        ("sources", &sources),
    ];
    let mut out = VolumeWriter::create(path, existing, &root)?;
    write_tree(&mut out, all.tree)?;
    out.group("levels", &[])?;
    for (level, (labels, classes)) in all.levels.iter().enumerate() {
        let at = format!("levels/{level}");
        out.group(&at, &[("voxel_um", &labels.grid.voxel_um.to_string())])?;
        let values: Vec<i16> = labels.values.iter().map(|&v| v as i16).collect();
        let shape = &labels.grid.shape;
        out.array(
            &format!("{at}/labels"),
            shape,
            VolumeValues::I16(&values),
            &[],
        )?;
        let values: Vec<i16> = classes.values.iter().map(|&v| i16::from(v)).collect();
        out.array(
            &format!("{at}/classes"),
            shape,
            VolumeValues::I16(&values),
            &[],
        )?;
    }
    if let Some(template) = all.template {
        let edge = template.grid.voxel_um.to_string();
        out.group("template", &[("voxel_um", &edge)])?;
        let values = VolumeValues::F32(&template.values);
        out.array("template/values", &template.grid.shape, values, &[])?;
    }
    out.group("expression", &[])?;
    for (i, (gene, grid)) in all.expression.iter().enumerate() {
        let edge = grid.grid.voxel_um.to_string();
        let attributes = [("gene", gene.as_str()), ("voxel_um", &edge)];
        let values = VolumeValues::F32(&grid.values);
        out.array(
            &format!("expression/{i}"),
            &grid.grid.shape,
            values,
            &attributes,
        )?;
    }
    out.group("densities", &[])?;
    for (i, density) in all.densities.iter().enumerate() {
        let values: Vec<f64> = density
            .per_mm3
            .iter()
            .map(|d| d.unwrap_or(f64::NAN))
            .collect();
        let attributes = [("cells", density.cells.as_str())];
        out.array(
            &format!("densities/{i}"),
            &[values.len()],
            VolumeValues::F64(&values),
            &attributes,
        )?;
    }
    out.finish()?;
    Ok(())
}

fn write_tree(out: &mut VolumeWriter, tree: &StructureTree) -> Result<(), StoreError> {
    out.group("structures", &[])?;
    let structures = tree.structures();
    let n = [structures.len()];
    let mut whole = |name: &str, value: &dyn Fn(&Structure) -> i64| {
        let values: Vec<i64> = structures.iter().map(value).collect();
        out.array(
            &format!("structures/{name}"),
            &n,
            VolumeValues::I64(&values),
            &[],
        )
    };
    whole("id", &|s| i64::from(s.id))?;
    whole("parent", &|s| s.parent.map_or(-1, |p| p as i64))?;
    whole("rgb", &|s| {
        s.rgb.iter().fold(0, |rgb, &c| rgb * 256 + i64::from(c))
    })?;
    let mut text = |name: &str, value: &dyn Fn(&Structure) -> String| {
        let values: Vec<String> = structures.iter().map(value).collect();
        out.array(
            &format!("structures/{name}"),
            &n,
            VolumeValues::Texts(&values),
            &[],
        )
    };
    text("acronym", &|s| s.acronym.clone())?;
    text("name", &|s| s.name.clone())
}

/// An atlas store open for reading; volumes are read when they are asked for.
#[derive(Debug)]
pub struct Atlas {
    store: Volumes,
    tree: StructureTree,
    rule: ClassRule,
    levels: Vec<Grid>,
}

impl Atlas {
    /// Opens a store.
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is no atlas store of this version, [`AtlasError::Store`] if it is damaged.
    pub fn open(path: &Path) -> Result<Self, AtlasError> {
        let store = Volumes::open(path)?;
        if store.attribute("", "format")?.as_deref() != Some(FORMAT) {
            let reason = "not an atlas store of this version; make one with `tangram atlas import`";
            return Err(AtlasError::file(path, reason));
        }
        let rule = store.attribute("", "classes")?.unwrap_or_default();
        let rule = toml::from_str(&rule).map_err(|e| AtlasError::file(path, e.to_string()))?;
        let tree = read_tree(&store)?;
        let mut levels = Vec::new();
        while store.has(&format!("levels/{}", levels.len()))? {
            let at = format!("levels/{}", levels.len());
            levels.push(grid(&store, &at, &format!("{at}/labels"))?);
        }
        if levels.is_empty() {
            return Err(AtlasError::file(path, "the store has no levels"));
        }
        Ok(Self {
            store,
            tree,
            rule,
            levels,
        })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.store.path()
    }

    /// The structures.
    #[must_use]
    pub fn tree(&self) -> &StructureTree {
        &self.tree
    }

    /// The class rule it was imported with.
    #[must_use]
    pub fn rule(&self) -> &ClassRule {
        &self.rule
    }

    /// The grids of all levels, the finest first.
    #[must_use]
    pub fn levels(&self) -> &[Grid] {
        &self.levels
    }

    /// The finest level whose voxels are at least so large; the coarsest if none is.
    #[must_use]
    pub fn level_of(&self, voxel_um: f64) -> usize {
        let enough = |grid: &Grid| grid.voxel_um >= voxel_um * (1.0 - 1e-6);
        let found = self.levels.iter().position(enough);
        found.unwrap_or(self.levels.len() - 1)
    }

    /// Labels of a level: a row of the tree plus one, 0 outside the brain.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if they cannot be read, [`AtlasError::File`] if they are no labels of this tree.
    pub fn labels(&self, level: usize) -> Result<Volume<u16>, AtlasError> {
        let most = self.tree.structures().len();
        self.whole(level, "labels", |v| {
            u16::try_from(v).ok().filter(|&v| usize::from(v) <= most)
        })
    }

    /// Classes of a level.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if they cannot be read, [`AtlasError::File`] if they are none of the rule's.
    pub fn classes(&self, level: usize) -> Result<Volume<u8>, AtlasError> {
        let most = self.rule.classes.len();
        self.whole(level, "classes", |v| {
            let class = u8::try_from(v).ok()?;
            (usize::from(class) <= most || class == crate::NO_CLASS).then_some(class)
        })
    }

    fn whole<T: Copy>(
        &self,
        level: usize,
        name: &str,
        convert: impl Fn(i64) -> Option<T>,
    ) -> Result<Volume<T>, AtlasError> {
        /// Planes that are read at a time.
        const PLANES: usize = 32;
        let grid = self.levels[level];
        let at = format!("levels/{level}/{name}");
        let mut values = Vec::with_capacity(grid.n_voxels());
        for first in (0..grid.shape[0]).step_by(PLANES) {
            let planes = first..(first + PLANES).min(grid.shape[0]);
            for value in self.store.i64s(&at, planes)? {
                let value = convert(value).ok_or_else(|| {
                    AtlasError::file(self.path(), format!("{at}: {value} is none of its values"))
                })?;
                values.push(value);
            }
        }
        if values.len() != grid.n_voxels() {
            let reason = format!("{at} is not of the level's shape {:?}", grid.shape);
            return Err(AtlasError::file(self.path(), reason));
        }
        Ok(Volume::new(grid, values))
    }

    /// The average brain, if one was imported.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if it cannot be read.
    pub fn template(&self) -> Result<Option<Volume<f32>>, AtlasError> {
        if !self.store.has("template")? {
            return Ok(None);
        }
        let grid = grid(&self.store, "template", "template/values")?;
        Ok(Some(Volume::new(grid, self.store.f32s("template/values")?)))
    }

    /// Expression grids with their genes; what was not measured is NaN.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if they cannot be read.
    pub fn expression(&self) -> Result<Vec<(String, Volume<f32>)>, AtlasError> {
        let read = |i: usize| {
            let at = format!("expression/{i}");
            let gene = self.store.attribute(&at, "gene")?.unwrap_or_default();
            let volume = Volume::new(grid(&self.store, &at, &at)?, self.store.f32s(&at)?);
            Ok((gene, volume))
        };
        (0..self.store.children("expression")?.len())
            .map(read)
            .collect()
    }

    /// Cells per mm³ of every row of the tree, by kind of cell.
    ///
    /// # Errors
    /// [`AtlasError::Store`] if they cannot be read.
    pub fn densities(&self) -> Result<BTreeMap<String, Vec<Option<f64>>>, AtlasError> {
        let read = |i: usize| {
            let at = format!("densities/{i}");
            let cells = self.store.attribute(&at, "cells")?.unwrap_or_default();
            let values = self.store.f64s(&at)?;
            let present = |v: f64| (!v.is_nan()).then_some(v);
            Ok((cells, values.into_iter().map(present).collect()))
        };
        (0..self.store.children("densities")?.len())
            .map(read)
            .collect()
    }
}

/// The grid of an array, whose voxel size is an attribute at `at`.
fn grid(store: &Volumes, at: &str, array: &str) -> Result<Grid, AtlasError> {
    let broken = |reason: &str| AtlasError::file(store.path(), format!("{array}: {reason}"));
    let shape = store.shape(array)?.try_into();
    let shape: [usize; 3] = shape.map_err(|_| broken("it does not have three axes"))?;
    let edge = store.attribute(at, "voxel_um")?;
    let voxel_um: f64 = edge
        .and_then(|text| text.parse().ok())
        .filter(|edge: &f64| edge.is_finite() && *edge > 0.0)
        .ok_or_else(|| broken("the size of its voxels is missing"))?;
    Ok(Grid { shape, voxel_um })
}

fn read_tree(store: &Volumes) -> Result<StructureTree, AtlasError> {
    let broken = |reason: String| AtlasError::file(store.path(), format!("structures: {reason}"));
    let acronyms = store.texts("structures/acronym")?;
    let names = store.texts("structures/name")?;
    let n = acronyms.len();
    let whole = |name: &str| store.i64s(&format!("structures/{name}"), 0..n);
    let (ids, parents, colours) = (whole("id")?, whole("parent")?, whole("rgb")?);
    if names.len() != n {
        return Err(broken("its columns are not equally long".to_owned()));
    }
    let rows = acronyms.into_iter().zip(names).enumerate();
    let structures = rows
        .map(|(row, (acronym, name))| {
            let parent = usize::try_from(parents[row]).ok();
            if parent.is_some_and(|p| p >= n) {
                return Err(broken(format!("the parent of `{acronym}` is not there")));
            }
            let rgb = colours[row];
            Ok(Structure {
                id: u32::try_from(ids[row])
                    .map_err(|_| broken(format!("`{acronym}` has no identifier")))?,
                acronym,
                name,
                rgb: [(rgb >> 16) as u8, (rgb >> 8) as u8, rgb as u8],
                parent,
            })
        })
        .collect::<Result<Vec<_>, AtlasError>>()?;
    StructureTree::new(structures).map_err(broken)
}
