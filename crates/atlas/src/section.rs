//! The section: a mask of classes, and the coarser grids on which it is compared with the atlas.

use crate::photograph::{check_size, level_of};
use crate::warp::Pair;
use crate::{AtlasError, BACKGROUND, NO_CLASS};
use image::{ColorType, ImageDecoder, ImageReader};
use std::path::Path;
use tangram_store::OmeImage;

/// A mask of more pixels is refused before it is read; at 10 µm a mouse brain section has about one million.
pub const MOST_PIXELS: u64 = 1 << 27;
/// A mask with fewer tissue pixels cannot be registered.
const FEWEST_TISSUE_PIXELS: usize = 400;
/// A mask with less than this share of tissue cannot be registered.
const LEAST_TISSUE: f64 = 0.005;

/// An image whose pixels are classes, row after row: 0 background, 255 ([`NO_CLASS`]) left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassImage {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The classes.
    pub classes: Vec<u8>,
}

impl ClassImage {
    /// Reads an image of 8-bit gray values that are class numbers, or the folder of an OME-Zarr image or label image of one channel with such
    /// values. Of the levels of an OME-Zarr image it reads the one that [`Photograph::read`](crate::Photograph::read) reads.
    ///
    /// * `n_classes`: with the background
    ///
    /// # Errors
    /// [`AtlasError::Section`] for other images and for values that are no class.
    pub fn read(path: &Path, n_classes: usize) -> Result<Self, AtlasError> {
        let (width, height, classes) = match path.is_dir() {
            true => read_ome(path)?,
            false => read_gray(path)?,
        };
        let is_none = |class: &&u8| **class != NO_CLASS && usize::from(**class) >= n_classes;
        if let Some(class) = classes.iter().find(is_none) {
            let reason = format!(
                "a pixel has the value {class}; the atlas has the classes 0 to {} (255 leaves a pixel out)",
                n_classes - 1
            );
            return Err(AtlasError::section(path, reason));
        }
        Ok(Self {
            width,
            height,
            classes,
        })
    }
}

/// Classes of the pixels of a section, row after row.
#[derive(Debug, Clone, PartialEq)]
pub struct SectionMask {
    width: usize,
    height: usize,
    classes: Vec<u8>,
}

impl SectionMask {
    /// Reads an image of 8-bit gray values that are class numbers: 0 background, 255 pixels to be left out.
    ///
    /// * `n_classes`: with the background
    ///
    /// # Errors
    /// [`AtlasError::Section`] for other images, values that are no class, and masks with too little tissue.
    pub fn read(path: &Path, n_classes: usize) -> Result<Self, AtlasError> {
        let ClassImage {
            width,
            height,
            classes,
        } = ClassImage::read(path, n_classes)?;
        Self::new(width, height, classes).map_err(|reason| AtlasError::section(path, reason))
    }

    /// A mask of classes.
    ///
    /// # Errors
    /// What is wrong: too little tissue, or only one class where several are needed.
    ///
    /// # Panics
    /// If there is not one class per pixel.
    pub fn new(width: usize, height: usize, classes: Vec<u8>) -> Result<Self, String> {
        assert_eq!(classes.len(), width * height, "one class per pixel");
        let is_tissue = |c: &u8| *c != BACKGROUND && *c != NO_CLASS;
        let n_tissue = classes.iter().filter(|c| is_tissue(c)).count();
        let share = n_tissue as f64 / (width * height).max(1) as f64;
        if n_tissue < FEWEST_TISSUE_PIXELS || share < LEAST_TISSUE {
            return Err(format!(
                "{n_tissue} of {} pixels are tissue; a section has at least {FEWEST_TISSUE_PIXELS} and {} %",
                width * height,
                LEAST_TISSUE * 100.0
            ));
        }
        let mut counts = [0_usize; 256];
        classes
            .iter()
            .filter(|c| is_tissue(c))
            .for_each(|&c| counts[usize::from(c)] += 1);
        if counts.iter().filter(|n| **n * 200 >= n_tissue).count() < 2 {
            return Err(
                "the tissue is of one class; its place cannot be told from its outline alone"
                    .to_owned(),
            );
        }
        Ok(Self {
            width,
            height,
            classes,
        })
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        [self.width, self.height]
    }

    /// The classes, row after row.
    #[must_use]
    pub fn classes(&self) -> &[u8] {
        &self.classes
    }

