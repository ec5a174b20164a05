//! Sweeps whose items are registrations of sections.

use super::{signal, start, wait_for_folds};
use crate::program::{fail, listing, shared_folder, succeed, summary};
use image::GrayImage;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use tangram_atlas::synthetic::{Rung, brain, section};
use tangram_atlas::synthetic_files::{write_mask, write_sources};
use tangram_atlas::{
    NrrdValues, RegisteredSection, SectionState, Transform, read_nrrd, read_sections,
};
use tangram_store::Volumes;
use tangram_sweep::{Attempts, State};
use tempfile::TempDir;

/// Flags of every registration here, the affine map alone being quick.
pub const FIT: &str = "--pixel-size 50 --affine-only";
/// Writes the synthetic brain as an atlas, and masks of sections of it, in `masks`.
pub fn write_brain_and_masks(folder: &Path) {
    let brain = brain(100.0);
    write_sources(folder, &brain).unwrap();
    let import = "atlas import --annotation annotation.nrrd --structures structures.csv --classes rule.toml --orientation RIP";
    succeed(folder, &format!("{import} --out atlas.zarr"));
    let masks = folder.join("masks");
    fs::create_dir(&masks).unwrap();
    for (i, seed) in [11, 3, 21].into_iter().enumerate() {
        let truth = section(&brain.classes, &Rung::LADDER[0].1, seed);
        write_mask(&masks.join(format!("s{}.png", i + 1)), &truth).unwrap();
    }
    let stripes = GrayImage::from_fn(200, 150, |x, _| image::Luma([1 + (x / 12 % 8) as u8]));
    stripes.save(masks.join("stripes.png")).unwrap();
    fs::write(masks.join("torn.png"), "no image").unwrap();
}

/// An atlas and masks, made once.
fn shared() -> &'static Path {
    static BRAIN: OnceLock<TempDir> = OnceLock::new();
    let shared = BRAIN.get_or_init(|| {
        let folder = shared_folder();
        write_brain_and_masks(folder.path());
        folder
    });
    shared.path()
}

/// An empty folder beside them.
fn folder() -> (PathBuf, TempDir) {
    let own = tempfile::tempdir_in(shared()).unwrap();
    (own.path().to_owned(), own)
}

/// The masks, of which the fourth is no brain and the last no image.
fn masks() -> String {
    let masks = ["s1", "s2", "s3", "stripes", "torn"];
    let path = |name| format!("{}/masks/{name}.png", shared().display());
    masks.map(path).join(" ")
}

fn new(folder: &Path, masks: &str, per_task: usize, name: &str) {
    let atlas = shared().join("atlas.zarr");
    let line = format!(
        "sweep new register --atlas {} --regions {masks} {FIT}",
        atlas.display()
    );
    succeed(
        folder,
        &format!("{line} --sections-per-task {per_task} --out {name}"),
    );
}

/// Files of a folder with their bytes, by their place in it.
pub fn tree(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for path in listing(&next) {
            match path.is_dir() {
                true => waiting.push(path),
                false => {
                    let name = path.strip_prefix(folder).unwrap().to_owned();
                    all.push((name, fs::read(&path).unwrap()));
                }
            }
        }
    }
    all.sort();
    all
}

/// The store and the table of a sweep, collected here.
type Collected = (Vec<(PathBuf, Vec<u8>)>, String);

fn collected(folder: &Path, name: &str) -> Collected {
    succeed(folder, &format!("sweep collect {name}"));
    let at = folder.join(name);
    let table = fs::read_to_string(at.join("sections.tsv")).unwrap();
    (tree(&at.join("sections.zarr")), table)
}

/// What becomes of the masks, all in one task, when nothing happens.
fn undisturbed() -> &'static Collected {
    static RESULT: OnceLock<Collected> = OnceLock::new();
    RESULT.get_or_init(|| {
        let (folder, _keep) = folder();
        new(&folder, &masks(), 5, "one");
        succeed(&folder, "sweep run one --all --jobs 1 --threads 1");
        collected(&folder, "one")
    })
}

