//! The pages of docs/: every command of the first hour and of registration works, and every link leads somewhere.

use crate::atlas::write_expression;
use crate::program::Expression;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tangram_atlas::Plane;
use tangram_atlas::synthetic::{brain, section_at};
use tangram_atlas::synthetic_files::{write_mask, write_sources};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Markdown files of docs/, and the README.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("ARCHITECTURE.md")];
    for folder in ["docs", "docs/adr"] {
        let files = fs::read_dir(root().join(folder)).unwrap();
        let files = files.map(|e| e.unwrap().path());
        pages.extend(files.filter(|p| p.extension().is_some_and(|e| e == "md")));
    }
    pages
}

/// The blocks of a page in a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    let parts = text.split(&fence).skip(1);
    parts
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

/// The text without its blocks of code.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// Runs blocks of commands, one after the other, in a folder.
fn run_blocks(folder: &Path, blocks: &[String]) {
    let program = Path::new(env!("CARGO_BIN_EXE_tangram")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    for block in blocks {
        let done = Command::new("bash")
            .args(["-euo", "pipefail", "-c", block])
            .current_dir(folder)
            .env("PATH", &path)
            .output()
            .unwrap();
        assert!(
            done.status.success(),
            "{block}\n{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
    }
}

#[test]
fn every_command_of_the_first_hour_works() {
    let text = fs::read_to_string(root().join("docs/first-hour.md")).unwrap();
    let commands = blocks(&text, "sh");
    assert!(commands.len() >= 7, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    run_blocks(folder.path(), &commands);
    for made in [
        "run/report.html",
        "map.png",
        "genes.png",
        "folds/report.html",
        "progress.png",
        "types.h5ad",
        "spots.html",
    ] {
        assert!(folder.path().join(made).is_file(), "{made}");
    }
}

/// Small data under the names that docs/registration.md uses: a brain of ellipsoids, six sections of it at pixels of 20 µm, expression, cells.
fn write_registration_inputs(folder: &Path) {
    let brain = brain(100.0);
    write_sources(folder, &brain).unwrap();
    fs::rename(
        folder.join("annotation.nrrd"),
        folder.join("annotation_25.nrrd"),
    )
    .unwrap();
    let extent = brain.labels.grid.extent_um();
    for (name, axis) in [("74272479.zip", 1), ("71717084.zip", 2)] {
        write_expression(&folder.join(name), extent, |p| {
            Some((p[axis] / 100.0) as f32)
        });
    }
    let totals = "structures,cells\nCTX,1000000\nroot,2000000\n";
    fs::write(folder.join("totals.csv"), totals).unwrap();
    let cut = |depth_um: f64| {
        let plane = Plane {
            pitch_deg: 2.0,
            ..Plane::coronal(depth_um, extent)
        };
        section_at(&brain.classes, plane, 20.0).unwrap()
    };
    let mask = cut(5500.0);
    write_mask(&folder.join("mask.png"), &mask).unwrap();
    let [width, height] = mask.mask.size();
    let [left, right, top, bottom] = [width * 2 / 5, width * 3 / 5, height * 2 / 5, height * 3 / 5];
    let motor = format!(
        r#"{{"type": "Polygon", "coordinates": [[[{left}, {top}], [{right}, {top}], [{right}, {bottom}], [{left}, {bottom}], [{left}, {top}]]]}}"#
    );
    fs::write(folder.join("motor.geojson"), motor).unwrap();
    fs::create_dir(folder.join("masks")).unwrap();
    for number in 1..=5 {
        let path = folder.join(format!("masks/s{number:02}.png"));
        write_mask(&path, &cut(7000.0 - 400.0 * f64::from(number))).unwrap();
    }
    let mut cells = Expression::new("cell");
    cells.genes = ["Nrp1", "Pdyn", "Gad1", "Slc17a7"]
        .map(str::to_owned)
        .into();
    cells.write(&folder.join("cells.h5ad"));
}

#[test]
fn every_command_of_the_page_about_registration_works() {
    let text = fs::read_to_string(root().join("docs/registration.md")).unwrap();
    let commands = blocks(&text, "sh");
    assert!(commands.len() >= 4, "{commands:?}");
    let all = commands.concat();
    for command in [
        "atlas demo",
        "atlas import",
        "atlas register",
        "atlas query",
        "tangram map",
        "sweep new register",
        "sweep collect",
        "atlas series",
    ] {
        assert!(all.contains(command), "{command}");
    }
    let folder = tempfile::tempdir().unwrap();
    write_registration_inputs(folder.path());
    // The brain of ellipsoids has classes and proportions of its own.
    let own = |block: &String| {
        let tree = "--structures structures.csv";
        block.replace(
            tree,
            &format!("{tree} --classes rule.toml --orientation RIP"),
        )
    };
    run_blocks(folder.path(), &commands.iter().map(own).collect::<Vec<_>>());
    for made in [
        "atlas_demo/demo.toml",
        "section1/report.html",
        "regions.tsv",
        "run/report.html",
        "brain1/sections.tsv",
        "series1/series.svg",
    ] {
        assert!(folder.path().join(made).is_file(), "{made}");
    }
}

/// What a heading is called in a link: small letters, spaces to hyphens, punctuation gone.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim();
    let kept = text
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c })
        .collect::<String>()
        .to_lowercase()
}

#[test]
fn every_link_leads_somewhere() {
    let mut wrong = Vec::new();
    for page in pages() {
        let text = prose(&fs::read_to_string(&page).unwrap());
        for part in text.split("](").skip(1) {
            let link = part.split([')', ' ']).next().unwrap();
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().unwrap().join(file),
            };
            let there = target.exists();
            let found = heading.is_empty()
                || fs::read_to_string(&target).is_ok_and(|text| {
                    let headings = text.lines().filter(|line| line.starts_with('#'));
                    headings.map(anchor).any(|a| a == heading)
                });
            if !there || !found {
                wrong.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_book_has_every_page() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).unwrap();
    let listed: BTreeSet<String> = summary
        .split("](")
        .skip(1)
        .map(|part| part.split(')').next().unwrap().to_owned())
        .collect();
    let docs = root().join("docs");
    let there: BTreeSet<String> = pages()
        .iter()
        .filter_map(|page| page.strip_prefix(&docs).ok())
        .map(|page| page.to_string_lossy().into_owned())
        .filter(|page| page != "SUMMARY.md")
        .collect();
    assert_eq!(listed, there);
}
