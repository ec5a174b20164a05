//! Segmented cells: from label images and tables of centroids, merged, each put into the spot that holds it.

use crate::centroids;
use crate::error::{PipelineError, Result};
use crate::listener::Listener;
use crate::spots::{KnownImage, Spots};
use crate::wording::{count, thousands};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tangram_store::LabelImage;

/// A segmented cell.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SegmentedCell {
    /// Its label in the image, or its name in the table.
    pub(crate) id: String,
    /// x and y in units of the spots' coordinates.
    pub(crate) place: [f64; 2],
    /// The segmentation that it is of: 0 or 1.
    pub(crate) source: usize,
    /// The spot that holds it.
    pub(crate) spot: Option<usize>,
}

/// The segmented cells of a tissue, and how many each spot holds.
#[derive(Debug)]
pub(crate) struct Segmentation {
    pub(crate) cells: Vec<SegmentedCell>,
    /// Of every spot.
    pub(crate) counts: Vec<usize>,
    /// Cells of the second segmentation that are cells of the first.
    pub(crate) n_merged: usize,
}

/// How segmentations are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// One or two files.
    pub(crate) paths: &'a [PathBuf],
    /// Pixels of the segmentation per unit of the spots' coordinates, if not as found.
    pub(crate) scale: Option<f64>,
    /// Two tables: cells this near, in units of the spots' coordinates, are the same.
    pub(crate) merge_distance: Option<f64>,
}

/// A segmentation that is read.
struct Source {
    path: PathBuf,
    /// The image; `None`: a table.
    image: Option<LabelImage>,
    /// Pixels per unit of the spots' coordinates.
    scale: f64,
    cells: Vec<SegmentedCell>,
}

impl Segmentation {
    /// Reads one or two segmentations and puts their cells into the spots.
    ///
    /// # Errors
    /// [`PipelineError::Segmentation`] if a file is none, has another size than the image of the spots, or no cell lies in a spot.
    pub(crate) fn read(how: Reading<'_>, spots: &Spots, listener: &dyn Listener) -> Result<Self> {
        let mut sources = Vec::new();
        for (source, path) in how.paths.iter().enumerate() {
            sources.push(Source::read(path, source, how.scale, spots, listener)?);
        }
        let mut sources = sources.into_iter();
        let Some(first) = sources.next() else {
            return Err(PipelineError::Usage(
                "--segmentation: no file is given".to_owned(),
            ));
        };
        let mut added = Vec::new();
        let mut n_merged = 0;
        for mut second in sources {
            let same = same_cells(&first, &second, how.merge_distance)?;
            let n = same.iter().filter(|same| **same).count();
            listener.say(format_args!(
                "{}: {} of {} are cells of {}, too, and count once",
                second.path.display(),
                thousands(n),
                count(second.cells.len(), "cell"),
                first.path.display(),
            ))?;
            let mut same = same.into_iter();
            second
                .cells
                .retain(|_| !same.next().expect("an answer for every cell"));
            added.append(&mut second.cells);
            n_merged += n;
        }
        let mut cells = first.cells;
        cells.append(&mut added);
        let places: Vec<[f64; 2]> = cells.iter().map(|cell| cell.place).collect();
        let mut counts = vec![0; spots.names.len()];
        for (cell, spot) in cells.iter_mut().zip(spots.holding(&places)) {
            cell.spot = spot;
            if let Some(spot) = spot {
                counts[spot] += 1;
            }
        }
        let n_inside: usize = counts.iter().sum();
        if n_inside == 0 {
            let [[left, right], [top, bottom]] = spots.extent();
            return Err(PipelineError::Segmentation {
                path: how.paths.first().cloned().unwrap_or_default(),
                reason: format!(
                    "none of its {} lies in a spot: the spots lie from x {left:.0} to {right:.0} and y {top:.0} to {bottom:.0}, the cells {}; \
                     is it of this section, and --segmentation-scale right?",
                    count(cells.len(), "cell"),
                    extent_of(&places),
                ),
            });
        }
        let n_empty = counts.iter().filter(|n| **n == 0).count();
        listener.say(format_args!(
            "{}: {} in {}, {} outside of all spots; {} without a cell",
            count(cells.len(), "segmented cell"),
            thousands(n_inside),
            count(counts.len() - n_empty, "spot"),
            thousands(cells.len() - n_inside),
            count(n_empty, "spot"),
        ))?;
        Ok(Self {
            cells,
            counts,
            n_merged,
        })
    }
}

