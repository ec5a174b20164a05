//! Checkpoints of `tangram map`: the folder RUN.checkpoint, from which a run that was stopped goes on.
//!
//! `RUN.checkpoint/00000120/` holds the state after 120 passes: one Zarr store for each rank that has a part, `checkpoint.json`, written
//! last, with what all ranks know, the grid and the fingerprint of every store, and `checkpoint.sha256`, its own fingerprint. The two
//! latest are kept, so that one that was torn or damaged leaves the one before it.

mod folder;
mod identity;

pub use folder::{latest, refuse_foreign, remove};
pub use identity::Identity;

use crate::error::PipelineError;
use crate::listener::Listener;
use crate::ranks::{Ranks, agreed};
use crate::run_directory::checkpoints_of;
use crate::wording::count;
use anyhow::{Context, Result, bail};
use folder::{seal, steps, unsealed};
use ndarray::{Array2, s};
use serde::{Deserialize, Serialize};
use std::fs;
use std::ops::Range;
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
    /// Fingerprint of every rank's store, empty where a rank has none.
    shards: Vec<String>,
}

fn shard(step: &Path, rank: usize) -> PathBuf {
    step.join(format!("rank-{rank}.zarr"))
}

/// Keeps checkpoints while a run goes on.
pub struct Checkpoints<'a> {
    folder: PathBuf,
    identity: Identity,
    ranks: &'a Ranks,
    shares: &'a Shares,
    listener: &'a dyn Listener,
    every: Option<Duration>,
    last: Instant,
    /// Passes after which the state was written last: within a pass that is given up it is the same still.
    written: Option<usize>,
}

impl<'a> Checkpoints<'a> {
    /// Begins.
    ///
    /// * `every`: how often; without, only when asked to stop
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

    /// The latest checkpoint that is whole, as this rank's part; `None` if there is none.
    ///
    /// # Errors
    /// If it is of another run, on all ranks.
    pub fn resume(&mut self) -> Result<Option<Snapshot>> {
        let mut damaged = Vec::new();
        for step in steps(&self.folder) {
            let checked = self.check(&step);
            // What differs from the command ends the run; what is damaged sends it to the checkpoint before.
            let (record, damage) = match checked {
                Ok(record) => (Some(record), None),
                Err(error) if error.is::<PipelineError>() => return agreed(self.ranks, Err(error)),
                Err(error) => (None, Some(error)),
            };
            agreed(self.ranks, Ok(()))?;
            if self.ranks.all_agree(record.is_some()) {
                let record = record.expect("all have it");
                let snapshot = agreed(self.ranks, self.read(&step, &record))?;
                self.written = Some(record.passes);
                if self.ranks.is_first() {
                    // They would be kept in the place of those that are whole.
                    damaged.iter().for_each(|step| _ = fs::remove_dir_all(step));
                }
                let passes = count(record.passes, "pass");
                self.listener
                    .say(format_args!("goes on from the checkpoint after {passes}"))?;
                return Ok(Some(snapshot));
            }
            let reason = damage.map_or("another rank found it so".to_owned(), |e| format!("{e:#}"));
            damaged.push(step.clone());
            let step = step.display();
            self.listener.warn(format_args!(
                "{step} is damaged ({reason}); trying the one before"
            ));
        }
        Ok(None)
    }

    /// Reads what all ranks know, and verifies this rank's part of the stores.
    fn check(&self, step: &Path) -> Result<Record> {
        let text = unsealed(step)?;
        let record: Record = serde_json::from_str(&text)
            .with_context(|| step.join(folder::FILE).display().to_string())?;
        // Only the first rank knows the inputs' hashes.
        if self.ranks.is_first()
            && let Some(difference) = self.identity.difference(&record.identity)
        {
            bail!(PipelineError::OtherCheckpoint {
                path: self.folder.clone(),
                difference
            });
        }
        let (rank, n_ranks) = (self.ranks.world().rank(), self.ranks.shape().n_ranks());
        for (of, expected) in record.shards.iter().enumerate().skip(rank).step_by(n_ranks) {
            if expected.is_empty() {
                continue;
            }
            let path = shard(step, of);
            if fingerprint(&path)? != *expected {
                bail!("{}: not what was written", path.display());
            }
        }
        Ok(record)
    }

    /// This rank's part, from the stores of the ranks that wrote it, however they were arranged.
    fn read(&self, step: &Path, record: &Record) -> Result<Snapshot> {
        let shape: GridShape = record.grid.parse().map_err(anyhow::Error::msg)?;
        let how: Reduce = record.reduce.parse().map_err(anyhow::Error::msg)?;
        let mut arrays = Vec::new();
        for (name, axes) in &record.arrays {
            let (name, axes) = known(name, axes)?;
            let mut values = None::<Array2<f64>>;
            for rank in 0..shape.n_ranks() {
                let of = Shares::at(shape, how, record.lens, rank)?;
                if !has(&of, axes) {
                    continue;
                }
                let path = shard(step, rank);
                let n_rows = array_size(&path, name)?.0;
                let (own_rows, own_columns) = places(self.shares, axes, n_rows);
                let (rows, columns) = places(&of, axes, n_rows);
                let values = values.get_or_insert_with(|| {
                    Array2::from_elem((total(&own_rows), own_columns.len()), f64::NAN)
                });
                let mut to_row = 0;
                for own in &own_rows {
                    let mut from_row = 0;
                    for rows in &rows {
                        copy(
                            &path,
                            name,
                            values,
                            [own, &own_columns],
                            [rows, &columns],
                            [to_row, from_row],
                        )?;
                        from_row += rows.len();
                    }
                    to_row += own.len();
                }
            }
            arrays.push(SnapshotArray {
                name,
                axes,
                values: Numbers::Double(values.context("no rank has it")?),
            });
        }
        Ok(Snapshot {
            passes: record.passes,
            common: record.common.clone(),
            arrays,
        })
    }

