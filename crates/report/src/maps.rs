//! Maps: voxels in space, coloured by a value or by a category.

use crate::canvas::{
    Anchor, Area, FINE, INK, Images, Placed, Repeated, fitted, paint, short, write_text,
};
use crate::error::PictureError;
use crate::figure::Figure;
use crate::layout::{Fitted, GAP, Grid, HEADING, Rect};
use crate::palette::{Color, GREY, sequential};
use crate::places::{Mark, Places};
use crate::raster::{Disc, Raster};
use crate::tissue::Tissue;
use plotters::prelude::{Circle, Color as _, Polygon, Rectangle};
use rayon::prelude::*;

/// Marks of a figure above which it holds images instead.
const MOST_MARKS: usize = 12_000;
/// Units of the drawing for each pixel of an image: two pixels for each of the figure.
const COARSE: i32 = FINE / 2;
/// Width of the colour bar with its numbers in pixels.
const BAR: u32 = 90;
/// Width of a column of the legend in pixels.
const LEGEND: u32 = 190;
/// Height of a line of the legend in pixels.
const LINE: u32 = 17;

/// How much of an image's strength is left, so that the voxels stand out from it.
const STRENGTH: f32 = 0.65;

/// A map of a value.
#[derive(Debug, Clone, Copy)]
pub struct Panel<'a> {
    /// What it shows.
    pub title: &'a str,
    /// A second line; empty for the range of the values.
    pub note: &'a str,
    /// One for each voxel. Voxels whose value is not finite are grey.
    pub values: &'a [f32],
}

/// Which values the ends of the colour bar stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scale {
    /// The least and the greatest value of each panel, as in the figures of the paper.
    Own,
    /// The least and the greatest value of all panels.
    Shared,
}

/// Panels of values in a grid.
///
/// # Errors
/// [`PictureError::Drawing`] if a panel has another number of values than there are voxels, or there is no panel.
pub fn value_maps(
    places: &Places,
    panels: &[Panel<'_>],
    heading: &str,
    scale: Scale,
) -> Result<Figure, PictureError> {
    let columns = match panels.len() {
        n @ 0..=3 => n,
        4 => 2,
        5..=12 => 4,
        _ => 6,
    };
    let panels: Vec<Option<Panel<'_>>> = panels.iter().copied().map(Some).collect();
    panel_grid(places, &panels, columns, heading, scale)
}

/// Panels of values; `None` leaves a place empty.
pub(crate) fn panel_grid(
    places: &Places,
    panels: &[Option<Panel<'_>>],
    columns: usize,
    heading: &str,
    scale: Scale,
) -> Result<Figure, PictureError> {
    let n_marks = panels.iter().flatten().count() * places.len();
    if panels.iter().flatten().next().is_none() {
        return Err(PictureError::Drawing("there is nothing to show".to_owned()));
    }
    if let Some(wrong) = panels
        .iter()
        .flatten()
        .find(|p| p.values.len() != places.len())
    {
        return Err(PictureError::Drawing(format!(
            "{} has {} values for {} voxels",
            wrong.title,
            wrong.values.len(),
            places.len()
        )));
    }
    let ranges: Vec<(f32, f32)> = panels.iter().flatten().map(|p| range(p.values)).collect();
    let shared = ranges
        .iter()
        .fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), r| {
            (l.min(r.0), h.max(r.1))
        });
    let grid = Grid::new(panels.len(), columns, places);
    let size = grid.size(BAR);
    let ends = |panel: &Panel<'_>| match scale {
        Scale::Own => range(panel.values),
        Scale::Shared => shared,
    };
    let drawn = panels.par_iter().enumerate().map(|(i, panel)| {
        let panel = panel.as_ref()?;
        let ends = ends(panel);
        let colors = panel.values.iter().map(|&v| color(v, ends)).collect();
        let order = ascending(panel.values);
        Some(Drawn::new(places, grid.rect(i), (colors, order), n_marks))
    });
    let drawn: Vec<Option<Result<Drawn, PictureError>>> = drawn.collect();
    paint(size, |area, images| {
        write_text(
            area,
            &fitted(heading, 16.0, f64::from(size.0)),
            16.0,
            (GAP as i32 * FINE, HEADING as i32 * FINE / 2),
            Anchor::Left,
        )?;
        for (i, (panel, drawn)) in panels.iter().zip(drawn).enumerate() {
            let (Some(panel), Some(drawn)) = (panel, drawn) else {
                continue;
            };
            let rect = grid.rect(i);
            let note = match panel.note {
                "" => between(range(panel.values)),
                note => note.to_owned(),
            };
            write_titles(area, panel.title, &note, rect)?;
            draw_voxels(area, images, places, rect, drawn?)?;
        }
        let labels = match scale {
            Scale::Own => ["1", "0.5", "0"].map(str::to_owned),
            Scale::Shared => {
                let (low, high) = (f64::from(shared.0), f64::from(shared.1));
                [high, (low + high) / 2.0, low].map(short)
            }
        };
        let first = grid.rect(0);
        let bar = Rect {
            left: (size.0 - BAR + GAP) as i32 * FINE,
            top: first.top,
            width: 14 * FINE,
            height: first.height,
        };
        draw_bar(area, bar, &labels)
    })
}

