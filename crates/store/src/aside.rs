//! Atomic outputs: written beside their place, then renamed into it.

use crate::StoreError;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What to do with an output that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Stop with [`StoreError::Exists`].
    Refuse,
    /// Replace it once the new one is complete.
    Replace,
}

/// Writes a file or a folder aside (a hidden sibling, `.NAME.PID.partial`) and renames it into place when `write`
/// succeeded. After any failure the sibling is removed, and what was at `path` before is untouched.
///
/// * `write`: creates the file or folder at the path it is given
///
/// # Errors
/// [`StoreError::Exists`] or [`StoreError::Write`], and whatever `write` returns.
pub fn write_aside<T, E: From<StoreError>>(
    path: &Path,
    existing: Existing,
    write: impl FnOnce(&Path) -> Result<T, E>,
) -> Result<T, E> {
    let aside = Aside::begin(path, existing)?;
    let value = write(aside.partial())?;
    aside.finish()?;
    Ok(value)
}

/// An output being written; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    partial: PathBuf,
    existing: Existing,
}

impl Aside {
    /// Checks the place and names the sibling; creates nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is something, or [`StoreError::Write`] if its folder is missing.
    pub fn begin(path: &Path, existing: Existing) -> Result<Self, StoreError> {
        let Some(name) = path.file_name() else {
            return Err(StoreError::write(path, "the name is empty"));
        };
        refuse(path, existing)?;
        let parent = match path.parent() {
            Some(p) if !p.as_os_str().is_empty() => p,
            _ => Path::new("."),
        };
        if !parent.is_dir() {
            let reason = format!("the folder {} does not exist", parent.display());
            return Err(StoreError::write(path, reason));
        }
        let sibling = |suffix: &str| {
            let mut hidden = OsString::from(".");
            hidden.push(name);
            hidden.push(format!(".{}.{suffix}", std::process::id()));
            path.with_file_name(hidden)
        };
        let partial = sibling("partial");
        remove(&partial).map_err(|e| StoreError::write(path, e))?;
        Ok(Self {
            path: path.to_owned(),
            partial,
            existing,
        })
    }

    /// Where to write.
    #[must_use]
    pub fn partial(&self) -> &Path {
        &self.partial
    }

    /// The final place.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Renames the finished output into place.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if something came there meanwhile, [`StoreError::Write`] if it cannot be renamed.
    pub fn finish(self) -> Result<(), StoreError> {
        refuse(&self.path, self.existing)?;
        let fail = |e: io::Error| StoreError::write(&self.path, e);
        // A rename replaces a file in one step. A folder, or a file in the place of a folder, cannot be replaced
        // that way: the old one steps aside first and goes when the new one stands.
        if self.path.is_dir() || (self.path.exists() && self.partial.is_dir()) {
            let old = self.partial.with_extension("old");
            remove(&old).map_err(fail)?;
            fs::rename(&self.path, &old).map_err(fail)?;
            if let Err(error) = fs::rename(&self.partial, &self.path) {
                fs::rename(&old, &self.path).map_err(fail)?;
                return Err(fail(error));
            }
            remove(&old).map_err(fail)
        } else {
            fs::rename(&self.partial, &self.path).map_err(fail)
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // Gone already after a rename; nobody is left to tell about any other failure.
        let _ = remove(&self.partial);
    }
}

fn refuse(path: &Path, existing: Existing) -> Result<(), StoreError> {
    if existing == Existing::Refuse && path.symlink_metadata().is_ok() {
        return Err(StoreError::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}
