//! Colours that colour-blind people can tell apart.

use plotters::style::RGBColor;
use plotters::style::colors::colormaps::{ColorMap, ViridisRGB};

/// Red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Color(pub u8, pub u8, pub u8);

/// Voxels without a category, and bars without a meaning of their own.
pub(crate) const GREY: Color = Color(170, 170, 170);

/// The first seven are those of Okabe and Ito. Each later one is the colour farthest from all before it, and from white, in CIELAB as
/// seen with full colour vision (counted 0.6), deuteranopia and protanopia (Machado et al. 2009).
const CATEGORIES: [Color; 40] = [
    Color(0, 114, 178),
    Color(230, 159, 0),
    Color(0, 158, 115),
    Color(204, 121, 167),
    Color(86, 180, 233),
    Color(213, 94, 0),
    Color(240, 228, 66),
    Color(0, 0, 255),
    Color(75, 60, 15),
    Color(90, 105, 255),
    Color(210, 225, 165),
    Color(225, 15, 75),
    Color(120, 0, 105),
    Color(105, 0, 165),
    Color(165, 225, 105),
    Color(210, 195, 195),
    Color(120, 30, 60),
    Color(120, 150, 255),
    Color(210, 0, 180),
    Color(120, 90, 120),
    Color(165, 165, 75),
    Color(0, 240, 255),
    Color(15, 30, 210),
    Color(135, 75, 0),
    Color(75, 105, 60),
    Color(255, 120, 150),
    Color(60, 210, 120),
    Color(60, 180, 195),
    Color(75, 75, 135),
    Color(90, 30, 135),
    Color(195, 0, 240),
    Color(75, 150, 30),
    Color(0, 210, 30),
    Color(15, 75, 195),
    Color(165, 45, 45),
    Color(165, 105, 210),
    Color(165, 105, 90),
    Color(150, 0, 90),
    Color(120, 165, 105),
    Color(255, 180, 135),
];

impl Color {
    /// The colour of a text such as `#1f77b4` or `#1f77b4ff`; `None` for any other.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        let hex = digits.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex || !matches!(digits.len(), 6 | 8) {
            return None;
        }
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        Some(Self(byte(0)?, byte(2)?, byte(4)?))
    }

    /// The colour as `#rrggbb`.
    #[must_use]
    pub fn hex(self) -> String {
        let Self(r, g, b) = self;
        format!("#{r:02x}{g:02x}{b:02x}")
    }

    pub(crate) fn plotters(self) -> RGBColor {
        RGBColor(self.0, self.1, self.2)
    }
}

/// A colour for each of `n` categories: those of the file if they are one for each, else the program's own. Above 40 categories its own
/// colours repeat.
///
/// * `own`: the texts of the file's `uns/NAME_colors`
#[must_use]
pub fn type_colors(n: usize, own: Option<&[String]>) -> Vec<Color> {
    let of_file = own.filter(|own| own.len() == n).and_then(|own| {
        own.iter()
            .map(|text| Color::from_hex(text))
            .collect::<Option<Vec<_>>>()
    });
    of_file.unwrap_or_else(|| CATEGORIES.iter().copied().cycle().take(n).collect())
}

/// The colour of a share between 0 and 1: viridis.
pub(crate) fn sequential(share: f32) -> Color {
    let RGBColor(r, g, b) = ViridisRGB.get_color(share.clamp(0.0, 1.0));
    Color(r, g, b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn colours_of_the_file_win_if_there_is_one_for_each() {
        let own = ["#ff0000".to_owned(), "#00ff00ff".to_owned()];
        assert_eq!(
            type_colors(2, Some(&own)),
            [Color(255, 0, 0), Color(0, 255, 0)]
        );
        assert_eq!(type_colors(3, Some(&own)), CATEGORIES[..3]);
        let hostile = ["#ff0000".to_owned(), "\"><script>".to_owned()];
        assert_eq!(type_colors(2, Some(&hostile)), CATEGORIES[..2]);
        assert_eq!(Color::from_hex("#é0000").map(Color::hex), None);
    }

    #[test]
    fn no_two_categories_share_a_colour() {
        let all: HashSet<Color> = CATEGORIES.into();
        assert_eq!(all.len(), CATEGORIES.len());
    }

    #[test]
    fn the_scale_grows_lighter() {
        let light = |Color(r, g, b): Color| u32::from(r) * 3 + u32::from(g) * 6 + u32::from(b);
        let steps: Vec<u32> = (0..=20)
            .map(|i| light(sequential(i as f32 / 20.0)))
            .collect();
        assert!(steps.is_sorted(), "{steps:?}");
    }
}
