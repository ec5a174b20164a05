//! Checkpoints of a mapping: the folder RUN.checkpoint, from which a stopped run is resumed.
//!
//! `RUN.checkpoint/00000120/` holds the state after 120 passes: one Zarr store for each rank that has a part, `checkpoint.json`, written
//! last, with what all ranks know, the grid and the fingerprint of every store, and `checkpoint.sha256`, its own fingerprint. The two
//! latest are kept, so that one that was torn or damaged leaves the one before it.

mod folder;
mod identity;

use folder::{FILE, steps};
pub use folder::{latest, refuse_foreign, remove};
pub(crate) use folder::{seal, unsealed};
pub use identity::Identity;

use crate::error::{PipelineError, Result, full_text};
use crate::listener::Listener;
use crate::ranks::{Ranks, agreed, on_first};
use crate::run_directory::checkpoints_of;
use crate::wording::count;
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tangram_comm::{Communicator, GridShape, Reduce, Shares};
use tangram_mapper::{Axes, Keeper, Numbers, Snapshot, SnapshotArray, Wish};
use tangram_store::{StoreError, array_size, fingerprint, read_array, write_arrays};

const KEPT: usize = 2;
/// When a training ends that has gone on for longer since its last checkpoint, its state is kept: what follows may be cut short.
const WORTH_KEEPING: Duration = Duration::from_secs(30);

/// `checkpoint.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    passes: usize,
    identity: Identity,
    grid: String,
    reduce: String,
    /// Cells, voxels, genes.
    lens: [usize; 3],
    common: String,
    arrays: Vec<(String, String)>,
    /// Fingerprint of every rank's store; empty for a rank without one.
    shards: Vec<String>,
}

fn shard(step: &Path, rank: usize) -> PathBuf {
    step.join(format!("rank-{rank}.zarr"))
}

/// Writes checkpoints during a run.
pub struct Checkpoints<'a> {
    folder: PathBuf,
    identity: Identity,
    ranks: &'a Ranks,
    shares: &'a Shares,
    listener: &'a dyn Listener,
    every: Option<Duration>,
    last: Instant,
    /// Number of passes in the last checkpoint. A stop within a pass finds it unchanged, and writes nothing.
    written: Option<usize>,
}

impl<'a> Checkpoints<'a> {
    /// Prepares to read and write checkpoints.
    ///
    /// * `every`: the interval; `None`: only when asked to stop
    pub fn new(
        out: &Path,
        identity: Identity,
        ranks: &'a Ranks,
        shares: &'a Shares,
        every: Option<Duration>,
        listener: &'a dyn Listener,
    ) -> Self {
        Self {
            folder: checkpoints_of(out),
            identity,
            ranks,
            shares,
            listener,
            every,
            last: Instant::now(),
            written: None,
        }
    }

    /// This rank's share of the latest undamaged checkpoint; `None` if there is none.
    ///
    /// # Errors
    /// [`PipelineError::OtherCheckpoint`] if it belongs to another run.
    pub fn resume(&mut self) -> Result<Option<Snapshot>> {
        let mut passed_over = Vec::new();
        for step in steps(&self.folder) {
            // A different command is an error; after damage the previous checkpoint is tried.
            let (record, damage) = match self.check(&step) {
                Ok(record) => (Ok(Some(record)), None),
                Err(error @ PipelineError::OtherCheckpoint { .. }) => (Err(error), None),
                Err(error) => (Ok(None), Some(error)),
            };
            let record = agreed(self.ranks, record)?;
            if self.ranks.all_agree(record.is_some()) {
                let record = record.expect("all have it");
                let snapshot = agreed(self.ranks, self.read(&step, &record))?;
                self.written = Some(record.passes);
                if self.ranks.is_first() {
                    // They would be kept in the place of those that are whole.
                    passed_over
                        .iter()
                        .for_each(|step| _ = fs::remove_dir_all(step));
                }
                let passes = count(record.passes, "pass");
                self.listener
                    .say(format_args!("resuming from the checkpoint after {passes}"))?;
                return Ok(Some(snapshot));
            }
            let reason = damage.map_or("another rank found it so".to_owned(), |e| full_text(&e));
            passed_over.push(step.clone());
            let step = step.display();
            self.listener.warn(format_args!(
                "{step} is damaged ({reason}); trying the one before"
            ));
        }
        Ok(None)
    }

    /// Reads `checkpoint.json`, and verifies this rank's share of the stores.
    fn check(&self, step: &Path) -> Result<Record> {
        let path = step.join(FILE);
        let record: Record =
            serde_json::from_str(&unsealed(step)?).map_err(|e| damaged(&path, e))?;
        // Only the first rank knows the inputs' hashes.
        if self.ranks.is_first()
            && let Some(difference) = self.identity.difference(&record.identity)
        {
            return Err(PipelineError::OtherCheckpoint {
                path: self.folder.clone(),
                difference,
            });
        }
        let (rank, n_ranks) = (self.ranks.world().rank(), self.ranks.shape().n_ranks());
        for (of, expected) in record.shards.iter().enumerate().skip(rank).step_by(n_ranks) {
            if expected.is_empty() {
                continue;
            }
            let path = shard(step, of);
            if fingerprint(&path)? != *expected {
                return Err(damaged(&path, "not what was written"));
            }
        }
        Ok(record)
    }

