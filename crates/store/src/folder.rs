//! The files of a folder and of those in it, links followed.

use crate::StoreError;
use crate::plausible::what;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Most levels of nested folders; no store is as deep.
const DEPTH: usize = 100;
/// Most files and folders of a store: links may multiply them.
const MOST: usize = 50_000_000;

/// All files below a folder, links followed, sorted by path.
///
/// # Errors
/// [`StoreError::Endless`] if a link leads back to a folder that it is in; [`StoreError::NotAFile`] of pipes and devices;
/// [`StoreError::Read`].
pub fn files_of(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut walk = Walk {
        files: Vec::new(),
        above: Vec::new(),
        n_seen: 0,
    };
    walk.enter(folder)?;
    walk.files.sort_unstable();
    Ok(walk.files)
}

struct Walk {
    files: Vec<PathBuf>,
    /// Device and number of the folders from the outermost to this one.
    above: Vec<(u64, u64)>,
    n_seen: usize,
}

impl Walk {
    fn enter(&mut self, folder: &Path) -> Result<(), StoreError> {
        let fail = |e| StoreError::read(folder, e);
        let endless = |reason: String| StoreError::Endless {
            path: folder.to_owned(),
            reason,
        };
        let meta = fs::metadata(folder).map_err(fail)?;
        let own = (meta.dev(), meta.ino());
        if self.above.contains(&own) {
            return Err(endless(
                "it leads back to a folder that it is in".to_owned(),
            ));
        }
        if self.above.len() >= DEPTH {
            return Err(endless(format!("it is {DEPTH} folders deep")));
        }
        self.above.push(own);
        for entry in fs::read_dir(folder).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let path = entry.path();
            self.n_seen += 1;
            if self.n_seen > MOST {
                return Err(endless(format!("more than {MOST} files are in it")));
            }
            let mut found = entry.file_type().map_err(fail)?;
            if found.is_symlink() {
                let target = fs::metadata(&path).map_err(|e| StoreError::read(&path, e))?;
                found = target.file_type();
            }
            if found.is_dir() {
                self.enter(&path)?;
            } else if found.is_file() {
                self.files.push(path);
            } else {
                let found = what(found);
                return Err(StoreError::NotAFile { path, found });
            }
        }
        self.above.pop();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_but_not_in_a_circle() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        fs::create_dir_all(place("store/a/b")).unwrap();
        fs::write(place("store/a/b/1"), "1").unwrap();
        symlink(place("store/a"), place("store/c")).unwrap();
        let names = |files: Vec<PathBuf>| files.len();
        assert_eq!(names(files_of(&place("store")).unwrap()), 2);
        for (link, target) in [("store/a/b/up", "store"), ("store/a/b/self", "store/a/b")] {
            symlink(place(target), place(link)).unwrap();
            let error = files_of(&place("store")).unwrap_err();
            assert!(matches!(error, StoreError::Endless { .. }), "{error}");
            fs::remove_file(place(link)).unwrap();
        }
        symlink("/dev/zero", place("store/a/zero")).unwrap();
        let error = files_of(&place("store")).unwrap_err();
        assert!(error.to_string().contains("/zero: is a device"), "{error}");
    }
}
