//! Segmentations as label images: every pixel holds the number of its cell, 0 outside of all cells. PNG, TIFF, OME-TIFF and NumPy arrays.
//!
//! Images are read some rows at a time and never held, but for the strips or tiles that a file is made of.

mod npy;
mod png;
mod tiff;

use crate::StoreError;
use crate::plausible::{n_elements, open_file};
use std::io::Read;
use std::path::{Path, PathBuf};

/// A label image, whose size is known.
#[derive(Debug)]
pub struct LabelImage {
    path: PathBuf,
    format: Format,
    header: Header,
}

/// What a file says of the image in it.
#[derive(Debug, Clone, Copy)]
struct Header {
    width: usize,
    height: usize,
    /// Images in the file; the first is read.
    n_images: usize,
    /// Bytes of a pixel in the file.
    bytes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Png,
    Tiff,
    Npy,
}

/// Visits the rows from the top down: the index of a row and its labels.
type VisitRow<'a> = &'a mut dyn FnMut(usize, &[u32]);

impl LabelImage {
    /// Whether a file begins as an image that could be one.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn is_one(path: &Path) -> Result<bool, StoreError> {
        Ok(format_of(path)?.is_some())
    }

    /// Reads what a file says of its size, and checks that its pixels can be labels.
    ///
    /// # Errors
    /// [`StoreError::Labels`] for other images: colours, palettes, several channels; if it cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let Some(format) = format_of(path)? else {
            return Err(labels(
                path,
                "is no PNG, TIFF, OME-TIFF or NumPy array (.npy) of labels",
            ));
        };
        let header = match format {
            Format::Png => png::header(path),
            Format::Tiff => tiff::header(path),
            Format::Npy => npy::header(path),
        }?;
        let Header {
            width,
            height,
            bytes,
            ..
        } = header;
        if width == 0 || height == 0 {
            return Err(labels(path, "has no pixels"));
        }
        let stored = || path.metadata().map_or(0, |meta| meta.len());
        n_elements(path, "the image", &[height, width], bytes, stored)?;
        Ok(Self {
            path: path.to_owned(),
            format,
            header,
        })
    }

    /// Width and height of a PNG of any colours, if it is one.
    #[must_use]
    pub fn size_of(path: &Path) -> Option<[usize; 2]> {
        match format_of(path) {
            Ok(Some(Format::Png)) => png::size(path),
            _ => None,
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.header.width, self.header.height]
    }

    /// Number of images in the file. Only the first is read; a TIFF may have several.
    #[must_use]
    pub fn n_images(&self) -> usize {
        self.header.n_images
    }

    /// Visits the rows from the top down: the index of a row and the labels of its pixels.
    ///
    /// # Errors
    /// [`StoreError::Labels`] at a pixel that is no label; if the file is damaged.
    pub fn for_each_row(&self, visit: &mut dyn FnMut(usize, &[u32])) -> Result<(), StoreError> {
        match self.format {
            Format::Png => png::rows(&self.path, &self.header, visit),
            Format::Tiff => tiff::rows(&self.path, &self.header, visit),
            Format::Npy => npy::rows(&self.path, &self.header, visit),
        }
    }

    /// The labels at some places, given as column and row of pixels; 0 outside of the image.
    ///
    /// # Errors
    /// As [`for_each_row`](Self::for_each_row).
    pub fn labels_at(&self, places: &[[f64; 2]]) -> Result<Vec<u32>, StoreError> {
        let pixel = |at: f64, n: usize| {
            let at = at.round();
            (at >= 0.0 && at < n as f64).then_some(at as usize)
        };
        let [width, height] = self.size();
        let mut asked: Vec<(usize, usize, usize)> = places
            .iter()
            .enumerate()
            .filter_map(|(i, [x, y])| Some((pixel(*y, height)?, pixel(*x, width)?, i)))
            .collect();
        asked.sort_unstable();
        let mut found = vec![0; places.len()];
        let mut next = 0;
        self.for_each_row(&mut |row, values| {
            while let Some(&(y, x, i)) = asked.get(next).filter(|a| a.0 == row) {
                debug_assert_eq!(y, row);
                found[i] = values[x];
                next += 1;
            }
        })?;
        Ok(found)
    }
}

fn format_of(path: &Path) -> Result<Option<Format>, StoreError> {
    let mut begin = Vec::new();
    let file = open_file(path)?;
    file.take(8)
        .read_to_end(&mut begin)
        .map_err(|e| StoreError::read(path, e))?;
    Ok(if begin.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some(Format::Png)
    } else if [b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"]
        .iter()
        .any(|m| begin.starts_with(*m))
    {
        Some(Format::Tiff)
    } else if begin.starts_with(b"\x93NUMPY") {
        Some(Format::Npy)
    } else {
        None
    })
}

fn labels(path: &Path, reason: impl Into<String>) -> StoreError {
    StoreError::Labels {
        path: path.to_owned(),
        reason: reason.into(),
    }
}

/// A value of a pixel as a label: a whole number, 0 or more.
trait Label: Copy + std::fmt::Display {
    fn label(self) -> Option<u32>;
}

macro_rules! whole {
    ($($kind:ty),*) => {$(
        impl Label for $kind {
            fn label(self) -> Option<u32> {
                u32::try_from(self).ok()
            }
        }
    )*};
}
whole!(u8, u16, u32, u64, i8, i16, i32, i64);

impl Label for f32 {
    fn label(self) -> Option<u32> {
        f64::from(self).label()
    }
}

impl Label for f64 {
    fn label(self) -> Option<u32> {
        (self.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&self)).then_some(self as u32)
    }
}

/// Writes the labels of a row, of the pixels from a column on, or says which pixel is none.
fn write_row<T: Label>(
    path: &Path,
    values: impl Iterator<Item = T>,
    (row, column): (usize, usize),
    into: &mut [u32],
) -> Result<(), StoreError> {
    for (i, (value, label)) in values.zip(into).enumerate() {
        *label = value.label().ok_or_else(|| {
            labels(
                path,
                format!(
                    "the pixel in column {} of row {row} (from 0) is {value}: labels are whole numbers, 0 or more; \
                     give the labels of the segmentation, not its image, its mask or its probabilities",
                    column + i
                ),
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
