//! A chart of a series: depth of its sections over their numbers.

use crate::axes::{Labels, axes, blue, dashes, legend, nothing, orange, points, wide};
use crate::canvas::paint;
use crate::error::PictureError;
use crate::figure::Figure;
use crate::palette::GREY;
use plotters::prelude::SeriesLabelPosition;

/// Sections of a series by what is said of them: (number, depth in µm) of each.
#[derive(Debug, Clone, Copy)]
pub struct SeriesDepths<'a> {
    /// What stands above.
    pub heading: &'a str,
    /// What the numbers are.
    pub numbers: &'a str,
    /// Sections that lie where the others say.
    pub fitting: &'a [(f64, f64)],
    /// Sections that lie elsewhere.
    pub outliers: &'a [(f64, f64)],
    /// Sections whose fit was refused, wherever they lie.
    pub refused: &'a [(f64, f64)],
    /// The ends of the line, if there is one.
    pub line: Option<[(f64, f64); 2]>,
}

/// Depth over the number, the line, outliers and refused fits.
///
/// # Errors
/// If no section has a place.
pub fn series(all: &SeriesDepths<'_>) -> Result<Figure, PictureError> {
    let groups = [
        (all.fitting, blue(), "fits the series"),
        (all.outliers, orange(), "outlier"),
        (all.refused, GREY, "refused"),
    ];
    let shown = || groups.iter().flat_map(|(group, ..)| group.iter().copied());
    if shown().next().is_none() {
        return Err(nothing("section with a place"));
    }
    let ends = || all.line.into_iter().flatten();
    paint((760, 460), |area, images| {
        let labels = Labels {
            title: all.heading,
            x: all.numbers,
            y: "µm from the anterior end",
        };
        let x = wide(shown().chain(ends()).map(|p| p.0));
        let y = wide(shown().chain(ends()).map(|p| p.1));
        let mut chart = axes(area, labels, x, y)?;
        if let Some([from, to]) = all.line {
            dashes(&mut chart, from, to)?;
        }
        for (group, color, name) in groups {
            if !group.is_empty() {
                let name = format!("{name} ({})", group.len());
                points(&mut chart, images, group, color, &name)?;
            }
        }
        let rises = all.line.is_none_or(|[from, to]| to.1 >= from.1);
        legend(
            &mut chart,
            match rises {
                true => SeriesLabelPosition::UpperLeft,
                false => SeriesLabelPosition::UpperRight,
            },
        )
    })
}
