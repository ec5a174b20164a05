//! Zarr, format 2 and 3, as a tree, for reading. Groups and attributes come from the metadata files themselves, so that
//! an array of an exotic type does no harm until its values are asked for; values come through zarrs.

use super::{Array, Attr, Dtype, Node, Tree};
use crate::StoreError;
use crate::caught::caught;
use crate::folder::files_of;
use crate::plausible::{n_elements, read_text};
use serde_json::Value;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use zarrs::array::data_type::FixedLengthUTF32DataType;
use zarrs::array::{Array as ZarrsArray, ArraySubset, ElementOwned};
use zarrs::filesystem::FilesystemStore;

/// Version of the Zarr format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    V2,
    V3,
}

/// A Zarr store in a folder.
#[derive(Debug)]
pub(crate) struct ZarrTree {
    path: PathBuf,
    store: Arc<FilesystemStore>,
    format: Format,
}

impl ZarrTree {
    /// Which format a folder is in; `None` if it is no Zarr store.
    pub(crate) fn format_of(path: &Path) -> Option<Format> {
        if path.join("zarr.json").is_file() {
            Some(Format::V3)
        } else if path.join(".zgroup").is_file() {
            Some(Format::V2)
        } else {
            None
        }
    }

    pub(crate) fn open(path: &Path, format: Format) -> Result<Self, StoreError> {
        let store = FilesystemStore::new(path).map_err(|e| StoreError::read(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            store: Arc::new(store),
            format,
        })
    }

    fn json(&self, at: &str, file: &str) -> Result<Option<Value>, StoreError> {
        let path = self.path.join(at).join(file);
        if let Err(error) = fs::metadata(&path) {
            use std::io::ErrorKind::{NotADirectory, NotFound};
            return match error.kind() {
                NotFound | NotADirectory => Ok(None),
                _ => Err(StoreError::read(&path, error)),
            };
        }
        let text = read_text(&path).map_err(|e| StoreError::read(&path, e))?;
        let broken = |e| StoreError::broken(&self.path, at, format!("{file} is not JSON ({e})"));
        serde_json::from_str(&text).map(Some).map_err(broken)
    }

    /// All attributes of a group or an array as JSON; null if it has none.
    pub(crate) fn attributes(&self, at: &str) -> Result<Value, StoreError> {
        let attributes = match self.format {
            Format::V3 => self
                .json(at, "zarr.json")?
                .and_then(|mut meta| meta.get_mut("attributes").map(Value::take)),
            Format::V2 => self.json(at, ".zattrs")?,
        };
        Ok(attributes.unwrap_or(Value::Null))
    }

    fn metadata(&self, at: &str) -> Result<Option<(Node, Value)>, StoreError> {
        match self.format {
            Format::V3 => {
                Ok(self
                    .json(at, "zarr.json")?
                    .map(|meta| match meta["node_type"].as_str() {
                        Some("array") => (Node::Array, meta),
                        _ => (Node::Group, meta),
                    }))
            }
            Format::V2 => {
                if let Some(meta) = self.json(at, ".zarray")? {
                    return Ok(Some((Node::Array, meta)));
                }
                Ok(self.json(at, ".zgroup")?.map(|meta| (Node::Group, meta)))
            }
        }
    }
}

