//! The synthetic brain and its sections as files that an import and a registration read.

use crate::synthetic::{Brain, SyntheticSection};
use crate::{AtlasError, ImportSources, encode_nrrd};
use image::GrayImage;
use std::fmt::{Display, Write};
use std::fs;
use std::path::Path;
use tangram_store::StoreError;

/// Name of the annotation's file.
pub const ANNOTATION_FILE: &str = "annotation.nrrd";
/// Name of the structure tree's file.
pub const STRUCTURES_FILE: &str = "structures.csv";
/// Name of the class rule's file.
pub const RULE_FILE: &str = "rule.toml";
/// Axes of the annotation's file, its fastest first: right, inferior, posterior.
pub const ORIENTATION: &str = "RIP";

/// Writes annotation, structure tree and class rule into a folder that exists.
///
/// # Returns
/// What an import of them needs.
///
/// # Errors
/// [`AtlasError::Store`] if a file cannot be written.
pub fn write_sources(folder: &Path, brain: &Brain) -> Result<ImportSources, AtlasError> {
    let structures = brain.tree.structures();
    let mut table = "id,acronym,name,parent_structure_id,color_hex_triplet\n".to_owned();
    for s in structures {
        let parent = s.parent.map(|p| structures[p].id.to_string());
        let [r, g, b] = s.rgb;
        let parent = parent.unwrap_or_default();
        writeln!(
            table,
            "{},{},{},{parent},{r:02X}{g:02X}{b:02X}",
            s.id, s.acronym, s.name
        )
        .expect("a text grows");
    }
    let id = |&label: &u16| match label {
        0 => 0,
        row => structures[usize::from(row) - 1].id,
    };
    let ids: Vec<u32> = brain.labels.values.iter().map(id).collect();
    // The file's fastest axis is ML, as in the arrays here.
    let [ap, dv, ml] = brain.labels.grid.shape;
    let edge = brain.labels.grid.voxel_um;
    let annotation = folder.join(ANNOTATION_FILE);
    let nrrd = encode_nrrd(&[ml, dv, ap], Some(&[edge; 3]), &ids)
        .map_err(|e| unwritten(&annotation, &e))?;
    let rule = folder.join(RULE_FILE);
    let text = toml::to_string(&brain.rule).map_err(|e| unwritten(&rule, &e))?;
    let structures = folder.join(STRUCTURES_FILE);
    let write = |path: &Path, bytes: &[u8]| fs::write(path, bytes).map_err(|e| unwritten(path, &e));
    write(&annotation, &nrrd)?;
    write(&structures, table.as_bytes())?;
    write(&rule, text.as_bytes())?;
    Ok(ImportSources {
        annotation,
        structures,
        template: None,
        expression: Vec::new(),
        densities: Vec::new(),
        rule: brain.rule.clone(),
        orientation: Some(ORIENTATION.parse().expect("an orientation")),
        voxel_um: None,
    })
}

/// Writes the mask of a section as an image.
///
/// # Errors
/// [`AtlasError::Store`] if the file cannot be written.
pub fn write_mask(path: &Path, section: &SyntheticSection) -> Result<(), AtlasError> {
    let [width, height] = section.mask.size();
    let pixels = section.mask.classes().to_vec();
    let image =
        GrayImage::from_raw(width as u32, height as u32, pixels).expect("a class for every pixel");
    Ok(image.save(path).map_err(|e| unwritten(path, &e))?)
}

fn unwritten(path: &Path, reason: &dyn Display) -> StoreError {
    StoreError::Write {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}
