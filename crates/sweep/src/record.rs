//! Records: small files of JSON that appear whole, each made by one process and changed by it alone.
//!
//! The last field of a record is the SHA-256 of what stands before it: a record that was edited is noticed.

use crate::{SweepError, Who};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tangram_store::{fingerprint_names, read_text};

/// Makes a record; `false` if another process has made it.
///
/// # Errors
/// [`SweepError::Write`].
pub(crate) fn create(path: &Path, record: &impl Serialize, who: &Who) -> Result<bool, SweepError> {
    let aside = write_aside(path, record, who)?;
    // A link is made by one process only.
    let made = fs::hard_link(&aside, path);
    let removed = fs::remove_file(&aside);
    match made {
        Ok(()) => removed
            .map(|()| true)
            .map_err(|e| SweepError::write(&aside, &e)),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(SweepError::write(path, &error)),
    }
}

/// Changes a record that this process has made.
///
/// # Errors
/// [`SweepError::Write`]; the record is what it was.
pub(crate) fn replace(path: &Path, record: &impl Serialize, who: &Who) -> Result<(), SweepError> {
    let aside = write_aside(path, record, who)?;
    fs::rename(&aside, path).map_err(|e| SweepError::write(path, &e))
}

/// Why a record cannot be read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// It is not there, or the system does not give it.
    System(std::io::Error),
    /// It is not what was written, in words.
    Broken(String),
}

/// Reads a record, if it is what was written.
///
/// # Errors
/// [`Unread`].
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Unread> {
    let text = read_text(path).map_err(Unread::System)?;
    let broken = |reason: &str| Unread::Broken(reason.to_owned());
    let Some((content, seal)) = text.rsplit_once(SEAL) else {
        // Torn, or without a seal.
        serde_json::from_str::<serde_json::Value>(&text)
            .map_err(|e| Unread::Broken(e.to_string()))?;
        return Err(broken("it has no sha256: was it changed by hand?"));
    };
    if seal.trim_end() != format!("{}\"\n}}", digest(content)) {
        return Err(broken("it was changed after it was written"));
    }
    serde_json::from_str(&format!("{content}\n}}")).map_err(|e| Unread::Broken(e.to_string()))
}

/// What stands before the SHA-256 of a record.
const SEAL: &str = ",\n  \"sha256\": \"";

fn digest(content: &str) -> String {
    fingerprint_names(&[content.to_owned()])
}

/// The text of a record.
fn sealed(record: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(record).expect("a record is plain data");
    let content = text.strip_suffix("\n}").expect("a record has fields");
    format!("{content}{SEAL}{}\"\n}}\n", digest(content))
}

fn write_aside(path: &Path, record: &impl Serialize, who: &Who) -> Result<PathBuf, SweepError> {
    // Threads write at once, too.
    static TURN: AtomicUsize = AtomicUsize::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(
        ".{name}.{}.{}.{turn}.partial",
        who.process.host, who.process.pid
    ));
    let text = sealed(record);
    let write = || {
        let mut file = fs::File::create(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        // What could not be written whole is of no use; if it cannot be removed either, its name says so.
        let _ = fs::remove_file(&aside);
        SweepError::write(&aside, &e)
    })?;
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Told {
        loss: f64,
        names: Vec<String>,
    }

    #[test]
    fn a_record_that_was_edited_is_no_record_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        let told = Told {
            loss: 0.1 + 0.2,
            names: vec![SEAL.to_owned(), "}".to_owned()],
        };
        assert!(create(&path, &told, &Who::here()).unwrap());
        assert!(!create(&path, &told, &Who::here()).unwrap());
        assert_eq!(read::<Told>(&path).unwrap(), told);
        let whole = fs::read_to_string(&path).unwrap();
        let changes = [
            whole.replace("0.3", "0.4"),
            whole[..whole.len() - 5].to_owned(),
            whole.rsplit_once(SEAL).unwrap().0.to_owned() + "\n}",
            String::new(),
        ];
        for changed in changes.iter().filter(|changed| **changed != whole) {
            fs::write(&path, changed).unwrap();
            let unread = read::<Told>(&path).unwrap_err();
            assert!(matches!(unread, Unread::Broken(_)), "{changed}: {unread:?}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(
            read::<Told>(&path).unwrap_err(),
            Unread::System(_)
        ));
    }
}
