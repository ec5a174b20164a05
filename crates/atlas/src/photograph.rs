//! Photographs of sections, whose regions a network finds.

use crate::{AtlasError, MOST_PIXELS};
use image::{GrayImage, ImageDecoder, ImageReader};
use std::fmt::Display;
use std::path::Path;
use tangram_store::{OmeImage, OmeLevel, StoreError, open_file};

/// A photograph with a shorter edge shows nothing of a section.
const SHORTEST: usize = 16;

/// Gray values of an image, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct Photograph {
    width: usize,
    height: usize,
    values: Vec<f32>,
    pixel_um: Option<f64>,
}

impl Photograph {
    /// Reads a PNG, JPEG or TIFF of 8 or 16 bits, or the folder of an OME-Zarr image; of several channels the brightness.
    ///
    /// Of an OME-Zarr image the coarsest level is read whose longer edge has 1,000 pixels or more, and the mean of its channels.
    ///
    /// # Errors
    /// [`AtlasError::Section`] if it is none, too large or too small; [`AtlasError::Store`] if an OME-Zarr image cannot be read.
    pub fn read(path: &Path) -> Result<Self, AtlasError> {
        if path.is_dir() {
            return Self::read_ome(path);
        }
        let wrong = |reason: String| AtlasError::section(path, reason);
        let unreadable = |e: &dyn Display| wrong(format!("not an image that can be read ({e})"));
        let file = std::io::BufReader::new(open_file(path)?);
        let decoder = ImageReader::new(file)
            .with_guessed_format()
            .map_err(|e| unreadable(&e))?
            .into_decoder()
            .map_err(|e| unreadable(&e))?;
        let (width, height) = decoder.dimensions();
        check_size(width.into(), height.into()).map_err(wrong)?;
        let image = image::DynamicImage::from_decoder(decoder).map_err(|e| unreadable(&e))?;
        let values = image.to_luma32f().into_raw();
        Self::new(width as usize, height as usize, values).map_err(wrong)
    }

    fn read_ome(path: &Path) -> Result<Self, AtlasError> {
        /// More channels than microscopes have; a file may say any number.
        const MOST_CHANNELS: usize = 256;
        let wrong = |reason: String| AtlasError::section(path, reason);
        let image = OmeImage::open(path)?;
        let level = level_of(&image);
        let (width, height) = (level.width, level.height);
        check_size(width as u64, height as u64).map_err(wrong)?;
        if level.n_channels > MOST_CHANNELS {
            return Err(wrong(format!(
                "{} channels, more than {MOST_CHANNELS}; give those that show the tissue",
                level.n_channels
            )));
        }
        let mut values = vec![0.0; width * height];
        for channel in 0..level.n_channels {
            let more = image.channel(level, channel)?;
            values.iter_mut().zip(more).for_each(|(sum, v)| *sum += v);
        }
        let n = level.n_channels as f32;
        values.iter_mut().for_each(|sum| *sum /= n);
        // `new` refuses an image of too little contrast by a limit that is for values up to 1; stored types reach other values.
        let largest = values.iter().copied().fold(0.0, f32::max);
        if largest > 0.0 {
            values.iter_mut().for_each(|value| *value /= largest);
        }
        Ok(Self {
            pixel_um: level.pixel_um,
            ..Self::new(width, height, values).map_err(wrong)?
        })
    }

    /// An image of gray values.
    ///
    /// # Errors
    /// What is wrong: too few pixels, or no contrast.
    ///
    /// # Panics
    /// If there is not one value per pixel.
    pub fn new(width: usize, height: usize, values: Vec<f32>) -> Result<Self, String> {
        assert_eq!(values.len(), width * height, "one value per pixel");
        if width.min(height) < SHORTEST {
            return Err(format!(
                "{width} × {height} pixels; a section needs {SHORTEST} or more along each edge"
            ));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err("some pixels are not finite numbers".to_owned());
        }
        let mut photograph = Self {
            width,
            height,
            values,
            pixel_um: None,
        };
        match photograph.stretch() {
            true => Ok(photograph),
            false => Err("the image is blank: nearly all pixels have the same value".to_owned()),
        }
    }