    /// The same mask with background that is enclosed by tissue left out: it may be a hole as well as a ventricle.
    #[must_use]
    pub fn without_holes(&self) -> Self {
        let (width, height) = (self.width, self.height);
        let mut open = vec![false; self.classes.len()];
        let mut waiting: Vec<usize> = Vec::new();
        let border = (0..width)
            .flat_map(|x| [x, (height - 1) * width + x])
            .chain((0..height).flat_map(|y| [y * width, y * width + width - 1]));
        waiting.extend(border);
        // Background connects through pixels that are left out: the outside may continue behind them.
        let passable = |at: usize| matches!(self.classes[at], BACKGROUND | NO_CLASS);
        while let Some(at) = waiting.pop() {
            if open[at] || !passable(at) {
                continue;
            }
            open[at] = true;
            let x = at % width;
            waiting.extend((x > 0).then(|| at - 1));
            waiting.extend((x + 1 < width).then_some(at + 1));
            waiting.extend(at.checked_sub(width));
            waiting.extend(Some(at + width).filter(|&below| below < self.classes.len()));
        }
        let classes = self.classes.iter().zip(&open);
        Self {
            width,
            height,
            classes: classes
                .map(|(&class, &open)| match class == BACKGROUND && !open {
                    true => NO_CLASS,
                    false => class,
                })
                .collect(),
        }
    }
}

/// Whole numbers from 0 to 255 of an OME-Zarr image: width, height, values.
fn read_ome(path: &Path) -> Result<(usize, usize, Vec<u8>), AtlasError> {
    let wrong = |reason: String| AtlasError::section(path, reason);
    let image = OmeImage::open(path)?;
    let level = level_of(&image);
    let (width, height) = (level.width, level.height);
    check_size(width as u64, height as u64).map_err(wrong)?;
    if level.n_channels != 1 {
        return Err(wrong(format!(
            "{} channels; a mask has one, each pixel the number of a class",
            level.n_channels
        )));
    }
    let class = |value: f32| {
        let class = value as u8;
        (f32::from(class) == value).then_some(class).ok_or_else(|| {
            wrong(format!(
                "a pixel has the value {value}, which is no class; give the label image of the classes, such as IMAGE.zarr/labels/NAME"
            ))
        })
    };
    let values = image.channel(level, 0)?.into_iter().map(class);
    Ok((width, height, values.collect::<Result<_, _>>()?))
}

/// An 8-bit gray image: width, height, values.
pub(crate) fn read_gray(path: &Path) -> Result<(usize, usize, Vec<u8>), AtlasError> {
    let wrong = |reason: String| AtlasError::section(path, reason);
    if !path.exists() {
        return Err(tangram_store::StoreError::Missing {
            path: path.to_owned(),
        }
        .into());
    }
    let unreadable =
        |e: &dyn std::fmt::Display| wrong(format!("not an image that can be read ({e})"));
    let reader = ImageReader::open(path)
        .and_then(ImageReader::with_guessed_format)
        .map_err(|e| unreadable(&e))?;
    let decoder = reader.into_decoder().map_err(|e| unreadable(&e))?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(wrong(format!(
            "{width} × {height} pixels; make the mask coarser, 10 to 50 µm a pixel are enough"
        )));
    }
    if decoder.color_type() != ColorType::L8 {
        return Err(wrong(format!(
            "its pixels are {:?}; a mask has 8-bit gray values without palette, each the number of a class",
            decoder.color_type()
        )));
    }
    let mut values = vec![0; decoder.total_bytes() as usize];
    decoder
        .read_image(&mut values)
        .map_err(|e| unreadable(&e))?;
    Ok((width as usize, height as usize, values))
}

/// A mask on a coarser grid, smoothed: what a level of the atlas is compared with.
#[derive(Debug, Clone)]
pub(crate) struct SectionGrid {
    /// Micrometres from the middle of the image.
    pub places: Vec<Pair>,
    /// Share of each class, the class fastest; they sum to 1.
    pub shares: Vec<f32>,
    /// How much a pixel counts: the part of it that is not left out.
    pub weights: Vec<f32>,
    pub n_classes: usize,
}

impl SectionGrid {
    /// * `pixel_um`: edge of the mask's pixels
    /// * `step_um`: edge of the grid's
    pub(crate) fn new(mask: &SectionMask, pixel_um: f64, step_um: f64, n_classes: usize) -> Self {
        // Pixels that are larger than the grid's stay as they are.
        let ratio = (step_um / pixel_um).max(1.0);
        let columns = ((mask.width as f64 / ratio).ceil() as usize).max(1);
        let rows = ((mask.height as f64 / ratio).ceil() as usize).max(1);
        let mut sums = vec![0.0_f32; columns * rows * n_classes];
        let mut counts = vec![0.0_f32; columns * rows];
        for (at, &class) in mask.classes.iter().enumerate() {
            let column = (((at % mask.width) as f64 + 0.5) / ratio) as usize;
            let row = (((at / mask.width) as f64 + 0.5) / ratio) as usize;
            let cell = row.min(rows - 1) * columns + column.min(columns - 1);
            counts[cell] += 1.0;
            if class != NO_CLASS {
                sums[cell * n_classes + usize::from(class)] += 1.0;
            }
        }
        for (cell, &count) in counts.iter().enumerate() {
            let shares = &mut sums[cell * n_classes..(cell + 1) * n_classes];
            shares.iter_mut().for_each(|s| *s /= count.max(1.0));
        }
        let weights: Vec<f32> = sums
            .chunks_exact(n_classes)
            .map(|c| c.iter().sum())
            .collect();
        let smooth = smoothed(
            &smoothed(&sums, columns, n_classes, Axis::X),
            columns,
            n_classes,
            Axis::Y,
        );
        let mut shares = smooth;
        for cell in shares.chunks_exact_mut(n_classes) {
            let sum: f32 = cell.iter().sum();
            cell.iter_mut().for_each(|s| *s /= sum.max(1e-6));
        }
        let step = ratio * pixel_um;
        let middle = [mask.width as f64, mask.height as f64].map(|n| n * pixel_um / 2.0);
        let places = (0..columns * rows)
            .map(|i| {
                let (column, row) = ((i % columns) as f64, (i / columns) as f64);
                [
                    (column + 0.5) * step - middle[0],
                    (row + 0.5) * step - middle[1],
                ]
            })
            .collect();
        Self {
            places,
            shares,
            weights,
            n_classes,
        }
    }

