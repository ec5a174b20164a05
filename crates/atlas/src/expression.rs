//! Expression grids of the Allen Mouse Brain Atlas: a zip archive with an MHD header and raw numbers.

use crate::{AtlasError, Grid, Orientation, Volume};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use tangram_store::open_file;
use zip::ZipArchive;

/// A grid of more voxels than this is refused before anything is read.
const MOST_VOXELS: usize = 1 << 27;
/// A header is a few hundred bytes.
const MOST_HEADER: u64 = 1 << 16;

/// Reads the grid of one experiment. Places that were not measured, −1 in the file, are NaN.
///
/// The files say `AnatomicalOrientation = RAI`; their axes are nevertheless AP, DV, ML, the first fastest, as the Allen Institute's
/// documentation of the grids says.
///
/// # Errors
/// [`AtlasError::File`] if the archive has no header with numbers of type float, or they do not fit it.
pub fn read_expression(path: &Path) -> Result<Volume<f32>, AtlasError> {
    let wrong = |reason: String| AtlasError::file(path, reason);
    let file = open_file(path)?;
    let mut archive =
        ZipArchive::new(file).map_err(|e| wrong(format!("not a zip archive ({e})")))?;
    let names: Vec<String> = archive.file_names().map(str::to_owned).collect();
    let header_name = names
        .iter()
        .find(|n| n.ends_with(".mhd"))
        .ok_or_else(|| wrong("the archive has no .mhd header".to_owned()))?;
    let text = unpack(&mut archive, header_name, MOST_HEADER).map_err(wrong)?;
    let header = Header::parse(&String::from_utf8_lossy(&text)).map_err(wrong)?;
    let n_voxels = header.sizes.iter().product::<usize>();
    let raw = unpack(&mut archive, &header.data, n_voxels as u64 * 4).map_err(wrong)?;
    if raw.len() != n_voxels * 4 {
        let reason = format!(
            "{}: {} bytes for {n_voxels} numbers",
            header.data,
            raw.len()
        );
        return Err(wrong(reason));
    }
    let values: Vec<f32> = raw
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().expect("chunks of 4")))
        .map(|v| if v < 0.0 { f32::NAN } else { v })
        .collect();
    let axes: Orientation = "PIR".parse().expect("a valid orientation");
    axes.arrange(path, &header.sizes, header.steps_um, &values)
}

/// Whether a grid covers the atlas. Its lengths may differ by one voxel, because the last voxels lie outside the brain.
#[must_use]
pub(crate) fn covers(grid: Grid, atlas: Grid) -> bool {
    let lengths = grid.extent_um().into_iter().zip(atlas.extent_um());
    lengths
        .into_iter()
        .all(|(a, b)| (a - b).abs() <= grid.voxel_um * (1.0 + 1e-6))
}

fn unpack(archive: &mut ZipArchive<File>, name: &str, most: u64) -> Result<Vec<u8>, String> {
    let part = archive
        .by_name(name)
        .map_err(|e| format!("the archive has no `{name}` ({e})"))?;
    let mut bytes = Vec::new();
    part.take(most + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| format!("{name}: cannot be unpacked ({e})"))?;
    match bytes.len() as u64 <= most {
        true => Ok(bytes),
        false => Err(format!("{name}: more than the {most} bytes that are due")),
    }
}

#[derive(Debug)]
struct Header {
    sizes: [usize; 3],
    steps_um: [f64; 3],
    data: String,
}

impl Header {
    fn parse(text: &str) -> Result<Self, String> {
        let fields: HashMap<&str, &str> = text
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.trim(), value.trim()))
            .collect();
        let field = |name: &str| {
            fields
                .get(name)
                .copied()
                .ok_or_else(|| format!("the header has no `{name}`"))
        };
        if field("ElementType")? != "MET_FLOAT" {
            let found = field("ElementType")?;
            return Err(format!("numbers of type {found}; expression is MET_FLOAT"));
        }
        let is_true = |name: &str| fields.get(name).is_some_and(|v| *v == "True");
        if is_true("CompressedData") || is_true("BinaryDataByteOrderMSB") {
            return Err("compressed or big-endian numbers; the Allen grids are neither".to_owned());
        }
        fn three<T: std::str::FromStr>(text: &str) -> Option<[T; 3]> {
            let numbers: Option<Vec<T>> = text.split_whitespace().map(|n| n.parse().ok()).collect();
            numbers?.try_into().ok()
        }
        let sizes: [usize; 3] = three(field("DimSize")?).ok_or("`DimSize` is not three numbers")?;
        let n_voxels = sizes.iter().try_fold(1_usize, |n, &s| n.checked_mul(s));
        if !n_voxels.is_some_and(|n| (1..=MOST_VOXELS).contains(&n)) {
            return Err(format!("a grid of {sizes:?} voxels"));
        }
        let steps_um =
            three(field("ElementSpacing")?).ok_or("`ElementSpacing` is not three numbers")?;
        Ok(Self {
            sizes,
            steps_um,
            data: field("ElementDataFile")?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use zip::write::SimpleFileOptions;

    const HEADER: &str = "ObjectType = Image\nBinaryDataByteOrderMSB = False\nElementSpacing = 200 200 200\n\
        DimSize = 2 1 2\nElementType = MET_FLOAT\nElementDataFile = energy.raw\n";

    fn archive(header: &str, values: &[f32]) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("grid.zip");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file("energy.mhd", SimpleFileOptions::default())
            .unwrap();
        zip.write_all(header.as_bytes()).unwrap();
        zip.start_file("energy.raw", SimpleFileOptions::default())
            .unwrap();
        for value in values {
            zip.write_all(&value.to_le_bytes()).unwrap();
        }
        zip.finish().unwrap();
        (folder, path)
    }

    #[test]
    fn a_grid_is_read_with_ap_fastest_and_missing_is_nan() {
        let (_folder, path) = archive(HEADER, &[1.0, 2.0, -1.0, 4.0]);
        let grid = read_expression(&path).unwrap();
        assert_eq!(grid.grid.shape, [2, 1, 2]);
        assert_eq!(grid.at([50.0, 0.0, 0.0]), Some(1.0));
        assert_eq!(grid.at([250.0, 0.0, 0.0]), Some(2.0));
        assert_eq!(grid.at([250.0, 0.0, 250.0]), Some(4.0));
        assert!(grid.at([0.0, 0.0, 250.0]).unwrap().is_nan());
    }

    #[test]
    fn what_is_no_grid_is_refused() {
        let refused = |header: &str, n: usize| {
            let (_folder, path) = archive(header, &vec![0.0; n]);
            read_expression(&path).unwrap_err().to_string()
        };
        assert!(refused(HEADER, 3).contains("12 bytes for 4 numbers"));
        assert!(refused(HEADER, 5).contains("more than"));
        assert!(refused(&HEADER.replace("FLOAT", "UINT"), 4).contains("MET_UINT"));
        assert!(refused(&HEADER.replace("2 1 2", "2 9999999 99999999"), 4).contains("voxels"));
        assert!(refused("x", 4).contains("ElementType"));
        let (_folder, path) = archive(HEADER, &[0.0; 4]);
        std::fs::write(&path, "no zip").unwrap();
        assert!(
            read_expression(&path)
                .unwrap_err()
                .to_string()
                .contains("zip")
        );
    }
}