/// A range for people; a least value near 0 is left out.
fn between((low, high): (f32, f32)) -> String {
    let (low, high) = (f64::from(low), f64::from(high));
    match low >= 0.0 && low < 0.01 * high {
        true => format!("up to {}", short(high)),
        false => format!("{} to {}", short(low), short(high)),
    }
}

/// The least and the greatest finite value; (0, 0) if there is none.
fn range(values: &[f32]) -> (f32, f32) {
    let finite = values.iter().copied().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f32::INFINITY, f32::NEG_INFINITY), |(l, h), v| {
        (l.min(v), h.max(v))
    });
    if low > high { (0.0, 0.0) } else { (low, high) }
}

fn color(value: f32, (low, high): (f32, f32)) -> Color {
    match (value.is_finite(), high > low) {
        (false, _) => GREY,
        (true, false) => sequential(0.0),
        (true, true) => sequential((value - low) / (high - low)),
    }
}

/// Voxels by value, so that the highest lie on top.
fn ascending(values: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    order
}

fn write_titles(area: &Area<'_>, title: &str, note: &str, rect: Rect) -> Result<(), PictureError> {
    let middle = rect.left + rect.width / 2;
    let width = f64::from(rect.width / FINE);
    let line = |text: &str, size: f64, above: i32| {
        let text = fitted(text, size, width);
        write_text(
            area,
            &text,
            size,
            (middle, rect.top - above * FINE),
            Anchor::Middle,
        )
    };
    line(title, 13.0, 25)?;
    line(note, 10.0, 9)
}

fn draw_bar(area: &Area<'_>, bar: Rect, labels: &[String; 3]) -> Result<(), PictureError> {
    const STEPS: i32 = 64;
    for k in 0..STEPS {
        // Up to the top, to be covered by the next: seams would show.
        let bottom = bar.top + bar.height - k * bar.height / STEPS;
        let color = sequential((k as f32 + 0.5) / STEPS as f32);
        let corners = [(bar.left, bar.top), (bar.left + bar.width, bottom)];
        area.draw(&Rectangle::new(corners, color.plotters().filled()))?;
    }
    for (k, label) in labels.iter().enumerate() {
        let at = (
            bar.left + bar.width + 4 * FINE,
            bar.top + bar.height * k as i32 / 2,
        );
        write_text(area, label, 11.0, at, Anchor::Left)?;
    }
    Ok(())
}

/// The voxels of a panel.
enum Drawn {
    /// The colour of each, and the order in which they are drawn.
    Marks(Vec<Color>, Vec<usize>),
    /// An image of them, where the figure has too many for marks.
    Image(Raster),
}

