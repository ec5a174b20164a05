//! Real data: the Allen mouse brain and what belongs to it, in the folder that `TANGRAM_ATLAS_DATA` names. Without it these tests
//! say that they were skipped.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use flate2::read::GzDecoder;
use image::ImageReader;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use tangram_atlas::{
    Atlas, ClassRule, FlatMap, ImportSources, MarkerUse, NrrdValues, PlaneChoice,
    ProbabilityPyramid, RegisterSettings, SectionMask, Series, WarpChoice, import, read_nrrd,
    register,
};
use tangram_store::Existing;
use tempfile::{TempDir, tempdir};

fn data() -> Option<PathBuf> {
    let folder = std::env::var_os("TANGRAM_ATLAS_DATA").map(PathBuf::from);
    if folder.is_none() {
        eprintln!("skipped: TANGRAM_ATLAS_DATA names no folder with the Allen mouse brain");
    }
    folder
}

fn imported(data: &Path, voxel_um: usize, rule: ClassRule) -> (TempDir, Atlas) {
    let folder = tempdir().unwrap();
    let store = folder.path().join("ccf.zarr");
    let sources = ImportSources {
        annotation: data.join(format!("ccf2017_annotation_{voxel_um}um.nrrd")),
        structures: data.join("allen_structures.csv"),
        template: None,
        expression: vec![(
            "Nrp1".to_owned(),
            data.join("ish200/Nrp1_P56_coronal_74272479_200um.zip"),
        )],
        densities: vec![data.join("densities/measurements.csv.gz")],
        rule,
        orientation: None,
        voxel_um: None,
    };
    let report = import(&sources, &store, Existing::Refuse).unwrap();
    eprintln!("{report:#?}");
    assert!(report.symmetry > 0.9);
    assert!(report.expression_coverage["Nrp1"] > 0.9);
    let atlas = Atlas::open(&store).unwrap();
    (folder, atlas)
}

#[test]
fn classes_are_those_known() {
    let Some(data) = data() else { return };
    let (_folder, atlas) = imported(&data, 25, ClassRule::paper());
    for (level, um) in [25, 50, 100].into_iter().enumerate() {
        let path = data.join(format!("ccf2017_class5_{um}um.nrrd"));
        let NrrdValues::Whole(known) = read_nrrd(&path).unwrap().values else {
            panic!("classes are whole numbers");
        };
        let found = atlas.classes(level).unwrap();
        let pairs = found.values.iter().zip(&known);
        let same = pairs.filter(|(a, b)| u32::from(**a) == **b).count();
        let share = same as f64 / known.len() as f64;
        eprintln!("{um} µm: {:.3} % of the classes agree", share * 100.0);
        // Majorities of majorities are not majorities, and ties are broken differently.
        let least = if level == 0 { 1.0 } else { 0.985 };
        assert!(share >= least, "{um} µm: {share}");
    }
}

/// The label maps of these fixtures are of the linear anchoring, sampled at the pixels' upper left corners; their indices are rows of the tree.
#[test]
fn anchorings_give_the_label_maps_of_visualign() {
    let Some(data) = data() else { return };
    let (_folder, atlas) = imported(&data, 25, ClassRule::regions());
    let fixtures = data.join("quicknii_fixtures");
    let mut series_files = vec![fixtures.join("oblique/AMBA_oblique_nonlin_new.json")];
    for entry in fs::read_dir(&fixtures).unwrap() {
        let path = entry.unwrap().path();
        series_files.extend((path.extension().is_some_and(|e| e == "json")).then_some(path));
    }
    let extent = atlas.levels()[0].extent_um();
    for path in &series_files {
        let series = Series::read(path).unwrap();
        let written: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let again: serde_json::Value = serde_json::from_str(&series.to_json()).unwrap();
        // Whole numbers may be written as 1500 or as 1500.0.
        assert_eq!(
            numbers_as_floats(again),
            numbers_as_floats(written),
            "{}",
            path.display()
        );
        for slice in &series.slices {
            series.transform(slice, extent, MarkerUse::Apply).unwrap();
        }
    }
    let labels = atlas.labels(0).unwrap();
    let oblique = Series::read(&series_files[0]).unwrap();
    for (i, slice) in oblique.slices.iter().enumerate() {
        let name = format!("oblique/segmentation_s{:03}_nl.flat.gz", i + 1);
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(fixtures.join(name)).unwrap())
            .read_to_end(&mut bytes)
            .unwrap();
        let map = FlatMap::parse(&bytes).unwrap();
        assert_eq!(map.to_bytes(), bytes);
        let transform = oblique.transform(slice, extent, MarkerUse::Ignore).unwrap();
        let [width, height] = transform.parameters().image.map(|n| n as f64);
        let (mut both, mut either, mut same) = (0_usize, 0_usize, 0_usize);
        for (at, &index) in map.indices.iter().enumerate() {
            let (x, y) = ((at % map.width) as f64, (at / map.width) as f64);
            let pixel = [x * width / map.width as f64, y * height / map.height as f64];
            let label = labels.at(transform.to_atlas(pixel)).unwrap_or(0);
            either += usize::from(label > 0) + usize::from(index > 0);
            both += usize::from(label > 0 && index > 0);
            same += usize::from(label > 0 && u32::from(label) == index);
        }
        let dice = 2.0 * both as f64 / either as f64;
        let structures = same as f64 / both as f64;
        eprintln!(
            "section {}: foreground Dice {dice:.4}, same structure {structures:.4}",
            i + 1
        );
        assert!(dice > 0.99 && structures > 0.8, "section {}", i + 1);
    }
}