    /// Whether more than half of a pixel is background.
    pub(crate) fn is_background(&self, pixel: usize) -> bool {
        self.shares[pixel * self.n_classes] > 0.5
    }
}

#[derive(Debug, Clone, Copy)]
enum Axis {
    X,
    Y,
}

/// Smooths with ¼, ½, ¼ along an axis; the border repeats.
fn smoothed(values: &[f32], columns: usize, n_classes: usize, axis: Axis) -> Vec<f32> {
    let n = values.len() / n_classes;
    let rows = n / columns;
    let mut out = vec![0.0; values.len()];
    for cell in 0..n {
        let (x, y) = (cell % columns, cell / columns);
        let (before, after) = match axis {
            Axis::X => (
                cell - usize::from(x > 0),
                cell + usize::from(x + 1 < columns),
            ),
            Axis::Y => (
                cell - if y > 0 { columns } else { 0 },
                cell + if y + 1 < rows { columns } else { 0 },
            ),
        };
        for class in 0..n_classes {
            let at = |cell: usize| values[cell * n_classes + class];
            out[cell * n_classes + class] = 0.25 * at(before) + 0.5 * at(cell) + 0.25 * at(after);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{GrayImage, RgbImage};

    /// A ring of class 1 with a spot of class 2 on it, around a hole.
    fn ring() -> SectionMask {
        let classes = (0..100 * 80)
            .map(|i| {
                let (x, y) = ((i % 100) as f64 - 50.0, (i / 100) as f64 - 40.0);
                match x.hypot(y) {
                    r if !(10.0..=30.0).contains(&r) => BACKGROUND,
                    _ if x > 15.0 => 2,
                    _ => 1,
                }
            })
            .collect();
        SectionMask::new(100, 80, classes).unwrap()
    }

    #[test]
    fn enclosed_background_is_left_out_and_the_outside_stays() {
        let mask = ring().without_holes();
        assert_eq!(mask.classes()[40 * 100 + 50], NO_CLASS);
        assert_eq!(mask.classes()[0], BACKGROUND);
        let tissue = |m: &SectionMask| m.classes().iter().filter(|c| matches!(c, 1 | 2)).count();
        assert_eq!(tissue(&mask), tissue(&ring()));
    }

    #[test]
    fn a_grid_keeps_the_shares_and_the_places() {
        let mask = ring().without_holes();
        let grid = SectionGrid::new(&mask, 50.0, 200.0, 3);
        assert_eq!(grid.places.len(), 25 * 20);
        assert_eq!(grid.places[0], [-2400.0, -1900.0]);
        for shares in grid.shares.chunks_exact(3) {
            let sum: f32 = shares.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5 || sum == 0.0, "{sum}");
        }
        assert_eq!(grid.weights[10 * 25 + 12], 0.0, "the hole does not count");
        assert!(grid.is_background(0));
        let fine = SectionGrid::new(&mask, 50.0, 25.0, 3);
        assert_eq!(
            fine.places.len(),
            mask.classes().len(),
            "never finer than the mask"
        );
    }

    #[test]
    fn only_masks_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mask.png");
        let refused = |text: &str| {
            let error = SectionMask::read(&path, 3).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        };
        GrayImage::from_raw(100, 80, ring().classes().to_vec())
            .unwrap()
            .save(&path)
            .unwrap();
        assert_eq!(SectionMask::read(&path, 3).unwrap(), ring());
        let error = SectionMask::read(&path, 2).unwrap_err().to_string();
        assert!(error.contains("the value 2"), "{error}");
        GrayImage::new(100, 100).save(&path).unwrap();
        refused("0 of 10000 pixels");
        GrayImage::new(1, 1).save(&path).unwrap();
        refused("0 of 1 pixels");
        GrayImage::from_pixel(100, 100, image::Luma([1]))
            .save(&path)
            .unwrap();
        refused("one class");
        RgbImage::new(100, 100).save(&path).unwrap();
        refused("8-bit gray");
        std::fs::write(&path, "no image").unwrap();
        refused("not an image");
    }
}