impl Drawn {
    /// * `colors`, `order`: the colour of each voxel, and the order in which they are drawn
    /// * `n_marks`: marks of the whole figure
    fn new(
        places: &Places,
        rect: Rect,
        (colors, order): (Vec<Color>, Vec<usize>),
        n_marks: usize,
    ) -> Result<Self, PictureError> {
        if n_marks <= MOST_MARKS {
            return Ok(Self::Marks(colors, order));
        }
        let fitted = Fitted::new(places, rect);
        let pixels = |units: i32| (units / COARSE).unsigned_abs();
        let mut raster = Raster::new(pixels(rect.width), pixels(rect.height))?;
        let coarse = f64::from(COARSE);
        let disc = Disc::new(fitted.radius(places.mark()) / coarse);
        for i in order {
            let (x, y) = fitted.at(places.x()[i], places.y()[i]);
            let at = (
                (x - f64::from(rect.left)) / coarse,
                (y - f64::from(rect.top)) / coarse,
            );
            raster.disc(at, &disc, colors[i]);
        }
        Ok(Self::Image(raster))
    }
}

/// Draws the voxels of a panel, over the tissue if there is an image of it.
fn draw_voxels(
    area: &Area<'_>,
    images: &mut Images,
    places: &Places,
    rect: Rect,
    drawn: Drawn,
) -> Result<(), PictureError> {
    let fitted = Fitted::new(places, rect);
    if let Some(tissue) = places.tissue() {
        let below = match &mut images.below {
            Some(below) => below,
            // All panels of a figure have one size.
            None => images.below.insert(Repeated {
                width: rect.width.unsigned_abs(),
                height: rect.height.unsigned_abs(),
                raster: under(tissue, &fitted, rect)?,
                at: Vec::new(),
            }),
        };
        below.at.push((rect.left, rect.top));
    }
    if let Some(rings) = places.rings().filter(|r| r.middles.len() <= MOST_MARKS) {
        let radius = (rings.radius * fitted.scale()).round() as i32;
        for &(x, y) in &rings.middles {
            let (x, y) = fitted.at(x, y);
            let at = (x.round() as i32, y.round() as i32);
            area.draw(&Circle::new(at, radius, INK.stroke_width(FINE as u32)))?;
        }
    }
    let (colors, order) = match drawn {
        Drawn::Marks(colors, order) => (colors, order),
        Drawn::Image(raster) => {
            images.above.push(Placed {
                left: rect.left,
                top: rect.top,
                width: rect.width.unsigned_abs(),
                height: rect.height.unsigned_abs(),
                raster,
            });
            return Ok(());
        }
    };
    for i in order {
        let middle = (places.x()[i], places.y()[i]);
        let style = colors[i].plotters().filled();
        match places.mark() {
            Mark::Hexagon { radius, turn } => {
                let corners = fitted.hexagon(middle, radius, turn);
                area.draw(&Polygon::new(corners, style))?;
            }
            mark @ Mark::Disc { .. } => {
                let (x, y) = fitted.at(middle.0, middle.1);
                let radius = fitted.radius(mark).round() as i32;
                let at = (x.round() as i32, y.round() as i32);
                area.draw(&Circle::new(at, radius, style))?;
            }
        }
    }
    Ok(())
}

