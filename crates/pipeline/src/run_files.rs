//! `files.tsv` of a run: every file with its size. A run that has lost a file says so wherever it is read.

use crate::error::{PipelineError, Result};
use crate::run_directory::{FileList, RUN_FILE};
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use tangram_store::{StoreError, files_of, read_text};

/// The name of the list.
const LIST: &str = "files.tsv";

/// Writes the list of all files in the directory of a run.
pub(crate) fn write(directory: &Path) -> Result<FileList> {
    let (mut text, mut number) = ("bytes\tfile\n".to_owned(), 0);
    for file in files_of(directory)? {
        let name = file.strip_prefix(directory).unwrap_or(&file);
        let bytes = fs::metadata(&file).map_err(|e| StoreError::Read {
            path: file.clone(),
            reason: e.to_string(),
        })?;
        number += 1;
        writeln!(text, "{}\t{}", bytes.len(), name.display())
            .expect("a text takes what is written");
    }
    crate::run_directory::write(&directory.join(LIST), &text)?;
    Ok(FileList {
        number,
        sha256: sha256(&text),
    })
}

fn sha256(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Checks that all files of a run are there with their sizes.
///
/// # Errors
/// [`PipelineError::Torn`] names the first that is not.
pub(crate) fn check(directory: &Path, files: &FileList) -> Result<(), PipelineError> {
    let torn = |file: &str, reason: String| PipelineError::Torn {
        path: directory.to_owned(),
        file: PathBuf::from(file),
        reason,
    };
    let text = read_text(&directory.join(LIST))
        .map_err(|e| torn(LIST, format!("cannot be read ({e})")))?;
    if sha256(&text) != files.sha256 {
        return Err(torn(LIST, format!("is not what {RUN_FILE} says")));
    }
    for line in text.lines().skip(1) {
        let Some((bytes, name)) = line.split_once('\t') else {
            return Err(torn(LIST, "is no list of files".to_owned()));
        };
        let meta = fs::metadata(directory.join(name))
            .map_err(|e| torn(name, format!("cannot be found ({e})")))?;
        if meta.len().to_string() != bytes {
            return Err(torn(name, format!("has {} bytes of {bytes}", meta.len())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_missing_or_cut_off_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path();
        fs::create_dir_all(run.join("factors.zarr/X/c")).unwrap();
        let chunk = run.join("factors.zarr/X/c/0");
        fs::write(&chunk, "numbers").unwrap();
        fs::write(run.join("history.tsv"), "epoch\n").unwrap();
        let files = super::write(run).unwrap();
        assert_eq!(files.number, 2);
        check(run, &files).unwrap();
        let told = || check(run, &files).unwrap_err().to_string();
        fs::write(&chunk, "numb").unwrap();
        assert!(
            told().contains("factors.zarr/X/c/0 has 4 bytes of 7"),
            "{}",
            told()
        );
        fs::remove_file(&chunk).unwrap();
        assert!(
            told().contains("factors.zarr/X/c/0 cannot be found"),
            "{}",
            told()
        );
        fs::write(&chunk, "numbers").unwrap();
        let list = fs::read_to_string(run.join(LIST)).unwrap();
        fs::write(run.join(LIST), list.replace("7\t", "8\t")).unwrap();
        assert!(
            told().contains("files.tsv is not what run.toml says"),
            "{}",
            told()
        );
    }
}
