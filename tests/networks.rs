//! Networks as a person trains and uses them, on a brain made of ellipsoids.

use crate::program::{fail, listing, succeed, summary, tangram};
use image::{GrayImage, ImageReader, Luma};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tangram_atlas::synthetic::{Rung, brain, section};
use tangram_atlas::synthetic_files::{write_mask, write_sources};
use tempfile::{TempDir, tempdir};

/// A folder with an atlas store.
fn folder() -> TempDir {
    let folder = tempdir().unwrap();
    write_sources(folder.path(), &brain(200.0)).unwrap();
    succeed(
        folder.path(),
        "atlas import --annotation annotation.nrrd --structures structures.csv --classes rule.toml --orientation RIP --out atlas.zarr",
    );
    folder
}

const TRAIN: &str = "--atlas atlas.zarr --preset tiny --threads 1";

#[test]
fn a_build_without_libtorch_says_so() {
    let folder = folder();
    let folder = folder.path();
    if cfg!(feature = "torch") {
        let error = fail(
            folder,
            &format!("atlas train depth {TRAIN} --train last-conv --out depth"),
            2,
        );
        assert!(error.contains("it would be random numbers"), "{error}");
        return;
    }
    for command in [
        format!("atlas train regions {TRAIN} --out regions"),
        "atlas segment section.png --network none --atlas atlas.zarr --out masks".to_owned(),
        {
            let truth = section(&brain(200.0).classes, &Rung::LADDER[0].1, 3);
            write_mask(&folder.join("mask.png"), &truth).unwrap();
            "atlas register --regions mask.png --plane-network none --atlas atlas.zarr --out section"
                .to_owned()
        },
    ] {
        let error = fail(folder, &command, 2);
        assert!(error.contains("has no libtorch"), "{error}");
    }
}

/// A picture of something like a section.
fn picture(path: &Path) {
    GrayImage::from_fn(90, 70, |x, y| {
        let (dx, dy) = (f64::from(x) - 45.0, f64::from(y) - 35.0);
        let inside = (dx / 40.0).powi(2) + (dy / 30.0).powi(2) < 1.0;
        Luma([if inside { 120 + (x % 7) as u8 * 10 } else { 5 }])
    })
    .save(path)
    .unwrap();
}

#[test]
fn a_network_is_trained_and_segments() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    let train = format!("atlas train regions {TRAIN} --steps 4 --out regions");
    let record = summary(folder, &train);
    assert_eq!(record["weights"], "all weights began as random numbers");
    assert_eq!(record["images"], "planes painted structure by structure");
    let accuracy = record["held-out"]["measures"]["pixel-accuracy"]
        .as_f64()
        .unwrap();
    assert!((0.0..=1.0).contains(&accuracy));
    let losses = fs::read_to_string(folder.join("regions/loss.tsv")).unwrap();
    assert_eq!(losses.lines().count(), 5);
    let text = fs::read_to_string(folder.join("regions/training.toml")).unwrap();
    assert!(text.contains("[beginning]\nfrom = \"random\""), "{text}");
    assert!(fail(folder, &train, 4).contains("exists already"));
    assert!(fail(folder, &format!("{train}2 --resume"), 4).contains("no interrupted training"));

    picture(&folder.join("section.png"));
    let segment = "atlas segment section.png --network regions --atlas atlas.zarr --out masks";
    let record = summary(folder, segment);
    assert_eq!(record["mask"][0]["mask"], "section.png");
    assert_eq!(record["learned-from-this-atlas"], true);
    let sha256 = tangram_store::fingerprint(&folder.join("masks/section.png")).unwrap();
    assert_eq!(record["mask"][0]["mask-sha256"], sha256);
    let mask = ImageReader::open(folder.join("masks/section.png"))
        .unwrap()
        .decode()
        .unwrap();
    let mask = mask.as_luma8().expect("8-bit gray");
    assert_eq!(mask.dimensions(), (90, 70));
    assert!(mask.iter().all(|class| *class <= 8));

    fs::write(folder.join("broken.png"), b"no image").unwrap();
    GrayImage::from_pixel(64, 64, Luma([9]))
        .save(folder.join("blank.png"))
        .unwrap();
    GrayImage::from_pixel(1, 1, Luma([9]))
        .save(folder.join("one.png"))
        .unwrap();
    let check = |image: &str, expected: &str| {
        let command = format!(
            "atlas segment section.png {image} --network regions --atlas atlas.zarr --out more"
        );
        let error = fail(folder, &command, 3);
        assert!(error.contains(image) && error.contains(expected), "{error}");
        assert!(!folder.join("more").exists());
    };
    check("broken.png", "not an image");
    check("blank.png", "the image is blank");
    check("one.png", "1 × 1 pixels");
    check("gone.png", "no such file");
    succeed(
        folder,
        &format!("atlas train plane {TRAIN} --steps 2 --out plane"),
    );
    let other = segment.replace("regions", "plane").replace("masks", "more");
    assert!(fail(folder, &other, 3).contains("a network of another kind"));
}

