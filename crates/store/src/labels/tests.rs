//! Label images of every kind give the same labels; other files are refused.

use super::*;
use ::tiff::encoder::{TiffEncoder, colortype};
use ndarray::Array2;
use std::fs;

/// 5 × 4 pixels.
fn wanted() -> Array2<u32> {
    Array2::from_shape_fn((4, 5), |(y, x)| match (y + x) % 3 {
        0 => 0,
        _ => (y * 10 + x) as u32,
    })
}

fn read(path: &Path) -> Array2<u32> {
    let image = LabelImage::open(path).unwrap();
    assert_eq!(image.size(), [5, 4]);
    let mut all = Array2::zeros((4, 5));
    let mut rows = Vec::new();
    let visit = &mut |y: usize, row: &[u32]| {
        rows.push(y);
        all.row_mut(y)
            .iter_mut()
            .zip(row)
            .for_each(|(a, r)| *a = *r);
    };
    image.for_each_row(visit).unwrap();
    assert_eq!(rows, [0, 1, 2, 3]);
    all
}

fn write_png(path: &Path, depth: ::png::BitDepth, color: ::png::ColorType, bytes: &[u8]) {
    let mut encoder = ::png::Encoder::new(fs::File::create(path).unwrap(), 5, 4);
    encoder.set_color(color);
    encoder.set_depth(depth);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
}

fn write_npy(path: &Path, descr: &str, shape: &str, bytes: &[u8]) {
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    while !(10 + header.len() + 1).is_multiple_of(64) {
        header.push(' ');
    }
    header.push('\n');
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(bytes);
    fs::write(path, file).unwrap();
}

fn refused(path: &Path, words: &str) {
    let read = LabelImage::open(path).and_then(|image| image.for_each_row(&mut |_, _| ()));
    let error = read.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn every_kind_of_file_gives_the_same_labels() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let wanted = wanted();
    let small: Vec<u8> = wanted.iter().map(|&l| l as u8).collect();
    let short: Vec<u16> = wanted.iter().map(|&l| l as u16).collect();
    let long: Vec<u32> = wanted.iter().copied().collect();

    write_png(
        &at("8.png"),
        ::png::BitDepth::Eight,
        ::png::ColorType::Grayscale,
        &small,
    );
    let big: Vec<u8> = short.iter().flat_map(|l| l.to_be_bytes()).collect();
    write_png(
        &at("16.png"),
        ::png::BitDepth::Sixteen,
        ::png::ColorType::Grayscale,
        &big,
    );

    let tiff = |name: &str| TiffEncoder::new(fs::File::create(at(name)).unwrap()).unwrap();
    tiff("8.tif")
        .write_image::<colortype::Gray8>(5, 4, &small)
        .unwrap();
    tiff("16.tif")
        .write_image::<colortype::Gray16>(5, 4, &short)
        .unwrap();
    let mut file = tiff("32.ome.tif");
    let mut image = file.new_image::<colortype::Gray32>(5, 4).unwrap();
    // Strips of three rows and of one.
    image.rows_per_strip(3).unwrap();
    image.write_data(&long).unwrap();
    let floats: Vec<f32> = wanted.iter().map(|&l| l as f32).collect();
    tiff("f32.tif")
        .write_image::<colortype::Gray32Float>(5, 4, &floats)
        .unwrap();

    let bytes: Vec<u8> = long
        .iter()
        .flat_map(|l| i64::from(*l).to_le_bytes())
        .collect();
    write_npy(&at("i8.npy"), "<i8", "4, 5", &bytes);
    write_npy(&at("u2.npy"), ">u2", "4, 5", &big);
    write_npy(&at("u1.npy"), "|u1", "4, 5", &small);
    for name in [
        "8.png",
        "16.png",
        "8.tif",
        "16.tif",
        "32.ome.tif",
        "f32.tif",
        "i8.npy",
        "u2.npy",
        "u1.npy",
    ] {
        assert_eq!(read(&at(name)), wanted, "{name}");
    }
    let image = LabelImage::open(&at("16.png")).unwrap();
    let places = [[3.4, 2.0], [-0.6, 0.0], [0.0, 4.0], [1.0, 0.0], [4.2, 3.1]];
    let found = image.labels_at(&places).unwrap();
    assert_eq!(
        found,
        [wanted[[2, 3]], 0, 0, wanted[[0, 1]], wanted[[3, 4]]]
    );

    let mut file = tiff("two.tif");
    for _ in 0..2 {
        file.write_image::<colortype::Gray8>(5, 4, &small).unwrap();
    }
    assert_eq!(LabelImage::open(&at("two.tif")).unwrap().n_images(), 2);
    assert_eq!(image.n_images(), 1);
}

#[test]
fn what_is_no_label_image_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image");
    let tiff = || TiffEncoder::new(fs::File::create(&path).unwrap()).unwrap();

    fs::write(&path, "x,y\n1,2\n").unwrap();
    assert!(!LabelImage::is_one(&path).unwrap());
    refused(&path, "is no PNG");
    write_png(
        &path,
        ::png::BitDepth::Eight,
        ::png::ColorType::Rgb,
        &[7; 60],
    );
    refused(&path, "Rgb");
    tiff()
        .write_image::<colortype::RGB8>(5, 4, &[7; 60])
        .unwrap();
    refused(&path, "RGB");
    let mut floats = [1.0_f32; 20];
    floats[7] = 0.5;
    tiff()
        .write_image::<colortype::Gray32Float>(5, 4, &floats)
        .unwrap();
    refused(&path, "column 2 of row 1 (from 0) is 0.5");
    let bytes: Vec<u8> = (0..20).flat_map(|i: i32| (9 - i).to_le_bytes()).collect();
    write_npy(&path, "<i4", "4, 5", &bytes);
    refused(&path, "is -1");
    write_npy(&path, "<c8", "4, 5", &bytes);
    refused(&path, "<c8");
    write_npy(&path, "<i4", "4, 5, 1", &bytes);
    refused(&path, "4, 5, 1");
    for shape in ["4, 6", "4000000000, 5000000000", "99999999999999999999, 2"] {
        write_npy(&path, "<i4", shape, &bytes);
        assert!(LabelImage::open(&path).is_err(), "{shape}");
    }

    // Cut off, at any place.
    write_png(
        &path,
        ::png::BitDepth::Eight,
        ::png::ColorType::Grayscale,
        &[1; 20],
    );
    let whole = fs::read(&path).unwrap();
    for n in 0..whole.len() - 14 {
        fs::write(&path, &whole[..n]).unwrap();
        let read = LabelImage::open(&path).and_then(|image| image.for_each_row(&mut |_, _| ()));
        assert!(read.is_err(), "{n} of {} bytes", whole.len());
    }
    tiff()
        .write_image::<colortype::Gray8>(5, 4, &[1; 20])
        .unwrap();
    let whole = fs::read(&path).unwrap();
    for n in 0..whole.len() {
        fs::write(&path, &whole[..n]).unwrap();
        // Nothing but an error or the labels.
        if let Ok(image) = LabelImage::open(&path) {
            let _ = image.for_each_row(&mut |_, row| assert!(row.iter().all(|&l| l <= 1)));
        }
    }
}
