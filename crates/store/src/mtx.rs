//! Matrix Market files, as 10x programs write them: one line per entry, plain or gzipped.

use crate::StoreError;
use flate2::read::MultiGzDecoder;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use tangram_core::SparseRows;

/// Opens a text file, through gzip if its name says so.
pub(crate) fn open_text(path: &Path) -> Result<Box<dyn BufRead>, StoreError> {
    let file = File::open(path).map_err(|e| StoreError::read(path, e))?;
    Ok(match path.extension().is_some_and(|e| e == "gz") {
        true => Box::new(BufReader::with_capacity(1 << 20, MultiGzDecoder::new(file))),
        false => Box::new(BufReader::with_capacity(1 << 20, file)),
    })
}

/// The first of `names` in a folder, plain or with `.gz`.
pub(crate) fn find_text(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let with_gz = |name: &&str| [folder.join(format!("{name}.gz")), folder.join(name)];
    names.iter().flat_map(with_gz).find(|p| p.is_file())
}

/// Lines of a text file.
pub(crate) fn lines(path: &Path) -> Result<Vec<String>, StoreError> {
    let lines = open_text(path)?.lines().collect::<Result<Vec<_>, _>>();
    lines.map_err(|e| StoreError::read(path, e))
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
    let mut text = open_text(path)?;
    let mut line = String::new();
    let mut number = 0usize;
    let mut next = |line: &mut String| -> Result<bool, StoreError> {
        line.clear();
        number += 1;
        let read = text
            .read_line(line)
            .map_err(|e| StoreError::read(path, format!("line {number}: {e}")))?;
        Ok(read > 0)
    };
    next(&mut line)?;
    let header = line.to_ascii_lowercase();
    if !header.starts_with("%%matrixmarket matrix coordinate") || !header.contains("general") {
        return Err(broken(
            "it does not begin with `%%MatrixMarket matrix coordinate … general`".to_owned(),
        ));
    }
    let pattern = header.contains(" pattern");
    while next(&mut line)? && line.starts_with('%') {}
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
    let mut entries: Vec<(u32, u32, f32)> = Vec::with_capacity(n_entries);
    while next(&mut line)? {
        if line.trim().is_empty() {
            continue;
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
    // Already in this order as a rule, and then this is one pass.
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
