//! Atomic outputs: written beside their place, then renamed into it.
//!
//! All outputs that this process is writing are on one list with a lock. [`Aside::finish`] renames an output while it holds the lock, and
//! [`give_up`], which a signal handler calls, discards outputs while it holds it. So whatever has its final name is complete.

use crate::rename::{exchange, rename_new};
use crate::{Process, StoreError};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

/// Threads that wait for the disk.
const SYNCS_AT_ONCE: usize = 16;

/// What to do with an output that exists already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// Stop with [`StoreError::Exists`].
    Refuse,
    /// Replace it once the new one is complete.
    Replace,
}

/// Writes a file or a folder aside (a hidden sibling, `.NAME.PROCESS.partial`) and renames it into place when `write`
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

/// The outputs that are being written.
#[derive(Debug)]
struct Outputs(Mutex<Writing>);

#[derive(Debug)]
struct Writing {
    partials: Vec<PathBuf>,
    given_up: bool,
}

/// The outputs of this process.
static OUTPUTS: Outputs = Outputs::none();

impl Outputs {
    const fn none() -> Self {
        Self(Mutex::new(Writing {
            partials: Vec::new(),
            given_up: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Writing> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn give_up(&'static self, remove: impl Fn(&Path) -> io::Result<()>) -> GivenUp {
        let mut held = self.lock();
        held.given_up = true;
        for partial in &held.partials {
            let discarded = with_ending(partial, "discarded");
            // Other threads keep writing until the process ends: one may create the folder again under its old name.
            for _ in 0..100 {
                let _ = fs::rename(partial, &discarded);
                let _ = remove(&discarded);
                if !is_there(partial) && !is_there(&discarded) {
                    break;
                }
            }
        }
        GivenUp { _held: held }
    }
}

/// While this value lives, no output gets its final name; see [`give_up`].
#[derive(Debug)]
pub struct GivenUp {
    _held: MutexGuard<'static, Writing>,
}

/// Gives up everything that this process is writing: each partial output is renamed, then removed. Threads that come to finish an
/// output, or to remove one, wait for as long as the result of this function lives: keep it until the process ends.
#[must_use]
pub fn give_up() -> GivenUp {
    OUTPUTS.give_up(remove)
}

/// A small file that lives as long as this value: removed when it is dropped, or when the process [gives up](give_up).
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Takes over a file that is there.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        OUTPUTS.lock().partials.push(path.clone());
        Self(path)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let mut held = OUTPUTS.lock();
        // A failure cannot be reported from here.
        let _ = fs::remove_file(&self.0);
        held.partials.retain(|p| *p != self.0);
    }
}

/// Removes what processes of this machine left of an output that were killed while they wrote it. What a living process, or
/// one of another machine, is writing stays.
pub fn remove_leftovers(path: &Path) {
    remove_leftovers_if(path, |process| {
        process.is_of_this_machine() && !process.is_alive_here()
    });
}

/// As [`remove_leftovers`], also of other machines: for a process that knows that no other one is writing this output.
pub fn remove_all_leftovers(path: &Path) {
    remove_leftovers_if(path, |process| !process.is_alive_here());
}

fn remove_leftovers_if(path: &Path, ended: impl Fn(&Process) -> bool) {
    let Some(name) = path.file_name() else {
        return;
    };
    let begin = format!(".{}.", name.to_string_lossy());
    let own = Process::here();
    for entry in fs::read_dir(parent(path)).into_iter().flatten().flatten() {
        let found = entry.file_name().to_string_lossy().into_owned();
        let Some((process, ending)) = found
            .strip_prefix(&begin)
            .and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let process = process.parse::<Process>().ok();
        if !process.is_some_and(|p| p != own && ended(&p)) {
            continue;
        }
        match ending {
            // A process was killed between two renames: this is the output that it was replacing.
            "replaced" if !is_there(path) => _ = fs::rename(entry.path(), path),
            "partial" | "discarded" | "replaced" => _ = remove(&entry.path()),
            _ => {}
        }
    }
}

/// An output being written; dropped unfinished, it leaves nothing behind.
#[derive(Debug)]
pub struct Aside {
    path: PathBuf,
    partial: PathBuf,
    existing: Existing,
    outputs: &'static Outputs,
}

impl Aside {
    /// Checks the place and names the sibling; creates nothing yet.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if there is something, or [`StoreError::Write`] if its folder is missing.
    pub fn begin(path: &Path, existing: Existing) -> Result<Self, StoreError> {
        Self::begin_among(&OUTPUTS, path, existing)
    }

    fn begin_among(
        outputs: &'static Outputs,
        path: &Path,
        existing: Existing,
    ) -> Result<Self, StoreError> {
        let Some(name) = path.file_name() else {
            return Err(StoreError::write(path, "the name is empty"));
        };
        refuse(path, existing)?;
        let parent = parent(path);
        if !parent.is_dir() {
            let reason = format!("the folder {} does not exist", parent.display());
            return Err(StoreError::write(path, reason));
        }
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.partial", Process::here()));
        let partial = path.with_file_name(hidden);
        remove(&partial).map_err(|e| StoreError::write(path, e))?;
        outputs.lock().partials.push(partial.clone());
        Ok(Self {
            path: path.to_owned(),
            partial,
            existing,
            outputs,
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

    /// Waits until the output is on the disk, then renames it into place. What lies in another unfinished output is left to that one.
    ///
    /// # Errors
    /// [`StoreError::Exists`] if something came there meanwhile, [`StoreError::Write`] if it cannot be renamed.
    pub fn finish(self) -> Result<(), StoreError> {
        let fail = |e: io::Error| StoreError::write(&self.path, e);
        let on_disk = match self.is_part_of_another() {
            true => Ok(()),
            false => to_disk(&self.partial),
        };
        let held = self.outputs.lock();
        if held.given_up {
            return Err(StoreError::write(
                &self.path,
                "the process was asked to stop",
            ));
        }
        on_disk.map_err(fail)?;
        match self.existing {
            Existing::Refuse => {
                rename_new(&self.partial, &self.path).map_err(|error| match error.kind() {
                    io::ErrorKind::AlreadyExists => StoreError::Exists {
                        path: self.path.clone(),
                    },
                    _ => fail(error),
                })?
            }
            Existing::Replace => self.replace().map_err(fail)?,
        }
        // Where the old output was exchanged for the new one, dropping this removes it.
        drop(held);
        Ok(())
    }

    /// Whether it lies in another output that is being written.
    fn is_part_of_another(&self) -> bool {
        let around = |other: &PathBuf| *other != self.partial && self.partial.starts_with(other);
        self.outputs.lock().partials.iter().any(around)
    }

    /// Puts the partial output in the place of what is there. Where both are files, or nothing is there, a rename does it in one step.
    fn replace(&self) -> io::Result<()> {
        let folders = self.path.is_dir() || self.partial.is_dir();
        if !is_there(&self.path) || !folders {
            return fs::rename(&self.partial, &self.path);
        }
        if exchange(&self.partial, &self.path)? {
            return Ok(());
        }
        // This file system cannot exchange names: the old output is renamed first.
        let old = with_ending(&self.partial, "replaced");
        remove(&old)?;
        fs::rename(&self.path, &old)?;
        if let Err(error) = fs::rename(&self.partial, &self.path) {
            fs::rename(&old, &self.path)?;
            return Err(error);
        }
        remove(&old)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // After a rename it no longer exists; other failures cannot be reported from here.
        let _ = remove(&self.partial);
        let mut held = self.outputs.lock();
        held.partials.retain(|p| *p != self.partial);
    }
}

/// Waits until all files of a folder, or one file, are on the disk: after a crash of the machine, what has its final name is whole.
fn to_disk(path: &Path) -> io::Result<()> {
    let mut all = Vec::new();
    list(path, &mut all)?;
    let sync = |paths: &[PathBuf]| -> io::Result<()> {
        for path in paths {
            match fs::File::open(path).and_then(|file| file.sync_all()) {
                // Some file systems cannot sync a folder.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput && path.is_dir() => {}
                synced => synced?,
            }
        }
        Ok(())
    };
    // Requests made at the same time share a commit of the file system's journal.
    let share = all.len().div_ceil(SYNCS_AT_ONCE).max(1);
    thread::scope(|scope| {
        let shares = all.chunks(share);
        let threads: Vec<_> = shares
            .map(|paths| scope.spawn(move || sync(paths)))
            .collect();
        threads.into_iter().try_for_each(|thread| {
            let died = || io::Error::other("a thread that waited for the disk died");
            thread.join().map_err(|_| died())?
        })
    })
}

/// Lists all files and folders below a path, each folder after its contents.
fn list(path: &Path, all: &mut Vec<PathBuf>) -> io::Result<()> {
    let kind = path.symlink_metadata()?.file_type();
    if kind.is_dir() {
        for entry in fs::read_dir(path)? {
            list(&entry?.path(), all)?;
        }
    }
    if kind.is_dir() || kind.is_file() {
        all.push(path.to_owned());
    }
    Ok(())
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    }
}

fn with_ending(partial: &Path, ending: &str) -> PathBuf {
    let name = partial.file_name().unwrap_or_default().as_encoded_bytes();
    let stem = name.strip_suffix(b"partial").unwrap_or(name);
    let mut name = String::from_utf8_lossy(stem).into_owned();
    name.push_str(ending);
    partial.with_file_name(name)
}

fn refuse(path: &Path, existing: Existing) -> Result<(), StoreError> {
    if existing == Existing::Refuse && is_there(path) {
        return Err(StoreError::Exists {
            path: path.to_owned(),
        });
    }
    Ok(())
}

fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn remove(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    }
}

#[cfg(test)]
mod tests;