/// Photographs with masks, whose left part is left out: sections of the brain of ellipsoids, a gray value for each class.
fn write_labelled(folder: &Path, n: u64) {
    fs::create_dir(folder).unwrap();
    let classes = brain(200.0).classes;
    for number in 1..=n {
        let truth = section(&classes, &Rung::LADDER[0].1, number);
        let mask = folder.join(format!("section{number}_mask.png"));
        write_mask(&mask, &truth).unwrap();
        let drawn = ImageReader::open(&mask)
            .unwrap()
            .decode()
            .unwrap()
            .into_luma8();
        let gray =
            |x: u32, y: u32| 10 + 25 * drawn.get_pixel(x, y).0[0] + (x * 7 + y * 3) as u8 % 5;
        let photograph =
            GrayImage::from_fn(drawn.width(), drawn.height(), |x, y| Luma([gray(x, y)]));
        photograph
            .save(folder.join(format!("section{number}.png")))
            .unwrap();
        let mut left_out = drawn;
        let third = left_out.width() / 3;
        for (_, _, class) in left_out.enumerate_pixels_mut().filter(|(x, ..)| *x < third) {
            *class = Luma([255]);
        }
        left_out.save(&mask).unwrap();
    }
}

#[test]
fn a_network_learns_from_labelled_photographs() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    write_labelled(&folder.join("labelled"), 6);
    picture(&folder.join("labelled/alone.png"));
    let train = |more: &str, out: &str| {
        format!("atlas train regions {TRAIN} --labelled labelled {more} --steps 4 --out {out}")
    };
    let said = fail(folder, &train("", "regions"), 0);
    assert!(
        said.contains("1 photograph without a mask (labelled/alone.png first)"),
        "{said}"
    );
    fs::remove_file(folder.join("labelled/alone.png")).unwrap();
    let record = summary(folder, &train("", "again"));
    let [one, two] = ["regions", "again"]
        .map(|run| fs::read(folder.join(run).join("network.safetensors")).unwrap());
    assert!(one == two, "the same command gives the same network");
    let images = record["images"].as_str().unwrap();
    assert!(
        images.ends_with("; labelled photographs are 50 % of all"),
        "{images}"
    );
    assert_eq!(record["photographs"]["n-training"], 5);
    assert_eq!(
        record["photographs"]["held-out"],
        serde_json::json!(["section3.png"])
    );
    let held_out = &record["held-out-photographs"];
    assert_eq!(held_out["n"], 1);
    let accuracy = held_out["measures"]["pixel-accuracy"].as_f64().unwrap();

    // The scores are those of what `atlas segment` gives, where the mask has a class.
    succeed(
        folder,
        "atlas segment labelled/section3.png --network again --atlas atlas.zarr --out masks",
    );
    let said = fail(
        folder,
        "atlas segment labelled/section3.png labelled/section4.png --network again --atlas atlas.zarr --out known",
        0,
    );
    assert!(
        said.contains("section4.png: the network learned from this photograph"),
        "{said}"
    );
    assert_eq!(said.matches("learned from this").count(), 1, "{said}");
    let open = |name: &str| {
        ImageReader::open(folder.join(name))
            .unwrap()
            .decode()
            .unwrap()
    };
    let (found, truth) = (
        open("masks/section3.png"),
        open("labelled/section3_mask.png"),
    );
    let (found, truth) = (found.into_luma8(), truth.into_luma8());
    let known = found
        .iter()
        .zip(truth.iter())
        .filter(|(_, truth)| **truth != 255);
    let (mut n, mut right) = (0, 0);
    known.for_each(|(found, truth)| {
        n += 1;
        right += usize::from(found == truth);
    });
    assert!(n < found.len(), "some pixels are left out");
    assert!(
        (accuracy - right as f64 / n as f64).abs() < 1e-9,
        "{accuracy} {right} {n}"
    );

    let all = summary(folder, &train("--labelled-share 1", "all"));
    assert_eq!(all["images"], "labelled photographs");
    let alone = fail(
        folder,
        &format!("atlas train regions {TRAIN} --labelled-share 1 --out no"),
        2,
    );
    assert!(alone.contains("--labelled"), "{alone}");
    let error = fail(folder, &train("--labelled-share 1.5", "no"), 2);
    assert!(error.contains("above 0 and up to 1"), "{error}");

    let mask = folder.join("labelled/section2_mask.png");
    let good = fs::read(&mask).unwrap();
    GrayImage::from_pixel(30, 30, Luma([1]))
        .save(&mask)
        .unwrap();
    let error = fail(folder, &train("", "no"), 3);
    assert!(
        error.contains("section2_mask.png: 30 × 30 pixels"),
        "{error}"
    );
    fs::write(&mask, good).unwrap();
    fs::remove_file(folder.join("labelled/section5.png")).unwrap();
    let error = fail(folder, &train("", "no"), 3);
    assert!(
        error.contains("section5_mask.png: a mask without a photograph"),
        "{error}"
    );
    assert!(!folder.join("no").exists() && !folder.join("no.training").exists());
}

