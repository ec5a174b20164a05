//! Images in OME-Zarr: one two-dimensional image in channels, at several resolutions.
//!
//! Formats 0.4 (in Zarr 2) and 0.5 (in Zarr 3); <https://ngff.openmicroscopy.org/0.5>.

use crate::StoreError;
use crate::tree::Tree;
use crate::tree::zarr::ZarrTree;
use serde_json::Value;
use std::ops::Range;
use std::path::Path;

/// An image whose sizes are known.
#[derive(Debug)]
pub struct OmeImage {
    tree: ZarrTree,
    levels: Vec<OmeLevel>,
}

/// A resolution of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct OmeLevel {
    /// Pixels in a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// Channels.
    pub n_channels: usize,
    /// Edge of a pixel, micrometres; `None` if the file does not tell it, or its edges differ.
    pub pixel_um: Option<f64>,
    /// The array.
    at: String,
    /// Axes of the array that are columns, rows and channels.
    axes: Axes,
    n_axes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Axes {
    x: usize,
    y: usize,
    channel: Option<usize>,
}

impl OmeImage {
    /// Reads what a store says of its levels.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if it is no OME-Zarr image, has several images, planes or times, or is damaged.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let format = ZarrTree::format_of(path).ok_or_else(|| {
            let reason = "this folder is no Zarr store, so no OME-Zarr image";
            StoreError::broken(path, "", reason)
        })?;
        let tree = ZarrTree::open(path, format)?;
        let broken = |reason: String| StoreError::broken(path, "", reason);
        let attributes = tree.attributes("")?;
        let multiscales = match attributes.get("ome") {
            Some(ome) => &ome["multiscales"],
            None => &attributes["multiscales"],
        };
        let images = multiscales.as_array().map_or(&[][..], Vec::as_slice);
        let [image] = images else {
            return Err(broken(format!(
                "it has {} images (`multiscales`) at its root; give the folder of one OME-Zarr image",
                images.len()
            )));
        };
        let of_axis = |axis: &Value| {
            let name = axis["name"].as_str().unwrap_or_default().to_owned();
            (name, axis["unit"].as_str().map(str::to_owned))
        };
        let axes: Vec<(String, Option<String>)> = (image["axes"].as_array().into_iter())
            .flatten()
            .map(of_axis)
            .collect();
        let axis = |name: &str| axes.iter().position(|(n, _)| n == name);
        let (Some(x), Some(y)) = (axis("x"), axis("y")) else {
            return Err(broken("it has no axes x and y".to_owned()));
        };
        if x < y {
            let reason = "its rows run along the last axis, y, which is not read; store y before x";
            return Err(broken(reason.to_owned()));
        }
        let places = Axes {
            x,
            y,
            channel: axis("c"),
        };
        let datasets = image["datasets"].as_array().into_iter().flatten();
        let level = |dataset: &Value| -> Result<OmeLevel, StoreError> {
            let at = dataset["path"].as_str().unwrap_or_default().to_owned();
            if at.starts_with('/') || at.split('/').any(|part| part == "..") {
                return Err(broken(format!("the resolution `{at}` lies outside")));
            }
            let array = tree.array(&at)?;
            let shape = array.shape();
            if shape.len() != axes.len() {
                let reason = format!("it has {} axes, the image {}", shape.len(), axes.len());
                return Err(StoreError::broken(path, &at, reason));
            }
            for (n, (name, _)) in shape.iter().zip(&axes) {
                if *n != 1 && !["x", "y", "c"].contains(&name.as_str()) {
                    let reason = format!(
                        "{n} steps along the axis `{name}`; give an image of one plane at one time"
                    );
                    return Err(StoreError::broken(path, &at, reason));
                }
            }
            Ok(OmeLevel {
                width: shape[x],
                height: shape[y],
                n_channels: places.channel.map_or(1, |c| shape[c]),
                pixel_um: pixel_um(dataset, [(x, &axes[x].1), (y, &axes[y].1)]),
                n_axes: axes.len(),
                at,
                axes: places,
            })
        };
        let levels = datasets.map(level).collect::<Result<Vec<_>, _>>()?;
        if levels.is_empty() {
            return Err(broken("its list of resolutions is empty".to_owned()));
        }
        Ok(Self { tree, levels })
    }

    /// Its resolutions, as the store lists them: the finest first.
    #[must_use]
    pub fn levels(&self) -> &[OmeLevel] {
        &self.levels
    }

    /// Values of a channel of a level, row after row.
    ///
    /// # Errors
    /// [`StoreError::Broken`] if the array is damaged.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn channel(&self, level: &OmeLevel, channel: usize) -> Result<Vec<f32>, StoreError> {
        assert!(channel < level.n_channels, "a channel of the level");
        let Axes { x, y, channel: c } = level.axes;
        let range = |axis: usize| -> Range<usize> {
            match axis {
                _ if axis == x => 0..level.width,
                _ if axis == y => 0..level.height,
                _ if Some(axis) == c => channel..channel + 1,
                _ => 0..1,
            }
        };
        let region: Vec<Range<usize>> = (0..level.n_axes).map(range).collect();
        self.tree.array(&level.at)?.f32s(&region)
    }
}

/// * `edges`: of columns and rows, the axis and its unit
fn pixel_um(dataset: &Value, edges: [(usize, &Option<String>); 2]) -> Option<f64> {
    /// How much the edges of a pixel may differ.
    const SQUARE: f64 = 0.001;
    let transformations = dataset["coordinateTransformations"].as_array()?;
    let scale = transformations.iter().find(|t| t["type"] == "scale")?;
    let edge = |(axis, unit): (usize, &Option<String>)| {
        let um = match unit.as_deref()? {
            "nanometer" => 1e-3,
            "micrometer" => 1.0,
            "millimeter" => 1e3,
            _ => return None,
        };
        Some(scale["scale"][axis].as_f64()? * um).filter(|edge| *edge > 0.0)
    };
    let [x, y] = edges.map(edge);
    x.filter(|x| y.is_some_and(|y| (x / y - 1.0).abs() < SQUARE))
}
