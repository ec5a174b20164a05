//! Arrays of any number of dimensions in groups, with texts as attributes: what an atlas and its transforms are made of.

use crate::aside::Aside;
use crate::tree::zarr::{Format, ZarrTree};
use crate::tree::zarr_write::ZarrWriter;
use crate::tree::{Attr, Tree, TreeWriter, Values};
use crate::{Existing, StoreError};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Values of an array, in row-major order.
#[derive(Debug, Clone, Copy)]
pub enum VolumeValues<'a> {
    /// Single precision.
    F32(&'a [f32]),
    /// Double precision.
    F64(&'a [f64]),
    /// Small whole numbers.
    I16(&'a [i16]),
    /// Whole numbers, such as identifiers.
    I64(&'a [i64]),
    /// Texts.
    Texts(&'a [String]),
}

/// Text attributes of a group or an array.
pub type TextAttributes<'a> = &'a [(&'a str, &'a str)];

/// A Zarr store (format 3) being written beside its final place. [`finish`](Self::finish) renames it; if it is dropped before that, it is
/// removed.
#[derive(Debug)]
pub struct VolumeWriter {
    // Fields are dropped in this order: the store is closed before it is removed.
    tree: ZarrWriter,
    aside: Aside,
}

impl VolumeWriter {
    /// Begins a store whose root has these attributes.
    ///
    /// # Errors
    /// [`StoreError::Exists`] or [`StoreError::Write`].
    pub fn create(
        path: &Path,
        existing: Existing,
        attributes: TextAttributes<'_>,
    ) -> Result<Self, StoreError> {
        let aside = Aside::begin(path, existing)?;
        let tree = ZarrWriter::create(aside.partial(), path)?;
        let mut writer = Self { tree, aside };
        writer.group("", attributes)?;
        Ok(writer)
    }

    /// Makes a group, such as `levels/0`; its parent was made before.
    ///
    /// # Errors
    /// [`StoreError::Write`].
    pub fn group(&mut self, at: &str, attributes: TextAttributes<'_>) -> Result<(), StoreError> {
        self.tree.group(at, &texts(attributes))
    }

    /// Writes an array into a group that was made before.
    ///
    /// * `shape`: its product is the number of values
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Unwritable`] if the values do not fill the shape.
    pub fn array(
        &mut self,
        at: &str,
        shape: &[usize],
        values: VolumeValues<'_>,
        attributes: TextAttributes<'_>,
    ) -> Result<(), StoreError> {
        let (n_values, values) = match values {
            VolumeValues::F32(v) => (v.len(), Values::F32(v)),
            VolumeValues::F64(v) => (v.len(), Values::F64(v)),
            VolumeValues::I16(v) => (v.len(), Values::I16(v)),
            VolumeValues::I64(v) => (v.len(), Values::I64(v)),
            VolumeValues::Texts(v) => (v.len(), Values::Texts(v)),
        };
        if shape.iter().product::<usize>() != n_values {
            return Err(StoreError::Unwritable {
                path: self.aside.path().to_owned(),
                field: at.to_owned(),
                reason: format!("{n_values} values do not fill the shape {shape:?}"),
            });
        }
        self.tree.array(at, shape, values, &texts(attributes))
    }

    /// Completes the store and renames it into place.
    ///
    /// # Errors
    /// [`StoreError::Write`]; [`StoreError::Exists`] if another took the place meanwhile.
    pub fn finish(self) -> Result<(), StoreError> {
        let Self { tree, aside } = self;
        Box::new(tree).close()?;
        aside.finish()
    }
}

fn texts<'a>(attributes: TextAttributes<'a>) -> Vec<(&'a str, Attr)> {
    attributes
        .iter()
        .map(|(name, text)| (*name, Attr::Text((*text).to_owned())))
        .collect()
}

/// A Zarr store that [`VolumeWriter`] wrote, open for reading.
#[derive(Debug)]
pub struct Volumes {
    path: PathBuf,
    tree: ZarrTree,
}

impl Volumes {
    /// Opens a store.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if nothing is there, [`StoreError::Broken`] if it is no Zarr store of format 3.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            return Err(StoreError::Missing {
                path: path.to_owned(),
            });
        }
        if ZarrTree::format_of(path) != Some(Format::V3) {
            return Err(StoreError::broken(
                path,
                "zarr.json",
                "it is not there: this is no Zarr store of format 3",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            tree: ZarrTree::open(path, Format::V3)?,
        })
    }

    /// Where the store is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a group or an array at this place.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn has(&self, at: &str) -> Result<bool, StoreError> {
        Ok(self.tree.node(at)?.is_some())
    }

    /// Names of the groups and arrays in a group, sorted; none if there is no such group.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn children(&self, group: &str) -> Result<Vec<String>, StoreError> {
        match self.has(group)? {
            true => self.tree.children(group),
            false => Ok(Vec::new()),
        }
    }

    /// A text attribute; `None` if there is none of this name.
    ///
    /// # Errors
    /// [`StoreError::Read`].
    pub fn attribute(&self, at: &str, name: &str) -> Result<Option<String>, StoreError> {
        Ok(match self.tree.attr(at, name)? {
            Some(Attr::Text(text)) => Some(text),
            _ => None,
        })
    }

    /// The shape of an array.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such array.
    pub fn shape(&self, at: &str) -> Result<Vec<usize>, StoreError> {
        Ok(self.tree.array(at)?.shape().to_vec())
    }

    /// All numbers of an array.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such array, or it is damaged.
    pub fn f32s(&self, at: &str) -> Result<Vec<f32>, StoreError> {
        let array = self.tree.array(at)?;
        array.f32s(&array.all())
    }

    /// All numbers of an array, in double precision.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such array, or it is damaged.
    pub fn f64s(&self, at: &str) -> Result<Vec<f64>, StoreError> {
        let array = self.tree.array(at)?;
        array.f64s(&array.all())
    }

    /// Whole numbers of an array, for a range of its first axis.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such array, or it is damaged.
    pub fn i64s(&self, at: &str, first_axis: Range<usize>) -> Result<Vec<i64>, StoreError> {
        let array = self.tree.array(at)?;
        let mut region = array.all();
        match region.first_mut() {
            Some(range) if first_axis.end <= range.end => *range = first_axis,
            _ => {
                let reason = format!("its first axis does not reach to {}", first_axis.end);
                return Err(StoreError::broken(&self.path, at, reason));
            }
        }
        array.i64s(&region)
    }

    /// All texts of an array.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if there is no such array, or it holds no texts.
    pub fn texts(&self, at: &str) -> Result<Vec<String>, StoreError> {
        self.tree.array(at)?.texts()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_and_their_attributes_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("atlas.zarr");
        let labels: Vec<i16> = (0..2 * 3 * 4).collect();
        let names = ["one".to_owned(), "zwei".to_owned()];
        let mut writer =
            VolumeWriter::create(&path, Existing::Refuse, &[("kind", "atlas")]).unwrap();
        writer.group("levels", &[]).unwrap();
        let at = "levels/labels";
        let values = VolumeValues::I16(&labels);
        writer
            .array(at, &[2, 3, 4], values, &[("unit", "row")])
            .unwrap();
        assert!(writer.array("levels/short", &[5], values, &[]).is_err());
        writer
            .array("names", &[2], VolumeValues::Texts(&names), &[])
            .unwrap();
        assert!(!path.exists(), "it is not there before it is whole");
        writer.finish().unwrap();

        let store = Volumes::open(&path).unwrap();
        assert_eq!(store.attribute("", "kind").unwrap().unwrap(), "atlas");
        assert_eq!(store.attribute(at, "unit").unwrap().unwrap(), "row");
        assert_eq!(store.attribute("", "other").unwrap(), None);
        assert_eq!(store.children("").unwrap(), ["levels", "names"]);
        assert_eq!(store.shape(at).unwrap(), [2, 3, 4]);
        let second: Vec<i64> = (12..24).collect();
        assert_eq!(store.i64s(at, 1..2).unwrap(), second);
        assert!(store.i64s(at, 1..3).is_err());
        assert_eq!(store.texts("names").unwrap(), names);
        assert!(Volumes::open(folder.path()).is_err());
    }
}