#[test]
fn a_training_goes_on_with_the_same_labelled_photographs_only() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    write_labelled(&folder.join("labelled"), 4);
    let train = |out: &str| {
        format!(
            "atlas train regions {TRAIN} --labelled labelled --steps 60 --checkpoint-every 2 --out {out}"
        )
    };
    succeed(folder, &train("whole"));
    begin_and_signal(folder, &train("stopped"), "TERM");
    let mask = folder.join("labelled/section1_mask.png");
    let good = fs::read(&mask).unwrap();
    let mut other = ImageReader::open(&mask)
        .unwrap()
        .decode()
        .unwrap()
        .into_luma8();
    let last = other.width() - 1;
    other.put_pixel(last, 0, Luma([1]));
    other.save(&mask).unwrap();
    let error = fail(folder, &format!("{} --resume", train("stopped")), 3);
    assert!(error.contains("the labelled images are others"), "{error}");
    fs::write(&mask, good).unwrap();
    let other =
        train("stopped").replace("labelled --steps", "labelled --labelled-share 0.25 --steps");
    let error = fail(folder, &format!("{other} --resume"), 3);
    assert!(error.contains("now 0.25"), "{error}");
    succeed(folder, &format!("{} --resume", train("stopped")));
    let [whole, stopped] = ["whole", "stopped"]
        .map(|run| fs::read(folder.join(run).join("network.safetensors")).unwrap());
    assert!(whole == stopped, "the networks differ");
}

#[cfg(feature = "mpi")]
#[test]
fn ranks_that_divide_a_batch_write_what_one_process_writes() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    let train = |out: &str| {
        format!("atlas train regions {TRAIN} --steps 4 --checkpoint-every 2 --shards 2 --out {out}")
    };
    succeed(folder, &train("one"));
    let ranks = |arguments: &str| {
        let output = crate::program::mpirun(folder, 2, arguments)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), errors)
    };
    let (code, errors) = ranks(&train("two"));
    assert_eq!(code, Some(0), "{errors}");
    let [one, two] =
        ["one", "two"].map(|run| fs::read(folder.join(run).join("network.safetensors")).unwrap());
    assert!(one == two, "the networks differ");

    let (code, errors) = ranks(&train("none").replace("--shards 2", "--shards 1"));
    assert_eq!(code, Some(2), "{errors}");
    assert_eq!(
        errors.matches("give --shards 2 or more").count(),
        1,
        "{errors}"
    );
    assert!(!folder.join("none").exists());
    let (code, errors) = ranks(&train("two"));
    assert_eq!(code, Some(4), "{errors}");
    assert!(errors.contains("exists already"), "{errors}");
}

#[test]
fn the_call_of_a_plane_network_is_one_more_start() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    for what in ["plane", "depth"] {
        let train = format!("atlas train {what} {TRAIN} --steps 2 --out {what}");
        succeed(folder, &train);
    }
    let truth = section(&brain(200.0).classes, &Rung::LADDER[0].1, 3);
    write_mask(&folder.join("mask.png"), &truth).unwrap();
    let register = "atlas register --atlas atlas.zarr --regions mask.png --pixel-size 50";
    let without = summary(folder, &format!("{register} --out without"));
    assert!(without.get("plane-network").is_none());
    assert_eq!(without["result"]["regions"], "the user's mask");
    let with = format!("{register} --plane-network plane");
    let record = summary(folder, &format!("{with} --out section"));
    let call = &record["plane-network"];
    assert_eq!(call["weights"], "all weights began as random numbers");
    assert_eq!(call["learned-from-this-atlas"], true);
    assert!(call["won"].is_boolean() && call["depth-um"].is_number());
    // It learned nothing in two steps; the result must not suffer.
    let depth = |record: &serde_json::Value| record["result"]["depth-um"].as_f64().unwrap();
    assert!((depth(&record) - truth.plane.depth_um).abs() < 200.0);
    let error = fail(folder, &format!("{with} --plane fixed --out no"), 2);
    assert!(error.contains("leave one of them out"), "{error}");
    let other = format!("{register} --plane-network depth --out no");
    let error = fail(folder, &other, 3);
    assert!(error.contains("a network of another kind"), "{error}");
    assert!(!folder.join("no").exists());
}