    /// Stretches the values so that all but half a percent at either end span 0 to 1; `false` if they are all alike.
    fn stretch(&mut self) -> bool {
        /// Values that are sorted to find the range; of a larger image every n-th pixel is taken.
        const ENOUGH: usize = 1 << 20;
        let every = self.values.len().div_ceil(ENOUGH);
        let mut some: Vec<f32> = self.values.iter().copied().step_by(every).collect();
        some.sort_unstable_by(f32::total_cmp);
        let [low, high] = [5, 995].map(|part| some[(some.len() - 1) * part / 1000]);
        // Half a step of 8 bits.
        let contrast = high - low > 0.002;
        if contrast {
            for value in &mut self.values {
                *value = ((*value - low) / (high - low)).clamp(0.0, 1.0);
            }
        }
        contrast
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// Edge of a pixel in micrometres, if the file tells it.
    #[must_use]
    pub fn pixel_um(&self) -> Option<f64> {
        self.pixel_um
    }

    /// The means of squares of n × n pixels; those at the right and lower border may be parts.
    ///
    /// # Panics
    /// If n is 0.
    #[must_use]
    pub fn coarser(&self, n: usize) -> Self {
        let (width, height) = (self.width.div_ceil(n), self.height.div_ceil(n));
        let mean = |i: usize| {
            let (column, row) = (i % width * n, i / width * n);
            let columns = column..(column + n).min(self.width);
            let rows = row..(row + n).min(self.height);
            let n_pixels = columns.len() * rows.len();
            let of_row = |y: usize| {
                let row = &self.values[y * self.width..][columns.clone()];
                row.iter().sum::<f32>()
            };
            rows.map(of_row).sum::<f32>() / n_pixels as f32
        };
        Self {
            width,
            height,
            values: (0..width * height).map(mean).collect(),
            pixel_um: self.pixel_um.map(|edge| edge * n as f64),
        }
    }

    /// The gray value at a place, pixels from the upper left corner; linear between the middles of pixels, and beyond the border as at it.
    #[must_use]
    pub fn at(&self, [x, y]: [f64; 2]) -> f32 {
        let along = |at: f64, n: usize| {
            let at = (at - 0.5).clamp(0.0, (n - 1) as f64);
            let first = (at as usize).min(n.saturating_sub(2));
            (first, (first + 1).min(n - 1), (at - first as f64) as f32)
        };
        let (left, right, across) = along(x, self.width);
        let (upper, lower, down) = along(y, self.height);
        let value = |row: usize, column: usize| self.values[row * self.width + column];
        let row = |row| value(row, left) * (1.0 - across) + value(row, right) * across;
        row(upper) * (1.0 - down) + row(lower) * down
    }
}

/// The coarsest level of an OME-Zarr image whose longer edge has 1,000 pixels or more; the finest if there is none.
pub(crate) fn level_of(image: &OmeImage) -> &OmeLevel {
    const ENOUGH: usize = 1000;
    let shows_enough = |level: &&OmeLevel| level.width.max(level.height) >= ENOUGH;
    let level = image.levels().iter().rfind(shows_enough);
    level.unwrap_or(&image.levels()[0])
}

pub(crate) fn check_size(width: u64, height: u64) -> Result<(), String> {
    match width.checked_mul(height) {
        Some(n) if n <= MOST_PIXELS => Ok(()),
        _ => Err(format!(
            "{width} × {height} pixels; make the image coarser, 10 to 50 µm a pixel are enough"
        )),
    }
}

/// Writes classes as an 8-bit gray image, as `--regions` takes it.
///
/// # Errors
/// [`AtlasError::Store`] if the file cannot be written.
///
/// # Panics
/// If there is not one class per pixel.
pub fn write_classes(
    path: &Path,
    [width, height]: [usize; 2],
    classes: Vec<u8>,
) -> Result<(), AtlasError> {
    let image = GrayImage::from_raw(width as u32, height as u32, classes);
    let image = image.expect("one class per pixel");
    image
        .save_with_format(path, image::ImageFormat::Png)
        .map_err(|e| {
            let (path, reason) = (path.to_owned(), e.to_string());
            StoreError::Write { path, reason }.into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_stretched_and_interpolated() {
        let values = (0..400).map(|i| 0.2 + 0.001 * (i % 20) as f32).collect();
        let photograph = Photograph::new(20, 20, values).unwrap();
        assert_eq!(photograph.at([0.5, 7.0]), 0.0);
        assert_eq!(photograph.at([19.5, 3.0]), 1.0);
        assert_eq!(photograph.at([90.0, 3.0]), 1.0, "as at the border");
        let (a, b) = (photograph.at([4.5, 2.5]), photograph.at([5.5, 2.5]));
        assert!((photograph.at([5.0, 2.5]) - (a + b) / 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_coarser_photograph_has_the_means() {
        let values: Vec<f32> = (0..20 * 17).map(|i| (i * 7 % 31) as f32 / 31.0).collect();
        let photograph = Photograph::new(20, 17, values).unwrap();
        let coarser = photograph.coarser(3);
        assert_eq!(coarser.size(), [7, 6]);
        let at = |x: usize, y: usize| photograph.values[y * 20 + x];
        let whole: f32 = (3..6).flat_map(|y| (6..9).map(move |x| at(x, y))).sum();
        assert!((coarser.values[7 + 2] - whole / 9.0).abs() < 1e-6);
        let part = [at(18, 15), at(19, 15), at(18, 16), at(19, 16)];
        assert!((coarser.values[5 * 7 + 6] - part.iter().sum::<f32>() / 4.0).abs() < 1e-6);
    }

    #[test]
    fn images_that_show_nothing_are_refused() {
        let blank = Photograph::new(40, 40, vec![0.5; 1600]).unwrap_err();
        assert!(blank.contains("blank"), "{blank}");
        let tiny = Photograph::new(1, 1, vec![0.5]).unwrap_err();
        assert!(tiny.contains("1 × 1 pixels"), "{tiny}");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("no.png");
        std::fs::write(&path, b"no image").unwrap();
        let error = Photograph::read(&path).unwrap_err().to_string();
        assert!(error.contains("not an image"), "{error}");
    }

    #[test]
    fn written_classes_are_read_as_gray_values() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let classes: Vec<u8> = (0..1600).map(|i| (i / 40 % 4) as u8).collect();
        write_classes(&path, [40, 40], classes.clone()).unwrap();
        let (width, height, read) = crate::section::read_gray(&path).unwrap();
        assert_eq!((width, height, read), (40, 40, classes));
    }
}