fn extent_of(places: &[[f64; 2]]) -> String {
    let along = |axis: usize| {
        let values = places.iter().map(|p| p[axis]);
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let largest = values.fold(f64::NEG_INFINITY, f64::max);
        format!("{least:.0} to {largest:.0}")
    };
    match places.is_empty() {
        true => "nowhere".to_owned(),
        false => format!("from x {} and y {}", along(0), along(1)),
    }
}

impl Source {
    fn read(
        path: &Path,
        source: usize,
        scale: Option<f64>,
        spots: &Spots,
        listener: &dyn Listener,
    ) -> Result<Self> {
        if !LabelImage::is_one(path)? {
            let scale = scale.unwrap_or(1.0);
            let cells = centroids::read(path)?
                .into_iter()
                .map(|(id, place)| SegmentedCell {
                    id,
                    place: place.map(|at| at / scale),
                    source,
                    spot: None,
                })
                .collect();
            return Ok(Self {
                path: path.to_owned(),
                image: None,
                scale,
                cells,
            });
        }
        let image = LabelImage::open(path)?;
        if image.n_images() > 1 {
            listener.warn(format_args!(
                "{}: holds {}; the first is read",
                path.display(),
                count(image.n_images(), "image")
            ));
        }
        let scale = scale_of(&image, scale, spots, listener)?;
        refuse_spots_outside(&image, scale, spots)?;
        let found = centres(&image)?;
        if found.len() == 1 {
            listener.warn(format_args!(
                "{}: holds one label only: a mask in the place of labels? Every cell needs a number of its own",
                path.display()
            ));
        }
        let cells = found
            .into_iter()
            .map(|(label, centre)| SegmentedCell {
                id: label.to_string(),
                place: centre.map(|at| unit_of(at, scale)),
                source,
                spot: None,
            })
            .collect();
        Ok(Self {
            path: path.to_owned(),
            image: Some(image),
            scale,
            cells,
        })
    }

    /// Places as pixels of the image.
    fn pixels(&self, cells: &[SegmentedCell]) -> Vec<[f64; 2]> {
        let pixel = |cell: &SegmentedCell| cell.place.map(|at| (at + 0.5) * self.scale - 0.5);
        cells.iter().map(pixel).collect()
    }
}

/// A pixel in units of the spots' coordinates. The middle of the first pixel is at 0 in both.
fn unit_of(pixel: f64, scale: f64) -> f64 {
    (pixel + 0.5) / scale - 0.5
}

/// The middle of every label's pixels, by label.
///
/// `x = 1/n Σ x_p` over its n pixels p, counted from 0 at the middle of the first.
fn centres(image: &LabelImage) -> Result<Vec<(u32, [f64; 2])>> {
    /// Pixels of a label: their number and the sums of their coordinates.
    #[derive(Default)]
    struct Sums {
        n: u64,
        x: u64,
        y: u64,
    }
    let mut all: BTreeMap<u32, Sums> = BTreeMap::new();
    image.for_each_row(&mut |y, row| {
        let mut x = 0;
        for run in row.chunk_by(|a, b| a == b) {
            if run[0] != 0 {
                let (first, n) = (x as u64, run.len() as u64);
                let sums = all.entry(run[0]).or_default();
                sums.n += n;
                sums.x += n * first + n * (n - 1) / 2;
                sums.y += n * y as u64;
            }
            x += run.len();
        }
    })?;
    let mean = |sum: u64, n: u64| sum as f64 / n as f64;
    Ok(all
        .into_iter()
        .map(|(label, Sums { n, x, y })| (label, [mean(x, n), mean(y, n)]))
        .collect())
}

