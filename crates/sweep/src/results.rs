//! The array of a sweep: a shard for every task, each put in place by one link when it is whole.

use crate::{Attempts, Claim, Manifest, State, SweepError};
use ndarray::{Array3, ArrayView3};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use tangram_store::{ShardedArray, fingerprint};

const STORE: &str = "results.zarr";
const ARRAY: &str = "predictions";

/// The array of a sweep, (items, rows, columns); items with fewer rows than others have NaN in their place.
#[derive(Debug, Clone)]
pub struct Results {
    folder: PathBuf,
    shape: [usize; 3],
    per_shard: usize,
    array: ShardedArray,
}

impl Results {
    /// That of a sweep; `None` if its items put no rows in an array.
    #[must_use]
    pub fn of(folder: &Path, manifest: &Manifest) -> Option<Self> {
        let size = manifest.array?;
        let shape = [manifest.n_items(), size.rows, size.columns];
        let per_shard = manifest.items_per_task;
        Some(Self {
            folder: folder.to_owned(),
            shape,
            per_shard,
            array: ShardedArray::new(&folder.join(STORE), ARRAY, shape, per_shard),
        })
    }

    /// Describes the array on disk.
    ///
    /// # Errors
    /// [`SweepError::Store`] if it cannot be written.
    pub fn create(&self) -> Result<(), SweepError> {
        Ok(self.array.create()?)
    }

    /// Rows and columns of an item.
    #[must_use]
    pub fn item_size(&self) -> (usize, usize) {
        (self.shape[1], self.shape[2])
    }

    /// Where the shard of a task lies.
    #[must_use]
    pub fn place(&self, task: usize) -> PathBuf {
        self.array.place(task)
    }

