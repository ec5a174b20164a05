//! The manifest of a sweep: what is to be done, written once.
//!
//! A sweep does *items*: a fold, a run with settings of its own, a section. What an item is, its maker knows; here it is a name, what to run
//! (a table that is handed back as it was given), the files it reads with their hashes, where its output goes and how that is checked. A
//! *task* is a pack of items that one process does.

use crate::SweepError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use tangram_store::{Existing, StoreError, fingerprint, fingerprint_names, write_aside};
use toml::Table;

/// Name of the manifest in the folder of a sweep.
pub const MANIFEST: &str = "sweep.toml";
/// Its SHA-256, as sha256sum writes it.
const SEAL: &str = "sweep.sha256";
/// The form of the folder; a program that does not know it must not touch it.
const FORMAT: u32 = 3;

/// What a sweep does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Manifest {
    /// The form of the folder.
    pub format: u32,
    /// The maker's name for this kind of sweep, such as `k-fold`.
    pub kind: String,
    /// Version of the program that made it.
    pub version: String,
    /// Items of a task; the last task may have fewer.
    pub items_per_task: usize,
    /// Seconds that one item was estimated to take.
    pub seconds_per_item: f64,
    /// The array in which items put rows, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub array: Option<Rows>,
    /// Files that every item reads, by the maker's names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Input>,
    /// What all items share, as their maker reads it.
    pub settings: Table,
    /// What is to be done.
    #[serde(rename = "item")]
    pub items: Vec<Item>,
}

/// A piece of work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Item {
    /// Its name, which no other item of the sweep has.
    pub name: String,
    /// Where its output goes, and how it is checked.
    pub output: Output,
    /// Files that it reads, besides those of all items.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub inputs: BTreeMap<String, Input>,
    /// What to run, as its maker reads it.
    pub work: Table,
}

/// A file that is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Input {
    /// Where it lies.
    pub path: PathBuf,
    /// Its SHA-256 when the sweep was made.
    pub sha256: String,
}

/// Where the output of an item goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Output {
    /// Nowhere but into the record of the attempt.
    Record,
    /// Rows of the sweep's array; a task's shard is checked by its SHA-256.
    Rows,
    /// A folder of its own.
    Folder {
        /// The folder, in that of the sweep.
        path: PathBuf,
        /// The file in it that is there only when the output is complete.
        complete: PathBuf,
    },
}

/// Size of what an item puts in the array of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rows {
    /// Most rows of an item.
    pub rows: usize,
    /// Columns of every row.
    pub columns: usize,
}

impl Input {
    /// A file as it is now.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn of(path: &Path) -> Result<Self, StoreError> {
        Ok(Self {
            path: path.to_owned(),
            sha256: fingerprint(path)?,
        })
    }

    /// Whether the file is what it was.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_unchanged(&self) -> Result<bool, StoreError> {
        Ok(fingerprint(&self.path)? == self.sha256)
    }
}

impl Item {
    /// What to run.
    ///
    /// # Errors
    /// [`SweepError::Work`] if it is not what the maker of `T` writes.
    pub fn work<T: DeserializeOwned>(&self) -> Result<T, SweepError> {
        read_table(&self.work, &self.name)
    }

    /// Whether its output folder is complete; always true of an output that goes into the record or the array, which are checked by other means.
    ///
    /// * `sweep`: the folder of the sweep
    #[must_use]
    pub fn is_in_place(&self, sweep: &Path) -> bool {
        match &self.output {
            Output::Record | Output::Rows => true,
            Output::Folder { path, complete } => sweep.join(path).join(complete).is_file(),
        }
    }
}

fn read_table<T: DeserializeOwned>(table: &Table, what: &str) -> Result<T, SweepError> {
    table.clone().try_into().map_err(|e| SweepError::Work {
        what: what.to_owned(),
        reason: e.to_string(),
    })
}

/// A table of what serde can write as one.
///
/// # Errors
/// [`SweepError::Work`] if it cannot, with `what` to name it.
pub fn table_of(what: &str, value: &impl Serialize) -> Result<Table, SweepError> {
    Table::try_from(value).map_err(|e| SweepError::Work {
        what: what.to_owned(),
        reason: e.to_string(),
    })
}

impl Manifest {
    /// The format that [`write`](Self::write) writes.
    pub const FORMAT: u32 = FORMAT;

    /// Number of items.
    #[must_use]
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Number of tasks.
    #[must_use]
    pub fn n_tasks(&self) -> usize {
        self.n_items().div_ceil(self.items_per_task.max(1))
    }

