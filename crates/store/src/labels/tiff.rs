//! Label images in TIFF and OME-TIFF: one channel of 8, 16, 32 or 64 bits, in strips or tiles.

use super::{Header, Label, VisitRow, labels, write_row};
use crate::StoreError;
use crate::plausible::open_file;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use tiff::ColorType;
use tiff::decoder::{Decoder, DecodingResult, Limits};

/// Memory of a decoded strip or tile.
const LIMIT: usize = 4 << 30;
/// Most images of a file that are counted.
const MOST_IMAGES: usize = 10_000;

pub(super) fn header(path: &Path) -> Result<Header, StoreError> {
    let mut decoder = decoder(path)?;
    let fail = |e| broken(path, &e);
    let (width, height) = decoder.dimensions().map_err(fail)?;
    let bits = match decoder.colortype().map_err(fail)? {
        ColorType::Gray(bits @ (8 | 16 | 32 | 64)) => bits,
        color => {
            return Err(labels(
                path,
                format!(
                    "its pixels are {color:?}; a label image has one number a pixel, of 8, 16 or 32 bits"
                ),
            ));
        }
    };
    let mut n_images = 1;
    while decoder.more_images() && n_images < MOST_IMAGES {
        match decoder.next_image() {
            Ok(()) => n_images += 1,
            // A later image of a kind that the decoder does not know is an image, too.
            Err(_) => {
                n_images += 1;
                break;
            }
        }
    }
    Ok(Header {
        width: width as usize,
        height: height as usize,
        n_images,
        bytes: usize::from(bits / 8),
    })
}

pub(super) fn rows(path: &Path, header: &Header, visit: VisitRow<'_>) -> Result<(), StoreError> {
    let mut decoder = decoder(path)?;
    let (across, down) = decoder.chunk_dimensions();
    let (across, down) = (across as usize, down as usize);
    if across == 0 || down == 0 {
        return Err(broken(path, &"its tiles have no size"));
    }
    let n_across = header.width.div_ceil(across);
    let mut row = vec![0; header.width];
    for (at, top) in (0..header.height).step_by(down).enumerate() {
        let n_rows = down.min(header.height - top);
        let mut chunks = Vec::with_capacity(n_across);
        for column in 0..n_across {
            let index = u32::try_from(at * n_across + column)
                .map_err(|_| broken(path, &"it has too many tiles"))?;
            chunks.push(decoder.read_chunk(index).map_err(|e| broken(path, &e))?);
        }
        for y in 0..n_rows {
            for (chunk, left) in chunks.iter().zip((0..header.width).step_by(across)) {
                let width = across.min(header.width - left);
                let into = &mut row[left..left + width];
                fill(path, chunk, y, (top + y, left), into)?;
            }
            visit(top + y, &row);
        }
    }
    Ok(())
}

/// Writes a row of a strip or tile as labels.
///
/// * `at`: row and column of the image where it begins
fn fill(
    path: &Path,
    chunk: &DecodingResult,
    row: usize,
    at: (usize, usize),
    into: &mut [u32],
) -> Result<(), StoreError> {
    fn of<T: Label>(
        path: &Path,
        values: &[T],
        row: usize,
        at: (usize, usize),
        into: &mut [u32],
    ) -> Result<(), StoreError> {
        let own = row * into.len()..(row + 1) * into.len();
        let values = values
            .get(own)
            .ok_or_else(|| broken(path, &"a tile has fewer pixels than it should"))?;
        write_row(path, values.iter().copied(), at, into)
    }
    match chunk {
        DecodingResult::U8(values) => of(path, values, row, at, into),
        DecodingResult::U16(values) => of(path, values, row, at, into),
        DecodingResult::U32(values) => of(path, values, row, at, into),
        DecodingResult::U64(values) => of(path, values, row, at, into),
        DecodingResult::I8(values) => of(path, values, row, at, into),
        DecodingResult::I16(values) => of(path, values, row, at, into),
        DecodingResult::I32(values) => of(path, values, row, at, into),
        DecodingResult::I64(values) => of(path, values, row, at, into),
        DecodingResult::F32(values) => of(path, values, row, at, into),
        DecodingResult::F64(values) => of(path, values, row, at, into),
        DecodingResult::F16(_) => Err(labels(
            path,
            "its pixels are numbers of 16 bits with fractions; labels are whole numbers",
        )),
    }
}

fn decoder(path: &Path) -> Result<Decoder<BufReader<File>>, StoreError> {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = LIMIT;
    limits.intermediate_buffer_size = LIMIT;
    // Of the offsets of strips and tiles.
    limits.ifd_value_size = LIMIT >> 4;
    let decoder = Decoder::new(BufReader::new(open_file(path)?)).map_err(|e| broken(path, &e))?;
    Ok(decoder.with_limits(limits))
}

fn broken(path: &Path, error: &dyn std::fmt::Display) -> StoreError {
    labels(
        path,
        format!(
            "cannot be read as TIFF ({error}); is it cut off, or of a rare kind? Save it again as plain or deflated TIFF"
        ),
    )
}
