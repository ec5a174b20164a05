//! NumPy `.npy` files.

use crate::StoreError;
use crate::plausible::open_file;
use ndarray::{Array, Array1, Array2, Dimension};
use ndarray_npy::{ReadNpyError, ReadNpyExt};
use std::io::{BufReader, Read};
use std::path::Path;

/// Bytes of a header; those of matrices have 128.
const HEADER: u64 = 1 << 16;

/// Reads a two-dimensional `.npy` file of `float64` or `float32`.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Read`], or [`StoreError::Broken`] for other types and dimensions.
pub fn read_npy(path: &Path) -> Result<Array2<f64>, StoreError> {
    read(path, "2-D")
}

/// The same of one dimension.
///
/// # Errors
/// As [`read_npy`].
pub fn read_npy_list(path: &Path) -> Result<Array1<f64>, StoreError> {
    read(path, "1-D")
}

fn read<D: Dimension>(path: &Path, expected: &str) -> Result<Array<f64, D>, StoreError> {
    let open = || open_file(path).map(BufReader::new);
    check_size(path)?;
    let fail = |e: ReadNpyError| {
        StoreError::broken(
            path,
            "array",
            format!("{e}; expected a {expected} float64 or float32 array"),
        )
    };
    match Array::<f64, D>::read_npy(open()?) {
        Err(ReadNpyError::WrongDescriptor(_)) => {
            let array = Array::<f32, D>::read_npy(open()?).map_err(fail)?;
            Ok(array.mapv(f64::from))
        }
        other => other.map_err(fail),
    }
}

/// Checks that the file is as long as its header says, for which memory will be taken.
fn check_size(path: &Path) -> Result<(), StoreError> {
    let file = open_file(path)?;
    let fail = |e| StoreError::read(path, e);
    let size = file.metadata().map_err(fail)?.len();
    let mut begin = Vec::new();
    file.take(HEADER).read_to_end(&mut begin).map_err(fail)?;
    // Anything else that is wrong with the header is told by whoever reads it.
    let Some((bytes, announced)) = announced(&begin) else {
        return Ok(());
    };
    match announced.is_some_and(|announced| announced <= size) {
        true => Ok(()),
        false => Err(StoreError::broken(
            path,
            "array",
            format!(
                "its header announces more numbers of {bytes} bytes than a file of {size} bytes holds: is it cut off?"
            ),
        )),
    }
}

/// Bytes of a number, and of the whole file (`None` if beyond counting), by the beginning of a file.
fn announced(begin: &[u8]) -> Option<(u64, Option<u64>)> {
    let begin = begin.strip_prefix(b"\x93NUMPY")?;
    let [major, _, rest @ ..] = begin else {
        return None;
    };
    let (length, text, before) = match major {
        1 => {
            let (length, text) = rest.split_first_chunk::<2>()?;
            (u64::from(u16::from_le_bytes(*length)), text, 10)
        }
        _ => {
            let (length, text) = rest.split_first_chunk::<4>()?;
            (u64::from(u32::from_le_bytes(*length)), text, 12)
        }
    };
    let header = &text[..text.len().min(usize::try_from(length).ok()?)];
    let header = String::from_utf8_lossy(header);
    let after = |key: &str| header.split_once(key).map(|(_, rest)| rest);
    let bytes = after("descr").and_then(|rest| rest.split(['\'', '"']).nth(2))?;
    let bytes: u64 = bytes
        .trim_start_matches(['<', '>', '|', '=', 'f'])
        .parse()
        .ok()?;
    let (_, shape) = after("shape")?.split_once('(')?;
    let (shape, _) = shape.split_once(')')?;
    let lens = shape
        .split(',')
        .map(str::trim)
        .filter(|len| !len.is_empty());
    // A number too large for its type is too large for any file.
    let mut lens = lens.map(|len| len.parse::<u64>().ok());
    let all = lens.try_fold(bytes, |n, len| n.checked_mul(len?));
    Some((bytes, all.and_then(|n| n.checked_add(before + length))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_header_that_announces_more_than_there_is_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.npy");
        let write = |shape: &str, n: usize| {
            let mut header =
                format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({shape}), }}");
            while !(10 + header.len() + 1).is_multiple_of(64) {
                header.push(' ');
            }
            header.push('\n');
            let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
            bytes.extend((header.len() as u16).to_le_bytes());
            bytes.extend(header.as_bytes());
            bytes.extend(std::iter::repeat_n(0u8, 8 * n));
            fs::write(&path, bytes).unwrap();
            read_npy(&path)
        };
        assert_eq!(write("2, 3", 6).unwrap().dim(), (2, 3));
        for shape in [
            "2, 4",
            "1000000000000, 3",
            "4611686018427387904, 4611686018427387904",
            "99999999999999999999999, 1",
        ] {
            let error = write(shape, 6).unwrap_err().to_string();
            assert!(error.contains("announces more numbers"), "{shape}: {error}");
        }
        assert!(write("2, 2", 6).is_err());
    }
}
