//! `--device`: GPUs where there are any, and what is said where there are none.

use crate::program::{fail, run, shared_folder, succeed, summary};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use tempfile::TempDir;

const MAP: &str = "map --cells tissue/cells.h5ad --voxels tissue/voxels.h5ad --threads 1 -q";

fn tissue() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER
        .get_or_init(|| {
            let folder = shared_folder();
            let sizes = "--cells 400 --voxels 60 --spots 20 --genes 90 --panel 50";
            succeed(folder.path(), &format!("simulate --out tissue {sizes} -q"));
            folder
        })
        .path()
}

fn has_gpu() -> bool {
    let findings = summary(tissue(), "doctor");
    let all = findings.as_array().unwrap();
    let gpus = all.iter().find(|f| f["what"] == "gpus").unwrap();
    gpus["told"].as_str().unwrap().contains("cuda:0")
}

fn losses(run: &str) -> Vec<f64> {
    let text = fs::read_to_string(tissue().join(run).join("history.tsv")).unwrap();
    let loss = |line: &str| line.split('\t').nth(1).unwrap().parse().unwrap();
    text.lines().skip(1).map(loss).collect()
}

fn run_file(run: &str) -> toml::Table {
    let text = fs::read_to_string(tissue().join(run).join("run.toml")).unwrap();
    text.parse().unwrap()
}

#[test]
fn without_a_gpu_cuda_is_refused_and_auto_takes_the_cores() {
    if has_gpu() {
        return;
    }
    let told = fail(tissue(), &format!("{MAP} --device cuda --out refused"), 2);
    let cause = format!("--device cuda: libtorch {} ", libtorch());
    assert!(told.contains(&cause), "{told}");
    assert!(
        told.contains("LIBTORCH") && told.contains("--device cpu"),
        "{told}"
    );
    assert_eq!(told.trim_end().lines().count(), 1, "{told}");
    assert!(!tissue().join("refused").exists());
    succeed(
        tissue(),
        &format!("{MAP} --epochs 3 --device auto --out auto"),
    );
    let file = run_file("auto");
    assert_eq!(file["record"]["device"].as_str(), Some("cores"));
    assert_eq!(file["map"]["device"].as_str(), Some("auto"));
    assert_eq!(file["map"]["precision"].as_str(), Some("auto"));
    assert_eq!(file["record"]["products"].as_str(), Some("f32"));
}

#[test]
fn libtorch_on_cores_learns_what_the_kernels_learn() {
    for solver in ["mirror", "adam"] {
        let map = format!("{MAP} --solver {solver} --epochs 25 --precision f64");
        succeed(tissue(), &format!("{map} --out {solver}-cpu"));
        let torch = format!("{map} --device torch-cpu --device-block 0.01 --out {solver}-torch");
        succeed(tissue(), &torch);
        let (native, torch) = (
            losses(&format!("{solver}-cpu")),
            losses(&format!("{solver}-torch")),
        );
        assert_eq!(native.len(), torch.len());
        for (a, b) in native.iter().zip(&torch) {
            // Sums are taken in another order.
            assert!((a - b).abs() < 1e-8, "{solver}: {a} {b}");
        }
        let file = run_file(&format!("{solver}-torch"));
        assert_eq!(
            file["record"]["device"].as_str(),
            Some("cores, by libtorch")
        );
        let products = file["record"]["products"].as_str();
        assert_eq!(products, Some("f64, addmm_, in place"));
    }
}

#[test]
fn a_device_refuses_what_it_cannot_do() {
    let exact = format!("{MAP} --device torch-cpu --reduce exact --out exact");
    let told = fail(tissue(), &exact, 2);
    assert!(told.contains("--reduce exact"), "{told}");
    let small = format!("{MAP} --device torch-cpu --gpu-memory 0.1 --out small");
    let told = fail(tissue(), &small, 5);
    assert!(told.contains("GB of memory"), "{told}");
    assert!(!tissue().join("small").exists());
    // fp16 is for devices.
    let told = fail(tissue(), &format!("{MAP} --precision fp16 --out fp16"), 2);
    assert!(
        told.contains("--precision fp16") && told.contains("bf16"),
        "{told}"
    );
    assert!(!tissue().join("fp16").exists());
    let map = format!("{MAP} --device torch-cpu --epochs 5 --precision fp16 --out fp16");
    succeed(tissue(), &map);
    let file = run_file("fp16");
    let products = file["record"]["products"].as_str().unwrap();
    assert!(products.starts_with("fp16, "), "{products}");
}

#[test]
fn a_plan_for_gpus_counts_their_memory() {
    let atlas = "plan --cells 1000000 --voxels 100000 --genes 2000";
    let text = succeed(
        tissue(),
        &format!("{atlas} --ranks 8 --ranks-per-node 4 --gpu-memory 80"),
    );
    assert!(text.contains("--gpus-per-node=4"), "{text}");
    assert!(text.contains("--device cuda"), "{text}");
    assert!(text.contains("not measured"), "{text}");
    let grids = summary(tissue(), &format!("{atlas} --ranks 4 --gpu-memory 40"));
    let best = &grids[0];
    let bytes = best["gpu-bytes"].as_u64().unwrap();
    assert!(best["fits"].as_bool().unwrap() && bytes < 40_000_000_000);
    // 10⁶ cells × 10⁵ voxels of Adam's state are 1.2 TB.
    let told = fail(
        tissue(),
        &format!("{atlas} --solver adam --ranks 8 --gpu-memory 80"),
        2,
    );
    assert!(
        told.contains("of a GPU") && told.contains("ranks would do"),
        "{told}"
    );
}

/// The version of libtorch that the program says it runs with.
fn libtorch() -> String {
    let said = succeed(tissue(), "--version");
    let line = said.lines().find_map(|l| l.strip_prefix("libtorch "));
    line.unwrap().to_owned()
}

#[test]
fn the_doctor_tells_of_gpus() {
    let output = run(tissue(), "doctor");
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|l| l.contains("gpus")).unwrap();
    let expected = match has_gpu() {
        true => "this rank would take cuda:".to_owned(),
        false => format!("libtorch {} ", libtorch()),
    };
    assert!(line.contains(&expected), "{line}");
}

/// Two processes of one mapping.
#[cfg(feature = "mpi")]
fn on_two_ranks(arguments: &str, grid: &str) -> std::process::Output {
    let line = format!("{arguments} --grid {grid}");
    crate::program::mpirun(tissue(), 2, &line).output().unwrap()
}

#[cfg(feature = "mpi")]
#[test]
fn processes_share_a_mapping_on_devices() {
    let map = format!("{MAP} --epochs 12 --precision f64");
    succeed(tissue(), &format!("{map} --out alone"));
    for grid in ["2x1x1", "1x2x1", "1x1x2"] {
        let out = format!("torch-{grid}");
        let output = on_two_ranks(&format!("{map} --device torch-cpu --out {out}"), grid);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{grid}: {errors}");
        let (alone, together) = (losses("alone"), losses(&out));
        assert_eq!(alone.len(), together.len(), "{grid}");
        for (a, b) in alone.iter().zip(&together) {
            assert!((a - b).abs() < 1e-8, "{grid}: {a} {b}");
        }
    }
    if !has_gpu() {
        let output = on_two_ranks(&format!("{MAP} --device cuda --out none"), "2x1x1");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success());
        assert_eq!(errors.matches("error:").count(), 1, "{errors}");
        assert!(errors.contains("without CUDA"), "{errors}");
    }
}
