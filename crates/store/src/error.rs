//! What can be wrong with a file.

use std::path::{Path, PathBuf};

/// Why a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Nothing at this path.
    #[error("{path}: no such file or folder")]
    Missing {
        /// The path asked for.
        path: PathBuf,
    },
    /// A link to something that is not there.
    #[error(
        "{path}: is a link to {target}, which is not there; mend the link, or give the file itself"
    )]
    Dangling {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A pipe, a device or the like in the place of a file.
    #[error("{path}: is {found}, not a file; give the path of a file")]
    NotAFile {
        /// The path asked for.
        path: PathBuf,
        /// What is there.
        found: &'static str,
    },
    /// A folder that contains itself by a link, or has more in it than any store.
    #[error("{path}: {reason}; remove the link, or copy what it leads to")]
    Endless {
        /// The place.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// Something in an HDF5 file that is in another file.
    #[error(
        "{path}: {field} lies in another file ({target}), which is not followed: results could not be traced to their inputs; \
         write all into one file, in Python: anndata.read_h5ad(…).write_h5ad(…)"
    )]
    Elsewhere {
        /// The file.
        path: PathBuf,
        /// The element.
        field: String,
        /// Where it leads to.
        target: String,
    },
    /// A file that crashes the library that reads it, or keeps it busy for ever.
    #[error(
        "{path}: the HDF5 library {how} while reading {field}: the file is damaged; copy it again from where it came, or make it anew"
    )]
    Crashes {
        /// The file.
        path: PathBuf,
        /// What was being read.
        field: String,
        /// How it ended: `crashed`, `did not come to an end`.
        how: String,
    },
    /// A file that HDF5 cannot open: another format, or cut off.
    #[error("{path}: not a complete HDF5 file ({reason}); is it truncated, or of another format?")]
    NotHdf5 {
        /// The file.
        path: PathBuf,
        /// What HDF5 says.
        reason: String,
    },
    /// A file that HDF5 may not lock.
    #[error(
        "{path}: another program has this file open for writing, or its file system knows no locks; \
         close that program, or set HDF5_USE_FILE_LOCKING=FALSE if there is none"
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// A file or folder of none of the known kinds.
    #[error(
        "{path}: {found}; expected .h5ad, an AnnData .zarr, a 10x .h5, a folder with matrix.mtx, or a Space Ranger folder"
    )]
    UnknownKind {
        /// The file or folder.
        path: PathBuf,
        /// What it looks like.
        found: String,
    },
    /// An AnnData element in an encoding this program does not read.
    #[error(
        "{path}: {field} has encoding `{encoding}`, which is not supported; supported: {supported}"
    )]
    Encoding {
        /// The file.
        path: PathBuf,
        /// The element, such as `obs/cell_type`.
        field: String,
        /// Its `encoding-type` and version.
        encoding: String,
        /// What can be read.
        supported: &'static str,
    },
    /// A part of the file that is asked for but not there.
    #[error("{path}: {parent} has no {what} `{name}`; it has: {found}")]
    MissingField {
        /// The file.
        path: PathBuf,
        /// Where it was looked for: `obs`, `obsm`, `layers`, the file.
        parent: String,
        /// `column`, `matrix`, `entry`.
        what: &'static str,
        /// The name asked for.
        name: String,
        /// The names there are.
        found: String,
    },
    /// A part of the file that contradicts itself or the rest.
    #[error("{path}: {field}: {reason}")]
    Broken {
        /// The file.
        path: PathBuf,
        /// The element.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An image that cannot be a segmentation.
    #[error("{path}: {reason}")]
    Labels {
        /// The image.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A matrix entry that is not a finite number, or negative.
    #[error(
        "{path}: {matrix} of `{row}`, `{column}` is {value}; expression must be finite and not negative: give counts, not standardised (scaled) values"
    )]
    BadValue {
        /// The file.
        path: PathBuf,
        /// The matrix, such as `X` or `layer:counts`.
        matrix: String,
        /// Name of the row.
        row: String,
        /// Name of the column.
        column: String,
        /// The value found.
        value: f32,
    },
    /// Names that should be unique are not.
    #[error(
        "{path}: {table} has the name `{name}` {count} times; make names unique first ({table}_names_make_unique in Python)"
    )]
    DuplicateName {
        /// The file.
        path: PathBuf,
        /// `obs` or `var`.
        table: &'static str,
        /// The first name found twice.
        name: String,
        /// How often it occurs.
        count: usize,
    },
    /// Genes asked for that the cells do not have.
    #[error(
        "{path}: {n_missing} of {n_asked} genes asked for are not in {matrix} of this file: {examples}; take them off the list"
    )]
    UnknownGenes {
        /// The file of the cells.
        path: PathBuf,
        /// The matrix looked in.
        matrix: String,
        /// How many are missing.
        n_missing: usize,
        /// How many were asked for.
        n_asked: usize,
        /// The first few.
        examples: String,
    },
    /// The output exists and was not to be replaced.
    #[error("{path}: exists already; choose another name or use --force")]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// An output whose ending names no format.
    #[error("{path}: cannot tell the format to write; end the name in .h5ad or .zarr")]
    Ending {
        /// The output.
        path: PathBuf,
    },
    /// What is to be written does not fit together.
    #[error("{path}: cannot write {field}: {reason}")]
    Unwritable {
        /// The output.
        path: PathBuf,
        /// The element.
        field: String,
        /// What is wrong.
        reason: String,
    },
    /// Writing failed: the disk is full, a folder is missing, permissions.
    #[error("{path}: cannot write: {reason}")]
    Write {
        /// The output.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Reading failed in the system.
    #[error("{path}: cannot read: {reason}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
}

impl StoreError {
    pub(crate) fn broken(path: &Path, field: &str, reason: impl Into<String>) -> Self {
        Self::Broken {
            path: path.to_owned(),
            field: field.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn read(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Read {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn write(path: &Path, reason: impl std::fmt::Display) -> Self {
        Self::Write {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}