    /// Numbers of the items of a task.
    #[must_use]
    pub fn items_of(&self, task: usize) -> Range<usize> {
        let first = (task * self.items_per_task).min(self.n_items());
        first..(first + self.items_per_task).min(self.n_items())
    }

    /// The task of an item.
    #[must_use]
    pub fn task_of(&self, item: usize) -> usize {
        item / self.items_per_task.max(1)
    }

    /// What all items share.
    ///
    /// # Errors
    /// [`SweepError::Work`] if it is not what the maker of `T` writes.
    pub fn settings<T: DeserializeOwned>(&self) -> Result<T, SweepError> {
        read_table(&self.settings, "settings")
    }

    /// Identity of a task: a hash of its items, what they share, their inputs and the program.
    #[must_use]
    pub fn task_id(&self, task: usize) -> String {
        let mut parts = vec![self.settings.to_string(), self.version.clone()];
        let hashes = |inputs: &BTreeMap<String, Input>| -> Vec<String> {
            let pair = |(name, input): (&String, &Input)| [name.clone(), input.sha256.clone()];
            inputs.iter().flat_map(pair).collect()
        };
        parts.extend(hashes(&self.inputs));
        for item in &self.items[self.items_of(task)] {
            parts.extend([item.name.clone(), item.work.to_string()]);
            parts.extend(hashes(&item.inputs));
        }
        fingerprint_names(&parts)[..16].to_owned()
    }

    /// SHA-256 of its content, by which attempts name the manifest that they follow.
    #[must_use]
    pub fn digest(&self) -> String {
        // One that cannot be written, for a path that is not UTF-8, is never followed.
        fingerprint_names(&[toml::to_string(self).unwrap_or_default()])
    }

    /// Writes the manifest and its seal into a folder.
    ///
    /// # Errors
    /// [`SweepError::Write`], or that one is there.
    pub fn write(&self, folder: &Path) -> Result<(), SweepError> {
        let path = folder.join(MANIFEST);
        let text = toml::to_string(self).map_err(|e| SweepError::Write {
            path: path.clone(),
            reason: e.to_string(),
        })?;
        let write = |path: &Path, text: &str| {
            write_aside(path, Existing::Refuse, |aside| {
                std::fs::write(aside, text).map_err(|e| SweepError::write(path, &e))
            })
        };
        write(&path, &text)?;
        write(&folder.join(SEAL), &seal(&path)?)
    }

    /// Reads the manifest of a folder.
    ///
    /// # Errors
    /// [`SweepError::NotASweep`] if there is none, [`SweepError::OtherFormat`] if another version of the program made it,
    /// [`SweepError::Edited`] if it was changed.
    pub fn read(folder: &Path) -> Result<Self, SweepError> {
        let not = |reason: String| SweepError::NotASweep {
            path: folder.to_owned(),
            reason: format!("{MANIFEST}: {reason}"),
        };
        let path = folder.join(MANIFEST);
        let text = tangram_store::read_text(&path).map_err(|e| not(e.to_string()))?;
        let table: Table = text
            .parse()
            .map_err(|e: toml::de::Error| not(e.message().to_owned()))?;
        let format = table.get("format").and_then(toml::Value::as_integer);
        let Some(format) = format else {
            return Err(not("it names no format".to_owned()));
        };
        if format != i64::from(FORMAT) {
            let version = table.get("version").and_then(toml::Value::as_str);
            return Err(SweepError::OtherFormat {
                path: folder.to_owned(),
                format,
                version: version.unwrap_or("another version").to_owned(),
                known: FORMAT,
            });
        }
        let known = tangram_store::read_text(&folder.join(SEAL))
            .map_err(|e| not(format!("its SHA-256, {SEAL}, cannot be read: {e}")))?;
        if known != seal(&path)? {
            return Err(SweepError::Edited { path });
        }
        toml::from_str(&text).map_err(|e| not(e.message().to_owned()))
    }
}

