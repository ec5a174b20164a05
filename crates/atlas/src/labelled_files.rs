//! Files of labelled images: photographs of sections, each with the mask that a person drew.

use crate::AtlasError;
use crate::error::read;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tangram_store::StoreError;

/// What a mask's name has after the photograph's.
const MASK_ENDING: &str = "_mask.png";
/// Endings of photographs in a folder.
const IMAGE_ENDINGS: [&str; 5] = ["png", "jpg", "jpeg", "tif", "tiff"];

/// A photograph and its mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledPair {
    /// The photograph.
    pub image: PathBuf,
    /// The mask.
    pub mask: PathBuf,
}

/// The pairs of a folder or a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledFiles {
    /// The pairs in their order: of a table its lines', of a folder that of the names, in which numbers count as numbers.
    pub pairs: Vec<LabelledPair>,
    /// Photographs in the folder that have no mask.
    pub without_mask: Vec<PathBuf>,
}

impl LabelledFiles {
    /// Finds the pairs of a folder, NAME.png (or .jpg, .tif) and NAME_mask.png, or reads a table (CSV, or TSV by its ending) with the columns
    /// `image` and `mask`, whose paths begin where the table lies.
    ///
    /// # Errors
    /// [`AtlasError::File`] if a mask has no photograph or two, the table lacks a column, or there is no pair.
    pub fn find(path: &Path) -> Result<Self, AtlasError> {
        let found = match path.is_dir() {
            true => in_folder(path)?,
            false => Self {
                pairs: in_table(path)?,
                without_mask: Vec::new(),
            },
        };
        if found.pairs.is_empty() {
            let reason = "no labelled image; give a folder with NAME.png (or .jpg, .tif) and NAME_mask.png, or a table with the columns image and mask";
            return Err(AtlasError::file(path, reason));
        }
        Ok(found)
    }
}

fn in_folder(folder: &Path) -> Result<LabelledFiles, AtlasError> {
    let failed = |e: std::io::Error| StoreError::Read {
        path: folder.to_owned(),
        reason: e.to_string(),
    };
    let mut masks: BTreeMap<String, PathBuf> = BTreeMap::new();
    let mut images: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if let Some(stem) = name.strip_suffix(MASK_ENDING) {
            masks.insert(stem.to_owned(), path.clone());
        } else if let Some((stem, ending)) = name.rsplit_once('.')
            && !name.starts_with('.')
            && IMAGE_ENDINGS.contains(&ending.to_lowercase().as_str())
        {
            images
                .entry(stem.to_owned())
                .or_default()
                .push(path.clone());
        }
    }
    let mut pairs = Vec::new();
    for (stem, mask) in masks {
        let of_mask = images.remove(&stem).unwrap_or_default();
        let [image] = of_mask.as_slice() else {
            let reason = match of_mask.len() {
                0 => format!(
                    "a mask without a photograph; {stem}.png, .jpg or .tif is missing beside it"
                ),
                n => format!("a mask with {n} photographs called {stem}; leave one of them"),
            };
            return Err(AtlasError::file(&mask, reason));
        };
        let image = image.clone();
        pairs.push((in_order(&stem), LabelledPair { image, mask }));
    }
    pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut without_mask: Vec<PathBuf> = images.into_values().flatten().collect();
    without_mask.sort();
    Ok(LabelledFiles {
        pairs: pairs.into_iter().map(|(_, pair)| pair).collect(),
        without_mask,
    })
}

fn in_table(path: &Path) -> Result<Vec<LabelledPair>, AtlasError> {
    let wrong = |reason: String| AtlasError::file(path, reason);
    let is_tsv = path.extension().is_some_and(|e| e == "tsv" || e == "txt");
    let bytes = read(path)?;
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(if is_tsv { b'\t' } else { b',' })
        .from_reader(bytes.as_slice());
    let headers = reader.headers().map_err(|e| wrong(e.to_string()))?.clone();
    let column = |name: &str| {
        let at = headers.iter().position(|h| h.trim() == name);
        at.ok_or_else(|| {
            let found: Vec<&str> = headers.iter().collect();
            wrong(format!(
                "the table has no column `{name}`; it has: {}",
                found.join(", ")
            ))
        })
    };
    let (image, mask) = (column("image")?, column("mask")?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut pairs = Vec::new();
    for (row, record) in reader.records().enumerate() {
        let record = record.map_err(|e| wrong(e.to_string()))?;
        let file = |at: usize| {
            let name = record.get(at).unwrap_or_default().trim();
            match name {
                "" => Err(wrong(format!("row {}: a name is missing", row + 1))),
                name => Ok(folder.join(name)),
            }
        };
        pairs.push(LabelledPair {
            image: file(image)?,
            mask: file(mask)?,
        });
    }
    Ok(pairs)
}

/// A name in parts that sort as a person would: its numbers by their size.
fn in_order(name: &str) -> Vec<(String, Option<u128>, String)> {
    let mut parts = Vec::new();
    let mut rest = name;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_owned(), number.parse().ok(), number.to_owned()));
        rest = after;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(files: &LabelledFiles) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
        let pairs = files.pairs.iter();
        pairs
            .map(|p| format!("{} {}", name(&p.image), name(&p.mask)))
            .collect()
    }

    #[test]
    fn pairs_of_a_folder_stand_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str| fs::write(folder.path().join(name), b"").unwrap();
        for name in [
            "s10.jpg",
            "s10_mask.png",
            "s9.TIF",
            "s9_mask.png",
            "alone.png",
            "notes.txt",
        ] {
            write(name);
        }
        let found = LabelledFiles::find(folder.path()).unwrap();
        assert_eq!(
            names(&found),
            ["s9.TIF s9_mask.png", "s10.jpg s10_mask.png"]
        );
        assert_eq!(found.without_mask, [folder.path().join("alone.png")]);
        write("s10.png");
        let error = LabelledFiles::find(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("s10_mask.png: a mask with 2 photographs"),
            "{error}"
        );
        fs::remove_file(folder.path().join("s10.png")).unwrap();
        fs::remove_file(folder.path().join("s10.jpg")).unwrap();
        let error = LabelledFiles::find(folder.path()).unwrap_err().to_string();
        assert!(
            error.contains("s10_mask.png: a mask without a photograph"),
            "{error}"
        );
    }

    #[test]
    fn a_table_names_pairs_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let table = folder.path().join("pairs.tsv");
        fs::write(&table, "mask\timage\nb.png\ta.jpg\nd.png\tc.jpg\n").unwrap();
        let found = LabelledFiles::find(&table).unwrap();
        assert_eq!(names(&found), ["a.jpg b.png", "c.jpg d.png"]);
        assert_eq!(found.pairs[0].image, folder.path().join("a.jpg"));
        for (text, expected) in [
            ("image\tmasks\n", "no column `mask`; it has: image, masks"),
            ("image\tmask\n", "no labelled image"),
            ("image\tmask\na.png\t\n", "row 1: a name is missing"),
        ] {
            fs::write(&table, text).unwrap();
            let error = LabelledFiles::find(&table).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
