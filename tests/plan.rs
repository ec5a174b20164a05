//! `tangram plan` and `tangram doctor`.

use crate::program::{fail, listing, succeed, summary};

const ATLAS: &str = "plan --cells 1000000 --voxels 100000 --genes 2000 --threads 8";

#[test]
fn a_plan_compares_every_grid_and_recommends_the_fastest_that_fits() {
    let folder = tempfile::tempdir().unwrap();
    let grids = summary(folder.path(), &format!("{ATLAS} --ranks 8 --memory 60"));
    let grids = grids.as_array().unwrap();
    // 8 = 2³ over three axes.
    assert_eq!(grids.len(), 10);
    let seconds = |i: usize| grids[i]["seconds-in-all"].as_f64().unwrap();
    let fits = |i: usize| grids[i]["fits"].as_bool().unwrap();
    assert!(fits(0));
    assert!(
        (1..10)
            .filter(|&i| fits(i))
            // Of grids about as fast, that with fewer exchanges is recommended.
            .all(|i| 1.02 * seconds(i) >= seconds(0))
    );
    let text = succeed(
        folder.path(),
        &format!("{ATLAS} --ranks 8 --ranks-per-node 4"),
    );
    assert!(
        text.contains("recommended") && text.contains("--nodes=2"),
        "{text}"
    );
    let grid = grids[0]["grid"].as_str().unwrap();
    assert!(text.contains(&format!("--grid {grid}")), "{text}");
}

#[test]
fn what_cannot_fit_is_refused_and_what_would_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let adam = format!("{ATLAS} --solver adam --ranks 8 --memory 60");
    let told = fail(folder.path(), &adam, 2);
    assert!(told.contains("ranks would do"), "{told}");
    let told = fail(
        folder.path(),
        "plan --cells 3 --voxels 2 --genes 1 --ranks 13",
        2,
    );
    assert!(told.contains("take fewer"), "{told}");
    let told = fail(folder.path(), "plan --cells 3", 2);
    assert!(told.contains("--voxels"), "{told}");
}

#[test]
fn a_plan_counts_the_filter_and_the_neighbours() {
    let folder = tempfile::tempdir().unwrap();
    let of = |flags: &str, grid: &str| {
        let line = format!("{ATLAS} --ranks 2 {flags}");
        let grids = summary(folder.path(), &line);
        let all = grids.as_array().unwrap().clone();
        let found = all.into_iter().find(|g| g["grid"] == grid).unwrap();
        let bytes: u64 = found["bytes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind[1].as_u64().unwrap())
            .sum();
        (bytes, found["memory-bytes"].as_u64().unwrap())
    };
    let cells = of("", "2x1x1");
    let filter = of("--mode constrained", "2x1x1");
    // One pass in five sums a number of every cell.
    assert_eq!(filter.0 - cells.0, 8 * 1_000_000 / 5);
    // W of the pass before, in double precision and as it is multiplied, and five numbers of every cell.
    assert!(filter.1 - cells.1 > 100_000 * 2_001 * 12 + 5 * 8 * 1_000_000);
    let plain = of("", "1x2x1");
    let compared = of("--neighbours lattice", "1x2x1");
    // A row of the lattice, 317 voxels, touches the other rank's: values and slopes of 2,000 genes.
    let more = compared.0 - plain.0;
    assert!(
        (2 * 8 * 317 * 2_000..2 * 8 * 320 * 2_000).contains(&more),
        "{more}"
    );
    // Of 12 types instead of the genes.
    let adam = of("--solver adam", "1x2x1");
    let islands = of(
        "--solver adam --neighbours lattice --island-types 12",
        "1x2x1",
    );
    let more = islands.0 - adam.0;
    assert!(
        (2 * 8 * 317 * 12..2 * 8 * 320 * 12).contains(&more),
        "{more}"
    );
    for (flags, words) in [
        ("--neighbours nearest:5", "nearest:5"),
        ("--neighbours lattice --island-types 3", "--solver adam"),
        ("--solver adam --island-types 3", "--neighbours"),
    ] {
        let line = format!("plan --cells 9 --voxels 5 --genes 3 {flags}");
        let told = fail(folder.path(), &line, 2);
        assert!(told.contains(words), "{told}");
    }
}

#[test]
fn rates_are_measured_and_read_back() {
    let folder = tempfile::tempdir().unwrap();
    succeed(folder.path(), "plan --measure rates.toml");
    let text = succeed(folder.path(), &format!("{ATLAS} --rates rates.toml"));
    assert!(text.contains("rates of rates.toml"), "{text}");
    std::fs::write(folder.path().join("bad.toml"), "speed = 1").unwrap();
    let told = fail(folder.path(), &format!("{ATLAS} --rates bad.toml"), 2);
    assert!(told.contains("bad.toml"), "{told}");
}

#[test]
fn the_doctor_leaves_nothing_and_finds_what_is_wrong() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join(".run.7.partial")).unwrap();
    let text = succeed(folder.path(), "doctor");
    assert!(text.contains(".run.7.partial"), "{text}");
    assert_eq!(listing(folder.path()).len(), 1);
    let told = fail(folder.path(), "doctor --scratch not/there", 3);
    assert!(told.contains("must be mended"), "{told}");
}

/// Most that a plan may be off: what the libraries take differs from machine to machine.
const MEMORY_OFF: f64 = 0.15;

#[test]
fn a_plan_tells_the_memory_that_a_run_takes() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let sizes = "--cells 8000 --voxels 1500 --spots 10 --genes 400 --panel 300";
    succeed(here, &format!("simulate --quiet --out tissue {sizes}"));
    let inputs = "--cells tissue/cells.h5ad --voxels tissue/voxels.h5ad";
    let mut took = Vec::new();
    for (solver, keep) in [("mirror", "none"), ("adam", "top:1")] {
        let plan = format!("plan --cells 8000 --voxels 1500 --genes 300 --solver {solver}");
        let planned = summary(here, &format!("{plan} --threads 2"))[0]["memory-bytes"].as_f64();
        let map = format!("map --quiet {inputs} --solver {solver} --keep {keep} --epochs 2");
        let run = summary(here, &format!("{map} --threads 2 --out {solver}"));
        let peak = run["record"]["peak-memory-bytes"].as_f64().unwrap();
        let off = planned.unwrap() / peak - 1.0;
        assert!(off.abs() < MEMORY_OFF, "{solver}: {off}");
        took.push(peak);
    }
    // Adam holds three numbers for every cell and voxel.
    let state = 3.0 * 4.0 * 8000.0 * 1500.0;
    assert!(took[1] - took[0] > 0.5 * state, "{took:?}");
}

#[test]
fn a_plan_fits_a_terminal_of_80_columns() {
    let folder = tempfile::tempdir().unwrap();
    for more in ["", " --gpu-memory 80"] {
        let text = succeed(
            folder.path(),
            &format!("{ATLAS} --ranks 64 --memory 60{more}"),
        );
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
