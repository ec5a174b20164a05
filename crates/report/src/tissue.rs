//! The image of the tissue under the voxels.

use crate::palette::Color;
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
}
