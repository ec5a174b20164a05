//! The folder of a run's checkpoints: what of it is the program's own, and the seal of a checkpoint.

use super::damaged;
use crate::error::{PipelineError, Result};
use crate::run_directory::{checkpoints_of, write};
use std::fs;
use std::path::{Path, PathBuf};
use tangram_store::{Existing, StoreError, fingerprint, read_text, write_aside};

/// What all ranks know of a checkpoint.
pub(super) const FILE: &str = "checkpoint.json";
/// Its SHA-256, as sha256sum writes it.
const SEAL: &str = "checkpoint.sha256";

/// Steps in a folder of checkpoints that were completed, the latest first.
pub(super) fn steps(folder: &Path) -> Vec<PathBuf> {
    let mut steps: Vec<PathBuf> = entries(folder)
        .into_iter()
        .filter(|path| is_step(path) && path.join(FILE).is_file())
        .collect();
    steps.sort_unstable();
    steps.reverse();
    steps
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).collect()
}

fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Whether a folder is named as that of a step: at least eight digits.
fn is_step(path: &Path) -> bool {
    let name = name(path);
    name.len() >= 8 && name.bytes().all(|b| b.is_ascii_digit()) && path.is_dir()
}

/// What in a folder of checkpoints is not the program's own.
fn foreign(folder: &Path) -> Option<String> {
    // Files being written when a process was killed.
    let partial = |name: &str| name.ends_with(".partial") || name.ends_with(".discarded");
    let in_step =
        |name: &str| [FILE, SEAL].contains(&name) || name.starts_with("rank-") || partial(name);
    let strange = |path: &PathBuf| match is_step(path) {
        true => entries(path)
            .into_iter()
            .find(|inner| !in_step(&name(inner))),
        false => {
            let name = name(path);
            let ours = name.starts_with("exit-rank-") || partial(&name);
            (!ours).then(|| path.clone())
        }
    };
    let found = entries(folder).iter().find_map(strange)?;
    let inside = found.strip_prefix(folder).unwrap_or(&found);
    Some(inside.display().to_string())
}

/// Refuses to keep checkpoints where something lies that the program did not put there.
///
/// # Errors
/// [`PipelineError::ForeignCheckpoint`].
pub fn refuse_foreign(out: &Path) -> Result<(), PipelineError> {
    let path = checkpoints_of(out);
    let found = match path.symlink_metadata() {
        Err(_) => None,
        Ok(meta) if meta.is_dir() => foreign(&path),
        Ok(_) => Some("what".to_owned()),
    };
    match found {
        Some(found) => Err(PipelineError::ForeignCheckpoint { path, found }),
        None => Ok(()),
    }
}

/// Removes all checkpoints of an output, and nothing else.
///
/// # Errors
/// [`StoreError::Write`] if they cannot be removed; [`PipelineError::ForeignCheckpoint`] if something else is among them.
pub fn remove(out: &Path) -> Result<()> {
    refuse_foreign(out)?;
    let folder = checkpoints_of(out);
    match fs::remove_dir_all(&folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::Write {
            path: folder,
            reason: e.to_string(),
        }
        .into()),
        _ => Ok(()),
    }
}

/// Passes after which the latest checkpoint of an output was written, if there is one.
#[must_use]
pub fn latest(out: &Path) -> Option<usize> {
    let steps = steps(&checkpoints_of(out));
    steps.first()?.file_name()?.to_str()?.parse().ok()
}

/// Writes what makes a checkpoint count, its seal first.
///
/// # Errors
/// If it cannot be written.
pub(crate) fn seal(step: &Path, text: &str) -> Result<()> {
    let path = step.join(FILE);
    write_aside(&path, Existing::Replace, |aside| -> Result<()> {
        write(aside, text)?;
        let seal = format!("{}  {FILE}\n", fingerprint(aside)?);
        write_aside(&step.join(SEAL), Existing::Replace, |aside| {
            write(aside, &seal)
        })
    })
}

/// What [`seal`] wrote, if it is that still.
///
/// # Errors
/// If it is not, or cannot be read.
pub(crate) fn unsealed(step: &Path) -> Result<String> {
    let path = step.join(FILE);
    let seal = step.join(SEAL);
    let seal = read_text(&seal).map_err(|e| damaged(&seal, e))?;
    if seal.split_once("  ").map(|(sha256, _)| sha256) != Some(&*fingerprint(&path)?) {
        return Err(damaged(&path, "not what was written"));
    }
    read_text(&path).map_err(|e| damaged(&path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_beside_checkpoints_is_never_removed() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run");
        let checkpoints = checkpoints_of(&out);
        let step = checkpoints.join("00000120");
        fs::create_dir_all(step.join("rank-0.zarr/moving")).unwrap();
        seal(&step, "{}").unwrap();
        fs::write(checkpoints.join("exit-rank-00001.json"), "{}").unwrap();
        refuse_foreign(&out).unwrap();
        assert_eq!(latest(&out), Some(120));
        for place in [checkpoints.join("thesis.txt"), step.join("notes")] {
            fs::write(&place, "a year of work").unwrap();
            let error = remove(&out).unwrap_err().to_string();
            assert!(error.contains(&name(&place)), "{error}");
            assert!(place.is_file() && step.join(FILE).is_file());
            fs::remove_file(place).unwrap();
        }
        remove(&out).unwrap();
        assert!(!checkpoints.exists());
        fs::write(&checkpoints, "a file").unwrap();
        assert!(remove(&out).is_err() && checkpoints.is_file());
    }

    #[test]
    fn a_checkpoint_that_was_changed_after_it_was_sealed_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let step = folder.path();
        seal(step, "{\"best\": 1.25}").unwrap();
        assert_eq!(unsealed(step).unwrap(), "{\"best\": 1.25}");
        fs::write(step.join(FILE), "{\"best\": 1.24}").unwrap();
        assert!(
            unsealed(step)
                .unwrap_err()
                .to_string()
                .contains("not what was written")
        );
        fs::remove_file(step.join(SEAL)).unwrap();
        assert!(unsealed(step).is_err());
    }
}
