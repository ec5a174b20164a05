//! The image of the tissue under the voxels.

use crate::palette::Color;
use crate::raster::Raster;
use resvg::tiny_skia::Pixmap;

/// An image of the tissue, in whose pixels the voxels have their places.
#[derive(Debug, Clone, PartialEq)]
pub struct Tissue {
    width: usize,
    height: usize,
    /// Red, green and blue, row after row.
    rgb: Vec<u8>,
    /// Pixels for each unit of the voxels' coordinates.
    scale: f64,
}

impl Tissue {
    /// An image; `None` if it has no pixel, not three values for each, or a scale that is none.
    ///
    /// * `rgb`: red, green and blue of each pixel, row after row from the top
    /// * `scale`: pixels for each unit of the voxels' coordinates
    #[must_use]
    pub fn new((width, height): (usize, usize), rgb: Vec<u8>, scale: f64) -> Option<Self> {
        let fits =
            width > 0 && height > 0 && rgb.len() == width.checked_mul(height)?.checked_mul(3)?;
        (fits && scale.is_finite() && scale > 0.0).then_some(Self {
            width,
            height,
            rgb,
            scale,
        })
    }

    /// The image of a PNG file; `None` if it cannot be decoded.
    ///
    /// * `scale`: pixels for each unit of the voxels' coordinates
    #[must_use]
    pub fn from_png(bytes: &[u8], scale: f64) -> Option<Self> {
        let image = Pixmap::decode_png(bytes).ok()?;
        let rgb = image.pixels().iter().flat_map(|p| {
            let p = p.demultiply();
            [p.red(), p.green(), p.blue()]
        });
        let size = (image.width() as usize, image.height() as usize);
        Self::new(size, rgb.collect(), scale)
    }

    /// The colour at a place in the coordinates of the voxels; `None` outside the image.
    pub(crate) fn color_at(&self, x: f64, y: f64) -> Option<Color> {
        let pixel = |at: f64, length: usize| {
            let at = (at * self.scale).floor();
            (at >= 0.0 && at < length as f64).then_some(at as usize)
        };
        let at = 3 * (pixel(y, self.height)? * self.width + pixel(x, self.width)?);
        Some(Color(self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]))
    }

    /// The image as PNG of at most `most` bytes, with its width and height in the units of the voxels' coordinates: as it is, or reduced, a
    /// pixel being the mean of a square of its pixels; `None` if not even a small one fits.
    pub(crate) fn png(&self, most: usize) -> Option<(Vec<u8>, [f64; 2])> {
        // A photograph has about two bytes a pixel as PNG; what is much too large is not encoded first.
        let pixels = (self.width * self.height) as f64;
        let least = (pixels / most.max(1) as f64).sqrt().floor() as usize;
        let mut side = least.max(1);
        while side <= self.width.max(self.height) {
            let png = self.reduced(side)?.png().ok()?;
            if png.len() <= most {
                let reach = |length: usize| (length.div_ceil(side) * side) as f64 / self.scale;
                return Some((png, [self.width, self.height].map(reach)));
            }
            side += side.div_ceil(4);
        }
        None
    }

    /// The image with one pixel for each square of `side` × `side`; the squares of the last column and row may hang over.
    fn reduced(&self, side: usize) -> Option<Raster> {
        let (width, height) = (self.width.div_ceil(side), self.height.div_ceil(side));
        let mut raster = Raster::new(width.try_into().ok()?, height.try_into().ok()?).ok()?;
        for y in 0..height {
            for x in 0..width {
                let (mut sum, mut n) = ([0u32; 3], 0);
                for row in y * side..((y + 1) * side).min(self.height) {
                    for column in x * side..((x + 1) * side).min(self.width) {
                        let at = 3 * (row * self.width + column);
                        for (sum, value) in sum.iter_mut().zip(&self.rgb[at..at + 3]) {
                            *sum += u32::from(*value);
                        }
                        n += 1;
                    }
                }
                let [r, g, b] = sum.map(|sum| ((sum + n / 2) / n) as u8);
                raster.pixel((x as u32, y as u32), Color(r, g, b));
            }
        }
        Some(raster)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_has_the_colour_of_its_pixel() {
        let rgb: Vec<u8> = (0..18).collect();
        let tissue = Tissue::new((3, 2), rgb.clone(), 0.5).unwrap();
        assert_eq!(tissue.color_at(0.0, 0.0), Some(Color(0, 1, 2)));
        assert_eq!(tissue.color_at(5.9, 3.9), Some(Color(15, 16, 17)));
        assert_eq!(tissue.color_at(6.0, 0.0), None);
        assert_eq!(tissue.color_at(0.0, -0.1), None);
        assert_eq!(Tissue::new((3, 3), rgb.clone(), 0.5), None);
        assert_eq!(Tissue::new((3, 2), rgb, f64::NAN), None);
        assert_eq!(Tissue::from_png(b"no image", 1.0), None);
    }

    #[test]
    fn an_image_is_reduced_until_it_fits() {
        // Noise, which does not compress.
        let mut state = 1u32;
        let noise = (0..3 * 200 * 120).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        });
        let tissue = Tissue::new((200, 120), noise.collect(), 1.0).unwrap();
        let size = |most: usize| {
            let (png, reach) = tissue.png(most)?;
            assert!(png.len() <= most);
            let back = Pixmap::decode_png(&png).unwrap();
            // The pixels of the reduced image are squares; its last ones may hang over.
            let side = reach[0] / f64::from(back.width());
            assert_eq!(reach[1], side * f64::from(back.height()));
            assert!(reach[0] >= 200.0 && reach[0] < 200.0 + side);
            Some((back.width(), back.height()))
        };
        assert_eq!(size(1_000_000), Some((200, 120)));
        let (width, height) = size(20_000).unwrap();
        assert!(width < 110 && width.abs_diff(height * 5 / 3) <= 2);
        assert_eq!(size(10), None);
    }

    #[test]
    fn a_pixel_of_a_smaller_image_is_the_mean_of_a_square() {
        let rgb = [10, 20, 30, 30, 40, 50, 1, 2, 3];
        let tissue = Tissue::new((3, 1), rgb.to_vec(), 1.0).unwrap();
        let png = tissue.reduced(2).unwrap().png().unwrap();
        let half = Tissue::from_png(&png, 0.5).unwrap();
        assert_eq!(half.rgb, [20, 30, 40, 1, 2, 3]);
    }
}
