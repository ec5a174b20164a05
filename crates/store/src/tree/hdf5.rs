//! HDF5 as a tree, for reading.

use super::hdf5_error::brief;
use super::hdf5_links::refuse_elsewhere;
use super::hdf5_records::Hdf5Field;
use super::{Array, Attr, Dtype, Node, Tree};
use crate::StoreError;
use crate::plausible::{is_file, n_elements, open_file};
use crate::probe::try_first;
use hdf5::plist::dataset_create::Layout;
use hdf5::types::{CompoundField, FloatSize, IntSize, TypeDescriptor};
use hdf5::{
    Container, Dataset, File, H5Type, Hyperslab, Location, LocationType, Selection, SliceOrIndex,
};
use hdf5_sys::h5a::H5Aread;
use hdf5_sys::h5d::{H5Dget_storage_size, H5Dread, H5Dvlen_reclaim};
use hdf5_sys::h5p::H5P_DEFAULT;
use hdf5_sys::h5s::H5S_ALL;
use ndarray::IxDyn;
use std::ffi::{CStr, c_char};
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Cache for the chunks of each open dataset: rows are read in order, so a chunk is wanted several times in a row.
pub(super) const CHUNK_CACHE: (usize, usize, f64) = (12_421, 64 << 20, 0.75);

/// An HDF5 file open for reading.
#[derive(Debug)]
pub(crate) struct Hdf5Tree {
    path: PathBuf,
    file: File,
}

impl Hdf5Tree {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        is_file(path)?;
        try_first(path)?;
        Self::open_untried(path)
    }

    /// Opens a file that may crash the library.
    pub(crate) fn open_untried(path: &Path) -> Result<Self, StoreError> {
        // HDF5's own messages name its internals; the usual causes are told apart here.
        let fail = |reason: &str| StoreError::NotHdf5 {
            path: path.to_owned(),
            reason: reason.to_owned(),
        };
        let mut magic = [0u8; 8];
        let mut handle = open_file(path)?;
        let length = handle
            .metadata()
            .map_err(|e| StoreError::read(path, e))?
            .len();
        let begins = handle.read_exact(&mut magic).is_ok() && magic == *b"\x89HDF\r\n\x1a\n";
        let (slots, bytes, w0) = CHUNK_CACHE;
        let open = File::with_options()
            .with_fapl(|p| p.chunk_cache(slots, bytes, w0))
            .open(path);
        let file = open.map_err(|e| {
            let message = e.to_string();
            if message.contains("unable to lock file") {
                return StoreError::Locked {
                    path: path.to_owned(),
                };
            }
            match (length, begins) {
                (0, _) => fail("it is empty"),
                (_, false) => fail("it does not begin like one"),
                _ if message.contains("truncated") => fail("it is cut off"),
                _ => fail(&brief(&message)),
            }
        })?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    fn broken(&self, at: &str, error: &hdf5::Error) -> StoreError {
        StoreError::broken(&self.path, at, brief(&error.to_string()))
    }

    /// Reads all attributes of an object, for [`exercise`](crate::exercise).
    ///
    /// # Errors
    /// If they cannot be listed.
    pub(crate) fn exercise_attributes(&self, at: &str) -> Result<(), StoreError> {
        let names = match at {
            "" => self.file.attr_names(),
            _ => match self.file.loc_type_by_name(at) {
                Ok(LocationType::Dataset) => self.file.dataset(at).and_then(|d| d.attr_names()),
                Ok(LocationType::Group) => self.file.group(at).and_then(|g| g.attr_names()),
                _ => return Ok(()),
            },
        };
        for name in names.map_err(|e| self.broken(at, &e))? {
            let _ = self.attr(at, &name);
        }
        Ok(())
    }

    /// Fields of a dataset of records, which is what anndata 0.6 wrote for a table; the tree shows it as a group.
    fn fields(&self, at: &str) -> Option<Vec<CompoundField>> {
        let dataset = self.file.dataset(at).ok()?;
        match dataset.dtype().and_then(|d| d.to_descriptor()).ok()? {
            TypeDescriptor::Compound(record) if dataset.ndim() == 1 => Some(record.fields),
            _ => None,
        }
    }

    /// A place that is a field of such a dataset.
    fn field(&self, at: &str) -> Option<(Dataset, CompoundField)> {
        let (table, name) = at.rsplit_once('/')?;
        let field = self.fields(table)?.into_iter().find(|f| f.name == name)?;
        Some((self.file.dataset(table).ok()?, field))
    }
}