#[test]
fn one_store_holds_what_each_section_gives_by_itself() {
    let (folder, _keep) = folder();
    new(&folder, &masks(), 5, "many");
    let told = crate::program::run(&folder, "sweep run many --all --jobs 3");
    assert!(told.status.success());
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(
        told.contains("section torn failed: ") && told.contains("section stripes refused: "),
        "{told}"
    );
    let status = succeed(&folder, "sweep status many");
    assert!(status.contains("5 of 5 sections"), "{status}");
    let report = summary(&folder, "sweep collect many");
    let sections = &report["sections"];
    assert_eq!(sections["n_registered"], 3, "{report}");
    assert!(sections["refused"]["stripes"].is_string(), "{report}");
    assert!(sections["failed"]["torn"].is_string(), "{report}");
    assert!(fail(&folder, "sweep collect many", 4).contains("exists already"));

    let store = folder.join("many/sections.zarr");
    let records = read_sections(&store).unwrap();
    let states: Vec<SectionState> = records
        .iter()
        .map(|r| r.outcome.as_ref().unwrap().state)
        .collect();
    use SectionState::{Failed, Refused, Registered};
    assert_eq!(
        states,
        [Registered, Registered, Registered, Refused, Failed]
    );
    assert!(records[3].fit().is_some(), "the fit that was refused");
    let table = fs::read_to_string(folder.join("many/sections.tsv")).unwrap();
    assert_eq!(table.lines().count(), 6);
    assert!(table.contains("\nstripes\trefused\t"), "{table}");

    succeed(
        &folder,
        &format!(
            "atlas register --atlas ../atlas.zarr --regions ../masks/s2.png {FIT} --out alone"
        ),
    );
    let alone = Transform::read(&folder.join("alone/transform.json")).unwrap();
    for place in ["s2", "sections/s2"] {
        let stored = RegisteredSection::open(&store.join(place)).unwrap();
        assert_eq!(stored.transform.parameters(), alone.parameters());
        assert_eq!(stored.name(), "s2");
    }
    let NrrdValues::Whole(ids) = read_nrrd(&folder.join("alone/labels.nrrd")).unwrap().values
    else {
        panic!("identifiers are whole numbers");
    };
    let volumes = Volumes::open(&store).unwrap();
    let at = "sections/s2/labels";
    let [width, height] = alone.parameters().image;
    assert_eq!(volumes.shape(at).unwrap(), [height, width]);
    let labels = volumes.i64s(at, 0..height).unwrap();
    assert!(labels.iter().zip(&ids).all(|(a, b)| *a == i64::from(*b)));
    assert!(!volumes.has("sections/stripes/labels").unwrap());

    // Three sections make no series, and of torn there is no place.
    let error = fail(&folder, "atlas series many --order unknown --out series", 3);
    assert!(error.contains("3 of 5 sections have a place"), "{error}");
    let error = fail(&folder, "atlas series many --out series", 3);
    assert!(error.contains("section stripes has no number"), "{error}");

    // Other commands take a section of the store by its name.
    fs::write(folder.join("points.csv"), "x,y\n60.5,50.5\n").unwrap();
    for (section, out) in [("alone", "a.tsv"), ("many/sections.zarr/s2", "b.tsv")] {
        succeed(
            &folder,
            &format!("atlas points --section {section} --points points.csv --out {out}"),
        );
    }
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    assert_eq!(read("a.tsv"), read("b.tsv"));
    for (name, why) in [("stripes", "refused"), ("s9", "no section `s9`")] {
        let line = format!(
            "atlas points --section many/sections.zarr/{name} --points points.csv --out c.tsv"
        );
        let error = fail(&folder, &line, 3);
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn any_packing_and_any_end_give_the_same() {
    let (folder, _keep) = folder();
    new(&folder, &masks(), 1, "tasks");
    let mut others = ["--task 0 --task 3", "--task 1 --task 4"]
        .map(|t| start(&folder, &format!("sweep run tasks {t}")));
    for other in &mut others {
        assert!(other.wait().unwrap().success());
    }
    succeed(&folder, "sweep run tasks --all --threads 2");
    assert!(collected(&folder, "tasks") == *undisturbed());

    new(&folder, &masks(), 5, "disturbed");
    let sweep = folder.join("disturbed");
    let run = "sweep run disturbed --all --jobs 1 --threads 1";
    let mut child = start(&folder, run);
    wait_for_folds(&sweep, 1);
    signal(&child, libc::SIGUSR2);
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let first = Attempts::of(&sweep).at(0).unwrap().remove(0);
    assert_eq!(first.state, State::Stopped);
    let n = first.items.len();
    assert!((1..5).contains(&n), "{n} of 5 done before it was stopped");
    let mut child = start(&folder, run);
    wait_for_folds(&sweep, n + 1);
    child.kill().unwrap();
    child.wait().unwrap();
    let rest = summary(&folder, run);
    assert!(
        rest["folds_done_now"].as_u64().unwrap() < 5 - n as u64,
        "{rest}"
    );
    assert!(collected(&folder, "disturbed") == *undisturbed());
}

#[test]
fn a_mask_that_changed_is_told_when_the_others_are_done() {
    let (folder, _keep) = folder();
    let mask = folder.join("s1.png");
    let kept = fs::read(folder.join("../masks/s1.png")).unwrap();
    fs::write(&mask, &kept).unwrap();
    let whole = format!("{}/masks/s1.png", shared().display());
    let masks = masks().replace(&whole, "s1.png");
    new(&folder, &masks, 5, "changed");
    fs::write(&mask, [&kept[..], b"more"].concat()).unwrap();
    let told = fail(&folder, "sweep run changed --all", 3);
    assert!(
        told.contains("section s1") && told.contains("changed"),
        "{told}"
    );
    let told = fail(&folder, "sweep collect changed", 3);
    assert!(told.contains("1 of 1 tasks are not done"), "{told}");
    let some = summary(&folder, "sweep collect changed --allow-missing --out some");
    assert_eq!(some["sections"]["missing"], serde_json::json!(["s1"]));
    assert_eq!(some["sections"]["n_registered"], 2);
    fs::write(&mask, &kept).unwrap();
    let rest = summary(&folder, "sweep run changed --all");
    assert_eq!(rest["folds_done_now"], 1);
    // All but the path of the mask is the same.
    assert_eq!(collected(&folder, "changed").1, undisturbed().1);
}

#[test]
fn what_cannot_be_told_apart_or_is_missing_is_refused_at_once() {
    let (folder, _keep) = folder();
    let line = "sweep new register --out wrong --atlas";
    let check = |rest: &str, code: i32, expected: &str| {
        let error = fail(&folder, &format!("{line} {rest}"), code);
        assert!(error.contains(expected), "{rest}: {error}");
        assert!(!folder.join("wrong").exists());
    };
    fs::write(folder.join("s1.png"), "another").unwrap();
    let atlas = "../atlas.zarr --regions";
    check(
        &format!("{atlas} ../masks/s1.png s1.png"),
        2,
        "both be the section `s1`",
    );
    check(&format!("{atlas} gone.png"), 3, "gone.png");
    check("gone.zarr --regions ../masks/s1.png", 3, "gone.zarr");
    fs::write(folder.join("s(1).png"), "another").unwrap();
    check(
        &format!("{atlas} s(1).png"),
        2,
        "`s(1)` cannot name a section",
    );
    let error = fail(&folder, &format!("{line} ../atlas.zarr"), 2);
    assert!(error.contains("--regions"), "{error}");
    new(&folder, "../masks/s1.png", 1, "one");
    let error = fail(&folder, "sweep run one --all --launcher mpirun", 2);
    assert!(error.contains("--launcher"), "{error}");
}