/// Pixels of an image per unit of the spots' coordinates: as given, or of the image that the spots' file holds with this size.
fn scale_of(
    image: &LabelImage,
    given: Option<f64>,
    spots: &Spots,
    listener: &dyn Listener,
) -> Result<f64> {
    if let Some(scale) = given {
        return Ok(scale);
    }
    let size = image.size();
    if let Some(known) = spots.images.iter().find(|known| known.size == size) {
        listener.say(format_args!(
            "{}: has the size of the image `{}` of {}: {} of its pixels are one unit of the spots' coordinates",
            image.path().display(),
            known.name,
            spots.path.display(),
            known.scale,
        ))?;
        return Ok(known.scale);
    }
    // The size of the full image is known to within a pixel of the small one.
    let is_full = |known: &KnownImage| {
        let near =
            |axis: usize| (size[axis] as f64 * known.scale - known.size[axis] as f64).abs() <= 1.0;
        near(0) && near(1)
    };
    if spots.images.is_empty() || spots.images.iter().any(is_full) {
        return Ok(1.0);
    }
    let sizes: Vec<String> = spots
        .images
        .iter()
        .map(|known| {
            let full = known.size.map(|n| n as f64 / known.scale);
            format!(
                "{} × {} (`{}`), which makes {:.0} × {:.0} in full",
                known.size[0], known.size[1], known.name, full[0], full[1]
            )
        })
        .collect();
    Err(PipelineError::Segmentation {
        path: image.path().to_owned(),
        reason: format!(
            "is {} × {} pixels, but the image of {} is {}; give the segmentation of the whole image, or say with --segmentation-scale how many of its pixels are one unit of the spots' coordinates",
            size[0],
            size[1],
            spots.path.display(),
            sizes.join(", "),
        ),
    })
}

/// Checks that the centres of all spots lie on the image.
fn refuse_spots_outside(image: &LabelImage, scale: f64, spots: &Spots) -> Result<()> {
    let [width, height] = image.size().map(|n| n as f64 / scale);
    let outside = |x: f64, n: f64| x < -0.5 || x > n - 0.5;
    let n_outside = spots
        .places
        .rows()
        .into_iter()
        .filter(|p| outside(p[0], width) || outside(p[1], height))
        .count();
    if n_outside == 0 {
        return Ok(());
    }
    let [[left, right], [top, bottom]] = spots.extent();
    let [w, h] = image.size();
    Err(PipelineError::Segmentation {
        path: image.path().to_owned(),
        reason: format!(
            "is {w} × {h} pixels, {width:.0} × {height:.0} in units of the spots' coordinates at a scale of {scale}, but the spots lie from x {left:.0} to {right:.0} and y {top:.0} to {bottom:.0}: \
             {} of {} lie outside of it. Give the segmentation of the whole image, or say with --segmentation-scale how many of its pixels are one unit of the spots' coordinates",
            thousands(n_outside),
            count(spots.names.len(), "spot"),
        ),
    })
}

/// Which cells of the second segmentation are cells of the first: the centre of one lies in the other; of two tables, those that are near.
fn same_cells(first: &Source, second: &Source, distance: Option<f64>) -> Result<Vec<bool>> {
    if let Some(image) = &first.image {
        let at = image.labels_at(&first.pixels(&second.cells))?;
        return Ok(at.into_iter().map(|label| label != 0).collect());
    }
    if let Some(image) = &second.image {
        let at = image.labels_at(&second.pixels(&first.cells))?;
        let met: BTreeSet<String> = at
            .into_iter()
            .filter(|l| *l != 0)
            .map(|l| l.to_string())
            .collect();
        return Ok(second.cells.iter().map(|c| met.contains(&c.id)).collect());
    }
    let Some(distance) = distance else {
        return Err(PipelineError::Usage(
            "two tables of centroids say nothing of the cells' sizes: add --merge-distance, within which two cells are one, in units of obsm/spatial"
                .to_owned(),
        ));
    };
    let places =
        |source: &Source| -> Vec<[f64; 2]> { source.cells.iter().map(|cell| cell.place).collect() };
    let as_spots = Spots::of_places(&first.path, &places(first), 2.0 * distance);
    Ok(as_spots
        .holding(&places(second))
        .into_iter()
        .map(|near| near.is_some())
        .collect())
}
