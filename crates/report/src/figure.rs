//! A finished drawing and the formats it can be had in.

use crate::error::PictureError;
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};
use std::sync::{Arc, LazyLock};

/// A finished drawing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Figure {
    svg: String,
    width: u32,
    height: u32,
}

/// The formats of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Scalable Vector Graphics.
    Svg,
    /// Portable Network Graphics, two pixels for each of the figure.
    Png,
    /// Portable Document Format.
    Pdf,
}

/// The font that the program carries, and no other: pictures are the same on every machine.
static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    fonts.load_font_data(dejavu::sans::regular().to_vec());
    fonts.set_sans_serif_family("DejaVu Sans");
    Arc::new(fonts)
});

impl Format {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Svg, Self::Png, Self::Pdf];

    /// The ending of the names of its files.
    #[must_use]
    pub fn ending(self) -> &'static str {
        match self {
            Self::Svg => "svg",
            Self::Png => "png",
            Self::Pdf => "pdf",
        }
    }
}

impl Figure {
    /// * `svg`: a whole document, `width` by `height` pixels
    pub(crate) fn new(svg: String, width: u32, height: u32) -> Self {
        Self { svg, width, height }
    }

    /// Width and height in pixels.
    #[must_use]
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// The drawing as SVG.
    #[must_use]
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The drawing as PNG.
    ///
    /// * `scale`: pixels of the image for each pixel of the figure
    ///
    /// # Errors
    /// If the image would be empty or too large, or cannot be encoded.
    pub fn png(&self, scale: f32) -> Result<Vec<u8>, PictureError> {
        let failed = |reason: String| PictureError::Conversion {
            format: "PNG",
            reason,
        };
        let tree = self.tree("PNG")?;
        let pixels = |length: u32| (length as f32 * scale).round() as u32;
        let (width, height) = (pixels(self.width), pixels(self.height));
        let mut image = Pixmap::new(width, height)
            .ok_or_else(|| failed(format!("{width} × {height} pixels are no image")))?;
        resvg::render(
            &tree,
            Transform::from_scale(scale, scale),
            &mut image.as_mut(),
        );
        image.encode_png().map_err(|e| failed(e.to_string()))
    }

    /// The drawing as PDF.
    ///
    /// # Errors
    /// If it cannot be converted.
    pub fn pdf(&self) -> Result<Vec<u8>, PictureError> {
        let tree = self.tree("PDF")?;
        svg2pdf::to_pdf(
            &tree,
            svg2pdf::ConversionOptions::default(),
            svg2pdf::PageOptions::default(),
        )
        .map_err(|e| PictureError::Conversion {
            format: "PDF",
            reason: e.to_string(),
        })
    }

    /// The drawing in a format.
    ///
    /// # Errors
    /// If it cannot be converted.
    pub fn bytes(&self, format: Format) -> Result<Vec<u8>, PictureError> {
        match format {
            Format::Svg => Ok(self.svg.clone().into_bytes()),
            Format::Png => self.png(2.0),
            Format::Pdf => self.pdf(),
        }
    }

    fn tree(&self, format: &'static str) -> Result<Tree, PictureError> {
        let options = Options {
            fontdb: Arc::clone(&FONTS),
            font_family: "DejaVu Sans".to_owned(),
            ..Options::default()
        };
        Tree::from_str(&self.svg, &options).map_err(|e| PictureError::Conversion {
            format,
            reason: e.to_string(),
        })
    }
}
