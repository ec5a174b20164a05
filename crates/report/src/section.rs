//! A section in its atlas: the regions of its mask under the atlas's borders, and the plane in which it was cut.

use crate::axes::orange;
use crate::canvas::{Anchor, Area, FINE, INK, Placed, fitted, paint, write_text};
use crate::error::PictureError;
use crate::figure::Figure;
use crate::palette::{Color, type_colors};
use crate::raster::Raster;
use plotters::prelude::{Color as _, PathElement, Rectangle};

/// A mask's value for pixels outside the tissue,
const OUTSIDE: u8 = 0;
/// and for pixels that say nothing.
const NOTHING: u8 = u8::MAX;
/// Longest side of the section in pixels of the figure.
const SIDE: f64 = 460.0;
/// Width of the profile in pixels.
const PROFILE: f64 = 300.0;
/// Pixels of an image along its longest side, at most.
const FINEST: f64 = 2.0 * SIDE;

/// A registered section.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    /// What it is.
    pub heading: &'a str,
    /// Width and height of its mask in pixels.
    pub size: [usize; 2],
    /// The class of every pixel of the mask, row after row; 0 outside the tissue, 255 where it says nothing.
    pub classes: &'a [u8],
    /// Names of the classes, that of 0 first.
    pub names: &'a [String],
    /// How well each class fits the atlas, with its Dice; `None` where neither shows it.
    pub dice: &'a [Option<f64>],
    /// The atlas's region at every pixel, 0 outside the brain: borders are where it changes.
    pub regions: &'a [u32],
    /// Edge of a pixel in micrometres.
    pub pixel_um: f64,
    /// The atlas from the side.
    pub profile: Profile<'a>,
}

/// An atlas from the side, and a plane through it.
#[derive(Debug, Clone, Copy)]
pub struct Profile<'a> {
    /// Number of voxels from anterior to posterior and from dorsal to ventral.
    pub size: [usize; 2],
    /// Whether there is brain at (AP, DV), AP the last to vary least.
    pub inside: &'a [bool],
    /// Edge of a voxel in micrometres.
    pub voxel_um: f64,
    /// The plane: (AP, DV) in micrometres where it enters and where it leaves.
    pub plane: [(f64, f64); 2],
}

/// A section in its atlas.
///
/// # Errors
/// [`PictureError::Drawing`] if the arrays do not have the sizes that are told.
pub fn registered_section(section: &Section<'_>) -> Result<Figure, PictureError> {
    let [width, height] = section.size;
    let profile = section.profile;
    let n = width * height;
    let most = section.classes.iter().filter(|c| **c != NOTHING).max();
    let fits = n > 0
        && section.classes.len() == n
        && section.regions.len() == n
        && section.dice.len() == section.names.len()
        && most.is_none_or(|m| usize::from(*m) < section.names.len())
        && profile.inside.len() == profile.size[0] * profile.size[1]
        && !profile.inside.is_empty();
    if !fits {
        return Err(PictureError::Drawing(
            "the section's arrays do not fit each other".to_owned(),
        ));
    }
    let scale = SIDE / width.max(height) as f64;
    let drawn = [width, height].map(|v| (v as f64 * scale).round() as i32);
    let shown: Vec<usize> = (1..section.names.len())
        .filter(|&c| section.dice[c].is_some())
        .collect();
    let legend = 20 + shown.len() as i32 * 17 + 20;
    let tall = (drawn[1] + 40).max(190 + legend);
    let size = ((drawn[0] + 60 + PROFILE as i32) as u32, (tall + 50) as u32);
    paint(size, |area, images| {
        let heading = fitted(section.heading, 16.0, f64::from(size.0) - 24.0);
        write_text(area, &heading, 16.0, (12 * FINE, 20 * FINE), Anchor::Left)?;
        images.above.push(Placed {
            left: 12 * FINE,
            top: 44 * FINE,
            width: (drawn[0] * FINE).unsigned_abs(),
            height: (drawn[1] * FINE).unsigned_abs(),
            raster: mask(section)?,
        });
        scale_bar(area, section.pixel_um / scale, 44 + drawn[1] + 18)?;
        let left = drawn[0] + 40;
        draw_profile(area, &profile, left)?;
        let colors = type_colors(section.names.len().saturating_sub(1), None);
        for (k, &class) in shown.iter().enumerate() {
            let middle = (200 + k as i32 * 17) * FINE;
            let corners = [
                (left * FINE, middle - 5 * FINE),
                ((left + 10) * FINE, middle + 5 * FINE),
            ];
            let style = pale(colors[class - 1]).plotters().filled();
            area.draw(&Rectangle::new(corners, style))?;
            let dice = section.dice[class].unwrap_or_default();
            let text = format!("{}: Dice {dice:.2}", section.names[class]);
            let text = fitted(&text, 11.0, PROFILE - 20.0);
            write_text(
                area,
                &text,
                11.0,
                ((left + 16) * FINE, middle),
                Anchor::Left,
            )?;
        }
        Ok(())
    })
}