impl Tree for Hdf5Tree {
    fn path(&self) -> &Path {
        &self.path
    }

    fn node(&self, at: &str) -> Result<Option<Node>, StoreError> {
        if at.is_empty() {
            return Ok(Some(Node::Group));
        }
        refuse_elsewhere(&self.path, &self.file, at)?;
        // H5Lexists fails, rather than saying no, where a parent is missing.
        let mut place = String::new();
        for part in at.split('/') {
            if !place.is_empty() {
                place.push('/');
            }
            place.push_str(part);
            if !self.file.link_exists(&place) {
                return Ok(self.field(at).map(|_| Node::Array));
            }
        }
        match self.file.loc_type_by_name(at) {
            Ok(LocationType::Group) => Ok(Some(Node::Group)),
            Ok(LocationType::Dataset) if self.fields(at).is_some() => Ok(Some(Node::Group)),
            Ok(LocationType::Dataset) => Ok(Some(Node::Array)),
            Ok(_) => Ok(None),
            Err(error) => Err(self.broken(at, &error)),
        }
    }

    fn children(&self, group: &str) -> Result<Vec<String>, StoreError> {
        refuse_elsewhere(&self.path, &self.file, group)?;
        let names = if group.is_empty() {
            self.file.member_names()
        } else if let Some(fields) = self.fields(group) {
            Ok(fields.into_iter().map(|f| f.name).collect())
        } else {
            self.file.group(group).and_then(|g| g.member_names())
        };
        let mut names = names.map_err(|e| self.broken(group, &e))?;
        names.sort_unstable();
        Ok(names)
    }

    fn attr(&self, at: &str, name: &str) -> Result<Option<Attr>, StoreError> {
        let fail = |e: hdf5::Error| self.broken(at, &e);
        if self.node(at)?.is_none() || self.field(at).is_some() {
            return Ok(None);
        }
        let field = format!("attribute `{name}` of `{at}`");
        let open = |location: &Location| match location.attr_names()?.iter().any(|n| n == name) {
            true => {
                let attr = location.attr(name)?;
                let element = attr.dtype()?.size().max(8);
                // An attribute is small; more than any could hold is not asked for.
                Ok(n_elements(&self.path, &field, &attr.shape(), element, || 0)
                    .map(|_| attribute(&attr).map(Some)))
            }
            false => Ok(Ok(Ok(None))),
        };
        match at {
            "" => open(&self.file),
            _ => match self.file.loc_type_by_name(at).map_err(fail)? {
                LocationType::Dataset => open(&*self.file.dataset(at).map_err(fail)?),
                _ => open(&*self.file.group(at).map_err(fail)?),
            },
        }
        .map_err(fail)??
        .map_err(fail)
    }

    fn array(&self, at: &str) -> Result<Box<dyn Array>, StoreError> {
        let fail = |e: hdf5::Error| self.broken(at, &e);
        refuse_elsewhere(&self.path, &self.file, at)?;
        if let Some((dataset, field)) = self.field(at) {
            return Ok(Box::new(Hdf5Field::new(
                self.path.clone(),
                at.to_owned(),
                dataset,
                field,
            )));
        }
        let dataset = self.file.dataset(at).map_err(fail)?;
        refuse_other_files(&self.path, at, &dataset)?;
        let dtype = match dataset.dtype().and_then(|d| d.to_descriptor()) {
            Ok(descriptor) => dtype(&descriptor),
            Err(_) => Dtype::Other("unknown".to_owned()),
        };
        let shape = dataset.shape();
        let array = Hdf5Array {
            path: self.path.clone(),
            at: at.to_owned(),
            dataset,
            shape,
            dtype,
        };
        // A chunk is unpacked whole whatever part of it is wanted.
        if let Some(chunk) = array.dataset.chunk() {
            let element = array.dataset.dtype().map_or(1, |dtype| dtype.size());
            array.n_elements(&chunk, element.max(1))?;
        }
        Ok(Box::new(array))
    }
}

