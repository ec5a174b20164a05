//! The pages of docs/: every command of the first hour works, and every link leads somewhere.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

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

#[test]
fn every_command_of_the_first_hour_works() {
    let text = fs::read_to_string(root().join("docs/first-hour.md")).unwrap();
    let commands = blocks(&text, "sh");
    assert!(commands.len() >= 7, "{commands:?}");
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_tangram")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(program.to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    for block in commands {
        let done = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block])
            .current_dir(folder.path())
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