/// A colour nearer to white, so that borders stand out from it.
fn pale(Color(r, g, b): Color) -> Color {
    let nearer = |v: u8| ((u16::from(v) + 255) / 2) as u8;
    Color(nearer(r), nearer(g), nearer(b))
}

/// The mask in the colours of its classes under the borders of the atlas's regions.
fn mask(section: &Section<'_>) -> Result<Raster, PictureError> {
    let [width, height] = section.size;
    // Large masks are drawn coarser, and borders sought there: a border of one pixel could be missed.
    let shrunk = (FINEST / width.max(height) as f64).min(1.0);
    let [columns, rows] = [width, height].map(|v| ((v as f64 * shrunk) as usize).max(1));
    let source = |x: usize, y: usize| {
        let at = |k: usize, n: usize, of: usize| ((k as f64 + 0.5) / n as f64 * of as f64) as usize;
        at(y, rows, height).min(height - 1) * width + at(x, columns, width).min(width - 1)
    };
    let region = |x: usize, y: usize| section.regions[source(x, y)];
    let colors = type_colors(section.names.len().saturating_sub(1), None);
    let mut raster = Raster::new(columns as u32, rows as u32)?;
    for (x, y) in (0..rows).flat_map(|y| (0..columns).map(move |x| (x, y))) {
        let here = region(x, y);
        let border = (x + 1 < columns && region(x + 1, y) != here)
            || (y + 1 < rows && region(x, y + 1) != here);
        let color = match section.classes[source(x, y)] {
            _ if border => Color(INK.0, INK.1, INK.2),
            OUTSIDE => Color(255, 255, 255),
            NOTHING => Color(236, 236, 236),
            class => pale(colors[usize::from(class) - 1]),
        };
        raster.pixel((x as u32, y as u32), color);
    }
    Ok(raster)
}

/// A bar of a round length.
///
/// * `um`: micrometres in a pixel of the figure
fn scale_bar(area: &Area<'_>, um: f64, y: i32) -> Result<(), PictureError> {
    let lengths = [100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0];
    let Some(length) = lengths.into_iter().rfind(|l| l / um <= SIDE / 3.0) else {
        return Ok(());
    };
    let pixels = (length / um * f64::from(FINE)).round() as i32;
    let (left, y) = (12 * FINE, y * FINE);
    let corners = [(left, y - FINE), (left + pixels, y + FINE)];
    area.draw(&Rectangle::new(corners, INK.filled()))?;
    let text = match length >= 1000.0 {
        true => format!("{} mm", length / 1000.0),
        false => format!("{length} µm"),
    };
    let at = (left + pixels + 6 * FINE, y);
    write_text(area, &text, 11.0, at, Anchor::Left)
}

/// The atlas from the side with the plane of the section.
fn draw_profile(area: &Area<'_>, profile: &Profile<'_>, left: i32) -> Result<(), PictureError> {
    const TOP: i32 = 66;
    const TALL: f64 = 100.0;
    let [ap, dv] = profile.size;
    let scale = ((PROFILE - 20.0) / ap as f64).min(TALL / dv as f64);
    let title = "the section's plane in the atlas, from the side";
    let title = fitted(title, 11.0, PROFILE);
    write_text(area, &title, 11.0, (left * FINE, 52 * FINE), Anchor::Left)?;
    let at = |ap: f64, dv: f64| {
        let place = |v: f64, begin: i32| ((f64::from(begin) + v * scale) * f64::from(FINE)).round();
        (place(ap, left) as i32, place(dv, TOP) as i32)
    };
    let style = Color(214, 214, 214).plotters().filled();
    for a in 0..ap {
        // Runs of brain along DV, one mark each.
        let column: Vec<bool> = (0..dv).map(|d| profile.inside[a * dv + d]).collect();
        let mut begin = 0;
        while let Some(first) = (begin..dv).find(|&d| column[d]) {
            let end = (first..dv).find(|&d| !column[d]).unwrap_or(dv);
            let corners = [at(a as f64, first as f64), at(a as f64 + 1.0, end as f64)];
            area.draw(&Rectangle::new(corners, style))?;
            begin = end;
        }
    }
    let ends = profile
        .plane
        .map(|(a, d)| at(a / profile.voxel_um, d / profile.voxel_um));
    let stroke = orange().plotters().stroke_width(2 * FINE.unsigned_abs());
    area.draw(&PathElement::new(ends.to_vec(), stroke))?;
    let below = (f64::from(TOP) + dv as f64 * scale + 14.0) as i32 * FINE;
    let right = at(ap as f64, 0.0).0;
    write_text(area, "anterior", 10.0, (left * FINE, below), Anchor::Left)?;
    write_text(area, "posterior", 10.0, (right, below), Anchor::Right)
}
