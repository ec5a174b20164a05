//! What a registration leaves behind: the transform, its field, labels, pictures.

use crate::nifti::encode_nifti;
use crate::store::Atlas;
use crate::{
    AtlasError, BACKGROUND, FlatMap, NO_CLASS, Registration, SectionMask, Transform, Volume,
    encode_nrrd,
};
use image::{Rgb, RgbImage};
use std::fs;
use std::path::Path;
use tangram_store::{Existing, StoreError, VolumeValues, VolumeWriter};

/// Name of the transform's file.
pub const TRANSFORM_FILE: &str = "transform.json";
/// Name of the store of every pixel's atlas position.
pub const FIELD_FILE: &str = "field.zarr";
/// Name of the structure identifiers' file.
pub const LABELS_FILE: &str = "labels.nrrd";
/// Name of the same in NIfTI; absent where an edge has more than 32,767 pixels.
pub const NIFTI_FILE: &str = "labels.nii.gz";
/// Name of VisuAlign's label map: the index of a structure is its row in the tree, counted from 1.
pub const FLAT_FILE: &str = "labels.flat";
/// Name of the picture of the labels.
pub const LABELS_PICTURE: &str = "labels.png";
/// Name of the picture of the mask with the atlas's borders.
pub const OVERLAY_PICTURE: &str = "overlay.png";

/// Identifiers of the structures at the pixels of a registered section, 0 outside the brain.
///
/// # Errors
/// [`AtlasError`] if the atlas cannot be read.
pub fn section_ids(atlas: &Atlas, transform: &Transform) -> Result<Vec<u32>, AtlasError> {
    let labels = atlas.labels(atlas.level_of(transform.parameters().pixel_um))?;
    Ok(ids_at(atlas, &labels, transform))
}

/// The same, given a level of the atlas's labels.
pub(crate) fn ids_at(atlas: &Atlas, labels: &Volume<u16>, transform: &Transform) -> Vec<u32> {
    let structures = atlas.tree().structures();
    let id = |point| match labels.at(point) {
        None | Some(0) => 0,
        Some(label) => structures[usize::from(label) - 1].id,
    };
    transform.field().into_iter().map(id).collect()
}

/// Writes everything into a folder that exists.
///
/// * `final_place`: where the folder will be, for messages
///
/// # Errors
/// [`AtlasError`] if the atlas cannot be read or the files not be written.
pub fn write_registration(
    folder: &Path,
    final_place: &Path,
    atlas: &Atlas,
    mask: &SectionMask,
    registration: &Registration,
) -> Result<(), AtlasError> {
    let failed = |e: &dyn std::fmt::Display| StoreError::Write {
        path: final_place.to_owned(),
        reason: e.to_string(),
    };
    let transform = &registration.transform;
    let [width, height] = mask.size();
    let write =
        |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).map_err(|e| failed(&e));
    write(TRANSFORM_FILE, transform.to_json().as_bytes())?;

    let field: Vec<f32> = transform
        .field()
        .into_iter()
        .flatten()
        .map(|x| x as f32)
        .collect();
    let about = [
        ("axes", "row, column, (AP, DV, ML)"),
        ("unit", "micrometre"),
    ];
    let mut store = VolumeWriter::create(&folder.join(FIELD_FILE), Existing::Refuse, &about)?;
    let values = VolumeValues::F32(&field);
    store.array("positions", &[height, width, 3], values, &[])?;
    store.finish()?;

    let ids = section_ids(atlas, transform)?;
    let pixel = transform.parameters().pixel_um;
    let nrrd =
        encode_nrrd(&[width, height], Some(&[pixel, pixel]), &ids).map_err(|e| failed(&e))?;
    write(LABELS_FILE, &nrrd)?;
    if let Some(nifti) = encode_nifti([width, height], pixel, &ids).map_err(|e| failed(&e))? {
        write(NIFTI_FILE, &nifti)?;
    }

    let row_of = |id: &u32| {
        let row = atlas.tree().row_of_id(*id);
        row.map_or(0, |row| row as u32 + 1)
    };
    let flat = FlatMap {
        width,
        height,
        indices: ids.iter().map(row_of).collect(),
    };
    write(FLAT_FILE, &flat.to_bytes())?;

    let save =
        |picture: RgbImage, name: &str| picture.save(folder.join(name)).map_err(|e| failed(&e));
    let colour = |id: u32| match atlas.tree().row_of_id(id) {
        Some(row) => atlas.tree().structures()[row].rgb,
        None => [0; 3],
    };
    let picture = RgbImage::from_fn(width as u32, height as u32, |x, y| {
        Rgb(colour(ids[y as usize * width + x as usize]))
    });
    save(picture, LABELS_PICTURE)?;
    save(overlay(mask, &ids, colour), OVERLAY_PICTURE)?;
    Ok(())
}

/// The mask in shades of gray under the borders of the atlas's structures.
fn overlay(mask: &SectionMask, ids: &[u32], colour: impl Fn(u32) -> [u8; 3]) -> RgbImage {
    let [width, height] = mask.size();
    let most = mask.classes().iter().filter(|c| **c != NO_CLASS).max();
    let most = usize::from(most.copied().unwrap_or(1)).max(1);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let at = y * width + x;
        let differs = |other: usize| ids[other] != ids[at];
        let border = (x + 1 < width && differs(at + 1)) || (y + 1 < height && differs(at + width));
        match (border, mask.classes()[at]) {
            // A border between the brain and the outside takes the brain's colour, made to stand out.
            (true, _) => {
                let inside = [at, at + 1, at + width];
                let id = inside
                    .into_iter()
                    .filter_map(|i| ids.get(i))
                    .find(|id| **id != 0);
                Rgb(bright(colour(id.copied().unwrap_or(0))))
            }
            (false, BACKGROUND) => Rgb([0; 3]),
            (false, NO_CLASS) => Rgb([25; 3]),
            (false, class) => Rgb([(50 + 130 * usize::from(class) / most) as u8; 3]),
        }
    })
}

/// The same hue with its strongest part at full strength.
fn bright(rgb: [u8; 3]) -> [u8; 3] {
    let most = u16::from(rgb.into_iter().max().unwrap_or(0)).max(1);
    rgb.map(|c| (u16::from(c) * 255 / most) as u8)
}
