//! Where panels lie in a figure, and voxels in a panel. Lengths are in units of the drawing unless they say pixels.

use crate::canvas::FINE;
use crate::places::{Extent, Mark, Places};

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) left: i32,
    pub(crate) top: i32,
    pub(crate) width: i32,
    pub(crate) height: i32,
}

/// Panels of equal size in rows and columns, in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grid {
    pub(crate) columns: usize,
    pub(crate) rows: usize,
    pub(crate) panel: (u32, u32),
    /// Height of what stands above each panel.
    title: u32,
}

/// Height of the heading of a figure in pixels.
pub(crate) const HEADING: u32 = 40;
/// Height of a panel's title and note in pixels.
pub(crate) const TITLE: u32 = 38;
/// Space around panels in pixels.
pub(crate) const GAP: u32 = 12;

impl Grid {
    /// A grid for panels of voxels.
    ///
    /// * `columns`: at most; panels are larger where they are few
    pub(crate) fn new(n_panels: usize, columns: usize, places: &Places) -> Self {
        let columns = columns.clamp(1, n_panels.max(1));
        let extent = places.extent();
        let ratio = (extent.height / extent.width).clamp(0.3, 1.8);
        let width = match columns {
            1 => 520.0,
            2 | 3 => 340.0,
            4 => 260.0,
            _ => 210.0,
        };
        Self {
            columns,
            rows: n_panels.div_ceil(columns),
            panel: (width as u32, (width * ratio).round() as u32),
            title: TITLE,
        }
    }

    /// The same panels without titles of their own.
    pub(crate) fn untitled(self) -> Self {
        Self { title: 0, ..self }
    }

    /// Width and height of the figure in pixels.
    ///
    /// * `beside`: width of what stands to the right of the panels
    pub(crate) fn size(&self, beside: u32) -> (u32, u32) {
        let (columns, rows) = (self.columns as u32, self.rows as u32);
        let width = columns * (self.panel.0 + GAP) + GAP + beside;
        let height = HEADING + rows * (self.panel.1 + self.title + GAP);
        (width, height)
    }

    /// The place of a panel, without its title, if it has one, which stands above.
    pub(crate) fn rect(&self, i: usize) -> Rect {
        let (row, column) = ((i / self.columns) as u32, (i % self.columns) as u32);
        let left = GAP + column * (self.panel.0 + GAP);
        let top = HEADING + self.title + row * (self.panel.1 + self.title + GAP);
        let units = |pixels: u32| pixels as i32 * FINE;
        Rect {
            left: units(left),
            top: units(top),
            width: units(self.panel.0),
            height: units(self.panel.1),
        }
    }
}

/// Voxels fitted into a rectangle with one scale for both directions.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fitted {
    extent: Extent,
    down: bool,
    scale: f64,
    /// Where the extent begins.
    left: f64,
    top: f64,
}

impl Fitted {
    pub(crate) fn new(places: &Places, rect: Rect) -> Self {
        let extent = places.extent();
        let (width, height) = (f64::from(rect.width), f64::from(rect.height));
        let scale = (width / extent.width).min(height / extent.height);
        Self {
            extent,
            down: places.is_downwards(),
            scale,
            left: f64::from(rect.left) + (width - extent.width * scale) / 2.0,
            top: f64::from(rect.top) + (height - extent.height * scale) / 2.0,
        }
    }

    /// Units of the drawing for each unit of the coordinates.
    pub(crate) fn scale(&self) -> f64 {
        self.scale
    }

    /// The place of a point.
    pub(crate) fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let across = (x - self.extent.left) * self.scale;
        let up = (y - self.extent.bottom) * self.scale;
        let down = match self.down {
            true => up,
            false => self.extent.height * self.scale - up,
        };
        (self.left + across, self.top + down)
    }

    /// The point at a place: undoes [`at`](Self::at).
    pub(crate) fn back(&self, (left, top): (f64, f64)) -> (f64, f64) {
        let (across, down) = (
            (left - self.left) / self.scale,
            (top - self.top) / self.scale,
        );
        let up = match self.down {
            true => down,
            false => self.extent.height - down,
        };
        (self.extent.left + across, self.extent.bottom + up)
    }

    /// Corners of a hexagon around a point.
    pub(crate) fn hexagon(&self, (x, y): (f64, f64), radius: f64, turn: f64) -> Vec<(i32, i32)> {
        let corner = |k: u32| {
            let angle = turn + f64::from(k) * std::f64::consts::FRAC_PI_3;
            let (x, y) = self.at(x + radius * angle.cos(), y + radius * angle.sin());
            (x.round() as i32, y.round() as i32)
        };
        (0..6).map(corner).collect()
    }

    /// The radius of a disc: at least 0.6 pixels, or voxels could not be seen.
    pub(crate) fn radius(&self, mark: Mark) -> f64 {
        let (Mark::Hexagon { radius, .. } | Mark::Disc { radius }) = mark;
        (radius * self.scale).max(0.6 * f64::from(FINE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voxels_stay_in_their_rectangle_and_keep_their_shape() {
        let places = Places::new(vec![0.0, 10.0, 20.0], vec![0.0, 5.0, 0.0]).unwrap();
        let rect = Rect {
            left: 100,
            top: 50,
            width: 400,
            height: 400,
        };
        let fitted = Fitted::new(&places, rect);
        let (left, low) = fitted.at(0.0, 0.0);
        let (right, high) = fitted.at(20.0, 5.0);
        let (x, y) = fitted.back((right, high));
        assert!((x - 20.0).abs() < 1e-9 && (y - 5.0).abs() < 1e-9);
        assert!(left >= 100.0 && right <= 500.0);
        assert!(high < low, "y points upwards");
        let ratio = (right - left) / (low - high);
        assert!((ratio - 4.0).abs() < 1e-9);
        let down = Fitted::new(&places.downwards(), rect);
        assert!(down.at(0.0, 5.0).1 > down.at(0.0, 0.0).1);
    }
}