/// A dataset open for reading.
#[derive(Debug)]
struct Hdf5Array {
    path: PathBuf,
    at: String,
    dataset: Dataset,
    shape: Vec<usize>,
    dtype: Dtype,
}

impl Hdf5Array {
    /// Number of elements of a part, if the file is large enough to hold them.
    fn n_elements(&self, lens: &[usize], element: usize) -> Result<usize, StoreError> {
        n_elements(&self.path, &self.at, lens, element, || {
            stored(&self.path, &self.dataset)
        })
    }

    fn numbers<T: H5Type + Clone>(&self, region: &[Range<usize>]) -> Result<Vec<T>, StoreError> {
        let fail = |e: hdf5::Error| {
            let reason = format!("cannot be read as numbers ({})", brief(&e.to_string()));
            StoreError::broken(&self.path, &self.at, reason)
        };
        if region.iter().any(Range::is_empty) {
            return Ok(Vec::new());
        }
        let lens: Vec<usize> = region.iter().map(ExactSizeIterator::len).collect();
        self.n_elements(&lens, size_of::<T>())?;
        let reader = self.dataset.as_reader();
        if region.len() == self.shape.len()
            && region.iter().zip(&self.shape).all(|(r, &n)| *r == (0..n))
        {
            return reader.read_raw().map_err(fail);
        }
        let slices: Vec<SliceOrIndex> = region.iter().cloned().map(SliceOrIndex::from).collect();
        let selection = Selection::new(Hyperslab::from(slices));
        let array = reader.read_slice::<T, _, IxDyn>(selection).map_err(fail)?;
        Ok(array.into_raw_vec_and_offset().0)
    }
}

impl Array for Hdf5Array {
    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn dtype(&self) -> &Dtype {
        &self.dtype
    }

    fn f32s(&self, region: &[Range<usize>]) -> Result<Vec<f32>, StoreError> {
        self.numbers(region)
    }

    fn f64s(&self, region: &[Range<usize>]) -> Result<Vec<f64>, StoreError> {
        self.numbers(region)
    }

    fn i64s(&self, region: &[Range<usize>]) -> Result<Vec<i64>, StoreError> {
        self.numbers(region)
    }

    fn exercise_index(&self) {
        stored(&self.path, &self.dataset);
    }

    fn texts(&self) -> Result<Vec<String>, StoreError> {
        let element = self.dataset.dtype().map_or(1, |dtype| dtype.size());
        self.n_elements(&self.shape, element.max(size_of::<String>()))?;
        texts(&self.dataset).map_err(|e| {
            let reason = format!("cannot be read as text ({})", brief(&e.to_string()));
            StoreError::broken(&self.path, &self.at, reason)
        })
    }
}

/// Bytes that a file holds of a dataset.
pub(super) fn stored(path: &Path, dataset: &Dataset) -> u64 {
    // Of a dataset in chunks this adds up what the index of chunks says, which may be damaged, too.
    let size = hdf5::h5lock!(H5Dget_storage_size(dataset.id()));
    size.min(fs::metadata(path).map_or(0, |meta| meta.len()))
}

/// Refuses a dataset whose numbers lie in other files.
fn refuse_other_files(path: &Path, at: &str, dataset: &Dataset) -> Result<(), StoreError> {
    let target = match dataset.dcpl() {
        Ok(properties) => match properties.external().first() {
            Some(file) => file.name.clone(),
            None if dataset.layout() == Layout::Virtual => "a virtual dataset".to_owned(),
            None => return Ok(()),
        },
        Err(_) => return Ok(()),
    };
    Err(StoreError::Elsewhere {
        path: path.to_owned(),
        field: at.to_owned(),
        target,
    })
}

