//! Atlases and sections as a person works with them, on a brain made of ellipsoids.

use crate::program::{fail, listing, succeed, summary};
use image::{GrayImage, ImageReader};
use std::fs;
use std::io::Write;
use std::path::Path;
use tangram_atlas::synthetic::{Brain, Rung, SyntheticSection, brain, section, section_at};
use tangram_atlas::synthetic_files::{write_mask, write_sources};
use tangram_atlas::{Atlas, FlatMap, NrrdValues, Plane, Transform, read_nrrd};
use tangram_store::{Dataset, MatrixName};
use tempfile::{TempDir, tempdir};

/// Voxels of the synthetic annotation.
const VOXEL_UM: f64 = 100.0;

/// A folder with the synthetic brain as files.
fn folder() -> (TempDir, Brain) {
    let folder = tempdir().unwrap();
    let brain = brain(VOXEL_UM);
    write_sources(folder.path(), &brain).unwrap();
    (folder, brain)
}

const IMPORT: &str = "atlas import --annotation annotation.nrrd --structures structures.csv --classes rule.toml \
                      --orientation RIP --out atlas.zarr";

#[test]
fn an_imported_atlas_holds_what_the_files_hold() {
    let (folder, brain) = folder();
    let folder = folder.path();
    let report = summary(folder, IMPORT);
    assert_eq!(report["n_annotated"], 8);
    assert_eq!(report["symmetry"], 1.0);
    assert_eq!(report["levels"].as_array().unwrap().len(), 2);
    let atlas = Atlas::open(&folder.join("atlas.zarr")).unwrap();
    assert_eq!(atlas.labels(0).unwrap(), brain.labels);
    assert_eq!(atlas.classes(0).unwrap(), brain.classes);
    assert_eq!(atlas.labels(1).unwrap(), brain.labels.majority());
    assert_eq!(atlas.tree(), &brain.tree);
    assert_eq!(atlas.rule(), &brain.rule);

    let again = fail(folder, IMPORT, 4);
    assert!(again.contains("exists already"), "{again}");
    succeed(folder, &format!("{IMPORT} --force"));
    assert!(
        listing(folder)
            .iter()
            .all(|p| !p.to_string_lossy().contains("partial"))
    );
}

#[test]
fn inputs_that_do_not_fit_are_refused() {
    let (folder, _) = folder();
    let folder = folder.path();
    let check = |arguments: &str, code: i32, expected: &str| {
        let message = fail(folder, arguments, code);
        assert!(message.contains(expected), "{arguments}: {message}");
        assert!(!folder.join("atlas.zarr").exists());
    };
    check(
        &IMPORT.replace(" --orientation RIP", ""),
        3,
        "--orientation",
    );
    check(
        &IMPORT.replace("rule.toml", "regions"),
        2,
        "the structure tree has no",
    );
    check(
        &IMPORT.replace("annotation.nrrd", "structures.csv"),
        3,
        "convert this .csv file",
    );
    check(
        &IMPORT.replace("annotation.nrrd", "gone.nrrd"),
        3,
        "no such file",
    );
    let short = "id,acronym,parent_id\n997,root,\n100,CTX,997\n";
    fs::write(folder.join("structures.csv"), short).unwrap();
    check(
        &IMPORT.replace("--classes rule.toml ", "--classes cortex.toml "),
        3,
        "cortex.toml",
    );
    fs::write(
        folder.join("cortex.toml"),
        "name = 'c'\n[[class]]\nname = 'cortex'\nstructures = ['CTX']\n",
    )
    .unwrap();
    check(
        &IMPORT.replace("rule.toml", "cortex.toml"),
        3,
        "7 identifiers are not in",
    );
}

