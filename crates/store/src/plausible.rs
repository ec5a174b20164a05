//! What a file claims, checked before memory or time is spent on it: a damaged file may claim any size, and what lies at a path may be a
//! pipe or a device.

use crate::StoreError;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// Bytes of memory that any array may take, however little of it is stored: constant columns compress without limit.
const SMALL: u64 = 128 << 20;
/// Largest ratio of an array's bytes to those stored of it: deflate compresses to one in 1,032 at best.
const RATIO: u64 = 1_040;
/// Bytes of a text that is read whole.
const TEXT: u64 = 256 << 20;

/// Number of elements of an array, or of a part of it, if that many can be in the file.
///
/// * `lens`: along each dimension
/// * `element`: bytes of an element in memory
/// * `stored`: bytes that the file holds of the whole array; asked only of a large one
///
/// # Errors
/// [`StoreError::Broken`].
pub(crate) fn n_elements(
    path: &Path,
    at: &str,
    lens: &[usize],
    element: usize,
    stored: impl FnOnce() -> u64,
) -> Result<usize, StoreError> {
    let count = lens.iter().try_fold(1usize, |n, &len| n.checked_mul(len));
    let bytes = count.and_then(|n| (n as u64).checked_mul(element as u64));
    let implausible = |stored: u64| {
        let sizes: Vec<String> = lens.iter().map(ToString::to_string).collect();
        let reason = format!(
            "it claims {} elements of {element} bytes, of which the file holds {stored} bytes; the file is damaged: copy it or make it again",
            sizes.join(" × "),
        );
        StoreError::broken(path, at, reason)
    };
    match (count, bytes) {
        (Some(count), Some(bytes)) if bytes <= SMALL => Ok(count),
        (count, bytes) => {
            let stored = stored();
            match (count, bytes) {
                (Some(count), Some(bytes)) if bytes / RATIO <= stored => Ok(count),
                _ => Err(implausible(stored)),
            }
        }
    }
}

/// Opens a file for reading if it is one: reading a pipe waits for ever, and reading a device may never end.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::NotAFile`], [`StoreError::Read`] and those of links that lead nowhere.
pub fn open_file(path: &Path) -> Result<File, StoreError> {
    is_file(path)?;
    File::open(path).map_err(|e| StoreError::read(path, e))
}

/// Checks that a path leads to something, and says of a link that it does not.
pub(crate) fn exists(path: &Path) -> Result<fs::Metadata, StoreError> {
    let missing = || StoreError::Missing {
        path: path.to_owned(),
    };
    fs::metadata(path).map_err(|e| match e.raw_os_error() {
        Some(libc::ELOOP) => StoreError::Endless {
            path: path.to_owned(),
            reason: "it is a link that leads back to itself".to_owned(),
        },
        Some(libc::ENOENT) => match fs::read_link(path) {
            Ok(target) => StoreError::Dangling {
                path: path.to_owned(),
                target,
            },
            Err(_) => missing(),
        },
        Some(libc::ENOTDIR) => missing(),
        _ => StoreError::read(path, e),
    })
}

/// Checks that a path leads to a file.
pub(crate) fn is_file(path: &Path) -> Result<(), StoreError> {
    let meta = exists(path)?;
    match meta.is_file() {
        true => Ok(()),
        false => Err(StoreError::NotAFile {
            path: path.to_owned(),
            found: what(meta.file_type()),
        }),
    }
}

/// In words, what is at a path instead of a file.
pub(crate) fn what(found: fs::FileType) -> &'static str {
    if found.is_dir() {
        "a folder"
    } else if found.is_fifo() {
        "a pipe"
    } else if found.is_char_device() || found.is_block_device() {
        "a device"
    } else if found.is_socket() {
        "a socket"
    } else {
        "something else"
    }
}

/// The text of a small file, without a byte order mark: settings, a list of names, metadata. Also of a pipe that the shell made (`<(command)`).
///
/// # Errors
/// If it is no file, longer than 256 MB, not UTF-8, or cannot be read.
pub fn read_text(path: &Path) -> io::Result<String> {
    let of_shell = ["/dev/fd", "/dev/stdin", "/proc/self/fd"];
    let found = fs::metadata(path)?.file_type();
    let pipe_of_shell = found.is_fifo() && of_shell.iter().any(|place| path.starts_with(place));
    if !found.is_file() && !pipe_of_shell {
        return Err(io::Error::other(format!(
            "it is {}, not a file",
            what(found)
        )));
    }
    let mut text = String::new();
    File::open(path)?.take(TEXT + 1).read_to_string(&mut text)?;
    match text.len() as u64 > TEXT {
        true => Err(io::Error::other(format!(
            "it is longer than {} MB; is it the right file?",
            TEXT >> 20
        ))),
        // Windows programs begin a text with a byte order mark, which is no part of what it says.
        false if text.starts_with('\u{feff}') => Ok(text.split_off('\u{feff}'.len_utf8())),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_cannot_hold_is_refused_before_it_is_asked_for() {
        let check = |lens: &[usize], element, stored: u64| {
            n_elements(Path::new("f"), "X", lens, element, || stored)
        };
        assert_eq!(check(&[1_000, 1_000], 8, 0).unwrap(), 1_000_000);
        // Constant numbers of a large matrix, well compressed.
        assert!(check(&[1 << 20, 2_000], 4, 10 << 20).is_ok());
        assert!(check(&[1 << 20, 2_000], 4, 1 << 20).is_err());
        assert!(check(&[usize::MAX, 2], 1, u64::MAX).is_err());
        let error = check(&[usize::MAX], 16, 64).unwrap_err().to_string();
        assert!(
            error.contains("f: X: it claims 18446744073709551615 elements")
                && error.contains("make it again"),
            "{error}"
        );
    }
}