#[test]
fn a_registration_says_who_made_its_mask() {
    let folder = folder();
    let folder = folder.path();
    let truth = section(&brain(200.0).classes, &Rung::LADDER[0].1, 3);
    fs::create_dir(folder.join("masks")).unwrap();
    let mask = folder.join("masks/section.png");
    write_mask(&mask, &truth).unwrap();
    let sha256 = tangram_store::fingerprint(&mask).unwrap();
    let of_mask = |sha256: &str| {
        let text = format!(
            "weights = \"all weights began as random numbers\"\nnetwork-sha256 = \"abcdef0123456789\"\n\n[[mask]]\nmask = \"section.png\"\nmask-sha256 = \"{sha256}\"\n"
        );
        fs::write(folder.join("masks/segmentation.toml"), text).unwrap();
        let command = "atlas register --atlas atlas.zarr --regions masks/section.png --pixel-size 50 --no-report --out section --force";
        let record = summary(folder, command);
        record["result"]["regions"].as_str().unwrap().to_owned()
    };
    let told = of_mask(&sha256);
    assert_eq!(
        told,
        "a mask of `tangram atlas segment` with the network of SHA-256 abcdef012345…; all weights began as random numbers"
    );
    let told = of_mask("another");
    assert!(told.starts_with("changed since it was a mask"), "{told}");
    // The expected error knows no mistakes of a network.
    let warning = "a network's mistakes";
    let command = "atlas register --atlas atlas.zarr --regions masks/section.png --pixel-size 50 --out section --force";
    assert!(fail(folder, command, 0).contains(warning));
    let page = fs::read_to_string(folder.join("section/report.html")).unwrap();
    assert!(page.contains("A network made the mask"));
    let sweep = "sweep new register --atlas atlas.zarr --regions masks/section.png --out";
    let said = fail(folder, &format!("{sweep} some"), 0);
    assert!(
        said.contains("1 of 1 mask: ") && said.contains(warning),
        "{said}"
    );
    fs::remove_file(folder.join("masks/segmentation.toml")).unwrap();
    assert!(!fail(folder, command, 0).contains(warning));
    assert!(!fail(folder, &format!("{sweep} none"), 0).contains(warning));
}

/// Begins a training, and sends it a signal when its state was saved.
///
/// # Returns
/// Where the state is.
fn begin_and_signal(folder: &Path, train: &str, signal: &str) -> PathBuf {
    let out = train.rsplit(' ').next().unwrap();
    let state = folder.join(format!("{out}.training"));
    let mut command = tangram();
    let child = (command
        .current_dir(folder)
        .args(train.split(' '))
        .stderr(Stdio::piped()))
    .spawn()
    .unwrap();
    let begun = Instant::now();
    while !state.exists() && begun.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(2));
    }
    let sent = Command::new("kill")
        .args(["-s", signal, &child.id().to_string()])
        .status();
    assert!(sent.unwrap().success());
    let ended = child.wait_with_output().unwrap();
    let message = String::from_utf8_lossy(&ended.stderr).into_owned();
    if signal == "TERM" {
        assert_eq!(ended.status.code(), Some(75), "{message}");
        assert!(message.contains("--resume goes on"), "{message}");
    }
    state
}

#[test]
fn a_killed_training_goes_on_to_the_same_bits() {
    if !cfg!(feature = "torch") {
        return;
    }
    let folder = folder();
    let folder = folder.path();
    let train = |out: &str| {
        format!(
            "atlas train depth {TRAIN} --head released-code --steps 60 --checkpoint-every 2 --out {out}"
        )
    };
    succeed(folder, &train("whole"));
    let state = begin_and_signal(folder, &train("killed"), "KILL");
    assert!(
        state.is_file() && !folder.join("killed").exists(),
        "killed after the state was saved"
    );
    let error = fail(folder, &train("killed"), 4);
    assert!(error.contains("--resume goes on with it"), "{error}");
    let error = fail(folder, &format!("{} --seed 3 --resume", train("killed")), 3);
    assert!(error.contains("seed was 0, now 3"), "{error}");
    succeed(folder, &format!("{} --resume", train("killed")));
    let [whole, killed] = ["whole", "killed"]
        .map(|run| fs::read(folder.join(run).join("network.safetensors")).unwrap());
    assert!(whole == killed, "the networks differ");
    let stopped = begin_and_signal(folder, &train("stopped"), "TERM");
    assert!(stopped.is_file());
    succeed(folder, &format!("{} --resume", train("stopped")));
    assert!(whole == fs::read(folder.join("stopped/network.safetensors")).unwrap());
    let left = listing(folder);
    let left = left.iter().map(|p| p.to_string_lossy().into_owned());
    let left: Vec<String> = left
        .filter(|p| p.contains("partial") || p.contains(".training"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
