//! Images of many marks: where a mark for each voxel would make a drawing too large.

use crate::error::PictureError;
use crate::palette::Color;
use resvg::tiny_skia::{Pixmap, PremultipliedColorU8};

/// An image, transparent where nothing was drawn.
#[derive(Debug)]
pub(crate) struct Raster(Pixmap);

/// Displacements of the pixels of a disc from its middle.
#[derive(Debug)]
pub(crate) struct Disc(Vec<(i32, i32)>);

impl Disc {
    /// * `radius`: in pixels; a disc has at least one pixel
    pub(crate) fn new(radius: f64) -> Self {
        let reach = radius.ceil() as i32;
        let inside = |&(dx, dy): &(i32, i32)| f64::from(dx * dx + dy * dy) <= radius * radius;
        let square = (-reach..=reach).flat_map(|dy| (-reach..=reach).map(move |dx| (dx, dy)));
        Self(square.filter(|p| *p == (0, 0) || inside(p)).collect())
    }
}

impl Raster {
    /// # Errors
    /// If there is no such image.
    pub(crate) fn new(width: u32, height: u32) -> Result<Self, PictureError> {
        Pixmap::new(width, height)
            .map(Self)
            .ok_or_else(|| PictureError::Drawing(format!("{width} × {height} pixels are no image")))
    }

    /// Draws a disc; what lies outside is cut off.
    pub(crate) fn disc(&mut self, (x, y): (f64, f64), disc: &Disc, color: Color) {
        let (width, height) = (self.0.width() as i32, self.0.height() as i32);
        let Color(r, g, b) = color;
        let Some(pixel) = PremultipliedColorU8::from_rgba(r, g, b, u8::MAX) else {
            return;
        };
        let (x, y) = (x.floor() as i32, y.floor() as i32);
        let pixels = self.0.pixels_mut();
        for (dx, dy) in &disc.0 {
            let (x, y) = (x + dx, y + dy);
            if (0..width).contains(&x) && (0..height).contains(&y) {
                pixels[(y * width + x) as usize] = pixel;
            }
        }
    }

    /// Paints a pixel; one that lies outside is left out.
    pub(crate) fn pixel(&mut self, (x, y): (u32, u32), Color(r, g, b): Color) {
        let at = (y * self.0.width() + x) as usize;
        let color = PremultipliedColorU8::from_rgba(r, g, b, u8::MAX);
        if x < self.0.width()
            && let (Some(pixel), Some(color)) = (self.0.pixels_mut().get_mut(at), color)
        {
            *pixel = color;
        }
    }

    /// # Errors
    /// If it cannot be encoded.
    pub(crate) fn png(&self) -> Result<Vec<u8>, PictureError> {
        self.0.encode_png().map_err(|e| PictureError::Conversion {
            format: "PNG",
            reason: e.to_string(),
        })
    }
}
