//! Label images as two-dimensional NumPy arrays: rows of pixels.

use super::{Header, Label, VisitRow, labels, write_row};
use crate::StoreError;
use crate::plausible::open_file;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// Bytes of a header that are read; those of matrices have 128.
const LONGEST: u64 = 1 << 16;

/// What a header says beyond the size.
struct Layout {
    header: Header,
    /// Kind and bytes, such as `u2`.
    kind: String,
    big_endian: bool,
    /// Where the numbers begin.
    begin: u64,
}

pub(super) fn header(path: &Path) -> Result<Header, StoreError> {
    let layout = layout(path)?;
    let Header { width, height, .. } = layout.header;
    let announced = (width as u64)
        .checked_mul(height as u64)
        .and_then(|n| n.checked_mul(layout.header.bytes as u64))
        .and_then(|n| n.checked_add(layout.begin));
    let size = path.metadata().map_or(0, |meta| meta.len());
    match announced.is_some_and(|announced| announced <= size) {
        true => Ok(layout.header),
        false => Err(labels(
            path,
            format!(
                "announces {width} × {height} pixels, more than its {size} bytes hold: is it cut off?"
            ),
        )),
    }
}

fn layout(path: &Path) -> Result<Layout, StoreError> {
    let mut bytes = Vec::new();
    let read = open_file(path)?.take(LONGEST).read_to_end(&mut bytes);
    read.map_err(|e| StoreError::read(path, e))?;
    let damaged = || labels(path, "has a header that no NumPy array has: is it cut off?");
    let (begin, length): (usize, usize) = match bytes.get(6) {
        Some(1) => {
            let length: [u8; 2] = bytes
                .get(8..10)
                .and_then(|b| b.try_into().ok())
                .ok_or_else(damaged)?;
            (10, usize::from(u16::from_le_bytes(length)))
        }
        Some(2 | 3) => {
            let length: [u8; 4] = bytes
                .get(8..12)
                .and_then(|b| b.try_into().ok())
                .ok_or_else(damaged)?;
            (12, u32::from_le_bytes(length) as usize)
        }
        _ => return Err(damaged()),
    };
    let text = bytes
        .get(begin..begin.saturating_add(length))
        .ok_or_else(damaged)?;
    let text = String::from_utf8_lossy(text);
    let after = |key: &str| text.split_once(key).map(|(_, rest)| rest);
    let descr = after("descr").and_then(|rest| rest.split(['\'', '"']).nth(2));
    let descr = descr.ok_or_else(damaged)?;
    let kind = descr.trim_start_matches(['<', '>', '|', '=']);
    let sizes = [
        "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f4", "f8", "b1",
    ];
    if !sizes.contains(&kind) {
        return Err(labels(
            path,
            format!(
                "holds numbers of type `{descr}`; labels are whole numbers, such as uint16 or int32"
            ),
        ));
    }
    let by_column = after("fortran_order").is_some_and(|rest| {
        let rest = rest.trim_start_matches(['\'', '"', ':', ' ']);
        rest.starts_with("True")
    });
    if by_column {
        return Err(labels(
            path,
            "stores its columns one after the other; save it by rows, in Python: numpy.save(path, numpy.ascontiguousarray(labels))",
        ));
    }
    let shape = after("shape").and_then(|rest| rest.split_once('('));
    let shape = shape.and_then(|(_, rest)| rest.split_once(')'));
    let (shape, _) = shape.ok_or_else(damaged)?;
    let sizes: Option<Vec<usize>> = shape
        .split(',')
        .map(str::trim)
        .filter(|size| !size.is_empty())
        .map(|size| size.parse().ok())
        .collect();
    let sizes = sizes.ok_or_else(damaged)?;
    let [height, width] = sizes[..] else {
        return Err(labels(
            path,
            format!("is an array of shape ({shape}); a label image has rows and columns of pixels"),
        ));
    };
    Ok(Layout {
        header: Header {
            width,
            height,
            n_images: 1,
            bytes: usize::from(kind.as_bytes()[1] - b'0'),
        },
        kind: kind.to_owned(),
        big_endian: descr.starts_with('>'),
        begin: (begin + length) as u64,
    })
}

pub(super) fn rows(path: &Path, header: &Header, visit: VisitRow<'_>) -> Result<(), StoreError> {
    let layout = layout(path)?;
    let mut file = BufReader::new(open_file(path)?);
    file.seek(SeekFrom::Start(layout.begin))
        .map_err(|e| StoreError::read(path, e))?;
    let mut bytes = vec![0; header.width * header.bytes];
    let mut row = vec![0; header.width];
    for y in 0..header.height {
        file.read_exact(&mut bytes)
            .map_err(|e| StoreError::read(path, e))?;
        let big = layout.big_endian;
        match layout.kind.as_str() {
            "u1" | "b1" => write_row(path, bytes.iter().copied(), (y, 0), &mut row)?,
            "i1" => {
                let values = bytes.iter().map(|b| i8::from_ne_bytes([*b]));
                write_row(path, values, (y, 0), &mut row)?;
            }
            "u2" => of(path, &bytes, big, y, &mut row, u16::from_le_bytes)?,
            "u4" => of(path, &bytes, big, y, &mut row, u32::from_le_bytes)?,
            "u8" => of(path, &bytes, big, y, &mut row, u64::from_le_bytes)?,
            "i2" => of(path, &bytes, big, y, &mut row, i16::from_le_bytes)?,
            "i4" => of(path, &bytes, big, y, &mut row, i32::from_le_bytes)?,
            "i8" => of(path, &bytes, big, y, &mut row, i64::from_le_bytes)?,
            "f4" => of(path, &bytes, big, y, &mut row, f32::from_le_bytes)?,
            _ => of(path, &bytes, big, y, &mut row, f64::from_le_bytes)?,
        }
        visit(y, &row);
    }
    Ok(())
}

/// Writes a row of numbers of N bytes as labels.
fn of<T: Label, const N: usize>(
    path: &Path,
    bytes: &[u8],
    big_endian: bool,
    y: usize,
    row: &mut [u32],
    value: impl Fn([u8; N]) -> T,
) -> Result<(), StoreError> {
    let (numbers, _) = bytes.as_chunks::<N>();
    let values = numbers.iter().map(|number| {
        let mut number = *number;
        if big_endian {
            number.reverse();
        }
        value(number)
    });
    write_row(path, values, (y, 0), row)
}
