//! Label images in PNG: 8 or 16 bits of gray.

use super::{Header, VisitRow, labels, write_row};
use crate::StoreError;
use crate::plausible::open_file;
use png::{BitDepth, ColorType, Decoder, Limits, Reader, Transformations};
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Memory that the decoder may take beside its rows.
const LIMIT: usize = 1 << 30;

pub(super) fn header(path: &Path) -> Result<Header, StoreError> {
    let reader = reader(path)?;
    let info = reader.info();
    let bytes = match (info.color_type, info.bit_depth) {
        (ColorType::Grayscale, BitDepth::Eight) => 1,
        (ColorType::Grayscale, BitDepth::Sixteen) => 2,
        (color, depth) => {
            return Err(labels(
                path,
                format!(
                    "its pixels are {color:?} of {} bits; a label image has one number a pixel: gray values of 8 or 16 bits",
                    depth as u8
                ),
            ));
        }
    };
    if info.interlaced {
        return Err(labels(path, "is interlaced; save it without interlacing"));
    }
    Ok(Header {
        width: info.width as usize,
        height: info.height as usize,
        n_images: 1,
        bytes,
    })
}

/// Width and height of an image of any colours.
pub(super) fn size(path: &Path) -> Option<[usize; 2]> {
    let reader = reader(path).ok()?;
    let info = reader.info();
    Some([info.width as usize, info.height as usize])
}

pub(super) fn rows(path: &Path, header: &Header, visit: VisitRow<'_>) -> Result<(), StoreError> {
    let mut reader = reader(path)?;
    let mut row = vec![0; header.width];
    for y in 0..header.height {
        let read = reader.next_row().map_err(|e| broken(path, &e))?;
        let Some(read) = read else {
            return Err(broken(path, &format!("ends after {y} rows")));
        };
        match header.bytes {
            1 => write_row(path, read.data().iter().copied(), (y, 0), &mut row)?,
            _ => {
                let pairs = read.data().chunks_exact(2);
                let values = pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
                write_row(path, values, (y, 0), &mut row)?;
            }
        }
        visit(y, &row);
    }
    // The rows may be whole although the file is cut off behind them.
    reader.finish().map_err(|e| broken(path, &e))
}

fn reader(path: &Path) -> Result<Reader<BufReader<File>>, StoreError> {
    let limits = Limits { bytes: LIMIT };
    let mut decoder = Decoder::new_with_limits(BufReader::new(open_file(path)?), limits);
    decoder.set_transformations(Transformations::IDENTITY);
    decoder.read_info().map_err(|e| broken(path, &e))
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    labels(
        path,
        format!("cannot be read as PNG ({error}); is it cut off?"),
    )
}
