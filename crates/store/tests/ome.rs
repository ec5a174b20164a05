//! Images in OME-Zarr of both formats.
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tangram_store::OmeImage;

/// Two levels of 6 × 4 and 3 × 2 pixels in two channels, without compression; the value is 100 · channel + 10 · row + column.
fn write(folder: &Path, format: &str, n_planes: usize) {
    let level = |edge: f64, at: &str| {
        let scale = json!([{"type": "scale", "scale": [1.0, 1.0, edge, edge]}]);
        json!({"path": at, "coordinateTransformations": scale})
    };
    let axes = json!([{"name": "c"}, {"name": "z"}, {"name": "y", "unit": "micrometer"}, {"name": "x", "unit": "micrometer"}]);
    let multiscales = json!([{"axes": axes, "datasets": [level(5.0, "0"), level(10.0, "1")]}]);
    let file = |path: String, value: Value| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    };
    match format {
        "0.4" => {
            file(".zgroup".into(), json!({"zarr_format": 2}));
            file(".zattrs".into(), json!({"multiscales": multiscales}));
        }
        _ => file(
            "zarr.json".into(),
            json!({"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"version": "0.5", "multiscales": multiscales}}}),
        ),
    }
    for (at, width, height) in [("0", 6, 4), ("1", 3, 2)] {
        let shape = [2, n_planes, height, width];
        match format {
            "0.4" => file(
                format!("{at}/.zarray"),
                json!({"zarr_format": 2, "shape": shape, "chunks": [1, 1, height, width], "dtype": "<u2", "compressor": null,
                    "fill_value": 0, "order": "C", "filters": null, "dimension_separator": "/"}),
            ),
            _ => file(
                format!("{at}/zarr.json"),
                json!({"zarr_format": 3, "node_type": "array", "shape": shape, "data_type": "uint16",
                    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, height, width]}},
                    "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}}, "fill_value": 0,
                    "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}]}),
            ),
        }
        for channel in 0..2_usize {
            let values =
                (0..width * height).map(|i| (100 * channel + 10 * (i / width) + i % width) as u16);
            let bytes: Vec<u8> = values.flat_map(u16::to_le_bytes).collect();
            let prefix = if format == "0.4" { "" } else { "c/" };
            let path = folder.join(format!("{at}/{prefix}{channel}/0/0/0"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn levels_channels_and_pixels_are_read_from_both_formats() {
    for format in ["0.4", "0.5"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), format, 1);
        let image = OmeImage::open(folder.path()).unwrap();
        let sizes = image.levels().iter().map(|l| (l.width, l.height));
        assert_eq!(sizes.collect::<Vec<_>>(), [(6, 4), (3, 2)]);
        let level = &image.levels()[1];
        assert_eq!((level.n_channels, level.pixel_um), (2, Some(10.0)));
        let values = image.channel(level, 1).unwrap();
        assert_eq!(
            values,
            [100.0, 101.0, 102.0, 110.0, 111.0, 112.0],
            "{format}"
        );
    }
}

#[test]
fn what_is_not_one_section_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = |folder: &Path| OmeImage::open(folder).unwrap_err().to_string();
    assert!(error(folder.path()).contains("no Zarr store"));
    write(folder.path(), "0.5", 3);
    let stack = error(folder.path());
    assert!(stack.contains("3 steps along the axis `z`"), "{stack}");
    let root = folder.path().join("zarr.json");
    let text = fs::read_to_string(&root).unwrap();
    for elsewhere in ["/0", "../0"] {
        let path = format!("\"path\":\"{elsewhere}\"");
        fs::write(&root, text.replacen("\"path\":\"0\"", &path, 1)).unwrap();
        let outside = error(folder.path());
        assert!(outside.contains("lies outside"), "{outside}");
    }
    let plain = json!({"zarr_format": 3, "node_type": "group"});
    fs::write(folder.path().join("zarr.json"), plain.to_string()).unwrap();
    let none = error(folder.path());
    assert!(none.contains("0 images"), "{none}");
}