    /// Puts the rows of a task in place; gives their SHA-256.
    ///
    /// An existing shard stays if a record has its SHA-256: a result is never written twice.
    ///
    /// # Errors
    /// [`SweepError::Superseded`] if a newer attempt has begun; if they cannot be written.
    pub fn commit(&self, claim: &Claim, values: ArrayView3<'_, f32>) -> Result<String, SweepError> {
        let task = claim.attempt().task;
        let aside = claim.folder().join("result");
        let file = self.array.write_aside(&aside, task, values)?;
        let digest = fingerprint(&file)?;
        let place = self.place(task);
        let failed = |e: std::io::Error| SweepError::write(&place, &e);
        fs::File::open(&file)
            .and_then(|f| f.sync_all())
            .map_err(failed)?;
        if let Some(parent) = place.parent() {
            fs::create_dir_all(parent).map_err(failed)?;
        }
        if !claim.is_newest() {
            return Err(SweepError::Superseded {
                task,
                number: claim.attempt().number,
            });
        }
        match fs::hard_link(&file, &place) {
            Ok(()) => Ok(digest),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = fingerprint(&place)?;
                if there != digest && !self.vouched(task, &there)? {
                    fs::rename(&file, &place).map_err(failed)?;
                    return Ok(digest);
                }
                Ok(there)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// Whether a finished attempt wrote a shard with this SHA-256.
    fn vouched(&self, task: usize, digest: &str) -> Result<bool, SweepError> {
        let attempts = Attempts::of(&self.folder).at(task)?;
        Ok(attempts
            .iter()
            .any(|a| a.state == State::Done && a.shard_sha256.as_deref() == Some(digest)))
    }

    /// The rows of a task, (items of the task, rows, columns), if they are what was written.
    ///
    /// * `digest`: their SHA-256 by the record
    ///
    /// # Errors
    /// [`SweepError::Damaged`], or that they are not there.
    pub fn read(&self, task: usize, digest: &str) -> Result<Array3<f32>, SweepError> {
        let place = self.place(task);
        if fingerprint(&place)? != digest {
            return Err(SweepError::Damaged { path: place });
        }
        Ok(self.array.read(task)?)
    }

    /// Whether the shard of a task is there and has this SHA-256.
    #[must_use]
    pub fn is_whole(&self, task: usize, digest: &str) -> bool {
        fingerprint(&self.place(task)).is_ok_and(|found| found == digest)
    }

    /// Keeps the rows that an attempt has so far for the next one; gives their SHA-256.
    ///
    /// * `values`: (items of the task, rows, columns), NaN where nothing is known yet
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn keep(&self, claim: &Claim, values: ArrayView3<'_, f32>) -> Result<String, SweepError> {
        let task = claim.attempt().task;
        let file = self
            .kept(&claim.folder())
            .write_aside(&claim.folder(), task, values)?;
        Ok(fingerprint(&file)?)
    }

    /// What an earlier attempt kept, if it is what was written.
    #[must_use]
    pub fn take_up(&self, task: usize, number: u32, digest: &str) -> Option<Array3<f32>> {
        let kept = self.kept(&Attempts::of(&self.folder).kept(task, number));
        let whole = fingerprint(&kept.place(task)).is_ok_and(|found| found == digest);
        whole.then(|| kept.read(task).ok()).flatten()
    }

    fn kept(&self, folder: &Path) -> ShardedArray {
        ShardedArray::new(folder, ARRAY, self.shape, self.per_shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::manifest;

    fn values(task: usize, items: usize) -> Array3<f32> {
        Array3::from_shape_fn((items, 1, 3), |(f, _, j)| (10 * task + 3 * f + j) as f32)
    }

    fn finish(results: &Results, claim: &mut Claim, values: &Array3<f32>) -> String {
        let digest = results.commit(claim, values.view()).unwrap();
        let told = claim.tell(|a| {
            a.state = State::Done;
            a.shard_sha256 = Some(digest.clone());
        });
        told.unwrap();
        claim.clear();
        digest
    }

    #[test]
    fn a_superseded_attempt_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(5, 2);
        let attempts = Attempts::of(folder.path());
        let results = Results::of(folder.path(), &manifest).unwrap();
        results.create().unwrap();
        let old = attempts.claim(2, &manifest).unwrap();
        let mut new = attempts.claim(2, &manifest).unwrap();
        let refused = results.commit(&old, values(9, 1).view());
        assert!(matches!(refused, Err(SweepError::Superseded { .. })));
        assert!(!results.place(2).exists());
        let digest = finish(&results, &mut new, &values(2, 1));
        assert!(results.commit(&old, values(9, 1).view()).is_err());
        assert_eq!(results.read(2, &digest).unwrap(), values(2, 1));
    }

    #[test]
    fn a_result_is_written_once_unless_it_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(5, 2);
        let attempts = Attempts::of(folder.path());
        let results = Results::of(folder.path(), &manifest).unwrap();
        results.create().unwrap();
        let digest = finish(
            &results,
            &mut attempts.claim(0, &manifest).unwrap(),
            &values(0, 2),
        );
        // Another result of the same task does not replace a recorded one.
        let again = attempts.claim(0, &manifest).unwrap();
        assert_eq!(results.commit(&again, values(7, 2).view()).unwrap(), digest);
        assert_eq!(results.read(0, &digest).unwrap(), values(0, 2));
        // Damage is noticed, and mended by the next attempt.
        fs::write(results.place(0), b"torn").unwrap();
        assert!(matches!(
            results.read(0, &digest),
            Err(SweepError::Damaged { .. })
        ));
        let mended = finish(
            &results,
            &mut attempts.claim(0, &manifest).unwrap(),
            &values(0, 2),
        );
        assert_eq!(mended, digest);
        assert_eq!(results.read(0, &digest).unwrap(), values(0, 2));
    }

    #[test]
    fn what_was_kept_is_taken_up_only_if_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = manifest(5, 2);
        let results = Results::of(folder.path(), &manifest).unwrap();
        let claim = Attempts::of(folder.path()).claim(1, &manifest).unwrap();
        let mut half = values(1, 2);
        half.slice_mut(ndarray::s![1.., .., ..]).fill(f32::NAN);
        let digest = results.keep(&claim, half.view()).unwrap();
        let kept = results.take_up(1, 1, &digest).unwrap();
        assert_eq!(
            kept.slice(ndarray::s![..1, .., ..]),
            half.slice(ndarray::s![..1, .., ..])
        );
        assert!(results.take_up(1, 1, "other").is_none());
        assert!(results.take_up(1, 2, &digest).is_none());
    }
}