/// The part of an image of the tissue that a panel shows, paler.
fn under(tissue: &Tissue, fitted: &Fitted, rect: Rect) -> Result<Raster, PictureError> {
    /// Points along each side of a pixel whose mean it is.
    const POINTS: u32 = 3;
    let pixels = |units: i32| (units / COARSE).unsigned_abs();
    let (width, height) = (pixels(rect.width), pixels(rect.height));
    let mut raster = Raster::new(width, height)?;
    let place = |pixel: u32, k: u32, begin: i32| {
        let along = f64::from(pixel) + (f64::from(k) + 0.5) / f64::from(POINTS);
        f64::from(begin) + along * f64::from(COARSE)
    };
    for (x, y) in (0..height).flat_map(|y| (0..width).map(move |x| (x, y))) {
        let (mut sum, mut n) = ([0.0f32; 3], 0.0f32);
        for (i, j) in (0..POINTS).flat_map(|j| (0..POINTS).map(move |i| (i, j))) {
            let (px, py) = fitted.back((place(x, i, rect.left), place(y, j, rect.top)));
            if let Some(Color(r, g, b)) = tissue.color_at(px, py) {
                for (sum, value) in sum.iter_mut().zip([r, g, b]) {
                    *sum += f32::from(value);
                }
                n += 1.0;
            }
        }
        if n > 0.0 {
            let pale = |sum: f32| (255.0 - STRENGTH * (255.0 - sum / n)).round() as u8;
            let [r, g, b] = sum.map(pale);
            raster.pixel((x, y), Color(r, g, b));
        }
    }
    Ok(raster)
}

/// Voxels, or cells in their spots, coloured by their category, with a legend of the categories that occur.
///
/// * `codes`: the category of each voxel, `None` where it has none
///
/// # Errors
/// [`PictureError::Drawing`] if there is not one code for each voxel, or a category has no name or no colour.
pub fn category_map(
    places: &Places,
    codes: &[Option<u32>],
    names: &[String],
    colors: &[Color],
    heading: &str,
) -> Result<Figure, PictureError> {
    let most = codes.iter().flatten().max().map_or(0, |&c| c as usize + 1);
    if codes.len() != places.len() || most > names.len() || most > colors.len() {
        return Err(PictureError::Drawing(format!(
            "{} categories with {} names and {} colours for {} of {} voxels",
            most,
            names.len(),
            colors.len(),
            codes.len(),
            places.len()
        )));
    }
    // The last is of those without a category.
    let mut counts = vec![0usize; most + 1];
    for code in codes {
        counts[code.map_or(most, |c| c as usize)] += 1;
    }
    let entry = |c: usize| match c < most {
        true => (format!("{} ({})", names[c], counts[c]), colors[c]),
        false => (format!("none ({})", counts[c]), GREY),
    };
    let shown = (0..=most).filter(|&c| counts[c] > 0);
    let entries: Vec<(String, Color)> = shown.map(entry).collect();
    let grid = Grid::new(1, 1, places).untitled();
    let lines = ((grid.panel.1 / LINE) as usize).max(12);
    let legends = entries.len().div_ceil(lines).max(1);
    let (width, height) = grid.size(LEGEND * legends as u32);
    let size = (width, height.max(HEADING + (lines as u32 + 1) * LINE));
    paint(size, |area, images| {
        write_text(
            area,
            &fitted(heading, 16.0, f64::from(size.0)),
            16.0,
            (GAP as i32 * FINE, HEADING as i32 * FINE / 2),
            Anchor::Left,
        )?;
        let rect = grid.rect(0);
        let of_voxel = |code: &Option<u32>| code.map_or(GREY, |c| colors[c as usize]);
        let voxel_colors: Vec<Color> = codes.iter().map(of_voxel).collect();
        let order: Vec<usize> = (0..places.len()).collect();
        let drawn = Drawn::new(places, rect, (voxel_colors, order), places.len())?;
        draw_voxels(area, images, places, rect, drawn)?;
        let first = rect.left + rect.width + GAP as i32 * FINE;
        for (k, (text, color)) in entries.iter().enumerate() {
            let left = first + (k / lines) as i32 * LEGEND as i32 * FINE;
            let middle = rect.top + ((k % lines) as i32 * LINE as i32 + 8) * FINE;
            let corners = [
                (left, middle - 5 * FINE),
                (left + 10 * FINE, middle + 5 * FINE),
            ];
            area.draw(&Rectangle::new(corners, color.plotters().filled()))?;
            let text = fitted(text, 11.0, f64::from(LEGEND) - 20.0);
            write_text(area, &text, 11.0, (left + 15 * FINE, middle), Anchor::Left)?;
        }
        Ok(())
    })
}