    /// This rank's share, assembled from the stores of all ranks; their grid may differ from the present one.
    fn read(&self, step: &Path, record: &Record) -> Result<Snapshot> {
        let shape: GridShape = record.grid.parse().map_err(|e| damaged(step, e))?;
        let how: Reduce = record.reduce.parse().map_err(|e| damaged(step, e))?;
        let mut arrays = Vec::new();
        for (name, axes) in &record.arrays {
            let axes = Axes::named(axes).ok_or_else(|| {
                damaged(step, "the checkpoint is of another version of the program")
            })?;
            let (mut kept, mut paths) = (Vec::new(), Vec::new());
            for rank in 0..shape.n_ranks() {
                let of = Shares::at(shape, how, record.lens, rank)?;
                if axes.is_keeper(&of) {
                    let path = shard(step, rank);
                    kept.push((of, array_size(&path, name)?));
                    paths.push(path);
                }
            }
            let read =
                |keeper: usize, rows, columns| read_array(&paths[keeper], name, rows, columns);
            arrays.push(SnapshotArray {
                name: name.clone(),
                axes,
                values: Numbers::Double(axes.assemble(self.shares, &kept, read)?),
            });
        }
        Ok(Snapshot {
            passes: record.passes,
            common: record.common.clone(),
            arrays,
        })
    }

    /// Writes this rank's store; returns its fingerprint, or an empty text if other ranks write all that this one has.
    fn write_shard(&self, step: &Path, snapshot: &Snapshot) -> Result<String> {
        let views: Vec<_> = snapshot
            .arrays
            .iter()
            .filter(|array| array.axes.is_keeper(self.shares))
            .map(|array| match &array.values {
                Numbers::Single(values) => (array.name.as_str(), values.view().into()),
                Numbers::Double(values) => (array.name.as_str(), values.view().into()),
            })
            .collect();
        if views.is_empty() {
            return Ok(String::new());
        }
        Ok(write_arrays(
            &shard(step, self.ranks.world().rank()),
            &views,
        )?)
    }

    fn write(&mut self, snapshot: &Snapshot) -> Result<()> {
        let step = self.folder.join(format!("{:08}", snapshot.passes));
        // An incomplete or damaged checkpoint of the same pass may exist.
        on_first(self.ranks, || begin(&step))?;
        let digest = agreed(self.ranks, self.write_shard(&step, snapshot))?;
        let mine: Vec<f64> = digest.bytes().map(f64::from).collect();
        let shards = self.ranks.gather(&mine);
        on_first(self.ranks, || self.complete(&step, snapshot, &shards))
    }

    /// Writes `checkpoint.json`, which makes the checkpoint complete, and removes older checkpoints.
    fn complete(&self, step: &Path, snapshot: &Snapshot, shards: &[Vec<f64>]) -> Result<()> {
        let text = |bytes: &Vec<f64>| bytes.iter().map(|&b| char::from(b as u8)).collect();
        let shares = self.shares;
        let record = Record {
            passes: snapshot.passes,
            identity: self.identity.clone(),
            grid: self.ranks.shape().to_string(),
            reduce: self.ranks.how().to_string(),
            lens: [
                shares.cells.whole_len(),
                shares.voxels.whole_len(),
                shares.genes.whole_len(),
            ],
            common: snapshot.common.clone(),
            arrays: snapshot
                .arrays
                .iter()
                .map(|a| (a.name.clone(), a.axes.name()))
                .collect(),
            shards: shards.iter().map(text).collect(),
        };
        let text = serde_json::to_string_pretty(&record).expect("plain data");
        seal(step, &text)?;
        for old in steps(&self.folder).into_iter().skip(KEPT) {
            fs::remove_dir_all(&old).map_err(|e| unwritable(&old, &e))?;
        }
        Ok(())
    }
}

impl Keeper for Checkpoints<'_> {
    fn wish_at_end(&mut self) -> Wish {
        let worth_it = self.every.is_some() && self.last.elapsed() >= WORTH_KEEPING;
        match (
            self.listener.stop_asked(),
            worth_it && self.ranks.is_first(),
        ) {
            (true, _) => Wish::SaveAndStop,
            (false, true) => Wish::Save,
            (false, false) => Wish::GoOn,
        }
    }

    fn wish(&mut self) -> Wish {
        if self.listener.stop_asked() {
            return Wish::SaveAndStop;
        }
        match self.every {
            Some(every) if self.ranks.is_first() && self.last.elapsed() >= every => Wish::Save,
            _ => Wish::GoOn,
        }
    }

    fn save(
        &mut self,
        snapshot: &Snapshot,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        if self.written == Some(snapshot.passes) {
            return Ok(());
        }
        let written = self.write(snapshot);
        self.last = Instant::now();
        self.written = written.is_ok().then_some(snapshot.passes);
        written.map_err(Into::into)
    }

    fn lost(&mut self, error: &(dyn std::error::Error + Send + Sync)) {
        self.listener.warn(format_args!(
            "no checkpoint was written; the run continues: {error}"
        ));
    }
}

/// Makes an empty folder for a checkpoint.
fn begin(step: &Path) -> Result<()> {
    if step.exists() {
        fs::remove_dir_all(step).map_err(|e| unwritable(step, &e))?;
    }
    fs::create_dir_all(step).map_err(|e| unwritable(step, &e))?;
    Ok(())
}

fn unwritable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Write {
        path: path.to_owned(),
        reason: error.to_string(),
    }
}

fn damaged(path: &Path, reason: impl std::fmt::Display) -> PipelineError {
    PipelineError::DamagedCheckpoint {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