/// The coloured maps of these fixtures are of the markers' warp; they show the colour of the structure at the pixels' upper left corners.
#[test]
fn markers_give_the_coloured_maps_of_visualign() {
    let Some(data) = data() else { return };
    let (_folder, atlas) = imported(&data, 25, ClassRule::regions());
    let fixtures = data.join("quicknii_fixtures/oblique");
    let series = Series::read(&fixtures.join("AMBA_oblique_nonlin_new.json")).unwrap();
    let extent = atlas.levels()[0].extent_um();
    let labels = atlas.labels(0).unwrap();
    let colours: Vec<[u8; 3]> = atlas.tree().structures().iter().map(|s| s.rgb).collect();
    for (i, slice) in series.slices.iter().enumerate() {
        let name = format!("atlasmaps_oblique/segmentation_s{:03}_nl.png", i + 1);
        let map = ImageReader::open(fixtures.join(name)).unwrap().decode();
        let map = map.unwrap().to_rgb8();
        let agreement = |marker_use| {
            let transform = series.transform(slice, extent, marker_use).unwrap();
            let size = transform.parameters().image.map(|n| n as f64);
            let (mut both, mut either, mut same) = (0_usize, 0_usize, 0_usize);
            for (x, y, colour) in map.enumerate_pixels() {
                let pixel = [
                    f64::from(x) * size[0] / f64::from(map.width()),
                    f64::from(y) * size[1] / f64::from(map.height()),
                ];
                let label = labels.at(transform.to_atlas(pixel)).unwrap_or(0);
                let (found, shown) = (label > 0, colour.0 != [0; 3]);
                either += usize::from(found) + usize::from(shown);
                both += usize::from(found && shown);
                same += usize::from(found && shown && colours[usize::from(label) - 1] == colour.0);
            }
            (2.0 * both as f64 / either as f64, same as f64 / both as f64)
        };
        let (dice, colour) = agreement(MarkerUse::Apply);
        let (dice_without, colour_without) = agreement(MarkerUse::Ignore);
        eprintln!(
            "section {}: foreground Dice {dice:.4} (without markers {dice_without:.4}), same colour {colour:.4} ({colour_without:.4})",
            i + 1
        );
        assert!(dice > 0.99 && colour > 0.94, "section {}", i + 1);
        assert!(
            dice_without < 0.96 && colour_without < 0.75,
            "section {}",
            i + 1
        );
    }
}

fn numbers_as_floats(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Number(n) => Value::from(n.as_f64().unwrap()),
        Value::Array(items) => items.into_iter().map(numbers_as_floats).collect(),
        Value::Object(fields) => {
            let fields = fields.into_iter();
            fields.map(|(k, v)| (k, numbers_as_floats(v))).collect()
        }
        other => other,
    }
}

/// Masks of the Allen Reference Atlas's plates, of which only the right half is annotated. Their depth is known as an estimate with some 60 µm of
/// noise, of another atlas: this is agreement, not accuracy.
#[test]
fn plates_of_the_reference_atlas_agree_with_their_estimated_depth() {
    let Some(data) = data() else { return };
    let (_folder, atlas) = imported(&data, 50, ClassRule::paper());
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, 50.0).unwrap();
    let index = fs::read_to_string(data.join("p56c/index.csv")).unwrap();
    let mut differences = Vec::new();
    for line in index.lines().skip(1).step_by(12) {
        let fields: Vec<&str> = line.split(',').collect();
        let (plate, bregma_mm): (usize, f64) =
            (fields[0].parse().unwrap(), fields[2].parse().unwrap());
        let svg_per_pixel: f64 = fields[7].parse().unwrap();
        let path = data.join(format!("p56c/{plate:03}_mask.png"));
        let mask = SectionMask::read(&path, pyramid.names.len()).unwrap();
        let settings = RegisterSettings {
            // A unit of the plates' drawings is 1.047 µm.
            pixel_um: Some(svg_per_pixel * 1.047),
            plane: PlaneChoice::Fitted,
            warp: WarpChoice::Warped,
            caller: None,
        };
        let Ok(found) = register(&pyramid, &mask, &settings) else {
            eprintln!("plate {plate}: no start");
            continue;
        };
        let plane = found.transform.parameters().plane;
        let estimate = -968.0 * bregma_mm + 5259.0;
        let difference = plane.depth_um - estimate;
        eprintln!(
            "plate {plate}: {:?}, depth {:.0} ({difference:+.0}), pitch {:.1}, yaw {:.1}, Dice {:.3}",
            found.side, plane.depth_um, plane.pitch_deg, plane.yaw_deg, found.quality.mean_dice
        );
        differences.push(difference.abs());
    }
    differences.sort_by(f64::total_cmp);
    let median = differences[differences.len() / 2];
    eprintln!(
        "{} plates: median difference {median:.0} µm",
        differences.len()
    );
    assert!(median < 300.0, "{median}");
}
