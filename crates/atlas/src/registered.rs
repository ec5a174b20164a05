//! A registered section, as a folder or a file.

use crate::outputs::TRANSFORM_FILE;
use crate::section_store::section_at;
use crate::{AtlasError, Transform};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// The transform of a section and its file.
#[derive(Debug)]
pub struct RegisteredSection {
    /// The file.
    pub path: PathBuf,
    /// From the section to the atlas and back.
    pub transform: Transform,
}

impl RegisteredSection {
    /// Opens a folder that a registration wrote, a section `STORE.zarr/NAME` of a store of many, or the file of a transform.
    ///
    /// # Errors
    /// [`AtlasError`] if there is no transform.
    pub fn open(path: &Path) -> Result<Self, AtlasError> {
        if !path.join(TRANSFORM_FILE).is_file()
            && let Some((path, transform)) = section_at(path)?
        {
            return Ok(Self { path, transform });
        }
        let path = match path.is_dir() {
            true => path.join(TRANSFORM_FILE),
            false => path.to_owned(),
        };
        Ok(Self {
            transform: Transform::read(&path)?,
            path,
        })
    }

    /// Name of the section: that of the folder that its transform is in.
    #[must_use]
    pub fn name(&self) -> String {
        let folder = self.path.parent().and_then(Path::file_name);
        folder
            .map(OsStr::to_string_lossy)
            .unwrap_or_default()
            .into_owned()
    }
}