impl Tree for ZarrTree {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self, at: &str) -> Result<Option<Node>, StoreError> {
        Ok(self.metadata(at)?.map(|(node, _)| node))
    }

    fn children(&self, group: &str) -> Result<Vec<String>, StoreError> {
        let folder = self.path.join(group);
        let fail = |e| StoreError::read(&folder, e);
        let mut names = Vec::new();
        for entry in fs::read_dir(&folder).map_err(fail)? {
            let name = entry
                .map_err(fail)?
                .file_name()
                .to_string_lossy()
                .into_owned();
            let at = if group.is_empty() {
                name.clone()
            } else {
                format!("{group}/{name}")
            };
            if self.node(&at)?.is_some() {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn attr(&self, at: &str, name: &str) -> Result<Option<Attr>, StoreError> {
        let attributes = self.attributes(at)?;
        Ok(attributes.get(name).map(attribute))
    }

    fn array(&self, at: &str) -> Result<Box<dyn Array>, StoreError> {
        let broken = |reason: String| StoreError::broken(&self.path, at, reason);
        let (_, meta) = self
            .metadata(at)?
            .ok_or_else(|| broken("no such array".to_owned()))?;
        let shape = meta["shape"].as_array().into_iter().flatten();
        let shape = shape
            .map(|n| n.as_u64().map(|n| n as usize))
            .collect::<Option<Vec<_>>>();
        let shape = shape.ok_or_else(|| broken("its shape is not a list of sizes".to_owned()))?;
        let dtype = match self.format {
            Format::V3 => dtype_v3(&meta["data_type"]),
            Format::V2 => dtype_v2(&meta["dtype"], &meta["filters"]),
        };
        let inner = match dtype {
            Dtype::Other(_) => None,
            _ => {
                let open = || ZarrsArray::open(self.store.clone(), &format!("/{at}"));
                let open = caught(open).map_err(&broken)?;
                Some(open.map_err(|e| broken(e.to_string()))?)
            }
        };
        let array = ZarrArray {
            path: self.path.clone(),
            at: at.to_owned(),
            inner,
            shape,
            dtype,
        };
        array.check_chunk()?;
        Ok(Box::new(array))
    }
}

/// An array open for reading.
#[derive(Debug)]
struct ZarrArray {
    path: PathBuf,
    at: String,
    /// `None` if its elements are of a type that nothing here reads.
    inner: Option<ZarrsArray<FilesystemStore>>,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl ZarrArray {
    fn broken(&self, reason: String) -> StoreError {
        StoreError::broken(&self.path, &self.at, reason)
    }

    /// Bytes of an element in memory.
    fn element(&self) -> usize {
        let fixed = self
            .inner
            .as_ref()
            .and_then(|inner| inner.data_type().fixed_size());
        fixed.unwrap_or(size_of::<String>()).max(1)
    }

    /// Bytes of the files that hold the array.
    fn stored(&self) -> u64 {
        let files = files_of(&self.path.join(&self.at)).unwrap_or_default();
        let size = |path: &PathBuf| fs::metadata(path).map_or(0, |meta| meta.len());
        files.iter().map(size).sum()
    }

    /// Checks the size of a chunk, which is unpacked whole whatever part of it is wanted.
    fn check_chunk(&self) -> Result<(), StoreError> {
        let Some(inner) = &self.inner else {
            return Ok(());
        };
        let origin = vec![0; self.shape.len()];
        // An empty array has no chunk.
        let Ok(chunk) = caught(|| inner.chunk_shape(&origin)).map_err(|e| self.broken(e))? else {
            return Ok(());
        };
        let lens: Vec<usize> = chunk
            .iter()
            .map(|n| usize::try_from(n.get()).unwrap_or(usize::MAX))
            .collect();
        n_elements(&self.path, &self.at, &lens, self.element(), || {
            self.stored()
        })
        .map(|_| ())
    }

    fn read<T: ElementOwned>(&self, region: &[Range<usize>]) -> Result<Vec<T>, StoreError> {
        let inner = self
            .inner
            .as_ref()
            .ok_or_else(|| self.broken(format!("elements of type {}", self.dtype)))?;
        let lens: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        n_elements(&self.path, &self.at, &lens, self.element(), || {
            self.stored()
        })?;
        let ranges: Vec<_> = region
            .iter()
            .map(|r| r.start as u64..r.end as u64)
            .collect();
        caught(|| inner.retrieve_array_subset(&ArraySubset::new_with_ranges(&ranges)))
            .map_err(|e| self.broken(e))?
            .map_err(|e| self.broken(e.to_string()))
    }
}

/// Reads elements as they are stored and converts each with `as`.
macro_rules! read_as {
    ($self:ident, $region:ident, $to:ty) => {{
        macro_rules! from {
            ($stored:ty) => {{
                let stored: Vec<$stored> = $self.read($region)?;
                Ok(stored.into_iter().map(|v| v as $to).collect())
            }};
        }
        match $self.dtype {
            Dtype::Bool => Ok($self
                .read::<bool>($region)?
                .into_iter()
                .map(|v| u8::from(v) as $to)
                .collect()),
            Dtype::Int(8) => from!(i8),
            Dtype::Int(16) => from!(i16),
            Dtype::Int(32) => from!(i32),
            Dtype::Int(_) => from!(i64),
            Dtype::Uint(8) => from!(u8),
            Dtype::Uint(16) => from!(u16),
            Dtype::Uint(32) => from!(u32),
            Dtype::Uint(_) => from!(u64),
            Dtype::Float(16) => Ok($self
                .read::<half::f16>($region)?
                .into_iter()
                .map(|v| v.to_f32() as $to)
                .collect()),
            Dtype::Float(32) => from!(f32),
            Dtype::Float(_) => from!(f64),
            Dtype::Text | Dtype::Other(_) => {
                let reason = format!("cannot be read as numbers (its type is {})", $self.dtype);
                Err(StoreError::broken(&$self.path, &$self.at, reason))
            }
        }
    }};
}

#[allow(clippy::unnecessary_cast)]
impl Array for ZarrArray {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    fn f32s(&self, region: &[Range<usize>]) -> Result<Vec<f32>, StoreError> {
        if self.dtype == Dtype::Float(32) {
            return self.read(region);
        }
        read_as!(self, region, f32)
    }

    fn f64s(&self, region: &[Range<usize>]) -> Result<Vec<f64>, StoreError> {
        read_as!(self, region, f64)
    }

    fn i64s(&self, region: &[Range<usize>]) -> Result<Vec<i64>, StoreError> {
        read_as!(self, region, i64)
    }

    fn texts(&self) -> Result<Vec<String>, StoreError> {
        if self.dtype != Dtype::Text {
            let reason = format!("cannot be read as text (its type is {})", self.dtype);
            return Err(StoreError::broken(&self.path, &self.at, reason));
        }
        // NumPy's texts of fixed length, which anndata 0.10 used for single texts, are code points.
        let fixed = |inner: &ZarrsArray<_>| inner.data_type().is::<FixedLengthUTF32DataType>();
        if self.inner.as_ref().is_some_and(fixed) {
            let texts: Vec<Vec<char>> = self.read(&self.all())?;
            return Ok(texts.into_iter().map(String::from_iter).collect());
        }
        self.read(&self.all())
    }
}

fn attribute(value: &Value) -> Attr {
    match value {
        Value::String(text) => Attr::Text(text.clone()),
        Value::Bool(flag) => Attr::Flag(*flag),
        Value::Number(number) => number
            .as_i64()
            .map_or(Attr::Other, |n| Attr::Integers(vec![n])),
        Value::Array(items) => {
            let texts: Option<Vec<_>> = items
                .iter()
                .map(|v| v.as_str().map(str::to_owned))
                .collect();
            let integers: Option<Vec<_>> = items.iter().map(Value::as_i64).collect();
            match (texts, integers) {
                (Some(texts), _) => Attr::Texts(texts),
                (_, Some(integers)) => Attr::Integers(integers),
                _ => Attr::Other,
            }
        }
        _ => Attr::Other,
    }
}

fn dtype_v3(data_type: &Value) -> Dtype {
    let name = data_type
        .as_str()
        .or_else(|| data_type["name"].as_str())
        .unwrap_or("unknown");
    match name {
        "bool" => Dtype::Bool,
        "string" | "variable_length_utf8" | "fixed_length_utf32" => Dtype::Text,
        _ => sized(name).unwrap_or_else(|| Dtype::Other(name.to_owned())),
    }
}

fn sized(name: &str) -> Option<Dtype> {
    let at = name.find(|c: char| c.is_ascii_digit())?;
    let bits: u8 = name[at..]
        .parse()
        .ok()
        .filter(|b| matches!(b, 8 | 16 | 32 | 64))?;
    match &name[..at] {
        "int" => Some(Dtype::Int(bits)),
        "uint" => Some(Dtype::Uint(bits)),
        "float" if bits > 8 => Some(Dtype::Float(bits)),
        _ => None,
    }
}

/// NumPy's short names, such as `<f4`; texts are `<U7` or objects with a filter that encodes them.
fn dtype_v2(dtype: &Value, filters: &Value) -> Dtype {
    let Some(name) = dtype.as_str() else {
        return Dtype::Other("a record".to_owned());
    };
    let bits = || {
        name.get(2..)
            .and_then(|n| n.parse::<u8>().ok())
            .filter(|n| matches!(n, 1 | 2 | 4 | 8))
            .map(|n| n * 8)
    };
    let texts = filters
        .as_array()
        .is_some_and(|f| f.iter().any(|f| f["id"] == "vlen-utf8"));
    match (name.get(1..2), bits()) {
        (Some("U"), _) => Dtype::Text,
        (Some("b"), Some(8)) => Dtype::Bool,
        (Some("i"), Some(bits)) => Dtype::Int(bits),
        (Some("u"), Some(bits)) => Dtype::Uint(bits),
        (Some("f"), Some(bits)) => Dtype::Float(bits),
        (Some("O"), _) if texts => Dtype::Text,
        _ => Dtype::Other(name.to_owned()),
    }
}