/// The seal of a manifest.
fn seal(path: &Path) -> Result<String, SweepError> {
    Ok(format!("{}  {MANIFEST}\n", fingerprint(path)?))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Items that put one row of three columns each.
    pub(crate) fn manifest(n_items: usize, items_per_task: usize) -> Manifest {
        let item = |i: usize| Item {
            name: format!("item{i:02}"),
            output: Output::Rows,
            inputs: BTreeMap::new(),
            work: toml::toml! { number = 1 },
        };
        let file = |name: &str| Input {
            path: format!("/data/{name}.h5ad").into(),
            sha256: name.to_owned(),
        };
        Manifest {
            format: FORMAT,
            kind: "tests".into(),
            version: "0".into(),
            items_per_task,
            seconds_per_item: 1.5,
            array: Some(Rows {
                rows: 1,
                columns: 3,
            }),
            inputs: ["a", "b"].map(|n| (n.to_owned(), file(n))).into(),
            settings: toml::toml! { seed = 1 },
            items: (0..n_items).map(item).collect(),
        }
    }

    #[test]
    fn a_manifest_comes_back_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let mut written = manifest(7, 3);
        written.items[1].output = Output::Record;
        written.items[2].output = Output::Folder {
            path: "runs/a".into(),
            complete: "run.toml".into(),
        };
        written.items[2].inputs = written.inputs.clone();
        written.write(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        assert!(manifest(5, 1).write(folder.path()).is_err());
    }

    #[test]
    fn a_manifest_that_was_edited_is_refused_until_the_original_is_back() {
        let folder = tempfile::tempdir().unwrap();
        let written = manifest(7, 3);
        written.write(folder.path()).unwrap();
        let path = folder.path().join(MANIFEST);
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("seed = 1", "seed = 2")).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err();
        assert!(matches!(error, SweepError::Edited { .. }), "{error}");
        std::fs::write(&path, text).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), written);
        std::fs::remove_file(folder.path().join(SEAL)).unwrap();
        let error = Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains(SEAL), "{error}");
    }

    #[test]
    fn tasks_cover_all_items_once_and_their_ids_differ() {
        let manifest = manifest(7, 3);
        let ranges: Vec<_> = (0..manifest.n_tasks())
            .map(|t| manifest.items_of(t))
            .collect();
        assert_eq!(ranges, [0..3, 3..6, 6..7]);
        assert!((0..7).all(|i| manifest.items_of(manifest.task_of(i)).contains(&i)));
        let ids: std::collections::BTreeSet<_> = (0..3).map(|t| manifest.task_id(t)).collect();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn the_identity_of_a_task_follows_all_that_its_result_depends_on() {
        let of = |change: fn(&mut Manifest)| {
            let mut changed = manifest(4, 2);
            change(&mut changed);
            [0, 1].map(|task| changed.task_id(task))
        };
        let same = of(|_| ());
        assert_eq!(of(|m| m.seconds_per_item = 9.0), same);
        let all: [fn(&mut Manifest); 3] = [
            |m| drop(m.settings.insert("seed".into(), 7.into())),
            |m| m.version = "1".into(),
            |m| m.inputs.get_mut("a").unwrap().sha256 = "other".into(),
        ];
        for change in all {
            let [first, second] = of(change);
            assert!(first != same[0] && second != same[1]);
        }
        let one: [fn(&mut Manifest); 2] = [
            |m| drop(m.items[2].work.insert("number".into(), 7.into())),
            |m| m.items[3].inputs = m.inputs.clone(),
        ];
        for change in one {
            let [first, second] = of(change);
            assert!(first == same[0] && second != same[1]);
        }
    }

    #[test]
    fn an_output_is_in_place_when_its_last_file_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut item = manifest(1, 1).items.remove(0);
        assert!(item.is_in_place(folder.path()));
        item.output = Output::Folder {
            path: "runs/a".into(),
            complete: "run.toml".into(),
        };
        std::fs::create_dir_all(folder.path().join("runs/a")).unwrap();
        assert!(!item.is_in_place(folder.path()));
        std::fs::write(folder.path().join("runs/a/run.toml"), "").unwrap();
        assert!(item.is_in_place(folder.path()));
    }

    #[test]
    fn a_folder_of_another_format_is_refused_and_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let read = || Manifest::read(folder.path()).unwrap_err().to_string();
        assert!(read().contains("sweep.toml"), "{}", read());
        let write = |text: &str| std::fs::write(folder.path().join(MANIFEST), text).unwrap();
        write("seed = 9");
        assert!(read().contains("not a sweep"), "{}", read());
        // As version 0.1.0 wrote it.
        write(FORMAT_1);
        let told = read();
        for word in ["format 1", "tangram 0.1.0", "sweep new", "format 3"] {
            assert!(told.contains(word), "{told}");
        }
        write("format = 9\nversion = \"9.0.0\"\n");
        let told = read();
        assert!(
            told.contains("format 9") && told.contains("tangram 9.0.0"),
            "{told}"
        );
    }

    const FORMAT_1: &str = r#"format = 1
kind = "k-fold"
version = "0.1.0"
folds-per-task = 2
seconds-per-fold = 0.5
cells-sha256 = "c"
voxels-sha256 = "v"
n-voxels = 90
start = "cold"
genes = ["A", "B"]
[map]
cells = "/data/cells.h5ad"
[[fold]]
held-out = ["A"]
[[fold]]
held-out = ["B"]
"#;
}