pub(super) fn dtype(descriptor: &TypeDescriptor) -> Dtype {
    let bits = |size: &IntSize| (*size as u8) * 8;
    match descriptor {
        TypeDescriptor::Boolean => Dtype::Bool,
        // h5py stores booleans as an enum of FALSE and TRUE; other enums are read as their numbers.
        TypeDescriptor::Enum(e) if e.signed => Dtype::Int(bits(&e.size)),
        TypeDescriptor::Enum(e) => Dtype::Uint(bits(&e.size)),
        TypeDescriptor::Integer(size) => Dtype::Int(bits(size)),
        TypeDescriptor::Unsigned(size) => Dtype::Uint(bits(size)),
        TypeDescriptor::Float(FloatSize::U2) => Dtype::Float(16),
        TypeDescriptor::Float(FloatSize::U4) => Dtype::Float(32),
        TypeDescriptor::Float(FloatSize::U8) => Dtype::Float(64),
        TypeDescriptor::FixedAscii(_)
        | TypeDescriptor::FixedUnicode(_)
        | TypeDescriptor::VarLenAscii
        | TypeDescriptor::VarLenUnicode => Dtype::Text,
        other => Dtype::Other(other.to_string()),
    }
}

fn attribute(attr: &Container) -> Result<Attr, hdf5::Error> {
    let Ok(descriptor) = attr.dtype().and_then(|d| d.to_descriptor()) else {
        return Ok(Attr::Other);
    };
    // An empty attribute (h5py.Empty) has no elements and no shape either.
    let scalar = attr.shape().is_empty();
    Ok(match dtype(&descriptor) {
        Dtype::Text => match texts(attr)? {
            mut all if scalar && all.len() == 1 => Attr::Text(all.remove(0)),
            all => Attr::Texts(all),
        },
        Dtype::Bool => Attr::Flag(attr.read_raw::<bool>()?.first() == Some(&true)),
        Dtype::Int(_) | Dtype::Uint(_) => Attr::Integers(attr.read_raw()?),
        // An empty list has no type of its own: h5py writes an empty array of floats.
        Dtype::Float(_) if attr.size() == 0 => Attr::Texts(Vec::new()),
        _ => Attr::Other,
    })
}

/// All elements of a dataset or attribute of texts, of fixed or variable length, ASCII or UTF-8.
fn texts(container: &Container) -> Result<Vec<String>, hdf5::Error> {
    let datatype = container.dtype()?;
    let descriptor = datatype.to_descriptor()?;
    let count = container.size();
    if count == 0 {
        return Ok(Vec::new());
    }
    let is_attr = !is_dataset(container);
    // Memory type = file type: HDF5 refuses to convert between its two character sets.
    // SAFETY of every use: `buffer` holds `count` elements of the file's own type.
    let read = |buffer: *mut std::ffi::c_void| -> Result<(), hdf5::Error> {
        if is_attr {
            hdf5::h5call!(H5Aread(container.id(), datatype.id(), buffer))?;
        } else {
            hdf5::h5call!(H5Dread(
                container.id(),
                datatype.id(),
                H5S_ALL,
                H5S_ALL,
                H5P_DEFAULT,
                buffer
            ))?;
        }
        Ok(())
    };
    match descriptor {
        TypeDescriptor::FixedAscii(size) | TypeDescriptor::FixedUnicode(size) => {
            let size = size.max(1);
            let mut buffer = vec![0u8; count * size];
            read(buffer.as_mut_ptr().cast())?;
            Ok(buffer.chunks_exact(size).map(fixed).collect())
        }
        TypeDescriptor::VarLenAscii | TypeDescriptor::VarLenUnicode => {
            let mut pointers: Vec<*mut c_char> = vec![std::ptr::null_mut(); count];
            read(pointers.as_mut_ptr().cast())?;
            let text = |&p: &*mut c_char| {
                if p.is_null() {
                    return String::new();
                }
                // SAFETY: HDF5 made a NUL-terminated string at every pointer that is not null.
                unsafe { CStr::from_ptr(p) }.to_string_lossy().into_owned()
            };
            let all = pointers.iter().map(text).collect();
            let space = container.space()?;
            hdf5::h5call!(H5Dvlen_reclaim(
                datatype.id(),
                space.id(),
                H5P_DEFAULT,
                pointers.as_mut_ptr().cast()
            ))?;
            Ok(all)
        }
        other => Err(hdf5::Error::from(format!("its type is {other}"))),
    }
}

fn is_dataset(container: &Container) -> bool {
    use hdf5_sys::h5i::{H5I_type_t, H5Iget_type};
    hdf5::h5lock!(H5Iget_type(container.id())) == H5I_type_t::H5I_DATASET
}

/// A text of fixed length, padded with NUL or with spaces.
pub(super) fn fixed(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}
