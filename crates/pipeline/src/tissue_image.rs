//! The image of the tissue that a voxels' file keeps, and the true size of its spots.

use crate::error::Result;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use tangram_report::Tissue;
use tangram_store::{ArrayValues, Dataset, Kind, Uns, open_file, read_text};

/// The images, the finest first: each with its scale, pixels of it for each of the full image.
const IMAGES: [(&str, &str); 2] = [
    ("hires", "tissue_hires_scalef"),
    ("lowres", "tissue_lowres_scalef"),
];
/// Diameter of a spot in pixels of the full image, which the coordinates are in.
const DIAMETER: &str = "spot_diameter_fullres";

/// The image and the diameter of a spot, if a file keeps both for one section: `uns/spatial` as scanpy and squidpy write it, or the
/// `spatial` folder of Space Ranger. What cannot be read as such is of some other kind, and no image.
///
/// # Errors
/// If the file cannot be read.
pub(crate) fn of(voxels: &Dataset) -> Result<Option<(Tissue, f64)>> {
    if voxels.kind() == Kind::SpaceRanger {
        return Ok(of_folder(&voxels.path().join("spatial")));
    }
    if !voxels.uns_names()?.iter().any(|name| name == "spatial") {
        return Ok(None);
    }
    let Ok(Some(Uns::Map(sections))) = voxels.uns_value("spatial") else {
        return Ok(None);
    };
    // Of several sections, there is no telling on whose image a voxel lies.
    let mut sections = sections.into_values();
    let (Some(Uns::Map(section)), None) = (sections.next(), sections.next()) else {
        return Ok(None);
    };
    Ok(of_section(&section))
}

fn of_section(section: &BTreeMap<String, Uns>) -> Option<(Tissue, f64)> {
    let (Uns::Map(images), Uns::Map(factors)) =
        (section.get("images")?, section.get("scalefactors")?)
    else {
        return None;
    };
    let factor = |name: &str| match factors.get(name)? {
        Uns::Number(number) => Some(*number),
        Uns::Integer(number) => Some(*number as f64),
        _ => None,
    };
    let diameter = factor(DIAMETER)?;
    let image = |(name, scale): (&str, &str)| tissue(images.get(name)?, factor(scale)?);
    Some((IMAGES.into_iter().find_map(image)?, diameter))
}

/// An image of (rows, columns, red green blue and perhaps opacity), as bytes or from 0 to 1.
fn tissue(image: &Uns, scale: f64) -> Option<Tissue> {
    let Uns::Array { shape, values } = image else {
        return None;
    };
    let &[height, width, channels @ (3 | 4)] = &shape[..] else {
        return None;
    };
    let rgb = match values {
        ArrayValues::U8(values) => bytes(values, channels, |v| v),
        ArrayValues::F32(values) => bytes(values, channels, |v| (v * 255.0).round() as u8),
        ArrayValues::F64(values) => bytes(values, channels, |v| (v * 255.0).round() as u8),
    };
    Tissue::new((width, height), rgb, scale)
}

/// Red, green and blue of each pixel as bytes.
fn bytes<T: Copy>(values: &[T], channels: usize, byte: impl Fn(T) -> u8) -> Vec<u8> {
    let pixels = values.chunks_exact(channels);
    pixels
        .flat_map(|p| [byte(p[0]), byte(p[1]), byte(p[2])])
        .collect()
}

fn of_folder(folder: &Path) -> Option<(Tissue, f64)> {
    let text = read_text(&folder.join("scalefactors_json.json")).ok()?;
    let factors: BTreeMap<String, serde_json::Value> = serde_json::from_str(&text).ok()?;
    let factor = |name: &str| factors.get(name)?.as_f64();
    let image = |(name, scale): (&str, &str)| {
        let mut bytes = Vec::new();
        let mut file = open_file(&folder.join(format!("tissue_{name}_image.png"))).ok()?;
        file.read_to_end(&mut bytes).ok()?;
        Tissue::from_png(&bytes, factor(scale)?)
    };
    Some((IMAGES.into_iter().find_map(image)?, factor(DIAMETER)?))
}