#[test]
fn a_section_is_registered_and_every_file_says_the_same() {
    let (folder, brain) = folder();
    let folder = folder.path();
    succeed(folder, IMPORT);
    let truth = section(&brain.classes, &Rung::LADDER[1].1, 11);
    write_mask(&folder.join("mask.png"), &truth).unwrap();
    let register = format!(
        "atlas register --atlas atlas.zarr --regions mask.png --pixel-size {} --out section",
        truth.pixel_um
    );
    let report = summary(folder, &register);
    let depth = report["result"]["depth-um"].as_f64().unwrap();
    assert!(
        (depth - truth.plane.depth_um).abs() < 200.0,
        "{depth} {:?}",
        truth.plane
    );
    assert!(report["quality"]["mean-dice"].as_f64().unwrap() > 0.85);

    let at = |name: &str| folder.join("section").join(name);
    let transform = Transform::read(&at("transform.json")).unwrap();
    let labels = read_nrrd(&at("labels.nrrd")).unwrap();
    let [width, height] = truth.mask.size();
    assert_eq!(labels.sizes, [width, height]);
    let NrrdValues::Whole(ids) = labels.values else {
        panic!("identifiers are whole numbers");
    };
    let pixel = (height / 2) * width + width / 2;
    let point = transform.to_atlas([(width / 2) as f64 + 0.5, (height / 2) as f64 + 0.5]);
    let row = usize::from(brain.labels.at(point).unwrap()) - 1;
    assert_eq!(ids[pixel], brain.tree.structures()[row].id);
    assert!(at("labels.nii.gz").is_file());
    let flat = FlatMap::read(&at("labels.flat")).unwrap();
    assert_eq!(flat.indices[pixel] as usize, row + 1);
    let page = fs::read_to_string(at("report.html")).unwrap();
    assert!(page.contains("mean Dice") && page.contains("data:image/svg+xml"));
    succeed(folder, "plot section section --out section.svg");
    let drawn = fs::read_to_string(folder.join("section.svg")).unwrap();
    assert!(drawn.contains("from the anterior end") && drawn.contains("cortex: Dice"));
    // From anywhere: relative paths begin where the section was registered.
    let elsewhere = tempfile::tempdir().unwrap();
    let section = format!("plot section {}", folder.join("section").display());
    succeed(elsewhere.path(), &format!("{section} --out section.svg"));
    let again = fs::read_to_string(elsewhere.path().join("section.svg")).unwrap();
    assert!(drawn == again);
    // A file that is gone is named, with the place where it was; one that has changed is not drawn.
    let mask = folder.join("mask.png");
    let kept = fs::read(&mask).unwrap();
    fs::remove_file(&mask).unwrap();
    let error = fail(elsewhere.path(), &format!("{section} --out no.svg"), 3);
    assert!(
        error.contains(&*mask.to_string_lossy()) && error.contains("not there any more"),
        "{error}"
    );
    fs::write(&mask, [&kept[..], b"more"].concat()).unwrap();
    let error = fail(elsewhere.path(), &format!("{section} --out no.svg"), 3);
    assert!(
        error.contains("has changed") && error.contains(&*mask.to_string_lossy()),
        "{error}"
    );
    fs::write(&mask, kept).unwrap();
    for picture in ["labels.png", "overlay.png"] {
        let picture = ImageReader::open(at(picture)).unwrap().decode().unwrap();
        assert_eq!(
            (picture.width() as usize, picture.height() as usize),
            (width, height)
        );
    }

    let again = fail(folder, &register, 4);
    assert!(again.contains("exists already"), "{again}");
    let before = fs::read(at("transform.json")).unwrap();
    succeed(
        folder,
        &format!("{register} --force --threads 1 --no-report"),
    );
    assert!(!at("report.html").exists());
    assert_eq!(
        fs::read(at("transform.json")).unwrap(),
        before,
        "on any number of threads"
    );
}

#[test]
fn what_is_no_section_is_refused_and_leaves_nothing() {
    let (folder, brain) = folder();
    let folder = folder.path();
    succeed(folder, IMPORT);
    let check = |name: &str, arguments: &str, code: i32, expected: &str| {
        let command =
            format!("atlas register --atlas atlas.zarr --regions {name} {arguments} --out section");
        let message = fail(folder, &command, code);
        assert!(message.contains(expected), "{name}: {message}");
        assert!(!folder.join("section").exists());
    };
    let image = |name: &str, image: GrayImage| image.save(folder.join(name)).unwrap();
    image("blank.png", GrayImage::new(200, 200));
    check("blank.png", "", 3, "0 of 40000 pixels are tissue");
    image("dot.png", GrayImage::new(1, 1));
    check("dot.png", "", 3, "0 of 1 pixels");
    fs::write(
        folder.join("torn.png"),
        &fs::read(folder.join("blank.png")).unwrap()[..60],
    )
    .unwrap();
    check("torn.png", "", 3, "not an image");
    // Stripes are no brain.
    let stripes = GrayImage::from_fn(200, 150, |x, _| image::Luma([1 + (x / 12 % 8) as u8]));
    image("stripes.png", stripes);
    check("stripes.png", "--pixel-size 50", 7, "refused");
    let truth = section(&brain.classes, &Rung::LADDER[0].1, 3);
    write_mask(&folder.join("mask.png"), &truth).unwrap();
    check(
        "mask.png",
        "--pixel-size 50 --min-dice 1",
        7,
        "overlap poorly",
    );
    check("mask.png", "--pixel-size 0", 2, "micrometres");
    fs::create_dir(folder.join("section")).unwrap();
    let command = "atlas register --atlas atlas.zarr --regions mask.png --out section --force";
    assert!(fail(folder, command, 4).contains("registration.toml"));
}

