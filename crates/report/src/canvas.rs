//! The surface that figures are painted on: plotters' SVG backend, with sub-pixel positions and images.

use crate::error::PictureError;
use crate::figure::Figure;
use crate::raster::Raster;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use plotters::coord::Shift;
use plotters::prelude::{Color as _, DrawingArea, IntoDrawingArea, SVGBackend, Text, WHITE};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{IntoFont, RGBColor, TextStyle};
use std::fmt::Write;

/// Units of the drawing in a pixel of the figure. plotters rounds positions to whole units.
pub(crate) const FINE: i32 = 4;

/// Fonts of all text: the one that the program carries, then what a browser has.
pub(crate) const FONTS: &str = "DejaVu Sans, Verdana, sans-serif";

/// Black that does not glare.
pub(crate) const INK: RGBColor = RGBColor(34, 34, 34);
/// Grid lines and frames.
pub(crate) const PALE: RGBColor = RGBColor(208, 208, 208);

/// A rectangle of a figure that plotters paints on.
pub(crate) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An image with its place, in units of the drawing.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) raster: Raster,
}

/// The images of a figure.
#[derive(Debug, Default)]
pub(crate) struct Images {
    /// Those above everything else.
    pub(crate) above: Vec<Placed>,
    /// One that lies below everything else, at one place or several.
    pub(crate) below: Option<Repeated>,
}

/// An image at several places, in units of the drawing.
#[derive(Debug)]
pub(crate) struct Repeated {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) raster: Raster,
    /// Left and top of each.
    pub(crate) at: Vec<(i32, i32)>,
}

impl Repeated {
    fn svg(&self) -> Result<String, PictureError> {
        let Self { width, height, .. } = self;
        let data = STANDARD.encode(self.raster.png()?);
        let mut svg = format!(
            "\n<defs><image id=\"below\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{data}\"/></defs>\n"
        );
        for (left, top) in &self.at {
            writeln!(svg, "<use href=\"#below\" x=\"{left}\" y=\"{top}\"/>")
                .expect("a text takes what is written");
        }
        Ok(svg)
    }
}

/// Paints a figure.
///
/// * `size`: width and height in pixels
/// * `paint`: gets the whole area, and where to put images
pub(crate) fn paint(
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>, &mut Images) -> Result<(), PictureError>,
) -> Result<Figure, PictureError> {
    let (width, height) = size;
    let fine = FINE.unsigned_abs();
    let mut svg = String::new();
    let mut images = Images::default();
    {
        let backend = SVGBackend::with_string(&mut svg, (width * fine, height * fine));
        let area = backend.into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area, &mut images)?;
        area.present()?;
    }
    let units = format!("width=\"{}\" height=\"{}\"", width * fine, height * fine);
    let pixels = format!("width=\"{width}\" height=\"{height}\"");
    let mut svg = svg.replacen(&units, &pixels, 1);
    // plotters writes what is understood; names cannot hold these, their quotes are escaped.
    for understood in [
        " opacity=\"1\"",
        " stroke=\"none\"",
        " stroke-width=\"1\"/>",
    ] {
        let left = if understood.ends_with("/>") { "/>" } else { "" };
        svg = svg.replace(understood, left);
    }
    let end = svg
        .rfind("</svg>")
        .ok_or_else(|| PictureError::Drawing("the drawing has no end".to_owned()))?;
    svg.truncate(end);
    if let Some(below) = &images.below {
        // The first mark is the white ground.
        let ground = svg.find("/>").map_or(end, |at| at + 2);
        svg.insert_str(ground, &below.svg()?);
    }
    for image in &images.above {
        let Placed {
            left,
            top,
            width,
            height,
            raster,
        } = image;
        let data = STANDARD.encode(raster.png()?);
        writeln!(
            svg,
            "<image x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\" href=\"data:image/png;base64,{data}\"/>"
        )
        .expect("a text takes what is written");
    }
    svg.push_str("</svg>\n");
    Ok(Figure::new(svg, width, height))
}

/// Where a text stands relative to its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Anchor {
    Left,
    Middle,
    Right,
}

/// The style of a text of a size in pixels.
pub(crate) fn style(size: f64) -> TextStyle<'static> {
    let mut style = TextStyle::from((FONTS, size * f64::from(FINE)).into_font());
    style.color = INK.to_backend_color();
    style
}

/// Writes a text whose vertical middle is at `at`, in units of the drawing.
pub(crate) fn write_text(
    area: &Area<'_>,
    text: &str,
    size: f64,
    at: (i32, i32),
    anchor: Anchor,
) -> Result<(), PictureError> {
    write_in(area, text, size, at, (anchor, INK))
}

/// The same in a colour.
pub(crate) fn write_in(
    area: &Area<'_>,
    text: &str,
    size: f64,
    at: (i32, i32),
    (anchor, color): (Anchor, RGBColor),
) -> Result<(), PictureError> {
    let horizontal = match anchor {
        Anchor::Left => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::Right => HPos::Right,
    };
    let mut style = style(size).pos(Pos::new(horizontal, VPos::Center));
    style.color = color.to_backend_color();
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// A text cut to what fits a width, with an ellipsis.
///
/// * `width`: in pixels; a character is taken for 0.56 of the size wide, which DejaVu Sans is on average
pub(crate) fn fitted(text: &str, size: f64, width: f64) -> String {
    let most = (width / (size * 0.56)).max(2.0) as usize;
    // Control characters have no picture, and SVG forbids most of them.
    let clean = text.chars().map(|c| if c.is_control() { '␣' } else { c });
    let characters: Vec<char> = clean.collect();
    if characters.len() <= most {
        return characters.into_iter().collect();
    }
    let mut cut: String = characters[..most - 1].iter().collect();
    cut.push('…');
    cut
}

/// A number for people: four significant digits, without trailing zeros.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let size = value.abs().log10().floor() as i32;
    if !(-4..7).contains(&size) {
        return format!("{value:.2e}");
    }
    let digits = (3 - size).max(0) as usize;
    let text = format!("{value:.digits$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let cases = [
            (0.0, "0"),
            (1.0, "1"),
            (0.012_346, "0.01235"),
            (123.456, "123.5"),
            (65536.0, "65536"),
            (1e-9, "1.00e-9"),
            (-2.5, "-2.5"),
        ];
        for (value, wanted) in cases {
            assert_eq!(short(value), wanted);
        }
    }

    #[test]
    fn long_texts_are_cut_and_control_characters_shown() {
        assert_eq!(fitted("Gad1", 10.0, 100.0), "Gad1");
        assert_eq!(fitted("abcdefghij", 10.0, 29.0), "abcd…");
        assert_eq!(fitted("a\nb\0", 10.0, 100.0), "a␣b␣");
    }
}
