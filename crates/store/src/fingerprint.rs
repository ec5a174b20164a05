//! Fingerprints of inputs: the same contents give the same fingerprint, wherever they lie.

use crate::StoreError;
use sha2::{Digest, Sha256};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// SHA-256 of a file's contents; of a folder, over the sorted relative paths of its files and their contents.
///
/// # Errors
/// [`StoreError::Missing`] or [`StoreError::Read`].
pub fn fingerprint(path: &Path) -> Result<String, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let mut hash = Sha256::new();
    if path.is_dir() {
        let mut files = Vec::new();
        list(path, &mut files)?;
        files.sort_unstable();
        for file in files {
            let name = file.strip_prefix(path).unwrap_or(&file);
            let name = name.to_string_lossy().replace('\\', "/");
            // The lengths keep one file's end apart from the next one's beginning.
            hash.update((name.len() as u64).to_le_bytes());
            hash.update(name.as_bytes());
            let size = file
                .metadata()
                .map_err(|e| StoreError::read(&file, e))?
                .len();
            hash.update(size.to_le_bytes());
            update(&mut hash, &file)?;
        }
    } else {
        update(&mut hash, path)?;
    }
    Ok(hex(hash))
}

/// SHA-256 of a list of names, in their order.
#[must_use]
pub fn fingerprint_names(names: &[String]) -> String {
    let mut hash = Sha256::new();
    for name in names {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name.as_bytes());
    }
    hex(hash)
}

fn hex(hash: Sha256) -> String {
    hash.finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), StoreError> {
    let fail = |e| StoreError::read(folder, e);
    for entry in fs::read_dir(folder).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        if path.is_dir() {
            list(&path, files)?
        } else {
            files.push(path)
        }
    }
    Ok(())
}

fn update(hash: &mut Sha256, path: &Path) -> Result<(), StoreError> {
    let fail = |e| StoreError::read(path, e);
    let mut file = File::open(path).map_err(fail)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(()),
            n => hash.update(&buffer[..n]),
        }
    }
}
