//! Fingerprints of inputs: the same contents give the same fingerprint, wherever they lie.

use crate::StoreError;
use crate::folder::files_of;
use crate::plausible::open_file;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// SHA-256 of a file's contents; of a folder, over the sorted relative paths of its files and their contents.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Read`], [`StoreError::NotAFile`] of a pipe or a device, [`StoreError::Endless`] of a folder
/// that contains itself.
pub fn fingerprint(path: &Path) -> Result<String, StoreError> {
    if !path.exists() {
        return Err(StoreError::Missing {
            path: path.to_owned(),
        });
    }
    let mut hash = Sha256::new();
    if path.is_dir() {
        for file in files_of(path)? {
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

fn update(hash: &mut Sha256, path: &Path) -> Result<(), StoreError> {
    let fail = |e| StoreError::read(path, e);
    let mut file = open_file(path)?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer).map_err(fail)? {
            0 => return Ok(()),
            n => hash.update(&buffer[..n]),
        }
    }
}
