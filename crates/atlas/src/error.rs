//! What can be wrong with an atlas, a section or a registration.

use crate::refusal::Refusal;
use std::io::Read;
use std::path::{Path, PathBuf};
use tangram_store::{StoreError, open_file};

/// Why an atlas cannot be imported, or a section not registered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtlasError {
    /// A store cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file that is not of the format its name or use promises, or is damaged.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// A class rule that contradicts itself or the structure tree.
    #[error("class rule `{rule}`: {reason}")]
    Rule {
        /// Name of the rule.
        rule: String,
        /// What is wrong.
        reason: String,
    },
    /// Inputs of an import that do not fit together.
    #[error("{path}: does not fit the annotation: {reason}")]
    Mismatch {
        /// The input that was compared with the annotation.
        path: PathBuf,
        /// What differs.
        reason: String,
    },
    /// A section whose classes the atlas does not have, or that shows too little.
    #[error("{path}: {reason}")]
    Section {
        /// The image.
        path: PathBuf,
        /// What is wrong, and the remedy.
        reason: String,
    },
    /// Sections that make no series.
    #[error("{reason}")]
    Series {
        /// Why not, and the remedy.
        reason: String,
    },
    /// A registration whose fit is too poor to be a result.
    #[error("{path}: refused: {refusal}; nothing was written")]
    Refused {
        /// The image.
        path: PathBuf,
        /// Why.
        refusal: Refusal,
    },
}

impl AtlasError {
    /// What is wrong, without the file's name where that is a part of its own.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::File { reason, .. } | Self::Section { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn section(path: &Path, reason: impl Into<String>) -> Self {
        Self::Section {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn file(path: &Path, reason: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    pub(crate) fn mismatch(path: &Path, reason: impl Into<String>) -> Self {
        Self::Mismatch {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }
}

/// Reads a whole file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, AtlasError> {
    let mut bytes = Vec::new();
    open_file(path)?.read_to_end(&mut bytes).map_err(|e| {
        let (path, reason) = (path.to_owned(), e.to_string());
        StoreError::Read { path, reason }
    })?;
    Ok(bytes)
}
