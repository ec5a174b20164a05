//! The kit that measures a card (`scripts/gpu.sh`), on cores: its driver needs Python alone, torch only for the rates of a card.

#![cfg(feature = "torch")]
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// The example that the kit takes along; `cargo test` builds it.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap();
    let path = folder.join("examples/passes");
    assert!(path.exists(), "{}: build the examples, too", path.display());
    path
}

/// A folder as `gpu.sh pack` makes it, with this as its program.
fn kit(name: &str, program: &Path) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts");
    for script in [
        "gpu.sh",
        "gpu.py",
        "gpu_rates.py",
        "gpu_versions.py",
        "reference.py",
    ] {
        fs::copy(scripts.join(script), folder.join(script)).unwrap();
    }
    fs::copy(program, folder.join("passes")).unwrap();
    folder
}

fn drive(kit: &Path, arguments: &[&str]) -> (Output, String) {
    let output = Command::new("python3")
        .arg(kit.join("gpu.py"))
        .args(arguments)
        .output()
        .unwrap();
    let results = fs::read_to_string(kit.join("results.txt")).unwrap_or_default();
    (output, results)
}

#[test]
fn small_sizes_on_cores_are_measured_and_match_the_native_kernels() {
    let kit = kit("kit-small", &example());
    let (output, _) = drive(&kit, &["--expect", "small", "--threads", "1"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (output, results) = drive(&kit, &["--small", "--threads", "1"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    for line in printed.lines() {
        assert!(results.contains(line), "not in results.txt: {line}");
    }
    for shape in ["1500x200x40", "2000x300x60"] {
        for run in [
            "mirror {} f32",
            "mirror {} tf32",
            "mirror {} fp16",
            "mirror {} bf16",
            "adam {} f32",
        ] {
            let run = run.replace("{}", shape);
            let line = results.lines().find(|l| l.starts_with(&format!("{run}: ")));
            let line = line.unwrap_or_else(|| panic!("{run} is not in\n{results}"));
            assert!(
                line.contains("of it on the device") && line.contains("apart "),
                "{line}"
            );
        }
    }
    assert!(!results.contains("OUT OF ITS GATE"), "{results}");
    assert!(results.contains("NOT A GPU"));
    assert!(results.contains("package 1500x200x40: not measured: the kit was packed without it"));
    assert!(results.contains("mirror 4000x500x100 fp16: "));
    for run in ["mirror fp16", "mirror tf32", "adam f32"] {
        assert!(
            results.contains(&format!("twice, {run}: the same bits")),
            "{results}"
        );
    }
}

#[test]
fn a_cut_leaves_what_was_measured() {
    let sleeper = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("kit-sleeper.sh");
    // One precision is measured, the next never ends.
    let line = r#"{"precision": "f32", "median_s": 1.0, "device_s": 0.5, "gpu_bytes": null, "loss": -0.5}"#;
    fs::write(&sleeper, format!("#!/bin/sh\necho '{line}'\nsleep 600\n")).unwrap();
    fs::set_permissions(&sleeper, fs::Permissions::from_mode(0o755)).unwrap();
    let kit = kit("kit-cut", &sleeper);
    let begun = Instant::now();
    let (output, results) = drive(&kit, &["--small", "--minutes", "0.2"]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        begun.elapsed() < Duration::from_secs(60),
        "{:?}",
        begun.elapsed()
    );
    assert!(results.contains("cut after"), "{results}");
    assert!(results.contains("minutes are over"), "{results}");
}

#[test]
fn a_folder_without_a_program_says_to_pack() {
    let told = Command::new("bash")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/gpu.sh"))
        .arg("--small")
        .output()
        .unwrap();
    assert!(!told.status.success());
    assert!(String::from_utf8_lossy(&told.stderr).contains("gpu.sh pack"));
}
