//! The state of a fold's training, kept on the way, so that a fold may take longer than the process that trains it.
//!
//! `attempts/TASK.NUMBER.kept/state-FOLD/` holds the arrays of a snapshot, `00000120.zarr`, and beside them, sealed as that of a mapping is,
//! `checkpoint.json` with all else and the hash of the arrays. What counts is written last.

use crate::checkpoint::{seal, unsealed};
use crate::error::Result;
use crate::listener::Listener;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tangram_mapper::{Axes, Keeper, Numbers, Snapshot, SnapshotArray, Wish};
use tangram_store::{array_size, fingerprint, read_array, write_arrays};

/// When a training ends that has gone on for longer since its state was kept, it is kept again.
const WORTH_KEEPING: Duration = Duration::from_secs(30);

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// What is trained: the state of another training is not gone on from.
    identity: String,
    passes: usize,
    common: String,
    /// Names and axes.
    arrays: Vec<(String, String)>,
    store: String,
    store_sha256: String,
}

/// Keeps the state of a training in a folder, now and then and when the process is asked to stop.
pub struct StateKeeper<'a> {
    /// Where it is kept.
    pub folder: PathBuf,
    /// What is trained.
    pub identity: String,
    /// How often; `None`: only when asked to stop.
    pub every: Option<Duration>,
    /// Hears warnings, and asks to stop.
    pub listener: &'a dyn Listener,
    /// Called when the process was asked to stop, before anything is kept; may be called again.
    pub stopping: &'a (dyn Fn() + Sync),
    /// Called with the number of passes whose state was kept.
    pub kept: &'a (dyn Fn(usize) + Sync),
    last: Instant,
}

impl<'a> StateKeeper<'a> {
    /// A keeper that tells nobody of what it keeps.
    pub fn new(
        folder: PathBuf,
        identity: String,
        every: Option<Duration>,
        listener: &'a dyn Listener,
    ) -> Self {
        Self {
            folder,
            identity,
            every,
            listener,
            stopping: &|| (),
            kept: &|_| (),
            last: Instant::now(),
        }
    }

    fn write(&self, snapshot: &Snapshot) -> Result<()> {
        fs::create_dir_all(&self.folder)?;
        let store = format!("{:08}.zarr", snapshot.passes);
        // Of a process that was killed here, whole or not.
        let _ = fs::remove_dir_all(self.folder.join(&store));
        let views: Vec<_> = snapshot
            .arrays
            .iter()
            .map(|array| match &array.values {
                Numbers::Single(values) => (array.name.as_str(), values.view().into()),
                Numbers::Double(values) => (array.name.as_str(), values.view().into()),
            })
            .collect();
        let record = Record {
            identity: self.identity.clone(),
            passes: snapshot.passes,
            common: snapshot.common.clone(),
            arrays: snapshot
                .arrays
                .iter()
                .map(|a| (a.name.clone(), a.axes.name()))
                .collect(),
            store_sha256: write_arrays(&self.folder.join(&store), &views)?,
            store: store.clone(),
        };
        seal(
            &self.folder,
            &serde_json::to_string_pretty(&record).expect("plain data"),
        )?;
        for entry in fs::read_dir(&self.folder)?.flatten() {
            let name = entry.file_name();
            if name != *store && name.to_string_lossy().ends_with(".zarr") {
                // One too many does no harm.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        Ok(())
    }
}

/// The state of a training that was kept whole in one of several folders: the first that has it.
#[must_use]
pub fn take_up(folders: &[PathBuf], identity: &str) -> Option<Snapshot> {
    folders
        .iter()
        .find_map(|folder| read(folder, identity).ok()?)
}

/// The state in a folder; `None` if it is of another training.
fn read(folder: &Path, identity: &str) -> Result<Option<Snapshot>> {
    let Ok(record) = serde_json::from_str::<Record>(&unsealed(folder)?) else {
        return Ok(None);
    };
    let store = folder.join(&record.store);
    if record.identity != identity || fingerprint(&store)? != record.store_sha256 {
        return Ok(None);
    }
    let mut arrays = Vec::new();
    for (name, axes) in record.arrays {
        let Some(axes) = Axes::named(&axes) else {
            return Ok(None);
        };
        let (rows, columns) = array_size(&store, &name)?;
        let values = read_array(&store, &name, 0..rows, 0..columns)?;
        arrays.push(SnapshotArray {
            name,
            axes,
            values: Numbers::Double(values),
        });
    }
    Ok(Some(Snapshot {
        passes: record.passes,
        common: record.common,
        arrays,
    }))
}

impl Keeper for StateKeeper<'_> {
    fn wish(&mut self) -> Wish {
        if self.listener.stop_asked() {
            (self.stopping)();
            return Wish::SaveAndStop;
        }
        match self.every {
            Some(every) if self.last.elapsed() >= every => Wish::Save,
            _ => Wish::GoOn,
        }
    }

    fn wish_at_end(&mut self) -> Wish {
        match self.every.is_some() && self.last.elapsed() >= WORTH_KEEPING {
            true => Wish::Save,
            false => Wish::GoOn,
        }
    }

    fn save(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        // Without it the fold begins anew; those that are done are kept all the same.
        match self.write(snapshot) {
            Ok(()) => (self.kept)(snapshot.passes),
            Err(error) => self.lost(&error),
        }
        self.last = Instant::now();
        Ok(())
    }

    fn lost(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        self.listener.warn(format_args!(
            "the state of a fold was not kept; if it is stopped it begins anew: {error}"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Silent;
    use ndarray::Array2;

    #[test]
    fn a_state_comes_back_whole_and_of_the_same_training_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        let snapshot = |passes: usize| Snapshot {
            passes,
            common: "{\"step\":0.1}".to_owned(),
            arrays: vec![SnapshotArray {
                name: "z".to_owned(),
                axes: Axes::GENES_AND_ONE_BY_VOXELS,
                values: Numbers::Double(Array2::from_shape_fn((3, 5), |(i, j)| {
                    (i * j + passes) as f64 / 7.0
                })),
            }],
        };
        let keep = |name: &str, passes: usize| {
            let mut keeper = StateKeeper::new(place(name), "a".to_owned(), None, &Silent);
            keeper.save(&snapshot(passes)).unwrap();
        };
        keep("1", 3);
        keep("1", 9);
        keep("2", 5);
        assert_eq!(fs::read_dir(place("1")).unwrap().count(), 3);
        let taken = |names: &[&str], identity: &str| {
            let folders: Vec<PathBuf> = names.iter().map(|name| place(name)).collect();
            take_up(&folders, identity)
        };
        let whole = taken(&["none", "1", "2"], "a").unwrap();
        assert_eq!(whole.passes, 9);
        let values = |s: &Snapshot| s.arrays[0].values.to_double();
        assert_eq!(values(&whole), values(&snapshot(9)));
        assert_eq!(whole.common, snapshot(9).common);
        assert!(taken(&["1", "2"], "b").is_none());
        // Damaged, the one before it is gone on from.
        let store = place("1").join("00000009.zarr/z/c/0/0");
        let mut bytes = fs::read(&store).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&store, bytes).unwrap();
        assert_eq!(taken(&["1", "2"], "a").unwrap().passes, 5);
    }
}