    /// Writes this rank's store; gives its fingerprint, or nothing if other ranks have all that this one has.
    fn write_shard(&self, step: &Path, snapshot: &Snapshot) -> Result<String> {
        let views: Vec<_> = snapshot
            .arrays
            .iter()
            .filter(|array| has(self.shares, array.axes))
            .map(|array| match &array.values {
                Numbers::Single(values) => (array.name, values.view().into()),
                Numbers::Double(values) => (array.name, values.view().into()),
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
        let begun = match self.ranks.is_first() {
            // One that was not completed, or that turned out damaged, may be in the way.
            true => begin(&step),
            false => Ok(()),
        };
        agreed(self.ranks, begun)?;
        let digest = agreed(self.ranks, self.write_shard(&step, snapshot))?;
        let mine: Vec<f64> = digest.bytes().map(f64::from).collect();
        let shards = self.ranks.gather(&mine);
        let done = match self.ranks.is_first() {
            true => self.complete(&step, snapshot, &shards),
            false => Ok(()),
        };
        agreed(self.ranks, done)
    }

    /// Writes what makes the checkpoint count, and removes those that are no longer needed.
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
                .map(|a| (a.name.to_owned(), axes_name(a.axes).to_owned()))
                .collect(),
            shards: shards.iter().map(text).collect(),
        };
        seal(step, &serde_json::to_string_pretty(&record)?)?;
        for old in steps(&self.folder).into_iter().skip(KEPT) {
            fs::remove_dir_all(&old).with_context(|| old.display().to_string())?;
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
            "no checkpoint was written, the run goes on: {error}"
        ));
    }
}

/// Makes an empty folder for a step.
fn begin(step: &Path) -> Result<()> {
    if step.exists() {
        fs::remove_dir_all(step).with_context(|| step.display().to_string())?;
    }
    fs::create_dir_all(step).map_err(|e| {
        StoreError::Write {
            path: step.to_owned(),
            reason: e.to_string(),
        }
        .into()
    })
}

/// Whether a rank's share of such arrays is its own to write: of ranks that have the same, the first is.
fn has(shares: &Shares, axes: Axes) -> bool {
    let first_cells = shares.cells.range().start == 0;
    let first_genes = shares.genes.range().start == 0;
    match axes {
        Axes::GenesVoxels => first_cells,
        Axes::AnyVoxels => first_cells && first_genes,
        Axes::CellsVoxels => first_genes,
    }
}

/// Which rows, in pieces, and columns of the whole array a share has; `n_rows`: of an array whose rows are counted alike.
fn places(shares: &Shares, axes: Axes, n_rows: usize) -> (Vec<Range<usize>>, Range<usize>) {
    let n_genes = shares.genes.whole_len();
    let (rows, last) = match axes {
        Axes::GenesVoxels => (shares.genes.range(), Some(n_genes..n_genes + 1)),
        Axes::AnyVoxels => (0..n_rows, None),
        Axes::CellsVoxels => (shares.cells.range(), None),
    };
    let rows = std::iter::once(rows).chain(last).collect();
    (rows, shares.voxels.range())
}

fn total(pieces: &[Range<usize>]) -> usize {
    pieces.iter().map(ExactSizeIterator::len).sum()
}

/// Copies what two rectangles of the whole array have in common.
///
/// * `own`: rows and columns of the whole that begin in row `at[0]` and column 0 of `values`
/// * `of`: those that begin in row `at[1]` and column 0 of the store
fn copy(
    path: &Path,
    name: &str,
    values: &mut Array2<f64>,
    own: [&Range<usize>; 2],
    of: [&Range<usize>; 2],
    at: [usize; 2],
) -> Result<()> {
    let common = |a: &Range<usize>, b: &Range<usize>| a.start.max(b.start)..a.end.min(b.end);
    let (rows, columns) = (common(own[0], of[0]), common(own[1], of[1]));
    if rows.is_empty() || columns.is_empty() {
        return Ok(());
    }
    let moved = |range: &Range<usize>, from: usize, to: usize| {
        range.start - from + to..range.end - from + to
    };
    let found = read_array(
        path,
        name,
        moved(&rows, of[0].start, at[1]),
        moved(&columns, of[1].start, 0),
    )?;
    let target = s![
        moved(&rows, own[0].start, at[0]),
        moved(&columns, own[1].start, 0)
    ];
    values.slice_mut(target).assign(&found);
    Ok(())
}

fn axes_name(axes: Axes) -> &'static str {
    match axes {
        Axes::GenesVoxels => "genes and one, voxels",
        Axes::AnyVoxels => "any, voxels",
        Axes::CellsVoxels => "cells, voxels",
    }
}

/// Names as the solvers know them.
fn known(name: &str, axes: &str) -> Result<(&'static str, Axes)> {
    const NAMES: [&str; 7] = [
        "moving",
        "average",
        "best",
        "densities",
        "logits",
        "first_moment",
        "second_moment",
    ];
    let name = NAMES.iter().find(|n| **n == name);
    let all = [Axes::GenesVoxels, Axes::AnyVoxels, Axes::CellsVoxels];
    let axes = all.into_iter().find(|&a| axes_name(a) == axes);
    match (name, axes) {
        (Some(name), Some(axes)) => Ok((name, axes)),
        _ => bail!("the checkpoint is of another version of the program"),
    }
}
