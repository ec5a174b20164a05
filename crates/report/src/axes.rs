//! Axes, and what is drawn between them: lines, dashes, points, a legend.

use crate::canvas::{Area, FINE, INK, Images, PALE, Placed, fitted, short, style};
use crate::error::PictureError;
use crate::palette::{Color, type_colors};
use crate::raster::{Disc, Raster};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::{
    Cartesian2d, ChartBuilder, ChartContext, Circle, Color as _, LineSeries, PathElement,
    SVGBackend, SeriesLabelPosition,
};
use std::ops::Range;

/// Points of a chart above which they are drawn as an image.
const MOST_POINTS: usize = 8_000;
/// Width of a line in units of the drawing.
const STROKE: u32 = 2 * FINE.unsigned_abs();

/// A chart with numbers on both axes.
pub(crate) type Chart<'a> =
    ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// What stands around a chart.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Labels<'a> {
    pub(crate) title: &'a str,
    pub(crate) x: &'a str,
    pub(crate) y: &'a str,
}

pub(crate) fn blue() -> Color {
    type_colors(2, None)[0]
}

pub(crate) fn orange() -> Color {
    type_colors(2, None)[1]
}

/// Axes with a title.
pub(crate) fn axes<'a>(
    area: &Area<'a>,
    labels: Labels<'_>,
    x: Range<f64>,
    y: Range<f64>,
) -> Result<Chart<'a>, PictureError> {
    let (width, _) = area.dim_in_pixel();
    let title = fitted(
        labels.title,
        14.0,
        f64::from(width / FINE.unsigned_abs()) - 20.0,
    );
    let mut chart = ChartBuilder::on(area)
        .caption(title, style(14.0))
        .margin(10 * FINE)
        .x_label_area_size(42 * FINE)
        .y_label_area_size(58 * FINE)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .light_line_style(plotters::style::TRANSPARENT)
        .bold_line_style(PALE.stroke_width(FINE.unsigned_abs() / 2))
        .axis_style(INK.stroke_width(FINE.unsigned_abs()))
        .set_all_tick_mark_size(4 * FINE)
        .x_labels(6)
        .y_labels(6)
        .x_label_formatter(&|v| short(*v))
        .y_label_formatter(&|v| short(*v))
        .label_style(style(11.0))
        .axis_desc_style(style(12.0))
        .x_desc(labels.x)
        .y_desc(labels.y)
        .draw()?;
    Ok(chart)
}

pub(crate) fn legend(chart: &mut Chart<'_>, at: SeriesLabelPosition) -> Result<(), PictureError> {
    chart
        .configure_series_labels()
        .position(at)
        .background_style(plotters::style::WHITE.mix(0.85))
        .border_style(PALE.stroke_width(FINE.unsigned_abs()))
        .label_font(style(11.0))
        .legend_area_size(22 * FINE)
        .margin(8 * FINE)
        .draw()?;
    Ok(())
}

/// A named line.
pub(crate) fn line(
    chart: &mut Chart<'_>,
    points: Vec<(f64, f64)>,
    color: Color,
    name: Option<&str>,
) -> Result<(), PictureError> {
    broad_line(chart, points, color, name, 0)
}

/// A named line, some pixels broader than usual.
pub(crate) fn broad_line(
    chart: &mut Chart<'_>,
    points: Vec<(f64, f64)>,
    color: Color,
    name: Option<&str>,
    broader: u32,
) -> Result<(), PictureError> {
    let breadth = STROKE + broader * FINE.unsigned_abs();
    let stroke = color.plotters().stroke_width(breadth);
    let series = chart.draw_series(LineSeries::new(points, stroke))?;
    if let Some(name) = name {
        series
            .label(fitted(name, 11.0, 340.0))
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 16 * FINE, y)], stroke));
    }
    Ok(())
}

/// A dashed line from one point to another.
pub(crate) fn dashes(
    chart: &mut Chart<'_>,
    (x0, y0): (f64, f64),
    (x1, y1): (f64, f64),
) -> Result<(), PictureError> {
    const DASHES: u32 = 40;
    let at = |k: f64| (x0 + (x1 - x0) * k, y0 + (y1 - y0) * k);
    let dash = |k: u32| {
        let (from, to) = (f64::from(k), f64::from(k) + 0.55);
        let path = vec![at(from / f64::from(DASHES)), at(to / f64::from(DASHES))];
        PathElement::new(path, INK.stroke_width(FINE.unsigned_abs()))
    };
    chart.draw_series((0..DASHES).map(dash))?;
    Ok(())
}

/// Points in one colour, as an image if they are many.
pub(crate) fn points(
    chart: &mut Chart<'_>,
    images: &mut Images,
    points: &[(f64, f64)],
    color: Color,
    name: &str,
) -> Result<(), PictureError> {
    let style = color.plotters().mix(0.7).filled();
    let many = points.len() > MOST_POINTS;
    let drawn: &[(f64, f64)] = if many { &[] } else { points };
    let marks = drawn.iter().map(|&at| Circle::new(at, 3 * FINE, style));
    chart
        .draw_series(marks)?
        .label(name)
        .legend(move |(x, y)| Circle::new((x + 8 * FINE, y), 3 * FINE, style));
    if many {
        let area = chart.plotting_area();
        let (x, y) = area.get_pixel_range();
        let (width, height) = (x.end - x.start, y.end - y.start);
        let coarse = FINE / 2;
        let pixels = |units: i32| (units / coarse).unsigned_abs();
        let mut raster = Raster::new(pixels(width), pixels(height))?;
        let disc = Disc::new(1.5);
        for at in points {
            let (px, py) = area.map_coordinate(at);
            let place = |p: i32, from: i32| f64::from(p - from) / f64::from(coarse);
            raster.disc((place(px, x.start), place(py, y.start)), &disc, color);
        }
        images.above.push(Placed {
            left: x.start,
            top: y.start,
            width: width.unsigned_abs(),
            height: height.unsigned_abs(),
            raster,
        });
    }
    Ok(())
}

/// The range of values, widened to differ.
pub(crate) fn wide(values: impl IntoIterator<Item = f64>) -> Range<f64> {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    match (low <= high, high - low) {
        (false, _) => 0.0..1.0,
        (true, span) if span > 0.0 => low - 0.04 * span..high + 0.04 * span,
        (true, _) => low - 0.5..low + 0.5,
    }
}

/// The range of scores: 0 to 1, further down if one is.
pub(crate) fn of_scores(values: impl IntoIterator<Item = f64>) -> Range<f64> {
    values.into_iter().fold(0.0, f64::min).max(-1.0)..1.0
}

pub(crate) fn nothing(what: &str) -> PictureError {
    PictureError::Drawing(format!("there is nothing to show: no {what}"))
}
