//! A section that was registered, as the other commands read it.

use anyhow::Result;
use std::path::{Path, PathBuf};
use tangram_atlas::Transform;
use tangram_atlas::outputs::TRANSFORM_FILE;

/// The transform of a section and where it is.
pub struct RegisteredSection {
    /// Its file.
    pub path: PathBuf,
    /// From the section to the atlas and back.
    pub transform: Transform,
}

impl RegisteredSection {
    /// Opens a folder of `tangram atlas register`, or the file of a transform.
    ///
    /// # Errors
    /// If there is no transform.
    pub fn open(path: &Path) -> Result<Self> {
        let path = match path.is_dir() {
            true => path.join(TRANSFORM_FILE),
            false => path.to_owned(),
        };
        Ok(Self {
            transform: Transform::read(&path)?,
            path,
        })
    }
}

/// A factor, larger than 0.
pub fn factor(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(factor) if factor > 0.0 && factor < 1e6 => Ok(factor),
        _ => Err("give a number, more than 0".to_owned()),
    }
}

/// A share for people.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}
