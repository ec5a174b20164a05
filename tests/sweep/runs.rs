//! Sweeps whose items are runs: seeds, sections, lists of settings.

use super::{INPUTS, folder};
use crate::program::{fail, succeed, summary};
use std::fs;
use tangram_sweep::{Attempts, Manifest, State};

#[test]
fn seeds_sections_and_lists_are_runs_of_their_own() {
    let (folder, _keep) = folder();
    let adam = "--solver adam --epochs 20";
    succeed(
        &folder,
        &format!("sweep new seeds --seeds 1,2 {adam} {INPUTS} --out seeds"),
    );
    succeed(&folder, "sweep run seeds --all");
    succeed(
        &folder,
        &format!("map {INPUTS} {adam} --seed 2 --out alone"),
    );
    let history = |path: &str| {
        let text = fs::read_to_string(folder.join(path).join("history.tsv")).unwrap();
        let without_time = |l: &str| l.rsplit_once('\t').unwrap().0.to_owned();
        text.lines().map(without_time).collect::<Vec<_>>()
    };
    assert_eq!(history("seeds/runs/seed-2"), history("alone"));
    assert_ne!(history("seeds/runs/seed-1"), history("alone"));
    let again = summary(&folder, "sweep run seeds --all");
    assert_eq!(again["folds_done_now"], 0);
    succeed(&folder, "sweep collect seeds");
    let table = fs::read_to_string(folder.join("seeds/scores.tsv")).unwrap();
    assert_eq!(table.lines().count(), 3);

    let cells = "--cells ../tissue/cells.h5ad --epochs 5 --tolerance 0";
    let sections = "../tissue/voxels.h5ad ../tissue/spots.h5ad";
    succeed(
        &folder,
        &format!("sweep new sections {sections} {cells} --out sections"),
    );
    succeed(&folder, "sweep run sections --task 1");
    assert!(folder.join("sections/runs/spots/run.toml").is_file());
    assert!(!folder.join("sections/runs/voxels").exists());

    fs::write(
        folder.join("list.toml"),
        "[sharp]\ngoal = 'place'\n[smooth]\ntemperature = '2'\n",
    )
    .unwrap();
    succeed(
        &folder,
        &format!("sweep new list list.toml {INPUTS} --epochs 5 --tolerance 0 --out list"),
    );
    succeed(&folder, "sweep run list --all");
    let settings = fs::read_to_string(folder.join("list/runs/sharp/run.toml")).unwrap();
    assert!(settings.contains("goal = \"place\"") && settings.contains("lambda-h = 20"));
    let run = folder.join("list/runs/sharp/run.toml");
    fs::write(
        &run,
        settings.replace("goal = \"place\"", "goal = \"impute\""),
    )
    .unwrap();
    let told = fail(&folder, "sweep collect list", 3);
    assert!(
        told.contains("runs/sharp") && told.contains("was changed after the sweep made it"),
        "{told}"
    );
    assert!(!folder.join("list/scores.tsv").exists());
    fs::write(&run, settings).unwrap();
    succeed(&folder, "sweep collect list --no-report");
    fs::write(folder.join("wrong.toml"), "[sharp]\ngoals = 'place'\n").unwrap();
    let told = fail(
        &folder,
        &format!("sweep new list wrong.toml {INPUTS} --out wrong"),
        2,
    );
    assert!(
        told.contains("wrong.toml") && told.contains("goals"),
        "{told}"
    );
    fs::write(folder.join("outside.toml"), "['../up']\ngoal = 'place'\n").unwrap();
    fail(
        &folder,
        &format!("sweep new list outside.toml {INPUTS} --out outside"),
        2,
    );
}

#[test]
fn a_run_that_fails_is_told_and_the_others_go_on() {
    let (folder, _keep) = folder();
    fs::write(
        folder.join("list.toml"),
        "[bad]\nprior = 'obs:nothing'\n[good]\nseed = 3\n",
    )
    .unwrap();
    succeed(
        &folder,
        &format!("sweep new list list.toml {INPUTS} --epochs 5 --tolerance 0 --out list"),
    );
    let told = fail(&folder, "sweep run list --all", 3);
    assert!(
        told.contains("run bad ended with code 3") && told.contains("nothing"),
        "{told}"
    );
    assert!(folder.join("list/runs/good/run.toml").is_file());
    let manifest = Manifest::read(&folder.join("list")).unwrap();
    assert_eq!(manifest.n_items(), 2);
    let attempts = Attempts::of(&folder.join("list")).all().unwrap();
    let states: Vec<State> = attempts.iter().map(|a| a.state).collect();
    assert_eq!(states, [State::Failed, State::Done]);
}
