//! VisuAlign's label maps.

use crate::AtlasError;
use crate::error::read;
use std::path::Path;

/// A label map of VisuAlign (`.flat`).
#[derive(Debug, Clone, PartialEq)]
pub struct FlatMap {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Index into the label table of every pixel, row after row; 0 is outside.
    pub indices: Vec<u32>,
}

impl FlatMap {
    /// Reads a label map: bytes per pixel, width, height (big-endian), indices (big-endian).
    ///
    /// # Errors
    /// [`AtlasError::File`] if it is none.
    pub fn read(path: &Path) -> Result<Self, AtlasError> {
        Self::parse(&read(path)?).map_err(|reason| AtlasError::file(path, reason))
    }

    /// Reads the bytes of a label map.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let Some((header, body)) = bytes.split_at_checked(9) else {
            return Err("not a label map: too short".to_owned());
        };
        let per_pixel = usize::from(header[0]);
        let number = |at: usize| {
            let bytes = header[at..at + 4].try_into().expect("four bytes");
            usize::try_from(i32::from_be_bytes(bytes)).ok()
        };
        let (Some(width), Some(height)) = (number(1), number(5)) else {
            return Err("not a label map: a negative size".to_owned());
        };
        let due = width
            .checked_mul(height)
            .and_then(|n| n.checked_mul(per_pixel));
        if !matches!(per_pixel, 1 | 2 | 4) || due != Some(body.len()) {
            return Err(format!(
                "not a label map: {} bytes for {width} × {height} pixels of {per_pixel}",
                body.len()
            ));
        }
        let index = |bytes: &[u8]| bytes.iter().fold(0, |n, &b| n << 8 | u32::from(b));
        Ok(Self {
            width,
            height,
            indices: body.chunks_exact(per_pixel).map(index).collect(),
        })
    }

    /// The bytes of the file.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let most = self.indices.iter().max().copied().unwrap_or(0);
        let per_pixel: usize = match most {
            0..=0xff => 1,
            0x100..=0xffff => 2,
            _ => 4,
        };
        let mut bytes = vec![per_pixel as u8];
        bytes.extend((self.width as i32).to_be_bytes());
        bytes.extend((self.height as i32).to_be_bytes());
        let indices = self.indices.iter();
        bytes.extend(indices.flat_map(|i| i.to_be_bytes().into_iter().skip(4 - per_pixel)));
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_maps_come_back() {
        for indices in [
            vec![0, 1, 255, 7, 9, 2],
            vec![0, 1, 1296, 7, 9, 2],
            vec![70_000; 6],
        ] {
            let map = FlatMap {
                width: 3,
                height: 2,
                indices,
            };
            let bytes = map.to_bytes();
            assert_eq!(FlatMap::parse(&bytes).unwrap(), map);
            assert!(FlatMap::parse(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(FlatMap::parse(&[1, 0]).is_err());
    }
}
