//! Photographs and masks in OME-Zarr.
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use serde_json::json;
use std::fs;
use std::path::Path;
use tangram_atlas::{ClassImage, Photograph};

/// An image of two channels at three resolutions (edges of 2400, 1200 and 600 pixels of 5, 10 and 20 µm), a row high enough to be a
/// section. The first channel is a ramp along the row, the second is blank.
fn write(folder: &Path) {
    let levels = [(2400_usize, 5.0), (1200, 10.0), (600, 20.0)];
    let dataset = |(at, (_, edge)): (usize, &(usize, f64))| {
        let scale = json!([{"type": "scale", "scale": [1.0, edge, edge]}]);
        json!({"path": at.to_string(), "coordinateTransformations": scale})
    };
    let datasets: Vec<_> = levels.iter().enumerate().map(dataset).collect();
    let um = |name: &str| json!({"name": name, "unit": "micrometer"});
    let image = json!({"axes": [{"name": "c"}, um("y"), um("x")], "datasets": datasets});
    let write = |path: &str, text: String| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write(".zgroup", json!({"zarr_format": 2}).to_string());
    write(".zattrs", json!({"multiscales": [image]}).to_string());
    for (at, (width, _)) in levels.iter().enumerate() {
        let height = 20;
        let meta = json!({"zarr_format": 2, "shape": [2, height, width], "chunks": [1, height, width], "dtype": "<u2", "compressor": null,
            "fill_value": 0, "order": "C", "filters": null});
        write(&format!("{at}/.zarray"), meta.to_string());
        let ramp = (0..height * width).map(|i| (i % width) as u16);
        let bytes: Vec<u8> = ramp.flat_map(u16::to_le_bytes).collect();
        // The second channel has no chunk: its values are those that fill.
        fs::write(folder.join(format!("{at}/0.0.0")), bytes).unwrap();
    }
}

#[test]
fn the_coarsest_level_that_shows_enough_is_read() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path());
    let photograph = Photograph::read(folder.path()).unwrap();
    assert_eq!(photograph.size(), [1200, 20]);
    assert_eq!(photograph.pixel_um(), Some(10.0));
    let [left, middle, right] = [0.5, 600.0, 1199.5].map(|x| photograph.at([x, 10.0]));
    assert_eq!((left, right), (0.0, 1.0), "stretched");
    assert!((middle - 0.5).abs() < 0.01, "{middle}");
}

/// A label image of one channel whose values are bytes.
fn write_mask(folder: &Path, kind: &str, bytes: &[u8]) {
    let image = json!({"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]});
    fs::create_dir_all(folder.join("0")).unwrap();
    let write = |path: &str, value: serde_json::Value| {
        fs::write(folder.join(path), value.to_string()).unwrap();
    };
    write(".zgroup", json!({"zarr_format": 2}));
    write(
        ".zattrs",
        json!({"multiscales": [image], "image-label": {}}),
    );
    write(
        "0/.zarray",
        json!({"zarr_format": 2, "shape": [30, 40], "chunks": [30, 40], "dtype": kind, "compressor": null,
            "fill_value": 0, "order": "C", "filters": null}),
    );
    fs::write(folder.join("0/0.0"), bytes).unwrap();
}

#[test]
fn a_label_image_is_a_mask() {
    let folder = tempfile::tempdir().unwrap();
    let classes: Vec<u8> = (0..30 * 40).map(|i| [0, 1, 2, 255][i / 40 % 4]).collect();
    write_mask(folder.path(), "|u1", &classes);
    let mask = ClassImage::read(folder.path(), 3).unwrap();
    assert_eq!((mask.width, mask.height, &mask.classes), (40, 30, &classes));
    let error = ClassImage::read(folder.path(), 2).unwrap_err().to_string();
    assert!(error.contains("a pixel has the value 2"), "{error}");
    let values = (0..30 * 40).map(|i| 250 + i as u16 % 10);
    let bytes: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
    write_mask(folder.path(), "<u2", &bytes);
    let error = ClassImage::read(folder.path(), 256)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("a pixel has the value 256, which is no class"),
        "{error}"
    );
    write(folder.path());
    let error = ClassImage::read(folder.path(), 256)
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 channels; a mask has one"), "{error}");
}

#[test]
fn a_folder_that_is_no_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = Photograph::read(folder.path()).unwrap_err().to_string();
    assert!(error.contains("no OME-Zarr image"), "{error}");
}