/// An expression grid as the Allen Institute packs it: AP fastest, -1 where `energy` is `None`.
pub fn write_expression(
    path: &Path,
    extent_um: [f64; 3],
    energy: impl Fn([f64; 3]) -> Option<f32>,
) {
    const EDGE: f64 = 200.0;
    let [ap, dv, ml] = extent_um.map(|length| (length / EDGE).ceil() as usize);
    let header = format!(
        "ElementSpacing = 200 200 200\nDimSize = {ap} {dv} {ml}\nElementType = MET_FLOAT\nElementDataFile = energy.raw\n"
    );
    let mut raw = Vec::new();
    for k in 0..ml {
        for j in 0..dv {
            for i in 0..ap {
                let middle = [i, j, k].map(|n| (n as f64 + 0.5) * EDGE);
                raw.extend(energy(middle).unwrap_or(-1.0).to_le_bytes());
            }
        }
    }
    let mut archive = zip::ZipWriter::new(fs::File::create(path).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in [("energy.mhd", header.as_bytes()), ("energy.raw", &raw)] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

/// A registered section of an atlas with expression of two genes of the simulated cells and with densities.
fn registered() -> (TempDir, Brain, SyntheticSection) {
    let (folder, brain) = folder();
    let at = folder.path();
    succeed(
        at,
        "simulate --out tissue --cells 60 --voxels 40 --spots 10 --genes 60 --panel 30",
    );
    let genes = Dataset::open(&at.join("tissue/cells.h5ad"))
        .unwrap()
        .var_names()
        .unwrap();
    let extent = brain.labels.grid.extent_um();
    // The second gene was measured on one side only.
    write_expression(&at.join("a.zip"), extent, |p| Some((p[1] / 100.0) as f32));
    write_expression(&at.join("b.zip"), extent, |p| {
        (p[2] < extent[2] * 0.55).then_some((p[2] / 100.0) as f32)
    });
    fs::write(
        at.join("totals.csv"),
        "structures,cells\nCTX,1000000\nroot,2000000\n",
    )
    .unwrap();
    succeed(
        at,
        &format!(
            "{IMPORT} --expression {}=a.zip --expression {}=b.zip --density totals.csv",
            genes[0], genes[1]
        ),
    );
    let truth = section(&brain.classes, &Rung::LADDER[1].1, 21);
    write_mask(&at.join("mask.png"), &truth).unwrap();
    succeed(
        at,
        &format!(
            "atlas register --atlas atlas.zarr --regions mask.png --pixel-size {} --out section",
            truth.pixel_um
        ),
    );
    (folder, brain, truth)
}

#[test]
fn a_region_of_interest_becomes_voxels_that_a_mapping_takes() {
    let (folder, brain, truth) = registered();
    let folder = folder.path();
    let [width, height] = truth.mask.size();
    // A square around the middle of the tissue.
    let (x0, x1) = (width as f64 * 0.35, width as f64 * 0.65);
    let (y0, y1) = (height as f64 * 0.35, height as f64 * 0.65);
    let square = format!(
        r#"{{"type": "Polygon", "coordinates": [[[{x0}, {y0}], [{x1}, {y0}], [{x1}, {y1}], [{x0}, {y1}], [{x0}, {y0}]]]}}"#
    );
    fs::write(folder.join("roi.geojson"), square).unwrap();
    let query = "atlas query --atlas atlas.zarr --section section --roi roi.geojson";
    let report = summary(
        folder,
        &format!("{query} --regions regions.tsv --out voxels.h5ad --cells all"),
    );
    // Shares by the truth.
    let inside = |at: &usize| {
        let (x, y) = ((at % width) as f64 + 0.5, (at / width) as f64 + 0.5);
        x > x0 && x < x1 && y > y0 && y < y1
    };
    let roi: Vec<usize> = (0..width * height).filter(inside).collect();
    for region in report["regions"].as_array().unwrap() {
        let acronym = region["acronym"].as_str().unwrap();
        let label = brain.tree.row_of(acronym).map_or(0, |row| row as u16 + 1);
        let is = |at: &&usize| brain.labels.at(truth.points[**at]).unwrap_or(0) == label;
        let due = roi.iter().filter(is).count() as f64 / roi.len() as f64;
        let found = region["share"].as_f64().unwrap();
        assert!(
            (found - due).abs() < 0.08,
            "{acronym}: {found}, truly {due}"
        );
    }
    let table = fs::read_to_string(folder.join("regions.tsv")).unwrap();
    assert!(table.starts_with("structure\tid\tname\tpixels\tshare\tmm2\n"));

    let voxels = Dataset::open(&folder.join("voxels.h5ad")).unwrap();
    let n = voxels.n_obs();
    assert_eq!(report["n-voxels"], n);
    assert!(
        n > 30 && report["n-unmeasured"].as_u64().unwrap() > 0,
        "{report}"
    );
    let places = voxels.spatial().unwrap().unwrap();
    let energy = voxels.matrix(&MatrixName::X).unwrap();
    let values = energy.read_rows(0..n).unwrap();
    for (row, place) in places.rows().into_iter().enumerate() {
        let (columns, energies) = values.row(row);
        assert_eq!(columns, [0, 1]);
        assert!((f64::from(energies[0]) - place[1] / 100.0).abs() < 1e-3);
        assert!((f64::from(energies[1]) - place[2] / 100.0).abs() < 1e-3);
    }
    let mapped = summary(
        folder,
        "map --cells tissue/cells.h5ad --voxels voxels.h5ad --prior obs:cells --out run --solver adam --epochs 2",
    );
    assert_eq!(
        mapped["record"]["genes"]["training"]
            .as_array()
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn points_go_there_and_back() {
    let (folder, brain, truth) = registered();
    let folder = folder.path();
    let [width, height] = truth.mask.size();
    let (x, y) = (width / 2, height / 2);
    fs::write(
        folder.join("points.csv"),
        format!("name,x,y\nmiddle,{},{}\n", x as f64 + 0.5, y as f64 + 0.5),
    )
    .unwrap();
    succeed(
        folder,
        "atlas points --section section --points points.csv --atlas atlas.zarr --out there.tsv",
    );
    let there = fs::read_to_string(folder.join("there.tsv")).unwrap();
    let fields: Vec<&str> = there.lines().nth(1).unwrap().split('\t').collect();
    assert_eq!(fields[0], "middle");
    let found: Vec<f64> = fields[1..4].iter().map(|f| f.parse().unwrap()).collect();
    let due = truth.points[y * width + x];
    let distance = (0..3)
        .map(|i| (found[i] - due[i]).powi(2))
        .sum::<f64>()
        .sqrt();
    assert!(distance < 400.0, "{found:?} {due:?}");
    assert!(brain.tree.row_of(fields[4]).is_some(), "{there}");
    succeed(
        folder,
        "atlas points --section section --points there.tsv --to section --out back.tsv",
    );
    let back = fs::read_to_string(folder.join("back.tsv")).unwrap();
    let fields: Vec<&str> = back.lines().nth(1).unwrap().split('\t').collect();
    let again: Vec<f64> = fields[1..].iter().map(|f| f.parse().unwrap()).collect();
    assert!((again[0] - x as f64 - 0.5).abs() < 0.2 && (again[1] - y as f64 - 0.5).abs() < 0.2);
    assert!(again[2].abs() < 0.1, "{back}");
    let missing = fail(
        folder,
        "atlas points --section section --points there.tsv --out x.tsv",
        3,
    );
    assert!(missing.contains("no column `x`"), "{missing}");

    succeed(
        folder,
        "atlas quicknii export --section section --atlas atlas.zarr --out series.json",
    );
    let report = summary(
        folder,
        "atlas quicknii import --series series.json --atlas atlas.zarr --out again",
    );
    assert_eq!(report["sections"][0], "section");
    let (first, again) = (
        Transform::read(&folder.join("section/transform.json")).unwrap(),
        Transform::read(&folder.join("again/section/transform.json")).unwrap(),
    );
    let (a, b) = (first.parameters(), again.parameters());
    assert!((a.plane.depth_um - b.plane.depth_um).abs() < 1e-6);
    assert!((a.plane.pitch_deg - b.plane.pitch_deg).abs() < 1e-9);
    assert!(again.is_affine() && !first.is_affine());

    let series = fs::read_to_string(folder.join("series.json")).unwrap();
    let mut series: serde_json::Value = serde_json::from_str(&series).unwrap();
    let n = first.parameters().image.map(|n| n as f64);
    let (from, to) = ([0.5 * n[0], 0.4 * n[1]], [0.55 * n[0], 0.45 * n[1]]);
    series["slices"][0]["markers"] = serde_json::json!([
        [from[0], from[1], to[0], to[1]],
        [0.9 * n[0], 0.9 * n[1], 1.05 * n[0], 0.9 * n[1]]
    ]);
    let write = |series: &serde_json::Value| {
        fs::write(folder.join("markers.json"), series.to_string()).unwrap();
    };
    write(&series);
    let import = "atlas quicknii import --series markers.json --atlas atlas.zarr";
    let said = fail(folder, &format!("{import} --out warped"), 0);
    assert!(
        said.contains("marker 2 is moved beyond the image"),
        "{said}"
    );
    fs::write(
        folder.join("marked.csv"),
        format!("name,x,y\nmark,{},{}\n", to[0], to[1]),
    )
    .unwrap();
    let place = |section: &str| {
        let out = format!("{}.tsv", section.replace('/', "_"));
        let command = format!("atlas points --section {section} --points marked.csv --out {out}");
        succeed(folder, &command);
        let table = fs::read_to_string(folder.join(out)).unwrap();
        let fields = table.lines().nth(1).unwrap().split('\t').skip(1);
        fields.map(|f| f.parse().unwrap()).collect::<Vec<f64>>()
    };
    let anchored = again.to_atlas(from);
    let found = place("warped/section");
    assert!(
        (0..3).all(|i| (found[i] - anchored[i]).abs() < 0.01),
        "{found:?} {anchored:?}"
    );
    let report = summary(folder, &format!("{import} --markers ignore --out still"));
    assert_eq!(report["without-warp"][0], "section");
    let apart = place("still/section")[2] - found[2];
    assert!(apart.abs() > 100.0, "{apart}");
    let report = summary(
        folder,
        "atlas quicknii export --section warped/section --atlas atlas.zarr --out back.json",
    );
    assert_eq!(
        (&report["n-markers"], &report["without-warp"]),
        (&2.into(), &serde_json::json!([]))
    );
    let back = fs::read_to_string(folder.join("back.json")).unwrap();
    let back: serde_json::Value = serde_json::from_str(&back).unwrap();
    assert_eq!(back["slices"][0]["markers"], series["slices"][0]["markers"]);

    series["slices"][0]["markers"] = serde_json::json!([
        [from[0], from[1], to[0], to[1]],
        [to[0], to[1], from[0], from[1]]
    ]);
    write(&series);
    let error = fail(folder, &format!("{import} --out folded"), 3);
    for part in [
        "markers.json",
        "section.png",
        "fold the image",
        "--markers ignore",
    ] {
        assert!(error.contains(part), "{error}");
    }
    assert!(!folder.join("folded").exists());
}

/// The same mask as an image and as an OME-Zarr label image gives the same transform.
#[test]
fn a_mask_may_be_a_label_image_in_ome_zarr() {
    let (folder, brain) = folder();
    let folder = folder.path();
    succeed(folder, IMPORT);
    let truth = section(&brain.classes, &Rung::LADDER[0].1, 5);
    write_mask(&folder.join("mask.png"), &truth).unwrap();
    let [width, height] = truth.mask.size();
    let image =
        serde_json::json!({"axes": [{"name": "y"}, {"name": "x"}], "datasets": [{"path": "0"}]});
    let attributes = serde_json::json!({"multiscales": [image], "image-label": {}});
    let array = serde_json::json!({"zarr_format": 2, "shape": [height, width], "chunks": [height, width], "dtype": "|u1",
        "compressor": null, "fill_value": 0, "order": "C", "filters": null});
    fs::create_dir_all(folder.join("mask.zarr/0")).unwrap();
    for (name, text) in [
        (".zgroup", serde_json::json!({"zarr_format": 2}).to_string()),
        (".zattrs", attributes.to_string()),
        ("0/.zarray", array.to_string()),
    ] {
        fs::write(folder.join("mask.zarr").join(name), text).unwrap();
    }
    fs::write(folder.join("mask.zarr/0/0.0"), truth.mask.classes()).unwrap();
    let [png, zarr] = ["mask.png", "mask.zarr"].map(|mask| {
        let out = mask.replace('.', "_");
        succeed(
            folder,
            &format!("atlas register --atlas atlas.zarr --regions {mask} --pixel-size {} --no-report --out {out}", truth.pixel_um),
        );
        fs::read(folder.join(out).join("transform.json")).unwrap()
    });
    assert!(png == zarr, "the transforms differ");
}

/// The header of a PNG image of any size, without its pixels.
fn png_header(width: u32, height: u32) -> Vec<u8> {
    let mut image = Vec::new();
    GrayImage::new(1, 1)
        .write_to(
            &mut std::io::Cursor::new(&mut image),
            image::ImageFormat::Png,
        )
        .unwrap();
    image[16..20].copy_from_slice(&width.to_be_bytes());
    image[20..24].copy_from_slice(&height.to_be_bytes());
    let crc = crc32(&image[12..29]);
    image[29..33].copy_from_slice(&crc.to_be_bytes());
    image
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |c, _| match c & 1 {
            1 => 0xEDB8_8320 ^ (c >> 1),
            _ => c >> 1,
        })
    })
}

#[test]
fn a_huge_image_is_refused_by_its_header() {
    let (folder, _) = folder();
    let folder = folder.path();
    succeed(folder, IMPORT);
    fs::write(folder.join("huge.png"), png_header(40_000, 40_000)).unwrap();
    let command = "atlas register --atlas atlas.zarr --regions huge.png --out section";
    let message = fail(folder, command, 3);
    assert!(message.contains("40000 × 40000 pixels"), "{message}");
}

#[test]
fn the_demonstration_is_near_the_truth_and_its_next_command_works() {
    let folder = tempdir().unwrap();
    let folder = folder.path();
    let told = succeed(folder, "atlas demo --out demo");
    for word in ["depth:", "pitch and yaw:", "target registration error:"] {
        assert!(told.contains(word), "{told}");
    }
    let at = |name: &str| folder.join("demo").join(name);
    let text = fs::read_to_string(at("demo.toml")).unwrap();
    let demo: toml::Value = toml::from_str(&text).unwrap();
    let number = |table: &str, name: &str| demo[table][name].as_float().unwrap();
    // The comparison is of what the transform says, not of what was asked for.
    let transform = Transform::read(&at("section/transform.json")).unwrap();
    let found = transform.parameters().plane;
    let close = |a: f64, b: f64, within: f64| assert!((a - b).abs() < within, "{a} {b}");
    close(number("found", "depth-um"), found.depth_um, 1e-6);
    let brain = brain(VOXEL_UM);
    let truth = section(&brain.classes, &Rung::LADDER[2].1, 11);
    close(number("truth", "depth-um"), truth.plane.depth_um, 1e-6);
    close(number("truth", "yaw-deg"), truth.plane.yaw_deg, 1e-6);
    let off = (found.depth_um - truth.plane.depth_um).abs();
    close(number("error", "depth-um"), off, 1e-6);
    assert!(off < 200.0, "{text}");
    let error = number("error", "target-registration-error-um");
    assert!(error > 0.0 && error < 250.0, "{text}");
    assert!(
        fs::read_to_string(at("section.svg"))
            .unwrap()
            .contains("<svg")
    );

    let again = fail(folder, "atlas demo --out demo", 4);
    assert!(again.contains("exists already"), "{again}");
    succeed(folder, "atlas demo --out demo --force --threads 1");
    assert_eq!(fs::read_to_string(at("demo.toml")).unwrap(), text);
    let register = format!(
        "atlas register --atlas demo/atlas.zarr --regions demo/mask.png --pixel-size {} --out section1",
        demo["pixel-um"]
    );
    let registered = summary(folder, &register);
    let depth = registered["result"]["depth-um"].as_f64().unwrap();
    close(depth, found.depth_um, 1e-3);
    fs::create_dir(folder.join("mine")).unwrap();
    fail(folder, "atlas demo --out mine --force", 4);
}

/// Seven sections of one brain, cut from posterior to anterior at the same angles; the fifth has the place of none of them.
#[test]
fn a_series_has_a_line_angles_an_outlier_and_gaps() {
    const STEP_UM: f64 = -400.0;
    let (folder, brain) = folder();
    let folder = folder.path();
    succeed(folder, IMPORT);
    let extent = brain.labels.grid.extent_um();
    let numbers = [2, 3, 4, 7, 8, 9, 10];
    let mut names = Vec::new();
    for number in numbers {
        let depth_um = match number {
            8 => 3000.0,
            n => 8000.0 + STEP_UM * f64::from(n),
        };
        let plane = Plane {
            pitch_deg: 4.0,
            yaw_deg: -3.0,
            ..Plane::coronal(depth_um, extent)
        };
        let cut = section_at(&brain.classes, plane, 60.0).unwrap();
        let name = format!("cut{number:02}.png");
        write_mask(&folder.join(&name), &cut).unwrap();
        names.push(name);
    }
    let fit = "--pixel-size 60 --affine-only";
    succeed(
        folder,
        &format!(
            "sweep new register --atlas atlas.zarr --regions {} {fit} --out brain1",
            names.join(" ")
        ),
    );
    let error = fail(folder, "atlas series brain1 --out series", 3);
    assert!(error.contains("sweep collect"), "{error}");
    succeed(folder, "sweep run brain1 --all");
    succeed(folder, "sweep collect brain1");
    let report = summary(folder, "atlas series brain1 --out series");
    let number = |path: &str| report.pointer(path).unwrap().as_f64().unwrap();
    let line = number("/line/um-per-number");
    assert!((line - STEP_UM).abs() < 25.0, "{report}");
    let at_six = number("/line/depth-at-zero-um") + 6.0 * line;
    assert!((at_six - 5600.0).abs() < 100.0, "{report}");
    assert!((number("/pitch/mean-deg") - 4.0).abs() < 1.0, "{report}");
    assert!((number("/yaw/mean-deg") + 3.0).abs() < 1.0, "{report}");
    assert_eq!(report["outliers"], serde_json::json!(["cut08"]));
    assert_eq!(report["gaps"], serde_json::json!([[5.0, 6.0]]));
    let at = |name: &str| folder.join("series").join(name);
    let table = fs::read_to_string(at("series.tsv")).unwrap();
    let words: Vec<&str> = table.lines().nth(5).unwrap().split('\t').collect();
    assert_eq!(words[..3], ["cut08", "8", "outlier"], "{table}");
    let drawn = fs::read_to_string(at("series.svg")).unwrap();
    assert!(drawn.contains("outlier (1)") && drawn.contains("fits the series (6)"));
    // What `plot` reads back from the folder is the same figure.
    succeed(folder, "plot series series --out drawn.svg");
    assert_eq!(fs::read_to_string(folder.join("drawn.svg")).unwrap(), drawn);
    let error = fail(folder, "plot series brain1 --out no.svg", 3);
    assert!(error.contains("tangram atlas series"), "{error}");

    // Numbers of a table, in the other direction, and none.
    let reversed: Vec<String> = numbers.map(|n| format!("cut{n:02},{}", 20 - n)).into();
    fs::write(folder.join("numbers.csv"), reversed.join("\n")).unwrap();
    let other = summary(
        folder,
        "atlas series brain1/sections.zarr --numbers numbers.csv --out other",
    );
    let turned = other["line"]["um-per-number"].as_f64().unwrap();
    assert!((turned + line).abs() < 1e-6, "{other}");
    let unknown = summary(folder, "atlas series brain1 --order unknown --out unknown");
    assert!(unknown.get("line").is_none());
    let table = fs::read_to_string(folder.join("unknown/series.tsv")).unwrap();
    assert!(
        table.lines().nth(1).unwrap().starts_with("cut08\t\tfits"),
        "{table}"
    );
    assert!(
        table.lines().nth(2).unwrap().starts_with("cut10\t\tfits"),
        "{table}"
    );
    let mixed: Vec<String> = numbers.map(|n| format!("cut{n:02}\t{}", n * 7 % 11)).into();
    fs::write(folder.join("mixed.tsv"), mixed.join("\n")).unwrap();
    let error = fail(
        folder,
        "atlas series brain1 --numbers mixed.tsv --out no",
        3,
    );
    assert!(error.contains("--order unknown"), "{error}");
    assert!(!folder.join("no").exists());
    fail(folder, "atlas series brain1 --out series", 4);
    succeed(folder, "atlas series brain1 --out series --force");
}
