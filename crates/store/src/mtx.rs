//! Matrix Market files, as 10x programs write them: one line per entry, plain or gzipped.

use crate::StoreError;
use crate::plausible::open_file;
use flate2::read::MultiGzDecoder;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use tangram_core::SparseRows;

/// A file may unpack to this many bytes,
const UNPACKED: u64 = 64 << 20;
/// and a larger file to this many times its size. Lists of barcodes and entries reach a tenth of that.
const UNPACKED_RATIO: u64 = 100;
/// Most bytes of a line.
const LINE: u64 = 1 << 20;
/// Most entries for which memory is reserved before any is read.
const ROOM: usize = 1 << 20;

/// A text file being read line by line, through gzip if its name says so.
pub(crate) struct Text {
    path: PathBuf,
    reader: Box<dyn BufRead>,
    /// Lines read.
    number: usize,
    /// Bytes that may still be unpacked.
    left: u64,
}

impl Text {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        let file = open_file(path)?;
        let size = file
            .metadata()
            .map_err(|e| StoreError::read(path, e))?
            .len();
        let packed = path.extension().is_some_and(|e| e == "gz");
        let reader: Box<dyn BufRead> = match packed {
            true => Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file))),
            false => Box::new(BufReader::with_capacity(1 << 20, file)),
        };
        let most = size.saturating_mul(UNPACKED_RATIO).max(UNPACKED);
        Ok(Self {
            path: path.to_owned(),
            reader,
            number: 0,
            left: if packed { most } else { u64::MAX },
        })
    }

    /// Reads the next line into `line`, without its end; `false` if there is none.
    fn next(&mut self, line: &mut String) -> Result<bool, StoreError> {
        self.number += 1;
        let fail = |reason: String| {
            StoreError::read(&self.path, format!("line {}: {reason}", self.number))
        };
        line.clear();
        let read = (&mut self.reader).take(LINE).read_line(line);
        let read = read.map_err(|e: io::Error| fail(e.to_string()))? as u64;
        if read == LINE {
            return Err(fail(
                "it is longer than a megabyte; is it the right file?".to_owned(),
            ));
        }
        self.left = self.left.checked_sub(read).ok_or_else(|| {
            fail(format!(
                "it unpacks to more than {UNPACKED_RATIO} times its size; is it damaged?"
            ))
        })?;
        while line.ends_with(['\n', '\r']) {
            line.pop();
        }
        Ok(read > 0)
    }
}

/// The first of `names` in a folder, plain or with `.gz`.
pub(crate) fn find_text(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let with_gz = |name: &&str| [folder.join(format!("{name}.gz")), folder.join(name)];
    names.iter().flat_map(with_gz).find(|p| p.exists())
}

/// Lines of a text file.
pub(crate) fn lines(path: &Path) -> Result<Vec<String>, StoreError> {
    let mut text = Text::open(path)?;
    let (mut all, mut line) = (Vec::new(), String::new());
    while text.next(&mut line)? {
        all.push(line.clone());
    }
    Ok(all)
}

/// Reads a matrix stored (columns, rows) into rows: 10x stores (genes, cells).
///
/// * `n_rows`, `n_columns`: of the result; the file must agree
pub(crate) fn read_transposed(
    path: &Path,
    n_rows: usize,
    n_columns: usize,
) -> Result<SparseRows, StoreError> {
    let broken = |reason: String| StoreError::broken(path, "matrix", reason);
    let mut text = Text::open(path)?;
    let mut line = String::new();
    text.next(&mut line)?;
    let header = line.to_ascii_lowercase();
    if !header.starts_with("%%matrixmarket matrix coordinate") || !header.contains("general") {
        return Err(broken(
            "it does not begin with `%%MatrixMarket matrix coordinate … general`".to_owned(),
        ));
    }
    let pattern = header.contains(" pattern");
    while text.next(&mut line)? && line.starts_with('%') {}
    let sizes: Vec<usize> = line
        .split_whitespace()
        .filter_map(|w| w.parse().ok())
        .collect();
    let &[columns, rows, n_entries] = &sizes[..] else {
        return Err(broken(format!(
            "its size line `{}` is not three numbers",
            line.trim()
        )));
    };
    if (rows, columns) != (n_rows, n_columns) {
        return Err(broken(format!(
            "it is {columns} genes by {rows} barcodes, but the lists beside it have {n_columns} and {n_rows}"
        )));
    }
    let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(n_entries.min(ROOM));
    while text.next(&mut line)? {
        if line.trim().is_empty() {
            continue;
        }
        if entries.len() == n_entries {
            return Err(broken(format!(
                "it has more than the {n_entries} entries that its size line announces"
            )));
        }
        let bad = || {
            broken(format!(
                "entry `{}` is not gene, barcode, count within the matrix",
                line.trim()
            ))
        };
        let mut words = line.split_ascii_whitespace();
        let mut index = |limit: usize| {
            words
                .next()?
                .parse::<usize>()
                .ok()?
                .checked_sub(1)
                .filter(|&i| i < limit)
        };
        let column = index(columns).ok_or_else(bad)?;
        let row = index(rows).ok_or_else(bad)?;
        let value = if pattern {
            Some(1.0)
        } else {
            words.next().and_then(|w| w.parse().ok())
        };
        entries.push((row as u32, column as u32, value.ok_or_else(bad)?));
    }
    if entries.len() != n_entries {
        return Err(broken(format!(
            "it ends after {} of {n_entries} entries: is it cut off?",
            entries.len()
        )));
    }
    // Usually sorted already; then this is one pass.
    entries.sort_by_key(|&(row, column, _)| (row, column));
    let mut out = SparseRows::empty(n_columns);
    let mut at = 0;
    for row in 0..n_rows as u32 {
        let end = at + entries[at..].partition_point(|e| e.0 == row);
        if entries[at..end]
            .windows(2)
            .any(|pair| pair[0].1 == pair[1].1)
        {
            return Err(broken(format!("barcode {} has a gene twice", row + 1)));
        }
        out.push_row(
            entries[at..end]
                .iter()
                .map(|&(_, column, value)| (column, value)),
        );
        at = end;
    }
    Ok(out)
}
