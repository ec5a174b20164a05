//! Writer of NIfTI-1 images.
//!
//! Only a header of fixed offsets and the values are needed, which is less than the library for NIfTI would bring along.

use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::{self, Write};

/// Bytes of the header, and of the (empty) list of extensions after it.
const HEADER: usize = 348;
const EXTENSIONS: usize = 4;
/// Codes of the standard: labels, 32-bit whole numbers without sign, millimetres.
const LABELS: i16 = 1002;
const U32: i16 = 768;
const MILLIMETRES: u8 = 2;

/// A label image of one slice, gzip-compressed; `None` if an edge has more than 32,767 pixels, which NIfTI-1 cannot hold.
///
/// No orientation is given: the first axis are columns, the second rows, from the upper left corner.
///
/// * `ids`: row after row
///
/// # Errors
/// That of the compressor.
pub fn encode_nifti(
    [width, height]: [usize; 2],
    pixel_um: f64,
    ids: &[u32],
) -> io::Result<Option<Vec<u8>>> {
    let (Ok(width), Ok(height)) = (i16::try_from(width), i16::try_from(height)) else {
        return Ok(None);
    };
    let mut header = [0_u8; HEADER + EXTENSIONS];
    let mut put = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &(HEADER as i32).to_le_bytes());
    for (i, n) in [3, width, height, 1, 1, 1, 1, 1].into_iter().enumerate() {
        put(40 + 2 * i, &n.to_le_bytes());
    }
    put(68, &LABELS.to_le_bytes());
    put(70, &U32.to_le_bytes());
    put(72, &32_i16.to_le_bytes());
    let edge = (pixel_um / 1000.0) as f32;
    for (i, length) in [1.0, edge, edge, edge].into_iter().enumerate() {
        put(76 + 4 * i, &length.to_le_bytes());
    }
    put(108, &((HEADER + EXTENSIONS) as f32).to_le_bytes());
    put(123, &[MILLIMETRES]);
    put(344, b"n+1\0");
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&header)?;
    let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
    gzip.write_all(&bytes)?;
    gzip.finish().map(Some)
}
